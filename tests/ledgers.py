"""A ledger in this process's memory: what the script in Redis does, for replicas in one process."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from proxy.budget.ledger import FORGOTTEN, Ask, LedgerUnreachable, Look, Reply, Seen, User
from proxy.budget.pace import Pace
from proxy.budget.rates import Rate
from proxy.budget.window import ALONE, GROWTH, REPEATED

QUIET: Final = 1.0
"""Seconds without a slot after all was lost."""

GENERATIONS: Final = count(1)


@dataclass
class Kept:
    """One rate, for all."""

    born: str = ""
    slots: dict[str, float] = field(default_factory=dict)  # until when each is taken
    line: dict[str, float] = field(default_factory=dict)  # until when each process is believed to wait
    pace: Pace = field(default_factory=Pace)
    spread: tuple[float, int] = (0.0, 1)  # the window and its slots, when one was last taken
    quiet: float = 0.0
    paused: float = 0.0
    learned: int | None = None
    floor: int = 1
    grows: float = 0.0

    def limit(self, rate: Rate, now: float) -> int:
        while self.learned is not None and now >= self.grows:
            grown = int(self.learned * GROWTH) + 1
            self.learned, self.grows = (grown, self.grows + rate.seconds) if grown < rate.most else (None, 0.0)
        return rate.most if self.learned is None else min(self.learned, rate.most)

    def taken(self, now: float) -> int:
        self.slots = {slot: until for slot, until in self.slots.items() if until > now}
        return len(self.slots)

    def seen(self, rate: Rate | None, now: float) -> Seen:
        limit, taken = 0 if rate is None else self.limit(rate, now), self.taken(now)
        opens = 0.0 if rate is None else rate.seconds
        if taken and limit:
            opens = min(opens, sorted(self.slots.values())[max(0, taken - limit)] - now)
        return Seen(max(0, limit - taken), limit, max(0.0, self.paused - now), opens)


@dataclass
class Account:
    """What replicas share. A test changes `reachable`, `broken`, `answers` and who is `away`, and calls `lose`."""

    rates: dict[str, Kept] = field(default_factory=dict)
    replicas: dict[str, float] = field(default_factory=dict)
    reachable: bool = True
    broken: bool = False  # calls raise what no ledger may
    away: set[str] = field(default_factory=set)  # processes that alone can't reach it
    answers: asyncio.Event = field(default_factory=asyncio.Event)  # whether who has asked for a slot is answered yet
    calls: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.answers.set()

    def lose(self) -> None:
        self.rates.clear()
        self.replicas.clear()

    def of(self, name: str) -> Kept:
        return self.rates.setdefault(name, Kept())


class MemoryLedger:
    """One replica's way to the account."""

    def __init__(self, account: Account, process: str, answer: float) -> None:
        self._account = account
        self._process = process
        self._answer = answer
        self._closed = False

    async def take(self, name: str, rate: Rate, ask: Ask) -> Reply:
        kept, now = self._called("take").of(name), time.monotonic()
        if not kept.born:
            kept.born, kept.quiet = str(next(GENERATIONS)), now + QUIET if ask.born else 0.0
        kept.line = {process: until for process, until in kept.line.items() if until > now}
        limit, taken, granted = kept.limit(rate, now), kept.taken(now), 0
        shut = max(0.0 if ask.bounded else kept.quiet, kept.paused) - now
        for slot in ask.ids if shut <= 0 and not (ask.batch and kept.line) else ():
            if taken + granted >= limit or (ask.batch and kept.pace.opens_in(now, rate.seconds)):
                break
            kept.slots[slot] = now + rate.seconds + self._answer
            kept.spread = (rate.seconds, limit)
            kept.pace.went(now, *kept.spread)
            granted += 1
        wait, seen = 0.0, kept.seen(rate, now)
        if granted < len(ask.ids):
            wait = max(0.001, shut, 0.0 if seen.left else seen.opens)
            if ask.batch:
                wait = max(wait, kept.pace.opens_in(now, rate.seconds), 0.02 if kept.line else 0.0)
            else:
                kept.line[self._process] = now + 1.5
        elif not ask.batch:
            kept.line.pop(self._process, None)
        await self._account.answers.wait()
        return Reply(granted, wait, seen, kept.born)

    async def tell(self, name: str, rate: Rate, slots: Mapping[str, float | None]) -> None:  # noqa: ARG002 - it keeps no time but that of each slot
        kept, now = self._called("tell").of(name), time.monotonic()
        for slot, left in slots.items():
            if left is None:
                if kept.slots.pop(slot, None):
                    kept.pace.came_back(*kept.spread)
            else:
                kept.slots[slot] = now + left

    async def throttled(self, name: str, rate: Rate | None, wait: float) -> None:
        kept, now = self._called("throttled").of(name), time.monotonic()
        paused, kept.paused = kept.paused, max(kept.paused, now + wait)
        if rate is not None:
            limit, taken = kept.limit(rate, now), kept.taken(now)
            if kept.slots:
                first = min(kept.slots, key=lambda slot: kept.slots[slot])
                kept.slots[first] = min(kept.slots[first], now + wait)
            if now >= paused:
                kept.floor = max(1, limit // (REPEATED if now < paused + rate.seconds else ALONE))
            kept.learned, kept.grows = min(limit, max(kept.floor, taken)), now + max(wait, rate.seconds)

    async def look(self, rates: Mapping[str, Rate | None]) -> Look:
        account, now = self._called("look"), time.monotonic()
        account.replicas[self._process] = now + FORGOTTEN
        seen: dict[str, Seen] = {}
        for name, rate in rates.items():
            seen[name] = account.of(name).seen(rate, now)
        replicas = sum(until > now for until in account.replicas.values())
        look = Look(replicas, seen, {name: account.of(name).born for name in rates})
        await asyncio.sleep(0)  # as over a wire, others run meanwhile
        return look

    def belong(self, user: User) -> None:
        """Be whose it is: there is one account."""

    async def close(self) -> None:
        self._closed = True

    def _called(self, what: str) -> Account:
        self._account.calls[what] += 1
        if self._account.broken:
            raise AttributeError("a fault in a library")
        if self._closed or not self._account.reachable or self._process in self._account.away:
            raise LedgerUnreachable("The test's memory does not answer.")
        return self._account
