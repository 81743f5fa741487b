"""The source that lends a PandaDoc API key: the one that its secret holds now."""

import logging

from proxy.credential.credential import Credential
from proxy.errors import OperatorError
from proxy.notice import Notice
from proxy.secret_reader import SecretReader
from proxy.secrets import SecretReference, SecretUnavailable

log = logging.getLogger(__name__)


class ApiKey:
    """Lends `API-Key …`.

    `_credential` is None until the key could be read once (a secret's file may arrive after us). It is read
    again on a 401, and every few seconds where it is a file, for keys are rotated while we run. `_read` alone
    sets it.
    `_doubted` asks the next request to do so; `_warned_of` is the key whose refusal was logged.
    """

    def __init__(self, name: str, key: SecretReference, reader: SecretReader) -> None:
        self.name = name
        self._key = key
        self._reader = reader
        self._credential: Credential | None = None
        self._doubted = False
        self._warned_of: Credential | None = None
        self._notice = Notice(log)

    def __repr__(self) -> str:
        return f"<ApiKey {self.name} from {self._key.describe()} {self._credential}>"

    async def current(self) -> Credential:
        if self._credential is None or self._doubted:
            return await self._read()
        return self._credential

    async def proven(self) -> Credential:
        return await self.current()

    async def replacement(self, refused: Credential) -> Credential | None:
        try:
            newest = await self._read()
        except OperatorError:
            return None
        if newest.generation > refused.generation:
            return newest
        if self._warned_of != newest:
            self._warned_of = newest
            log.warning(
                "credential %s: PandaDoc refused the API key from %s (401). Replace it, unless only some"
                " operations are refused.",
                self.name,
                self._key.describe(),
            )
        return None

    def renew_behind(self, refused: Credential) -> None:
        """Have the key read again by the next request."""
        self._doubted = self._doubted or refused is self._credential

    def accepted(self, credential: Credential) -> None:
        """Learn nothing: a key is never probed."""

    def replayed(self, credential: Credential, *, refused: bool) -> None:
        """Learn nothing: a key has no cool-down."""

    async def look(self) -> None:
        """Take a key that has changed in its file; while a new one can't be read, the old one is lent."""
        if self._key.kind != "file":
            return
        try:
            await self._read()
        except OperatorError as fault:
            self._notice.say(fault.detail)
        else:
            self._notice.say("")

    async def _read(self) -> Credential:
        try:
            key = await self._reader.read(self._key)
        except SecretUnavailable as fault:
            raise OperatorError(f"The API key of credential {self.name} can't be read: {fault}") from fault
        if " " in key.reveal():
            raise OperatorError(
                f"Credential {self.name}: {self._key.describe()} has a space in it."
                " Give the key alone, without 'API-Key' before it."
            )
        self._doubted = False
        authorization = f"API-Key {key.reveal()}"
        if self._credential is None or self._credential.authorization != authorization:
            generation = self._credential.generation if self._credential else 0
            self._credential = Credential(authorization, generation + 1)
        return self._credential
