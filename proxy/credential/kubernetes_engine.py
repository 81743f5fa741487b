"""A fleet's record in a Secret of its own, and its lease in a Lease; nothing else is needed in Kubernetes.

    read     get the Secret: data["grant.json"], and its resourceVersion
    write    a patch of that version, or nothing
    watch    list, then a stream of events that carry the Secret; whatever breaks it, it is listed again

Both objects are made by the manifests, empty: RBAC can't limit `create` to a name. So a missing one is a fault, and
an empty one is a fleet before its first grant.
"""

from base64 import b64encode
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

import msgspec

from proxy.clock import Clock
from proxy.credential.engine import Kept
from proxy.credential.store import StoreError, StoreUnreachable
from proxy.kubernetes.api import Api
from proxy.kubernetes.faults import KubernetesFault, Unreachable
from proxy.kubernetes.lease_lock import GROUP, LeaseLock
from proxy.kubernetes.objects import Bookmark, Event, Named, SecretList, SecretObject

T = TypeVar("T")

KEY: Final = "grant.json"
"""The key of the Secret's data; all others are left alone."""

SHORTEST_WATCH: Final = 300
"""Seconds after which the server is asked to end a stream, at least; twice that at most, so that they end apart.

client-go has the same."""


class KubernetesEngine:
    """Keeps the record in one Secret. What changes is in the Api and in the LeaseLock."""

    poll = 300.0

    def __init__(
        self,
        api: Api,
        secret: str,
        *,
        namespace: str | None,
        lease: str | None,
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        """`namespace`: the pod's or the context's, if None. `lease`: the Secret's name, if None."""
        self._api = api
        self._secret = Named("", "secrets", secret, namespace)
        self._lock = LeaseLock(api, Named(GROUP, "leases", lease or secret, namespace), clock)
        self._clock = clock
        self._jitter = jitter

    def __repr__(self) -> str:
        return f"<KubernetesEngine {self.name}>"

    @property
    def name(self) -> str:
        return f"the Kubernetes Secret {self._namespace + '/' if self._namespace else ''}{self._secret.name}"

    @property
    def removal(self) -> str:
        """A Secret that is deleted could be made anew by an administrator alone."""
        there = f" --namespace={self._namespace}" if self._namespace else ""
        patch = msgspec.json.encode({"data": {KEY: None}}).decode()
        return f"empty it (kubectl patch secret {self._secret.name}{there} --type=merge --patch='{patch}')"

    @property
    def _namespace(self) -> str | None:
        return self._secret.namespace or self._api.namespace

    async def read(self) -> Kept:
        with _translated():
            return _kept(await self._api.get(self._secret))

    async def write(self, content: bytes, version: str) -> Kept | None:
        change = {"data": {KEY: b64encode(content).decode()}}
        with _translated():
            written = await self._api.patch(self._secret, version, change)
        if written is None:
            return None
        kept = _kept(written)
        if kept.content != content:  # a 200 all the same: the answer is the object as stored
            raise StoreError(
                f"What was written to {self.name} is not what is stored there: look for an admission webhook or policy"
                " that changes Secrets."
            )
        return kept

    async def take(self, holder: str, seconds: float) -> bool:
        with _translated():
            return await self._lock.take(holder, seconds)

    async def give_back(self, holder: str) -> None:
        with _translated():
            await self._lock.give_back(holder)

    async def holder(self) -> str | None:
        with _translated():
            return await self._lock.holder()

    async def watch(self) -> AsyncGenerator[Kept | None, None]:
        with _translated():
            listed = _decoded(await self._api.list(self._secret), SecretList)
            told, version = False, listed.metadata.resource_version
            kept = self._only(listed)
            while True:
                began, seconds = self._clock.monotonic(), int(SHORTEST_WATCH * (1 + self._jitter()))
                async with self._api.watch(self._secret, version, seconds) as events:
                    if not told:
                        told = True
                        yield kept
                    async for line in events:
                        event = _decoded(line, Event)
                        if event.type == "ERROR":
                            return  # 410 in most cases: what came after `version` is forgotten, so it is listed again
                        version = _decoded(event.object, Bookmark).metadata.resource_version
                        if event.type != "BOOKMARK":
                            yield None if event.type == "DELETED" else _kept(event.object)
                if self._clock.monotonic() < began + seconds / 2:
                    return  # it was cut off

    async def close(self) -> None:
        await self._api.close()

    def _only(self, listed: SecretList) -> Kept:
        for secret in listed.items or ():
            return _content(secret)
        there = f"the secrets of namespace {self._namespace}"
        raise StoreError(f"There is no {self._secret.name} among {there}: apply the manifest that makes it.")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except Unreachable as fault:
        raise StoreUnreachable(str(fault)) from fault
    except KubernetesFault as fault:
        raise StoreError(str(fault)) from fault


def _kept(secret: bytes | msgspec.Raw) -> Kept:
    return _content(_decoded(secret, SecretObject))


def _content(secret: SecretObject) -> Kept:
    return Kept((secret.data or {}).get(KEY, b""), secret.metadata.resource_version)


def _decoded(content: bytes | msgspec.Raw, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise StoreUnreachable("What the Kubernetes API answered is not what was asked for.") from None
