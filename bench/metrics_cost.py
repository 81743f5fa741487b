"""What counting costs each request, in microseconds, and looking, in milliseconds: `python bench/metrics_cost.py`.

Counting an exchange that is over, for the metrics and for the page, and the pool's beside aiohttp's own work. One
thread, nothing on the network; the least of several rounds.
"""

import asyncio
import sys
import timeit
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[1]))

import aiohttp
from yarl import URL

from proxy.clock import SystemClock
from proxy.forward.exchange import Exchange
from proxy.metrics import METHODS, Metrics
from proxy.page.figures import figures
from proxy.page.recent import Recent
from proxy.page.traffic import SLOTS, Slot
from proxy.pool import Pool

ROUNDS: Final = 7
CALLS: Final = 20_000
CLIENTS: Final = 10


def over(client: str = "billing", method: str = "GET", **changes: Any) -> Exchange:
    """Return an exchange that has ended."""
    exchange = Exchange.begin(method, "/public/v1/documents", None, SystemClock().monotonic, "127.0.0.1:8080")
    exchange.client, exchange.status, exchange.credential = client, 200, "default"
    exchange.bytes_in, exchange.bytes_out, exchange.upstream_seconds = 200, 2000, 0.08
    for name, value in changes.items():
        setattr(exchange, name, value)
    return exchange


def microseconds(work: Callable[[], object]) -> float:
    return min(timeit.repeat(work, number=CALLS, repeat=ROUNDS)) / CALLS * 1e6


async def lent(pool: aiohttp.TCPConnector, request: Callable[[], Awaitable[Any]]) -> float:
    """Time a connection that is taken from the pool and given back."""
    best = float("inf")
    for _ in range(ROUNDS):
        begun = perf_counter()
        for _ in range(CALLS):
            (await request()).release()
        best = min(best, perf_counter() - begun)
    await pool.close()
    return best / CALLS * 1e6


async def pooled(kind: type[aiohttp.TCPConnector]) -> float:
    """Time it for one kind of pool, on one real loopback connection."""
    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    url = URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    pool = kind()
    request = aiohttp.ClientRequest("GET", url, loop=asyncio.get_running_loop())
    request.connection_key  # noqa: B018 - computed once, as for every request
    took = await lent(pool, lambda: pool.connect(request, [], aiohttp.ClientTimeout()))
    server.close()
    return took


def main() -> None:
    """Time each."""
    metrics, recent = Metrics(), Recent(SystemClock().monotonic)
    plain = over()
    refused = over(status=403, error="http_request_denied", fault="http_request_denied: no.", upstream_seconds=0.0)
    for exchange, what in ((plain, "a request that was forwarded"), (refused, "an answer of our own")):
        print(f"{microseconds(partial(metrics.ended, exchange)):6.2f} µs  {what}, for the metrics")
        print(f"{microseconds(partial(recent.ended, exchange)):6.2f} µs  and for the page")
    theirs, ours = asyncio.run(pooled(aiohttp.TCPConnector)), asyncio.run(pooled(Pool))
    print(f"{ours - theirs:6.2f} µs  the pool's counting, of {ours:.2f} µs to take a connection and give it back")
    for exchange in (over(f"client-{n}", method) for n in range(CLIENTS) for method in METHODS):
        metrics.ended(exchange)
    size = len(metrics.page("")[0])
    scrape = min(timeit.repeat(lambda: metrics.page(""), number=1, repeat=ROUNDS)) * 1e3
    print(f"{scrape:6.2f} ms  a scrape of {CLIENTS} clients with {len(METHODS)} methods each: {size / 1024:.0f} KiB")
    full = [slot_of(number) for number in range(SLOTS)]
    drawing = min(timeit.repeat(lambda: figures(full), number=1, repeat=ROUNDS)) * 1e3
    print(f"{drawing:6.2f} ms  the page's charts of a busy quarter hour")


def slot_of(number: int) -> Slot:
    """Return a slot of requests that took from 10 ms to 1 s."""
    slot = Slot(number)
    for hundredths in range(1, 101):
        slot.add(0, hundredths / 100)
    return slot


main()
