"""Processes that share a grant by a Kubernetes API, and apps that ask all of them without a pause."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from aiohttp import ClientSession
from commands.crowd import IMPATIENT, SETTING, lent
from commands.oracle import answered
from commands.process import PATIENCE, Machine, Process
from kubernetes_api import SECRET, KubernetesApi, Moment
from rig import until

LEASE: Final = 6.0
"""Seconds for which these processes take the lease: redeem_timeout and 5 s."""


@dataclass
class KubernetesFleet:
    """What changes: `processes`, by `join`; `statuses`, what the apps have got from each, by the apps."""

    api: KubernetesApi
    machine: Machine
    app: ClientSession
    env: dict[str, str]
    processes: dict[str, Process] = field(default_factory=dict)  # by the token that each shows to Kubernetes
    statuses: dict[str, list[int]] = field(default_factory=dict)
    _apps: list[asyncio.Task[None]] = field(default_factory=list)

    def environ(self) -> tuple[dict[str, str], str]:
        """Return what one more process is started with, and the token that it shows to Kubernetes."""
        kubeconfig, token = self.api.kubeconfig()
        self.machine.secrets.add(token)
        store = {"SECRET": SECRET, "KUBECONFIG": str(kubeconfig)}
        kept = {f"{SETTING}STORE__KUBERNETES__{key}": value for key, value in store.items()}
        return {**self.env, **IMPATIENT, **kept}, token

    async def join(self) -> Process:
        """Start one more process, and have it asked without a pause until it is gone."""
        env, token = self.environ()
        process = await self.machine.start(env=env)
        self.processes[token] = process
        self.statuses[token] = []
        self._apps.append(asyncio.create_task(self._ask(token)))
        return process

    @property
    def running(self) -> list[Process]:
        return [process for process in self.processes.values() if process.running]

    @property
    def redeems(self) -> list[int]:
        return [call.status for call in self.machine.simulator.token_calls()]

    def all_statuses(self) -> set[int]:
        return {status for each in self.statuses.values() for status in each}

    async def lends(self, generation: int, *, seconds: float = 2 * PATIENCE) -> None:
        """Wait until each process that lives lends this generation, which PandaDoc has accepted from it."""
        await until(lambda: all(lent(each) == generation for each in self.running), seconds)

    def kill_at(self, plural: str, number: int, *, made: bool) -> asyncio.Future[Process]:
        """Kill whichever process makes that patch, when it is made or is about to be; return who it was."""
        struck: asyncio.Future[Process] = asyncio.get_running_loop().create_future()

        def strike(token: str) -> None:
            self.processes[token].signal(signal.SIGKILL)
            struck.set_result(self.processes[token])

        self.api.faults.moment = Moment(plural, number, strike, made=made)
        return struck

    async def disperse(self) -> None:
        for app in self._apps:
            app.cancel()
        ends = await asyncio.gather(*self._apps, return_exceptions=True)
        assert [end for end in ends if not isinstance(end, asyncio.CancelledError | None)] == []

    async def _ask(self, token: str) -> None:
        process = self.processes[token]
        url = await process.url()
        while (status := await answered(self.app, url)) is not None:
            self.statuses[token].append(status)


@asynccontextmanager
async def kubernetes_fleet(
    api: KubernetesApi, machine: Machine, app: ClientSession, number: int
) -> AsyncIterator[KubernetesFleet]:
    """Start so many processes on an empty Secret; keep apps asking them until the end of the block."""
    fleet = KubernetesFleet(api, machine, app, machine.with_grant())
    for _ in range(number):
        await fleet.join()
    try:
        await fleet.lends(1)
        yield fleet
    finally:
        await fleet.disperse()
    secrets = machine.all_secrets() | {str(api.record["refresh_token"]), str(api.record["access_token"])}
    assert not [each for each in secrets if each in json.dumps(api.lease)]


def assert_healthy(fleet: KubernetesFleet, generation: int) -> None:
    """Fail unless all are on one generation, each redeemed once, and its pair is the one that lives."""
    assert fleet.api.record["generation"] == generation
    assert {fleet.api.record["refresh_token"]} == fleet.machine.simulator.refresh_tokens
    assert fleet.redeems.count(200) == generation
