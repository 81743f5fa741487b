"""The mark of each tone: a shape of its own, for those to whom colours say nothing. Pure."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from proxy.page.markup import Markup, tag
from proxy.page.standing import Tone

ROUND: Final = "M10 1a9 9 0 1 0 0 18a9 9 0 0 0 0-18z"

SHAPES: Final[Mapping[Tone, tuple[str, str]]] = {
    "good": (ROUND, "M5.8 10.4l2.9 2.9 5.6-6"),
    "wait": (ROUND, "M10 5v5.3l3.4 2.2"),
    "unknown": (ROUND, "M5.6 10h.1M10 10h.1M14.4 10h.1"),
    "warn": ("M10 1.2L19.3 18H.7z", "M10 7v5M10 15.1h.1"),
    "bad": ("M6.3 1h7.4L19 6.3v7.4L13.7 19H6.3L1 13.7V6.3z", "M6.8 6.8l6.4 6.4M13.2 6.8l-6.4 6.4"),
}
"""Outline and sign: a tick, a clock and dots in a circle each, a triangle, an octagon with a cross."""

IN_THE_TAB: Final[Mapping[Tone, str]] = {
    "good": "#1f883d",
    "wait": "#9a6700",
    "unknown": "#6e7781",
    "warn": "#bc4c00",
    "bad": "#cf222e",
}
"""Colours of the icon, which knows nothing of our style."""


def mark(tone: Tone) -> Markup:
    """Draw a tone; its word stands beside it."""
    outline, sign = SHAPES[tone]
    drawn = (tag("path", class_="shape", d=outline), tag("path", class_="sign", d=sign))
    return tag("svg", *drawn, class_=f"mark {tone}", viewBox="0 0 20 20", aria_hidden="true")


def icon(tone: Tone) -> str:
    """Draw it for the browser's tab, as a URL that holds the picture."""
    outline, sign = SHAPES[tone]
    drawn = (
        tag("path", d=outline, fill=IN_THE_TAB[tone]),
        tag("path", d=sign, fill="none", stroke="#fff", stroke_width="2.4"),
    )
    picture = tag("svg", *drawn, xmlns="http://www.w3.org/2000/svg", viewBox="0 0 20 20")
    return f"data:image/svg+xml,{quote(picture)}"
