"""A redeem whose answer was lost, by the network or by a crash: tried again, or not, and named (law 6)."""

from itertools import pairwise

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


# By the network


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
    assert len(house.redeemed()) == 2
    await house.log_in()
    house.clock.pass_(3)
    await house.look()
    assert (await house.get()).status == 200


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
        before = len(house.redeemed())
        seen = await house.get()
        if len(house.redeemed()) > before:
            tried.append(second)
        if seen.status == 200:
            break
        house.clock.pass_(1)
    assert len(tried) == 9
    assert len(set(house.redeemed())) == 1
    pauses = [later - earlier for earlier, later in pairwise(tried)]
    assert pauses[0] <= 2
    assert all(15 <= pause <= 31 for pause in pauses[5:])


# By a crash between the intent and the pair


async def crashed(house: House, seed: Secret) -> None:
    """Leave a store as a process does that was killed while its redeem was on its way."""
    now = house.clock.wall()
    grant = Grant(0, Lineage("refresh_token", seed.fingerprint(), now), seed)
    await house.store().update(lambda kept: ledger.begun(kept, grant, kept.seeds, now))


async def test_after_a_crash_that_redeemed_nothing_one_retry_makes_all_well(oauth_house: HouseMaker) -> None:
    house = await oauth_house()
    await crashed(house, Secret(house.environ["REFRESH_TOKEN"]))
    assert (await house.get()).status == 200
    assert len(house.redeemed()) == 1
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
        assert len(house.redeemed()) == restart + 1
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
    assert not house.redeemed()


async def test_a_seed_that_is_refused_leaves_the_stored_tokens_own_doubt(oauth_house: HouseMaker) -> None:
    """Its minute must still be named, and `stop` must still hold, when the stored token's turn comes."""
    house = await oauth_house(simulator={"expires_in": HOUR}, unknown_outcome="stop")
    await house.get()
    house.clock.pass_(HOUR + 1)
    house.simulator.lose_token_replies()
    minute = moment(house.clock.wall())
    await house.get()
    house.environ = {**house.environ, "REFRESH_TOKEN": "mistyped"}
    await house.restart()
    seen = await house.get()
    assert [token == "mistyped" for token in house.redeemed()] == [False, False, True]
    assert f"A redeem that began at {minute} never had its answer stored" in seen.json["detail"]
    assert "unknown_outcome: stop" in seen.json["detail"]
