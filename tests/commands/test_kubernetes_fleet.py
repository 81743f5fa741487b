"""Eight processes that share a grant by a Kubernetes API (laws 1, 2, 4, 5, 6): one redeem serves them all.

The API is a stand-in (tests/kubernetes_api.py). All at full size is torture's.
"""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession
from commands.kubernetes_fleet import assert_healthy, kubernetes_fleet
from commands.process import Machine
from kubernetes_api import KubernetesApi
from rig import until

CALLS = 8
"""How often a replica calls for each expiry, at the most: it starts, or refreshes with 9, or waits and looks."""


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[KubernetesApi]:
    (tmp_path / "kubernetes").mkdir()
    async with KubernetesApi(tmp_path / "kubernetes") as running:
        running.apply_manifests()
        yield running


async def test_each_expiry_costs_a_fleet_one_redeem_and_every_request_is_answered(
    api: KubernetesApi, machine: Machine, app: ClientSession
) -> None:
    async with kubernetes_fleet(api, machine, app, 8) as fleet:
        for generation in range(2, 7):
            machine.simulator.expire_access_tokens()
            await fleet.lends(generation)
        assert len(api.seen) < 6 * CALLS * 8
        told = await machine.run("token", "status", env=fleet.environ()[0])
    assert fleet.all_statuses() == {200}
    assert fleet.redeems == [200] * 6
    assert_healthy(fleet, 6)
    assert (told.code, told.err) == (0, "")
    assert "generation         6\n" in told.out
    assert "kept in            Secret pandadoc-grant, with Lease pandadoc-grant\n" in told.out
    assert re.search(r"minted +6 by \S+ at .*; 5 by ", told.out), told.out


async def test_a_consent_is_not_spent_where_the_secret_can_not_be_changed(
    api: KubernetesApi, machine: Machine, app: ClientSession
) -> None:
    async with kubernetes_fleet(api, machine, app, 1) as fleet:
        api.edit("secrets", immutable=True)
        spent = len(fleet.redeems)
        env, _ = fleet.environ()
        told = await machine.run("login", "--code", machine.simulator.issue_code(), env=env)
        assert (told.code, len(fleet.redeems)) == (1, spent)
        assert "422" in told.err
        told = await machine.run("token", "refresh", "--dry-run", env=env)
        assert "422" in told.out
        assert told.code == 1


async def test_nothing_is_redeemed_while_an_admission_webhook_takes_the_pair_out_of_what_is_written(
    api: KubernetesApi, machine: Machine, app: ClientSession
) -> None:
    """Each write is answered 200, and the Secret has lost what was there before: memory has it."""
    async with kubernetes_fleet(api, machine, app, 1) as fleet:
        api.faults.webhook = lambda patch: {**patch, "data": {"grant.json": None}}
        machine.simulator.expire_access_tokens()
        await fleet.running[0].said("can't be refreshed", "look for an admission webhook or policy")
        assert api.record == {}
        assert fleet.redeems == [200]
        api.faults.webhook = None
        await fleet.lends(2)
    assert_healthy(fleet, 2)


async def test_a_fleet_goes_on_when_the_one_that_refreshes_is_killed(
    api: KubernetesApi, machine: Machine, app: ClientSession
) -> None:
    """Its lease ends when the others have seen it unchanged for as long as it was taken for."""
    async with kubernetes_fleet(api, machine, app, 3) as fleet:
        struck = fleet.kill_at("secrets", 1, made=True)
        machine.simulator.expire_access_tokens()
        await struck
        await fleet.lends(2)
    assert fleet.all_statuses() == {200}
    assert fleet.redeems == [200] * 2
    assert_healthy(fleet, 2)


async def test_a_fleet_lends_on_while_the_api_server_is_gone_and_refreshes_when_it_is_back(
    api: KubernetesApi, machine: Machine, app: ClientSession
) -> None:
    async with kubernetes_fleet(api, machine, app, 3) as fleet:
        await api.stop()
        before = {token: len(statuses) for token, statuses in fleet.statuses.items()}
        await until(lambda: all(len(fleet.statuses[token]) > number + 20 for token, number in before.items()))
        assert fleet.all_statuses() == {200}
        machine.simulator.expire_access_tokens()
        await until(lambda: 503 in fleet.all_statuses() or 401 in fleet.all_statuses())
        assert fleet.redeems == [200]
        await api.start()
        await fleet.lends(2)
        assert fleet.redeems == [200] * 2
    assert_healthy(fleet, 2)
