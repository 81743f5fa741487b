"""What is measured, in Prometheus' terms: counters as things happen, gauges when somebody asks (gauges.py).

Every label has a bounded set of values: listeners, clients, credentials and rules are the configuration's, the rest
are words of ours. Never a path, a query, or anything else a caller chooses.
"""

from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from proxy.forward.exchange import Exchange

PREFIX: Final = "pandadoc_proxy_"

METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
"""Those that are told apart; others are `other`."""

LATE: Final = (0.01, 0.05, 0.1, 0.5, 1, 5)
"""Seconds: from what a busy loop is late by as a rule, to what a kubelet takes for dead."""

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
"""From an answer out of PandaDoc's cache to `upstream.response_timeout`."""


@dataclass(frozen=True, slots=True)
class _Series:
    """What grows with a request of one listener, client, method and class of status: found once, then kept."""

    requests: Counter
    seconds: Histogram
    upstream_seconds: Histogram
    received: Counter
    sent: Counter

    def add(self, exchange: Exchange) -> None:
        self.requests.inc()
        self.seconds.observe(exchange.now() - exchange.started)
        if exchange.upstream_seconds:
            self.upstream_seconds.observe(exchange.upstream_seconds)
        if exchange.bytes_in:
            self.received.inc(exchange.bytes_in)
        if exchange.bytes_out:
            self.sent.inc(exchange.bytes_out)


class Metrics:
    """One proxy's metrics.

    The registry's counters grow in `ended` and `late` alone; `_series` with each new combination.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        whose = ("listener", "client")
        self._requests = self._counter("requests", "Requests answered, or given up (499).", *whose, "method", "status")
        self._seconds = self._histogram("request_duration", "From a request's head to its answer's last byte.")
        self._upstream = self._histogram("upstream_duration", "Waited for the heads of PandaDoc's answers.")
        self._received = self._counter("request_body_bytes", "Bytes of requests' bodies.", *whose)
        self._sent = self._counter("response_body_bytes", "Bytes of answers' bodies.", *whose)
        self._replays = self._counter("replays", "Requests sent again.", "credential", "reason")
        self._own = self._counter(
            "own_answers", "Answers of the proxy's own, by their word in Proxy-Status.", *whose, "status", "error"
        )
        self._unfinished = self._counter("unfinished_answers", "Answers that broke off after their heads.", *whose)
        self._lag = Histogram(
            f"{PREFIX}event_loop_lag_seconds",
            "How late the event loop came to what was due, each second.",
            registry=self._registry,
            buckets=LATE,
        )
        self._series: dict[tuple[str, str, str, int], _Series] = {}

    def __repr__(self) -> str:
        return f"<Metrics {len(self._series)} series>"

    def watch(self, gauges: Collector) -> None:
        """Have these asked at each scrape."""
        self._registry.register(gauges)

    def ended(self, exchange: Exchange) -> None:
        """Count a request that has been answered or given up."""
        key = (exchange.listener, exchange.client, exchange.method, exchange.status // 100)
        (self._series.get(key) or self._begin(key)).add(exchange)
        if exchange.replayed:
            self._replays.labels(exchange.credential, "unauthorized").inc()
        if exchange.unfinished:
            self._unfinished.labels(exchange.listener, exchange.client).inc()
        if exchange.error:
            self._own.labels(exchange.listener, exchange.client, hundreds(exchange.status), exchange.error).inc()

    def late(self, seconds: float) -> None:
        """Count how late the event loop was."""
        self._lag.observe(seconds)

    def page(self, accept: str) -> tuple[bytes, str]:
        """Write all of them, in the format that the scraper asks for; return the text and its content type."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self._registry), content_type

    def _begin(self, key: tuple[str, str, str, int]) -> _Series:
        listener, client, method, status = key
        known = method in METHODS
        series = _Series(
            self._requests.labels(listener, client, method if known else "other", f"{status}xx"),
            self._seconds.labels(listener),
            self._upstream.labels(listener),
            self._received.labels(listener, client),
            self._sent.labels(listener, client),
        )
        if known:  # a method that a caller makes up is not to be remembered
            self._series[key] = series
        return series

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"{PREFIX}{name}", about, labels, registry=self._registry)

    def _histogram(self, name: str, about: str) -> Histogram:
        return Histogram(f"{PREFIX}{name}_seconds", about, ("listener",), registry=self._registry, buckets=SECONDS)


def hundreds(status: int) -> str:
    """Name the class of a status, as in 2xx."""
    return f"{status // 100}xx"
