"""Where a grant's ledger is kept. The grant is the only thing that can't be made anew without a person.

So no store throws one away, none overwrites what it can't read, and every change is made to what the
store has at that moment, in one step that no other process can come between.
"""

from collections.abc import Callable
from typing import Protocol

from proxy.credential.ledger import Ledger


class StoreError(Exception):
    """The store can't be read or written; says which and what to do, without a secret."""


class Lease(Protocol):
    """The right to redeem, held across processes. It avoids waste; what keeps the grant is `Store.update`."""

    def release(self) -> None:
        """Give it back, soon and without waiting."""
        ...


class Store(Protocol):
    """Keeps one ledger."""

    async def load(self) -> Ledger:
        """Return what is kept; an empty ledger if nothing ever was. Raises StoreError, or SecretUnavailable."""
        ...

    async def update(self, change: Callable[[Ledger], Ledger | None], *, room: bool = False) -> Ledger | None:
        """Apply `change` to what is kept, so that it outlives a crash from here on; return what is kept then.

        `change` returns None to leave all as it is, and so does this. With `room`, the next update will
        find room. Raises StoreError, or SecretUnavailable.
        """
        ...

    async def lease(self) -> Lease | None:
        """Take the right to redeem, without waiting; None while another process has it. Raises as `load` does."""
        ...


class Unshared:
    """The lease where no other process can be asked."""

    def release(self) -> None:
        """Nobody waits for it."""


class MemoryStore:
    """Keeps the ledger as long as the process lives. `_ledger` is set by `update` alone."""

    def __init__(self) -> None:
        self._ledger = Ledger()

    def __repr__(self) -> str:
        return f"<MemoryStore generation {self._ledger.generation}>"

    async def load(self) -> Ledger:
        return self._ledger

    async def update(self, change: Callable[[Ledger], Ledger | None], *, room: bool = False) -> Ledger | None:
        del room  # there always is
        wanted = change(self._ledger)
        self._ledger = wanted or self._ledger
        return wanted

    async def lease(self) -> Lease:
        return Unshared()
