"""Replicas that share a grant over a network: one redeem serves them all, and none is lost (laws 1, 2, 4, 5, 6)."""

import asyncio
import re
from collections.abc import AsyncIterator
from math import inf

import aiohttp
import pytest
from fleet import REDEEM_TIMEOUT, Fleet, Replica
from msgspec.structs import replace
from rig import TurnedClock, assert_silent, until

from proxy.credential.backoff import pause
from proxy.credential.credential import Credential
from proxy.credential.ledger import Attempt
from proxy.credential.oauth2 import State
from proxy.credential.policy import Policy
from proxy.credential.refresh import HEARD_FOR
from proxy.credential.store import StoreUnreachable
from proxy.simulator import Fault, Simulator

HOUR = 3600
TOKEN_PATH = "/oauth2/access_token"
LOOKED_AT = 30
"""Seconds after which a look reads what is kept, though nothing was told."""

BELIEVED_AFTER = 2 * REDEEM_TIMEOUT + 5 + 1
"""Seconds after which no replica can still be storing what it redeemed: a redeem, and a lease."""


@pytest.fixture
async def fleet(caplog: pytest.LogCaptureFixture) -> AsyncIterator[Fleet]:
    caplog.set_level("DEBUG", "proxy")
    clock = TurnedClock()
    async with Simulator(clock=clock.wall, expires_in=HOUR) as simulator, aiohttp.ClientSession() as session:
        fleet = Fleet(simulator, session, clock)
        yield fleet
        for replica in fleet.replicas:
            await replica.end()
        assert_silent(set(simulator.minted), [caplog.text, *(repr(each) for each in fleet.replicas)])


@pytest.mark.parametrize("size", [2, 8, 40])
async def test_a_fleet_starts_with_one_redeem(fleet: Fleet, size: int) -> None:
    fleet.join(size)
    assert await fleet.load() == {200}
    assert fleet.redeems == [200]
    assert fleet.generations == {1}


async def test_a_clients_id_that_changes_while_a_fleet_runs_costs_no_grant(fleet: Fleet) -> None:
    """What is redeemed with another would be kept as the first one's: nothing is, until a restart."""
    fleet.join(2)
    assert await fleet.load() == {200}
    ours, fleet.environ["ID"] = fleet.environ["ID"], "another"
    fleet.clock.pass_(HOUR + 1)
    assert await fleet.load() == {503}
    assert fleet.redeems == [200]
    fleet.environ["ID"] = ours
    fleet.clock.pass_(3)
    await fleet.lends()
    assert fleet.redeems == [200, 200]


@pytest.mark.parametrize("size", [2, 8, 40])
async def test_a_token_that_expires_costs_a_fleet_one_redeem(fleet: Fleet, size: int) -> None:
    fleet.join(size)
    assert await fleet.load() == {200}
    for generation in (2, 3, 4):
        fleet.clock.pass_(HOUR + 1)
        assert await fleet.load() == {200}
        assert fleet.generations == {generation}
    assert fleet.redeems == [200] * 4


@pytest.mark.parametrize("size", [2, 8, 40])
async def test_a_token_that_is_refused_costs_a_fleet_one_redeem_and_every_request_is_answered(
    fleet: Fleet, size: int
) -> None:
    """The old token dies at the redeem: a sibling's 401 waits for the lease's holder, adopts, and is replayed."""
    fleet.join(size)
    assert await fleet.load() == {200}
    for generation in (2, 3, 4):
        fleet.simulator.revoke_access_tokens()
        assert await fleet.load() == {200}
        assert fleet.generations == {generation}
    assert fleet.redeems == [200] * 4


async def test_what_one_replica_refreshes_behind_the_traffic_the_others_take_without_a_401(fleet: Fleet) -> None:
    fleet.join(8)
    await fleet.look()
    assert await fleet.load() == {200}
    fleet.clock.pass_(HOUR * 0.95)
    await fleet.replicas[3].credential.look()
    await until(lambda: fleet.generations == {2})
    asked = len(fleet.simulator.journal)
    assert await fleet.load() == {200}
    assert len(fleet.simulator.journal) == asked + 8 * 5
    assert fleet.redeems == [200] * 2


async def test_replicas_find_a_token_stale_one_after_the_other(fleet: Fleet) -> None:
    """So that the first refreshes for all, instead of all at once asking for the lease."""
    fleet.join()
    await fleet.load()
    grant = fleet.replicas[0].refresher.keeper.ledger.grant
    assert grant is not None
    stale = [lent.stale_at for late in (0.0, 0.5, 1.0) if (lent := Policy(late=late).lend(grant)) is not None]
    assert stale[1] - stale[0] == pytest.approx(30)
    assert stale[2] - stale[0] == pytest.approx(60)


async def test_a_replica_whose_clock_is_ahead_has_the_others_refresh_nothing(fleet: Fleet) -> None:
    """What it mints is from their future. Were it stale to them, it would find what they mint expired, and so on."""
    fleet.clock.step(HOUR * 3)
    fleet.join()
    assert await fleet.load() == {200}
    fleet.clock.step(-HOUR * 3)
    fleet.join()
    for _ in range(3):
        await fleet.look()
    assert await fleet.load() == {200}
    assert fleet.redeems == [200]


# Redeems of one token by two


async def test_of_two_that_redeem_one_token_the_one_that_succeeds_is_kept_though_it_saves_last(fleet: Fleet) -> None:
    """It could not save, and the lease was lost; the other one's refusal is written before, and is not believed."""
    one, two = fleet.join(2)
    assert await fleet.load() == {200}
    gate, asking = await redeeming(fleet, one)
    one.engine.cut_off = True
    gate.set()
    assert await asking == 200  # the pair is lent from memory
    fleet.record.holder = None
    assert await fleet.ask(two) in {401, 503}
    assert fleet.redeems == [200, 200, 400]
    assert two.credential.state is not State.DEAD
    assert "another replica may have spent it, and be storing the new pair" in two.trouble
    one.engine.cut_off = False
    await until(lambda: one.credential.stored)
    await two.credential.look()
    await until(lambda: fleet.generations == {2})
    assert await fleet.load() == {200}
    assert fleet.redeems == [200, 200, 400]
    assert (one.outrun, two.outrun) == (0, 1)
    assert two.trouble == ""


async def test_callers_of_the_one_that_was_outrun_wait_for_the_pair_that_is_being_saved(fleet: Fleet) -> None:
    """It comes within a moment, and a 401 that is relayed before would be one too many."""
    one, two = fleet.join(2)
    await fleet.look()
    assert await fleet.load() == {200}
    gate, asking = await redeeming(fleet, one)
    one.engine.cut_off = True
    gate.set()
    assert await asking == 200
    fleet.record.holder = None
    also_asking = asyncio.create_task(fleet.ask(two))
    await until(lambda: fleet.redeems == [200, 200, 400])
    one.engine.cut_off = False
    assert await also_asking == 200
    assert fleet.generations == {2}
    assert (one.outrun, two.outrun) == (0, 1)


async def test_a_pair_that_a_look_has_brought_meanwhile_is_lent_to_callers_of_the_one_that_was_outrun(
    fleet: Fleet,
) -> None:
    """It came while the redeem was on its way, and has been in memory since."""
    one, two = fleet.join(2)
    assert await fleet.load() == {200}
    first, asking = await redeeming(fleet, one)
    fleet.clock.pass_(LOOKED_AT)
    queued = fleet.record.queued = asyncio.Event()
    reads = fleet.record.calls["read"]
    looking = asyncio.create_task(two.refresher.look())
    await until(lambda: fleet.record.calls["read"] > reads)
    fleet.record.queued, fleet.record.holder = None, None
    second = hold(fleet)
    also_asking = asyncio.create_task(fleet.ask(two))
    await until(lambda: len(fleet.redeems) == 3)
    first.set()
    assert await asking == 200
    queued.set()
    await looking
    assert (await fleet.kept()).generation == 2
    second.set()
    assert await also_asking == 200
    assert fleet.redeems == [200, 200, 400]
    assert two.generation == 2


async def test_of_two_that_redeem_one_token_the_one_that_succeeds_is_kept_when_it_saves_first(fleet: Fleet) -> None:
    one, two = fleet.join(2)
    assert await fleet.load() == {200}
    gate, asking = await redeeming(fleet, one)
    fleet.record.holder = None  # evicted, or its time is over while the request is on its way
    assert await fleet.ask(two) == 200
    gate.set()
    assert await asking == 200
    assert fleet.generations == {2}
    assert sorted(fleet.redeems) == [200, 200, 400]
    assert (one.outrun, two.outrun) == (1, 0)
    fleet.simulator.revoke_access_tokens()
    assert await fleet.load() == {200}, "the refusal of the pair before was taken for one of this pair"
    assert fleet.generations == {3}


async def test_a_refusal_is_believed_when_no_replica_can_still_be_storing_what_it_redeemed(fleet: Fleet) -> None:
    """Then the others do not ask again, nor does one that starts: PandaDoc was asked once for all of them (law 6)."""
    fleet.wait = 2
    fleet.join(8)
    assert await fleet.load() == {200}
    fleet.simulator.revoke_grants()
    fleet.clock.pass_(HOUR + 1)
    assert await fleet.load() == {503}
    assert {each.credential.state for each in fleet.replicas} == {State.EXPIRED}
    fleet.clock.pass_(BELIEVED_AFTER)
    assert await fleet.load() == {503}
    assert {each.credential.state for each in fleet.replicas} == {State.DEAD}
    assert all("pandadoc-proxy login" in each.trouble for each in fleet.replicas)
    fleet.join()
    assert await fleet.load() == {503}
    assert fleet.redeems == [200, 400]
    fleet.clock.pass_(HEARD_FOR + 1)
    fleet.join()
    assert await fleet.load() == {503}
    assert fleet.redeems == [200, 400, 400]  # whoever starts much later asks by itself, once for all


async def test_a_configured_refresh_token_that_is_dead_is_believed_dead_in_its_time(fleet: Fleet) -> None:
    """It has no grant in the store that would keep its minute."""
    fleet.simulator.revoke_grants()
    fleet.wait = 0.2
    fleet.join(2)
    await fleet.load(1)
    await fleet.settle()
    assert {each.credential.state for each in fleet.replicas} != {State.DEAD}
    fleet.clock.pass_(BELIEVED_AFTER)
    await fleet.load(1)
    await fleet.settle()
    assert {each.credential.state for each in fleet.replicas} == {State.DEAD}
    asked = len(fleet.redeems)
    assert asked <= 4
    fleet.clock.pass_(pause(1, 0.5) + 60)
    await fleet.load(1)
    await fleet.settle()
    assert len(fleet.redeems) == asked


async def test_a_dead_refresh_token_that_is_rolled_out_costs_a_fleet_with_a_living_grant_no_answer(
    fleet: Fleet,
) -> None:
    """While a sibling might still be storing what it brought, the living grant is what is refreshed."""
    fleet.wait = 10  # as configured by default: each looks at the store again for SECOND_LOOK, one after the other
    fleet.join(2)
    assert await fleet.load(1) == {200}
    fleet.environ["SEED"] = "spent-elsewhere-0123456789"
    fleet.clock.pass_(HOUR + 1)
    assert await fleet.load(1) == {200}
    assert fleet.redeems.count(200) == 2
    await fleet.look()
    await fleet.settle()
    refused = fleet.redeems.count(400)
    await fleet.look()
    await fleet.settle()
    assert fleet.redeems.count(400) == refused <= 2
    for _ in range(2):
        fleet.clock.pass_(HOUR + 1)
        assert await fleet.load(1) == {200}
    assert fleet.redeems.count(200) == 4
    assert fleet.redeems.count(400) <= 4
    assert {each.credential.state for each in fleet.replicas} == {State.FRESH}


async def test_a_person_who_refreshes_a_grant_that_is_dead_for_long_is_told_to_log_in(fleet: Fleet) -> None:
    """Each command is a process that has heard of nothing; but the store knows since when it is refused."""
    (one,) = fleet.join(1)
    assert await fleet.ask(one) == 200
    fleet.simulator.revoke_grants()
    fleet.policy = Policy(alone=False, goes_on=False)
    (person,) = fleet.join(1)
    told = await person.refresher.by_hand(str)
    wait = re.search(r"may have spent it.* Try again in (\d+) s\.$", told or "")
    assert wait is not None
    assert int(wait[1]) <= BELIEVED_AFTER
    fleet.clock.pass_(int(wait[1]))
    (person,) = fleet.join(1)
    told = await person.refresher.by_hand(str)
    assert told is not None
    assert "pandadoc-proxy login" in told


async def test_a_person_whose_new_seed_is_refused_is_told_though_the_shared_grant_is_refreshed(fleet: Fleet) -> None:
    """Another replica may have spent it: then its pair comes, and wins."""
    (one,) = fleet.join(1)
    assert await fleet.ask(one) == 200
    fleet.environ["SEED"] = "stale-refresh-token"
    fleet.policy = Policy(alone=False, goes_on=False)
    (person,) = fleet.join(1)
    assert await person.refresher.by_hand(str) is None
    told = await person.refresher.passed_over()
    assert "refuses the configured refresh token of credential default (invalid_grant)" in (told or "")
    assert fleet.redeems == [200, 400, 200]


async def test_a_fleet_whose_grant_is_dead_asks_neither_pandadoc_nor_the_engine(fleet: Fleet) -> None:
    fleet.wait = 2
    fleet.join(8)
    await fleet.look()
    assert await fleet.load() == {200}
    fleet.simulator.revoke_grants()
    fleet.clock.pass_(HOUR + 1)
    assert await fleet.load() == {503}
    fleet.clock.pass_(BELIEVED_AFTER)
    await fleet.look()
    await fleet.settle()
    assert {each.credential.state for each in fleet.replicas} == {State.DEAD}
    fleet.record.calls.clear()
    for _ in range(3):
        fleet.clock.pass_(2.1)
        await fleet.look()
        assert await fleet.load() == {503}
    assert not fleet.record.calls
    assert fleet.redeems == [200, 400]


async def test_an_endpoint_that_fails_is_asked_as_often_by_a_fleet_as_by_one(fleet: Fleet) -> None:
    """What one replica was told counts for all of them, and so does its pause."""
    fleet.wait = 2
    fleet.join(8)
    assert await fleet.load() == {200}
    fleet.simulator.faults.add(Fault(path=TOKEN_PATH, status=503))
    fleet.clock.pass_(HOUR + 1)
    for failures in (1, 2, 3, 4):
        assert await fleet.load() == {503}
        await fleet.settle()
        assert fleet.redeems == [200] + [503] * failures
        assert await fleet.load() == {503}
        fleet.clock.pass_(pause(failures, 0.0) + 0.1)
    assert {each.refresher.failures for each in fleet.replicas} == {4}
    fleet.simulator.faults.clear()
    assert await fleet.load() == {200}
    assert fleet.generations == {2}


async def test_of_replicas_that_start_together_only_one_takes_the_lease(fleet: Fleet) -> None:
    """The others wait for it, and what it brings is what their configured refresh token would have begun."""
    gate = asyncio.Event()
    fleet.simulator.faults.add(Fault(path=TOKEN_PATH, gate=gate, times=1))
    fleet.join(8)
    await fleet.look()
    await until(lambda: len(fleet.simulator.token_calls()) == 1)
    gate.set()
    assert await fleet.load() == {200}
    await fleet.settle()
    await until(lambda: fleet.record.holder is None)
    assert fleet.record.calls["give_back"] == 1
    assert fleet.redeems == [200]


async def test_a_login_heals_all_replicas_without_a_restart(fleet: Fleet) -> None:
    fleet.wait = 2
    fleet.join(8)
    await fleet.look()
    assert await fleet.load() == {200}
    fleet.simulator.revoke_grants()
    fleet.clock.pass_(HOUR + 1)
    assert await fleet.load() == {503}
    fleet.clock.pass_(BELIEVED_AFTER)
    assert await fleet.load() == {503}
    await fleet.log_in()
    await until(lambda: fleet.generations == {2})
    assert {each.credential.state for each in fleet.replicas} == {State.FRESH}
    assert await fleet.load() == {200}
    assert [each.outrun for each in fleet.replicas] == [0] * 8


async def test_it_is_written_down_who_minted_which_generation_and_who_has_the_lease(fleet: Fleet) -> None:
    one, two = fleet.join(2)
    assert await fleet.ask(one) == 200
    fleet.clock.pass_(HOUR + 1)
    assert await fleet.ask(two) == 200
    await fleet.log_in()
    kept = await one.store.load()
    assert [(mint.generation, mint.by) for mint in kept.minted] == [(1, "pod-0"), (2, "pod-1"), (3, "laptop")]
    gate = hold(fleet)
    fleet.clock.pass_(HOUR + 1)
    asking = asyncio.create_task(fleet.ask(two))
    await until(lambda: len(fleet.redeems) == 3)
    assert (await one.store.holder() or "").startswith("pod-1.")
    gate.set()
    assert await asking == 200


# What one replica has learnt


@pytest.mark.parametrize("size", [1, 2, 4])
async def test_a_path_that_is_refused_for_ever_costs_a_fleet_as_many_refreshes_as_one(fleet: Fleet, size: int) -> None:
    """A cool-down that one replica began holds for all, and a sibling's refresh does not end it (law 3)."""
    fleet.join(size)
    await fleet.look()
    assert await fleet.load() == {200}
    for _ in range(10):
        for replica in fleet.replicas:
            lent = await replica.credential.current()
            newer = await replica.credential.replacement(lent)
            if isinstance(newer, Credential):
                replica.credential.replayed(newer, refused=True)
            await fleet.settle()
        assert await fleet.load(1) == {200}
        await asyncio.sleep(0.02)  # what was learnt is on its way
        fleet.clock.pass_(0.5)
    assert fleet.redeems.count(200) <= 3  # one more at most, where two met it before one could tell the other


async def test_a_lease_of_which_nobody_heard_that_it_was_taken_keeps_nobody_waiting(fleet: Fleet) -> None:
    one, two = fleet.join(2)
    assert await fleet.load(1) == {200}
    fleet.simulator.revoke_access_tokens()
    one.engine.unheard = True
    assert await fleet.ask(one) in {401, 503}
    await fleet.settle()
    assert await fleet.ask(two) == 200
    assert fleet.redeems == [200, 200]


async def test_whoever_waited_for_a_dead_holder_waits_for_the_next_one_too(fleet: Fleet) -> None:
    """Its redeem takes its time, and nobody sends another beside it: a lease ends by itself."""
    fleet.wait = 0.2
    fleet.join(6)
    await fleet.lends()
    fleet.clock.pass_(HOUR + 1)
    fleet.record.holder, fleet.record.until = "a pod that died", fleet.clock.monotonic() + REDEEM_TIMEOUT + 5
    assert await fleet.load() == {503}
    gate = hold(fleet)
    fleet.clock.pass_(REDEEM_TIMEOUT + 5.5)  # the lease ends, and the patience of all who have waited since
    await until(lambda: len(fleet.redeems) == 2)
    fleet.clock.pass_(3)
    await asyncio.sleep(1.6)  # each looks again after 1.5 s at the latest
    gate.set()
    await until(lambda: fleet.generations == {2})
    assert fleet.redeems == [200, 200]


async def test_a_lease_that_does_not_end_is_told_once_and_waited_for(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    """The engine has lost its clock, and lets nobody mend that: whoever looks after the fleet must hear of it."""
    fleet.wait = 0.1
    (one,) = fleet.join()
    await fleet.lends()
    fleet.clock.pass_(HOUR + 1)
    fleet.record.holder, fleet.record.until = "a pod that died", inf
    fleet.record.stuck = True
    assert await fleet.ask(one) == 503
    for _ in range(3):
        fleet.clock.pass_(REDEEM_TIMEOUT + 10)
        takes = fleet.record.calls["take"]
        async with asyncio.timeout(20):
            while fleet.record.calls["take"] < takes + 2:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
    assert caplog.text.count("the lease has been others' for longer than one lasts; waiting on") == 1
    assert fleet.redeems == [200]
    fleet.record.holder = None
    await until(lambda: fleet.generations == {2})


async def test_a_pause_that_the_token_endpoint_asks_for_is_kept_by_all(fleet: Fleet) -> None:
    fleet.wait = 0.3
    fleet.join(5)
    await fleet.look()
    await fleet.lends()
    fleet.clock.pass_(HOUR + 1)
    fleet.simulator.faults.add(Fault(path=TOKEN_PATH, status=429, headers=(("Retry-After", "250"),)))
    for _ in range(8):
        assert await fleet.load(1) == {503}
        fleet.clock.pass_(25)
    assert len(fleet.redeems) == 2


@pytest.mark.parametrize("ahead", [0, 600, 86400])
async def test_a_pause_of_seconds_is_one_of_seconds_though_anothers_clock_is_ahead(fleet: Fleet, ahead: int) -> None:
    fleet.wait = 0.3
    (one,) = fleet.join()
    await fleet.lends()
    fleet.clock.pass_(HOUR + 1)
    at = fleet.clock.wall() + ahead
    throttled = Attempt(at, "throttled", by="pod-fast", again_at=at + 5)
    await one.store.update(lambda kept: replace(kept, last=throttled))
    assert await fleet.ask(one) == 503
    fleet.clock.pass_(3)
    assert await fleet.ask(one) == 503
    assert fleet.redeems == [200]
    fleet.clock.pass_(3)
    assert await fleet.ask(one) == 200


async def test_a_refusal_is_not_believed_while_the_store_that_would_tell_is_gone(fleet: Fleet) -> None:
    """Each refreshes by itself, and one of them has the only living pair: a login would begin a second lineage."""
    fleet.policy, fleet.wait = Policy(alone=True), 0.5
    one, two = fleet.join(2)
    await fleet.lends()
    fleet.record.reachable = False
    fleet.clock.pass_(HOUR + 1)
    assert await fleet.ask(one) == 200
    assert await fleet.ask(two) == 503
    fleet.clock.pass_(BELIEVED_AFTER + 60)
    assert await fleet.ask(two) == 503
    assert two.credential.state is State.EXPIRED
    assert "the store that would tell can't be reached" in two.trouble
    fleet.record.reachable = True
    await until(lambda: one.credential.stored)
    fleet.clock.pass_(40)
    assert await fleet.load() == {200}
    assert fleet.generations == {2}


# An engine that is gone


async def test_while_the_engine_is_unreachable_a_good_token_is_lent_and_nothing_is_refreshed(fleet: Fleet) -> None:
    fleet.join(3)
    await fleet.look()
    assert await fleet.load() == {200}
    fleet.record.reachable = False
    assert await fleet.load() == {200}
    fleet.clock.pass_(HOUR * 0.95)
    await fleet.look()
    assert await fleet.load() == {200}
    await fleet.settle()
    assert fleet.redeems == [200]
    fleet.clock.pass_(HOUR)
    assert await fleet.load() == {503}
    assert all("the test's memory does not answer" in each.trouble for each in fleet.replicas)
    assert fleet.redeems == [200]
    assert {each.credential.state for each in fleet.replicas} == {State.EXPIRED}


async def test_all_replicas_are_back_within_seconds_of_the_engine(fleet: Fleet) -> None:
    fleet.join(3)
    await fleet.look()
    assert await fleet.load() == {200}
    fleet.record.reachable = False
    fleet.record.changed()
    fleet.clock.pass_(HOUR + 1)
    assert await fleet.load() == {503}
    fleet.record.reachable = True
    fleet.clock.pass_(2)
    assert await fleet.load() == {200}
    assert fleet.redeems == [200, 200]


async def test_a_refresh_asks_an_engine_that_was_gone_at_the_last_look(fleet: Fleet) -> None:
    """Else a hiccup that a look has met would cost the 401s of the next seconds their replay."""
    (one,) = fleet.join()
    await fleet.look()
    assert await fleet.load() == {200}
    one.engine.cut_off = True
    fleet.clock.pass_(20)
    with pytest.raises(StoreUnreachable):
        await one.refresher.look()
    one.engine.cut_off = False
    fleet.simulator.revoke_access_tokens()
    assert await fleet.load() == {200}


async def test_a_replica_may_be_told_to_refresh_without_the_engine_and_stores_it_later(fleet: Fleet) -> None:
    fleet.policy = Policy(alone=True)
    (one,) = fleet.join()
    assert await fleet.ask(one) == 200
    fleet.record.reachable = False
    fleet.clock.pass_(HOUR + 1)
    assert await fleet.ask(one) == 200
    assert not one.credential.stored
    fleet.record.reachable = True
    await until(lambda: one.credential.stored)
    assert (await one.store.load()).generation == 2


async def test_what_a_look_finds_that_a_refresh_has_overtaken_is_not_called_a_loss(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    (one,) = fleet.join(1)
    assert await fleet.ask(one) == 200
    fleet.clock.pass_(LOOKED_AT)
    slow = fleet.record.slow = asyncio.Event()
    reads = fleet.record.calls["read"]
    looking = asyncio.create_task(one.refresher.look())
    await until(lambda: fleet.record.calls["read"] > reads)
    fleet.record.slow = None
    fleet.simulator.revoke_access_tokens()
    assert await fleet.ask(one) == 200
    slow.set()
    await looking
    assert (await fleet.kept()).generation == 2
    assert "has lost generation" not in caplog.text


async def test_what_an_engine_has_lost_the_replicas_that_still_have_it_write_again(fleet: Fleet) -> None:
    fleet.join(8)
    await fleet.look()
    assert await fleet.load() == {200}
    fleet.record.calls.clear()
    fleet.record.flush()
    await until(lambda: fleet.record.content != b"")
    await fleet.settle()
    assert fleet.record.calls["write"] <= 8
    (late,) = fleet.join()
    assert await fleet.ask(late) == 200
    assert fleet.redeems == [200]


async def test_a_replica_that_starts_on_an_engine_that_lost_its_data_waits_for_those_that_have_it(
    fleet: Fleet,
) -> None:
    """It has a seed, which was spent long ago; its refusal is not believed."""
    (old,) = fleet.join()
    assert await fleet.ask(old) == 200
    fleet.record.flush()
    (new,) = fleet.join()
    assert await fleet.ask(new) == 503
    assert fleet.redeems == [200, 400]
    assert new.credential.state is not State.DEAD
    fleet.clock.pass_(10)
    await fleet.look()
    await until(lambda: fleet.generations == {1})
    assert await fleet.load() == {200}


async def test_a_pair_that_could_not_be_stored_is_not_lost_while_its_replica_lives(fleet: Fleet) -> None:
    """Its siblings' callers get 503 meanwhile, and they go on with it as soon as it is stored."""
    fleet.join(3)
    assert await fleet.load() == {200}
    gate, asking = await redeeming(fleet, fleet.replicas[0])
    fleet.record.reachable = False
    gate.set()
    assert await asking == 200
    assert await fleet.ask(fleet.replicas[1]) == 503
    fleet.record.reachable = True
    await until(lambda: fleet.replicas[0].credential.stored)
    fleet.clock.pass_(10)
    assert await fleet.load() == {200}
    assert fleet.redeems == [200, 200]


async def redeeming(fleet: Fleet, replica: Replica) -> tuple[asyncio.Event, "asyncio.Task[int]"]:
    """Have a replica's request wait for a redeem, the fleet's second, which is held until the event is set."""
    fleet.simulator.revoke_access_tokens()
    gate = hold(fleet)
    asking = asyncio.create_task(fleet.ask(replica))
    await until(lambda: len(fleet.redeems) == 2)
    return gate, asking


def hold(fleet: Fleet) -> asyncio.Event:
    """Hold the next redeem at PandaDoc's door until the event is set."""
    gate = asyncio.Event()
    fleet.simulator.faults.add(Fault(path=TOKEN_PATH, gate=gate, times=1))
    return gate
