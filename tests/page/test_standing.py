"""How credentials stand: tables."""

import pytest
from msgspec.structs import replace
from page import samples

from proxy.page.standing import Besides, Lending, Standing, standing, summary

STANDINGS = {
    "fresh": (samples.FRESH, Standing("good", "Fresh", "65 days left")),
    "stale": (samples.STALE, Standing("wait", "Stale", "5 days left; a refresh is due")),
    "expired": (samples.EXPIRED, Standing("wait", "Expired", "since 5 minutes; a refresh is due")),
    "dead": (samples.DEAD, Standing("bad", "Dead", "Nothing is lent")),
    "dead, and lent to its end": (samples.DYING, Standing("bad", "Dead", "Lent to its end: 65 days left")),
    "failing": (samples.FAILING, Standing("warn", "Failing", "Fresh, 65 days left")),
    "blind": (samples.BLIND, Standing("warn", "Blind", "Fresh, 65 days left")),
    "blind, and nothing is wrong yet": (
        replace(samples.FRESH, blind=True),
        Standing("warn", "Blind", "Fresh, 65 days left"),
    ),
    "not asked for": (samples.UNASKED, Standing("unknown", "Unknown", "Nobody has asked for it yet")),
    "a key": (samples.KEY, Standing("good", "Fresh", "A key does not expire")),
    "a key that is refused": (samples.REFUSED_KEY, Standing("warn", "Refused", "Lent all the same")),
    "a key whose file is gone": (samples.UNREAD_KEY, Standing("warn", "Failing", "Fresh")),
}


@pytest.mark.parametrize(("lending", "expected"), STANDINGS.values(), ids=STANDINGS)
def test_a_credential_stands(lending: Lending, expected: Standing) -> None:
    assert standing(lending) == expected


SUMMARIES: dict[str, tuple[tuple[Lending, ...], tuple[str, str]]] = {
    "one is well": ((samples.FRESH,), ("good", "All is well")),
    "a refresh is due": ((samples.FRESH, samples.STALE), ("wait", "All is well")),
    "nobody has asked": ((samples.FRESH, samples.UNASKED), ("unknown", "No trouble is known")),
    "one is dead": ((samples.FRESH, samples.STALE, samples.DEAD), ("bad", "Credential eu is dead")),
    "one is blind": ((samples.FRESH, samples.BLIND), ("warn", "Credential legal is blind")),
    "some are ill": ((samples.DEAD, samples.BLIND, samples.FRESH), ("bad", "2 of 3 credentials need you")),
}


@pytest.mark.parametrize(("lendings", "expected"), SUMMARIES.values(), ids=SUMMARIES)
def test_all_of_them_in_one_sentence(lendings: tuple[Lending, ...], expected: tuple[str, str]) -> None:
    assert summary(lendings, Besides()) == expected


NOT_TAKEN = "the new configuration is not taken"
KEYLESS = "client app has no key"
FAILED = "1 request failed in the last minute, and none was answered"
BESIDES: dict[str, tuple[tuple[Lending, ...], Besides, tuple[str, str]]] = {
    "a configuration is refused": ((samples.FRESH,), Besides(not_taken=True), ("warn", NOT_TAKEN.capitalize())),
    "a client has no key": ((samples.UNASKED,), Besides(keyless=("app",)), ("warn", KEYLESS.capitalize())),
    "clients have no key": ((samples.STALE,), Besides(keyless=("app", "job")), ("warn", "2 clients have no key")),
    "requests fail": (
        (samples.KEY,),
        Besides(failed=1208),
        ("warn", "1,208 requests failed in the last minute, and none was answered"),
    ),
    "most requests fail": (
        (samples.KEY,),
        Besides(failed=2, answered=1),
        ("warn", "2 requests failed in the last minute, and 1 was answered"),
    ),
    "more requests fail than not": (
        (samples.KEY,),
        Besides(failed=3, answered=2),
        ("warn", "3 requests failed in the last minute, and 2 were answered"),
    ),
    "as many requests fail as not": ((samples.KEY,), Besides(failed=3, answered=3), ("good", "All is well")),
    "a certificate": (
        (samples.FRESH,),
        Besides(expired=("10.0.0.7:8443",)),
        ("bad", "Listener 10.0.0.7:8443 has an expired certificate"),
    ),
    "all of it": (
        (samples.BLIND, samples.FRESH),
        Besides(not_taken=True, keyless=("app",), expired=("a:1", "b:2"), failed=1),
        (
            "bad",
            f"Credential legal is blind; 2 listeners have an expired certificate; {FAILED}; {KEYLESS}; {NOT_TAKEN}",
        ),
    ),
}


@pytest.mark.parametrize(("lendings", "besides", "expected"), BESIDES.values(), ids=BESIDES)
def test_all_is_not_well_while_something_else_needs_somebody(
    lendings: tuple[Lending, ...], besides: Besides, expected: tuple[str, str]
) -> None:
    assert summary(lendings, besides) == expected
