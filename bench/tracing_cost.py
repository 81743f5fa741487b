"""What tracing costs: `python bench/tracing_cost.py`.

The process' CPU for each request, how long the slowest hundredth of them takes, the start, and the memory; without
tracing, with a tenth of the requests traced, and with all. Real processes on loopback, before an upstream and a
collector that do next to nothing; the least of several rounds, taken in turn.
"""

import asyncio
import os
import re
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Final

ROOT: Final = Path(__file__).parents[1]
ROUNDS: Final = 5
WARM_UP: Final = 1_000
REQUESTS: Final = 6_000
CALLERS: Final = 8

REQUEST: Final = (
    b"GET /public/v1/documents/BhVzRcxH9Z2LgfPPGXFUBa HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\n"
    b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-%b\r\n\r\n"
)
ANSWER: Final = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{"id": "BhVzR"}'
DELIVERED: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

MODES: Final = {
    "off": {},
    "a tenth": {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"},
    "all": {"OTEL_TRACES_SAMPLER": "always_on"},
}
TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """What one run took."""

    start_seconds: float
    cpu_microseconds: float  # for each request
    slow_milliseconds: float  # what one request in a hundred takes, or more
    resident_mib: float  # at the end


async def serve(answer: bytes) -> asyncio.Server:
    """Answer every request at once, with the same."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: (\d+)", head)
                await reader.readexactly(int(length[1]) if length else 0)
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    return await asyncio.start_server(play, "127.0.0.1", 0)


def url_of(server: asyncio.Server) -> str:
    return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def ask(port: int, number: int) -> list[float]:
    """Send so many requests, from several callers that keep their connections; return what each took, in order."""
    took: list[float] = []

    async def call(trace: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for turn in range(number // CALLERS):
            began = perf_counter()
            writer.write(REQUEST % f"{(trace + turn) % 2:02}".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            await reader.readexactly(15)
            took.append(perf_counter() - began)
        writer.close()

    await asyncio.gather(*(call(each) for each in range(CALLERS)))
    return sorted(took)


def cpu_seconds(pid: int) -> float:
    """Read the CPU time that a process has used, of all its threads (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_mib(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


async def run(upstream: str, collector: str, mode: str, home: str) -> Cost:
    """Start a process, ask it, end it."""
    traced: Mapping[str, str] = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector, **MODES[mode]} if MODES[mode] else {}
    env = {
        "PATH": os.environ["PATH"],
        "HOME": home,
        "PANDADOC_API_KEY": "bench-0123456789abcdef",
        "PANDADOC_PROXY__UPSTREAM__URL": upstream,
        "PANDADOC_PROXY__LISTENERS__0__BIND": "127.0.0.1:0",
        "PANDADOC_PROXY__ADMIN": "null",
        "PANDADOC_PROXY__LOG__ACCESS": "false",
        **traced,
    }
    began = perf_counter()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "proxy", cwd=ROOT, env=env, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr
    port = 0
    while not port:
        line = (await process.stderr.readline()).decode()
        assert line, "it ended"
        found = re.search(r"http://127.0.0.1:(\d+) lends", line)
        port = int(found[1]) if found else 0
    start = perf_counter() - began
    await ask(port, WARM_UP)
    before = cpu_seconds(process.pid)
    slow = (await ask(port, REQUESTS))[-REQUESTS // 100]
    used = cpu_seconds(process.pid) - before
    resident = resident_mib(process.pid)
    process.send_signal(signal.SIGTERM)
    await process.communicate()
    assert process.returncode == 0
    return Cost(start, used / REQUESTS * 1e6, slow * 1e3, resident)


async def main() -> None:
    """Time each mode."""
    upstream, collector = await serve(ANSWER), await serve(DELIVERED)
    with TemporaryDirectory() as home:
        rounds = [
            {mode: await run(url_of(upstream), url_of(collector), mode, home) for mode in MODES} for _ in range(ROUNDS)
        ]
    least = min(each["off"].cpu_microseconds for each in rounds)
    for mode in MODES:
        costs = [each[mode] for each in rounds]
        cpu, slow = min(each.cpu_microseconds for each in costs), min(each.slow_milliseconds for each in costs)
        start, resident = min(each.start_seconds for each in costs), min(each.resident_mib for each in costs)
        print(
            f"{mode:>8}: {cpu:4.0f} µs of CPU a request ({cpu / least:.2f}), the slowest hundredth from {slow:.1f} ms"
        )
        print(f"          {start:.2f} s to start, {resident:.0f} MiB")


asyncio.run(main())
