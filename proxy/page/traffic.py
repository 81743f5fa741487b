"""Requests by slots of time: how many, how they ended, how long they took. Pure.

How long is kept as counts in buckets, as a histogram does: a slot costs the same whatever its number of requests, and
slots can be added up.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final, Literal

from msgspec import Struct, field

SECONDS: Final = 10
"""What a slot spans."""

SLOTS: Final = 90
"""A quarter hour of them."""

LATELY: Final = 60 // SECONDS
"""Slots, the last still filling: what is told of the last minute."""

BOUNDS: Final = tuple(0.001 * 2 ** (step / 4) for step in range(69))
"""Seconds, from 1 ms to 131 s, past `upstream.response_timeout`: each a fifth more than the one before."""

EDGES: Final = tuple(pairwise((0.0, *BOUNDS, BOUNDS[-1])))
"""Between what seconds a bucket's requests took. Those of the last took longer, nobody knows by how much."""

End = Literal[0, 1, 2]
ANSWERED: Final[End] = 0
REFUSED: Final[End] = 1  # 4xx, whoever said so
FAILED: Final[End] = 2  # 5xx, whoever said so, or broken off


class Slot(Struct):
    """The requests that were over in one span of time. `add` alone changes it."""

    number: int  # of spans since the clock's start
    ends: list[int] = field(default_factory=lambda: [0, 0, 0])  # how many for each End
    took: list[int] = field(default_factory=lambda: [0] * len(EDGES))  # how many for each bucket

    def add(self, end: End, seconds: float) -> None:
        self.ends[end] += 1
        self.took[bisect_left(BOUNDS, seconds)] += 1

    @property
    def count(self) -> int:
        return sum(self.ends)

    def within(self, part: float) -> float:
        """Tell within how many seconds this part of the requests was over; a tenth off at most. 0 where none was.

        As histogram_quantile does: as if a bucket's requests lay evenly in it.
        """
        rank, below = part * self.count, 0
        for number, (low, high) in zip(self.took, EDGES, strict=True):
            if number and below + number >= rank:
                return low + (high - low) * (rank - below) / number
            below += number
        return 0.0


Slots = Sequence[Slot | None]
"""Consecutive, the oldest first; None: no request was over in it."""


def total(slots: Iterable[Slot | None]) -> Slot:
    """Add them up."""
    filled = [slot for slot in slots if slot is not None]
    return Slot(
        0,
        [sum(each) for each in zip(*(slot.ends for slot in filled), strict=True)] or [0, 0, 0],
        [sum(each) for each in zip(*(slot.took for slot in filled), strict=True)] or [0] * len(EDGES),
    )
