"""How much of a rate is left. Pure: the moment is passed in, in monotonic seconds.

A slot is taken before a request leaves and comes back `rate.seconds` after its answer. The upstream counts the
request somewhere between, so whatever it still counts has its slot here: in steady state it never says 429, and what
is lost is the time that answers take (three seconds of sixty are 5 %). A window that was counted from the sending
would meet a 429 whenever one request is slow on its way and the next is fast.

A 429 all the same means that somebody else spends from the same rate, or that it is smaller than it was said to be.
Then the window pauses, and has only as many slots as the upstream has just shown to grant. But a window in which
little was asked shows little: half of the slots stay after a 429 that comes alone, so that whoever goes on as before
has enough, and an eighth after one that comes within a window of the last pause. In each window without another 429
there may be half as many more, until there are all of them again.
"""

from collections import deque
from collections.abc import Iterable
from math import inf
from typing import Final

from proxy.budget.rates import Rate

GROWTH: Final = 1.5
"""What was learned from a 429 is doubted this fast: ten slots become two thousand in fourteen windows."""

ALONE: Final = 2
"""What part of the slots, one in so many, a 429 leaves at least: it may be the fault of somebody else's burst."""

REPEATED: Final = 8
"""The same for one that comes soon after a pause: 600 slots become 10 with three, which is how often one is sent
again."""


class Window:
    """The slots of one rate; without a rate there are as many as are wanted.

    What changes: `_in_flight`, slots whose requests are not answered; `_spent`, when each of the others comes back, in
    order; `_paused_until`, and `_halted_until` while a 429 is not all heard; `_learned`, the number of slots that a 429
    has taught, `_floor`, the fewest that those of one pause may teach, and `_grows_at`, when it grows. All by the verbs
    below.
    """

    def __init__(self, rate: Rate | None) -> None:
        self.rate = rate
        self._in_flight = 0
        self._spent: deque[float] = deque()
        self._paused_until = -inf
        self._halted_until = -inf
        self._learned: int | None = None
        self._floor = 1
        self._grows_at = inf

    def __repr__(self) -> str:
        return f"<Window {self.rate} in_flight={self._in_flight} spent={len(self._spent)} learned={self._learned}>"

    @property
    def limit(self) -> int | None:
        """How many slots there are now."""
        most = None if self.rate is None else self.rate.most
        return most if self._learned is None else self._learned

    def left(self, now: float) -> int | None:
        """Return how many slots are free; None where they are not counted."""
        self._expire(now)
        if self.paused_for(now):
            return 0
        limit = self.limit
        return None if limit is None else max(0, limit - self._in_flight - len(self._spent))

    def take(self) -> None:
        """Take a slot, for a request that is about to leave."""
        self._in_flight += 1

    def answered(self, now: float) -> None:
        """Let a slot come back a window from now: its request was answered, or may have been counted."""
        self._in_flight -= 1
        if self.rate is not None:
            self._spent.append(now + self.rate.seconds)

    def unused(self) -> None:
        """Give a slot back at once: its request was not sent, or refused for its rate, which counts for nothing."""
        self._in_flight -= 1

    def halt(self, now: float, wait: float) -> None:
        """Have nothing for so long, or until a 429 that has begun to come is told whole: then as long as that says."""
        self._halted_until = max(self._halted_until, now + wait)

    def throttled(self, now: float, wait: float) -> None:
        """Pause for as long as a 429 has said, and learn from it how much there is."""
        if self.rate is not None:
            self._expire(now)
            if self._spent:  # by then the upstream grants one more
                self._spent[0] = min(self._spent[0], now + wait)
            self._learn(now, self.rate.most if self._learned is None else self._learned, self.rate.seconds)
            self._grows_at = now + max(wait, self.rate.seconds)
        self._halted_until = -inf
        self.pause(now, wait)

    def pause(self, now: float, wait: float) -> None:
        """Have nothing for so long: others have met a 429. No pause of nothing has just ended."""
        if wait:
            self._paused_until = max(self._paused_until, now + wait)

    def hold_back(self, now: float, left: int) -> None:
        """Let all but so many slots come back a window from now: others may have spent what is not known of."""
        self._expire(now)
        if self.rate is not None:
            held = (self.limit or 0) - self._in_flight - len(self._spent) - left
            self._spent.extend([now + self.rate.seconds] * max(0, held))

    def believe(self, now: float, limit: int) -> None:
        """Have no more slots than a 429 has taught others; it is doubted as what was learned here."""
        if self.rate is not None:
            learned = limit < self.rate.most
            self._learned, self._grows_at = (limit, now + self.rate.seconds) if learned else (None, inf)

    def opens_in(self, now: float, ahead: int = 0) -> float:
        """Return in how many seconds a slot can be had at the earliest, with so many waiting before.

        A slot in flight comes back a window from now, were it answered this moment; and so does each that those
        ahead take, from the moment in which they do.
        """
        self._expire(now)
        paused, limit = self.paused_for(now), self.limit
        if limit is None or self.rate is None:
            return paused
        taken, seconds = self._in_flight + len(self._spent), self.rate.seconds
        place = ahead - (limit - taken)  # among the slots that come back
        turns = 0 if place < taken else 1 + (place - taken) // limit
        place -= turns * limit
        if place < 0:
            return max(paused, turns * seconds)
        opens = self._spent[place] - now if place < len(self._spent) else seconds
        return max(paused, opens + turns * seconds)

    def paused_for(self, now: float) -> float:
        """Return how many seconds of a pause are left."""
        return max(0.0, self._paused_until - now, self._halted_until - now)

    def resize(self, rate: Rate | None) -> None:
        """Go on with another rate; what was sent counts under it, too."""
        if rate == self.rate:
            return
        shift = 0.0 if rate is None or self.rate is None else rate.seconds - self.rate.seconds
        self._spent = deque(each + shift for each in self._spent) if rate is not None else deque()
        self.rate, self._learned, self._grows_at = rate, None, inf

    def sent(self, now: float) -> list[float]:
        """Return when what still counts was answered, with now for what is in flight."""
        self._expire(now)
        seconds = 0.0 if self.rate is None else self.rate.seconds
        return [each - seconds for each in self._spent] + [now] * self._in_flight

    def count_in(self, sent: Iterable[float]) -> None:
        """Count what was sent under other rates, too; it is in order. For a window that is new."""
        if self.rate is not None:
            self._spent.extend(each + self.rate.seconds for each in sent)

    def _learn(self, now: float, limit: int, seconds: float) -> None:
        """Have as many slots as were granted lately, within reason; what was under way together is one 429."""
        if now >= self._paused_until:
            self._floor = max(1, limit // (REPEATED if now < self._paused_until + seconds else ALONE))
        self._learned = min(limit, max(self._floor, self._in_flight + len(self._spent)))

    def _expire(self, now: float) -> None:
        spent = self._spent
        while spent and spent[0] <= now:
            spent.popleft()
        while now >= self._grows_at and self.rate is not None and self._learned is not None:
            grown = int(self._learned * GROWTH) + 1
            more = grown < self.rate.most
            self._learned = grown if more else None
            self._grows_at = self._grows_at + self.rate.seconds if more else inf
