"""Where a grant's secrets are found. Read anew at every use, for they may change while we run."""

from msgspec import Struct

from proxy.credential.token_endpoint import Client
from proxy.secret_reader import SecretReader
from proxy.secrets import Secret, SecretReference


class Seed(Struct, frozen=True):
    """What the configuration begins a lineage with. `expires_at`: wall-clock seconds since 1970, of the token."""

    refresh_token: Secret
    access_token: Secret | None = None
    expires_at: float = 0.0


class GrantSecrets(Struct, frozen=True):
    """The references of one credential, and who reads them."""

    reader: SecretReader
    client_id: SecretReference
    client_secret: SecretReference
    refresh_token: SecretReference | None = None
    access_token: SecretReference | None = None
    expires_at: float | None = None

    async def client(self) -> Client:
        """Read the client's credentials. Raises SecretUnavailable."""
        return Client(await self.reader.read(self.client_id), await self.reader.read(self.client_secret))

    async def seed(self) -> Seed | None:
        """Read the seed; None where none is configured. Raises SecretUnavailable."""
        if self.refresh_token is None:
            return None
        refresh_token = await self.reader.read(self.refresh_token)
        if self.access_token is None or self.expires_at is None:
            return Seed(refresh_token)
        return Seed(refresh_token, await self.reader.read(self.access_token), self.expires_at)
