"""A fleet on a Kubernetes API, at full size: fifty expiries, and whoever refreshes killed or stopped at each step.

The API is a stand-in (tests/kubernetes_api.py); the proxies are real processes, and so are their deaths.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

import pytest
from aiohttp import ClientSession
from commands.crowd import SETTING
from commands.kubernetes_fleet import LEASE, assert_healthy, kubernetes_fleet
from commands.process import MEMBER, Machine, poll
from commands.test_login import address_of, consent
from kubernetes_api import KubernetesApi

from proxy.simulator import Fault
from proxy.simulator.journal import TOKEN_PATH

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
"""The patches of a refresh, and whether they are made. What is not here is `the pair was not stored`: see below."""


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[KubernetesApi]:
    (tmp_path / "kubernetes").mkdir()
    async with KubernetesApi(tmp_path / "kubernetes") as running:
        running.apply_manifests()
        yield running


@pytest.mark.timeout(600)
async def test_fifty_expiries_cost_fifty_redeems_and_every_request_is_answered(
    api: KubernetesApi, machine: Machine, app: ClientSession, *, full_size: bool
) -> None:
    """And nobody lends a dead token for longer than one 401: each app has one request in flight."""
    expiries = 50 if full_size else 10
    async with kubernetes_fleet(api, machine, app, FLEET) as fleet:
        for generation in range(2, expiries + 2):
            machine.simulator.expire_access_tokens()
            await fleet.lends(generation)
        refused = [each for each in machine.simulator.journal if each.status == 401]
    assert fleet.all_statuses() == {200}
    assert fleet.redeems == [200] * (expiries + 1)
    assert len(refused) <= FLEET * expiries
    assert_healthy(fleet, expiries + 1)
    calls = len(api.seen) / (expiries * FLEET)
    print(f"{sum(map(len, fleet.statuses.values()))} requests, {len(refused)} replayed, {calls:.1f} calls a replica")  # noqa: T201 - for people


@pytest.mark.timeout(120)
@pytest.mark.parametrize("step", STEPS)
async def test_whoever_is_killed_in_its_refresh_costs_the_others_at_most_its_lease(
    api: KubernetesApi, machine: Machine, app: ClientSession, step: str
) -> None:
    plural, number, made = STEPS[step]
    async with kubernetes_fleet(api, machine, app, 4) as fleet:
        struck = fleet.at(plural, number, signal.SIGKILL, made=made)
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
@pytest.mark.parametrize("step", [name for name, (*_, made) in STEPS.items() if made])
async def test_whoever_stands_still_in_its_refresh_comes_back_to_a_fleet_that_has_gone_on(
    api: KubernetesApi, machine: Machine, app: ClientSession, step: str
) -> None:
    """It wakes up past its lease and finishes what it was doing: that does no harm."""
    plural, number, made = STEPS[step]
    async with kubernetes_fleet(api, machine, app, 4) as fleet:
        struck = fleet.at(plural, number, signal.SIGSTOP, made=made)
        machine.simulator.expire_access_tokens()
        still = await struck
        await fleet.lends(2, but=still)
        still.signal(signal.SIGCONT)
        await fleet.lends(2)
        machine.simulator.expire_access_tokens()
        await fleet.lends(3)
    assert fleet.all_statuses() <= {200, 401}
    assert fleet.redeems.count(200) == 3
    assert_healthy(fleet, 3)


@pytest.mark.timeout(120)
async def test_a_redeem_whose_sender_stands_still_is_made_by_another_and_refused_to_him(
    api: KubernetesApi, machine: Machine, app: ClientSession
) -> None:
    async with kubernetes_fleet(api, machine, app, 4) as fleet:
        gate = asyncio.Event()
        machine.simulator.faults.add(Fault(path=TOKEN_PATH, gate=gate, times=1))
        holder = fleet.at("leases", 1, None, made=True)
        machine.simulator.expire_access_tokens()
        await machine.simulator.until(lambda: len(fleet.redeems) == 2)
        held, still = machine.simulator.token_calls()[-1], await holder
        still.signal(signal.SIGSTOP)
        await fleet.lends(2, but=still)
        gate.set()
        await machine.simulator.until(lambda: held.status == 400)
        still.signal(signal.SIGCONT)
        await fleet.lends(2)
    assert fleet.redeems.count(200) == 2
    assert_healthy(fleet, 2)


@pytest.mark.timeout(120)
async def test_a_pair_that_dies_with_its_process_is_told_and_a_login_heals_all(
    api: KubernetesApi, machine: Machine, app: ClientSession, unused_tcp_port: int
) -> None:
    """Killed between PandaDoc's answer and the store's: nobody else has ever had it. None need be restarted."""
    async with kubernetes_fleet(api, machine, app, 4) as fleet:
        struck = fleet.at("secrets", 2, signal.SIGKILL, made=False)
        machine.simulator.expire_access_tokens()
        await struck
        url = await fleet.running[0].url()

        async def told() -> bool:
            async with app.get(url + MEMBER) as answer:
                return answer.status == 503 and "pandadoc-proxy login" in await answer.text()

        await poll(told, 60)
        assert fleet.redeems.count(200) == 2
        env, _ = fleet.environ()
        env[f"{SETTING}REDIRECT_URI"] = f"http://127.0.0.1:{unused_tcp_port}/callback"
        login = await machine.start("login", "--no-browser", env=env, stdin=asyncio.subprocess.PIPE)
        async with app.get(await consent(app, await address_of(login))) as page:
            assert page.status == 200
        assert await login.ended() == 0
        generation = api.record["generation"]
        await fleet.lends(generation)
        machine.simulator.expire_access_tokens()
        await fleet.lends(generation + 1)
    assert fleet.redeems == [200, 200, 400, 200, 200], "the fourth is the login's"


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
