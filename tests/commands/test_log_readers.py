"""Who reads the log: nobody, somebody slow, a disk that fills. Requests go on, and so does the end."""

import json
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import pytest
from aiohttp import ClientConnectionError, ClientSession
from commands.process import MEMBER, Machine, Process, poll, status_of
from log_pipe import PAGE, Pipe
from wire import free_port

REQUESTS: Final = 60


@pytest.fixture(params=["", "1"], ids=["buffered", "unbuffered"])
def buffering(request: pytest.FixtureRequest) -> dict[str, str]:
    """Run the process with and without PYTHONUNBUFFERED, which the image sets."""
    return {"PYTHONUNBUFFERED": request.param}


@dataclass(frozen=True)
class Logging:
    """A process whose log goes elsewhere, so that it can't tell where it answers."""

    process: Process
    url: str
    admin: str

    async def ask(self, app: ClientSession, first: int = 0) -> None:
        for number in range(first, first + REQUESTS):
            assert await status_of(app, f"{self.url}{MEMBER}/{number:03d}{'x' * 300}") == 404

    async def dropped(self, app: ClientSession) -> int:
        async with app.get(f"{self.admin}/metrics") as answer:
            text = await answer.text()
        (line,) = [line for line in text.splitlines() if line.startswith("pandadoc_proxy_log_lines_dropped_total ")]
        return int(float(line.split()[1]))

    async def ended(self) -> int:
        self.process.signal(signal.SIGTERM)
        return await self.process.ended()


async def started(machine: Machine, app: ClientSession, env: dict[str, str], stderr: IO[Any]) -> Logging:
    """Start a proxy, and wait until it serves."""
    at, admin_at = (f"127.0.0.1:{free_port()}" for _ in range(2))
    binds = {"PANDADOC_PROXY__LISTENERS__0__BIND": at, "PANDADOC_PROXY__ADMIN__BIND": admin_at}
    process = await machine.start(env=machine.with_api_key() | env | binds, stderr=stderr.fileno())

    async def serves() -> bool:
        with suppress(ClientConnectionError):
            return await status_of(app, f"http://{admin_at}/readyz") == 200
        return False

    await poll(serves)
    return Logging(process, f"http://{at}", f"http://{admin_at}")


def told(log: list[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the lines of a log that are whole, and those that are not."""
    whole: list[dict[str, Any]] = []
    torn: list[str] = []
    for line in log:
        try:
            whole.append(json.loads(line))
        except ValueError:
            torn.append(line)
    return whole, torn


def asked_for(lines: list[dict[str, Any]]) -> list[int]:
    """Return the numbers of the requests that the lines tell of."""
    paths = [line["path"] for line in lines if line["logger"] == "proxy.access"]
    return [int(path.removeprefix(f"{MEMBER}/")[:3]) for path in paths]


async def test_a_process_whose_log_nobody_reads_ends_all_the_same(
    machine: Machine, app: ClientSession, buffering: dict[str, str], pipe: Pipe
) -> None:
    proxy = await started(machine, app, buffering, pipe.stream)
    await proxy.ask(app)
    assert await proxy.ended() == 0


@pytest.fixture(params=["gone", "full"])
def unwilling(request: pytest.FixtureRequest, pipe: Pipe) -> Iterator[IO[Any]]:
    """Give a log that takes nothing: its reader has gone, or its disk is full."""
    pipe.reader.close()
    with Path("/dev/full").open("wb") as full:
        yield full if request.param == "full" else pipe.stream


async def test_a_log_that_takes_nothing_is_no_failure_of_the_process(
    machine: Machine, app: ClientSession, buffering: dict[str, str], unwilling: IO[Any]
) -> None:
    proxy = await started(machine, app, buffering, unwilling)
    await proxy.ask(app)

    async def all_dropped() -> bool:
        return await proxy.dropped(app) >= REQUESTS

    await poll(all_dropped)
    assert await proxy.ended() == 0


async def test_a_pipe_that_does_not_block_gets_every_line_whole(
    machine: Machine, app: ClientSession, buffering: dict[str, str], pipe: Pipe
) -> None:
    """Node.js and others give such pipes to what they start."""
    proxy = await started(machine, app, buffering, pipe.stream)
    os.set_blocking(pipe.stream.fileno(), False)  # only now: uvloop makes it blocking for what it starts
    await proxy.ask(app)
    assert await proxy.dropped(app) == 0
    pipe.read()
    assert await proxy.ended() == 0
    whole, torn = told(pipe.lines())
    assert not torn
    assert asked_for(whole) == list(range(REQUESTS))


async def test_what_a_full_disk_does_not_take_is_counted_and_a_torn_line_stays_alone(
    machine: Machine, app: ClientSession, buffering: dict[str, str], tmp_path: Path
) -> None:
    """The process may write no longer files than that, which to it is a disk of that size."""
    log = tmp_path / "log"
    with log.open("ab", buffering=0) as file:
        proxy = await started(machine, app, buffering, file)
    no_limit = proxy.process.limit(resource.RLIMIT_FSIZE, 3 * PAGE)
    await proxy.ask(app)

    async def all_accounted_for() -> bool:
        whole, _ = told(log.read_text().splitlines())
        return len(asked_for(whole)) + await proxy.dropped(app) == REQUESTS

    await poll(all_accounted_for)
    proxy.process.limit(resource.RLIMIT_FSIZE, no_limit)
    await proxy.ask(app, REQUESTS)
    assert await proxy.ended() == 0
    whole, torn = told(log.read_text().splitlines())
    assert len(torn) <= 1
    assert len(asked_for(whole)) < 2 * REQUESTS
    assert asked_for(whole)[-REQUESTS:] == list(range(REQUESTS, 2 * REQUESTS))
