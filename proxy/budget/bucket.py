"""One rate with the line of those that wait for it: by priority, and first come first served within one."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from math import inf
from typing import Final

from proxy.budget.budget import BudgetSpent, Priority, Standing
from proxy.budget.pace import Pace
from proxy.budget.rates import Rate
from proxy.budget.window import Window

TICK: Final = 0.001
"""Seconds. Timers may come this much early."""

Line = OrderedDict[asyncio.Future[bool], float]
"""Who waits, and until when."""


class Bucket:
    """Hands a window's slots out, on one event loop.

    What changes: the window and the pace; `_lines`, who waits; `_timer`, set while somebody waits; `_ends_at`, when
    the waiting is over for good; the counts. All by the verbs below and `_serve`.
    """

    def __init__(self, name: str, rate: Rate | None, now: Callable[[], float]) -> None:
        self.name = name
        self.waits = 0
        self.waited = 0.0
        self.refused = 0
        self.throttles = 0
        self._window = Window(rate)
        self._pace = Pace()
        self._now = now
        self._lines: dict[Priority, Line] = {priority: OrderedDict() for priority in Priority}
        self._timer: asyncio.TimerHandle | None = None
        self._ends_at = inf

    def __repr__(self) -> str:
        return f"<Bucket {self.name} {self._window} {self.waiting} waiting {self._pace}>"

    @property
    def waiting(self) -> int:
        return sum(map(len, self._lines.values()))

    async def take(self, priority: Priority, wait: float) -> None:
        """Take a slot. Raises BudgetSpent, at once where `wait` seconds can't be enough."""
        now = self._now()
        if not self._ahead(priority) and self._opens_in(priority, now) == 0.0:
            self._take(now)
            return
        until = now + wait
        wait = min(wait, self._ends_at - now)
        if self._opens_in(priority, now) <= wait and await self._stand(priority, wait):
            return
        raise self._refusal(self._window.rate, self._opens_in(priority, self._now()), until)

    def _refusal(self, rate: Rate | None, opens_in: float, until: float) -> BudgetSpent:
        """Make the refusal of who would have waited `until` then; the end is its cause if a slot opens by then."""
        return BudgetSpent(rate, opens_in, ending=self._ends_at < until and self._now() + opens_in <= until)

    def answered(self) -> None:
        """Let a slot come back a window from now."""
        self._window.answered(self._now())
        self._serve()

    def count(self) -> None:
        """Count what was sent without a slot, though there be none."""
        self._take(self._now())
        self.answered()

    def unused(self) -> None:
        """Give a slot back."""
        self._window.unused()
        limit, rate = self._window.limit, self._window.rate
        if limit is not None and rate is not None:
            self._pace.came_back(rate.seconds, limit)
        self._serve()

    def halt(self, wait: float) -> None:
        """Note that a 429 begins to come."""
        self._window.halt(self._now(), wait)

    def throttled(self, wait: float) -> None:
        """Note a 429."""
        self.throttles += 1
        self._window.throttled(self._now(), wait)
        self._serve()  # the halt may be over

    def resize(self, rate: Rate | None) -> None:
        """Go on with another rate."""
        self._window.resize(rate)
        if rate is not None:
            self._pace.resize(self._now(), rate.seconds)
        self._serve()

    def sent(self) -> list[float]:
        """Return when what still counts was answered, with now for what is in flight."""
        return self._window.sent(self._now())

    def count_in(self, sent: Sequence[float], paused: float) -> None:
        """Count what was sent from others, too, and pause for so many seconds. `sent` is in order. For a new bucket."""
        self._window.count_in(sent)
        self._window.pause(self._now(), paused)

    def end(self, seconds: float) -> None:
        """Let nobody wait longer than so many seconds from now."""
        self._ends_at = self._now() + seconds
        asyncio.get_running_loop().call_later(seconds, self._send_away)

    def standing(self) -> Standing:
        now, window = self._now(), self._window
        left = window.left(now)
        return Standing(
            name=self.name,
            rate=window.rate,
            left=left,
            opens_in=window.opens_in(now, left or 0),
            paused_for=window.paused_for(now),
            limit=window.limit,
            waiting=self.waiting,
            waits=self.waits,
            waited=self.waited,
            refused=self.refused,
            throttled=self.throttles,
        )

    def _take(self, now: float) -> None:
        self._window.take()
        limit, rate = self._window.limit, self._window.rate
        if limit is not None and rate is not None:
            self._pace.went(now, rate.seconds, limit)

    def _ahead(self, priority: Priority) -> int:
        """Count those that wait and are served before a newcomer."""
        return sum(len(line) for rank, line in self._lines.items() if rank <= priority)

    def _opens_in(self, priority: Priority, now: float) -> float:
        """Return in how many seconds a newcomer's turn may come, if nobody leaves the line."""
        return self._due_in(priority, now, self._ahead(priority))

    def _due_in(self, priority: Priority, now: float, ahead: int = 0) -> float:
        """Return in how many seconds one of that priority may leave, with so many before it."""
        opens_in, limit, rate = self._window.opens_in(now, ahead), self._window.limit, self._window.rate
        if priority is not Priority.BATCH or limit is None or rate is None:
            return opens_in
        return max(opens_in, self._pace.opens_in(now, rate.seconds) + ahead * rate.seconds / limit)

    async def _stand(self, priority: Priority, wait: float, at_least: float = 0.0) -> bool:
        """Stand in line; tell whether a slot was had. Whoever goes away leaves it.

        `at_least`: seconds for which it is stood, though there be nothing to `wait` for.
        """
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        began = self._now()
        self._lines[priority][waiter] = began + wait
        self._serve()
        try:
            await asyncio.wait((waiter,), timeout=max(wait, at_least))
        except asyncio.CancelledError:
            if waiter.done() and waiter.result():
                self.unused()
            raise
        finally:
            self._lines[priority].pop(waiter, None)
            if self._has_waited(waiter):
                self.waits += 1
                self.waited += self._now() - began
        return waiter.done() and waiter.result()

    def _has_waited(self, waiter: asyncio.Future[bool]) -> bool:  # noqa: ARG002 - all of them, here
        """Tell whether standing in line was waiting, for who has left it."""
        return True

    def _serve(self) -> None:
        """Give what slots there are to those who wait, and come back when there may be more."""
        if not self.waiting:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._now()
        opens_in = inf
        for priority, line in self._lines.items():
            while line and self._due_in(priority, now) == 0.0:
                waiter, _ = line.popitem(last=False)
                self._take(now)
                waiter.set_result(True)
            if line:
                opens_in = min(opens_in, self._due_in(priority, now))
        if opens_in < inf:
            self._timer = asyncio.get_running_loop().call_later(max(TICK, opens_in), self._serve)

    def _send_away(self) -> None:
        for line in self._lines.values():
            while line:
                waiter, _ = line.popitem(last=False)
                waiter.set_result(False)
