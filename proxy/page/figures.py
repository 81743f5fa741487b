"""The charts of the last quarter hour, with what they say in words. Pure."""

from collections.abc import Iterable

from proxy.page import chart
from proxy.page.chart import HALF, NEARLY_ALL
from proxy.page.markup import Markup, spaced, tag
from proxy.page.traffic import ANSWERED, FAILED, LATELY, REFUSED, SECONDS, Slots, total
from proxy.page.words import many, time


def figures(slots: Slots) -> Markup:
    return tag("div", _rates(slots), _latencies(slots), class_="charts")


def _rates(slots: Slots) -> Markup:
    ends, now = total(slots).ends, total(slots[-LATELY:]).count
    legend = (
        ("answered", f"{ends[ANSWERED]:,} answered"),
        ("refused", f"{ends[REFUSED]:,} refused (4xx)"),
        ("failed", f"{ends[FAILED]:,} failed (5xx, or broken off)"),
    )
    return _figure(
        f"Requests, every {SECONDS} seconds", f"{many(now, 'request')} in the last minute", chart.rates(slots), legend
    )


def _latencies(slots: Slots) -> Markup:
    whole, now = total(slots), total(slots[-LATELY:])
    legend = (
        ("half", f"half within {time(whole.within(HALF))}"),
        ("band", f"95 % within {time(whole.within(NEARLY_ALL))}"),
    )
    latest = f"half within {time(now.within(HALF))} in the last minute" if now.count else "none in the last minute"
    return _figure("Time to the last byte", latest, chart.latencies(slots), legend if whole.count else ())


def _figure(title: str, latest: str, plot: Markup, legend: Iterable[tuple[str, str]]) -> Markup:
    keys = (tag("li", tag("i", class_=f"key {name}"), text) for name, text in legend)
    return tag(
        "figure",
        tag("figcaption", spaced(tag("b", title), tag("span", latest))),
        plot,
        tag("ul", *keys, class_="legend"),
    )
