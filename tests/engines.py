"""An engine in this process's memory, for fleets in one process: exact, and broken where a test says so."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

from proxy.credential.engine import Kept
from proxy.credential.store import StoreError, StoreUnreachable


@dataclass
class Record:
    """What replicas share. A test changes `reachable`, and `content` as an administrator does."""

    content: bytes = b""
    version: int = 0
    holder: str | None = None
    until: float = 0.0
    stuck: bool = False  # whether a lease stays as long as it is
    reachable: bool = True
    forbidden: bool = False  # whether a person must act before it is reachable
    fault: Exception | None = None  # what a watch ends with
    tells: bool = True  # whether changes are told to who watches
    queued: asyncio.Event | None = None  # until when reads are on their way
    slow: asyncio.Event | None = None  # until when answers to reads are
    watchers: list[asyncio.Queue[None]] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)

    def changed(self) -> None:
        for queue in self.watchers:
            queue.put_nowait(None)

    def flush(self) -> None:
        """Forget everything, as an engine without persistence does."""
        self.content, self.holder = b"", None
        self.version += 1
        self.changed()


class MemoryEngine:
    """One replica's way to the record."""

    poll = 15.0
    removal = "delete it"

    def __init__(self, record: Record, now: Callable[[], float] = time.monotonic) -> None:
        self._record = record
        self._now = now
        self.name = "the test's memory"
        self.cut_off = False  # whether this replica alone can't reach it
        self.unheard = False  # whether it does what it is asked to, and its answers are lost

    def __repr__(self) -> str:
        return f"<MemoryEngine version {self._record.version}>"

    async def read(self) -> Kept:
        await self._called("read")
        if self._record.queued is not None:
            await self._record.queued.wait()
        kept = Kept(self._record.content, str(self._record.version))
        if self._record.slow is not None:
            await self._record.slow.wait()
        return kept

    async def write(self, content: bytes, version: str) -> Kept | None:
        await self._called("write")
        if version != str(self._record.version):
            return None
        self._record.content = content
        self._record.version += 1
        self._record.changed()
        return Kept(content, str(self._record.version))

    async def take(self, holder: str, seconds: float) -> bool:
        await self._called("take")
        record = self._record
        if record.holder not in {None, holder} and self._now() < record.until:
            record.until = record.until if record.stuck else min(record.until, self._now() + seconds)
            return False
        record.holder, record.until = holder, self._now() + seconds
        if self.unheard:
            raise StoreUnreachable(f"{self.name} does not answer.")
        return True

    async def give_back(self, holder: str) -> None:
        await self._called("give_back")
        if self._record.holder == holder:
            self._record.holder = None

    async def holder(self) -> str | None:
        await self._called("holder")
        return self._record.holder if self._now() < self._record.until else None

    async def watch(self) -> AsyncGenerator[Kept | None, None]:
        await self._called("watch")
        queue: asyncio.Queue[None] = asyncio.Queue()
        self._record.watchers.append(queue)
        try:
            yield None
            while True:
                await queue.get()
                if self._record.fault is not None:
                    raise self._record.fault
                if not self._record.reachable:
                    raise StoreUnreachable(f"{self.name} has gone.")
                if self._record.tells:
                    yield None
        finally:
            self._record.watchers.remove(queue)

    async def close(self) -> None:
        """Nothing is open."""

    async def _called(self, what: str) -> None:
        self._record.calls[what] += 1
        await asyncio.sleep(0)
        if self._record.forbidden:
            raise StoreError(f"{self.name} forbids it.")
        if self.cut_off or not self._record.reachable:
            raise StoreUnreachable(f"{self.name} does not answer.")
