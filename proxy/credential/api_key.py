"""The source that lends a PandaDoc API key: the one that its secret holds now."""

import logging
from contextlib import suppress

from proxy.credential.credential import Credential
from proxy.credential.status import Status, api_key_status, lent_key_status
from proxy.errors import OperatorError
from proxy.notice import Notice
from proxy.secret_reader import SecretReader
from proxy.secrets import SecretReference, SecretUnavailable, flaw_of_api_key

log = logging.getLogger(__name__)


class ApiKey:
    """Lends `API-Key …`.

    `_credential` is None until the key could be read once (a secret's file may arrive after us). It is read
    again on a 401, and every few seconds where it is a file, for keys are rotated while we run. `_read_now` alone
    sets it.
    `_doubted` asks the next request to do so once; `_warned_of` is the key whose refusal was logged; `_refused` whether
    the last that PandaDoc said of it was 401; `_flaw` why the last reading failed.
    """

    def __init__(self, name: str, key: SecretReference, reader: SecretReader) -> None:
        self.name = name
        self._key = key
        self._reader = reader
        self._credential: Credential | None = None
        self._doubted = False
        self._warned_of: Credential | None = None
        self._refused = False
        self._flaw = ""
        self._notice = Notice(log)

    def __repr__(self) -> str:
        return f"<ApiKey {self.name} from {self._key.describe()} {self._credential}>"

    @property
    def blind(self) -> bool:
        """Whether the last reading of the key has failed."""
        return bool(self._flaw)

    async def current(self) -> Credential:
        if self._credential is None:
            return await self._read()
        if self._doubted:
            with suppress(OperatorError):  # `_flaw` tells it; a file that is away is no reason to lend nothing
                await self._read()
            self._doubted = False
        return self._credential

    async def proven(self) -> Credential:
        """Lend the key that its file has now: a 401 could not be cured."""
        self._doubted = self._doubted or self._key.kind == "file"
        return await self.current()

    async def replacement(self, refused: Credential) -> Credential | str:
        try:
            newest = await self._read()
        except OperatorError as fault:
            return fault.detail
        if newest.generation > refused.generation:
            return newest
        self._note_refusal(newest)
        return "no other API key is configured"

    def renew_behind(self, refused: Credential) -> None:
        """Have the key read again by the next request, unless it was already."""
        if refused is self._credential:
            self._doubted = True
            self._note_refusal(refused)

    def accepted(self, credential: Credential) -> None:
        """Learn that PandaDoc takes the key, at least for some operations."""
        if self._refused and credential is self._credential:
            self._refused = False

    def replayed(self, credential: Credential, *, refused: bool) -> None:
        """Learn nothing: a key has no cool-down."""

    def status(self) -> Status:
        where = self._key.describe()
        if self._credential is None:
            return api_key_status(self.name, where, self._flaw or None)
        refusal = self._refusal if self._refused else ""
        return lent_key_status(self.name, where, self._credential.generation, self._flaw, refusal)

    def _note_refusal(self, refused: Credential) -> None:
        self._refused = True
        if self._warned_of != refused:
            self._warned_of = refused
            log.warning("credential %s: %s", self.name, self._refusal)

    @property
    def _refusal(self) -> str:
        where = self._key.describe()
        return f"PandaDoc refused the API key from {where} (401). Replace it, unless only some operations are refused."

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
            credential = await self._read_now()
        except OperatorError as fault:
            self._flaw = fault.detail
            raise
        self._flaw = ""
        return credential

    async def _read_now(self) -> Credential:
        try:
            key = await self._reader.read(self._key)
        except SecretUnavailable as fault:
            raise OperatorError(f"The API key of credential {self.name} can't be read: {fault}") from fault
        if flaw := flaw_of_api_key(key):
            raise OperatorError(f"Credential {self.name}: {self._key.describe()} {flaw}.")
        authorization = f"API-Key {key.reveal()}"
        if self._credential is None or self._credential.authorization != authorization:
            generation = self._credential.generation if self._credential else 0
            self._credential, self._refused = Credential(authorization, generation + 1), False
        return self._credential
