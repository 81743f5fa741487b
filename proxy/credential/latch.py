"""What PandaDoc has refused for good, so that it is not asked again (law 6)."""

from hashlib import sha256

from proxy.credential.ledger import Grant
from proxy.credential.token_endpoint import Client


class Latch:
    """Keyed by all that is sent: it opens by itself when the client, its secret, the token or the scope changes.

    `_why` grows in `close`, by a line for each refusal. `scope` is what is asked for from now on; a reload sets it.
    """

    def __init__(self) -> None:
        self.scope: str | None = None
        self._why: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<Latch {len(self._why)} closed>"

    def __bool__(self) -> bool:
        return bool(self._why)

    def close(self, client: Client, grant: Grant, why: str) -> None:
        self._why[self._key(client, grant)] = why

    def closed(self, client: Client, grant: Grant) -> bool:
        """Tell whether `grant` was refused with this client."""
        return self._key(client, grant) in self._why

    def why(self, client: Client, grant: Grant) -> str:
        """Return what was said of a grant that was refused."""
        return self._why[self._key(client, grant)]

    def _key(self, client: Client, grant: Grant) -> str:
        sent = (client.client_id, client.client_secret, grant.refresh_token)
        return sha256("\n".join([*(secret.reveal() for secret in sent), self.scope or ""]).encode()).hexdigest()
