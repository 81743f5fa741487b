"""PandaDoc's own numbers, its whole minute, and five times the demand: no 429 from the upstream, little of it lost."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from aiohttp import ClientSession, ClientTimeout, TCPConnector
from commands.demand import LIST, Watch
from commands.process import MEMBER, Machine, status_of

from proxy.simulator.throttle import PRODUCTION, SANDBOX

pytestmark = pytest.mark.timeout(900)

SETTING: Final = "PANDADOC_PROXY__RATE_BUDGET"
PEOPLE, ROBOTS = "people-0123456789abcdef", "robots-0123456789abcdef"
DETAILS: Final = 600


@dataclass
class Stream:
    """Requests at a steady pace, whatever becomes of them. What changes: the tasks, the statuses, what they waited."""

    app: ClientSession
    urls: list[str]
    every: float  # seconds
    client: str = ""
    statuses: Counter[int] = field(default_factory=Counter)
    waits: list[tuple[float, float]] = field(default_factory=list)  # since when, in seconds of the stream, how long
    _began: float = field(default_factory=time.monotonic)
    _asked: set[asyncio.Task[None]] = field(default_factory=set)

    async def flow(self) -> None:
        """Ask one after the other proxy until cancelled."""
        due, number = time.monotonic(), 0
        while True:
            task = asyncio.create_task(self._ask(self.urls[number % len(self.urls)]))
            self._asked.add(task)
            task.add_done_callback(self._asked.discard)
            due, number = due + self.every, number + 1
            await asyncio.sleep(due - time.monotonic())

    async def stop(self, flowing: "asyncio.Task[None]") -> None:
        for task in (flowing, *self._asked):
            task.cancel()
        await asyncio.gather(flowing, *self._asked, return_exceptions=True)

    async def _ask(self, url: str) -> None:
        began = time.monotonic()
        async with self.app.get(url, headers={"X-Proxy-Key": self.client} if self.client else {}) as answer:
            await answer.read()
        self.statuses[answer.status] += 1
        self.waits.append((began - self._began, time.monotonic() - began))

    def longest(self, since: float) -> float:
        return max(wait for at, wait in self.waits if at >= since)


def session() -> ClientSession:
    return ClientSession(connector=TCPConnector(limit=0), timeout=ClientTimeout(total=120))


async def test_a_sandbox_key_and_an_app_that_polls_every_second(machine: Machine, *, full_size: bool) -> None:
    machine.simulator.rate_limits = SANDBOX
    process = await machine.start(env=machine.with_api_key() | {SETTING: "sandbox"})
    url, statuses = await process.url(), Counter[int]()
    async with session() as patient:
        for number in range(45 if full_size else 21):
            statuses[await status_of(patient, url + (LIST, MEMBER)[number % 2])] += 1
            await asyncio.sleep(1)  # as apps do
    assert set(statuses) == {200}
    assert {call.status for call in machine.simulator.api_calls()} == {200}


async def test_five_times_the_demand_with_people_among_it(machine: Machine, tmp_path: Path, *, full_size: bool) -> None:
    """People ask for half of the rate; robots ask for four times as much as there is, and share what is left.

    In the first minute nobody knows how much the people will want. From the third on they hardly wait.
    """
    simulator, minutes = machine.simulator, 4 if full_size else 2
    simulator.rate_limits = PRODUCTION
    document = simulator.documents.create("one")
    simulator.documents.send(document)  # so that it has details
    clients = {"people": {"key": {"env": "PEOPLE"}}, "robots": {"key": {"env": "ROBOTS"}, "priority": "batch"}}
    settings: dict[str, Any] = {
        "listeners": [{"bind": "127.0.0.1:0", "clients": clients}],
        "rate_budget": {"numbers": "auto"},
        "limits": {"max_requests": 2000},
    }
    (tmp_path / "cwd" / "config.yaml").write_text(yaml.safe_dump(settings))
    machine.secrets |= {PEOPLE, ROBOTS}
    env = {name: value for name, value in machine.with_api_key().items() if "LISTENERS" not in name}
    process = await machine.start(env=env | {"PEOPLE": PEOPLE, "ROBOTS": ROBOTS})
    url, watch = f"{await process.url()}{LIST}/{document.id}/details", Watch(simulator)
    async with session() as app:
        robots, people = Stream(app, [url], 1 / 45, ROBOTS), Stream(app, [url], 1 / 5, PEOPLE)
        flows = [asyncio.create_task(robots.flow()), asyncio.create_task(people.flow())]
        await watch.until_granted(DETAILS * (1 + minutes), 70 * (1 + minutes))
        throughput = watch.throughput(DETAILS) * 60
        for stream, flowing in zip((robots, people), flows, strict=True):
            await stream.stop(flowing)
    print(f"{throughput:.1f} a minute of {DETAILS}; {watch.refused} refused by the simulator")  # noqa: T201 - for the record
    print(f"people {people.statuses}, robots {robots.statuses}")  # noqa: T201 - the same
    print(f"people wait {people.longest(0):.2f} s at most, {people.longest(130):.2f} s in the end")  # noqa: T201 - the same
    assert watch.refused == 0
    assert throughput >= 0.95 * DETAILS
    assert set(people.statuses) == {200}
    assert people.longest(130) < 5.0
    assert set(robots.statuses) <= {200, 429}


async def test_eight_processes_with_an_eighth_each(machine: Machine, *, full_size: bool) -> None:
    simulator, minutes = machine.simulator, 3 if full_size else 1
    simulator.rate_limits = PRODUCTION
    document = simulator.documents.create("one")
    simulator.documents.send(document)
    env = machine.with_api_key() | {SETTING: "auto", f"{SETTING}__SHARE": "1/8"}
    processes = [await machine.start(env=env) for _ in range(8)]
    urls = [f"{await process.url()}{LIST}/{document.id}/details" for process in processes]
    watch = Watch(simulator)
    async with session() as app:
        stream = Stream(app, urls, 1 / 50)
        flowing = asyncio.create_task(stream.flow())
        await watch.until_granted(DETAILS * (1 + minutes), 70 * (1 + minutes))
        throughput = watch.throughput(DETAILS) * 60
        await stream.stop(flowing)
    print(f"{throughput:.1f} a minute of {DETAILS}; {watch.refused} refused by the simulator")  # noqa: T201 - for the record
    assert watch.refused == 0
    assert throughput >= 0.95 * DETAILS
    assert set(stream.statuses) <= {200, 429}
