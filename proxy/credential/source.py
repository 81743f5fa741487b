"""What the request's way may ask of a credential, whatever its kind."""

from typing import Protocol

from proxy.credential.credential import Credential
from proxy.credential.status import Status


class CredentialSource(Protocol):
    """Lends a credential, and learns from the upstream's answers what it is worth."""

    @property
    def name(self) -> str:
        """The credential's name in the configuration."""
        ...

    @property
    def blind(self) -> bool:
        """Whether the store, or a secret, could not be read when it was last looked at."""
        ...

    async def current(self) -> Credential:
        """Lend the newest credential; wait for a refresh only if there is no good one.

        Raises CredentialUnavailable (waiting helps) or OperatorError (it does not).
        """
        ...

    async def proven(self) -> Credential:
        """Lend one that the upstream accepted moments ago, for a body that can't be sent twice (law 12).

        Raises as `current` does.
        """
        ...

    async def replacement(self, refused: Credential) -> Credential | str:
        """Answer a 401 for `refused`: a newer credential to replay with, or why the 401 is to be relayed.

        Raises CredentialUnavailable where the 401 would mislead, for a newer one can't be had yet; OperatorError where
        the credential is known to be dead, and only a person can help.
        """
        ...

    def renew_behind(self, refused: Credential) -> None:
        """Do what `replacement` would, for a request that can't be replayed and does not wait."""
        ...

    def accepted(self, credential: Credential) -> None:
        """Note that the upstream accepted `credential` (an answer below 400). Cheap: it is called per request."""
        ...

    def replayed(self, credential: Credential, *, refused: bool) -> None:
        """Note how a replay with `credential` ended: another 401, or not (law 3)."""
        ...

    def status(self) -> Status:
        """Tell how it is, for people and for metrics. Reads nothing and sends nothing."""
        ...

    async def look(self) -> None:
        """Look behind the traffic for what has changed or is due; called every few seconds, also when idle."""
        ...
