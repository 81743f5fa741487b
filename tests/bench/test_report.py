"""The page, from figures that are given."""

import re
from typing import Final

import msgspec
import pytest
from bench.given import PEERS, measured, results

from bench.report import SECTIONS, number, page


def row(text: str, title: str, first: str) -> list[str]:
    """Return the cells of a row of the table below a title."""
    table = text.partition(f"## {title}\n")[2].partition("\n## ")[0]
    (line,) = (line for line in table.splitlines() if line.startswith(f"| {first} |"))
    return line.strip("| ").split(" | ")[1:]


FAST: Final = measured(1.0, 3.0)


def test_a_cell_has_the_median_the_range_and_the_ratio_to_envoy() -> None:
    text = page(results({"nginx": FAST}))
    assert row(text, "1 KiB, 32 connections", "nginx")[0] == "2.00 (1.00–3.00) 0.12×"
    assert row(text, "1 KiB, 32 connections", "Envoy")[0] == "15.0 (10.0–20.0) 1.00×"


def test_one_round_has_no_range() -> None:
    text = page(results({"nginx": measured(5.0), "Envoy": measured(10.0)}))
    assert row(text, "1 KiB, 32 connections", "nginx")[0] == "5.00 0.50×"


def test_every_section_has_a_row_of_every_peer() -> None:
    text = page(results())
    for section in SECTIONS:
        assert all(len(row(text, section.title, peer)) == len(section.figures) for peer in PEERS)


def test_a_peer_that_is_missing_is_named_with_the_reason_and_nothing_is_judged_by_it() -> None:
    found = results()
    others = {name: peer for name, peer in found.peers.items() if name != "Envoy"}
    text = page(msgspec.structs.replace(found, peers=others, missing={"Envoy": "no such wheel"}))
    assert row(text, "Versions", "Envoy") == ["missing: no such wheel"]
    assert row(text, "Targets", "Idle memory to Envoy's")[1:] == ["–", "not judged"]
    assert row(text, "1 KiB, one connection", "nginx")[0] == "15.0 (10.0–20.0)"


def test_the_page_says_which_targets_are_met() -> None:
    text = page(results({"pandadoc-proxy": measured(10.0, 20.0, but={"start.ready_ms": 601.0, "start.idle_mib": 5.0})}))
    assert row(text, "Targets", "Idle memory to Envoy's") == ["0.75", "0.38", "met"]
    assert row(text, "Targets", "Milliseconds from exec to the first answer") == ["600", "601", "**missed**"]


def test_failed_requests_are_named_beside_who_failed_them() -> None:
    assert "None: every request was answered" in page(results())
    text = page(results({"mitmproxy": measured(10.0, 20.0, but={"c256.errors": 12.0})}))
    assert re.search(r"## Errors\n\n- mitmproxy, c256: 12.0 in a round\n\n##", text)


@pytest.mark.parametrize(("value", "text"), [(1234.5, "1,234"), (99.94, "99.9"), (9.994, "9.99"), (0.0, "0.00")])
def test_a_number_has_three_digits_or_all_before_the_point(value: float, text: str) -> None:
    assert number(value) == text
