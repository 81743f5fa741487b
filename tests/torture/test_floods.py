"""Floods against a real process: all others are served, memory is bounded, and nothing is left behind (C5, C6)."""

import asyncio
import json
import resource
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from ssl import SSLContext, create_default_context
from typing import Any, Final

import pytest
from aiohttp import ClientSession, TCPConnector
from commands.process import MEMBER, Machine, Process, poll, status_of
from tls import CertificateFolder, client_hello, trusting
from wire import caller
from yarl import URL

pytestmark = pytest.mark.timeout(600)

MIB: Final = 2**20
FLOOD: Final = Path(__file__).with_name("flood.py")

PER_CONNECTION: Final = 12 * 1024
"""Bytes that a connection without a whole head may cost: a parser, a transport, a task, a little head. It is 7 KiB."""

PER_HANDSHAKE: Final = 96 * 1024
"""Bytes that a connection with half a handshake may cost: OpenSSL has 42 KiB for it, we 16 KiB. It is 77 KiB."""

PLACES: Final = 2048
"""limits.max_connections where nothing else is said."""

ADMIN_PLACES: Final = 256
"""And to the admin port."""

PER_HEAD: Final = 128 * 1024
"""Bytes that half a head of 16 KiB in 250 fields may cost. It is 106 KiB."""

BESIDES: Final = 40 * MIB
"""What traffic and 1 GiB uploads may add: replay.max_body (8 MiB) of the one that goes up and of the one before it,
chunks on their way, socket buffers, an allocator's rounding. It is 23 MiB."""


@pytest.fixture(autouse=True)
def _many_files() -> None:
    """Let this process hold the other end of so many connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@pytest.fixture
async def process(machine: Machine, app: ClientSession) -> Process:
    """Start a proxy and let it serve for a while, so that what it needs anyway is there."""
    process = await machine.start(env=machine.with_api_key())
    url = await process.url()
    for _ in range(50):
        assert await status_of(app, url + MEMBER) == 200
    return process


@asynccontextmanager
async def meanwhile(*attacks: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Attack until the block ends."""
    tasks = [asyncio.create_task(attack) for attack in attacks]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends


@asynccontextmanager
async def half_open(port: int, number: int, start: bytes = b"") -> AsyncIterator[asyncio.Task[bytes]]:
    """Flood with `number` connections that say `start` and no more; the task ends once they are crowded."""
    command = (sys.executable, str(FLOOD), str(port), str(number), start.hex())
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert child.stdout is not None
    crowded = asyncio.ensure_future(child.stdout.readuntil(b"crowded\n"))
    try:
        yield crowded
    finally:
        child.kill()
        await child.wait()


async def slow_heads(port: int, number: int) -> None:
    """Send heads a byte at a time, for ever, on `number` connections."""

    async def one() -> None:
        while True:
            with suppress(ConnectionError):
                async with caller(port) as line:
                    for byte in b"GET / HTTP/1.1\r\nX-Slow: " + b"z" * 1000:
                        await line.send(bytes([byte]))
                        await asyncio.sleep(0.1)
            await asyncio.sleep(1)

    await asyncio.gather(*(one() for _ in range(number)))


async def endless_heads(port: int) -> None:
    """Send heads of 100,000 fields, one after the other."""
    head = b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 100_000 + b"\r\n"
    while True:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            async with caller(port) as line:
                await line.send(head)
                assert (await line.answer()).start.startswith(b"HTTP/1.1 431 ")


async def uploads(port: int, framing: bytes, piece: bytes) -> None:
    """Send bodies of 1 GiB, one after the other."""
    while True:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            async with caller(port) as line:
                await line.send(b"POST /x HTTP/1.1\r\nHost: localhost\r\n" + framing + b"\r\n\r\n")
                with suppress(ConnectionError):
                    for _ in range(1024):
                        await line.send(piece)
                assert (await line.answer()).start.startswith(b"HTTP/1.1 413 ")


async def served(url: str, number: int, tls: SSLContext, *, kept: bool) -> set[int]:
    """Ask for something `number` times, on one connection or each time on another; return the statuses."""
    async with ClientSession(connector=TCPConnector(force_close=not kept, ssl=tls)) as session:
        return {await status_of(session, url + MEMBER) for _ in range(number)}


async def everybody_is_served(url: str, number: int, tls: SSLContext | None = None) -> None:
    context = tls or create_default_context()
    each = (served(url, number, context, kept=kept) for kept in (True, False) for _ in range(4))
    assert set().union(*await asyncio.gather(*each)) == {200}


async def back_to(process: Process, files: int) -> None:
    async def so_few() -> bool:
        return process.open_files <= files

    await poll(so_few, 60)


async def test_half_open_connections_and_slow_heads_keep_nobody_out(process: Process, *, full_size: bool) -> None:
    """There are more of them than places, and each that is closed comes again."""
    url = await process.url()
    port, files, before = URL(url).port or 0, process.open_files, process.resident
    number = 8000 if full_size else 3000
    async with half_open(port, number) as crowded, meanwhile(slow_heads(port, 500)):
        await asyncio.gather(crowded, everybody_is_served(url, 20))
        await everybody_is_served(url, 200 if full_size else 20)
        assert process.open_files >= PLACES
    assert process.peak - before < PLACES * PER_CONNECTION + BESIDES
    await back_to(process, files + 10)
    await everybody_is_served(url, 5)


def many_fields(number: int, size: int) -> bytes:
    """Write a head without its end."""
    return b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"".join(
        b"X%03d: %b\r\n" % (each, b"y" * (size // number - 8)) for each in range(number)
    )


async def test_half_heads_of_many_fields_on_the_admin_port_fill_no_container(
    process: Process, app: ClientSession, *, full_size: bool
) -> None:
    """Whoever reaches the pod reaches that port, and 256 MiB is all that the manifests give."""
    url, admin = await process.url(), await process.admin_url()
    before = process.peak
    async with half_open(URL(admin).port or 0, 8000 if full_size else 3000, many_fields(250, 15_500)) as crowded:
        await asyncio.gather(crowded, everybody_is_served(url, 20))
        assert await status_of(app, f"{admin}/livez") == 200
    assert process.peak - before < ADMIN_PLACES * PER_HEAD + BESIDES


async def test_heads_that_are_refused_are_not_kept_while_their_callers_linger(
    process: Process, *, full_size: bool
) -> None:
    url = await process.url()
    before = process.peak
    async with half_open(URL(url).port or 0, 8000 if full_size else 3000, many_fields(300, 60_000)) as crowded:
        await asyncio.gather(crowded, everybody_is_served(url, 20))
    assert process.peak - before < PLACES * PER_CONNECTION + BESIDES


@pytest.mark.parametrize("opening", ["nothing", "half a handshake"])
async def test_unfinished_handshakes_keep_nobody_out(
    machine: Machine, tmp_path: Path, opening: str, *, full_size: bool
) -> None:
    certificates = CertificateFolder(tmp_path / "tls")
    certificates.renew()
    tls = trusting(certificates.ca)
    process = await machine.start(
        env=machine.with_api_key() | {"PANDADOC_PROXY__LISTENERS__0__TLS": json.dumps(certificates.files)}
    )
    url = await process.url()
    await everybody_is_served(url, 10, tls)
    port, files, before = URL(url).port or 0, process.open_files, process.resident
    start = b"" if opening == "nothing" else client_hello(tls)
    async with half_open(port, 8000 if full_size else 3000, start) as crowded:
        await asyncio.gather(crowded, everybody_is_served(url, 20, tls))
        await everybody_is_served(url, 100 if full_size else 10, tls)
    assert process.peak - before < PLACES * PER_HANDSHAKE + BESIDES
    await back_to(process, files + 10)
    await everybody_is_served(url, 5, tls)


async def test_endless_heads_and_bodies_cost_others_nothing(process: Process, *, full_size: bool) -> None:
    url = await process.url()
    port, files, before = URL(url).port or 0, process.open_files, process.resident
    announced, chunked = b"Content-Length: %d" % 2**30, b"Transfer-Encoding: chunked"
    chunk = b"%x\r\n" % MIB + bytes(MIB) + b"\r\n"
    async with meanwhile(
        endless_heads(port), endless_heads(port), uploads(port, announced, bytes(MIB)), uploads(port, chunked, chunk)
    ):
        await everybody_is_served(url, 500 if full_size else 50)
    assert process.peak - before < BESIDES
    await back_to(process, files + 10)
