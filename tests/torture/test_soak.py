"""Everything at once, for minutes: memory stays flat, and when the load is gone, so are its files and its tasks.

Ten minutes at full size; half a minute with TORTURE=bounded; SOAK=seconds says otherwise.
"""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

import pytest
import yaml
from aiohttp import ClientSession, ClientTimeout, TCPConnector
from commands.process import MEMBER, Machine, Process, poll
from prometheus_client import parser
from wire import caller
from yarl import URL

from proxy.simulator import Fault

pytestmark = pytest.mark.timeout(7200)

DOCUMENTS: Final = "/public/v1/documents"
BROKEN: Final = "/public/v1/templates"
"""Where PandaDoc resets every connection."""

MIB: Final = 2**20
UPLOAD: Final = b'{"name": "' + b"x" * (MIB // 2) + b'"}'

EVERYTHING: Final = {
    "GET 200",
    "POST 201",
    "reset 502",
    "hung up on an answer",
    "hung up on an upload",
    "half a head",
    "revoked",
    "reloaded",
}
"""What callers meet: no refresh and no reload costs any of them an answer."""

COOL_DOWN: Final = {"GET 401", "POST 401", "reset 401"}
"""What may come besides: where a token is revoked on its first replay, PandaDoc's 401s are relayed a while (law 3)."""

WARM_AFTER: Final = 150.0
"""Seconds of load until the allocator has what it needs for whatever comes together: 65 MB, and no more after that."""

GROWTH: Final = 3 * MIB
GROWTH_WHILE_COLD: Final = 12 * MIB
"""What the memory of a process may differ by, from one part of the soak to the next: bodies on their way, and an
allocator's rounding. A leak of one task in each request would be a hundred times as much in ten minutes."""

KEPT: Final = 1.0
"""Seconds that callers keep an idle connection: aiohttp looks after them as seldom as that, so by its own 15 it may be
30 until the last is gone."""

PAUSE: Final = 0.02
"""Seconds between two requests of one caller: the load is bounded, and the machine is not all ours."""


@dataclass(frozen=True)
class Sample:
    """What the process has at one moment."""

    resident: int  # bytes
    files: int
    tasks: int


@dataclass
class Soak:
    """A process under a mixed load. `seen` counts what its callers met, `samples` grows each second."""

    machine: Machine
    process: Process
    app: ClientSession
    config: Path
    url: str
    admin: str
    seen: Counter[str] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)

    @property
    def port(self) -> int:
        port = URL(self.url).port
        assert port is not None
        return port

    async def ask(self) -> None:
        async with self.app.get(self.url + MEMBER) as answer:
            await answer.read()
            self.seen[f"GET {answer.status}"] += 1

    async def upload(self) -> None:
        async with self.app.post(self.url + DOCUMENTS, data=UPLOAD) as answer:
            await answer.read()
            self.seen[f"POST {answer.status}"] += 1

    async def meet_a_reset(self) -> None:
        async with self.app.get(self.url + BROKEN) as answer:
            await answer.read()
            self.seen[f"reset {answer.status}"] += 1

    async def hang_up_on_an_answer(self) -> None:
        document = self.machine.simulator.documents.create("Contract")
        async with self.app.get(f"{self.url}{DOCUMENTS}/{document.id}/download?size={4 * MIB}") as answer:
            await answer.content.readany()
            answer.close()
            self.seen["hung up on an answer"] += 1

    async def hang_up_on_an_upload(self) -> None:
        async with caller(self.port) as line:
            await line.send(f"POST {DOCUMENTS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999\r\n\r\n".encode())
            await line.send(UPLOAD)
            line.writer.transport.abort()
            self.seen["hung up on an upload"] += 1

    async def leave_half_a_head(self) -> None:
        async with caller(self.port) as line:
            await line.send(b"GET / HTTP/1.1\r\nHo")
            self.seen["half a head"] += 1

    async def revoke(self) -> None:
        """Have the next requests be refused, the token be refreshed, and them be replayed."""
        self.machine.simulator.revoke_access_tokens()
        self.seen["revoked"] += 1
        await asyncio.sleep(5)

    async def reload(self) -> None:
        settings = yaml.safe_load(self.config.read_text())
        settings["limits"] = {"max_requests": 500 + self.seen["reloaded"] % 7}
        self.config.with_suffix(".new").write_text(yaml.safe_dump(settings))
        self.config.with_suffix(".new").rename(self.config)
        self.process.signal(signal.SIGHUP)
        self.seen["reloaded"] += 1
        await asyncio.sleep(3)

    async def sample(self) -> None:
        self.samples.append(await self.now())
        await asyncio.sleep(1)

    async def now(self) -> Sample:
        tasks = (await self.metrics())["pandadoc_proxy_tasks"]
        return Sample(self.process.resident, self.process.open_files, int(tasks))

    async def metrics(self) -> dict[str, float]:
        """Scrape; the samples of one name are added up."""
        async with self.app.get(f"{self.admin}/metrics") as answer:
            families = list(parser.text_string_to_metric_families(await answer.text()))
        found: Counter[str] = Counter()
        for sample in (sample for family in families for sample in family.samples):
            found[sample.name] += sample.value  # type: ignore[assignment]  # a Counter of floats
        return dict(found)

    async def rest(self) -> Sample:
        """Wait until no connection to PandaDoc is kept, and return what the process has then."""

        async def resting() -> bool:
            return (await self.metrics())["pandadoc_proxy_upstream_connections"] == 0

        await poll(resting, 60)
        return await self.now()


@asynccontextmanager
async def meanwhile(*doings: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Do each of these over and over until the block ends, each to its end."""
    over = asyncio.Event()

    async def again(do: Callable[[], Awaitable[None]]) -> None:
        while not over.is_set():
            await do()
            await asyncio.sleep(PAUSE)

    tasks = [asyncio.create_task(again(do)) for do in doings]
    try:
        yield
        assert not [task for task in tasks if task.done()], "somebody has given up"
    finally:
        over.set()
        await asyncio.gather(*tasks)


def grown(samples: list[Sample]) -> float:
    """Return by how many bytes the process has grown: its last third against the one before."""
    third = len(samples) // 3
    middle, last = samples[third : 2 * third], samples[2 * third :]
    return median(each.resident for each in last) - median(each.resident for each in middle)


@pytest.fixture
def seconds(*, full_size: bool) -> float:
    return float(os.environ.get("SOAK") or (600 if full_size else 30))


@pytest.fixture
async def soak(machine: Machine) -> AsyncIterator[Soak]:
    config = machine.home / "config.yaml"
    upstream = {"url": machine.simulator.url, "keepalive": "1s"}
    config.write_text(yaml.safe_dump({"log": {"access": False}, "upstream": upstream}))
    env = machine.with_grant()
    del env["PANDADOC_PROXY__UPSTREAM__URL"]
    machine.simulator.faults.add(Fault(path=BROKEN, reset=True))
    process = await machine.start("run", "--config", str(config), env=env)
    async with ClientSession(timeout=ClientTimeout(total=20), connector=TCPConnector(keepalive_timeout=KEPT)) as app:
        yield Soak(machine, process, app, config, await process.url(), await process.admin_url())


async def test_nothing_grows_under_everything_at_once(soak: Soak, seconds: float) -> None:
    await soak.ask()
    before = await soak.rest()
    began = time.monotonic()
    async with meanwhile(
        *[soak.ask] * 4,
        *[soak.upload] * 2,
        soak.meet_a_reset,
        soak.hang_up_on_an_answer,
        soak.hang_up_on_an_upload,
        soak.leave_half_a_head,
        soak.revoke,
        soak.reload,
        soak.sample,
    ):
        await asyncio.sleep(seconds)
    took = time.monotonic() - began

    print(f"{took:.0f} s, {dict(soak.seen)}")  # noqa: T201 - figures, for whoever wants them
    print(before, *soak.samples[:: max(1, len(soak.samples) // 20)], sep="\n")  # noqa: T201 - the same

    assert soak.seen.keys() >= EVERYTHING
    assert soak.seen.keys() - EVERYTHING <= COOL_DOWN
    assert (await soak.metrics())["pandadoc_proxy_replays_total"] > 0
    assert grown(soak.samples) < (GROWTH if seconds > 2 * WARM_AFTER else GROWTH_WHILE_COLD)

    async def as_before() -> bool:
        after = await soak.now()
        return after.files <= before.files and after.tasks <= before.tasks

    await poll(as_before, 30)
    print(await soak.now())  # noqa: T201 - the same
