"""The source that never changes: a PandaDoc API key."""

from proxy.credential.credential import Credential
from proxy.errors import OperatorError
from proxy.secrets import SecretReference, SecretUnavailable


class ApiKey:
    """Lends `API-Key …`.

    `_credential` is None until the key could be read once (a secret's file may arrive after us);
    only `current` sets it.
    """

    def __init__(self, name: str, key: SecretReference) -> None:
        self.name = name
        self._key = key
        self._credential: Credential | None = None

    def __repr__(self) -> str:
        return f"<ApiKey {self.name} from {self._key.describe()}>"

    async def current(self) -> Credential:
        if self._credential is None:
            try:
                key = self._key.read()
            except SecretUnavailable as fault:
                raise OperatorError(f"The API key of credential {self.name} can't be read: {fault}") from fault
            self._credential = Credential(f"API-Key {key.reveal()}", generation=1)
        return self._credential

    async def proven(self) -> Credential:
        return await self.current()

    async def replacement(self, refused: Credential) -> Credential | None:  # noqa: ARG002 - the protocol's
        return None

    def renew_behind(self, refused: Credential) -> None:
        """Do nothing: a key has no successor."""

    def accepted(self, credential: Credential) -> None:
        """Learn nothing: a key is never probed."""

    def replayed(self, credential: Credential, *, refused: bool) -> None:
        """Learn nothing: a key's requests are never replayed."""
