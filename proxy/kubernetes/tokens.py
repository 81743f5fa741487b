"""What a caller shows of itself: a bearer token, or nothing where a client certificate does.

A pod's token is bound to it and lives for an hour or so; the kubelet writes the next one to the same file in
time ("Managing Service Accounts": "Bound service account tokens"). So it is read again, each minute at the latest.
"""

from collections.abc import Callable
from typing import Final, Protocol

from proxy.kubernetes.faults import Unreachable
from proxy.secret_reader import SecretReader
from proxy.secrets import Secret, SecretReference, SecretUnavailable

FRESH: Final = 60.0
"""Seconds for which a token that was read is shown again; client-go has the same minute."""


class Tokens(Protocol):
    """Gives the token to show."""

    rotates: bool  # whether a refused one may be followed by another, without a person
    shows: bool  # whether there is one at all

    async def current(self) -> Secret | None:
        """Return it. Raises KubernetesFault."""
        ...

    def refused(self, token: Secret | None) -> None:
        """Forget this one, which the API refused; a newer one stays."""
        ...


class FixedToken:
    """One that stays, or none: what a kubeconfig holds itself."""

    rotates = False

    def __init__(self, token: Secret | None) -> None:
        self._token = token
        self.shows = token is not None

    async def current(self) -> Secret | None:
        return self._token

    def refused(self, token: Secret | None) -> None:
        """There is no other."""


class TokenFile:
    """One that somebody else renews in a file. What was not refused is shown on while that can't be read.

    What changes: `_token`, by both methods, and `_until`, until when it is not read again; monotonic.
    """

    rotates = shows = True

    def __init__(self, reference: SecretReference, reader: SecretReader, monotonic: Callable[[], float]) -> None:
        self._reference = reference
        self._reader = reader
        self._monotonic = monotonic
        self._token: Secret | None = None
        self._until = 0.0

    async def current(self) -> Secret:
        if self._token is None or self._monotonic() >= self._until:
            try:
                self._token = await self._reader.read(self._reference)
                self._until = self._monotonic() + FRESH
            except SecretUnavailable as fault:
                if self._token is None:
                    raise Unreachable(f"The token for the Kubernetes API can't be read: {fault}.") from fault
        return self._token

    def refused(self, token: Secret | None) -> None:
        if token == self._token:
            self._token = None
