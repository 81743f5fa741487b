"""The client that a configured URL leads to now, whoever asks it, and what may go wrong on the way.

Never here: what is asked.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from proxy.credential.redis_address import BadAddress, parse
from proxy.credential.redis_client import RedisClient, Way
from proxy.credential.redis_faults import to_be_left, translated
from proxy.credential.store import StoreError, StoreUnreachable
from proxy.secrets import Secret, SecretUnavailable

T = TypeVar("T")


class RedisLink:
    """One client at a time. `_client`, `_opened`, its URL, and `name` change by `client`; `_ended`, by `end`."""

    def __init__(self, url: Callable[[], Awaitable[Secret]], way: Way) -> None:
        """`url` may raise SecretUnavailable; it is read anew for every call."""
        self._url = url
        self._way = way
        self._client: RedisClient | None = None
        self._opened: Secret | None = None
        self._ended = False
        self.name = "Redis"

    def __repr__(self) -> str:
        return f"<RedisLink {self.name}>"

    async def client(self, limit: float) -> RedisClient:
        """Return the client; make another, of so many seconds a call, if that is over or the URL is another by now."""
        url = await self._url()
        if self._ended:
            raise StoreUnreachable(f"{self.name} is no longer asked: this way to it was closed.")
        before = self._client
        if before is not None and not before.over and url == self._opened:
            return before
        address = parse(url, sentinel=self._way.sentinel is not None, cluster=self._way.cluster)
        client = self._client = RedisClient(address, self._way, limit)
        self._opened, self.name = url, f"Redis at {address}"
        if before is not None:
            await before.close()
        return client

    async def ask(self, call: Callable[[Any], Awaitable[T]], limit: float) -> T:
        """Make one call with redis-py's client; leave that where it would be answered the same for ever."""
        client = await self.client(limit)
        try:
            return await call(await client.ready())
        except Exception as fault:  # raised on, whatever it is: the next call must not meet it again
            if to_be_left(fault):
                await client.leave(fault)
            raise

    @contextmanager
    def faults(self, limit: float) -> Iterator[None]:
        """Make of everything that goes wrong within `limit` seconds one of the two things that it can mean."""
        try:
            yield
        except StoreError:
            raise
        except TimeoutError:
            if self._client is not None:
                self._client.doubt()
            raise StoreUnreachable(f"{self.name} does not answer within {limit:g} s.") from None
        except SecretUnavailable as fault:
            raise StoreUnreachable(f"{self.name} can't be reached: {fault}.") from fault
        except BadAddress as fault:
            raise StoreError(f"The URL of Redis can't be used: {fault}.") from None
        except Exception as fault:  # redis-py raises more than it says; none of it may be more than a store's
            raise translated(fault, self.name, self._way.ca_file) from fault

    def end(self) -> None:
        """Make no other client."""
        self._ended = True

    async def close(self) -> None:
        """Close the connections, for good."""
        self.end()
        if self._client is not None:
            await self._client.close()
