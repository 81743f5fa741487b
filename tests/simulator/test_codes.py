"""What a code is good for, without a socket."""

import pytest

from proxy.simulator.codes import Codes

_HERE, _ELSEWHERE = "http://127.0.0.1:8400/callback", "http://127.0.0.1:8400/callback/"


def _codes(now: list[float]) -> Codes:
    return Codes(lambda: now[0])


def test_a_code_is_spent_once() -> None:
    codes = _codes([0.0])
    codes.add("c0de")
    assert [codes.spend("c0de", None), codes.spend("c0de", None)] == [True, False]


def test_a_code_that_was_never_issued_is_good_for_nothing() -> None:
    assert not _codes([0.0]).spend("c0de", None)


@pytest.mark.parametrize(("age_s", "good"), [(0.0, True), (599.999, True), (600.0, False), (1e9, False)])
def test_a_code_is_good_for_ten_minutes(age_s: float, *, good: bool) -> None:
    now = [1_000_000.0]
    codes = _codes(now)
    codes.add("c0de")
    now[0] += age_s
    assert len(codes) == good
    assert codes.spend("c0de", None) is good


@pytest.mark.parametrize(
    ("bound_to", "redirect_uri", "good"),
    [
        (_HERE, _HERE, True),
        (_HERE, _ELSEWHERE, False),
        (_HERE, _HERE.upper(), False),
        (_HERE, None, True),
        (_HERE, "", True),
        (None, _HERE, True),
        (None, None, True),
    ],
)
def test_a_bound_code_is_refused_with_another_redirect_uri_and_taken_with_none(
    bound_to: str | None, redirect_uri: str | None, *, good: bool
) -> None:
    codes = _codes([0.0])
    codes.add("c0de", bound_to)
    assert codes.spend("c0de", redirect_uri) is good


def test_a_refusal_does_not_use_a_code_up() -> None:
    codes = _codes([0.0])
    codes.add("c0de", _HERE)
    assert [codes.spend("c0de", _ELSEWHERE), codes.spend("c0de", _HERE)] == [False, True]


def test_the_repr_counts_the_good_and_shows_none() -> None:
    codes = _codes([0.0])
    codes.add("c0de", _HERE)
    assert repr(codes) == "<Codes 1>"
