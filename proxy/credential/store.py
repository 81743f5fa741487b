"""Where a grant is kept, and what is kept: the pair, its generation, and law 3's cool-down.

The grant is the only thing that can't be made anew without a person, so nothing here ever
throws one away, and no store overwrites what it can't read.
"""

from dataclasses import dataclass, field
from typing import Protocol

from proxy.credential.refusals import Refusals
from proxy.secrets import Secret


class StoreError(Exception):
    """The store can't be read or written; says which and what to do, without a secret."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A refresh token with the access token it brought. Times are wall-clock seconds since 1970."""

    generation: int
    refresh_token: Secret
    access_token: Secret | None = None
    obtained_at: float = 0.0
    expires_at: float = 0.0
    seeds: tuple[str, ...] = ()  # fingerprints of every configured refresh token that has begun a lineage
    refusals: Refusals = field(default_factory=Refusals)


class Store(Protocol):
    """Keeps one grant."""

    async def load(self) -> Grant | None:
        """Return what is kept; None if nothing ever was. Raises StoreError, or SecretUnavailable for its place."""
        ...

    async def save(self, grant: Grant) -> None:
        """Keep `grant` so that it outlives a crash from here on. Raises StoreError."""
        ...

    async def prove_writable(self) -> None:
        """Find out before a redeem that a save would succeed (law 4). Raises StoreError."""
        ...


class MemoryStore:
    """Keeps the grant as long as the process lives. `_grant` is set by `save` alone."""

    def __init__(self) -> None:
        self._grant: Grant | None = None

    def __repr__(self) -> str:
        return f"<MemoryStore generation {self._grant.generation if self._grant else None}>"

    async def load(self) -> Grant | None:
        return self._grant

    async def save(self, grant: Grant) -> None:
        self._grant = grant

    async def prove_writable(self) -> None:
        """Memory always is."""
