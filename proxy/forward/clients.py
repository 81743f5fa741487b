"""Who asks? A listener may lend to whoever reaches it, or to named clients that present a key each."""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from proxy.credential.source import CredentialSource
from proxy.errors import Refused
from proxy.forward.headers import PROXY_KEY, Fields, canonical
from proxy.forward.metered import Meter
from proxy.forward.places import Places
from proxy.keyring import Keyring
from proxy.policy.policy import Policy

SCHEMES: Final = frozenset({b"api-key", b"bearer"})

HOW: Final = (
    "Present one key, as PandaDoc's would be (Authorization, of either scheme) or as X-Proxy-Key."
    " This answer is pandadoc-proxy's, not PandaDoc's."
)
UNKNOWN: Final = "The key that was presented is no client's of this listener."
UNREADABLE: Final = (
    "The key that was presented stands without its scheme, or is empty: write `Authorization: API-Key` and the key."
)


class Client(Struct, frozen=True):
    """Who borrows: what it is lent, and for what."""

    name: str  # "" where nobody is asked
    source: CredentialSource
    policy: Policy
    places: Places
    meter: Meter | None = None  # none: nobody counts what it asks


class Anyone(Struct, frozen=True):
    """A listener's only client: whoever reaches it."""

    client: Client

    async def identify(self, fields: Fields) -> Client:  # noqa: ARG002 - nobody is asked
        return self.client


class Named(Struct, frozen=True):
    """A listener's clients, each with a key."""

    clients: Mapping[str, Client]
    keyring: Keyring

    async def identify(self, fields: Fields) -> Client:
        """Tell whose request this is. Raises Refused; never a 401, which an app would blame on its credential."""
        keys = presented(fields)
        if len(keys) != 1:
            found = "none was presented" if not keys else "more than one was presented"
            raise Refused(f"This listener lends to clients with a key, and {found}. {HOW}")
        client = await self.holder(keys[0])
        if client is None:
            raise Refused(f"{UNKNOWN if keys[0] else UNREADABLE} {HOW}")
        return client

    async def holder(self, key: bytes) -> Client | None:
        """Return the client whose key this is."""
        name = await self.keyring.holder(key)
        return None if name is None else self.clients[name]


def presented(fields: Fields) -> list[bytes]:
    """Return every key that a request presents. An Authorization without one, as SDKs send, presents nothing."""
    keys = []
    for name, value in fields:
        folded = canonical(name)
        if folded == PROXY_KEY:
            keys.append(value.strip())
        elif folded == b"authorization":
            scheme, _, key = value.strip().partition(b" ")
            known = scheme.lower() in SCHEMES
            if key or (scheme and not known):
                keys.append(key.strip() if known else b"")
    return keys
