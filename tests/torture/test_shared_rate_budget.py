"""Eight processes, one rate, a real Redis: PandaDoc's window is kept, people go first, and Redis may go away."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from aiohttp import ClientSession
from commands.demand import LIST, Watch
from commands.process import Machine, Process
from commands.replicas import logged
from rig import until
from torture.redis_server import RedisServer
from torture.test_rate_budget import PEOPLE, ROBOTS, Stream, session

from proxy.simulator import Simulator

pytestmark = pytest.mark.timeout(900)

REPLICAS: Final = 8
LOST, BACK = "keeps to its share", "shared again"


@dataclass(frozen=True)
class Size:
    """A rate, and for how many of its windows it is watched after the first."""

    most: int
    window: float  # seconds
    windows: int

    @property
    def demand(self) -> float:
        """Seconds between two requests, for five times the rate."""
        return self.window / self.most / 5


@pytest.fixture
def size(*, full_size: bool) -> Size:
    """PandaDoc's own rate of details; bounded, its pace in a shorter window."""
    return Size(600, 60.0, 3) if full_size else Size(80, 8.0, 2)


@dataclass
class Eight:
    """The processes, and what they share."""

    machine: Machine
    redis: RedisServer
    processes: Sequence[Process]
    urls: list[str]

    async def said(self, words: str, times: int = 1) -> None:
        """Wait until each has said so, so many times in all its life."""
        await until(
            lambda: all(sum(words in line for line in each.err) == times for each in self.processes if each.running), 20
        )


@asynccontextmanager
async def eight(machine: Machine, folder: Path, size: Size, **budget: Any) -> AsyncIterator[Eight]:
    simulator = machine.simulator
    simulator.rate_limits, simulator.rate_window = {"details": size.most}, size.window
    document = simulator.documents.create("one")
    simulator.documents.send(document)  # so that it has details
    clients = {"people": {"key": {"env": "PEOPLE"}}, "robots": {"key": {"env": "ROBOTS"}, "priority": "batch"}}
    rate = f"{size.most}/{size.window:g}s"
    async with RedisServer(folder / "redis") as redis:
        settings: dict[str, Any] = {
            "listeners": [{"bind": "127.0.0.1:0", "clients": clients}],
            "rate_budget": {"numbers": "auto", "rates": {"details": rate}, "redis": {"url": redis.url}, **budget},
            "limits": {"max_requests": 2000},
        }
        (machine.folder / "config.yaml").write_text(yaml.safe_dump(settings))
        machine.secrets |= {PEOPLE, ROBOTS}
        env = {name: value for name, value in machine.with_api_key().items() if "LISTENERS" not in name}
        env |= {"PEOPLE": PEOPLE, "ROBOTS": ROBOTS}
        processes = [await machine.start(env=env) for _ in range(REPLICAS)]
        urls = [f"{await process.url()}{LIST}/{document.id}/details" for process in processes]
        yield Eight(machine, redis, processes, urls)


async def test_five_times_the_demand_at_eight_processes_meets_no_429_and_loses_little(
    machine: Machine, tmp_path: Path, size: Size
) -> None:
    async with eight(machine, tmp_path, size) as fleet, session() as app:
        stream, watch = Stream(app, fleet.urls, size.demand, PEOPLE), Watch(machine.simulator)
        flowing = asyncio.create_task(stream.flow())
        await watch.until_granted(size.most * (1 + size.windows), (size.window + 10) * (1 + size.windows))
        throughput = watch.throughput(size.most) * size.window
        await stream.stop(flowing)
        commands = await fleet.redis.ask("INFO", "commandstats")
    calls = commands["cmdstat_eval"]
    print(f"{throughput:.1f} of {size.most}; {watch.refused} refused by the simulator; {calls}")  # noqa: T201 - for the record
    assert watch.refused == 0
    assert throughput >= 0.95 * size.most
    assert set(stream.statuses) <= {200, 429}


async def test_people_go_first_in_the_whole_fleet(machine: Machine, tmp_path: Path, size: Size) -> None:
    """They ask for half of the rate, at some processes; robots ask for four times the rate, at others."""
    async with eight(machine, tmp_path, size) as fleet, session() as app:
        robots = Stream(app, fleet.urls[2:], size.demand * 5 / 4, ROBOTS)
        people, watch = Stream(app, fleet.urls[:4], size.demand * 10, PEOPLE), Watch(machine.simulator)
        flows = [asyncio.create_task(robots.flow()), asyncio.create_task(people.flow())]
        await watch.until_granted(size.most * (2 + size.windows), (size.window + 10) * (2 + size.windows))
        throughput = watch.throughput(size.most) * size.window
        for stream, flowing in zip((robots, people), flows, strict=True):
            await stream.stop(flowing)
    settled = 2 * size.window + 10
    print(  # noqa: T201 - for the record
        f"{throughput:.1f} of {size.most}; people wait {people.longest(0):.2f} s at most, {people.longest(settled):.2f}"
        f" in the end; people {people.statuses}, robots {robots.statuses}"
    )
    assert watch.refused == 0
    assert throughput >= 0.95 * size.most
    assert set(people.statuses) == {200}
    assert people.longest(settled) < 5.0
    assert set(robots.statuses) <= {200, 429}


@pytest.mark.parametrize("how", ["killed, and comes back empty", "stands still"])
async def test_without_redis_each_keeps_to_its_share_and_they_share_again_when_it_is_back(
    machine: Machine, app: ClientSession, tmp_path: Path, size: Size, how: str
) -> None:
    """What was sent in the window before counts on, wherever it is counted now."""
    async with eight(machine, tmp_path, size) as fleet, session() as caller:
        stream, watch = Stream(caller, fleet.urls, size.demand, PEOPLE), Watch(machine.simulator)
        flowing = asyncio.create_task(stream.flow())
        await watch.until_granted(size.most * 3 // 2, 3 * size.window)
        if how == "stands still":
            fleet.redis.pause()
        else:
            await fleet.redis.end()
        await fleet.said(LOST)
        assert all(
            logged(each, LOST, f"1/{REPLICAS}", f"Redis at 127.0.0.1:{fleet.redis.port}") for each in fleet.processes
        )
        assert await metrics(app, fleet) == {0.0}
        await asyncio.sleep(size.window)  # until nothing that was shared counts any more
        refused = anew(machine.simulator)
        alone = Watch(machine.simulator)
        await alone.until_granted(size.most * 2, 4 * size.window)
        if how == "stands still":
            fleet.redis.resume()
        else:
            await fleet.redis.start()
        await fleet.said(BACK)
        assert await metrics(app, fleet) == {1.0}
        refused += anew(machine.simulator)
        again = Watch(machine.simulator)
        await again.until_granted(size.most * size.windows, 5 * size.window)
        await stream.stop(flowing)
        refused += anew(machine.simulator)
    print(  # noqa: T201 - for the record
        f"alone {alone.throughput(size.most) * size.window:.1f} of {size.most},"
        f" shared again {again.throughput(size.most) * size.window:.1f}; {refused} refused in all"
    )
    assert refused == 0
    assert alone.throughput(size.most) * size.window >= 0.9 * size.most
    assert again.throughput(size.most) * size.window >= 0.95 * size.most


async def test_a_fleet_that_starts_without_redis_keeps_to_the_share_that_is_configured(
    machine: Machine, app: ClientSession, tmp_path: Path
) -> None:
    size = Size(80, 8.0, 2)
    async with eight(machine, tmp_path, size, share="1/8", redis={"url": "redis://127.0.0.1:1"}) as fleet:
        await fleet.said(LOST)
        assert await metrics(app, fleet) == {0.0}
        async with session() as caller:
            stream, watch = Stream(caller, fleet.urls, size.demand, PEOPLE), Watch(machine.simulator)
            flowing = asyncio.create_task(stream.flow())
            await watch.until_granted(size.most * 3, 5 * size.window)
            await stream.stop(flowing)
    assert watch.refused == 0
    assert watch.throughput(size.most) * size.window >= 0.9 * size.most


def anew(simulator: Simulator) -> int:
    """Return how many the simulator has refused since the last time, and forget all that was asked."""
    refused = sum(call.status == 429 for call in simulator.journal)
    simulator.journal.clear()
    return refused


async def metrics(app: ClientSession, fleet: Eight) -> set[float]:
    """Return what the processes' metrics say of sharing."""
    found = set()
    for process in fleet.processes:
        async with app.get(f"{await process.admin_url()}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        found |= {float(line.rpartition(" ")[2]) for line in lines if "_rate_budget_shared{" in line}
    return found
