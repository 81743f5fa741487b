"""One holder at a time, by a Lease (v1, coordination.k8s.io), as client-go's leader election does it.

Whoever holds it is written down, with for how long. A replica judges the end by what it sees itself: the record has
stood unchanged for that long on our own watch that nobody turns. Clocks of nodes are never compared, for they differ.
What is taken is taken over the version that was read: of many that try, one succeeds.

    free ─ take ─► ours ─ give back ─► free
           take ─► another's: seen unchanged for its duration? ─► ours
"""

from datetime import UTC, datetime
from math import ceil
from typing import Any, Final

import msgspec
from msgspec import Struct

from proxy.clock import Clock
from proxy.kubernetes.api import Api
from proxy.kubernetes.faults import Unreachable
from proxy.kubernetes.objects import LeaseObject, LeaseSpec, Named

GROUP: Final = "coordination.k8s.io"

TRIES: Final = 5
"""How often it is given back, where somebody else writes on it meanwhile: labels, annotations."""


class _Sight(Struct, frozen=True):
    """A record, and since when we have seen it so; monotonic."""

    spec: LeaseSpec
    since: float


class LeaseLock:
    """A Lease of that name. `_sight` is what was seen last; `_seen` alone changes it."""

    def __init__(self, api: Api, lease: Named, clock: Clock) -> None:
        self._api = api
        self._lease = lease
        self._clock = clock
        self._sight = _Sight(LeaseSpec(), 0.0)

    def __repr__(self) -> str:
        return f"<LeaseLock {self._lease.name}>"

    async def take(self, holder: str, seconds: float) -> bool:
        """Take it for `seconds`, or find that another has it. Raises KubernetesFault."""
        lease = await self._read()
        spec = self._seen(lease)
        another = spec.holder_identity not in {None, "", holder}
        if another and not self._stood_for(_duration(spec, seconds)):
            return False
        return await self._write(lease, _taken(spec, holder, seconds, self._now()))

    async def give_back(self, holder: str) -> None:
        """Free it, if it is still `holder`'s. Raises KubernetesFault."""
        free = {"holderIdentity": None, "leaseDurationSeconds": 1, "renewTime": self._now()}
        for _ in range(TRIES):
            lease = await self._read()
            if lease.spec is None or lease.spec.holder_identity != holder or await self._write(lease, free):
                return

    async def holder(self) -> str | None:
        """Name the holder, for people; by the record's own times, for a person has not watched it. Raises as `take`."""
        spec = (await self._read()).spec
        if spec is None or not spec.holder_identity or self._looks_over(spec):
            return None
        return spec.holder_identity

    async def _read(self) -> LeaseObject:
        return _decoded(await self._api.get(self._lease))

    async def _write(self, lease: LeaseObject, spec: dict[str, Any]) -> bool:
        written = await self._api.patch(self._lease, lease.metadata.resource_version, {"spec": spec})
        if written is not None:
            self._seen(_decoded(written))
        return written is not None

    def _seen(self, lease: LeaseObject) -> LeaseSpec:
        spec = lease.spec or LeaseSpec()
        if spec != self._sight.spec:
            self._sight = _Sight(spec, self._clock.monotonic())
        return spec

    def _stood_for(self, seconds: float) -> bool:
        return self._clock.monotonic() >= self._sight.since + seconds

    def _now(self) -> str:
        return datetime.fromtimestamp(self._clock.wall(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def _looks_over(self, spec: LeaseSpec) -> bool:
        try:
            renewed = datetime.fromisoformat(spec.renew_time or "").timestamp()
        except ValueError:
            return False
        return self._clock.wall() > renewed + (spec.lease_duration_seconds or 0)


def _duration(spec: LeaseSpec, ours: float) -> float:
    """Return for how long another's lease is respected: never longer than we would have it.

    An edited one of years, or of none, must not stop the fleet.
    """
    return min(spec.lease_duration_seconds or ours, ours)


def _taken(spec: LeaseSpec, holder: str, seconds: float, now: str) -> dict[str, Any]:
    ours = spec.holder_identity == holder
    return {
        "holderIdentity": holder,
        "leaseDurationSeconds": ceil(seconds),
        "acquireTime": (ours and spec.acquire_time) or now,
        "renewTime": now,
        "leaseTransitions": (spec.lease_transitions or 0) + (not ours),
    }


def _decoded(content: bytes) -> LeaseObject:
    try:
        return msgspec.json.decode(content, type=LeaseObject)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Unreachable("What the Kubernetes API answered is no Lease.") from None
