"""A grant that is dead, or may be: what it costs, what is said, and all the ways in which it heals (laws 5 and 6)."""

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import HouseMaker
from rig import House

from proxy.credential import ledger
from proxy.credential.advice import moment
from proxy.credential.ledger import Grant, Lineage
from proxy.credential.oauth2 import State
from proxy.secrets import Secret
from proxy.simulator import Fault

HOUR = 3600
TOKENS = "/oauth2/access_token"
LOGIN = "Run `pandadoc-proxy login`"


def redeemed(house: House) -> list[str]:
    """Return every refresh token that was sent, in order."""
    return [call.parse_form()["refresh_token"] for call in house.simulator.token_calls()]


async def dead(oauth_house: HouseMaker, **more: object) -> House:
    """Make a house whose token has expired and whose grant is refused."""
    house = await oauth_house(simulator={"expires_in": HOUR}, **more)
    await house.get()
    house.simulator.revoke_grants()
    house.clock.pass_(HOUR + 1)
    assert (await house.get()).status == 503
    assert house.credential.state is State.DEAD
    return house


async def heals(house: House) -> None:
    """Find that one look, and no request, has healed the grant."""
    house.clock.pass_(3)
    await house.look()
    assert house.credential.state is State.FRESH
    assert (await house.get()).status == 200


async def log_in(house: House) -> None:
    """Store a new pair as the command `login` does, from another process."""
    access, refresh = house.simulator.issue_access_token(), Secret(house.simulator.issue_refresh_token())
    now = house.clock.wall()
    lineage = Lineage("login", refresh.fingerprint(), now)
    grant = Grant(0, lineage, refresh, Secret(access), now, now + HOUR)
    await house.store().update(lambda kept: ledger.consented(kept, grant, now))


# What it costs, and what is said


async def test_a_dead_grant_costs_one_token_call_whatever_comes(oauth_house: HouseMaker) -> None:
    """Requests, looks and hours: the latch is keyed by what was sent, not by time."""
    house = await dead(oauth_house)
    calls = len(redeemed(house))
    for _ in range(10):
        answers = await house.many(50)
        assert {answer.status for answer in answers} == {503}
        house.clock.pass_(HOUR)
        await house.look()
    assert len(redeemed(house)) == calls
    assert len(house.simulator.api_calls()) == 1  # nothing was sent up without a token


async def test_a_dead_grants_answer_names_the_reason_and_the_command(oauth_house: HouseMaker) -> None:
    """No Retry-After: SDKs would sleep on it for nothing (law 14)."""
    house = await dead(oauth_house)
    seen = await house.get()
    assert seen.json["type"] == "credential_dead"
    assert "refuses the refresh token of credential default (invalid_grant)" in seen.json["detail"]
    assert LOGIN in seen.json["detail"]
    assert "never had its answer stored" not in seen.json["detail"]
    assert "Retry-After" not in seen.headers
    assert seen.headers["Proxy-Status"] == "pandadoc-proxy; error=proxy_configuration_error"


async def test_a_good_access_token_is_lent_until_it_expires_though_its_grant_is_dead(oauth_house: HouseMaker) -> None:
    house = await oauth_house(simulator={"expires_in": HOUR})
    await house.get()
    house.simulator.faults.add(Fault(path=TOKENS, status=400))
    for minute in range(60):
        assert (await house.get()).status == 200, minute
        await house.look()
        house.clock.pass_(59.9)
    house.clock.pass_(10)
    seen = await house.get()
    assert seen.status == 503
    assert LOGIN in seen.json["detail"]
    assert len(redeemed(house)) == 2


# How it heals


async def test_a_login_heals_a_dead_grant_without_a_redeem(oauth_house: HouseMaker) -> None:
    house = await dead(oauth_house)
    calls = len(redeemed(house))
    await log_in(house)
    await heals(house)
    assert len(redeemed(house)) == calls
    assert house.ear.fields[-1]["generation"] == 2
    house.simulator.revoke_access_tokens()
    assert (await house.get()).status == 200  # the new lineage refreshes itself


async def test_a_login_that_comes_during_a_redeem_is_kept(oauth_house: HouseMaker) -> None:
    """The pair of the older lineage comes home later: it must not win."""
    house = await oauth_house()
    await house.get()
    gate = asyncio.Event()
    house.simulator.faults.add(Fault(path=TOKENS, gate=gate, times=1))
    house.simulator.revoke_access_tokens()
    slow = asyncio.create_task(house.get())
    await house.simulator.until(lambda: len(house.simulator.token_calls()) == 2)
    await log_in(house)
    logged_in = await house.store().load()
    gate.set()
    assert (await slow).status == 200
    kept = await house.store().load()
    assert kept.grant is not None
    assert logged_in.grant is not None
    assert kept.grant.lineage == logged_in.grant.lineage
    assert kept.grant.refresh_token == logged_in.grant.refresh_token


async def test_a_new_seed_heals_a_dead_grant(oauth_house: HouseMaker, tmp_path: Path) -> None:
    path = tmp_path / "seed"
    house = await oauth_house(simulator={"expires_in": HOUR}, refresh_token={"file": str(path)})
    path.write_text(house.environ["REFRESH_TOKEN"])
    await house.get()
    house.simulator.revoke_grants()
    house.clock.pass_(HOUR + 1)
    assert "invalid_grant" in (await house.get()).json["detail"]
    path.write_text(house.simulator.issue_refresh_token())
    await heals(house)


async def test_a_new_client_secret_gives_a_dead_grant_another_try(oauth_house: HouseMaker, tmp_path: Path) -> None:
    """The client was replaced at PandaDoc: it refused the old one's grant, and might take it from the new one."""
    path = tmp_path / "secret"
    house = await oauth_house(simulator={"expires_in": HOUR}, client_secret={"file": str(path)})
    path.write_text(house.simulator.client_secret)
    await house.get()
    house.clock.pass_(HOUR + 1)
    path.write_text("rotated-away")
    assert "invalid_client" in (await house.get()).json["detail"]
    path.write_text(house.simulator.client_secret)
    await heals(house)


# A reply that was lost (law 6)


async def test_told_to_stop_a_lost_reply_ends_it_and_names_its_minute(oauth_house: HouseMaker) -> None:
    house = await oauth_house(simulator={"expires_in": HOUR}, unknown_outcome="stop")
    await house.get()
    house.clock.pass_(HOUR + 1)
    house.simulator.lose_token_replies()
    minute = moment(house.clock.wall())
    for _ in range(3):
        for _ in range(3):
            seen = await house.get()
            assert seen.status == 503
            assert f"A redeem that began at {minute} never had its answer stored" in seen.json["detail"]
            assert "unknown_outcome: stop" in seen.json["detail"]
            assert "`pandadoc-proxy token refresh`" in seen.json["detail"]
            assert "Retry-After" not in seen.headers
            assert house.credential.state is State.DEAD
            house.clock.pass_(301)
            await house.look()
        await house.restart()
    assert len(redeemed(house)) == 2
    await log_in(house)
    await heals(house)


async def test_told_to_stop_a_proof_that_nothing_was_redeemed_stops_nothing(oauth_house: HouseMaker) -> None:
    house = await oauth_house(unknown_outcome="stop")
    house.simulator.faults.add(Fault(path=TOKENS, status=429, times=1))
    assert (await house.get()).status == 503
    house.clock.pass_(31)
    assert (await house.get()).status == 200


async def test_told_to_retry_a_lost_reply_is_sent_again_with_growing_pauses(oauth_house: HouseMaker) -> None:
    """Where refresh tokens do not rotate, that heals."""
    house = await oauth_house(simulator={"rotate": False})
    house.simulator.lose_token_replies(times=8)
    tried = []
    for second in range(200):
        before = len(redeemed(house))
        seen = await house.get()
        if len(redeemed(house)) > before:
            tried.append(second)
        if seen.status == 200:
            break
        house.clock.pass_(1)
    assert len(tried) == 9
    assert len(set(redeemed(house))) == 1
    pauses = [later - earlier for earlier, later in pairwise(tried)]
    assert pauses[0] <= 2
    assert all(15 <= pause <= 31 for pause in pauses[5:])


# A crash between the intent and the pair


async def crashed(house: House, seed: Secret) -> None:
    """Leave a store as a process does that was killed while its redeem was on its way."""
    now = house.clock.wall()
    grant = Grant(0, Lineage("refresh_token", seed.fingerprint(), now), seed)
    await house.store().update(lambda kept: ledger.begun(kept, grant, now))


async def test_after_a_crash_that_redeemed_nothing_one_retry_makes_all_well(oauth_house: HouseMaker) -> None:
    house = await oauth_house()
    await crashed(house, Secret(house.environ["REFRESH_TOKEN"]))
    assert (await house.get()).status == 200
    assert len(redeemed(house)) == 1
    kept = await house.store().load()
    assert kept.intent is None
    assert kept.last is not None
    assert kept.last.result == ledger.REFRESHED


async def test_after_a_crash_that_has_lost_the_pair_its_minute_is_named(oauth_house: HouseMaker) -> None:
    """Retried once; what then is refused is told with the likeliest reason, also after more restarts."""
    house = await oauth_house()
    minute = moment(house.clock.wall())
    await crashed(house, Secret(house.environ["REFRESH_TOKEN"]))
    house.simulator.revoke_grants()
    for restart in range(3):
        house.clock.pass_(HOUR)
        for _ in range(5):
            seen = await house.get()
            assert seen.status == 503
            assert f"A redeem that began at {minute} never had its answer stored" in seen.json["detail"]
            assert LOGIN in seen.json["detail"]
        assert len(redeemed(house)) == restart + 1
        await house.restart()


@pytest.mark.parametrize("outcome", ["retry", "stop"])
async def test_a_crash_long_ago_about_another_token_stops_nothing(oauth_house: HouseMaker, outcome: str) -> None:
    house = await oauth_house(unknown_outcome=outcome)
    await crashed(house, Secret("a seed that was replaced since"))
    assert (await house.get()).status == 200


async def test_told_to_stop_a_crash_stops_it_before_anything_is_sent(oauth_house: HouseMaker) -> None:
    house = await oauth_house(unknown_outcome="stop")
    await crashed(house, Secret(house.environ["REFRESH_TOKEN"]))
    seen = await house.get()
    assert seen.status == 503
    assert "unknown_outcome: stop" in seen.json["detail"]
    assert not redeemed(house)
