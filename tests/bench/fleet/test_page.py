"""The page and the plot: what is in docs/ is what the last run has found."""

import re
from xml.etree import ElementTree as ET

import pytest

from bench.fleet.__main__ import BY_NAME, DOCS, ENGINES, HERE, SIZES, TITLES
from bench.fleet.figures import Results, read, written
from bench.fleet.plot import LINES, PANELS, RIGHT, WIDTH, Scale, drawn
from bench.fleet.report import page

BOUND = 14
"""Calls of each replica in the busiest second of any scenario, at most."""


@pytest.fixture(scope="module")
def results() -> Results:
    return read((HERE / "results.json").read_text(encoding="utf-8"))


def test_the_page_and_the_plot_are_made_of_the_results(results: Results) -> None:
    assert (DOCS / "fleet-simulation.md").read_text(encoding="utf-8") == page(results, TITLES)
    assert (DOCS / "fleet.svg").read_text(encoding="utf-8") == drawn(results, TITLES)
    assert written(results) == (HERE / "results.json").read_text(encoding="utf-8")


def test_every_scenario_was_played_with_every_engine_and_size(results: Results) -> None:
    assert list(results.played) == list(BY_NAME)
    for engines in results.played.values():
        assert list(engines) == list(ENGINES)
        assert all(tuple(each.size for each in sizes) == SIZES for sizes in engines.values())


def test_the_bound_on_calls_holds_for_large_fleets(results: Results) -> None:
    """Small ones have the calls of the one that refreshes, too."""
    for engines in results.played.values():
        assert all(each.peak <= BOUND * each.size for sizes in engines.values() for each in sizes if each.size >= 100)


def test_a_refresh_that_nothing_disturbs_costs_one_redeem_and_no_failed_request(results: Results) -> None:
    for scenario in ("stale", "expired", "revoked", "cold"):
        for sizes in results.played[scenario].values():
            assert all((each.redeemed, each.refused) == (1, 0) for each in sizes)
            assert all(each.relayed_401 == each.unavailable_503 == 0 for each in sizes)


def test_the_plot_has_a_line_of_every_size_for_each_scenario(results: Results) -> None:
    svg = drawn(results, TITLES)
    assert ET.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 - our own
    lines = re.findall(r'points="([^"]*)"', svg)
    assert len(lines) == len(LINES) * len(PANELS)
    assert all(len(line.split()) == len(SIZES) for line in lines)


def test_the_names_of_the_lines_stay_within_the_picture() -> None:
    assert all(RIGHT + 8 + 7 * len(f"10,000 {TITLES[name]}") <= WIDTH for name in LINES)


def test_an_axis_has_its_powers_at_equal_distances() -> None:
    axis = Scale(0, 3, 100, 400)
    assert [axis.at(tick) for tick in axis.ticks] == [100, 200, 300, 400]
    assert axis.at(0) == 100
