"""What is measured, in Prometheus' terms: counters as things happen, gauges when somebody asks (gauges.py).

Every label has a bounded set of values: listeners, clients, credentials and rules are the configuration's, the rest
are words of ours. Never a path, a query, or anything else a caller chooses.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Final

import prometheus_client
from prometheus_client import CollectorRegistry, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from proxy.forward.exchange import Exchange
from proxy.policy.pattern import METHODS

PREFIX: Final = "pandadoc_proxy_"

WHOSE: Final = ("listener", "client")

LATE: Final = (0.01, 0.05, 0.1, 0.5, 1, 5)
"""Seconds: from what a busy loop is late by as a rule, to what a kubelet takes for dead."""

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
"""From an answer out of PandaDoc's cache to `upstream.response_timeout`."""


class _Spread:
    """How long something took, as a histogram has it. `add` alone changes it."""

    def __init__(self) -> None:
        self._counts = [0] * (len(SECONDS) + 1)
        self._seconds = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(SECONDS, seconds)] += 1
        self._seconds += seconds

    def told(self) -> tuple[list[tuple[str, float]], float]:
        """Return what is at most as long as each bound, and all of it together."""
        bounds = (*map(floatToGoString, SECONDS), "+Inf")
        return list(zip(bounds, accumulate(map(float, self._counts)), strict=True)), self._seconds


class _Series:
    """What grows with a request of one listener, client, method and class of status: found once, then kept."""

    def __init__(self, seconds: _Spread, upstream_seconds: _Spread) -> None:
        self.requests = 0
        self.received = 0
        self.sent = 0
        self._seconds = seconds
        self._upstream_seconds = upstream_seconds

    def add(self, exchange: Exchange) -> None:
        self.requests += 1
        self.received += exchange.bytes_in
        self.sent += exchange.bytes_out
        self._seconds.add(exchange.now() - exchange.started)
        if exchange.upstream_seconds:
            self._upstream_seconds.add(exchange.upstream_seconds)


class _Requests(Collector):
    """What is counted with every request: in plain numbers, which are told when a scraper asks.

    prometheus-client's own counters cost ten times as much. `_series` and the two `_Spread`s of each listener grow
    with new combinations, which `of` alone makes.
    """

    def __init__(self) -> None:
        self._series: dict[tuple[str, str, str, int], _Series] = {}
        self._seconds: dict[str, _Spread] = {}
        self._upstream_seconds: dict[str, _Spread] = {}

    def __repr__(self) -> str:
        return f"{len(self._series)} series"

    def of(self, exchange: Exchange) -> _Series:
        """Return what a request is counted in."""
        listener, client, method = exchange.listener, exchange.client, exchange.method
        key = (listener, client, method if method in METHODS else "other", exchange.status // 100)
        series = self._series.get(key)
        if series is None:
            seconds = self._seconds.setdefault(listener, _Spread())
            series = _Series(seconds, self._upstream_seconds.setdefault(listener, _Spread()))
            self._series[key] = series
        return series

    def collect(self) -> Iterable[Metric]:
        requests = CounterMetricFamily(
            f"{PREFIX}requests", "Requests answered, or given up (499).", labels=(*WHOSE, "method", "status")
        )
        received: Counter[tuple[str, str]] = Counter()
        sent: Counter[tuple[str, str]] = Counter()
        for (listener, client, method, status), series in self._series.items():
            requests.add_metric((listener, client, method, f"{status}xx"), series.requests)
            received[listener, client] += series.received
            sent[listener, client] += series.sent
        yield requests
        yield _bytes("request", "Bytes of requests' bodies.", received)
        yield _bytes("response", "Bytes of answers' bodies.", sent)
        yield _durations("request", "From a request's head to its answer's last byte.", self._seconds)
        yield _durations("upstream", "Waited for the heads of PandaDoc's answers.", self._upstream_seconds)

    def describe(self) -> Iterable[Metric]:
        """Name nothing beforehand: there is nothing to count before a request."""
        return ()


def _bytes(whose: str, about: str, counts: Counter[tuple[str, str]]) -> Metric:
    family = CounterMetricFamily(f"{PREFIX}{whose}_body_bytes", about, labels=WHOSE)
    for labels, count in counts.items():
        family.add_metric(labels, count)
    return family


def _durations(whose: str, about: str, spreads: Mapping[str, _Spread]) -> Metric:
    family = HistogramMetricFamily(f"{PREFIX}{whose}_duration_seconds", about, labels=("listener",))
    for listener, spread in spreads.items():
        family.add_metric((listener,), *spread.told())
    return family


class Metrics:
    """One proxy's metrics.

    Its counters grow in `ended` and `late` alone.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = _Requests()
        self._registry.register(self._requests)
        self._replays = self._counter("replays", "Requests sent again.", "credential", "reason")
        self._own = self._counter(
            "own_answers", "Answers of the proxy's own, by their word in Proxy-Status.", *WHOSE, "status", "error"
        )
        self._unfinished = self._counter("unfinished_answers", "Answers that broke off after their heads.", *WHOSE)
        self._lag = Histogram(
            f"{PREFIX}event_loop_lag_seconds",
            "How late the event loop came to what was due, each second.",
            registry=self._registry,
            buckets=LATE,
        )

    def __repr__(self) -> str:
        return f"<Metrics {self._requests}>"

    def watch(self, gauges: Collector) -> None:
        """Have these asked at each scrape."""
        self._registry.register(gauges)

    def ended(self, exchange: Exchange) -> None:
        """Count a request that has been answered or given up."""
        self._requests.of(exchange).add(exchange)
        if exchange.replayed:
            self._replays.labels(exchange.credential, "unauthorized").inc()
        if exchange.unfinished:
            self._unfinished.labels(exchange.listener, exchange.client).inc()
        if exchange.error:
            self._own.labels(exchange.listener, exchange.client, f"{exchange.status // 100}xx", exchange.error).inc()

    def late(self, seconds: float) -> None:
        """Count how late the event loop was."""
        self._lag.observe(seconds)

    def page(self, accept: str) -> tuple[bytes, str]:
        """Write all of them, in the format that the scraper asks for; return the text and its content type."""
        try:
            encoder, content_type = choose_encoder(accept)
        except (TypeError, ValueError):  # it takes whatever follows version= for numbers
            encoder, content_type = choose_encoder("")
        return encoder(self._registry), content_type

    def _counter(self, name: str, about: str, *labels: str) -> prometheus_client.Counter:
        return prometheus_client.Counter(f"{PREFIX}{name}", about, labels, registry=self._registry)
