"""What is looked at only when a scraper asks: the state of credentials, listeners and the pool.

Counts that other parts keep for themselves are told here as counters, so that nothing is counted twice.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from platform import python_version
from typing import Final

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from proxy import __version__, logs
from proxy.compose_budget import Budgets
from proxy.credential.oauth2 import RefreshingCredential
from proxy.credential.source import CredentialSource
from proxy.credential.status import STATES
from proxy.forward.tally import Tally
from proxy.metrics import PREFIX
from proxy.vitals import Port, Vitals

Samples = Iterable[tuple[tuple[str, ...], float]]

STATE: Final = "1 for the state that a credential is in, 0 for the others."
EXPIRES: Final = "When the access token that is lent expires, in seconds since 1970."
LAST: Final = "When a refresh last ended, well or not, in seconds since 1970."
FAILURES: Final = "Refreshes that have failed since the last that did not."
BLIND: Final = "1 while the store, or a secret (an API key is one), can't be read."
UNSTORED: Final = "1 while the newest tokens are in memory only."
REFRESHES: Final = "Refreshes, by why they were begun and how they ended."
REFUSALS: Final = "Requests refused by the policy, by rule."
WARNINGS: Final = "Requests that a policy with mode: warn would refuse, by rule."
LEAKS: Final = "Places in answers that held the credential, and were dropped."
MALFORMED: Final = "What came and was no request: answered with 4xx, in no other count."
KEYLESS: Final = "Clients whose key can't be read or used, or is another's yet."
CERTIFICATE: Final = "When the certificate that a TLS listener shows expires, in seconds since 1970."
TAKEN: Final = "0 while a newer configuration than the one that is served is not taken."
TAKEN_AT: Final = "When the configuration that is served was taken, in seconds since 1970."
TASKS: Final = "Tasks of the event loop: some for each connection and each request, and a few besides."
REFUSED: Final = "Connections turned away, because all were busy (limits.max_connections)."
DISPLACED: Final = "Connections that owed no answer and gave their place to another."
CONNECTIONS: Final = "Connections to the upstream: busy ones, and idle ones that are kept."
RESENT: Final = "Requests sent once more, because their connection broke before an answer began."
REUSED: Final = "Requests that went out on a connection that was there already."
LIMIT: Final = "Requests that a rate budget allows in its window now: fewer once PandaDoc's 429 has taught so."
SHARED: Final = "1 while replicas share the rate budget by Redis, 0 while each keeps to its share."
LEFT: Final = "Of these, requests that may leave at once."
PAUSED: Final = "Seconds that a rate still pauses after PandaDoc's 429."
WAITING: Final = "Requests that wait for their turn in a rate budget."
WAITS: Final = "Requests that had to wait for their turn."
WAITED: Final = "Seconds that requests have waited for their turn."
SPENT: Final = "Requests answered 429 by the proxy, because their turn could not come in time."
THROTTLED: Final = "429s that PandaDoc answered, resent or relayed."
KEPT: Final = "Bytes of requests' bodies that are kept to be sent again (replay.max_total)."


class Gauges(Collector):
    """Looks at a proxy when it is asked."""

    def __init__(self, vitals: Vitals) -> None:
        self._vitals = vitals

    def __repr__(self) -> str:
        return "<Gauges>"

    def collect(self) -> Iterable[Metric]:
        snapshot = self._vitals.snapshot()
        build = {"version": __version__, "python": python_version()}
        yield InfoMetricFamily(f"{PREFIX}build", "What is running.", build)
        yield _gauge("ready", "1 while requests are taken.", (), [((), self._vitals.ready())])
        yield _counter(
            "log_lines_dropped",
            "Log lines that found no room on their way out, or no form.",
            (),
            [((), logs.dropped())],
        )
        yield _gauge("config_last_reload_successful", TAKEN, (), [((), not self._vitals.refused())])
        yield _gauge("config_last_reload_success_timestamp_seconds", TAKEN_AT, (), [((), self._vitals.taken_at())])
        yield _gauge("tasks", TASKS, (), [((), len(asyncio.all_tasks()))])
        yield from _of_listeners(self._vitals.ports())
        yield from _of_credentials(snapshot.sources.values())
        yield from _of_upstream(self._vitals)
        yield from _of_policy(snapshot.tally)
        yield from _of_budgets(snapshot.budgets)
        yield _gauge("replay_kept_bytes", KEPT, (), [((), snapshot.kept_bytes.used)])

    def describe(self) -> Iterable[Metric]:
        """Name nothing beforehand: there is nothing to look at before the proxy has started."""
        return ()


def _of_listeners(ports: tuple[Port, ...]) -> Iterator[Metric]:
    def each(value_of: Callable[[Port], int]) -> Samples:
        return [((port.name,), value_of(port)) for port in ports]

    label = ("listener",)
    yield _gauge("requests_in_flight", "Requests in flight.", label, each(lambda port: port.handler.busy))
    yield _gauge("caller_connections", "Callers' connections.", label, each(lambda port: len(port.server.here)))
    yield _counter("caller_connections_refused", REFUSED, label, each(lambda port: port.server.door.refused))
    yield _counter("caller_connections_displaced", DISPLACED, label, each(lambda port: port.server.door.displaced))
    yield _counter("malformed_requests", MALFORMED, label, each(lambda port: port.server.door.malformed))
    yield _gauge("clients_without_key", KEYLESS, label, each(lambda port: len(port.keyless)))
    expiries = [((port.name,), port.certificate_expires_at) for port in ports]
    shown = [(values, at) for values, at in expiries if at is not None]
    yield _gauge("listener_certificate_expiry_timestamp_seconds", CERTIFICATE, label, shown)


def _of_credentials(sources: Iterable[CredentialSource]) -> Iterator[Metric]:
    told = [(source.name, source.status()) for source in sources]
    label = ("credential",)
    states = [((name, state), float(status.state == state)) for name, status in told for state in STATES]
    yield _gauge("credential_state", STATE, (*label, "state"), states)
    generations = [((name,), status.generation or 0) for name, status in told]
    yield _gauge("credential_generation", "Counts up with each new token or key.", label, generations)
    expiries = [((name,), status.expires_at) for name, status in told if status.expires_at is not None]
    yield _gauge("credential_expiry_timestamp_seconds", EXPIRES, label, expiries)
    lasts = [((name,), status.last_refresh_at) for name, status in told if status.last_refresh_at is not None]
    yield _gauge("credential_last_refresh_timestamp_seconds", LAST, label, lasts)
    yield _gauge("credential_store_unavailable", BLIND, label, [((each.name,), each.blind) for each in sources])
    yield from _of_grants([source for source in sources if isinstance(source, RefreshingCredential)])


def _of_grants(sources: list[RefreshingCredential]) -> Iterator[Metric]:
    label = ("credential",)
    yield _gauge("credential_refresh_failures", FAILURES, label, [((each.name,), each.failures) for each in sources])
    yield _gauge("credential_unstored", UNSTORED, label, [((each.name,), not each.stored) for each in sources])
    refreshes = [
        ((each.name, because.name.lower(), result), number)
        for each in sources
        for (because, result), number in each.refreshes.items()
    ]
    yield _counter("refreshes", REFRESHES, ("credential", "cause", "result"), refreshes)


def _of_upstream(vitals: Vitals) -> Iterator[Metric]:
    pool = vitals.snapshot().ways.pool
    yield _gauge("upstream_connections", CONNECTIONS, ("state",), [(("busy",), vitals.busy), (("idle",), vitals.idle)])
    yield _gauge(
        "upstream_connections_max", "How many there may be (upstream.max_connections).", (), [((), pool.limit)]
    )
    yield _counter("upstream_connections_created", "Connections made to the upstream.", (), [((), pool.counts.created)])
    yield _counter("upstream_connections_reused", REUSED, (), [((), pool.counts.reused)])
    yield _counter("upstream_resends", RESENT, (), [((), pool.counts.resent)])


def _of_budgets(budgets: Budgets) -> Iterator[Metric]:
    told = [((credential, each.name), each) for credential, budget in budgets.items() for each in budget.standings()]
    label = ("credential", "rate")
    counted = [(of, each) for of, each in told if each.limit is not None and each.left is not None]
    kept = {of[:1]: each.shared for of, each in told if each.shared is not None}
    yield _gauge("rate_budget_shared", SHARED, label[:1], kept.items())
    yield _gauge("rate_budget_limit", LIMIT, label, [(of, each.limit or 0) for of, each in counted])
    yield _gauge("rate_budget_left", LEFT, label, [(of, each.left or 0) for of, each in counted])
    yield _gauge("rate_budget_paused_seconds", PAUSED, label, [(of, each.paused_for) for of, each in told])
    yield _gauge("rate_budget_waiting", WAITING, label, [(of, each.waiting) for of, each in told])
    yield _counter("rate_budget_waits", WAITS, label, [(of, each.waits) for of, each in told])
    yield _counter("rate_budget_waited_seconds", WAITED, label, [(of, each.waited) for of, each in told])
    yield _counter("rate_budget_refused", SPENT, label, [(of, each.refused) for of, each in told])
    yield _counter("rate_budget_throttled", THROTTLED, label, [(of, each.throttled) for of, each in told])


def _of_policy(tally: Tally) -> Iterator[Metric]:
    yield _counter("policy_refusals", REFUSALS, ("rule",), [((rule,), count) for rule, count in tally.refused.items()])
    warnings = [((rule,), count) for rule, count in tally.would_refuse.items()]
    yield _counter("policy_warnings", WARNINGS, ("rule",), warnings)
    yield _counter("credential_leaks_dropped", LEAKS, (), [((), tally.leaks)])


def _gauge(name: str, about: str, labels: tuple[str, ...], samples: Samples) -> Metric:
    family = GaugeMetricFamily(f"{PREFIX}{name}", about, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _counter(name: str, about: str, labels: tuple[str, ...], samples: Samples) -> Metric:
    family = CounterMetricFamily(f"{PREFIX}{name}", about, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family
