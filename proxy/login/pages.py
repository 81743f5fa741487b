"""What the browser shows at the end of a login: nothing to load, nothing secret, every text escaped. Pure."""

from collections.abc import Mapping
from html import escape
from typing import Final

from msgspec import Struct

HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",  # the page's own address has the code in it
    "X-Content-Type-Options": "nosniff",
}

STYLE: Final = """\
:root { color-scheme: light dark; }
body { font: 1.1rem/1.5 system-ui, sans-serif; margin: 0; min-height: 100vh; display: grid; place-items: center; }
main { max-width: 34rem; padding: 1.5rem; }
h1 { font-size: 1.4rem; margin: 0 0 .75rem; }
p { margin: 0 0 .75rem; overflow-wrap: anywhere; }
.mark { font-size: 2.5rem; line-height: 1; }
.good { color: #1a7f37; } .bad { color: #cf222e; }
@media (prefers-color-scheme: dark) { .good { color: #3fb950; } .bad { color: #ff7b72; } }
"""


class Page(Struct, frozen=True):
    """A page and its status."""

    status: int
    good: bool
    title: str
    paragraphs: tuple[str, ...]

    def html(self) -> str:
        mark = '<div class="mark good">✓</div>' if self.good else '<div class="mark bad">✗</div>'
        text = "".join(f"<p>{escape(paragraph)}</p>" for paragraph in self.paragraphs)
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
            f"<title>pandadoc-proxy: {escape(self.title)}</title><style>{STYLE}</style></head>"
            f"<body><main>{mark}<h1>{escape(self.title)}</h1>{text}</main></body></html>\n"
        )


def done(*paragraphs: str) -> Page:
    return Page(200, good=True, title="Logged in", paragraphs=(*paragraphs, "You can close this page."))


def failed(*paragraphs: str) -> Page:
    return Page(400, good=False, title="Not logged in", paragraphs=paragraphs)


def another_login() -> Page:
    return failed(
        "This is not the answer to the login that is waiting: its `state` is another or missing. Start from the"
        " address that the terminal shows; if it still comes without `state`, paste the address there."
    )


def used_already() -> Page:
    return Page(
        410,
        good=False,
        title="Opened before",
        paragraphs=(
            "This address leads to PandaDoc once. If you have opened it before, open the one that the terminal shows.",
            "If not, another user of this machine has, who may log in to an account of their own. End this login.",
        ),
    )


def nothing_here() -> Page:
    return Page(404, good=False, title="Nothing is here", paragraphs=("A login waits at its redirect URI alone.",))
