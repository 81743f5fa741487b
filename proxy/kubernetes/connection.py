"""One call to a Kubernetes API over a connection: what is sent, and what comes back, no more of it than is borne.

Never here: what an answer means.
"""

import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from yarl import URL

from proxy import __version__
from proxy.kubernetes.cluster import Cluster
from proxy.kubernetes.faults import KubernetesFault
from proxy.kubernetes.objects import Named
from proxy.names import Resolver
from proxy.secrets import Secret

LARGEST: Final = 2 * 1024 * 1024
"""Bytes of an answer or an event: a Secret holds 1 MiB at most, in base64, beside its metadata."""

DEAD_PEER: Final = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""Seconds, seconds, times (tcp(7)): a watch whose server has vanished without a word breaks within a minute."""


@dataclass(frozen=True, slots=True)
class Call:
    """What is asked. `verb` is RBAC's word for it."""

    verb: str
    thing: Named
    query: Mapping[str, str]
    patch: bytes | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.verb} {self.thing.plural}/{self.thing.name}"

    @property
    def names_the_collection(self) -> bool:
        return self.verb in {"list", "watch"}


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    retry_after: float  # seconds; 1 where none is said
    body: bytes = field(repr=False)


class Connection:
    """A session with one cluster, as its files were when it was opened.

    `_holders`, how many calls are under way, is changed by `held`; `_retired` is set by `retire`.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._holders = 0
        self._retired = False
        connector = aiohttp.TCPConnector(limit=0, ssl=cluster.tls, socket_factory=_kept_alive, resolver=Resolver())
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers={
                "User-Agent": f"pandadoc-proxy/{__version__}",
                "Accept": "application/json",
                "Accept-Encoding": "identity",  # so that LARGEST bounds what is held
            },
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )

    def url(self, call: Call) -> URL:
        path = call.thing.path(self.cluster.namespace)
        url = self.cluster.server.with_path(
            self.cluster.server.path.rstrip("/") + (path if call.names_the_collection else f"{path}/{call.thing.name}")
        )
        named = {"fieldSelector": f"metadata.name={call.thing.name}"} if call.names_the_collection else {}
        return url.with_query({**named, **call.query})

    @asynccontextmanager
    async def send(
        self, call: Call, token: Secret | None, silence: float | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send it; `silence` are the seconds between two reads that end a stream."""
        headers = {} if call.patch is None else {"Content-Type": "application/merge-patch+json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token.reveal()}"
        if self._session.closed:  # for good
            raise ConnectionAbortedError
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

    async def ask(self, call: Call, token: Secret | None) -> Answer:
        """Send it, and read all of the answer."""
        async with self.send(call, token) as answer:
            body = bytearray()
            async for chunk in answer.content.iter_any():
                body += chunk
                if len(body) > LARGEST:
                    raise KubernetesFault(f"The answer to {call} is larger than 2MiB: it is no Secret and no Lease.")
            return Answer(answer.status, retry_after(answer), bytes(body))

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Keep it open for one call, also while that waits for a token or rests."""
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1
            await self._close_if_over()

    async def retire(self) -> None:
        """Close when the calls that are under way have ended: one that fails says nothing of the others."""
        self._retired = True
        await self._close_if_over()

    async def _close_if_over(self) -> None:
        if self._retired and not self._holders:
            await self.close()

    async def close(self) -> None:
        await self._session.close()


async def lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Yield each line of a stream; one that is too long breaks it."""
    begun = b""
    async for chunk in content.iter_any():
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            yield _bounded(begun + end)
            begun = b""
        begun = _bounded(begun + rest)


def _bounded(line: bytes) -> bytes:
    if len(line) > LARGEST:
        raise KubernetesFault("An event of the Kubernetes API is larger than 2MiB: it is no Secret's.")
    return line


def retry_after(answer: aiohttp.ClientResponse) -> float:
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
