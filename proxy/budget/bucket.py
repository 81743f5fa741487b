"""One rate with the line of those that wait for it: by priority, and first come first served within one."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from math import inf
from typing import Final

from proxy.budget.budget import BudgetSpent, Priority, Standing
from proxy.budget.rates import Rate
from proxy.budget.window import Window

TICK: Final = 0.001
"""Seconds. Timers may come this much early."""

Line = OrderedDict[asyncio.Future[bool], None]


class Bucket:
    """Hands a window's slots out, on one event loop.

    What changes: the window; `_lines`, who waits; `_timer`, set while somebody waits for a slot that will come back;
    `_ends_at`, when the waiting is over for good; the counts. All by the verbs below and `_serve`.
    """

    def __init__(self, name: str, window: Window, now: Callable[[], float]) -> None:
        self.name = name
        self.window = window
        self.waits = 0
        self.waited = 0.0
        self.refused = 0
        self.throttles = 0
        self._now = now
        self._lines: dict[Priority, Line] = {priority: OrderedDict() for priority in Priority}
        self._timer: asyncio.TimerHandle | None = None
        self._ends_at = inf

    def __repr__(self) -> str:
        return f"<Bucket {self.name} {self.window} {self.waiting} waiting>"

    @property
    def waiting(self) -> int:
        return sum(map(len, self._lines.values()))

    async def take(self, priority: Priority, wait: float) -> None:
        """Take a slot. Raises BudgetSpent, at once where `wait` seconds can't be enough."""
        now = self._now()
        if not self.waiting and self.window.free(now):
            self.window.take()
            return
        wait = min(wait, self._ends_at - now)
        if self._opens_in(priority) > wait or not await self._stand(self._lines[priority], wait):
            self.refused += 1
            raise BudgetSpent(self.window.rate, self._opens_in(priority))

    def answered(self) -> None:
        """Let a slot come back a window from now."""
        self.window.answered(self._now())
        if self.waiting:
            self._serve()

    def unused(self) -> None:
        """Give a slot back."""
        self.window.unused()
        if self.waiting:
            self._serve()

    def throttled(self, wait: float) -> None:
        """Note a 429."""
        self.throttles += 1
        self.window.throttled(self._now(), wait)

    def resize(self, rate: Rate | None) -> None:
        """Go on with another rate."""
        self.window.resize(rate)
        if self.waiting:
            self._serve()

    def end(self, seconds: float) -> None:
        """Let nobody wait longer than so many seconds from now."""
        self._ends_at = self._now() + seconds
        asyncio.get_running_loop().call_later(seconds, self._send_away)

    def standing(self) -> Standing:
        now, window = self._now(), self.window
        return Standing(
            name=self.name,
            rate=window.rate,
            left=window.left(now),
            opens_in=window.opens_in(now, window.left(now) or 0),
            paused_for=window.paused_for(now),
            limit=window.limit,
            waiting=self.waiting,
            waits=self.waits,
            waited=self.waited,
            refused=self.refused,
            throttled=self.throttles,
        )

    def _opens_in(self, priority: Priority) -> float:
        """Return in how many seconds a newcomer's turn may come, if nobody leaves the line."""
        ahead = sum(len(line) for rank, line in self._lines.items() if rank <= priority)
        return self.window.opens_in(self._now(), ahead)

    async def _stand(self, line: Line, wait: float) -> bool:
        """Stand in line; tell whether a slot was had. Whoever goes away leaves it."""
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        line[waiter] = None
        began = self._now()
        self.waits += 1
        self._serve()
        try:
            await asyncio.wait((waiter,), timeout=wait)
        except asyncio.CancelledError:
            if waiter.done() and waiter.result():
                self.unused()
            raise
        finally:
            line.pop(waiter, None)
            self.waited += self._now() - began
        return waiter.done() and waiter.result()

    def _serve(self) -> None:
        """Give what slots there are to those who wait, and come back when there will be more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._now()
        for line in self._lines.values():
            while line and self.window.free(now):
                waiter, _ = line.popitem(last=False)
                self.window.take()
                waiter.set_result(True)
        if self.waiting:
            opens_in = max(TICK, self.window.opens_in(now))
            self._timer = asyncio.get_running_loop().call_later(opens_in, self._serve)

    def _send_away(self) -> None:
        for line in self._lines.values():
            while line:
                waiter, _ = line.popitem(last=False)
                waiter.set_result(False)
