"""What counting costs each request, in microseconds, and looking, in milliseconds: `python bench/metrics_cost.py`.

Counting an exchange that is over, for the metrics and for the page. One thread, nothing on the network; the least
of several rounds.
"""

import sys
import timeit
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[1]))

from proxy.clock import SystemClock
from proxy.forward.exchange import Exchange
from proxy.forward.headers import Head
from proxy.metrics import Metrics
from proxy.page.figures import figures
from proxy.page.recent import Recent
from proxy.page.traffic import SLOTS, Slot
from proxy.policy.pattern import METHODS

ROUNDS: Final = 7
CALLS: Final = 20_000
CLIENTS: Final = 10


def over(client: str = "billing", method: str = "GET", **changes: Any) -> Exchange:
    """Return an exchange that has ended."""
    exchange = Exchange(Head(method, "/public/v1/documents", (1, 1), ()), SystemClock().monotonic, "127.0.0.1:8080")
    exchange.client, exchange.status, exchange.credential = client, 200, "default"
    exchange.bytes_in, exchange.bytes_out, exchange.upstream_seconds = 200, 2000, 0.08
    for name, value in changes.items():
        setattr(exchange, name, value)
    return exchange


def microseconds(work: Callable[[], object]) -> float:
    return min(timeit.repeat(work, number=CALLS, repeat=ROUNDS)) / CALLS * 1e6


def main() -> None:
    """Time each."""
    metrics, recent = Metrics(), Recent(SystemClock().monotonic)
    plain = over()
    refused = over(status=403, error="http_request_denied", fault="http_request_denied: no.", upstream_seconds=0.0)
    for exchange, what in ((plain, "a request that was forwarded"), (refused, "an answer of our own")):
        print(f"{microseconds(partial(metrics.ended, exchange)):6.2f} µs  {what}, for the metrics")
        print(f"{microseconds(partial(recent.ended, exchange)):6.2f} µs  and for the page")
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
