"""The credential's pure decisions: freshness, back-off, and what a 401 permits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from proxy.credential import backoff
from proxy.credential.credential import YEAR, Credential, Freshness, alarm, stale_at, stale_lead
from proxy.credential.ledger import Grant, Lineage
from proxy.credential.policy import Policy
from proxy.credential.probe import Probed, read_probe
from proxy.credential.refusals import LONGEST, SHORTEST, Refusals, Verdict
from proxy.secrets import Secret

HOUR, DAY = 3600.0, 86400.0


def test_a_credential_is_fresh_then_stale_then_expired() -> None:
    credential = Credential("Bearer x", generation=1, stale_at=50, expires_at=100)
    seen = [credential.freshness(now) for now in (0, 49.9, 50, 99.9, 100, 1000)]
    assert seen == [
        Freshness.FRESH,
        Freshness.FRESH,
        Freshness.STALE,
        Freshness.STALE,
        Freshness.EXPIRED,
        Freshness.EXPIRED,
    ]


@pytest.mark.parametrize(("stale_at", "harmless"), [(5000, 1000), (1200, 200)], ids=["its end", "its age"])
def test_a_token_from_the_future_is_stale_by_as_much_as_would_harm(stale_at: float, harmless: float) -> None:
    """The clock was ahead then, so that its end, or its age, is not what it seems to be."""
    policy = Policy(max_age=stale_at - 1000, refresh_before=1000, one_clock=True)
    grant = Grant(1, Lineage("login", "0123456789ab", 0), Secret("r"), Secret("a"), obtained_at=1000, expires_at=6000)
    credential = policy.lend(grant)
    assert credential is not None
    seen = [credential.freshness(now) for now in (-2000, 999 - harmless, 1000 - harmless, 1000)]
    assert seen == [Freshness.STALE, Freshness.STALE, Freshness.FRESH, Freshness.FRESH]
    shared = replace(policy, one_clock=False).lend(grant)
    assert shared is not None
    assert shared.freshness(-2000) is Freshness.FRESH


def test_a_credential_without_an_expiry_is_fresh_for_ever() -> None:
    assert Credential("API-Key x", generation=1).freshness(1e12) is Freshness.FRESH


def test_a_credentials_repr_shows_its_generation_and_expiry_and_no_token() -> None:
    shown = repr(Credential("Bearer hush", generation=7, expires_at=100))
    assert "7" in shown
    assert "100" in shown
    assert "hush" not in shown


@pytest.mark.parametrize(
    ("lifetime", "refresh_before", "lead"),
    [
        (YEAR, None, 7 * DAY),
        (30 * DAY, None, 3 * DAY),
        (10 * HOUR, None, HOUR),
        (HOUR, None, 360.0),
        (600.0, None, 300.0),
        (10.0, None, 5.0),
        (HOUR, 60.0, 60.0),
        (HOUR, 2 * HOUR, 1800.0),
    ],
)
def test_a_token_becomes_stale_early_enough_and_never_before_half_its_life(
    lifetime: float, refresh_before: float | None, lead: float
) -> None:
    assert stale_lead(lifetime, refresh_before) == lead


@pytest.mark.parametrize(
    ("max_age", "stale"),
    [(None, 1000 + YEAR - 7 * DAY), (30 * DAY, 1000 + 30 * DAY), (YEAR, 1000 + YEAR - 7 * DAY), (1.0, 1001.0)],
)
def test_a_token_becomes_stale_at_its_largest_age_if_that_comes_first(max_age: float | None, stale: float) -> None:
    assert stale_at(1000.0, 1000.0 + YEAR, None, max_age) == stale


@given(st.floats(0, 4e9), st.floats(0, 10 * YEAR), st.none() | st.floats(0, YEAR), st.none() | st.floats(1, YEAR))
def test_no_token_is_stale_after_its_expiry(
    obtained_at: float, lifetime: float, refresh_before: float | None, max_age: float | None
) -> None:
    expires_at = obtained_at + lifetime
    assert stale_at(obtained_at, expires_at, refresh_before, max_age) <= expires_at


@pytest.mark.parametrize(
    ("left", "loudness"),
    [
        (31 * DAY, 0),
        (30 * DAY, 1),
        (7 * DAY + 1, 1),
        (7 * DAY, 2),
        (DAY + 1, 2),
        (DAY, 3),
        (0, 3),
        (-DAY, 3),
    ],
)
def test_a_refresh_that_fails_is_told_louder_as_the_end_comes(left: float, loudness: int) -> None:
    assert alarm(left, YEAR) == loudness
    assert alarm(left, 4 * YEAR) == loudness
    assert alarm(left / 4, YEAR / 4) == loudness


def test_back_off_doubles_to_half_a_minute_with_jitter() -> None:
    assert [backoff.pause(n, 0.0) for n in range(1, 8)] == [0.5, 1, 2, 4, 8, 15, 15]
    assert backoff.pause(50, 0.999) <= backoff.LONGEST


def test_back_off_waits_as_long_as_it_was_asked_to_within_reason() -> None:
    assert backoff.pause(1, 0.0, 13.0) == 13.0
    assert backoff.pause(1, 0.0, 1e9) == backoff.LONGEST_ASKED
    assert backoff.pause(7, 0.0, 1.0) == 15.0


@pytest.mark.parametrize(
    ("status", "shown"),
    [(200, Probed.ACCEPTED), (204, Probed.ACCEPTED), (401, Probed.REFUSED)]
    + [(status, Probed.UNCLEAR) for status in (301, 400, 403, 404, 429, 500, 503)],
)
def test_only_success_and_401_prove_anything_in_a_probe(status: int, shown: Probed) -> None:
    assert read_probe(status) is shown


def test_a_first_401_refreshes_at_once() -> None:
    assert Refusals().on_401(1, now=100) == (Refusals(), Verdict.REFRESH)


def test_the_minted_token_refused_on_its_first_use_begins_a_cool_down() -> None:
    refusals, verdict = Refusals().minted(2).on_401(2, now=100)
    assert verdict is Verdict.PROBE
    assert refusals.cooling(100)
    assert refusals.cooling(100 + SHORTEST - 1)
    assert not refusals.cooling(100 + SHORTEST)
    assert refusals.on_401(2, now=110) == (refusals, Verdict.PROBE)


def test_an_accepted_token_is_not_on_trial_any_more() -> None:
    assert Refusals().minted(2).accepted(2).on_401(2, now=100)[1] is Verdict.REFRESH
    assert Refusals().minted(2).accepted(1).on_401(2, now=100)[1] is Verdict.PROBE


def test_the_replays_401_begins_a_cool_down_whoever_else_was_let_in() -> None:
    refusals = Refusals().minted(2).accepted(2).replay_refused(2, now=100)
    assert refusals.cooling(100)
    assert refusals.replay_refused(2, now=101) == refusals


def test_a_replays_401_in_a_cool_down_ends_the_trial_and_no_more() -> None:
    cooling = Refusals().replay_refused(2, now=100).minted(3)
    assert cooling.replay_refused(3, now=101) == Refusals().replay_refused(2, now=100)


def test_a_spent_cool_down_relays_until_it_ends_or_the_token_is_accepted() -> None:
    spent = Refusals().replay_refused(2, now=100).spend(now=101)
    assert spent.on_401(3, now=102)[1] is Verdict.RELAY
    assert spent.accepted(3).on_401(3, now=102)[1] is Verdict.PROBE
    assert spent.on_401(3, now=100 + SHORTEST)[1] is Verdict.REFRESH


def test_spending_after_the_end_begins_a_new_cool_down() -> None:
    spent = Refusals().replay_refused(2, now=100).spend(now=500)
    assert spent.cooling(501)
    assert spent.length == 2 * SHORTEST


def test_cool_downs_double_up_to_an_hour_until_a_refresh_has_helped() -> None:
    refusals, now, lengths = Refusals(), 0.0, []
    for generation in range(10):
        refusals = refusals.replay_refused(generation, now)
        lengths.append(refusals.length)
        now = refusals.until
    assert lengths == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    assert refusals.helped().replay_refused(99, now).length == SHORTEST


def test_a_cool_down_that_a_process_with_a_faster_clock_began_holds_and_does_not_double() -> None:
    theirs = Refusals().replay_refused(2, now=102)
    assert theirs.cooling(100)
    assert theirs.replay_refused(2, now=100) == theirs
    assert not Refusals(until=130).cooling(100)  # one that a refresh has ended


def test_a_cool_down_is_the_same_whichever_process_began_it_until_more_is_known_of_it() -> None:
    ours, theirs = (Refusals().replay_refused(2, now=now) for now in (100, 102))
    assert ours.same(theirs)
    assert not ours.same(theirs.spend(103))
    assert not ours.same(Refusals())
    assert not ours.same(Refusals().replay_refused(2, now=100 + SHORTEST))


def test_a_clock_that_steps_back_makes_no_cool_down_longer_than_it_was() -> None:
    refusals = Refusals().replay_refused(1, now=1_000_000)
    assert not refusals.cooling(1_000_000 - 86400)


@given(st.lists(st.sampled_from(["401", "replay", "mint", "accept", "help", "spend", "wait"]), max_size=60))
def test_in_any_course_of_events_a_cool_down_is_bounded(events: list[str]) -> None:
    refusals, generation, now = Refusals(), 1, 1000.0
    for event in events:
        match event:
            case "401":
                refusals, _ = refusals.on_401(generation, now)
            case "replay":
                refusals = refusals.replay_refused(generation, now)
            case "mint":
                generation += 1
                refusals = refusals.minted(generation)
            case "accept":
                refusals = refusals.accepted(generation)
            case "help":
                refusals = refusals.helped()
            case "spend":
                refusals = refusals.spend(now)
            case _:
                now += 17
        assert refusals.until <= now + LONGEST
        assert not refusals.spent or refusals.until > 0
