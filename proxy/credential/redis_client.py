"""The ways to a Redis: by itself, by Sentinel, as a cluster; each with redis-py's own client.

Nothing is tried twice here: whoever calls knows better when. But a cluster's client may, for it learns where the
key has gone by asking in vain. It learns that a node has failed, but not that a call was cut off by our limit, which
ends before its own: so it is told to ask for the nodes anew then.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from msgspec import Struct
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import ConstantBackoff, NoBackoff

from proxy.credential.redis_address import RedisAddress
from proxy.credential.redis_faults import distrusted
from proxy.credential.store import StoreError
from proxy.secrets import irregular
from proxy.trust import ASKED, NOT_ASKED

LIMIT: Final = 2.0
"""Seconds for one call, with connecting and whatever it has to wait for."""

FOR_SENTINEL: Final = 0.3
"""The part of a call's limit for one Sentinel, so that three can be asked, though two are gone without a word."""


class Way(Struct, frozen=True):
    """How to reach it, as configured. `sentinel`: the master's name."""

    sentinel: str | None = None
    cluster: bool = False
    ca_file: Path | None = None


class RedisClient:
    """A client, and who finds the master for it. Connects when it is first used.

    What changes: `_learning`, the task that asks a cluster for its nodes, by `ready`, and `_again`, the one that asks
    for them anew, by `doubt`; `_closed`.
    """

    def __init__(self, address: RedisAddress, way: Way, limit: float) -> None:
        """`limit`: seconds for one call, with connecting; its caller ends it then."""
        self._limit = limit
        self._cluster = way.cluster
        self._learning: asyncio.Task[Any] | None = None
        self._again: asyncio.Task[Any] | None = None
        self._closed = False
        self._finder: Any = None
        options = _options(address, limit, way)
        if way.cluster:
            nodes = [ClusterNode(host, port) for host, port in address.hosts]
            again = Retry(ConstantBackoff(0.05), 3)
            self.redis: Any = RedisCluster(startup_nodes=nodes, retry=again, **options)
        elif way.sentinel is not None:
            finder: Any = Sentinel  # its constructor has no types
            self._finder = finder(address.hosts, sentinel_kwargs=_of_sentinels(options, FOR_SENTINEL * limit))
            self.redis = self._finder.master_for(way.sentinel, db=address.database, **options, retry=_once())
        elif address.path:
            self.redis = Redis(unix_socket_path=address.path, db=address.database, **options, retry=_once())
        else:
            ((host, port),) = address.hosts
            self.redis = Redis(host=host, port=port, db=address.database, **options, retry=_once())

    async def ready(self) -> Any:
        """Return redis-py's client, which knows the nodes by then if it is a cluster's.

        A call that is cut off meanwhile does not end the asking, or the next one would begin from nothing.
        """
        if self._cluster:
            learning = self._learning
            if learning is None or learning.done():
                learning = self._learning = _aside(self.redis.initialize())  # which asks if it has to
            await asyncio.wait({learning})
            if not self._closed:
                learning.result()
        if self._closed:
            raise ConnectionAbortedError("it was left meanwhile")
        return self.redis

    def doubt(self) -> None:
        """Have a cluster's nodes learnt anew: a call was cut off, and who has the key may be gone without a word.

        Nobody waits for that: where all is but slow, the next call may do better with what is known.
        """
        known = self._learning is not None and self._learning.done() and not self.over
        if known and (self._again is None or self._again.done()):
            self._again = _aside(self.redis.nodes_manager.initialize())

    async def leave(self, fault: Exception) -> None:
        """Go on where the address leads by now; a cluster's, where its nodes say, and the calls under way go on.

        But what is known of a node holds what `ca_file` held then.
        """
        if self._cluster and distrusted(fault) is None:
            self.doubt()
        else:
            await self.close()

    @property
    def over(self) -> bool:
        """Whether another is to be made: it was closed, or no node that it knew has told of the others."""
        return self._closed or _failed(self._learning) or _failed(self._again)

    async def close(self) -> None:
        """Close what is open, within the limit. Raises nothing: what can't be closed is gone, which was wanted."""
        if self._closed:
            return
        self._closed = True
        closing: list[Awaitable[Any]] = [self.redis.aclose()]
        if self._cluster:  # whose aclose() leaves all open while it is to learn the nodes
            closing += [self.redis.nodes_manager.aclose(), self.redis.nodes_manager.aclose("startup_nodes")]
        for task in (self._learning, self._again):
            if task is not None:
                task.cancel()
                closing.append(task)
        if self._finder is not None:
            closing += [self.redis.connection_pool.disconnect(), self._finder.aclose()]
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limit):
                await asyncio.gather(*closing, return_exceptions=True)


def _aside(ask: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Ask in a task that outlives who waits for it, until `close`."""
    task = asyncio.create_task(ask, name="learn a cluster's nodes")
    task.add_done_callback(_failed)  # whoever waits is told; perhaps nobody does
    return task


def _failed(task: asyncio.Task[Any] | None) -> bool:
    return task is not None and task.done() and (task.cancelled() or task.exception() is not None)


def _once() -> Retry:
    return Retry(NoBackoff(), 0)


def _options(address: RedisAddress, limit: float, way: Way) -> dict[str, Any]:
    """Return what every connection is made with. Protocol 2: what is new in 3 is of no use to us.

    Raises StoreError where `ca_file` is no file.
    """
    options: dict[str, Any] = {
        "username": address.username,
        "password": address.password.reveal() if address.password else None,
        "socket_timeout": limit,
        "socket_connect_timeout": limit,
        "protocol": 2,
        "driver_info": None,  # else it sends a command that needs one more permission
    }
    if address.tls:
        if way.ca_file is not None and irregular(way.ca_file):  # redis-py opens it on the event loop
            raise StoreError(f"Redis can't be asked: ca_file {way.ca_file} is not a regular file. Name a PEM file.")
        options |= {"ssl": True, "ssl_ca_certs": way.ca_file and str(way.ca_file)}
        options |= {"ssl_min_version": ssl.TLSVersion.TLSv1_2}
        options |= {"ssl_include_verify_flags": [ASKED], "ssl_exclude_verify_flags": [NOT_ASKED]}
    return options


def _of_sentinels(options: dict[str, Any], limit: float) -> dict[str, Any]:
    """Return what connections to Sentinels are made with: they have the same password, or ask for none.

    The default user's name goes with it: without one, a Sentinel that asks for none calls that a fault.
    """
    own = options | {"socket_timeout": limit, "socket_connect_timeout": limit, "retry": _once()}
    return own | {"username": "default"} if own["password"] is not None else own
