"""Authorization codes: good once, for ten minutes, and only for the redirect URI they were sent to.

RFC 6749 sections 4.1.2 and 4.1.3. No HTTP here, and no clock but the one passed in.
"""

from collections.abc import Callable

from msgspec import Struct

LIFETIME_S = 600.0  # the most that RFC 6749 section 4.1.2 recommends; PandaDoc's is not documented


class _Terms(Struct, frozen=True):
    """What one code is good for."""

    redirect_uri: str | None  # None: any
    expires_at: float

    def allow(self, redirect_uri: str | None, now: float) -> bool:
        # PandaDoc documents no redirect_uri in a token request: one that is absent, or empty, is no other one.
        return now < self.expires_at and (not redirect_uri or self.redirect_uri in {None, redirect_uri})


class Codes:
    """The codes that were issued and not yet spent.

    The mutable state is the dict of terms by code; only the methods below change it.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._terms: dict[str, _Terms] = {}

    def add(self, code: str, redirect_uri: str | None = None) -> None:
        self._terms[code] = _Terms(redirect_uri, self._clock() + LIFETIME_S)

    def spend(self, code: str, redirect_uri: str | None) -> bool:
        """Use a code up, if it is good; one that is refused stays as it was, like a refused refresh token."""
        terms = self._terms.get(code)
        if terms is None or not terms.allow(redirect_uri, self._clock()):
            return False
        del self._terms[code]
        return True

    def clear(self) -> None:
        self._terms.clear()

    def __len__(self) -> int:
        """Count those that are still good."""
        now = self._clock()
        return sum(now < terms.expires_at for terms in self._terms.values())

    def __repr__(self) -> str:
        return f"<Codes {len(self)}>"
