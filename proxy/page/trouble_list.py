"""The last refusals and errors, each with what to do: in the words that the caller and the log were told. Pure."""

from collections.abc import Iterable
from typing import Final

from proxy.page.markup import Markup, prose, spaced, tag
from proxy.page.recent import Trouble
from proxy.page.words import ago

SHOWN: Final = 160
"""Characters of a request's method and path: the access log has more."""

THEIRS: Final = "PandaDoc said so itself; the proxy relayed it."
NOTHING: Final = "Nothing has been refused, and nothing has failed."


def trouble_list(troubles: Iterable[Trouble]) -> Markup:
    rows = [_row(each) for each in troubles]
    return tag("ol", *rows) if rows else tag("p", NOTHING, class_="nothing")


def _row(trouble: Trouble) -> Markup:
    often = f"{trouble.count:,} times, last {ago(trouble.age)}" if trouble.count > 1 else ago(trouble.age)
    status = str(trouble.status or "—")  # none where the answer broke before it had one
    return tag(
        "li",
        tag("p", spaced(tag("b", status), tag("span", trouble.error), tag("small", often)), class_="what"),
        tag("p", prose(trouble.fault.removeprefix(f"{trouble.error}: ") or THEIRS)),
        tag("p", spaced(*_where(trouble)), class_="where"),
    )


def _where(trouble: Trouble) -> Iterable[Markup]:
    yield tag("code", _shortened(f"{trouble.method} {trouble.path}"))
    yield tag("span", f"at {trouble.listener}")
    if trouble.client:
        yield tag("span", f"by {trouble.client}")


def _shortened(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
