"""This process's own budget for one credential: all of it, or the share that it was given."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

from proxy.budget.bucket import Bucket
from proxy.budget.budget import Priority, Standing
from proxy.budget.rates import ALL, Rate


class LocalSlot:
    """A slot of a bucket. `_bucket` is None once it was said what became of it."""

    __slots__ = ("_bucket",)

    def __init__(self, bucket: Bucket) -> None:
        self._bucket: Bucket | None = bucket

    def __repr__(self) -> str:
        return f"<LocalSlot of {self._bucket}>"

    def answered(self) -> None:
        if self._bucket is not None:
            bucket, self._bucket = self._bucket, None
            bucket.answered()

    def again(self) -> None:
        if self._bucket is not None:
            self._bucket.count()

    def unused(self) -> None:
        if self._bucket is not None:
            bucket, self._bucket = self._bucket, None
            bucket.unused()


class LocalBudget:
    """The buckets of one credential.

    `resize` puts others in their place where a reload says so; `_ending` is set when an end begins.
    """

    def __init__(self, rates: Mapping[str, Rate | None], now: Callable[[], float]) -> None:
        """`rates` has one for each name that requests are counted by, or ALL alone."""
        self._now = now
        self._buckets = {name: self._new(name, rate) for name, rate in rates.items()}
        self._ending = asyncio.Event()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {list(self._buckets.values())}>"

    async def take(self, rate: str, priority: Priority, wait: float) -> LocalSlot:
        bucket = self._bucket(rate)
        await bucket.take(priority, wait)
        return LocalSlot(bucket)

    def halt(self, rate: str, wait: float) -> None:
        self._bucket(rate).halt(wait)

    def throttled(self, rate: str, wait: float) -> None:
        self._bucket(rate).throttled(wait)

    def refused(self, rate: str) -> None:
        self._bucket(rate).refused += 1

    def standing(self, rate: str) -> Standing:
        return self._bucket(rate).standing()

    def standings(self) -> tuple[Standing, ...]:
        return tuple(bucket.standing() for bucket in self._buckets.values())

    async def pause(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ending.wait()
        return self._ending.is_set()

    def resize(self, rates: Mapping[str, Rate | None]) -> None:
        """Go on with other rates: what was sent under a name that is gone counts under all new ones, which pause as it.

        Whoever waits under one that is gone is let go.
        """
        known = self._buckets
        gone = [bucket for name, bucket in known.items() if name not in rates]
        sent = sorted(moment for bucket in gone for moment in bucket.sent())
        paused = max((bucket.standing().paused_for for bucket in gone), default=0.0)
        self._buckets = {name: known.get(name) or self._new(name, rate) for name, rate in rates.items()}
        for name, bucket in self._buckets.items():
            if name in known:
                bucket.resize(rates[name])
            else:
                bucket.count_in(sent, paused)
        for bucket in gone:
            bucket.resize(None)

    def free(self) -> None:
        """Count nothing any more, and let go whoever waits."""
        self.resize(dict.fromkeys(self._buckets))

    def end(self, seconds: float) -> None:
        """Let whoever waits be gone in so many seconds, for the process is about to end."""
        self._ending.set()
        for bucket in self._buckets.values():
            bucket.end(seconds)

    async def close(self) -> None:
        """Nothing is open."""

    def _new(self, name: str, rate: Rate | None) -> Bucket:
        return Bucket(name, rate, self._now)

    def _bucket(self, rate: str) -> Bucket:
        return self._buckets[rate if rate in self._buckets else ALL]
