"""Places for requests in flight: how many there are, and how many are taken."""

import asyncio

from proxy.errors import Overloaded


class Places:
    """What a listener or a client may have in flight at once, through every reload.

    `taken` is changed by entering and leaving alone, `limit` by `resize`.
    """

    def __init__(self, limit: int | None, whose: str) -> None:
        """`limit` None: as many as come. `whose` names the limit for people."""
        self.limit = limit
        self.taken = 0
        self._whose = whose

    def __repr__(self) -> str:
        return f"<Places {self.taken} of {self.limit or 'any number'}>"

    def resize(self, limit: int | None) -> None:
        """Have so many from now on; who is in stays."""
        self.limit = limit

    def __enter__(self) -> None:
        """Take a place. Raises Overloaded."""
        if self.limit is not None and self.taken >= self.limit:
            raise Overloaded(f"More than {self.limit} requests are in flight ({self._whose}).")
        self.taken += 1

    def __exit__(self, *_: object) -> None:
        self.taken -= 1


class InFlight:
    """Requests that have begun and not ended, of all listeners. `count` is changed by entering and leaving."""

    def __init__(self) -> None:
        self.count = 0
        self._none: asyncio.Event | None = None  # once somebody waits for it

    def __repr__(self) -> str:
        return f"<InFlight {self.count}>"

    def enter(self) -> None:
        self.count += 1

    def leave(self) -> None:
        self.count -= 1
        if self.count == 0 and self._none is not None:
            self._none.set()

    async def none(self) -> None:
        """Wait until nothing is in flight."""
        self._none = self._none or asyncio.Event()
        while self.count:
            self._none.clear()
            await self._none.wait()
