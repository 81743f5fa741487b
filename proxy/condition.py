"""How the proxy is, as one JSON document for /status: names, states, moments, counts. No key and no token."""

from datetime import UTC, datetime
from typing import Any

from proxy import __version__, logs
from proxy.budget.budget import Standing
from proxy.credential.status import document
from proxy.forward.clients import Client
from proxy.vitals import Port, Vitals


def condition(vitals: Vitals) -> dict[str, Any]:
    """Describe it; ready to be written as JSON."""
    snapshot = vitals.snapshot()
    return {
        "version": __version__,
        "uptime_seconds": round(vitals.uptime(), 3),
        "ready": vitals.ready(),
        "config": {"taken_at": _moment(vitals.taken_at()), "refused": list(vitals.refused())},
        "credentials": [document(source.status()) for source in snapshot.sources.values()],
        "listeners": [_listener(port) for port in vitals.ports()],
        "upstream": _upstream(vitals),
        "policy": {
            "refused": dict(snapshot.tally.refused),
            "would_refuse": dict(snapshot.tally.would_refuse),
            "credential_leaks_dropped": snapshot.tally.leaks,
        },
        "rate_budgets": [
            _rate(credential, each) for credential, budget in snapshot.budgets.items() for each in budget.standings()
        ],
        "replay_kept_bytes": snapshot.kept_bytes.used,
        "log_lines_dropped": logs.dropped(),
    }


def _listener(port: Port) -> dict[str, Any]:
    keyless = frozenset(port.keyless)
    return {
        "name": port.name,
        "url": port.url,
        "clients": [_client(client, keyless) for client in port.clients],
        "requests_in_flight": port.handler.busy,
        "connections": len(port.server.here),
        "connections_refused": port.server.door.refused,
        "connections_displaced": port.server.door.displaced,
        "certificate_expires_at": _moment(port.certificate_expires_at),
    }


def _moment(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _client(client: Client, keyless: frozenset[str]) -> dict[str, Any]:
    return {
        "name": client.name,
        "credential": client.source.name,
        "has_key": client.name not in keyless,
        "requests_in_flight": client.places.taken,
    }


def _rate(credential: str, of: Standing) -> dict[str, Any]:
    return {
        "credential": credential,
        "rate": of.name,
        "most": None if of.rate is None else of.rate.most,
        "window_seconds": None if of.rate is None else of.rate.seconds,
        "most_now": of.limit,
        "left": of.left,
        "shared": of.shared,
        "paused_seconds": round(of.paused_for, 3),
        "waiting": of.waiting,
        "waits": of.waits,
        "waited_seconds": round(of.waited, 3),
        "refused": of.refused,
        "throttled": of.throttled,
    }


def _upstream(vitals: Vitals) -> dict[str, Any]:
    pool = vitals.snapshot().ways.pool
    return {
        "connections_busy": vitals.busy,
        "connections_idle": vitals.idle,
        "connections_created": pool.counts.created,
        "connections_reused": pool.counts.reused,
        "connections_most": pool.limit,
        "resends": pool.counts.resent,
    }
