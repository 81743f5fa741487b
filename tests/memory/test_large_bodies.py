"""Bodies beyond every replay limit stream through, and the process does not grow with them (law 12).

The proxy runs as a process of its own, so that its memory is its own.
"""

import asyncio
import hashlib
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from wire import Script, Stage, caller, upstream

MIB: Final = 2**20
BIG: Final = 200 * MIB
GROWTH: Final = 12 * MIB
"""What may be added to a warm process: socket buffers, a chunk each way, an allocator's rounding."""

PIECE: Final = bytes(range(256)) * 256  # 64 KiB


@dataclass
class Process:
    """A proxy of its own."""

    pid: int
    port: int

    @property
    def resident(self) -> int:
        """Bytes of memory in use now (proc(5))."""
        return self._bytes("VmRSS")

    @property
    def peak(self) -> int:
        """The most bytes of memory ever in use."""
        return self._bytes("VmHWM")

    def _bytes(self, name: str) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        match = re.search(rf"{name}:\s+(\d+) kB", status)
        assert match
        return int(match[1]) * 1024


@asynccontextmanager
async def proxy_before(url: str, folder: Path) -> AsyncIterator[Process]:
    environ = {
        "PATH": os.environ["PATH"],
        "PANDADOC_API_KEY": "canary-api-key-of-the-memory-tests",
        "PANDADOC_PROXY__UPSTREAM__URL": url,
        "PANDADOC_PROXY__LISTENERS__0__BIND": "127.0.0.1:0",
        "PANDADOC_PROXY__ADMIN": "null",
        "PANDADOC_PROXY__LIMITS__MAX_BODY": "300MiB",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "proxy", env=environ, cwd=folder, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(20):
            line = (await process.stderr.readline()).decode()
        match = re.search(r"http://127\.0\.0\.1:(\d+) lends", line)
        assert match, line
        yield Process(process.pid, int(match[1]))
    finally:
        process.terminate()
        _, said = await process.communicate()
        assert b"canary-api-key" not in said
        assert b"Traceback" not in said


async def reads_everything(stage: Stage) -> None:
    """Read each upload to its end and answer its SHA-256."""
    while True:
        head = await stage.head()
        left, digest = int(head.values(b"content-length")[0]), hashlib.sha256()
        while left:
            piece = await stage.reader.read(min(left, MIB))
            left -= len(piece)
            digest.update(piece)
        text = digest.hexdigest().encode()
        await stage.say(b"HTTP/1.1 201 Created\r\nContent-Length: 64\r\n\r\n" + text)


async def gives_everything(stage: Stage) -> None:
    while True:
        await stage.head()
        await stage.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BIG)
        for _ in range(BIG // len(PIECE)):
            await stage.say(PIECE)


def at_a_cue(script: Script) -> Script:
    """Play `script`, but read nothing of a body before the test says so."""

    async def slow(stage: Stage) -> None:
        message = await stage.head()
        stage.upstream.heard.pop()
        await stage.upstream.cue.wait()
        left = int(message.values(b"content-length")[0])
        while left:
            left -= len(await stage.reader.read(min(left, MIB)))
        await stage.say(b"HTTP/1.1 201 Created\r\nContent-Length: 4\r\n\r\ndone")
        await script(stage)

    return slow


async def upload(process: Process, *, size: int = BIG) -> bytes:
    """Send an upload and return the answer's body."""
    async with caller(process.port) as line:
        await line.send(b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // len(PIECE)):
            await line.send(PIECE)
        return (await line.answer()).body


async def download(process: Process, pause: asyncio.Event | None = None) -> int:
    """Read a download to its end; stop reading after a MiB until `pause` is over. Returns its bytes."""
    async with caller(process.port) as line:
        await line.send(b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await line.reader.readuntil(b"\r\n\r\n")
        read = 0
        while read < BIG:
            read += len(await line.reader.read(MIB))
            if pause is not None and read > MIB:
                await pause.wait()
        return read


async def steady(process: Process) -> None:
    """Wait until the process's memory has stopped growing: whatever it buffers, it has buffered."""
    last, same = process.resident, 0
    async with asyncio.timeout(20):
        while same < 10:
            await asyncio.sleep(0.02)
            now = process.resident
            same = same + 1 if now == last else 0
            last = now


@pytest.fixture
def expected() -> bytes:
    digest = hashlib.sha256()
    for _ in range(BIG // len(PIECE)):
        digest.update(PIECE)
    return digest.hexdigest().encode()


async def test_200_mib_up_arrive_whole_and_cost_no_memory(tmp_path: Path, expected: bytes) -> None:
    async with upstream(reads_everything) as up, proxy_before(up.url, tmp_path) as process:
        await upload(process, size=MIB)
        before = process.resident
        assert await upload(process) == expected
        assert process.peak - before < GROWTH


async def test_200_mib_down_arrive_whole_and_cost_no_memory(tmp_path: Path) -> None:
    async with upstream(gives_everything) as up, proxy_before(up.url, tmp_path) as process:
        before = process.resident
        assert await download(process) == BIG
        assert process.peak - before < GROWTH


async def test_a_caller_that_reads_slowly_costs_no_memory(tmp_path: Path) -> None:
    """The upstream is held back instead (RFC 9112 says nothing; TCP does)."""
    async with upstream(gives_everything) as up, proxy_before(up.url, tmp_path) as process:
        before, pause = process.resident, asyncio.Event()
        running = asyncio.create_task(download(process, pause))
        await steady(process)
        assert not running.done()
        assert process.peak - before < GROWTH
        pause.set()
        assert await running == BIG
        assert process.peak - before < GROWTH


async def test_an_upstream_that_reads_slowly_costs_no_memory(tmp_path: Path) -> None:
    async with upstream(at_a_cue(reads_everything)) as up, proxy_before(up.url, tmp_path) as process:
        before = process.resident
        running = asyncio.create_task(upload(process))
        await steady(process)
        assert not running.done()
        assert process.peak - before < GROWTH
        up.cue.set()
        assert await running == b"done"
        assert process.peak - before < GROWTH
