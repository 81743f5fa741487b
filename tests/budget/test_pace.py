"""When batch requests leave."""

import pytest

from proxy.budget.pace import Pace


def test_they_are_spread_over_the_window() -> None:
    pace, now, left = Pace(), 100.0, 0
    while now < 160.0:
        if pace.opens_in(now, 60) == 0.0:
            pace.went(now, 60, 600)
            left += 1
        now += 0.02
    assert left == pytest.approx(600 + 10, abs=2), "ten of them are the slack"


def test_what_others_have_spent_is_made_up_for() -> None:
    pace = Pace()
    for _ in range(300):
        pace.went(0.0, 60, 600)
    assert pace.opens_in(0.0, 60) == pytest.approx(29.0)
    assert pace.opens_in(29.0, 60) == pytest.approx(0.0)


def test_what_nobody_has_used_is_not_saved_up() -> None:
    pace = Pace()
    pace.went(0.0, 60, 10)
    pace.went(1000.0, 60, 10)
    assert pace.opens_in(1000.0, 60) == 5.0
    assert repr(pace) == "<Pace due=1006.000>"


def test_nothing_is_due_later_than_in_a_window() -> None:
    """By then all slots that are taken now have come back."""
    pace = Pace()
    for _ in range(6000):
        pace.went(0.0, 60, 600)
    assert pace.opens_in(0.0, 60) == 59.0


def test_what_was_given_back_holds_nobody() -> None:
    pace = Pace()
    for _ in range(300):
        pace.went(0.0, 60, 600)
    for _ in range(300):
        pace.came_back(60, 600)
    assert pace.opens_in(0.0, 60) == 0.0


def test_in_a_shorter_window_nothing_is_due_later_than_that_has_it() -> None:
    pace = Pace()
    for _ in range(100):
        pace.went(0.0, 3600, 100)
    pace.resize(10.0, 60)
    assert pace.opens_in(10.0, 60) == 59.0
    assert pace.opens_in(69.0, 60) == 0.0
    pace.resize(69.0, 3600)
    assert pace.opens_in(69.0, 3600) == 0.0
