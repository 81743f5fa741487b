"""Where a grant's ledger is kept. The grant is the only thing that can't be made anew without a person.

So no store throws one away, none overwrites what it can't read, and every change is made to what the
store has at that moment, in one step that no other process can come between.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from proxy.credential.ledger import Ledger
from proxy.utf8 import encodable

POLL: Final = 0.1
"""Seconds between two looks at a lease that another process has, and at what it has stored, where nobody tells."""


class StoreError(Exception):
    """The store can't be read or written; says which and what to do, without a secret."""

    def __init__(self, text: str = "") -> None:
        super().__init__(encodable(text))


class StoreUnreachable(StoreError):
    """What keeps the store does not answer, and may by itself: waiting helps."""


Release = Callable[[], object]
"""Give back the right to redeem, soon and without waiting."""


class Store(Protocol):
    """Keeps one ledger."""

    @property
    def remote(self) -> bool:
        """Whether it is reached over a network, by replicas that see nothing else of each other."""
        ...

    @property
    def where(self) -> str:
        """Say where that is, for people; no secret. Empty until it was first needed: it may follow from whose it is."""
        ...

    @property
    def whose(self) -> str:
        """Whose grant it keeps, as it was when that was first needed, for where it is kept follows from it.

        Empty until then, and where nobody asks.
        """
        ...

    async def load(self) -> Ledger:
        """Return what is kept; an empty ledger if nothing ever was. Raises StoreError, or SecretUnavailable."""
        ...

    async def peek(self, *, anew: bool = False) -> Ledger:
        """Return what is kept, or was when it was last told or read: enough to look behind the traffic.

        What could not be read a moment ago is not tried again, unless `anew`. Raises as `load` does.
        """
        ...

    async def update(self, change: Callable[[Ledger], Ledger | None], *, room: bool = False) -> Ledger | None:
        """Apply `change` to what is kept, so that it outlives a crash from here on; return what is kept then.

        `change` returns None to leave all as it is, and so does this. With `room`, the next update will
        find room. Raises StoreError, or SecretUnavailable.
        """
        ...

    async def lease(self, seconds: float) -> Release | None:
        """Take the right to redeem, without waiting; None while another process has it. Raises as `load` does.

        It ends after `seconds`, or with its holder's process, whichever the store can tell. It avoids waste; what
        keeps the grant is `update`.
        """
        ...

    async def holder(self) -> str | None:
        """Name who has the lease, where that is written down. Raises StoreError."""
        ...

    @property
    def heard(self) -> int:
        """How often this process was told of a change: to be taken before a look that `news` goes on from."""
        ...

    async def news(self, since: int, turns: int = 0) -> None:
        """Return when what is kept may have changed: when that was told since `heard` was so, or after a moment.

        `turns` were in vain before; where it would be told, the moment is longer for that.
        """
        ...

    def watch(self, look: Callable[[], Awaitable[None]]) -> None:
        """Have `look` called whenever what is kept has changed, where the store is told; only the first call counts."""
        ...

    async def close(self) -> None:
        """Let go of what is open. It is not used again."""
        ...


class Quiet:
    """What a store does that nobody tells of changes, and that has nothing open."""

    remote = False
    heard = 0
    whose = ""

    async def holder(self) -> str | None:
        return None

    async def news(self, since: int, turns: int = 0) -> None:
        del since, turns  # nobody tells
        await asyncio.sleep(POLL)

    def watch(self, look: Callable[[], Awaitable[None]]) -> None:
        """Nobody tells: whoever wants to know looks every few seconds."""

    async def close(self) -> None:
        """Nothing is open."""


def unshared() -> None:
    """Give back a lease for which no other process can be asked: nobody waits for it."""


class MemoryStore(Quiet):
    """Keeps the ledger as long as the process lives. `_ledger` is set by `update` alone."""

    where = "memory"

    def __init__(self) -> None:
        self._ledger = Ledger()

    def __repr__(self) -> str:
        return f"<MemoryStore generation {self._ledger.generation}>"

    async def load(self) -> Ledger:
        return self._ledger

    async def peek(self, *, anew: bool = False) -> Ledger:
        del anew
        return await self.load()

    async def update(self, change: Callable[[Ledger], Ledger | None], *, room: bool = False) -> Ledger | None:
        del room  # there always is
        wanted = change(self._ledger)
        self._ledger = wanted or self._ledger
        return wanted

    async def lease(self, seconds: float) -> Release:
        del seconds  # there is nobody else
        return unshared
