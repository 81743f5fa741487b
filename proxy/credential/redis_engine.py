"""What replicas share, in a Redis or a Valkey.

    PREFIX:{OWNER}:grant     the record; what it holds is its version, for what was read is what was judged
    PREFIX:{OWNER}:lease     who has the lease, until it expires
    PREFIX:{OWNER}:changed   the channel on which a new record is announced, without it

The braces keep all three in one slot of a cluster. Every change is one small script, so nothing comes between its
reading and its writing. EVAL and not EVALSHA: after a failover no script is known, and 200 bytes now and then are
cheaper than a second way for each call.

A name may lead elsewhere while connections to where it led stay open, and whoever answers there takes no writes. So
such an answer ends all connections, and the next call asks the name again. Reads and pings may go well there for ever:
whoever has heard nothing for a while deletes a key that never exists, which a master alone does.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from proxy.credential.engine import Kept
from proxy.credential.redis_client import LIMIT, Way
from proxy.credential.redis_faults import RAISED
from proxy.credential.redis_link import RedisLink
from proxy.credential.store import StoreError
from proxy.secrets import Secret

QUIET: Final = 10.0
"""Seconds without a word on the channel after which a ping is sent, and a key that never exists is deleted: a
connection may be dead, or lead to who is no master any more, and not know."""

WRITE: Final = """
local kept = redis.call('GET', KEYS[1]) or ''
if redis.sha1hex(kept) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('PUBLISH', ARGV[3], '')
return 1
"""

TAKE: Final = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  local left = redis.pcall('PTTL', KEYS[1])
  if type(left) == 'number' and (left < 0 or left > tonumber(ARGV[2])) then
    redis.call('SET', KEYS[1], holder, 'PX', ARGV[2])
  end
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
"""Another's lease is cut down to what ours would be: after a failover to a server whose clock is behind it would last
that much longer, and one whose end a person has taken away, for ever. A user who may not PTTL but waits."""

GIVE_BACK: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
"""


class RedisEngine:
    """Keeps the record and the lease under keys of one owner. `_base`, what the keys begin with, is set by `_key`."""

    poll = 15.0
    removal = "delete it"

    def __init__(
        self,
        url: Callable[[], Awaitable[Secret]],
        owner: Callable[[], Awaitable[str]],
        *,
        prefix: str,
        way: Way,
    ) -> None:
        """`url` and `owner` may raise SecretUnavailable; the URL is read anew for every call."""
        self._link = RedisLink(url, way)
        self._owner = owner
        self._prefix = prefix
        self._base = ""
        self._turn = asyncio.Lock()  # calls take turns on one connection

    def __repr__(self) -> str:
        return f"<RedisEngine {self.name} prefix {self._prefix}>"

    @property
    def name(self) -> str:
        return self._link.name

    async def read(self) -> Kept:
        return _kept(await self._call(self._get, "grant") or b"")

    async def write(self, content: bytes, version: str) -> Kept | None:
        written = await self._run(WRITE, "grant", version, content, await self._key("changed"))
        return _kept(content) if written else None

    async def take(self, holder: str, seconds: float) -> bool:
        return bool(await self._run(TAKE, "lease", holder, max(1, round(seconds * 1000))))

    async def give_back(self, holder: str) -> None:
        await self._run(GIVE_BACK, "lease", holder)

    async def holder(self) -> str | None:
        holder = await self._call(self._get, "lease")
        return None if holder is None else holder.decode("utf-8", "replace")

    async def watch(self) -> AsyncGenerator[Kept | None, None]:
        with self._link.faults(LIMIT):
            channel = await self._key("changed")
            async with asyncio.timeout(LIMIT), self._turn:
                client = await self._link.client(LIMIT)
                pubsub = await _subscribed(await client.ready(), channel)
        try:
            yield None
            while not client.over:  # else the news is told elsewhere
                with self._link.faults(LIMIT):
                    changed = await _told(pubsub)
                if changed:
                    yield None
                else:
                    with suppress(StoreError):  # which is for whoever has to write; if it ends the client, that is seen
                        await self._call(self._write_nothing, "nothing")
        finally:
            with suppress(*RAISED):
                await pubsub.aclose()

    async def close(self) -> None:
        """Close the connections, after the call that is being made: for good."""
        self._link.end()
        async with self._turn:
            await self._link.close()

    async def _run(self, script: str, key: str, *args: str | int | bytes) -> int:
        async def run(redis: Any, key: str) -> int:
            return int(await redis.eval(script, 1, key, *args))

        done: int = await self._call(run, key)
        return done

    @staticmethod
    async def _get(redis: Any, key: str) -> bytes | None:
        content: bytes | None = await redis.get(key)
        return content

    @staticmethod
    async def _write_nothing(redis: Any, key: str) -> None:
        """Delete what never exists. No script: before Redis 7.0 those are not refused for want of replicas."""
        await redis.delete(key)

    async def _call(self, call: Callable[[Any, str], Awaitable[Any]], key: str) -> Any:
        """Make one call, within its limit. Raises StoreError."""
        with self._link.faults(LIMIT):
            name = await self._key(key)
            async with asyncio.timeout(LIMIT), self._turn:
                return await self._link.ask(lambda redis: call(redis, name), LIMIT)

    async def _key(self, what: str) -> str:
        self._base = self._base or f"{self._prefix}:{{{await self._owner()}}}"
        return f"{self._base}:{what}"


async def _subscribed(redis: Any, channel: str) -> Any:
    """Open the channel on a connection of its own."""
    pubsub = redis.pubsub()
    try:
        await pubsub.subscribe(channel)
        await _answer(pubsub)  # a refusal is raised
    except BaseException:  # one that is cut off by its limit, too: the connection is nobody's then
        await pubsub.aclose()
        raise
    return pubsub


async def _told(pubsub: Any) -> bool:
    """Wait for a word on the channel; tell whether it is news. Raises TimeoutError if nothing lives there."""
    message = await pubsub.get_message(timeout=QUIET)
    if message is None:
        await pubsub.ping()
        message = await _answer(pubsub)
    return bool(message["type"] == "message")


async def _answer(pubsub: Any) -> Any:
    """Wait for what must come now. Raises TimeoutError."""
    message = await pubsub.get_message(timeout=LIMIT)
    if message is None:
        raise TimeoutError
    return message


def _kept(content: bytes) -> Kept:
    return Kept(content, hashlib.sha1(content, usedforsecurity=False).hexdigest())
