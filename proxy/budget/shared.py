"""A credential's budget that its replicas share through a ledger; each has its share while there is none.

What is lost with the ledger is nothing but evenness: for a window, each process has what it can know to be free,
then one of as many parts as there were replicas.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from fractions import Fraction
from math import inf
from typing import Final

from proxy.budget.bucket import Bucket
from proxy.budget.ledger import FORGOTTEN, Ledger, LedgerUnreachable, User
from proxy.budget.local import LocalBudget
from proxy.budget.rates import Rate
from proxy.budget.shared_bucket import SETTLED, SharedBucket, Way
from proxy.tasks import Tasks

LOOK_EVERY: Final = 2.0
"""Seconds between two looks at the ledger: how many replicas there are, and what is left."""

TRY_EVERY: Final = 1.0
"""Seconds between two while it can't be reached (ledgers wait longer than that for all to come back)."""

log = logging.getLogger(__name__)


class SharedBudget(LocalBudget):
    """The shared buckets of one credential.

    What changes: `_share`, by `reconfigure`; `_up`, whether the ledger is shared by, `_replicas`, how many there are as
    far as is known, `_fewer_since`, when it began to count fewer, and `_heard_since`, when it began to answer again, by
    `look` and `_lost`; `_watched`, once somebody looks; `_closed`.
    """

    def __init__(
        self,
        credential: str,
        rates: Mapping[str, Rate | None],
        now: Callable[[], float],
        *,
        ledger: Ledger,
        tasks: Tasks,
        jitter: Callable[[], float],
        process: str,
        answer: float,
    ) -> None:
        """`answer`: seconds within which a request is answered. `process` names this one among the replicas."""
        self._credential = credential
        self._ledger = ledger
        self._tasks = tasks
        self._jitter = jitter
        self._way = Way(ledger, tasks, jitter, process, self._lost, answer)
        self._share: Fraction | None = None
        self._replicas = 1
        self._fewer_since = inf
        self._up = True
        self._heard_since = inf
        self._watched = False
        self._closed = False
        self._shared: dict[str, SharedBucket] = {}
        super().__init__(rates, now)

    @property
    def share(self) -> Fraction:
        """What this process has while there is no ledger."""
        return self._share or Fraction(1, self._replicas)

    def reconfigure(self, rates: Mapping[str, Rate | None], share: Fraction | None) -> None:
        """Go on with other settings, and look at the ledger from now on. `share` None: one part for each replica."""
        self._share = share
        self.resize(rates)
        for bucket in self._shared.values():
            if not bucket.shared:
                bucket.keep_to(self.share)
        if not self._watched:
            self._watched = True
            self._tasks.start(self._watch(), f"rate budget of {self._credential}")

    def belong(self, user: User) -> None:
        """Share by what this names from now on: a reload may have changed what the user is known by."""
        self._ledger.belong(user)

    async def look(self) -> None:
        """Ask how all stands; where the ledger is back, go on with it."""
        buckets = {name: each for name, each in self._shared.items() if name in self._buckets}
        try:
            asked = {name: each.whole for name, each in buckets.items()}
            look = await self._ledger.look(asked)
            self._count(look.replicas)
            for name, seen in look.rates.items():
                if buckets[name].whole == asked[name]:  # else a reload has overtaken it
                    buckets[name].seen(seen, look.born[name])
            if not self._up:
                self._come_back()
        except LedgerUnreachable as fault:
            self._lost(fault)

    def _count(self, replicas: int) -> None:
        """Note how many there are; fewer only once nobody can be missing: the ledger may have lost all."""
        now = self._now()
        self._fewer_since = min(self._fewer_since, now) if replicas < self._replicas else inf
        if replicas > self._replicas or now - self._fewer_since >= FORGOTTEN:
            self._replicas, self._fewer_since = replicas, inf

    def _come_back(self) -> None:
        """Go on with the ledger; only once all others have had the time to do so, with more than the share."""
        for bucket in self._shared.values():
            bucket.come_back()
        self._heard_since = min(self._heard_since, self._now())
        if self._now() - self._heard_since >= SETTLED:
            self._up = True
            for bucket in self._shared.values():
                bucket.share_again()
            log.info("credential %s: the rate budget is shared again", self._credential)

    async def close(self) -> None:
        """Close the ledger, once it has heard the last word: what is asked or told has a limit for each call."""
        self._closed = True
        try:
            await asyncio.gather(*(bucket.close() for bucket in self._shared.values()))
        finally:
            await self._ledger.close()

    def _new(self, name: str, rate: Rate | None) -> Bucket:
        bucket = self._shared[name] = SharedBucket(name, rate, self._now, self._way)
        if not self._up:
            bucket.fall_back(self.share)
            if self._heard_since < inf:
                bucket.come_back()
        return bucket

    async def _watch(self) -> None:
        while not self._closed:
            try:
                await self.look()
            except Exception:  # the next look may do better
                log.exception("a fault of ours in the watch of the rate budget of %s", self._credential)
            every = LOOK_EVERY if self._up else TRY_EVERY
            if await self._tasks.pause(every * (0.75 + self._jitter() / 2)):
                return

    def _lost(self, fault: LedgerUnreachable) -> None:
        """Have every bucket go on by itself."""
        if self._up and not self._closed:
            log.warning(
                "credential %s: %s Each replica keeps to its share, here %s.", self._credential, fault, self.share
            )
        self._up, self._heard_since, self._fewer_since = False, inf, inf
        for bucket in self._shared.values():
            bucket.fall_back(self.share)
