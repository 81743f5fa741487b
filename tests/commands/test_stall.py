"""A process that gets no time: it tells how late it was, and goes on."""

import asyncio
import re
import signal
import sys
from contextlib import AsyncExitStack
from typing import Final

import pytest
from aiohttp import ClientSession
from commands.process import MEMBER, Machine, Process, poll, status_of
from prometheus_client import parser
from rig import until
from wire import OK, Stage, caller, upstream
from yarl import URL

from proxy.simulator import Fault
from proxy.simulator.journal import TOKEN_PATH

LAG = "pandadoc_proxy_event_loop_lag_seconds"
COLLECTED: Final = (
    "import atexit, gc, sys; from proxy.__main__ import main;"
    "atexit.register(lambda: print('collected among', len(gc.get_objects(generation=2)), file=sys.stderr)); main()"
)
"""The proxy, and at its end how many objects a full garbage collection would have looked through."""

STALL = 2.5
"""Seconds. What is due each second is late by more than one."""

LIMITS: Final = dict.fromkeys(("UPSTREAM__RESPONSE_TIMEOUT", "UPSTREAM__IDLE_TIMEOUT", "LIMITS__HEADER_TIMEOUT"), "2s")
"""What is over before STALL is."""

LOOPS: Final = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


async def stand_still(process: Process, arrives: asyncio.Event) -> None:
    """Stop a process for longer than it waits for anything; what it waits for arrives meanwhile."""
    process.signal(signal.SIGSTOP)
    await until(lambda: "(stopped)" in process.kernel_says("status"))
    arrives.set()
    await asyncio.sleep(STALL)
    process.signal(signal.SIGCONT)


async def test_a_stalled_event_loop_is_told_at_its_length_and_serves_on(machine: Machine, app: ClientSession) -> None:
    """Stopped by a signal, as a throttled container is by its node."""
    process = await machine.start(env=machine.with_api_key())
    url, admin = await process.url(), await process.admin_url()

    async def late() -> float:
        """Count how often the loop was late by more than a second."""
        async with app.get(f"{admin}/metrics") as answer:
            families = parser.text_string_to_metric_families(await answer.text())
            (lag,) = [family for family in families if family.name == LAG]
        buckets = {sample.labels.get("le"): sample.value for sample in lag.samples}
        return buckets["+Inf"] - buckets["1.0"]

    async def later() -> bool:
        return await late() > before

    before = await late()
    process.signal(signal.SIGSTOP)
    await asyncio.sleep(STALL)
    process.signal(signal.SIGCONT)
    await poll(later)
    assert await status_of(app, url + MEMBER) == 200


async def answer_in_halves(stage: Stage) -> None:
    """Answer a download with all but its end, and that, as any other answer, on cue."""
    while True:
        heard = await stage.head()
        if b"/download" in heard.start:
            await stage.say(OK[:-1])
        await stage.upstream.cue.wait()
        if heard.values(b"content-length"):
            assert await stage.reader.readexactly(2) == b"{}"
        await stage.say(OK[-1:] if b"/download" in heard.start else OK)


@LOOPS
async def test_what_came_while_the_process_was_stopped_is_read_before_its_time_is_over(
    machine: Machine, loop: str
) -> None:
    """An answer that PandaDoc has given, the rest of one, and the rest of a head and of a body."""
    begun = (
        (b"POST /public/v1/documents HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}", b""),
        (b"GET /public/v1/documents/x/download HTTP/1.1\r\nHost: localhost\r\n\r\n", b""),
        (b"PUT /public/v1/documents HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{", b"}"),
        (b"GET /public/v1/documents HTTP/1.1\r\n", b"Host: localhost\r\n\r\n"),
    )
    async with upstream(answer_in_halves) as up, AsyncExitStack() as connected:
        env = machine.with_api_key() | {"PANDADOC_PROXY__UPSTREAM__URL": up.url, "PANDADOC_PROXY_EVENT_LOOP": loop}
        env |= {f"PANDADOC_PROXY__{name}": limit for name, limit in LIMITS.items()}
        process = await machine.start(env=env)
        port = URL(await process.url()).port
        assert port is not None
        callers = [await connected.enter_async_context(caller(port)) for _ in begun]
        for each, (first, _) in zip(callers, begun, strict=True):
            await each.send(first)
        await until(lambda: len(up.heard) == len(begun) - 1)
        stopped = asyncio.create_task(stand_still(process, up.cue))
        await up.cue.wait()
        for each, (_, rest) in zip(callers, begun, strict=True):
            await each.send(rest)
        await stopped
        answers = [await each.answer() for each in callers]
        assert [(each.start, each.body) for each in answers] == [(b"HTTP/1.1 200 OK", b"ok")] * len(begun)


@LOOPS
async def test_a_token_that_came_while_the_process_was_stopped_is_lent_to_who_waits_for_it(
    machine: Machine, app: ClientSession, loop: str
) -> None:
    minted = asyncio.Event()
    machine.simulator.faults.add(Fault(path=TOKEN_PATH, gate=minted, times=1))
    env = machine.with_grant() | {"PANDADOC_PROXY_EVENT_LOOP": loop}
    process = await machine.start(env=env | {"PANDADOC_PROXY__CREDENTIALS__DEFAULT__OAUTH2__WAIT": "2s"})
    url, admin = await process.url(), await process.admin_url()

    async def waits() -> bool:
        async with app.get(f"{admin}/metrics") as answer:
            return (
                re.search(r"^pandadoc_proxy_requests_in_flight\S+ 1\.0$", await answer.text(), re.MULTILINE) is not None
            )

    await until(lambda: not machine.simulator.faults.armed())
    asked = asyncio.create_task(status_of(app, url + MEMBER))
    await poll(waits)
    await stand_still(process, minted)
    assert await asked == 200


async def test_no_garbage_collection_looks_through_what_was_loaded(machine: Machine, app: ClientSession) -> None:
    """It is fifty thousand objects and more, and nothing moves for as long as they are looked at."""
    process = await machine.start(program=(sys.executable, "-c", COLLECTED), env=machine.with_api_key())
    assert await status_of(app, await process.url() + MEMBER) == 200
    process.signal(signal.SIGTERM)
    assert await process.ended() == 0
    assert int((await process.said("collected among")).split()[-1]) < 1000
