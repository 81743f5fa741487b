"""The plot beside the page, as SVG: bars that can be compared at a glance."""

from html import escape
from typing import Final, NamedTuple

from bench.figures import Results
from bench.report import number
from bench.targets import ENVOY, OURS

WIDTH: Final = 790
NAMES: Final = 220
BAR: Final = 400
ROW: Final = 24
TITLE: Final = 44
CUT: Final = 10.0
"""A bar of more than so many times Envoy's is cut off there, so that the others can be told apart."""

PANELS: Final = (
    ("CPU per request, 32 connections (µs)", "c32.cpu_us"),
    ("CPU per request with an access log, 32 connections (µs)", "logged.cpu_us"),
    ("Median latency, one connection (µs)", "c1.p50_us"),
    ("Memory when idle (MiB)", "start.idle_mib"),
)
STYLE: Final = (
    "text{font:13px sans-serif;fill:#222}.title{font-weight:bold}.figure{font-size:12px}"
    "rect{fill:#9aa5b1}.ours{fill:#1f6feb}.envoy{fill:#57606a}"
)


class Row(NamedTuple):
    """A peer's bar."""

    peer: str
    value: float
    ratio: float | None


def drawn(results: Results) -> str:
    """Draw all panels, one below the other; in each the cheapest peer is the first."""
    panels, top = [], 0
    for title, figure in PANELS:
        rows = rows_of(results, figure)
        panels.append(_panel(title, rows, top))
        top += TITLE + ROW * len(rows)
    size = f'width="{WIDTH}" height="{top + 12}" viewBox="0 0 {WIDTH} {top + 12}"'
    ground = f'<path fill="#fff" d="M0 0H{WIDTH}V{top + 12}H0z"/>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n<style>{STYLE}</style>\n{ground}\n{"".join(panels)}</svg>\n'
    )


def rows_of(results: Results, figure: str) -> list[Row]:
    """Return every peer's value, the least first."""
    found = {peer: results.median_of(peer, figure) for peer in results.peers}
    rows = [
        Row(peer, value, results.ratio_of(peer, figure, ENVOY)) for peer, value in found.items() if value is not None
    ]
    return sorted(rows, key=lambda row: row.value)


def _panel(title: str, rows: list[Row], top: int) -> str:
    longest = max((row.value for row in rows), default=1.0)
    full = min([longest, *(CUT * row.value for row in rows if row.peer == ENVOY)])
    bars = [_bar(row, full, top + TITLE + ROW * place) for place, row in enumerate(rows)]
    return "".join([f'<text class="title" x="10" y="{top + 32}">{escape(title)}</text>\n', *bars])


def _bar(row: Row, full: float, top: int) -> str:
    length = BAR * min(1.0, row.value / full)
    kind = "ours" if row.peer.startswith(OURS) else "envoy" if row.peer == ENVOY else "peer"
    ratio = "" if row.ratio is None else f" · {row.ratio:.2f}× Envoy"
    cut = "» " if row.value > full else ""
    return (
        f'<text x="{NAMES - 8}" y="{top + 15}" text-anchor="end">{escape(row.peer)}</text>'
        f'<rect class="{kind}" x="{NAMES}" y="{top + 2}" width="{length:.1f}" height="{ROW - 6}"/>'
        f'<text class="figure" x="{NAMES + length + 6:.1f}" y="{top + 15}">{cut}{number(row.value)}{ratio}</text>\n'
    )
