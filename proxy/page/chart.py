"""Slots of time as inline SVG, which grows with the page; its scales are HTML beside it, which do not. Pure.

A unit across is a slot, a hundredth of the height a unit down. Colours are classes, for the style to choose.
"""

from collections.abc import Sequence
from math import floor, log10
from typing import Final

from proxy.page.markup import Markup, tag
from proxy.page.traffic import FAILED, SECONDS, SLOTS, Slot, Slots
from proxy.page.words import time

HEIGHT: Final = 100
LEAST_SEEN: Final = 2.0
"""Units. What has failed is seen, however few it was among many."""

HALF: Final = 0.5
NEARLY_ALL: Final = 0.95

CLASSES: Final = ("answered", "refused", "failed")
"""Of each End."""

TICKS: Final = ("15 min", "10 min", "5 min", "now")
"""A third of the width apart."""


def rates(slots: Slots) -> Markup:
    """Draw how many requests were over in each slot, by how they ended; the worst on top."""
    most = max(slot.count if slot else 0 for slot in slots)
    top = scale(most, least=2)
    heights = [_stack(slot, top) for slot in slots]
    bars = [
        tag("path", class_=name, d=_bars([(sum(each[:end]), each[end]) for each in heights]))
        for end, name in enumerate(CLASSES)
    ]
    about = f"Bars: {most:,} at most in {SECONDS} seconds"
    return _plot(about, bars, [f"{top:,.0f}", f"{top / 2:,.0f}", "0"])


def latencies(slots: Slots) -> Markup:
    """Draw within how many seconds half of each slot's requests were over, and from there to nearly all."""
    found = [(slot.within(HALF), slot.within(NEARLY_ALL)) if slot else (0.0, 0.0) for slot in slots]
    slowest = max(nearly_all for _, nearly_all in found)
    top = scale(slowest or 1, least=0.002)
    scaled = [(half / top * HEIGHT, nearly_all / top * HEIGHT) for half, nearly_all in found]
    band = tag("path", class_="band", d=_bars([(half, nearly_all - half) for half, nearly_all in scaled]))
    lines = "".join(f"M{at} {HEIGHT - half:.1f}h1" for at, (half, _) in enumerate(scaled) if half)
    about = f"Bars: 95 % within {time(slowest)} at most" if slowest else "No bars"
    return _plot(about, [band, tag("path", class_="half", d=lines)], [axis(top), axis(top / 2), "0"])


def scale(most: float, *, least: float) -> float:
    """Choose what the top of a chart stands for: 1, 2 or 4 times a power of ten, so that its half is a round number.

    No less than `least`, which is one of these.
    """
    if most <= least:
        return least
    power = 10.0 ** floor(log10(most))
    return next(step * power for step in (1, 2, 4, 10) if most <= step * power)


def axis(seconds: float) -> str:
    """Write a round length of time."""
    return f"{seconds:g} s" if seconds >= 1 else f"{seconds * 1000:g} ms"


def _stack(slot: Slot | None, top: float) -> list[float]:
    if slot is None:
        return [0.0] * len(CLASSES)
    heights = [number / top * HEIGHT for number in slot.ends]
    if 0 < heights[FAILED] < LEAST_SEEN:
        heights[FAILED] = LEAST_SEEN
    return heights


def _bars(spans: Sequence[tuple[float, float]]) -> str:
    """Draw a bar in each slot, from so far above the ground and so high."""
    bars = ((at, HEIGHT - ground - height, height) for at, (ground, height) in enumerate(spans) if height > 0)
    return "".join(f"M{at + 0.1:g} {y:.1f}h.8v{height:.1f}h-.8z" for at, y, height in bars)


def _plot(about: str, drawn: Sequence[Markup], heights: Sequence[str]) -> Markup:
    """Put the scales around what is drawn. `about` is for those who don't see it."""
    across = "".join(f"M0 {y}H{SLOTS}" for y in (0, HEIGHT // 2, HEIGHT))
    down = "".join(f"M{SLOTS * part // 3} 0V{HEIGHT}" for part in (1, 2))
    grid = tag("path", class_="grid", d=across + down)
    picture = tag(
        "svg",
        tag("title", about),
        grid,
        *drawn,
        viewBox=f"0 0 {SLOTS} {HEIGHT}",
        preserveAspectRatio="none",
        role="img",
    )
    return tag("div", _labels("up", heights), picture, _labels("along", TICKS), class_="plot")


def _labels(which: str, texts: Sequence[str]) -> Markup:
    return tag("div", *(tag("span", text) for text in texts), class_=which, aria_hidden="true")
