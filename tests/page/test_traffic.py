"""Counting by slots of time, and what is known of how long requests took."""

import random

import pytest
from page.samples import slot

from proxy.page.traffic import ANSWERED, BOUNDS, FAILED, REFUSED, Slot, total


def test_a_slot_counts_by_how_requests_ended() -> None:
    filled = slot((ANSWERED, 0.1), (REFUSED, 0.1), (ANSWERED, 0.2), (FAILED, 5))
    assert (filled.ends, filled.count) == ([2, 1, 1], 4)


@pytest.mark.parametrize("part", [0.5, 0.95])
@pytest.mark.parametrize("typical", [0.004, 0.08, 2.0])
def test_how_long_requests_took_is_known_to_a_tenth(part: float, typical: float) -> None:
    chance = random.Random(7)  # noqa: S311 - nothing is kept secret with it
    took = sorted(typical * chance.lognormvariate(0, 0.5) for _ in range(2000))
    told = slot(*((ANSWERED, seconds) for seconds in took)).within(part)
    assert told == pytest.approx(took[int(part * 2000)], rel=0.1)


@pytest.mark.parametrize("seconds", [0.0, 0.0005, 0.001, 0.0011, 0.3, 100.0])
def test_a_single_request_is_in_a_bucket_a_fifth_wide(seconds: float) -> None:
    told = slot((ANSWERED, seconds)).within(0.95)
    assert told <= 0.001 if seconds <= 0.001 else told == pytest.approx(seconds, rel=0.19)


def test_what_took_longer_than_is_told_apart_took_at_least_that() -> None:
    assert slot((FAILED, 7200.0)).within(0.5) == BOUNDS[-1]


def test_nothing_took_no_time() -> None:
    assert Slot(0).within(0.5) == 0


def test_slots_are_added_up_and_empty_ones_add_nothing() -> None:
    whole = total([slot((ANSWERED, 0.1)), None, slot((ANSWERED, 0.1), (REFUSED, 4))])
    assert whole.ends == [2, 1, 0]
    assert whole.within(1.0) == pytest.approx(4, rel=0.19)
    assert total([None, None]).count == 0
    assert total([]).within(0.5) == 0
