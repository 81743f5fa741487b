"""Each credential on a card: how it stands, what is left, what to do. Pure."""

from collections.abc import Iterable
from typing import Final

from proxy.credential.advice import moment
from proxy.credential.status import Status
from proxy.page.mark import mark
from proxy.page.markup import Markup, prose, spaced, tag
from proxy.page.standing import TONES, Lending, standing
from proxy.page.words import ago, many

KINDS: Final = {"api_key": "API key", "oauth2": "OAuth 2 grant"}


def cards(lendings: Iterable[Lending], now: float) -> Markup:
    """Show all, the worst first. `now` is wall-clock seconds."""
    worst = sorted(lendings, key=lambda each: TONES.index(standing(each).tone))
    return tag("div", *(_card(each, now) for each in worst), class_="cards")


def _card(lending: Lending, now: float) -> Markup:
    status, stands = lending.status, standing(lending)
    return tag(
        "article",
        tag("h3", spaced(tag("span", status.credential), tag("small", KINDS[status.kind]))),
        tag("p", mark(stands.tone), spaced(tag("b", stands.word), tag("span", stands.rest)), class_="stands"),
        _life(status, now),
        tag("p", prose(status.advice), class_="advice") if status.advice else "",
        tag("dl", *(spaced(tag("dt", label), tag("dd", text)) for label, text in _rows(lending, now) if text)),
        class_=f"card {stands.tone}",
    )


def _life(status: Status, now: float) -> Markup:
    """Draw how much is left of a token's life."""
    if status.obtained_at is None or status.expires_at is None or status.expires_at <= status.obtained_at:
        return Markup()
    left = min(1.0, max(0.0, (status.expires_at - now) / (status.expires_at - status.obtained_at)))
    drawn = (tag("path", class_="all", d="M0 0H100V1H0z"), tag("path", class_="left", d=f"M0 0H{left * 100:.1f}V1H0z"))
    return tag("svg", *drawn, class_="life", viewBox="0 0 100 1", preserveAspectRatio="none", aria_hidden="true")


def _rows(lending: Lending, now: float) -> Iterable[tuple[str, str]]:
    status, refreshes = lending.status, lending.refreshes
    yield "expires", moment(status.expires_at) if status.expires_at else ""
    if status.last_result and status.last_refresh_at:
        yield "last refresh", f"{status.last_result}, {ago(now - status.last_refresh_at)}"
    yield "since the start", ", ".join(f"{result} {many(number, 'time')}" for result, number in refreshes.items())
    yield "generation", str(status.generation or "")
    yield "kept in", status.store or ""
