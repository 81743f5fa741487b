"""Numbers for people: tables."""

import pytest

from proxy.page.words import ago, many, time


@pytest.mark.parametrize(("number", "text"), [(0, "0 requests"), (1, "1 request"), (1204, "1,204 requests")])
def test_a_number_of_things(number: int, text: str) -> None:
    assert many(number, "request") == text


@pytest.mark.parametrize(("seconds", "text"), [(0.3, "just now"), (4.2, "4 seconds ago"), (7200, "2 hours ago")])
def test_how_long_ago(seconds: float, text: str) -> None:
    assert ago(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.00042, "0.42 ms"),
        (0.0042, "4.2 ms"),
        (0.08437, "84 ms"),
        (0.4266, "430 ms"),
        (0.9996, "1 s"),
        (1.26, "1.3 s"),
        (131.07, "130 s"),
    ],
)
def test_how_long_something_took(seconds: float, text: str) -> None:
    assert time(seconds) == text
