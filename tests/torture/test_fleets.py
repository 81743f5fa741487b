"""Replicas that share a grant over a network, as processes: none is lost, whatever breaks (laws 1, 2, 4, 5 and 6)."""

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import aiohttp
import pytest
from commands.danger import YEAR
from commands.killable_replica import BEFORE_REDEEM, LONELY, REDEEMS, STEPS
from commands.process import Machine, Process, poll
from commands.replicas import BACK, BELIEVED, LEASE, Fleet, Place, fleet, said_in
from rig import until
from torture.places import PLACES, RedisPlace

from proxy.simulator import Fault, Received
from proxy.simulator.journal import TOKEN_PATH

pytestmark = pytest.mark.timeout(1200)

SOON: Final = 2
"""Seconds that a token lives which is to expire by the clock."""

POLLED: Final = 30.0
"""Seconds within which the first replica has read the record again though nothing was told: 22 s for the latest."""

WELL: Final = 8.0
"""Seconds after which every replica has found what keeps the record, once that is back (shared_store.LONGEST_BLIND)."""

FULL: Final = os.environ.get("TORTURE") != "bounded"
WHERE: Final = tuple(PLACES) if FULL else ("redis",)  # the other's own tests are in make test, and stay in CI
HARMLESS: Final = tuple(step for step in STEPS if step not in LONELY)


def some(steps: Sequence[str]) -> Sequence[str]:
    """Return all steps, or a few of them where time is short."""
    return steps if FULL else steps[1::3]


@pytest.fixture(params=WHERE)
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    async with PLACES[request.param](tmp_path / "place") as opened:
        yield opened


async def test_eight_replicas_redeem_once_for_each_expiry(
    machine: Machine, app: aiohttp.ClientSession, place: Place, *, full_size: bool
) -> None:
    """Every other one is by the clock, known beforehand; the others are refusals, which come out of nothing."""
    expiries = 50 if full_size else 8
    async with fleet(machine, app, place, 8) as replicas:
        await replicas.lends(1)
        for generation in range(2, expiries + 2, 2):
            machine.simulator.expires_in = SOON
            machine.simulator.expire_access_tokens()
            await machine.simulator.until(lambda: replicas.statuses == [200] * generation)  # noqa: B023 - within a turn
            machine.simulator.expires_in = YEAR
            await replicas.lends(generation + 1)
    assert replicas.statuses == [200] * (expiries + 1)
    replicas.assert_all_answered()
    replicas.assert_nobody_lends_the_dead()
    await replicas.assert_of_one_mind(expiries + 1)


# What keeps the record breaks


async def test_a_good_token_is_lent_on_while_the_record_cant_be_reached(
    machine: Machine, app: aiohttp.ClientSession, place: Place
) -> None:
    async with fleet(machine, app, place, 4) as replicas:
        await replicas.lends(1)
        await place.kill()
        replicas.forget()
        await asyncio.sleep(5)  # each looks behind the traffic every two seconds
        replicas.assert_all_answered()
        await place.start()
        await asyncio.sleep(WELL)
        machine.simulator.expire_access_tokens()
        await replicas.lends(2, seconds=BACK)
    replicas.assert_all_answered()
    assert replicas.statuses == [200] * 2
    await replicas.assert_of_one_mind(2)


async def test_a_token_that_expires_while_the_record_cant_be_reached_is_503_and_named_and_back_in_seconds(
    machine: Machine, app: aiohttp.ClientSession, place: Place
) -> None:
    machine.simulator.expires_in = SOON
    async with fleet(machine, app, place, 4) as replicas:
        await until(lambda: replicas.answers[200] > 20)
        await place.kill()
        for process in replicas.processes:
            await poll(partial(answers, replicas, process, 503), 2 * BACK)
        machine.simulator.expires_in = YEAR
        redeemed = len(replicas.statuses)
        _, text, headers = await replicas.ask(replicas.processes[0])
        assert place.name in text
        assert "Retry-After" in headers
        await place.start()
        began = time.monotonic()
        for process in replicas.processes:
            await poll(partial(answers, replicas, process, 200), BACK)
        print(f"back after {time.monotonic() - began:.1f} s")  # noqa: T201 - a figure for whoever wonders
        await replicas.lends((await place.record())["generation"])
    assert {place.name in detail for detail in said_in(replicas.problems)} == {True}
    assert replicas.statuses[redeemed:] == [200]
    replicas.assert_spent_once()


async def test_a_fleet_that_starts_before_what_keeps_its_record_waits_for_it(
    machine: Machine, app: aiohttp.ClientSession, place: Place
) -> None:
    await place.kill()
    async with fleet(machine, app, place, 4) as replicas:
        await until(lambda: replicas.answers[503] > 3, 40)
        assert {place.name in detail for detail in said_in(replicas.problems)} == {True}
        assert replicas.statuses == []
        await place.start()
        await replicas.lends(1, seconds=BACK)
    assert replicas.statuses == [200]
    await replicas.assert_of_one_mind(1)


async def test_a_record_that_was_lost_is_written_again_by_those_who_have_the_pair(
    machine: Machine, app: aiohttp.ClientSession, place: Place, chance: random.Random, *, full_size: bool
) -> None:
    """At any moment of a refresh, too: whatever is lost is what was there, and a sibling or the redeemer has it."""
    expiries = 20 if full_size else 4
    async with fleet(machine, app, place, 6) as replicas:
        await replicas.lends(1)
        for generation in range(2, expiries + 2):
            machine.simulator.expire_access_tokens()
            await asyncio.sleep(chance.uniform(0, 0.2))
            await place.lose()
            await replicas.lends(generation)
        await place.lose()
        await until_kept(place, expiries + 1)
    replicas.assert_all_answered()
    assert replicas.statuses.count(200) == expiries + 1
    assert replicas.statuses.count(200) + replicas.statuses.count(400) == len(replicas.statuses)
    await replicas.assert_of_one_mind(expiries + 1)


async def test_what_comes_back_empty_is_filled_again(
    machine: Machine, app: aiohttp.ClientSession, place: Place
) -> None:
    if not isinstance(place, RedisPlace):
        pytest.skip("it is never empty")
    async with fleet(machine, app, place, 4) as replicas:
        await replicas.lends(1)
        await place.kill()
        await place.come_back_empty()
        await until_kept(place, 1)
        machine.simulator.expire_access_tokens()
        await replicas.lends(2)
    replicas.assert_all_answered()
    assert replicas.statuses == [200] * 2
    await replicas.assert_of_one_mind(2)


async def test_what_stands_still_for_longer_than_a_lease_costs_no_grant(
    machine: Machine, app: aiohttp.ClientSession, place: Place
) -> None:
    """It stops in the middle of a refresh, while the reply is on its way, and goes on when the lease has passed."""
    async with fleet(machine, app, place, 6) as replicas:
        await replicas.lends(1)
        for generation in (2, 3):
            machine.simulator.expire_access_tokens()
            if generation == 2:  # before anybody has the lease
                place.pause()
            else:
                await machine.simulator.until(lambda: len(replicas.statuses) == 3)
                place.pause()
            await asyncio.sleep(LEASE + 2)
            place.resume()
            await replicas.lends(generation, seconds=BACK + LEASE)
    assert replicas.statuses.count(200) == 3
    await replicas.assert_of_one_mind(3)


# Who has the lease breaks


@pytest.mark.parametrize("step", some(HARMLESS))
async def test_a_fleet_goes_on_when_one_is_killed_at_a_step_of_its_refresh(
    machine: Machine, app: aiohttp.ClientSession, place: Place, step: str
) -> None:
    async with fleet(machine, app, place, 4) as replicas:
        await replicas.lends(1)
        replicas.give(signal.SIGKILL, step)
        machine.simulator.expire_access_tokens()
        dead = await replicas.obeyed()
        await dead.ended()
        await replicas.lends(2)
        await replicas.join()
        machine.simulator.expire_access_tokens()
        await replicas.lends(3)
    replicas.assert_all_answered()
    assert replicas.statuses == [200] * 3
    await replicas.assert_of_one_mind(3)


@pytest.mark.parametrize("step", some(LONELY))
async def test_a_pair_that_died_with_its_only_holder_is_told_once_and_a_login_heals(
    machine: Machine, app: aiohttp.ClientSession, place: Place, step: str
) -> None:
    """Nobody can do better: what PandaDoc answered was never stored. The parent is redeemed once, and refused after."""
    async with fleet(machine, app, place, 4) as replicas:
        await replicas.lends(1)
        replicas.give(signal.SIGKILL, step)
        machine.simulator.expire_access_tokens()
        dead = await replicas.obeyed()
        await dead.ended()
        living = [process for process in replicas.processes if process is not dead]
        await dead_for(replicas, living)
        assert replicas.statuses[:2] == [200, 200]
        assert set(replicas.statuses[2:]) == {400}
        code = machine.simulator.issue_code()
        login = await machine.run("login", "--code", code, env=replicas.env)
        assert login.code == 0, login.err
        record = await place.record()
        await replicas.lends(record["generation"], living)
    replicas.assert_spent_once()


@pytest.mark.parametrize("step", some(STEPS))
async def test_a_fleet_goes_on_when_one_stands_still_at_a_step_and_it_joins_them_when_it_wakes_up(
    machine: Machine, app: aiohttp.ClientSession, place: Place, step: str
) -> None:
    """It wakes up after its lease has passed to another; where it alone has the pair, it heals all that were dead."""
    async with fleet(machine, app, place, 4) as replicas:
        await replicas.lends(1)
        replicas.give(signal.SIGSTOP, step)
        machine.simulator.expire_access_tokens()
        still = await replicas.obeyed()
        others = [process for process in replicas.processes if process is not still]
        if step in LONELY:
            await dead_for(replicas, others)
        else:
            await replicas.lends(2, others)
            await asyncio.sleep(LEASE)
        still.signal(signal.SIGCONT)
        await replicas.lends(2)
        machine.simulator.expire_access_tokens()
        await replicas.lends(3)
    assert replicas.statuses.count(200) == 3
    if step == BEFORE_REDEEM:
        assert replicas.statuses.count(400) == 1
    if step not in LONELY:
        replicas.assert_all_answered()
    await replicas.assert_of_one_mind(3)


async def test_a_replica_that_is_killed_while_its_redeem_is_on_its_way_costs_nothing(
    machine: Machine, app: aiohttp.ClientSession, place: Place
) -> None:
    """PandaDoc has the request and has not come to it; another redeems before, and the late one is refused."""
    async with fleet(machine, app, place, 4) as replicas:
        await replicas.lends(1)
        gate = asyncio.Event()
        (held, dead) = await held_redeem(replicas, gate)
        dead.signal(signal.SIGKILL)
        await dead.ended()
        await replicas.lends(2)
        gate.set()
        await machine.simulator.until(lambda: held.status == 400)
        machine.simulator.expire_access_tokens()
        await replicas.lends(3)
    replicas.assert_all_answered()
    assert sorted(replicas.statuses) == [200, 200, 200, 400]
    await replicas.assert_of_one_mind(3)


async def test_an_answer_that_waits_in_the_socket_of_one_that_stands_still_heals_all_when_it_goes_on(
    machine: Machine, app: aiohttp.ClientSession, place: Place
) -> None:
    """Its lease passes, others redeem in vain, and believe in the end that the grant is dead; then comes the pair."""
    async with fleet(machine, app, place, 4) as replicas:
        await replicas.lends(1)
        gate = asyncio.Event()
        (held, still) = await held_redeem(replicas, gate)
        still.signal(signal.SIGSTOP)
        gate.set()
        await machine.simulator.until(lambda: held.status == 200)
        await dead_for(replicas, [process for process in replicas.processes if process is not still])
        still.signal(signal.SIGCONT)
        await replicas.lends(2)
    assert replicas.statuses.count(200) == 2
    await replicas.assert_of_one_mind(2)


async def held_redeem(replicas: Fleet, gate: asyncio.Event) -> tuple[Received, Process]:
    """Let the token expire, and PandaDoc hold the redeem that follows; return that, and whose it is."""
    simulator = replicas.machine.simulator
    simulator.faults.add(Fault(path=TOKEN_PATH, gate=gate, times=1))
    before = [process.out.count(REDEEMS) for process in replicas.processes]
    number = len(replicas.statuses)
    simulator.expire_access_tokens()
    await simulator.until(lambda: len(simulator.token_calls()) > number)
    await until(lambda: [process.out.count(REDEEMS) for process in replicas.processes] != before)
    (whose,) = [each for each, count in zip(replicas.processes, before, strict=True) if each.out.count(REDEEMS) > count]
    return simulator.token_calls()[-1], whose


async def answers(replicas: Fleet, process: Process, status: int) -> bool:
    return (await replicas.ask(process))[0] == status


async def dead_for(replicas: Fleet, processes: Sequence[Process]) -> None:
    """Wait until each of these says that the grant is dead: after a lease, and what is not believed at once."""

    async def dead(process: Process) -> bool:
        status, text, headers = await replicas.ask(process)
        return status == 503 and "Retry-After" not in headers and "login" in text

    async with asyncio.timeout(2 * (LEASE + BELIEVED) + BACK):
        for process in processes:
            while not await dead(process):  # noqa: ASYNC110 - the same
                await asyncio.sleep(0.2)


async def until_kept(place: Place, generation: int) -> None:
    async with asyncio.timeout(POLLED):
        while (await place.record()).get("generation") != generation:  # noqa: ASYNC110 - nobody tells a test
            await asyncio.sleep(0.05)
