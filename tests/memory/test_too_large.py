"""A body beyond limits.max_body is a 413 that its sender sees, while it pours in, and costs no memory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import pytest
from aiohttp import ClientSession
from commands.process import MEMBER, Machine, Process, status_of
from wire import OK, Caller, Stage, caller, upstream
from yarl import URL

MIB: Final = 2**20
LARGEST: Final = 20 * MIB
HUGE: Final = 1024 * MIB
GROWTH: Final = 12 * MIB
"""As in test_large_bodies: socket buffers, a chunk each way, an allocator's rounding."""


@dataclass
class Taker:
    """An upstream that answers what has no body, and takes every upload to its end. `script` alone changes it."""

    url: str = ""
    taken: int = 0  # bytes of uploads, with their framing
    whole: int = 0  # uploads that came to an end of their own

    async def script(self, stage: Stage) -> None:
        while (await stage.head()).start.startswith(b"GET"):
            await stage.say(OK)
        last = b""
        while piece := await stage.reader.read(MIB):
            self.taken += len(piece)
            last = (last + piece)[-5:]
        self.whole += last == b"0\r\n\r\n"


@pytest.fixture
async def taker() -> AsyncIterator[Taker]:
    running = Taker()
    async with upstream(running.script) as up:
        running.url = up.url
        yield running


@pytest.fixture
async def process(machine: Machine, app: ClientSession, taker: Taker) -> Process:
    """Start a proxy and warm it up."""
    limits = {"PANDADOC_PROXY__LIMITS__MAX_BODY": str(LARGEST), "PANDADOC_PROXY__UPSTREAM__URL": taker.url}
    process = await machine.start(env=machine.with_api_key() | limits)
    url = await process.url()
    for _ in range(20):
        assert await status_of(app, url + MEMBER) == 200
    return process


async def pour(line: Caller, framed_piece: bytes, number: int) -> None:
    """Send, and look at nothing before all is sent."""
    with suppress(ConnectionError):
        for _ in range(number):
            await line.send(framed_piece)


@pytest.mark.parametrize("framing", ["announced", "chunked"])
async def test_a_gibibyte_is_refused_while_it_pours_in(
    process: Process, app: ClientSession, taker: Taker, framing: str
) -> None:
    """Nothing goes up of an announced one, and of a chunked one no more than the limit, and no end."""
    announced = framing == "announced"
    field = b"Content-Length: %d" % HUGE if announced else b"Transfer-Encoding: chunked"
    piece = bytes(MIB) if announced else b"%x\r\n" % MIB + bytes(MIB) + b"\r\n"
    url, before = await process.url(), process.resident
    async with caller(URL(url).port or 0) as line:
        await line.send(b"POST /x HTTP/1.1\r\nHost: localhost\r\n" + field + b"\r\n\r\n")
        pouring = asyncio.create_task(pour(line, piece, HUGE // MIB))
        seen = await line.answer()
        while not pouring.done():
            assert await status_of(app, url + MEMBER) == 200
        await pouring
    assert seen.start.startswith(b"HTTP/1.1 413 ")
    assert seen.values(b"connection") == [b"close"]
    assert b"limits.max_body" in seen.body
    assert taker.taken <= (0 if announced else LARGEST * 1.01)
    assert taker.whole == 0
    assert process.peak - before < GROWTH


async def test_who_asks_before_it_sends_is_spared_the_upload(process: Process, taker: Taker) -> None:
    """The first thing it hears is the 413: no 100."""
    head = b"POST /x HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % HUGE
    async with caller(URL(await process.url()).port or 0) as line:
        await line.send(head)
        assert (await line.answer()).start.startswith(b"HTTP/1.1 413 ")
    assert taker.taken == 0
