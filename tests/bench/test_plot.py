"""The plot, from figures that are given."""

import re
from xml.etree import ElementTree as ET

from bench.given import PEERS, measured, results

from bench.plot import BAR, CUT, NAMES, PANELS, WIDTH, drawn
from bench.report import number


def bars(svg: str) -> list[tuple[str, float]]:
    """Return every bar, by its class, with its length."""
    return [(kind, float(width)) for kind, width in re.findall(r'<rect class="(\w+)" .*?width="([\d.]+)"', svg)]


def test_it_is_svg_with_a_bar_of_every_peer_in_every_panel() -> None:
    svg = drawn(results())
    assert ET.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 - our own
    assert len(bars(svg)) == len(PEERS) * len(PANELS)


def test_a_bar_is_as_long_as_its_value_and_the_least_comes_first() -> None:
    first, *_, last = bars(
        drawn(results({"nginx": measured(5.0), "Envoy": measured(10.0), "mitmproxy": measured(20.0)}))
    )[:6]
    assert first == ("peer", BAR / 4)
    assert last == ("peer", BAR)


def test_a_bar_far_above_envoys_is_cut_off_and_marked() -> None:
    far = 15.0 * CUT * 10
    svg = drawn(results({"mitmproxy": measured(far)}))
    assert bars(svg)[5] == ("peer", BAR)
    assert bars(svg)[0][1] == BAR / CUT
    assert f"» {number(far)}" in svg


def test_figures_stay_within_the_picture() -> None:
    longest = len("» 10,000 · 100.00× Envoy") * 7
    assert NAMES + BAR + longest <= WIDTH
