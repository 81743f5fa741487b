"""What metrics cost each request, in microseconds, and a scrape, in milliseconds: `python bench/metrics_cost.py`.

One thread, nothing on the network; the least of several rounds.
"""

import sys
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[1]))

from proxy.clock import SystemClock
from proxy.forward.exchange import Exchange
from proxy.metrics import METHODS, Metrics

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


def main() -> None:
    """Time each."""
    metrics = Metrics()
    plain, refused = over(), over(status=403, error="http_request_denied", upstream_seconds=0.0)
    print(f"{microseconds(lambda: metrics.ended(plain)):6.2f} µs  a request that was forwarded")
    print(f"{microseconds(lambda: metrics.ended(refused)):6.2f} µs  an answer of our own")
    for exchange in (over(f"client-{n}", method) for n in range(CLIENTS) for method in METHODS):
        metrics.ended(exchange)
    size = len(metrics.page("")[0])
    scrape = min(timeit.repeat(lambda: metrics.page(""), number=1, repeat=ROUNDS)) * 1e3
    print(f"{scrape:6.2f} ms  a scrape of {CLIENTS} clients with {len(METHODS)} methods each: {size / 1024:.0f} KiB")


main()
