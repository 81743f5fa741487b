"""A fleet on a Kubernetes API, and what only that can do to it: answers that are lost, 410, 429, tokens that are stale.

What holds on every engine is in test_fleets.py. The API is a stand-in (tests/kubernetes_api.py); the proxies are real
processes, and so are their deaths.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

import pytest
from aiohttp import ClientSession
from commands.kubernetes_fleet import LEASE, assert_healthy, kubernetes_fleet
from commands.process import Machine
from kubernetes_api import KubernetesApi

FLEET: Final = 8

Change = Callable[[], Awaitable[None]]

STEPS: Final = {
    "before it has the lease": ("leases", 1, False),
    "when it has the lease": ("leases", 1, True),
    "before its intent is written": ("secrets", 1, False),
    "when its intent is written": ("secrets", 1, True),
    "when the pair is stored": ("secrets", 2, True),
    "before the lease is given back": ("leases", 2, False),
    "when the lease is given back": ("leases", 2, True),
}
"""The patches of a refresh, and whether they are made. A pair that was not stored is lost: see test_fleets.py."""


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[KubernetesApi]:
    (tmp_path / "kubernetes").mkdir()
    async with KubernetesApi(tmp_path / "kubernetes") as running:
        running.apply_manifests()
        yield running


@pytest.mark.timeout(120)
@pytest.mark.parametrize("step", STEPS)
async def test_whoever_is_killed_around_a_write_costs_the_others_at_most_its_lease(
    api: KubernetesApi, machine: Machine, app: ClientSession, step: str
) -> None:
    plural, number, made = STEPS[step]
    async with kubernetes_fleet(api, machine, app, 4) as fleet:
        struck = fleet.kill_at(plural, number, made=made)
        machine.simulator.expire_access_tokens()
        await struck
        began = asyncio.get_running_loop().time()
        await fleet.lends(2)
        assert asyncio.get_running_loop().time() - began < LEASE + 5
        machine.simulator.expire_access_tokens()
        await fleet.lends(3)
    assert fleet.all_statuses() == {200}
    assert fleet.redeems == [200] * 3
    assert_healthy(fleet, 3)


@pytest.mark.timeout(120)
async def test_a_write_whose_answer_is_lost_is_found_made_and_nothing_is_redeemed_twice(
    api: KubernetesApi, machine: Machine, app: ClientSession
) -> None:
    """Of the lease, the intent, the pair, and several in a row."""
    async with kubernetes_fleet(api, machine, app, 4) as fleet:
        for generation in range(2, 7):
            api.faults.lost = generation - 1
            machine.simulator.expire_access_tokens()
            await fleet.lends(generation)
        assert api.faults.lost == 0
    assert fleet.all_statuses() <= {200, 401, 503}
    assert fleet.redeems == [200] * 6
    assert_healthy(fleet, 6)


# The API server in trouble


@pytest.mark.timeout(120)
async def test_a_fleet_is_back_within_seconds_of_its_api_server(
    api: KubernetesApi, machine: Machine, app: ClientSession
) -> None:
    """Killed, stopped, overrun, or in disagreement about who we are: a good token is lent, nothing is refreshed."""
    generation = 1
    async with kubernetes_fleet(api, machine, app, FLEET) as fleet:
        for begin, end in troubles(api):
            await begin()
            machine.simulator.expire_access_tokens()
            redeems = len(fleet.redeems)
            await asyncio.sleep(3)  # the trouble lasts this long; nothing is decided by it
            assert len(fleet.redeems) == redeems
            assert api.record["generation"] == generation
            await end()
            generation += 1
            await fleet.lends(generation, seconds=10)
    assert fleet.redeems == [200] * generation
    assert_healthy(fleet, generation)


def troubles(api: KubernetesApi) -> list[tuple[Change, Change]]:
    """Return how each trouble begins and ends."""

    async def killed() -> None:
        await api.stop()

    async def started() -> None:
        api.objects.compact()  # one that starts knows nothing of what was before
        await api.start()

    async def still() -> None:
        api.faults.stalled = True

    async def moving() -> None:
        api.faults.stalled = False

    async def overrun() -> None:
        api.faults.throttled = 10**9

    async def at_rest() -> None:
        api.faults.throttled = 0

    tokens = set(api.tokens)

    async def stale() -> None:
        tokens.update(api.tokens)
        api.tokens.clear()

    async def known() -> None:
        api.tokens.update(tokens)

    return [(killed, started), (still, moving), (overrun, at_rest), (stale, known)]


@pytest.mark.timeout(120)
async def test_a_fleet_whose_watches_break_again_and_again_misses_nothing(
    api: KubernetesApi, machine: Machine, app: ClientSession
) -> None:
    """Dropped, forgotten (410), cut in half, silent: each pair is taken all the same, and nothing is asked in haste."""
    async with kubernetes_fleet(api, machine, app, FLEET) as fleet:
        for generation in range(2, 12):
            api.objects.compact()
            api.faults.cut = generation % 3 == 0
            api.faults.deaf = generation % 3 == 1
            api.drop_watches()
            machine.simulator.expire_access_tokens()
            await fleet.lends(generation)
    assert fleet.all_statuses() == {200}
    assert fleet.redeems == [200] * 11
    assert_healthy(fleet, 11)
