"""Credentials on cards."""

import re

import pytest
from page import samples

from proxy.page.cards import cards
from proxy.page.standing import Lending


def words(*lendings: Lending) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", cards(lendings, samples.NOW)))


def test_a_card_tells_what_is_left_and_what_was_done() -> None:
    told = words(samples.FRESH)
    assert "default OAuth 2 grant Fresh 65 days left expires 2026-11-25 14:13 UTC" in told
    assert "last refresh refreshed, 300 days ago since the start refreshed 1 time generation 3" in told
    assert "kept in /state/grant.json" in told


def test_a_dead_one_tells_what_to_do_and_how_refreshes_ended() -> None:
    told = words(samples.DEAD)
    assert "Run pandadoc-proxy login . expires" in told
    assert "refreshed 2 times, invalid_grant 1 time" in told


def test_a_key_has_no_life_and_no_refreshes() -> None:
    told = cards([samples.KEY], samples.NOW)
    assert 'class="life"' not in told
    assert words(samples.KEY) == " archive API key Fresh A key does not expire kept in $KEY "


@pytest.mark.parametrize(
    ("lending", "left"), [(samples.FRESH, "17.8"), (samples.STALE, "1.6"), (samples.EXPIRED, "0.0")]
)
def test_what_is_left_of_a_life_is_drawn(lending: Lending, left: str) -> None:
    assert f'<path class="left" d="M0 0H{left}V1H0z"/>' in cards([lending], samples.NOW)


def test_the_worst_comes_first() -> None:
    told = cards([samples.FRESH, samples.STALE, samples.UNASKED, samples.BLIND, samples.DEAD], samples.NOW)
    assert re.findall(r"<h3><span>(\w+)</span>", told) == ["eu", "legal", "sales", "later", "default"]


def test_each_tone_has_a_shape_and_a_word_besides_its_colour() -> None:
    worst = (samples.DEAD, samples.BLIND, samples.STALE, samples.UNASKED, samples.KEY)
    told = [cards([lending], samples.NOW) for lending in worst]
    signs = {re.search(r'class="sign" d="([^"]+)"', each)[1] for each in told}  # type: ignore[index]  # each has one
    spoken = {re.search(r"<b>(\w+)</b>", each)[1] for each in told}  # type: ignore[index]  # the same
    assert (len(signs), len(spoken)) == (5, 5)
