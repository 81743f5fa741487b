"""The calls to a Kubernetes API, and what each answer means to us.

A call has two seconds, connection and all, and two more if what we hold of the cluster turns out to be old; a watch
stays open for minutes. Every write is a merge patch (RFC 7396) that holds the resourceVersion it was made from: the
server refuses it with 409 if another one is there by now ("Kubernetes API Concepts: Updates to existing resources"),
and what others keep in the object is left as it is. So no write does harm twice; one whose answer is lost is unknown
until the next read.

Never here: what is in an object; any text of the server's in a message.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final

import aiohttp
import msgspec

from proxy.clock import Clock
from proxy.kubernetes.cluster import Cluster
from proxy.kubernetes.connection import Answer, Call, Connection, lines, retry_after
from proxy.kubernetes.faults import Distrusted, KubernetesFault, Unreachable
from proxy.kubernetes.objects import Named
from proxy.secrets import Secret

LIMIT: Final = 2.0
"""Seconds for a call: an API server answers in milliseconds, and requests may be waiting."""

WATCH_HEAD: Final = 10.0
"""Seconds until a watch is open: a busy server queues them ("API Priority and Fairness"), and nobody waits for it."""

SLACK: Final = 10.0
"""Seconds that a silent stream may outlast the time after which the server was asked to end it."""

SHORTEST_REST: Final = 0.1
"""Seconds before a call is sent again, though the server says 0."""

SHORTEST_ASKED: Final = 1.0
"""Seconds for which nobody comes, when the second try was too much as well."""

LONGEST_ASKED: Final = 5.0
"""Seconds: no Retry-After keeps us from trying for longer. A login and the end of a process have ten for a pair that is
nowhere else."""

FIELD_MANAGER: Final = "pandadoc-proxy"
"""Who changed which field, in `kubectl get --show-managed-fields`."""


class Api:
    """Asks one API.

    What changes: `_connection`, made by the first call and again when what it was made from may be another by now, by
    `_connected`, `_drop` and `close`; `_closed`, by `close`; `_rests_until`, until when the server has asked us not to
    come, by `_judge`.
    """

    def __init__(self, find: Callable[[], Awaitable[Cluster]], clock: Clock) -> None:
        """`find` tells where the API is; it may raise KubernetesFault."""
        self._find = find
        self._clock = clock
        self._connection: Connection | None = None
        self._closed = False
        self._rests_until = 0.0  # monotonic

    def __repr__(self) -> str:
        return f"<Api {self.where}>"

    @property
    def where(self) -> str:
        return "the Kubernetes API" + (f" at {self._connection.cluster.server}" if self._connection else "")

    @property
    def namespace(self) -> str | None:
        """The cluster's own for us, once it is known."""
        return self._connection.cluster.namespace if self._connection else None

    async def get(self, thing: Named) -> bytes:
        """Return the object. Raises KubernetesFault."""
        return (await self._answered(Call("get", thing, {}))).body

    async def list(self, thing: Named) -> bytes:
        """Return the list that holds this object alone, as it is now. Raises KubernetesFault."""
        return (await self._answered(Call("list", thing, {}))).body

    async def patch(self, thing: Named, version: str, change: Mapping[str, Any]) -> bytes | None:
        """Merge `change` into `version` of the object; None if another is there by now. Raises KubernetesFault."""
        patch = msgspec.json.encode({**change, "metadata": {"resourceVersion": version}})
        answer = await self._answered(Call("patch", thing, {"fieldManager": FIELD_MANAGER}, patch))
        return None if answer.status == HTTPStatus.CONFLICT else answer.body

    @asynccontextmanager
    async def watch(self, thing: Named, version: str, seconds: int) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open a watch for about `seconds`: it yields each event after `version`, until the server ends it.

        Raises KubernetesFault, then and there.
        """
        query = {
            "watch": "1",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(seconds),
        }
        call = Call("watch", thing, query)
        connection = await self._rested()
        async with connection.held():
            token = await connection.cluster.tokens.current()
            limit = asyncio.timeout(WATCH_HEAD)
            async with self._translated(connection), limit, connection.send(call, token, seconds + SLACK) as answer:
                if answer.status != HTTPStatus.OK:
                    self._judge(call, Answer(answer.status, retry_after(answer), b""))
                limit.reschedule(None)
                yield lines(answer.content)

    async def close(self) -> None:
        """Close the connection, for good."""
        self._closed = True
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _answered(self, call: Call) -> Answer:
        """Ask; and again, once each, if the authority or our token may have been renewed."""
        connection = await self._rested()
        try:
            answer, shown = await self._ask(connection, call)
        except Distrusted:
            connection = await self._connected()
            answer, shown = await self._ask(connection, call)
        if answer.status == HTTPStatus.UNAUTHORIZED:
            answer, _ = await self._ask(await self._renewed(connection, shown), call)
        return self._judge(call, answer)

    async def _ask(self, connection: Connection, call: Call) -> tuple[Answer, Secret | None]:
        """Ask; and again, once, if we are asked to wait a moment. With the answer goes the token that was shown."""
        async with connection.held():
            token = await connection.cluster.tokens.current()  # it may have to be fetched, which takes its own time
            end = self._clock.monotonic() + LIMIT
            async with self._translated(connection), asyncio.timeout(LIMIT):
                answer = await connection.ask(call, token)
                if self._soon(answer, end):
                    await asyncio.sleep(max(answer.retry_after, SHORTEST_REST))
                    answer = await connection.ask(call, token)
                return answer, token

    def _soon(self, answer: Answer, end: float) -> bool:
        return answer.status == HTTPStatus.TOO_MANY_REQUESTS and self._clock.monotonic() + answer.retry_after < end

    async def _renewed(self, connection: Connection, token: Secret | None) -> Connection:
        """Have the token that was refused read again: from its file, its program, or with the whole kubeconfig."""
        connection.cluster.tokens.refused(token)
        if not connection.cluster.tokens.rotates:
            await self._drop(connection)
        return await self._connected()

    async def _drop(self, connection: Connection) -> None:
        """Have what it was made from read again for calls to come; unless another call has."""
        if self._connection is connection:
            self._connection = None
            await connection.retire()

    async def _rested(self) -> Connection:
        """Return the connection for a new call, unless the server has asked us not to come."""
        if (asked := self._rests_until - self._clock.monotonic()) > 0:
            raise Unreachable(f"Too much was asked of {self.where}: it wants another {asked:.0f} s of rest.")
        return await self._connected()

    async def _connected(self) -> Connection:
        if self._connection is None:
            cluster = await self._find()
            if self._closed:
                raise Unreachable(f"{self.where[0].upper()}{self.where[1:]} is no longer asked: our way was closed.")
            if self._connection is None:  # another call may have been faster
                self._connection = Connection(cluster)
        return self._connection

    @asynccontextmanager
    async def _translated(self, connection: Connection) -> AsyncIterator[None]:
        """Say what the network did to this connection in our words, and drop it: its files may say better by now."""
        where = self.where
        try:
            yield
        except aiohttp.ClientConnectorCertificateError as fault:
            await self._drop(connection)
            flaw = getattr(fault.certificate_error, "verify_message", "") or "no reason given"
            raise Distrusted(
                f"The certificate of the Kubernetes API at {fault.host}:{fault.port} is not trusted ({flaw}): check the"
                " authority in ca.crt or in the kubeconfig, and the address."
            ) from fault
        except (aiohttp.ClientError, OSError) as fault:
            await self._drop(connection)
            if isinstance(fault, TimeoutError):
                raise Unreachable(f"No answer came in time from {where}.") from fault
            raise Unreachable(f"No answer came from {where} ({type(fault).__name__}).") from fault

    def _judge(self, call: Call, answer: Answer) -> Answer:
        """Return what can be used: 200, or 409 to a patch. Raises KubernetesFault for the rest."""
        status, patched = answer.status, call.verb == "patch"
        if status == HTTPStatus.OK or (status == HTTPStatus.CONFLICT and patched):
            return answer
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            wait = min(max(answer.retry_after, SHORTEST_ASKED), LONGEST_ASKED)
            self._rests_until = self._clock.monotonic() + wait
            raise Unreachable(f"Too much is asked of {self.where}: it wants {wait:.0f} s of rest.")
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.GONE:
            raise Unreachable(f"To {call}, {status} came from {self.where}.")
        raise self._refusal(call, status)

    def _refusal(self, call: Call, status: int) -> KubernetesFault:
        """Say what a 4xx, or a redirect, asks of a person."""
        thing, there = call.thing, f"namespace {call.thing.namespace or self.namespace}"
        if status == HTTPStatus.UNAUTHORIZED:
            return self._unknown()
        admission = "an admission webhook or policy refuses the change."
        if status == HTTPStatus.FORBIDDEN:
            return KubernetesFault(
                f"Kubernetes forbids us to {call} in {there}: a Role must allow `{call.verb}` on {thing.plural} with"
                f" the resourceName {thing.name}, bound to this pod's service account."
                + (f" If one does, {admission}" if call.verb == "patch" else "")
            )
        if status == HTTPStatus.NOT_FOUND:
            return KubernetesFault(
                f"There is no {thing.name} among the {thing.plural} of {there}: apply the manifest that makes it."
            )
        text = f"To {call} in {there}, {status} came from {self.where}:"
        if call.verb == "patch":
            return KubernetesFault(f"{text} it may be immutable, or full (1MiB with all its keys), or {admission}")
        return KubernetesFault(f"{text} that address may be wrong.")

    def _unknown(self) -> KubernetesFault:
        """Say what a 401 asks of a person, or of nobody."""
        tokens = self._connection.cluster.tokens if self._connection is not None else None
        if tokens is not None and not tokens.shows:
            return KubernetesFault(
                f"We are not known (401) to {self.where}: the kubeconfig's user has no token, and no certificate that"
                " is known there."
            )
        text = f"Our token is not accepted (401) by {self.where}"
        if tokens is not None and tokens.rotates:
            return Unreachable(f"{text}, until it is renewed.")
        return KubernetesFault(f"{text}: renew it.")
