"""The seam to what replicas share: who has taken which slot of a rate, kept where all of them see it.

A slot has an id of its own, so that to say twice what became of it changes nothing. It comes back by itself, by the
ledger's own clock, when nobody says a word of it any more: its process may be dead. Never here: who waits in this
process, and for whom (shared_bucket).
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple, Protocol

from msgspec import Struct

from proxy.budget.rates import Rate

FORGOTTEN: Final = 10
"""Seconds after which a replica that has not looked is none any more (shared.LOOK_EVERY)."""


class LedgerUnreachable(Exception):
    """It can't be asked; the message says why, for operators."""


class Ask(Struct, frozen=True):
    """What one process wants of a rate at this moment."""

    ids: tuple[str, ...]  # of the slots, one for each request that waits
    batch: bool
    born: str  # which ledger this process has told of its slots; "": none yet
    bounded: bool  # whether it has no more than its share: then it need not wait until others have told


class Seen(NamedTuple):
    """How a rate stands for all."""

    left: int  # slots
    limit: int  # slots there are now: fewer than the rate's, once a 429 has taught so
    paused: float  # seconds, after a 429
    opens: float  # seconds until there is one more, if none is taken or given back


class Reply(NamedTuple):
    """What was had of it: the first so many of the ids, and when to ask again for the others."""

    granted: int
    wait: float  # seconds
    seen: Seen
    born: str  # differs from what was asked with where all is lost that was told


class Look(NamedTuple):
    """How all rates stand."""

    replicas: int  # processes that have looked lately, with this one
    rates: Mapping[str, Seen]
    born: Mapping[str, str]  # as a Reply's; "" where nobody has asked yet


User = Callable[[], Awaitable[str]]
"""Names whose rates they are. It may raise SecretUnavailable."""


class Ledger(Protocol):
    """Each call may raise LedgerUnreachable, and has a limit of its own."""

    async def take(self, name: str, rate: Rate, ask: Ask) -> Reply:
        """Take what there is: nothing for batch requests while an interactive one waits in any process."""
        ...

    async def tell(self, name: str, rate: Rate, slots: Mapping[str, float | None]) -> None:
        """Say for how many seconds slots stay taken; None: they are given back."""
        ...

    async def throttled(self, name: str, rate: Rate | None, wait: float) -> None:
        """Note a 429: nobody takes a slot for so many seconds, and all learn from it as a Window does."""
        ...

    async def look(self, rates: Mapping[str, Rate | None]) -> Look:
        """Be counted as a replica, and tell how these rates stand."""
        ...

    def belong(self, user: User) -> None:
        """Be the account of whom this names, from the next call on; what an earlier one was told is not taken along."""
        ...

    async def close(self) -> None: ...
