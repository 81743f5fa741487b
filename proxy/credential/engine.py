"""What replicas can share: one small record and one lease, wherever those are kept.

An engine knows nothing of grants: SharedStore does. It keeps bytes under a version, and writes only over
the version that was read; that, and not the lease, is what keeps a grant.
"""

from collections.abc import AsyncGenerator
from typing import Protocol

from msgspec import Struct


class Kept(Struct, frozen=True):
    """A record as it was read. `version` is the engine's own word for it, and means nothing else."""

    content: bytes  # empty if there never was one
    version: str

    def __repr__(self) -> str:
        return f"<Kept {len(self.content)} bytes, version {self.version}>"


class Engine(Protocol):
    """Keeps one record and one lease. All of its methods raise StoreUnreachable, where waiting helps, or StoreError."""

    @property
    def name(self) -> str:
        """Say what it is and where, for people; no secret."""
        ...

    @property
    def removal(self) -> str:
        """Tell a person, in the imperative, how to remove a record that can't be read."""
        ...

    @property
    def poll(self) -> float:
        """Seconds after which a record is read again though nothing was told: the floor below the watch."""
        ...

    async def read(self) -> Kept:
        """Return what is kept now."""
        ...

    async def write(self, content: bytes, version: str) -> Kept | None:
        """Write over `version`, durably as far as the engine can; None if another version is there by now.

        What is there already need not be written again.
        """
        ...

    async def take(self, holder: str, seconds: float) -> bool:
        """Take the lease for `holder`, or find that it has it; it ends after `seconds`, whatever becomes of us.

        So does one that another has, from when it was first found so, however long it was taken for.
        """
        ...

    async def give_back(self, holder: str) -> None:
        """End the lease, if it is still `holder`'s."""
        ...

    async def holder(self) -> str | None:
        """Name who has the lease now."""
        ...

    def watch(self) -> AsyncGenerator[Kept | None, None]:
        """Yield once when the watch is open, and then whenever the record may have changed, with it if it came along.

        Ends, or raises, when the watch breaks; it is opened again then.
        """
        ...

    async def close(self) -> None:
        """Close the connections, for good: what is asked for later raises StoreUnreachable."""
        ...
