"""What the page shows, read off the running proxy: names, states, moments, counts. No key and no token.

Texts are redacted as the log's are: a path is the caller's, whatever it holds.
"""

from collections import Counter
from collections.abc import Callable
from math import inf

from msgspec import Struct
from msgspec.structs import replace

from proxy import __version__, logs
from proxy.credential.oauth2 import RefreshingCredential
from proxy.credential.source import CredentialSource
from proxy.page.budgets import Budgets
from proxy.page.recent import Recent, Trouble
from proxy.page.standing import Besides, Lending
from proxy.page.traffic import ANSWERED, FAILED, LATELY, REFUSED, Slots, total
from proxy.vitals import Vitals


class View(Struct, frozen=True):
    """The proxy at one moment."""

    at: float  # wall-clock seconds since 1970
    version: str
    upstream: str
    ready: bool
    uptime: float  # seconds
    in_flight: int
    busy: int  # connections to the upstream
    most: int  # that there may be
    lendings: tuple[Lending, ...]
    besides: Besides
    budgets: Budgets
    slots: Slots
    troubles: tuple[Trouble, ...]


def view(vitals: Vitals, recent: Recent, wall: Callable[[], float]) -> View:
    """Look at it now."""
    snapshot, at, slots = vitals.snapshot(), wall(), recent.slots()
    return View(
        at=at,
        version=__version__,
        upstream=str(snapshot.config.upstream.url),
        ready=vitals.ready(),
        uptime=vitals.uptime(),
        in_flight=vitals.in_flight(),
        busy=vitals.busy,
        most=snapshot.ways.pool.limit,
        lendings=tuple(_lending(source) for source in snapshot.sources.values()),
        besides=_besides(vitals, slots, at),
        budgets={name: budget.standings() for name, budget in snapshot.budgets.items()},
        slots=slots,
        troubles=tuple(_redacted(trouble) for trouble in recent.troubles()),
    )


def _lending(source: CredentialSource) -> Lending:
    if not isinstance(source, RefreshingCredential):
        return Lending(source.status(), source.blind)
    ends: Counter[str] = Counter()
    for (_, result), number in source.refreshes.items():
        ends[result] += number
    return Lending(source.status(), source.blind, ends)


def _besides(vitals: Vitals, slots: Slots, at: float) -> Besides:
    ports, ends = vitals.ports(), total(slots[-LATELY:]).ends
    return Besides(
        failed=ends[FAILED],
        answered=ends[ANSWERED] + ends[REFUSED],
        not_taken=bool(vitals.refused()),
        keyless=tuple(dict.fromkeys(name for port in ports for name in port.keyless)),
        expired=tuple(port.name for port in ports if (port.certificate_expires_at or inf) <= at),
    )


def _redacted(trouble: Trouble) -> Trouble:
    return replace(trouble, fault=logs.redact(trouble.fault), path=logs.redact(trouble.path))
