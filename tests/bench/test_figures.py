"""Medians and ratios, and the file that they are kept in."""

import msgspec
import pytest
from bench.given import measured, results

from bench.figures import read, written


def test_the_median_is_of_all_rounds() -> None:
    found = results({"nginx": measured(1.0, 5.0, 2.0)})
    assert found.median_of("nginx", "c32.cpu_us") == 2.0


def test_a_ratio_is_of_the_same_round_so_that_a_slow_minute_slows_both() -> None:
    found = results({"Envoy": measured(1.0, 100.0, 2.0), "nginx": measured(2.0, 300.0, 4.0)})
    assert found.ratio_of("nginx", "c32.cpu_us", "Envoy") == 2.0


def test_a_ratio_may_be_to_another_figure() -> None:
    found = results({"Envoy": measured(1.0, but={"c32.cpu_us": 5.0}), "pandadoc-proxy": measured(10.0)})
    assert found.ratio_of("pandadoc-proxy", "logged.cpu_us", "Envoy", "c32.cpu_us") == 2.0


@pytest.mark.parametrize("other", ["nobody", "nginx"])
def test_there_is_no_ratio_to_who_is_missing_or_to_nothing(other: str) -> None:
    assert results({"nginx": measured(0.0, 0.0)}).ratio_of("Envoy", "c32.cpu_us", other) is None


def test_what_is_written_is_read_again() -> None:
    found = msgspec.structs.replace(results(), missing={"mitmproxy": "no such package"})
    assert read(written(found)) == found
