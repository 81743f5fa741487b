"""What a page can do to have a request sent to another origin. Values, no browser.

A script is an expression; what its promise brings is what the page has learned. HERE is the website's own
address, TARGET the address that the page wants.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from torture.evil import Page

BLIND: Final = "told(fetch('TARGET', {mode: 'no-cors'}))"
"""The plainest request that is sent without asking anybody, and whose answer can't be read."""

AWAY: Final = "HERE/redirect?status=%d&to=TARGET"

SELF_SENT: Final = "<form method=post action=TARGET></form><script>document.forms[0].submit()</script>"


@dataclass(frozen=True)
class Attack:
    """What a page does, what it is left with, and what the proxy has told the browser."""

    script: str = ""
    learns: object = None
    refused: str = "GET 403"
    at: str = "evil.example"  # what the website is called
    page: Page = field(default_factory=Page)


def shows(markup: str, **headers: str) -> Attack:
    """Return what needs no script. Python's names for the headers have _ where they have -."""
    return Attack(page=Page(markup, {name.replace("_", "-"): value for name, value in headers.items()}))


def in_frame(kind: str, code: str) -> str:
    """Return a script that has a frame of an opaque origin run `code`, and hears what that has learned."""
    markup = f"""<meta name=referrer content=no-referrer><body><script src=HERE/tools.js></script>
        <script>Promise.resolve({code}).then(learned => parent.postMessage(learned, '*'))</script>"""
    return f"opaque('{kind}', {json.dumps(markup)}), heard(window, 'onmessage')"


def in_worker(port: str, ear: str = "port") -> str:
    """Return a script that has a worker send the plainest request."""
    return f"Promise.resolve({port}).then(port => (port.postMessage({json.dumps(BLIND)}), heard({ear}, 'onmessage')))"


def posts(fields: Mapping[str, str], **more: str) -> str:
    """Return a script of a form that is sent into a frame."""
    attributes = {"action": "TARGET", "target": "hole", "method": "post", **more}
    return f"framed({{}}), barred(submitted({json.dumps(attributes)}, {json.dumps(fields)}))"


def speculates(kind: str, target: str = "TARGET") -> str:
    return f"speculated({{{kind}: [{{source: 'list', urls: ['{target}'], eagerness: 'immediate'}}]}})"


READING: Final = {
    "fetch that wants to read": Attack("told(fetch('TARGET'))", "TypeError"),
    "fetch that need not read": Attack(BLIND, "opaque 0"),
    "fetch with credentials": Attack("told(fetch('TARGET', {credentials: 'include'}))", "TypeError"),
    "fetch with a field of its own": Attack(
        "told(fetch('TARGET', {credentials: 'include', headers: {'X-Proxy-Key': 'guess'}}))", "TypeError", "OPTIONS 403"
    ),
    "fetch that outlives its page": Attack("told(fetch('TARGET', {mode: 'no-cors', keepalive: true}))", "opaque 0"),
    "fetch that waits for its page's end": Attack("fetchLater('TARGET', {activateAfter: 0}), null", at="localhost"),
    "fetch from another port of the same host": Attack(BLIND, "opaque 0", at="127.0.0.1"),
    "HEAD": Attack("told(fetch('TARGET', {mode: 'no-cors', method: 'HEAD'}))", "opaque 0", "HEAD 403"),
    "XMLHttpRequest": Attack("asked('GET', 'TARGET')", "0 "),
    "XMLHttpRequest that blocks its page": Attack("asked('GET', 'TARGET', false)", "NetworkError"),
    "EventSource": Attack("new Promise(done => new EventSource('TARGET').onerror = e => done(e.type))", "error"),
    "WebSocket": Attack("new Promise(done => new WebSocket('TARGET').onclose = e => done(e.code))", 1006),
    "import": Attack("import('TARGET').catch(error => error.name)", "TypeError"),
    "worklet": Attack(
        "new AudioContext().audioWorklet.addModule('TARGET').catch(e => e.name)", "AbortError", at="localhost"
    ),
    "worker": Attack(in_worker("new Worker('/worker.js')"), "opaque 0"),
    "shared worker": Attack(in_worker("new SharedWorker('/worker.js').port"), "opaque 0"),
    "service worker": Attack(in_worker("serving()", "navigator.serviceWorker"), "opaque 0", at="x.localhost"),
    "frame in a sandbox": Attack(in_frame("srcdoc", BLIND), "opaque 0"),
    "frame of a data URL": Attack(in_frame("src", BLIND), "opaque 0"),
    "frame in a sandbox that wants to read": Attack(in_frame("srcdoc", "told(fetch('TARGET'))"), "TypeError"),
}

WRITING: Final = {
    "POST of text": Attack(
        "told(fetch('TARGET', {mode: 'no-cors', method: 'POST', body: '{}'}))", "opaque 0", "POST 403"
    ),
    "POST of text that wants to read": Attack(
        "told(fetch('TARGET', {method: 'POST', body: '{}'}))", "TypeError", "POST 403"
    ),
    "POST of JSON": Attack(
        "told(fetch('TARGET', {method: 'POST', body: '{}', headers: {'Content-Type': 'application/json'}}))",
        "TypeError",
        "OPTIONS 403",
    ),
    "POST by XMLHttpRequest": Attack("asked('POST', 'TARGET')", "0 ", "POST 403"),
    "PUT": Attack("told(fetch('TARGET', {method: 'PUT', body: '{}'}))", "TypeError", "OPTIONS 403"),
    "PATCH": Attack("told(fetch('TARGET', {method: 'PATCH', body: '{}'}))", "TypeError", "OPTIONS 403"),
    "DELETE": Attack("told(fetch('TARGET', {method: 'DELETE'}))", "TypeError", "OPTIONS 403"),
    "POST with a request in its body": Attack(
        "told(fetch('TARGET', {mode: 'no-cors', method: 'POST', body:"
        " 'GET /public/v1/documents/smuggled HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n'}))",
        "opaque 0",
        "POST 403",
    ),
    "POST from a sandbox": Attack(
        in_frame("srcdoc", "told(fetch('TARGET', {mode: 'no-cors', method: 'POST', body: '{}'}))"),
        "opaque 0",
        "POST 403",
    ),
    "beacon": Attack("navigator.sendBeacon('TARGET', '{}')", learns=True, refused="POST 403"),
    "beacon of JSON": Attack(
        "navigator.sendBeacon('TARGET', new Blob(['{}'], {type: 'application/json'}))",
        learns=True,
        refused="OPTIONS 403",
    ),
    "ping of a link": Attack("framed({}), clicked({href: '/', ping: 'TARGET', target: 'hole'})", None, "POST 403"),
    "report of a broken policy": Attack(
        refused="POST 403", page=Page("<img src=x>", {"Content-Security-Policy": "img-src 'none'; report-uri TARGET"})
    ),
    "form that gets into a frame": Attack(
        "framed({}), barred(submitted({action: 'TARGET', target: 'hole'}, {page: 1}))", "SecurityError"
    ),
    "form that posts into a frame": Attack(posts({"a": "1"}), "SecurityError", "POST 403"),
    "form that posts JSON as text": Attack(
        posts({'{"name": "': '"}'}, enctype="text/plain"), "SecurityError", "POST 403"
    ),
    "form that uploads": Attack(posts({"a": "1"}, enctype="multipart/form-data"), "SecurityError", "POST 403"),
    "form in a sandbox": Attack(f"barred(opaque('srcdoc', {json.dumps(SELF_SENT)}))", "SecurityError", "POST 403"),
}

EMBEDDING: Final = {
    "image": Attack("embedded('img', {src: 'TARGET'})", "error"),
    "image among several": shows("<img srcset='TARGET 1x, TARGET 2x'>"),
    "image in SVG": shows("<svg><image href='TARGET'/></svg>"),
    "image that is a button": shows("<input type=image src='TARGET'>"),
    "icon": Attack("void made('link', {rel: 'icon', href: 'TARGET'}, document.head)"),
    "script": Attack("embedded('script', {src: 'TARGET'})", "error"),
    "style sheet": Attack("embedded('link', {rel: 'stylesheet', href: 'TARGET'})", "error"),
    "style sheet in a style sheet": shows("<style>@import 'TARGET'</style>"),
    "background": shows("<style>body { background: url('TARGET') }</style>"),
    "font": shows("<style>@font-face { font-family: x; src: url('TARGET') } p { font-family: x }</style><p>x"),
    "video": Attack("embedded('video', {src: 'TARGET'})", "error"),
    "audio": Attack("embedded('audio', {src: 'TARGET'})", "error"),
    "object": Attack("embedded('object', {data: 'TARGET'})", "error"),
    "embed": shows("<embed src='TARGET'>"),
    "frame": Attack("barred(framed({src: 'TARGET'}))", "SecurityError"),
    "image by a redirect": Attack(f"embedded('img', {{src: '{AWAY % 302}'}})", "error"),
    "frame by a redirect": Attack(f"barred(framed({{src: '{AWAY % 307}'}}))", "SecurityError"),
    "fetch by a redirect": Attack(BLIND.replace("TARGET", AWAY % 302), "opaque 0"),
    "fetch by a redirect that wants to read": Attack(f"told(fetch('{AWAY % 307}'))", "TypeError"),
    "POST by a redirect": Attack(
        f"told(fetch('{AWAY % 307}', {{mode: 'no-cors', method: 'POST', body: '{{}}'}}))", "opaque 0", "POST 403"
    ),
    "form by a redirect": Attack(posts({"a": "1"}, action=AWAY % 307), "SecurityError", "POST 403"),
}

FORESEEING: Final = {
    "preload": Attack("embedded('link', {rel: 'preload', as: 'image', href: 'TARGET'})", "error"),
    "preload of a module": Attack("embedded('link', {rel: 'modulepreload', href: 'TARGET'})", "error"),
    "preload in a field": shows("", Link="<TARGET>; rel=preload; as=image"),
    "prefetch": Attack("embedded('link', {rel: 'prefetch', href: 'TARGET'})", "error"),
    "speculation": Attack(speculates("prefetch")),
    "speculation that renders": Attack(speculates("prerender")),
    "speculation by a redirect": Attack(speculates("prefetch", AWAY % 302), at="localhost"),
    "speculation from another port": Attack(speculates("prefetch"), at="127.0.0.1"),
}
"""What browsers load before anybody needs it."""

BROWSERS_OWN: Final = {
    "identity provider": Attack(
        "void navigator.credentials.get({identity: {providers: [{configURL: 'TARGET', clientId: 'x'}]}}).catch(e => e)",
        at="localhost",
    ),
    "payment method": Attack(
        "new PaymentRequest([{supportedMethods: 'TARGET'}],"
        " {total: {label: 'x', amount: {currency: 'EUR', value: '1'}}}).canMakePayment()",
        learns=False,
        refused="HEAD 403",
        at="localhost",
    ),
}
"""What browsers look up by themselves for a page."""

OPENING: Final = {
    "window": Attack("barred(open('TARGET'))", "SecurityError"),
    "window that was blank": Attack("(w => (w.location = 'TARGET', barred(w)))(open('about:blank'))", "SecurityError"),
    "window without an opener": Attack("open('TARGET', '_blank', 'noopener')"),
    "link without a referrer to a new window": Attack("clicked({href: 'TARGET', target: '_blank', rel: 'noreferrer'})"),
    "link to a download": Attack("framed({}), clicked({href: 'TARGET', target: 'hole', download: 'x'})"),
}

ATTACKS: Final = {**READING, **WRITING, **EMBEDDING, **FORESEEING, **BROWSERS_OWN, **OPENING}

DEPARTURES: Final = {
    "location": Attack("location = 'TARGET'"),
    "location.replace": Attack("location.replace('TARGET')"),
    "link without a referrer": Attack("clicked({href: 'TARGET', rel: 'noreferrer'})"),
    "form that gets": Attack("submitted({action: 'TARGET'}, {page: 1})"),
    "form that posts": Attack("submitted({action: 'TARGET', method: 'post'}, {a: 1})", refused="POST 403"),
    "form that posts by a redirect": Attack(
        f"submitted({{action: '{AWAY % 307}', method: 'post'}}, {{a: 1}})", refused="POST 403"
    ),
    "link to a redirect": Attack(f"clicked({{href: '{AWAY % 302}'}})"),
    "refresh in the page": shows("<meta http-equiv=refresh content='0; url=TARGET'>"),
    "refresh in a field": shows("", Refresh="0; url=TARGET"),
    "script in an address": Attack("location = 'javascript:location=\"TARGET\"'"),
}
"""How a page sends its visitor elsewhere, in the window that it has."""
