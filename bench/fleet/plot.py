"""The plot beside the page, as SVG: how what is asked of an engine grows with the fleet."""

from html import escape
from math import log10
from typing import Final, NamedTuple

from bench.fleet.figures import Figures, Results
from bench.report import number

WIDTH: Final = 860
HEIGHT: Final = 300
LEFT: Final = 60
RIGHT: Final = 560
TOP: Final = 44
BOTTOM: Final = 260
LABEL: Final = 16
"""Between the names of two lines, at least."""

LINES: Final = {
    "idle": "#57606a",
    "stale": "#1f6feb",
    "revoked": "#8250df",
    "slow-revoked": "#bf3989",
    "cold": "#bc4c00",
    "crash-lease": "#1a7f37",
}
STYLE: Final = (
    "text{font:13px sans-serif;fill:#222}.title{font-weight:bold}.tick{font-size:11px}"
    "polyline{fill:none;stroke-width:2}.grid{stroke:#d0d7de;stroke-width:1}"
)


class Panel(NamedTuple):
    """One diagram: a title, an engine, and which of the figures grows upwards."""

    title: str
    engine: str
    figure: str


PANELS: Final = (
    Panel("Calls to Redis in the busiest second", "redis", "peak"),
    Panel("Requests to the Kubernetes API in the busiest second", "kubernetes", "peak"),
    Panel("Calls to Redis in a second, on average", "redis", "mean"),
    Panel("Requests to the Kubernetes API in a second, on average", "kubernetes", "mean"),
)


class Scale(NamedTuple):
    """A logarithmic axis: from 10**low to 10**high, drawn from `begin` to `end`."""

    low: int
    high: int
    begin: float
    end: float

    def at(self, value: float) -> float:
        """Return where a value stands; what is below the axis stands on it."""
        part = (log10(max(value, 10.0**self.low)) - self.low) / (self.high - self.low)
        return self.begin + part * (self.end - self.begin)

    @property
    def ticks(self) -> list[float]:
        return [10.0**power for power in range(self.low, self.high + 1)]


def drawn(results: Results, titles: dict[str, str]) -> str:
    """Draw all panels, one below the other; `titles` are the scenarios'."""
    panels = "".join(_panel(panel, results, titles, HEIGHT * place) for place, panel in enumerate(PANELS))
    tall = HEIGHT * len(PANELS)
    size = f'width="{WIDTH}" height="{tall}" viewBox="0 0 {WIDTH} {tall}"'
    ground = f'<path fill="#fff" d="M0 0H{WIDTH}V{tall}H0z"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n<style>{STYLE}</style>\n{ground}\n{panels}</svg>\n'


def _panel(panel: Panel, results: Results, titles: dict[str, str], top: int) -> str:
    lines = {name: results.played[name][panel.engine] for name in LINES if name in results.played}
    most = max((_value(each, panel) for line in lines.values() for each in line), default=1.0)
    across = Scale(0, 3, LEFT, RIGHT)
    up = Scale(-2 if panel.figure == "mean" else 0, len(str(int(most))), top + BOTTOM, top + TOP)
    parts = [f'<text class="title" x="10" y="{top + 26}">{escape(panel.title)}</text>\n', _grid(across, up)]
    highest_first = sorted(lines.items(), key=lambda line: -_value(line[1][-1], panel))
    y = 0.0
    for name, line in highest_first:
        points = " ".join(f"{across.at(each.size):.1f},{up.at(_value(each, panel)):.1f}" for each in line)
        parts.append(f'<polyline stroke="{LINES[name]}" points="{points}"/>')
        y = max(y + LABEL, up.at(_value(line[-1], panel)) + 4)
        label = f"{number(_value(line[-1], panel))} {titles[name]}"
        parts.append(f'<text x="{RIGHT + 8}" y="{y:.1f}" style="fill:{LINES[name]}">{escape(label)}</text>\n')
    return "".join(parts)


def _grid(across: Scale, up: Scale) -> str:
    rows = [
        f'<path class="grid" d="M{LEFT} {up.at(tick):.1f}H{RIGHT}"/>'
        f'<text class="tick" x="{LEFT - 6}" y="{up.at(tick) + 4:.1f}" text-anchor="end">{tick:,g}</text>'
        for tick in up.ticks
    ]
    columns = [
        f'<text class="tick" x="{across.at(tick):.1f}" y="{up.begin + 16:.1f}" text-anchor="middle">{tick:,g}</text>'
        for tick in across.ticks
    ]
    what = f'<text class="tick" x="{RIGHT + 28}" y="{up.begin + 16:.1f}">replicas</text>\n'
    return "".join([*rows, *columns, what])


def _value(figures: Figures, panel: Panel) -> float:
    return float(figures.peak if panel.figure == "peak" else figures.mean)
