"""What the charts say in words."""

import re

from page.samples import slot, slots

from proxy.page.figures import figures
from proxy.page.traffic import ANSWERED, FAILED, LATELY, REFUSED


def words(markup: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", markup))


def test_the_last_minute_and_the_quarter_hour_are_told_in_numbers() -> None:
    earlier = slot(*[(ANSWERED, 2.0)] * 1000, (REFUSED, 2.0), (FAILED, 2.0))
    told = words(figures(slots(earlier, *[None] * (LATELY - 1), slot(*[(ANSWERED, 0.2)] * 7))))
    assert "7 requests in the last minute" in told
    assert "1,007 answered" in told
    assert "1 refused (4xx)" in told
    assert "1 failed (5xx, or broken off)" in told
    assert re.search(r"half within \d{3} ms in the last minute", told)
    assert re.search(r"half within [12](\.\d)? s 95 % within 2", told)


def test_where_nothing_was_over_no_time_is_claimed() -> None:
    told = words(figures(slots()))
    assert "0 requests in the last minute" in told
    assert "none in the last minute" in told
    assert "within" not in told
