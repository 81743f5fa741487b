"""A consent's code becomes a pair, is proven against PandaDoc, and is stored as a new lineage.

The store is proven writable before a person is asked for anything, and nothing that is stored changes
until the new pair is known to be good, or can't be known to be bad.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from msgspec import Struct

from proxy.clock import Clock
from proxy.credential import ledger
from proxy.credential.grant_secrets import GrantSecrets
from proxy.credential.ledger import Grant, Ledger, Lineage
from proxy.credential.probe import Member, Probed, UpstreamProbe
from proxy.credential.store import Store, StoreError
from proxy.credential.token_endpoint import TokenEndpoint
from proxy.credential.token_reply import NotRedeemed, Outcome, Redeemed, Refused, Unknown
from proxy.secrets import Secret, SecretUnavailable

STORE_TRIES: Final = 9
STORE_PAUSE: Final = 1.0
"""How often, and after how many seconds, storing a new pair is tried again: its code is spent."""


class LoginFailed(Exception):
    """There is no new grant; says why and what to check. What was stored is as it was."""


class CodeRefused(LoginFailed):
    """PandaDoc knows no such code (invalid_grant): none is spent."""


class LoggedIn(Struct, frozen=True):
    """A new lineage, stored. `proven`: PandaDoc has accepted its token; `member`: as whom it acts."""

    grant: Grant
    proven: bool
    member: Member | None


class Exchange(Struct, frozen=True):
    """What one login needs; nothing in it changes."""

    name: str
    secrets: GrantSecrets
    endpoint: TokenEndpoint
    probe: UpstreamProbe
    store: Store
    redirect_uri: str
    clock: Clock
    say: Callable[[str], object]  # tells the person what takes its time
    store_pause: float = STORE_PAUSE
    believed: bool = True  # what the probe's 401 says of a token; not where the operator wants none
    by: str = ""  # which replica this is, where several share the store

    async def prepare(self) -> None:
        """Prove that a grant could be stored. Raises StoreError or SecretUnavailable."""
        await self.secrets.client()
        await self.store.update(lambda kept: kept, room=True)

    async def finish(self, code: Secret) -> LoggedIn:
        """Exchange `code`, prove what it brought, store it. Raises LoginFailed or SecretUnavailable."""
        began = self.clock.wall()
        outcome = await self.endpoint.exchange(code, self.redirect_uri, await self.secrets.client())
        grant = self._grant(outcome, began)
        probed, member = await self._prove(grant)
        if probed is Probed.REFUSED:
            raise LoginFailed(
                f"PandaDoc gave a token, and then refused it at {self.probe.url}. Is upstream.url of another region"
                " than token_url? Nothing that is stored was changed."
            )
        return LoggedIn(await self._store(grant), probed is Probed.ACCEPTED, member)

    async def _prove(self, grant: Grant) -> tuple[Probed, Member | None]:
        if grant.access_token is None:
            return Probed.UNCLEAR, None
        probed, member = await self.probe.member(grant.access_token)
        return (probed if self.believed or probed is not Probed.REFUSED else Probed.UNCLEAR), member

    async def _store(self, grant: Grant) -> Grant:
        """Store it as the next generation. A disk that hangs for a moment must not cost a consent: try for a while."""
        seed = None
        with suppress(SecretUnavailable):  # what can't be read now is the refresh's to judge, if it comes
            seed = await self.secrets.seed()

        def change(kept: Ledger) -> Ledger:
            if kept.grant is not None and kept.grant.lineage == grant.lineage:  # it arrived, unheard
                return kept
            configured = seed.refresh_token if seed else None
            return ledger.consented(kept, grant, self.clock.wall(), configured=configured, by=self.by)

        kept = None
        for tries_left in range(STORE_TRIES, -1, -1):
            try:
                kept = await self.store.update(change)
                break
            except StoreError as fault:
                if not tries_left:
                    if (stored := await self._stored(grant)) is not None:
                        return stored
                    raise LoginFailed(
                        f"{fault} PandaDoc has given a new grant, which can't be stored and is lost: mend this, then"
                        " log in again."
                    ) from fault
                if tries_left == STORE_TRIES:
                    self.say(f"{fault} PandaDoc has given a new grant: storing it is tried again.")
                await asyncio.sleep(self.store_pause)
        assert kept is not None  # noqa: S101 - a consent is always wanted
        assert kept.grant is not None  # noqa: S101 - the same
        return kept.grant

    async def _stored(self, grant: Grant) -> Grant | None:
        """Look for it in the store: it may have been the last step alone that failed, or the answer was lost."""
        kept = None
        with suppress(StoreError):
            kept = (await self.store.load()).grant
        return kept if kept is not None and kept.lineage == grant.lineage else None

    def _grant(self, outcome: Outcome, began: float) -> Grant:
        if not isinstance(outcome, Redeemed):
            raise (CodeRefused if outcome == Refused("invalid_grant") else LoginFailed)(self._why(outcome))
        if outcome.refresh_token is None:
            raise LoginFailed(
                "The reply has no usable refresh_token, so its access token could not be kept alive. Is token_url"
                " PandaDoc's token endpoint?"
            )
        lineage = Lineage("login", outcome.refresh_token.fingerprint(), began)
        grant = Grant(0, lineage, outcome.refresh_token)
        if outcome.access_token is None:
            return grant
        return Grant(0, lineage, outcome.refresh_token, outcome.access_token, began, began + outcome.lifetime)

    def _why(self, outcome: Refused | NotRedeemed | Unknown) -> str:
        if isinstance(outcome, Refused):
            return self._refusal(outcome.error)
        exchanged = f"exchanged at {self.endpoint.url}: {outcome.detail}."
        if isinstance(outcome, NotRedeemed):
            return f"The code was not {exchanged} It is not spent: log in again."
        return f"Nobody knows whether the code was {exchanged} Log in again."

    def _refusal(self, error: str) -> str:
        if error == "invalid_grant":
            return (
                "PandaDoc refuses the code (invalid_grant): it was used already, is too old, or was given for another"
                f" client or redirect URI than {self.redirect_uri}. Log in again; if it happens again, compare the"
                " redirect URI with the registered one, to the letter."
            )
        if error in {"invalid_client", "unauthorized_client"}:
            return (
                f"PandaDoc does not know this OAuth client ({error}). Check its id"
                f" ({self.secrets.client_id.describe()}) and secret ({self.secrets.client_secret.describe()}), and"
                f" that {self.endpoint.url} is of the region where it is registered."
            )
        return f"PandaDoc refuses the exchange ({error}). Check the scope and redirect URI of credential {self.name}."
