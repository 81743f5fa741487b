"""Each rate budget on a card: what is left of every rate, who waits, what PandaDoc has refused. Pure."""

from collections.abc import Iterable, Mapping, Sequence

from proxy.budget.budget import Standing
from proxy.credential.advice import span
from proxy.page.markup import Markup, spaced, tag
from proxy.page.words import many

Budgets = Mapping[str, Sequence[Standing]]


def budgets(told: Budgets) -> Markup:
    """Show all, by credential."""
    return tag("div", *(_card(credential, rates) for credential, rates in told.items()), class_="cards")


def _card(credential: str, rates: Iterable[Standing]) -> Markup:
    rows = (spaced(tag("dt", rate.name), tag("dd", ", ".join(_said(rate)))) for rate in rates)
    return tag("article", tag("h3", tag("span", credential)), tag("dl", *rows), class_="card")


def _said(of: Standing) -> Iterable[str]:
    if of.paused_for:
        yield f"pauses for {span(of.paused_for)} after PandaDoc's 429"
    elif of.rate is None or of.left is None or of.limit is None:
        yield "not counted"
    else:
        yield f"{of.left:,} of {of.limit:,} left in {span(of.rate.seconds)}"
        if of.limit < of.rate.most:
            yield f"where {of.rate.most:,} were expected"
    if of.shared is False:
        yield "this replica's share, while Redis can't be reached"
    if of.waiting:
        yield f"{of.waiting:,} waiting"
    if of.waits:
        yield f"{many(of.waits, 'request')} waited {span(of.waited / of.waits)} on average"
    if of.refused:
        yield f"{of.refused:,} refused"
    if of.throttled:
        yield f"PandaDoc said 429 {many(of.throttled, 'time')}"
