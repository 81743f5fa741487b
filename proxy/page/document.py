"""The page itself: a View goes in, HTML comes out. Pure, once its style is read.

What is wrong comes first, and is told by a word and a shape as well as by a colour.
"""

from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

from proxy.credential.advice import span
from proxy.page.budgets import budgets
from proxy.page.cards import cards
from proxy.page.figures import figures
from proxy.page.mark import icon, mark
from proxy.page.markup import Markup, prose, spaced, tag
from proxy.page.standing import Tone, summary
from proxy.page.trouble_list import trouble_list
from proxy.page.view import View
from proxy.page.words import many

EVERY: Final = 10
"""Seconds after which the page asks for itself again: a slot of its charts."""

STYLE: Final = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
STYLE_HASH: Final = b64encode(sha256(STYLE.encode()).digest()).decode()

HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; img-src data:;"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    # A page that was at this address before us is of our origin: if it opens us, it loses hold of our window.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def html(view: View) -> str:
    """Write the page."""
    tone, text = summary(view.lendings, view.besides) if view.ready else ("bad", "No requests are taken")
    main = tag(
        "main",
        _section("Credentials", cards(view.lendings, view.at)),
        _section("Rate budgets", budgets(view.budgets)) if view.budgets else "",
        _section("The last quarter hour", figures(view.slots)),
        _section("The last refusals and errors", trouble_list(view.troubles)),
    )
    body = tag("body", _header(view, tone, text), main, _footer(view))
    return f"<!doctype html>{tag('html', _head(tone, text), body, lang='en')}\n"


def _head(tone: Tone, text: str) -> Markup:
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="refresh", content=EVERY),
        tag("link", rel="icon", href=icon(tone)),
        tag("title", f"{text} · pandadoc-proxy"),
        tag("style", Markup(STYLE)),
    )


def _header(view: View, tone: Tone, text: str) -> Markup:
    facts = (
        f"pandadoc-proxy lends for {view.upstream}",
        f"{many(view.in_flight, 'request')} in flight",
        f"{view.busy} of {many(view.most, 'connection')} to PandaDoc busy",
        f"up {span(view.uptime)}",
    )
    return tag(
        "header",
        tag("h1", mark(tone), tag("span", text)),
        tag("p", spaced(*(tag("span", fact) for fact in facts)), class_="facts"),
    )


def _section(title: str, content: Markup) -> Markup:
    return tag("section", tag("h2", title), content)


def _footer(view: View) -> Markup:
    at = datetime.fromtimestamp(view.at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    made = f"As of {at}, every {EVERY} seconds anew, by pandadoc-proxy {view.version}."
    return tag("footer", prose(f"{made} For machines: `/status` and `/metrics`."))
