"""The other side: a website that wants what the proxy lends, and a real browser that visits it."""

import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Final, Self

from aiohttp import web
from playwright.async_api import Browser, async_playwright

TOOLS: Final = """
const told = promise => promise.then(answer => `${answer.type} ${answer.status}`, error => error.name);
const heard = (place, event) => new Promise(done => { place[event] = message => done(message.data); });
const made = (tag, attributes, parent) => {
  const element = Object.assign(document.createElement(tag), attributes);
  parent.append(element);
  return element;
};
const embedded = (tag, attributes) => new Promise(done => made(tag, {
  onload: () => done('load'), onerror: () => done('error'), ...attributes}, document.body));
const framed = attributes => made('iframe', {name: 'hole', ...attributes}, document.body).contentWindow;
const opaque = (kind, markup) => framed({
  sandbox: 'allow-scripts allow-forms',
  [kind]: kind === 'src' ? `data:text/html,${encodeURIComponent(markup)}` : markup});
const clicked = attributes => made('a', attributes, document.body).click();
const submitted = (attributes, fields = {}) => {
  const form = made('form', attributes, document.body);
  for (const [name, value] of Object.entries(fields)) made('input', {name, value}, form);
  form.submit();
  return frames.hole;
};
const speculated = rules => {
  made('script', {type: 'speculationrules', textContent: JSON.stringify(rules)}, document.head);
};
const asked = (method, target, asynchronously = true) => new Promise(done => {
  const request = new XMLHttpRequest();
  request.open(method, target, asynchronously);
  request.onloadend = () => done(`${request.status} ${request.responseText}`);
  try { request.send(); } catch (error) { done(error.name); }
});
// The name of the error that ends all looking into a window: it shows a document of another origin.
const barred = async view => {
  for (;;) {
    try { view.document.body; } catch (error) { return error.name; }
    await new Promise(done => setTimeout(done, 5));
  }
};
const serving = async () => {
  await navigator.serviceWorker.register('/worker.js');
  return (await navigator.serviceWorker.ready).active;
};
"""
"""What scripts have at hand. `barred` and the promises end when the browser has told the page how it went."""

WORKER: Final = """
importScripts('/tools.js');
const answer = async (port, code) => port.postMessage(await eval(code));
self.onmessage = event => answer(event.source ?? self, event.data);
self.onconnect = event => { event.ports[0].onmessage = message => answer(event.ports[0], message.data); };
self.oninstall = () => self.skipWaiting();
self.onactivate = event => event.waitUntil(
  self.registration.navigationPreload.enable().then(() => self.clients.claim()));
const read = async event => {
  const answer = await event.preloadResponse ?? await fetch(event.request);
  return new Response(`The worker read: ${answer.status}`);
};
self.onfetch = event => {
  if (event.request.mode === 'navigate' && event.request.url.includes('/public/')) event.respondWith(read(event));
};
"""
"""Any kind of worker: it runs what it is told; a service worker reads PandaDoc's answers to its own origin, too."""

UNPROTECTED: Final = (
    "LocalNetworkAccessChecks",
    "LocalNetworkAccessChecksWebSockets",
    "BlockInsecurePrivateNetworkRequests",
    "PrivateNetworkAccessSendPreflights",
    "PrivateNetworkAccessNullIpAddress",
    "HttpsUpgrades",
)
"""Features that keep pages from this machine, or from plain HTTP: older browsers lack them, and people allow much."""

LOOKUPS: Final = (
    "MAP *.example 127.0.0.1",
    "MAP *.example. 127.0.0.1",
    "MAP * ~NOTFOUND",
    *(f"EXCLUDE {host}" for host in ("localhost", "localhost.", "*.localhost", "127.0.0.1", "0.0.0.0", "::1", "::")),  # noqa: S104
    "EXCLUDE ::ffff:7f00:1",
)
"""Every name that is used means this machine, and no other is looked up."""


@dataclass(frozen=True)
class Page:
    """What the website serves at one path. It may say HERE, the website's own address, and TARGET, the one it wants."""

    markup: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: str = "text/html"
    status: int = 200

    def about(self, target: str, here: str) -> "Page":
        headers = {name: filled(value, target, here) for name, value in self.headers.items()}
        return replace(self, markup=filled(self.markup, target, here), headers=headers)


def filled(text: str, target: str, here: str) -> str:
    return text.replace("TARGET", target).replace("HERE", here)


class Website:
    """Whoever runs it wants the credential. `pages`, by path, are the tests' to add to; other paths are blank pages."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.pages = {
            "/tools.js": Page(TOOLS, kind="text/javascript"),
            "/worker.js": Page(WORKER, kind="text/javascript"),
        }
        self._runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=0.1)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/redirect":
            return web.Response(status=int(request.query["status"]), headers={"Location": request.query["to"]})
        page = self.pages.get(request.path, Page())
        head = "<!doctype html><body><script src=/tools.js></script>" if page.kind == "text/html" else ""
        headers = {"Cache-Control": "no-store", **page.headers}
        return web.Response(status=page.status, text=head + page.markup, content_type=page.kind, headers=headers)


@asynccontextmanager
async def browse(stranger: Website) -> AsyncIterator[Browser]:
    """Start Debian's chromium. It takes `stranger` for a host on the Internet, all else for this machine."""
    chromium = shutil.which("chromium")
    assert chromium, "install Debian's package chromium"
    flags = {
        "disable-features": ",".join(UNPROTECTED),
        "host-resolver-rules": ", ".join(LOOKUPS),
        "ip-address-space-overrides": f"127.0.0.1:{stranger.port}=public",
    }
    args = ["--no-sandbox", *(f"--{name}={value}" for name, value in flags.items())]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=args)
        yield browser
        await browser.close()
