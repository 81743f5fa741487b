"""Rates, and parts of them."""

from fractions import Fraction

from proxy.budget.rates import AUTO, SANDBOX, Rate


def test_a_share_is_rounded_down_so_that_all_of_them_are_no_more_than_the_whole() -> None:
    for rate in (*AUTO.values(), SANDBOX):
        for processes in (1, 3, 7, 8, 11):
            assert rate is None or rate.shared(Fraction(1, processes)).most * processes <= rate.most


def test_a_rate_tells_itself_to_people() -> None:
    assert str(Rate(600, 60.0)) == "600 in 60 s"
