"""The calls to a Kubernetes API, and what each answer means to us.

A call has two seconds, connection and all; a watch stays open for minutes. Every write is a merge patch (RFC 7396)
that holds the resourceVersion it was made from: the server refuses it with 409 if another one is there by now
("Kubernetes API Concepts: Updates to existing resources"), and what others keep in the object is left as it is.
So no write does harm twice; one whose answer is lost is unknown until the next read.

Never here: what is in an object; any text of the server's in a message.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import aiohttp
import msgspec
from yarl import URL

from proxy import __version__
from proxy.clock import Clock
from proxy.kubernetes.cluster import Cluster
from proxy.kubernetes.faults import KubernetesFault, Unreachable
from proxy.kubernetes.objects import Named

LIMIT: Final = 2.0
"""Seconds for a call: an API server answers in milliseconds, and requests may be waiting."""

WATCH_HEAD: Final = 10.0
"""Seconds until a watch is open: a busy server queues them ("API Priority and Fairness"), and nobody waits for it."""

SLACK: Final = 10.0
"""Seconds that a silent stream may outlast the time after which the server was asked to end it."""

LARGEST: Final = 2 * 1024 * 1024
"""Bytes of an answer or an event: a Secret holds 1 MiB at most, in base64, beside its metadata."""

LONGEST_ASKED: Final = 30.0
"""Seconds: no Retry-After keeps us from trying for longer."""

FIELD_MANAGER: Final = "pandadoc-proxy"
"""Who changed which field, in `kubectl get --show-managed-fields`."""

DEAD_PEER: Final = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""Seconds, seconds, times (tcp(7)): a watch whose server has vanished without a word breaks within a minute."""


@dataclass(frozen=True, slots=True)
class _Call:
    """What is asked. `verb` is RBAC's word for it."""

    verb: str
    thing: Named
    query: Mapping[str, str]
    patch: bytes | None = None

    def __str__(self) -> str:
        return f"{self.verb} {self.thing.plural}/{self.thing.name}"

    @property
    def names_the_collection(self) -> bool:
        return self.verb in {"list", "watch"}


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    retry_after: float  # seconds; 1 where none is said
    body: bytes


class Connection:
    """A session with one cluster, as its files were when it was opened. Nothing in it changes but aiohttp's pool."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        connector = aiohttp.TCPConnector(limit=0, ssl=cluster.tls, socket_factory=_kept_alive)
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers={"User-Agent": f"pandadoc-proxy/{__version__}", "Accept": "application/json"},
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )

    def url(self, call: _Call) -> URL:
        path = call.thing.path(self.cluster.namespace)
        url = self.cluster.server.with_path(
            self.cluster.server.path.rstrip("/") + (path if call.names_the_collection else f"{path}/{call.thing.name}")
        )
        named = {"fieldSelector": f"metadata.name={call.thing.name}"} if call.names_the_collection else {}
        return url.with_query({**named, **call.query})

    @asynccontextmanager
    async def send(self, call: _Call, silence: float | None) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send it; `silence` are the seconds between two reads that end a stream."""
        headers = {} if call.patch is None else {"Content-Type": "application/merge-patch+json"}
        token = await self.cluster.tokens.current()
        if token is not None:
            headers["Authorization"] = f"Bearer {token.reveal()}"
        timeout = aiohttp.ClientTimeout(total=None, sock_read=silence)
        async with self._session.request(
            "GET" if call.patch is None else "PATCH",
            self.url(call),
            data=call.patch,
            headers=headers,
            allow_redirects=False,
            timeout=timeout,
            proxy=self.cluster.proxy,
            server_hostname=self.cluster.server_name,
        ) as answer:
            yield answer

    async def close(self) -> None:
        await self._session.close()


class Api:
    """Asks one API.

    What changes: `_connection`, made by the first call and again after TLS has failed, by `_connected` and `_sent`;
    `_closed_until`, until when the server has asked us not to come, by `_answered`.
    """

    def __init__(self, find: Callable[[], Awaitable[Cluster]], clock: Clock) -> None:
        """`find` tells where the API is; it may raise KubernetesFault."""
        self._find = find
        self._clock = clock
        self._connection: Connection | None = None
        self._closed_until = 0.0  # monotonic

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
        return (await self._answered(_Call("get", thing, {}))).body

    async def list(self, thing: Named) -> bytes:
        """Return the list that holds this object alone, as it is now. Raises KubernetesFault."""
        return (await self._answered(_Call("list", thing, {}))).body

    async def patch(self, thing: Named, version: str, change: Mapping[str, Any]) -> bytes | None:
        """Merge `change` into `version` of the object; None if another is there by now. Raises KubernetesFault."""
        patch = msgspec.json.encode({**change, "metadata": {"resourceVersion": version}})
        answer = await self._answered(_Call("patch", thing, {"fieldManager": FIELD_MANAGER}, patch))
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
        call = _Call("watch", thing, query)
        connection = await self._connected()
        limit = asyncio.timeout(WATCH_HEAD)
        async with self._translated(), limit, connection.send(call, seconds + SLACK) as answer:
            if answer.status != HTTPStatus.OK:
                self._judge(call, _Answer(answer.status, _retry_after(answer), b""))
            limit.reschedule(None)
            yield _lines(answer.content)

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _answered(self, call: _Call) -> _Answer:
        """Ask until there is an answer: a token may be refused once, and we may be asked to wait a moment."""
        if (asked := self._closed_until - self._clock.monotonic()) > 0:
            raise Unreachable(f"Too much was asked of {self.where}: it wants another {asked:.0f} s of rest.")
        connection = await self._connected()
        await connection.cluster.tokens.current()  # it may have to be fetched, which takes its own time
        end = self._clock.monotonic() + LIMIT
        refused = False
        async with self._translated(), asyncio.timeout(LIMIT):
            while True:
                answer = await _sent(connection, call)
                if answer.status == HTTPStatus.UNAUTHORIZED and not refused:
                    refused = True
                    connection.cluster.tokens.refused()
                elif self._soon(answer, end):
                    await asyncio.sleep(answer.retry_after)
                else:
                    return self._judge(call, answer)

    def _soon(self, answer: _Answer, end: float) -> bool:
        return answer.status == HTTPStatus.TOO_MANY_REQUESTS and self._clock.monotonic() + answer.retry_after < end

    async def _connected(self) -> Connection:
        if self._connection is None:
            cluster = await self._find()
            if self._connection is None:  # another call may have been faster
                self._connection = Connection(cluster)
        return self._connection

    @asynccontextmanager
    async def _translated(self) -> AsyncIterator[None]:
        """Say what the network did in our words."""
        try:
            yield
        except aiohttp.ClientConnectorCertificateError as fault:
            await self.close()  # the authority may have been renewed: its file is read again
            flaw = getattr(fault.certificate_error, "verify_message", "") or "no reason given"
            raise KubernetesFault(
                f"The certificate of {self.where} at {fault.host}:{fault.port} is not trusted ({flaw}): check the"
                " authority in ca.crt or in the kubeconfig, and the address."
            ) from fault
        except TimeoutError as fault:
            raise Unreachable(f"No answer came in time from {self.where}.") from fault
        except (aiohttp.ClientError, OSError, ssl.SSLError) as fault:
            raise Unreachable(f"No answer came from {self.where} ({type(fault).__name__}).") from fault

    def _judge(self, call: _Call, answer: _Answer) -> _Answer:
        """Return what can be used: 200, or 409 to a patch. Raises KubernetesFault for the rest."""
        status, patched = answer.status, call.verb == "patch"
        if status == HTTPStatus.OK or (status == HTTPStatus.CONFLICT and patched):
            return answer
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            wait = min(answer.retry_after, LONGEST_ASKED)
            self._closed_until = self._clock.monotonic() + wait
            raise Unreachable(f"Too much is asked of {self.where}: it wants {wait:.0f} s of rest.")
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.GONE:
            raise Unreachable(f"To {call}, {status} came from {self.where}.")
        raise self._refusal(call, status)

    def _refusal(self, call: _Call, status: int) -> KubernetesFault:
        """Say what a 4xx, or a redirect, asks of a person."""
        thing, there = call.thing, f"namespace {call.thing.namespace or self.namespace}"
        if status == HTTPStatus.UNAUTHORIZED:
            text = f"Our token is not accepted (401) by {self.where}"
            rotates = self._connection is not None and self._connection.cluster.tokens.rotates
            return Unreachable(f"{text}, until it is renewed.") if rotates else KubernetesFault(f"{text}: renew it.")
        if status == HTTPStatus.FORBIDDEN:
            return KubernetesFault(
                f"Kubernetes forbids us to {call} in {there}: a Role must allow `{call.verb}` on {thing.plural} with"
                f" the resourceName {thing.name}, bound to this pod's service account."
            )
        if status == HTTPStatus.NOT_FOUND:
            return KubernetesFault(
                f"There is no {thing.name} among the {thing.plural} of {there}: apply the manifest that makes it."
            )
        return KubernetesFault(
            f"To {call} in {there}, {status} came from {self.where}: it may be immutable, or that address wrong."
        )


async def _sent(connection: Connection, call: _Call) -> _Answer:
    async with connection.send(call, None) as answer:
        body = bytearray()
        async for chunk in answer.content.iter_any():
            body += chunk
            if len(body) > LARGEST:
                raise KubernetesFault(f"The answer to {call} is larger than 2MiB: it is no Secret and no Lease.")
        return _Answer(answer.status, _retry_after(answer), bytes(body))


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Yield each line of a stream; one that is too long breaks it."""
    begun = bytearray()
    async for chunk in content.iter_any():
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            yield bytes(begun) + line
            begun.clear()
        begun += rest
        if len(begun) > LARGEST:
            raise KubernetesFault("An event of the Kubernetes API is larger than 2MiB: it is no Secret's.")


def _retry_after(answer: aiohttp.ClientResponse) -> float:
    """Return the seconds that a Retry-After asks for; the API sends no dates."""
    asked = answer.headers.get("Retry-After", "")
    return float(asked) if asked.isdecimal() and len(asked) < len("1000000") else 1.0


def _kept_alive(address: Any) -> socket.socket:
    """Make a socket that notices when its peer is gone, though nothing is said."""
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    with suppress(OSError):
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in DEAD_PEER.items():
            if hasattr(socket, name):  # macOS knows the first by another name
                made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return made
