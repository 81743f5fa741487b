"""What the operator decides about refreshing, and what that makes of a grant. Pure."""

from math import inf
from typing import Final

from msgspec import Struct

from proxy.credential.credential import Credential, fresh_from, stale_at
from proxy.credential.ledger import Grant

LATEST: Final = 60.0
"""Seconds over which the replicas of a fleet spread: the first to find a token stale refreshes it for all."""


class Policy(Struct, frozen=True):
    """Times are seconds."""

    refresh_before: float | None = None  # None: auto
    max_age: float | None = None  # None: none
    retry_unknown: bool = True  # whether a refresh token that may be spent is tried again by itself
    goes_on: bool = True  # whether the process outlives this refresh: else law 4's memory path is closed
    alone: bool = True  # whether it may refresh without a store that it can't reach: else the others would lose theirs
    one_clock: bool = False  # whether all that refresh go by one: else they would for ever, behind one that is ahead
    late: float = 0.0  # 0 to 1: which part of LATEST it waits once a token is stale, for a replica that goes first

    def lend(self, grant: Grant) -> Credential | None:
        """Return what `grant` is lent as, expired or not; None without an access token."""
        if grant.access_token is None:
            return None
        stale = stale_at(grant.obtained_at, grant.expires_at, self.refresh_before, self.max_age)
        return Credential(
            f"Bearer {grant.access_token.reveal()}",
            generation=grant.generation,
            stale_at=stale + self.late * min(LATEST, (grant.expires_at - stale) / 4),
            expires_at=grant.expires_at,
            fresh_from=fresh_from(grant.obtained_at, stale, grant.expires_at) if self.one_clock else -inf,
        )
