"""How a replica dies: at a step of its refresh, as by SIGKILL. From then on nothing leaves it, and nothing arrives."""

import asyncio
from dataclasses import dataclass, field
from typing import Final, NamedTuple

HAS_LEASE: Final = "has the lease"
WROTE: Final = "wrote"
SENT: Final = "sent"
REDEEMED: Final = "redeemed"


class Step(NamedTuple):
    """The `time`-th time that somebody comes to a step."""

    what: str
    time: int = 1


@dataclass
class Doom:
    """Strikes whoever is the first to come to `at`. What changes, in `strikes`: `struck`, and who has come how far."""

    at: Step | None = None
    struck: asyncio.Event = field(default_factory=asyncio.Event)
    passed: dict[tuple[str, str], int] = field(default_factory=dict)

    def strikes(self, who: str, what: str) -> bool:
        if self.at is None or self.struck.is_set() or what != self.at.what:
            return False
        self.passed[who, what] = self.passed.get((who, what), 0) + 1
        if self.passed[who, what] == self.at.time:
            self.struck.set()
        return self.struck.is_set()


class Fate:
    """One replica's. `dead` is set by `comes_to` alone."""

    def __init__(self, who: str, doom: Doom) -> None:
        self.who = who
        self.dead = False
        self._doom = doom

    def __repr__(self) -> str:
        return f"<Fate {self.who} {'dead' if self.dead else 'alive'}>"

    async def comes_to(self, what: str) -> None:
        """Go on from here, or never."""
        self.dead = self.dead or self._doom.strikes(self.who, what)
        if self.dead:
            await asyncio.get_running_loop().create_future()
