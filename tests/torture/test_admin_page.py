"""The admin port's page in a real chromium: what a person sees, what it asks for, and who else reads it (laws 16, 19).

PICTURES=folder keeps what was seen, light and dark, on a phone and on a desktop.
"""

import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import pytest
from aiohttp import ClientSession
from commands.process import MEMBER, Machine, Process
from commands.test_login import env
from playwright.async_api import Browser, BrowserContext, Page
from rig import assert_silent
from torture import evil
from torture.evil import Website, browse, filled

from proxy.compose_credentials import place
from proxy.config import load
from proxy.credential import ledger
from proxy.credential.file_store import FileStore, Place
from proxy.page.document import EVERY
from proxy.secrets import Secret
from proxy.simulator import Fault, Simulator

DAY: Final = 86400.0

CONFIGURATION: Final = """\
listeners:
  - bind: 127.0.0.1:0
    clients:
      billing: {{key: {{value: billing-key-0123456789}}, credential: default}}
      drafts: {{key: {{value: drafts-key-0123456789}}, credential: sales, policy: {{profiles: [no-delete]}}}}
      archive: {{key: {{value: archive-key-0123456789}}, credential: eu}}
admin: {{bind: 127.0.0.1:{port}}}
upstream: {url}
credentials:
  default: {{oauth2: {{{client}, store: {{file: default.json}}}}}}
  sales: {{oauth2: {{{client}, store: {{file: sales.json}}, token_url: {silent}/oauth2/access_token}}}}
  eu: {{oauth2: {{{client}, store: {{file: eu.json}}}}}}
"""
CLIENT: Final = "client_id: simulator-client, client_secret: {env: PANDADOC_CLIENT_SECRET}"

DEVICES: Final = {"phone": (390, 844), "desktop": (1280, 900)}

Scheme = Literal["light", "dark"]

LIGHT: Final = 128
"""Of 255: what is lighter is for the day."""


@dataclass
class Sight:
    """A proxy and a browser that looks at it. `asked`, `answered` and `complaints` grow as the browser works."""

    machine: Machine
    proxy: Process
    app: ClientSession
    context: BrowserContext
    admin: str
    asked: list[str] = field(default_factory=list)
    answered: list[int] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def listen(self) -> None:
        self.context.on("request", lambda request: self.asked.append(request.url))
        self.context.on("response", lambda answer: self._answered(answer.url, answer.status))
        self.context.on("console", lambda message: self.complaints.append(message.text))
        self.context.on("weberror", lambda error: self.complaints.append(str(error.error)))

    def _answered(self, url: str, status: int) -> None:
        if url == self.admin:
            self.answered.append(status)

    async def ask(self, client: str, method: str = "GET", path: str = MEMBER) -> int:
        """Send a request as one of the clients."""
        headers = {"X-Proxy-Key": f"{client}-key-0123456789"}
        async with self.app.request(method, await self.proxy.url() + path, headers=headers) as answer:
            return answer.status


LIVES: Final = {"default": (300, 65), "sales": (362, 3), "eu": (366, -1)}
"""For how many days each credential's token has been there, and is still good."""


async def furnished(machine: Machine, silent: Simulator, port: int) -> None:
    """Have one credential fresh, one stale whose refresh gets no answer, one used up whose grant is refused."""
    text = CONFIGURATION.format(url=machine.simulator.url, silent=silent.url, client=CLIENT, port=port)
    path = machine.folder / "config.yaml"
    path.write_text(text)
    for name, credential in load(path, environ=env(machine)).credentials.items():
        access, refresh = machine.simulator.issue_access_token(), os.urandom(20).hex()
        where = place(credential, machine.state)  # type: ignore[arg-type]  # each is a grant
        await stored(where, Secret(access), Secret(refresh), *LIVES[name])
        machine.secrets |= {access, refresh}
    silent.faults.add(Fault(path="/oauth2/**", hang=True))
    machine.secrets |= {f"{client}-key-0123456789" for client in ("billing", "drafts", "archive")}
    machine.secrets.add("in-a-query")


async def stored(where: Place, access: Secret, refresh: Secret, age: float, left: float) -> None:
    """Write a grant as a login has, so many days ago."""
    now = time.time()
    then = now - age * DAY
    lineage = ledger.Lineage("login", refresh.fingerprint(), then)
    grant = ledger.Grant(0, lineage, refresh, access, then, now + left * DAY)
    await FileStore(lambda: where).update(lambda kept: ledger.consented(kept, grant, then))


@pytest.fixture
async def website() -> AsyncIterator[Website]:
    async with Website() as running:
        yield running


@pytest.fixture
async def browser(website: Website) -> AsyncIterator[Browser]:
    async with browse(website) as running:
        yield running


@pytest.fixture
async def sight(machine: Machine, app: ClientSession, browser: Browser) -> AsyncIterator[Sight]:
    async with Simulator() as silent:
        await furnished(machine, silent, port=0)
        proxy = await machine.start(env=env(machine))
        sight = Sight(machine, proxy, app, await browser.new_context(), f"{await proxy.admin_url()}/")
        sight.listen()
        yield sight


async def busy(sight: Sight) -> None:
    """Have something happen of each kind."""
    for _ in range(20):
        assert await sight.ask("billing") == 200
    assert await sight.ask("drafts", "DELETE", f"/public/v1/documents/{'x' * 400}?secret=in-a-query") == 403
    assert await sight.ask("archive") == 503
    assert await sight.ask("nobody") == 403
    sight.machine.simulator.faults.add(Fault(path="/public/v1/broken", reset=True))
    assert await sight.ask("drafts", "GET", "/public/v1/broken") == 502


async def background(page: Page) -> int:
    """Return how light the page's ground is."""
    colour: str = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    return max(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", DEVICES)
async def test_a_person_sees_what_is_well_and_what_is_not(device: str, scheme: Scheme, sight: Sight) -> None:
    await busy(sight)
    page, (width, height) = await sight.context.new_page(), DEVICES[device]
    await page.set_viewport_size({"width": width, "height": height})
    await page.emulate_media(color_scheme=scheme)
    await page.goto(sight.admin)
    assert await page.title() == "Credential eu is dead · pandadoc-proxy"
    assert await page.locator("h3 span").all_inner_texts() == ["eu", "sales", "default"]
    stands = [" ".join(text.split()) for text in await page.locator(".stands").all_inner_texts()]
    assert stands == ["Dead Nothing is lent", "Stale 3 days left; a refresh is due", "Fresh 65 days left"]
    assert "pandadoc-proxy login --credential eu" in await page.locator(".card.bad").inner_text()
    assert await page.locator("ol b").all_inner_texts() == ["502", "403", "503", "403"]
    assert await page.get_by_role("img").count() == 2
    assert await page.evaluate("document.documentElement.scrollWidth") <= width, "it scrolls sideways"
    assert (await background(page) > LIGHT) is (scheme == "light")
    picture = await page.screenshot(full_page=True)
    if folder := os.environ.get("PICTURES"):
        (Path(folder) / f"admin-{device}-{scheme}.png").write_bytes(picture)
    assert sight.complaints == []


async def test_it_refreshes_itself_asks_for_nothing_else_and_holds_no_secret(sight: Sight) -> None:
    page = await sight.context.new_page()
    await page.goto(sight.admin)
    assert "Nothing has been refused" in await page.inner_text("main")
    sources = [await page.content()]
    await busy(sight)
    await page.get_by_text("24 requests in the last minute").wait_for(timeout=3 * EVERY * 1000)
    sources.append(await page.content())
    assert len(sight.answered) > 1  # without anybody's doing
    await page.reload()
    sources.append(await page.content())
    assert {url for url in sight.asked if not url.startswith("data:")} == {sight.admin}
    assert (set(sight.answered), sight.complaints) == ({200}, [])
    assert_silent(sight.machine.all_secrets(), sources)
    assert all(len(source) < 40 * 1024 for source in sources)


OF_ANOTHER_SITE: Final = {
    "told(fetch('TARGET'))": "TypeError",
    "told(fetch('TARGET', {mode: 'no-cors'}))": "opaque 0",
    "barred(framed({src: 'TARGET'}))": "SecurityError",
    "barred(open('TARGET'))": "SecurityError",
    "embedded('img', {src: 'TARGET'})": "error",
}


@pytest.mark.parametrize(("script", "outcome"), OF_ANOTHER_SITE.items())
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1"])
async def test_no_other_site_reads_it_nor_one_of_another_port(
    host: str, script: str, outcome: str, sight: Sight, website: Website
) -> None:
    page = await sight.context.new_page()
    await page.goto(f"http://{host}:{website.port}/")
    assert await page.evaluate(filled(script, sight.admin, "")) == outcome
    assert sight.admin in sight.asked
    assert set(sight.answered) <= {403}  # chromium tells of no answer that it keeps from the page


WORKER: Final = """
self.oninstall = () => self.skipWaiting();
self.onactivate = event => event.waitUntil(self.clients.claim());
const read = async event => new Response(`The worker read: ${(await fetch(event.request)).status}`);
self.onfetch = event => { if (new URL(event.request.url).pathname === '/') event.respondWith(read(event)); };
"""

SERVED: Final = (
    "navigator.serviceWorker.register('/worker.js').then(() => navigator.serviceWorker.ready).then(() => null)"
)


async def test_a_page_that_was_there_before_it_reads_nothing(machine: Machine, browser: Browser) -> None:
    """It is of the same origin, and so is its service worker, through which a typed address goes."""
    context, worked = await browser.new_context(), await browser.new_context()
    async with Website() as earlier, Simulator() as silent:
        address = f"http://localhost:{earlier.port}/"
        earlier.pages["/worker.js"] = evil.Page(WORKER, kind="text/javascript")
        page, reader = await context.new_page(), await worked.new_page()
        await page.goto(address + "before")
        await reader.goto(address + "before")
        await reader.evaluate(SERVED)
        port = earlier.port
        await furnished(machine, silent, port)
        await earlier.__aexit__()
        proxy = await machine.start(env=env(machine))
        await proxy.admin_url()
        await proxy.said("PandaDoc refuses the refresh token of credential eu")
        assert await page.evaluate(filled("told(fetch('TARGET'))", address, "")) == "basic 403"
        assert await page.evaluate(filled("barred(open('TARGET'))", address, "")) == "SecurityError"
        assert "Credential eu is dead" in await (await opened(context, address)).inner_text("h1")
        await reader.goto(address)
        assert await reader.inner_text("body") == "The worker read: 403"


async def opened(context: BrowserContext, address: str) -> Page:
    """Type an address into a new tab."""
    page = await context.new_page()
    await page.goto(address)
    return page
