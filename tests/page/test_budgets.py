"""Rate budgets on the page."""

import re
from typing import Any

import pytest
from msgspec.structs import replace
from page.samples import VIEW

from proxy.budget.budget import Standing
from proxy.budget.rates import Rate
from proxy.page.budgets import budgets
from proxy.page.document import html


def standing(**other: Any) -> Standing:
    usual = Standing("list", Rate(2000, 60), 1940, 12.0, 0.0, 2000, 0, 0, 0.0, 0, 0)
    return usual._replace(**other)


def said(of: Standing) -> str:
    found = re.search("<dd>(.*)</dd>", budgets({"default": [of]}))
    assert found is not None
    return found[1]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({}, "1,940 of 2,000 left in 60 seconds"),
        ({"rate": None, "left": None, "limit": None}, "not counted"),
        ({"shared": True}, "1,940 of 2,000 left in 60 seconds"),
        (
            {"shared": False},
            "1,940 of 2,000 left in 60 seconds, this replica&#x27;s share, while Redis can&#x27;t be reached",
        ),
        ({"left": 3, "limit": 10}, "3 of 10 left in 60 seconds, where 2,000 were expected"),
        (
            {"paused_for": 13.0, "left": 0, "throttled": 2},
            "pauses for 13 seconds after PandaDoc&#x27;s 429, PandaDoc said 429 2 times",
        ),
        (
            {"left": 0, "waiting": 4, "waits": 10, "waited": 25.0, "refused": 1},
            "0 of 2,000 left in 60 seconds, 4 waiting, 10 requests waited 2 seconds on average, 1 refused",
        ),
    ],
)
def test_each_rate_tells_how_it_stands(other: dict[str, Any], words: str) -> None:
    assert said(standing(**other)) == words


def test_the_page_shows_budgets_only_where_there_are_some() -> None:
    assert "Rate budgets" not in html(VIEW)
    page = html(replace(VIEW, budgets={"default": [standing()]}))
    assert "Rate budgets" in page
    assert "1,940 of 2,000 left" in page
