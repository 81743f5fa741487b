"""`run` takes as many open files as it may have, and says where that is too few."""

import sys
from contextlib import AsyncExitStack

import pytest
from aiohttp import ClientSession
from commands.process import Machine, status_of
from wire import caller
from yarl import URL


def with_limits(soft: int, hard: int) -> tuple[str, ...]:
    return ("sh", "-c", f'ulimit -S -n {soft}; ulimit -H -n {hard}; exec "$@"', "sh", sys.executable, "-m", "proxy")


async def test_the_soft_limit_is_raised_to_the_hard_one(machine: Machine) -> None:
    """Many systems give 1024, so that old programs with select(2) live; every connection is one of them."""
    process = await machine.start(env=machine.with_api_key(), program=with_limits(256, 9000))
    await process.url()
    assert process.most_open_files == 9000
    assert not [line for line in process.err if "files" in line]


@pytest.mark.parametrize(("hard", "advice"), [(2500, "lower limits.max_connections to 1568"), (600, "lower both")])
async def test_too_low_a_limit_is_told_with_what_to_do(
    machine: Machine, app: ClientSession, hard: int, advice: str
) -> None:
    """And it starts: the limit that is missing may never be reached."""
    process = await machine.start(env=machine.with_api_key(), program=with_limits(200, hard))
    assert await status_of(app, await process.url() + "/healthz") == 200
    line = await process.said(f"may open {hard} files", "may come to need 2980", "ulimit -n 2980")
    assert advice in line
    assert '"level":"warning"' in line


async def test_what_a_reload_needs_is_told_too(machine: Machine) -> None:
    config = machine.folder / "config.yaml"
    config.write_text("limits: {max_connections: 100}\n")
    process = await machine.start(env=machine.with_api_key(), program=with_limits(200, 2500))
    await process.url()
    assert not [line for line in process.err if "files" in line]
    config.write_text("limits: {max_connections: 20000}\n")
    await process.said("may open 2500 files", "limits.max_connections (20000)")


@pytest.mark.parametrize("numbers", ["none", "auto"])
async def test_without_a_file_left_it_says_so_once_and_accepts_again_when_there_is(
    machine: Machine, app: ClientSession, numbers: str
) -> None:
    """By itself asyncio logs a traceback for each connection that it can't accept, each second.

    Nor does a request that is counted need a file of this package.
    """
    (machine.folder / "config.yaml").write_text(f"rate_budget: {numbers}\n")
    process = await machine.start(env=machine.with_api_key(), program=with_limits(60, 60))
    url = URL(await process.url())
    async with AsyncExitStack() as crowd:
        line, *_ = [await crowd.enter_async_context(caller(url.port or 0)) for _ in range(150)]
        await process.said("connections wait to be accepted", "Too many open files", "ulimit -n")
        await line.send(b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"ulimit -n" in (await line.answer()).body
    assert await status_of(app, f"{url}/healthz") == 200
    assert len([line for line in process.err if "wait to be accepted" in line]) == 1
