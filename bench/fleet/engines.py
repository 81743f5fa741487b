"""The engines, as far as replicas see them: what they are asked, how long that takes, who can reach them.

Every request to one is counted: a command or a script of Redis, a request to a Kubernetes API server. What they
answer is exact; what they take does not grow with their load.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from math import log
from random import Random
from typing import Final, TypeVar

from bench.fleet.calls import Calls
from bench.fleet.fate import HAS_LEASE, WROTE, Fate
from proxy.credential.engine import Kept
from proxy.credential.store import StoreUnreachable

T = TypeVar("T")

LIMIT: Final = 2.0
"""Seconds after which a call is given up that is not answered."""

SPREAD: Final = 0.4
"""Of the logarithm of a latency."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things take, in seconds, in the middle."""

    read: float
    write: float
    told: float  # until a change is heard of


class Watcher:
    """One replica's watch. `heard` grows by `Ground.change`; `after` orders what is told, as a connection does."""

    def __init__(self, who: str) -> None:
        self.who = who
        self.heard: asyncio.Queue[Kept | None] = asyncio.Queue()  # None: the watch is broken
        self.after = 0.0


@dataclass
class Ground:
    """What all replicas share: the engine itself.

    What changes: the record and the lease, by the engines; `down`, `tells` and `cut_off` by the story.
    """

    pace: Pace
    random: Random
    loop: asyncio.AbstractEventLoop
    calls: Calls
    content: bytes = b""
    version: int = 1
    holder: str | None = None
    lease_version: int = 1
    until: float = 0.0  # of the lease, by the engine's clock
    lasts: float = 0.0  # how long it was taken for
    down: bool = False
    tells: bool = True
    cut_off: set[str] = field(default_factory=set)
    changed: Callable[[bytes], object] = len  # who looks on
    watchers: list[Watcher] = field(default_factory=list)
    conflicts: int = 0

    def draw(self, middle: float) -> float:
        return self.random.lognormvariate(log(middle), SPREAD)

    @property
    def kept(self) -> Kept:
        return Kept(self.content, str(self.version))

    def change(self, content: bytes) -> None:
        self.content, self.version = content, self.version + 1
        self.changed(content)
        for watcher in self.watchers if self.tells else ():
            watcher.after = max(watcher.after, self.loop.time() + self.draw(self.pace.told))
            self.loop.call_at(watcher.after, self._tell, watcher, self.kept)

    def forget(self, *, tell: bool) -> None:
        """Lose the record and the lease."""
        self.lose_lease()
        if tell:
            self.change(b"")
        else:
            self.content, self.version = b"", self.version + 1

    def lose_lease(self) -> None:
        self.holder, self.lease_version = None, self.lease_version + 1

    def fail(self) -> None:
        """Be gone: every watch breaks."""
        self.down = True
        for watcher in self.watchers:
            watcher.heard.put_nowait(None)

    def rejoin(self) -> None:
        """End the partition: connections on which something was missed are reset."""
        for watcher in self.watchers:
            if watcher.who in self.cut_off:
                watcher.heard.put_nowait(None)
        self.cut_off.clear()

    def _tell(self, watcher: Watcher, kept: Kept) -> None:
        if watcher.who not in self.cut_off:
            watcher.heard.put_nowait(kept)


class RedisLike:
    """One replica's way to a Redis: each call is one command or one script, and who is told reads."""

    poll = 15.0
    removal = "delete it"
    pace = Pace(read=0.001, write=0.001, told=0.001)
    name = "the simulated Redis"
    carries = False  # whether what is told has the record with it
    opening: tuple[str, ...] = ("subscribe",)
    keeping = "ping"  # what a watch costs on which nothing is told …
    silence = 10.0, 10.0  # … for so many seconds: least and most

    def __init__(self, ground: Ground, fate: Fate) -> None:
        self._ground = ground
        self._fate = fate

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._fate.who}>"

    async def read(self) -> Kept:
        return await self._call("read", self._ground.pace.read, lambda: self._ground.kept)

    async def write(self, content: bytes, version: str) -> Kept | None:
        def compare_and_set() -> Kept | None:
            if version != str(self._ground.version):
                self._ground.conflicts += 1
                return None
            self._ground.change(content)
            return self._ground.kept

        kept = await self._call("write", self._ground.pace.write, compare_and_set)
        await self._fate.comes_to(WROTE)
        return kept

    async def take(self, holder: str, seconds: float) -> bool:
        def set_if_free() -> bool:
            ground, now = self._ground, self._ground.loop.time()
            if ground.holder not in {None, holder} and now < ground.until:
                return False
            ground.holder, ground.until = holder, now + seconds
            return True

        return await self._lease(await self._call("take", self._ground.pace.write, set_if_free))

    async def give_back(self, holder: str) -> None:
        def delete_if_ours() -> None:
            if self._ground.holder == holder:
                self._ground.holder = None

        await self._call("give back", self._ground.pace.write, delete_if_ours)

    async def holder(self) -> str | None:
        ground = self._ground
        return await self._call(
            "holder", ground.pace.read, lambda: ground.holder if ground.loop.time() < ground.until else None
        )

    async def watch(self) -> AsyncGenerator[Kept | None, None]:
        watcher = Watcher(self._fate.who)
        for call in self.opening:
            await self._call(call, self._ground.pace.read, lambda: None)
        self._ground.watchers.append(watcher)
        try:
            yield self._told(self._ground.kept)
            while (kept := await self._heard(watcher)) is not None:
                await self._fate.comes_to("hear")
                yield self._told(kept)
            raise StoreUnreachable(f"{self.name} has broken the connection.")
        finally:
            self._ground.watchers.remove(watcher)

    async def close(self) -> None:
        """Nothing is open."""

    async def _heard(self, watcher: Watcher) -> Kept | None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._ground.random.uniform(*self.silence)):
                    return await watcher.heard.get()
            await self._call(self.keeping, self._ground.pace.read, lambda: None)

    def _told(self, kept: Kept) -> Kept | None:
        return kept if self.carries else None

    async def _lease(self, taken: bool) -> bool:  # noqa: FBT001 - what a call has answered
        if taken:
            await self._fate.comes_to(HAS_LEASE)
        return taken

    async def _call(self, kind: str, middle: float, act: Callable[[], T]) -> T:
        """Have `act` done at the engine, half of the way; raise StoreUnreachable where it or the answer is lost."""
        await self._fate.comes_to(kind)
        half = self._ground.draw(middle) / 2
        await self._cross(half)
        self._ground.calls.add(kind)
        answer = act()
        await self._cross(half)
        return answer

    async def _cross(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if self._fate.who in self._ground.cut_off:
            await asyncio.sleep(LIMIT)
            raise StoreUnreachable(f"{self.name} does not answer.")
        if self._ground.down:
            raise StoreUnreachable(f"{self.name} refuses connections.")


class KubernetesLike(RedisLike):
    """One replica's way to an API server: a Secret, and a Lease that is read and written by its version.

    A lease has ended when it was seen unchanged for as long as it lasts, whatever clocks say. What changes: `_seen`,
    the lease's version as it was last seen, and when it was seen first; `take` alone changes it.
    """

    poll = 300.0
    removal = "empty it"
    pace = Pace(read=0.005, write=0.015, told=0.02)
    name = "the simulated Kubernetes API"
    carries = True
    opening = ("list", "watch")
    keeping = "watch"
    silence = 300.0, 600.0

    def __init__(self, ground: Ground, fate: Fate) -> None:
        super().__init__(ground, fate)
        self._seen = (0, 0.0)

    async def take(self, holder: str, seconds: float) -> bool:
        ground = self._ground
        version, of, lasts = await self._call("get lease", ground.pace.read, self._lease_as_it_is)
        if version != self._seen[0]:
            self._seen = version, ground.loop.time()
        if of not in {None, holder} and ground.loop.time() < self._seen[1] + lasts:
            return False

        def put() -> bool:
            if version != ground.lease_version:
                ground.conflicts += 1
                return False
            ground.holder, ground.until, ground.lasts = holder, ground.loop.time() + seconds, seconds
            ground.lease_version += 1
            return True

        return await self._lease(await self._call("put lease", ground.pace.write, put))

    async def give_back(self, holder: str) -> None:
        ground = self._ground

        def put() -> None:
            if version == ground.lease_version:
                ground.holder, ground.lease_version = None, ground.lease_version + 1

        version, of, _ = await self._call("get lease", ground.pace.read, self._lease_as_it_is)
        if of == holder:
            await self._call("put lease", ground.pace.write, put)

    def _lease_as_it_is(self) -> tuple[int, str | None, float]:
        return self._ground.lease_version, self._ground.holder, self._ground.lasts


Profile = type[RedisLike]
