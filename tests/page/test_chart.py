"""Charts, by what is drawn where."""

import re
from xml.etree import ElementTree as ET

import pytest
from page.samples import slot, slots

from proxy.page.chart import axis, latencies, rates, scale
from proxy.page.markup import Markup
from proxy.page.traffic import ANSWERED, FAILED, REFUSED, SLOTS


def paths(plot: Markup) -> dict[str, str]:
    return {path.get("class", ""): path.get("d", "") for path in ET.fromstring(plot).iter("path")}  # noqa: S314 - ours


def labels(plot: Markup) -> list[str]:
    return re.findall(r"<span>(.*?)</span>", plot)


@pytest.mark.parametrize(
    ("most", "top"),
    [(0, 2), (1, 2), (2, 2), (3, 4), (4, 4), (5, 10), (10, 10), (11, 20), (399, 400), (1000, 1000), (1001, 2000)],
)
def test_a_scale_ends_at_a_number_with_a_round_half(most: float, top: float) -> None:
    assert scale(most, least=2) == top


@pytest.mark.parametrize(("most", "top"), [(0.0001, 0.002), (0.08, 0.1), (0.15, 0.2), (0.7, 1), (90, 100), (131, 200)])
def test_so_does_one_of_seconds(most: float, top: float) -> None:
    assert scale(most, least=0.002) == pytest.approx(top)


@pytest.mark.parametrize(("seconds", "text"), [(0.002, "2 ms"), (0.5, "500 ms"), (1.0, "1 s"), (0.02 / 2, "10 ms")])
def test_a_scale_is_written_shortly(seconds: float, text: str) -> None:
    assert axis(seconds) == text


def test_how_requests_ended_is_stacked_with_the_worst_on_top() -> None:
    plot = rates(slots(slot((ANSWERED, 1), (ANSWERED, 1), (REFUSED, 1), (FAILED, 1))))
    drawn = paths(plot)
    assert drawn["answered"] == "M89.1 50.0h.8v50.0h-.8z"
    assert drawn["refused"] == "M89.1 25.0h.8v25.0h-.8z"
    assert drawn["failed"] == "M89.1 0.0h.8v25.0h-.8z"
    assert labels(plot) == ["4", "2", "0", "15 min", "10 min", "5 min", "now"]


def test_one_failure_among_thousands_is_seen() -> None:
    drawn = paths(rates(slots(slot(*[(ANSWERED, 1.0)] * 999, (FAILED, 1.0)))))
    assert drawn["failed"].endswith("v2.0h-.8z")


def test_the_oldest_slot_is_at_the_left() -> None:
    drawn = paths(rates([slot((ANSWERED, 1)), *[None] * (SLOTS - 1)]))
    assert drawn["answered"].startswith("M0.1 ")


def test_how_long_they_took_is_a_line_and_a_band_above_it() -> None:
    plot = latencies(slots(slot(*[(ANSWERED, 0.1)] * 9, (ANSWERED, 0.9))))
    drawn = paths(plot)
    line = re.fullmatch(r"M89 (\S+)h1", drawn["half"])
    band = re.fullmatch(r"M89\.1 (\S+)h\.8v(\S+)h-\.8z", drawn["band"])
    assert line is not None
    assert band is not None
    assert labels(plot)[:3] == ["1 s", "500 ms", "0"]
    assert float(line[1]) == pytest.approx(90, abs=2)
    assert float(band[1]) == pytest.approx(10, abs=10)
    assert float(band[1]) + float(band[2]) == pytest.approx(float(line[1]), abs=0.1)


def test_a_quarter_hour_without_requests_has_scales_and_nothing_else() -> None:
    for plot in (rates(slots()), latencies(slots())):
        assert {d for name, d in paths(plot).items() if name != "grid"} == {""}
        assert labels(plot)[2] == "0"


def test_a_chart_says_its_height_to_those_who_do_not_see_it() -> None:
    full = slots(slot(*[(ANSWERED, 0.1)] * 1200))
    for plot, title in (
        (rates(full), "Bars: 1,200 at most in 10 seconds"),
        (rates(slots()), "Bars: 0 at most in 10 seconds"),
        (latencies(full), "Bars: 95 % within 110 ms at most"),
        (latencies(slots()), "No bars"),
    ):
        (picture,) = ET.fromstring(plot).iter("svg")  # noqa: S314 - ours
        assert (picture.get("role"), picture.findtext("title")) == ("img", title)
