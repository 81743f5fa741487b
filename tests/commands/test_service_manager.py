"""A service manager as a process meets it: one that reads, and one that is frozen or starts itself anew."""

import asyncio
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import ClientSession
from commands.process import MEMBER, Machine, status_of


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(5)
        yield listening


def fill(where: str) -> int:
    """Send until there is no more room; return how often."""
    number = 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, suppress(BlockingIOError):
        sender.settimeout(0)
        while True:
            sender.sendto(b"", where)
            number += 1
    return number


async def test_a_manager_that_reads_nothing_stalls_nobody_and_hears_all_of_it_later(
    machine: Machine, app: ClientSession, manager: socket.socket
) -> None:
    async def hear() -> str:
        return (await asyncio.to_thread(manager.recv, 200)).decode()

    where = manager.getsockname()
    waiting = fill(where)
    process = await machine.start(env=machine.with_api_key() | {"NOTIFY_SOCKET": where})
    assert await status_of(app, await process.url() + MEMBER) == 200
    await process.said("the service manager")
    assert await status_of(app, await process.url() + MEMBER) == 200
    for _ in range(waiting):
        assert await hear() == ""
    assert await hear() == "READY=1"
    process.signal(signal.SIGTERM)
    assert await process.ended() == 0
    assert await hear() == "STOPPING=1"
    assert len([line for line in process.err if "the service manager" in line]) == 1
