"""Results that no machine has found, for tests of what is made of them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from bench.figures import Measured, Results
from bench.report import SECTIONS

FIGURES: Final = [figure for section in SECTIONS for figure in section.figures.values()]
OTHERS: Final = ["upload.seconds", "download.seconds", "c1.errors", "c32.errors", "c256.errors", "post.errors"]
NOTHING: Final = MappingProxyType[str, float]({})
NOBODY: Final = MappingProxyType[str, Measured]({})
PEERS: Final = ("pandadoc-proxy", "Envoy", "nginx", "HAProxy", "aiohttp client session", "mitmproxy")


def measured(*values: float, but: Mapping[str, float] = NOTHING) -> Measured:
    """Return a peer of which every figure is the round's value, but for those named, and no request failed."""
    every = [*FIGURES, *OTHERS, "logged.errors"]
    rounds = [{figure: 0.0 if figure.endswith(".errors") else value for figure in every} | {**but} for value in values]
    return Measured("1.2.3", tuple(rounds))


def results(others: Mapping[str, Measured] = NOBODY) -> Results:
    """Return a run of two rounds in which every peer found 10 and 20; `others` found otherwise."""
    found = {name: measured(10.0, 20.0) for name in PEERS} | {**others}
    return Results("2026-01-02", "2 CPUs", 3, found, {})
