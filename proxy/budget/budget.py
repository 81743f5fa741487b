"""The seam: what the request's way asks of a budget, wherever that is kept.

A budget belongs to one credential. One call is one request to the upstream: whoever takes a slot must say what
became of it, exactly once.
"""

from enum import IntEnum
from typing import NamedTuple, Protocol

from proxy.budget.rates import Rate


class Priority(IntEnum):
    """Who is served first of those that wait."""

    AGAIN = 0  # it was sent before: a replay, or what PandaDoc has refused for its rate
    INTERACTIVE = 1
    BATCH = 2


class BudgetSpent(Exception):
    """No slot can be had in time; `opens_in` seconds from now one may. `ending`: the time was cut down by an end."""

    def __init__(self, rate: Rate | None, opens_in: float, *, ending: bool = False) -> None:
        super().__init__(f"nothing is left of {rate}")
        self.rate = rate
        self.opens_in = opens_in
        self.ending = ending


class Standing(NamedTuple):
    """One rate at this moment."""

    name: str
    rate: Rate | None
    left: int | None  # slots; None: they are not counted
    opens_in: float  # seconds until there are more
    paused_for: float  # seconds, after a 429
    limit: int | None  # slots there are now: fewer than the rate's, once a 429 has taught so
    waiting: int
    waits: int  # requests that have waited, ever
    waited: float  # seconds, of all of them
    refused: int  # requests whose callers were told that nothing is left in time, ever
    throttled: int  # 429s from the upstream, ever
    shared: bool | None = None  # whether it is the one of all replicas now; None: it never is


class Slot(Protocol):
    """The right to send one request. Whichever is said of it first counts."""

    def answered(self) -> None:
        """Say that it was sent."""
        ...

    def again(self) -> None:
        """Say that it is sent once more, for its connection broke: that takes no right of its own, and counts."""
        ...

    def unused(self) -> None:
        """Say that it was not, or that the upstream has refused to count it."""
        ...


class Budget(Protocol):
    """What there is to spend."""

    async def take(self, rate: str, priority: Priority, wait: float) -> Slot:
        """Take a slot; wait in line for it up to `wait` seconds. Raises BudgetSpent."""
        ...

    def halt(self, rate: str, wait: float) -> None:
        """Note that a 429 begins to come: nothing of this rate is sent for `wait` seconds, or until it is all heard."""
        ...

    def throttled(self, rate: str, wait: float) -> None:
        """Note a 429: nothing of this rate is sent for `wait` seconds, and the budget learns."""
        ...

    def refused(self, rate: str) -> None:
        """Note that somebody was told of a BudgetSpent."""
        ...

    def standing(self, rate: str) -> Standing:
        """Tell how one rate stands; one that is not told apart stands for all."""
        ...

    def standings(self) -> tuple[Standing, ...]:
        """Tell how all of them stand."""
        ...

    async def pause(self, seconds: float) -> bool:
        """Sleep, but not beyond the beginning of an end; tell whether one has begun."""
        ...
