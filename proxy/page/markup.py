"""HTML from values: whatever is not markup already is escaped. Pure.

Nothing else in this package writes a `<`, so nothing that a caller chose can.
"""

from html import escape
from typing import Final

VOID: Final = frozenset({"br", "link", "meta", "path", "rect"})
"""Elements without an end tag here; the last two are SVG's, which end themselves."""


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, /, *inner: str, **attributes: object) -> Markup:
    """Write an element. An attribute's trailing `_` is dropped, its others become `-`."""
    told = "".join(
        f' {key.removesuffix("_").replace("_", "-")}="{escape(str(value))}"' for key, value in attributes.items()
    )
    if name in VOID:
        return Markup(f"<{name}{told}/>")
    return Markup(f"<{name}{told}>{together(*inner)}</{name}>")


def together(*parts: str) -> Markup:
    """Put markup and texts one after the other."""
    return Markup("".join(part if isinstance(part, Markup) else escape(part) for part in parts))


def spaced(*parts: str) -> Markup:
    """Put them side by side, so that they are words apart also for those who listen."""
    return Markup(" ".join(together(part) for part in parts))


def prose(text: str) -> Markup:
    """Write a sentence of ours: what stands between backticks is code, in which no option is broken in two."""
    parts = text.split("`")
    return together(*(_code(part) if place % 2 else part for place, part in enumerate(parts)))


def _code(text: str) -> Markup:
    return tag("code", spaced(*(tag("span", word) if word.startswith("-") else word for word in text.split(" "))))
