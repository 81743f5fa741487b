"""What is lent: an `Authorization` value with its generation and its times. Pure.

Times are wall-clock seconds since 1970, for they are stored and outlive the process.
"""

from enum import Enum
from math import inf
from typing import Final

from msgspec import Struct

STALE_LEAD_FLOOR: Final = 300.0
"""Seconds before expiry at which even a short-lived token is refreshed, half its life permitting."""

STALE_LEAD_CAP: Final = 7 * 86400.0
"""Seconds: a token of a year is refreshed a week ahead, so that a week of faults goes unnoticed."""

YEAR: Final = 365 * 86400.0 - 1
"""Seconds: what PandaDoc's access tokens live."""


class Freshness(Enum):
    """How a credential may be used now."""

    FRESH = "fresh"  # lend it
    STALE = "stale"  # lend it, and refresh behind the traffic
    EXPIRED = "expired"  # never lend it (law 5)


class Credential(Struct, frozen=True):
    """One generation of a credential; a refresh makes the next one."""

    authorization: str
    generation: int
    stale_at: float = inf
    expires_at: float = inf
    fresh_from: float = -inf  # before it, the clock was too far ahead at its birth

    def __repr__(self) -> str:
        return f"<Credential generation={self.generation} stale_at={self.stale_at} expires_at={self.expires_at}>"

    def freshness(self, now: float) -> Freshness:
        """Tell how it may be used at `now`."""
        if now >= self.expires_at:
            return Freshness.EXPIRED
        return Freshness.FRESH if self.fresh_from <= now < self.stale_at else Freshness.STALE


def stale_lead(lifetime: float, refresh_before: float | None) -> float:
    """Seconds before expiry at which a token of `lifetime` seconds becomes stale.

    `refresh_before` is the operator's figure; None: the smaller of half the lifetime and the
    larger of five minutes and a tenth of it, a week at most. Never more than half the lifetime,
    or a short-lived token would be refreshed for ever.
    """
    if refresh_before is None:
        refresh_before = min(max(STALE_LEAD_FLOOR, lifetime / 10), STALE_LEAD_CAP)
    return min(refresh_before, lifetime / 2)


def stale_at(obtained_at: float, expires_at: float, refresh_before: float | None, max_age: float | None) -> float:
    """Tell when a token becomes stale: ahead of its expiry, and no later than `max_age` seconds after it came."""
    ahead = expires_at - stale_lead(expires_at - obtained_at, refresh_before)
    return ahead if max_age is None else min(ahead, obtained_at + max_age)


def alarm(left: float, lifetime: float) -> int:
    """Tell how loud a refresh that is due and fails must be: 0 not yet, 1 a month before the end, 2 a week, 3 a day.

    `left` and `lifetime` are seconds. A token of less than a year has its part of those times.
    """
    part = min(1.0, lifetime / YEAR)
    return sum(left <= days * 86400 * part for days in (30, 7, 1))


def fresh_from(obtained_at: float, stale_at: float, expires_at: float) -> float:
    """Tell since when a token is fresh. Earlier, it comes from the future: the clock was ahead, and was put right.

    By less than it is refreshed ahead, and than it is to stay fresh, that does no harm; by more, it dies unnoticed.
    """
    return obtained_at - min(stale_at - obtained_at, expires_at - stale_at)
