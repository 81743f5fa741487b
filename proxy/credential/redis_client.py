"""The ways to a Redis: by itself, by Sentinel, as a cluster; each with redis-py's own client.

Nothing is tried twice here: whoever calls knows better when. But a cluster's client may, for it learns where the
key has gone by asking in vain.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import ConstantBackoff, NoBackoff

from proxy.credential.redis_address import RedisAddress

LIMIT: Final = 2.0
"""Seconds for one call, with connecting and whatever it has to wait for."""

FOR_SENTINEL: Final = 0.3
"""The part of a call's limit for one Sentinel, so that three can be asked, though two are gone without a word."""


@dataclass(frozen=True, slots=True)
class Way:
    """How to reach it, as configured. `sentinel`: the master's name."""

    sentinel: str | None = None
    cluster: bool = False
    ca_file: Path | None = None


class RedisClient:
    """A client, and who finds the master for it. Connects when it is first used."""

    def __init__(self, address: RedisAddress, way: Way, limit: float) -> None:
        """`limit`: seconds for one call, with connecting; its caller ends it then."""
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

    async def close(self) -> None:
        await self.redis.aclose()
        if self._finder is not None:
            await self.redis.connection_pool.disconnect()
            await self._finder.aclose()


def _once() -> Retry:
    return Retry(NoBackoff(), 0)


def _options(address: RedisAddress, limit: float, way: Way) -> dict[str, Any]:
    """Return what every connection is made with. Protocol 2: what is new in 3 is of no use to us."""
    options: dict[str, Any] = {
        "username": address.username,
        "password": address.password.reveal() if address.password else None,
        "socket_timeout": limit,
        "socket_connect_timeout": limit,
        "protocol": 2,
        "driver_info": None,  # else it sends a command that needs one more permission
    }
    if address.tls:
        options |= {"ssl": True, "ssl_ca_certs": way.ca_file and str(way.ca_file)}
        options["ssl_min_version"] = ssl.TLSVersion.TLSv1_2
    return options


def _of_sentinels(options: dict[str, Any], limit: float) -> dict[str, Any]:
    """Return what connections to Sentinels are made with: they have the same password, or ask for none.

    The default user's name goes with it: without one, a Sentinel that asks for none calls that a fault.
    """
    own = options | {"socket_timeout": limit, "socket_connect_timeout": limit, "retry": _once()}
    return own | {"username": "default"} if own["password"] is not None else own
