"""What the operator decides about refreshing, and what that makes of a grant. Pure."""

from dataclasses import dataclass

from proxy.credential.credential import Credential, stale_at
from proxy.credential.ledger import Grant


@dataclass(frozen=True, slots=True)
class Policy:
    """Times are seconds."""

    refresh_before: float | None = None  # None: auto
    max_age: float | None = None  # None: none
    retry_unknown: bool = True  # whether a refresh token that may be spent is tried again by itself
    goes_on: bool = True  # whether the process outlives this refresh: else law 4's memory path is closed

    def lend(self, grant: Grant) -> Credential | None:
        """Return what `grant` is lent as, expired or not; None without an access token."""
        if grant.access_token is None:
            return None
        return Credential(
            f"Bearer {grant.access_token.reveal()}",
            generation=grant.generation,
            stale_at=stale_at(grant.obtained_at, grant.expires_at, self.refresh_before, self.max_age),
            expires_at=grant.expires_at,
        )
