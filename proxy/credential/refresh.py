"""The one refresh of a grant (law 1): adopt what the store has, else redeem.

Laws 4 to 8 live here, in the keeper and in the pure modules beside this one. A refresh is a task of
its own and never raises: it ends in a new credential or in `trouble`.

Never here: HTTP, files, the meaning of a reply, and what a 401 proves.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

from proxy.clock import Clock
from proxy.credential import backoff
from proxy.credential.credential import Credential, Freshness, stale_lead
from proxy.credential.grant_keeper import GrantKeeper
from proxy.credential.store import Grant, StoreError
from proxy.credential.token_endpoint import Client, TokenEndpoint
from proxy.credential.token_reply import NotRedeemed, Redeemed, Refused, Unknown
from proxy.errors import CredentialUnavailable, OperatorError, ProxyError
from proxy.secrets import Secret, SecretReference, SecretUnavailable
from proxy.tasks import Tasks

log = logging.getLogger(__name__)

HOW_TO_GET_ONE: Final = "Get a new one as the README's 'The first refresh token' shows and set it as"

ROUNDS: Final = 3
"""How often one refresh looks again because the store has moved on meanwhile."""


@dataclass(frozen=True, slots=True)
class GrantSecrets:
    """Where a grant's secrets are found. Read anew at every refresh, for they may change."""

    client_id: SecretReference
    client_secret: SecretReference
    refresh_token: SecretReference | None  # the seed

    def client(self) -> Client:
        """Read the client's credentials. Raises SecretUnavailable."""
        return Client(self.client_id.read(), self.client_secret.read())

    def seed(self) -> Secret | None:
        """Read the seed; None where none is configured. Raises SecretUnavailable."""
        return self.refresh_token.read() if self.refresh_token else None


class Refresher:
    """Mints generation after generation, one refresh in flight at most.

    What changes, all of it on the event loop:
    `credential`, `_seed_waits`       what is lent, and whether a new seed waits behind it; `_publish`, `_adopt`
    `in_flight`                       the one refresh; `start`
    `trouble`, `try_at`, `_failures`  why there is no newer token, when to try again; `_publish`, `_fail`
    `_held_back`                      whether an urgent refresh need not heed `try_at`; `_renew`, `_settle`
    `_dead`                           the latch: what PandaDoc refused for good, and why; `_settle`
    `_lost_at`                        when a reply was lost and nothing has cleared that up since; `_keep`, `_settle`
    """

    def __init__(
        self,
        name: str,
        *,
        secrets: GrantSecrets,
        endpoint: TokenEndpoint,
        keeper: GrantKeeper,
        refresh_before: float | None,
        clock: Clock,
        jitter: Callable[[], float],
        tasks: Tasks,
    ) -> None:
        self.name = name
        self.keeper = keeper
        self.credential: Credential | None = None
        self.in_flight: asyncio.Task[None] | None = None
        self.trouble: ProxyError | None = None
        self.try_at = 0.0  # monotonic
        self._secrets = secrets
        self._endpoint = endpoint
        self._refresh_before = refresh_before
        self._clock = clock
        self._jitter = jitter
        self._tasks = tasks
        self._seed_waits = False
        self._held_back = False
        self._failures = 0
        self._dead: dict[str, str] = {}
        self._lost_at: float | None = None

    def __repr__(self) -> str:
        state = "refreshing" if self.in_flight else f"trouble={self.trouble!r}"
        return f"<Refresher {self.name} {self.credential} {state} {self.keeper}>"

    def start_if_due(self, credential: Credential) -> None:
        """Refresh behind the traffic what is stale, or what a newly configured refresh token replaces."""
        if credential.freshness(self._clock.wall()) is Freshness.STALE:
            self.start(because="it expires soon")
        elif self._seed_waits:
            self.start(because="a new refresh token is configured")

    def start(self, *, because: str, refused: int | None = None) -> asyncio.Task[None] | None:
        """Return the refresh in flight; begin one if there is none and the last failure's pause is over.

        `refused` is the generation that the upstream answered with 401, if that is the reason.
        """
        may = self._clock.monotonic() >= self.try_at or (self._held_back and self._urgent(refused))
        if self.in_flight is None and may:
            work = self._renew(because, refused)
            self.in_flight = self._tasks.start(work, f"refresh {self.name}", finish=True)
            self.in_flight.add_done_callback(self._ended)
        return self.in_flight

    def _ended(self, _task: asyncio.Task[None]) -> None:
        self.in_flight = None

    async def _renew(self, because: str, refused: int | None) -> None:
        self._held_back = False
        try:
            for _ in range(ROUNDS):
                if await self._round(because, refused):
                    return
        except OperatorError as trouble:
            self._fail(trouble, backoff.DEAD_LOOK)
        except (StoreError, SecretUnavailable) as fault:
            self._held_back = isinstance(fault, StoreError) and not self._urgent(refused)
            self._fail(OperatorError(f"Credential {self.name} can't be refreshed: {fault}"), backoff.DEAD_LOOK)
        except Exception:  # a fault of ours must not be tried again at once, by every request
            log.exception("a fault of ours in the refresh of credential %s", self.name)
            self._fail(self._waiting_helps("A fault of the proxy's own; its log says more"))

    async def _round(self, because: str, refused: int | None) -> bool:
        """Adopt or redeem; tell whether that settled it, or the store has moved on and wants another look."""
        urgent = self._urgent(refused)
        await self.keeper.read_again(urgent=urgent)
        seeded = await self.keeper.new_lineage()
        if self._adopt(self.keeper.newest):
            self._seed_waits = seeded is not None
            return True
        client = await asyncio.to_thread(self._secrets.client)
        grant = self._alive(client, seeded, self.keeper.newest)
        await self.keeper.prove_writable(urgent=urgent and grant is not seeded)
        sent_at = self._clock.wall()
        outcome = await self._endpoint.redeem(grant.refresh_token, client)
        if isinstance(outcome, Redeemed):
            await self._keep(grant, outcome, sent_at, because, on_trial=refused is not None)
            return True
        return await self._settle(outcome, grant, client, urgent=urgent)

    def _urgent(self, refused: int | None) -> bool:
        """Tell whether a new token is needed now: the old one was refused, has expired, or never was."""
        ours = self.credential
        return refused is not None or ours is None or ours.freshness(self._clock.wall()) is Freshness.EXPIRED

    def _adopt(self, grant: Grant | None) -> bool:
        """Lend a stored token if it is newer than ours and still good; nothing is redeemed then (law 5)."""
        if grant is None or grant.access_token is None or self._clock.wall() >= grant.expires_at:
            return False
        ours = self.credential
        if ours is not None and grant.generation <= ours.generation:
            return False
        same = ours is not None and ours.authorization == f"Bearer {grant.access_token.reveal()}"
        if ours is not None and same and grant.expires_at <= ours.expires_at:
            return False  # a newer refresh token beside the same access token is nothing to replay with
        self._publish(grant, grant.access_token)
        log.info("credential %s: generation %d taken from the store", self.name, grant.generation)
        return True

    def _alive(self, client: Client, seeded: Grant | None, stored: Grant | None) -> Grant:
        """Choose what to redeem: a new seed before the stored grant, and nothing that is known to be dead.

        Raises OperatorError if there is no refresh token, or none that lives.
        """
        grants = [grant for grant in (seeded, stored) if grant is not None]
        if not grants:
            raise OperatorError(
                f"Credential {self.name} has no refresh token, neither stored nor configured."
                f" {HOW_TO_GET_ONE} {self._where_to()}."
            )
        for grant in grants:
            if self._fingerprint(client, grant) not in self._dead:
                return grant
        raise OperatorError(self._dead[self._fingerprint(client, grants[0])])

    async def _keep(self, grant: Grant, reply: Redeemed, sent_at: float, because: str, *, on_trial: bool) -> None:
        """Store the new pair, then lend it (law 4). Its life counts from before the request was sent (law 7)."""
        if reply.successor_unusable:
            log.critical("credential %s: the reply's refresh_token can't be used; the spent one is kept", self.name)
        renewed = replace(
            grant, generation=grant.generation + 1, refresh_token=reply.refresh_token or grant.refresh_token
        )
        if reply.access_token is not None:
            expires_at = sent_at + reply.lifetime
            renewed = replace(renewed, access_token=reply.access_token, obtained_at=sent_at, expires_at=expires_at)
        await self.keeper.keep(renewed)
        self._lost_at, self._seed_waits = None, False
        if reply.access_token is None:
            self._fail(self._waiting_helps(f"The token endpoint answered 200 with {reply.fault}"))
            return
        if on_trial:
            self.keeper.keep_refusals(self.keeper.refusals.minted(renewed.generation))
        self._publish(renewed, reply.access_token)
        log.info(
            "credential %s: refreshed because %s; generation %d, good for %.0f s%s",
            self.name,
            because,
            renewed.generation,
            reply.lifetime,
            " (expires_in was missing or odd)" if reply.lifetime_guessed else "",
        )

    def _publish(self, grant: Grant, access_token: Secret) -> None:
        lead = stale_lead(grant.expires_at - grant.obtained_at, self._refresh_before)
        self.credential = Credential(
            f"Bearer {access_token.reveal()}",
            generation=grant.generation,
            stale_at=grant.expires_at - lead,
            expires_at=grant.expires_at,
        )
        self.trouble, self._failures, self.try_at = None, 0, 0.0

    # Failure

    async def _settle(
        self, outcome: Refused | NotRedeemed | Unknown, grant: Grant, client: Client, *, urgent: bool
    ) -> bool:
        """Note a failure; tell whether that settles it, or there is another grant to try (law 6)."""
        if isinstance(outcome, Refused):
            await self.keeper.read_again(urgent=True)
            if self.keeper.newest is not None and self.keeper.newest.generation > grant.generation:
                return False
            why = self._dead[self._fingerprint(client, grant)] = self._why_dead(outcome.error)
            self._seed_waits = False
            self._fail(OperatorError(why), backoff.DEAD_LOOK)
            stored = self.keeper.newest
            another = stored is not None and self._fingerprint(client, stored) not in self._dead
            self._held_back = another and not urgent
            return not (another and urgent)
        if isinstance(outcome, Unknown) and self._lost_at is None:
            self._lost_at = self._clock.wall()
        trouble = self._waiting_helps(f"The token endpoint failed: {outcome.cause}")
        self._fail(trouble, backoff.pause(self._failures + 1, self._jitter(), outcome.retry_after))
        return True

    def _waiting_helps(self, cause: str) -> CredentialUnavailable:
        return CredentialUnavailable(
            f"Credential {self.name} can't be refreshed yet. {cause}. It is tried again by itself."
        )

    def _fail(self, trouble: ProxyError, pause: float | None = None) -> None:
        """Remember why, and when to try again. The same text is logged once, not at every look."""
        news = self.trouble is None or self.trouble.detail != trouble.detail
        self._failures += 1
        self.trouble = trouble
        seconds = backoff.pause(self._failures, self._jitter()) if pause is None else pause
        self.try_at = self._clock.monotonic() + seconds
        level = logging.ERROR if isinstance(trouble, OperatorError) else logging.WARNING
        log.log(level if news else logging.DEBUG, "%s", trouble.detail)

    def _why_dead(self, error: str) -> str:
        """Say why the grant is dead and what heals it."""
        secrets = self._secrets
        if error == "invalid_client":
            return (
                f"Credential {self.name}: PandaDoc does not know this OAuth client (invalid_client). Check its"
                f" id ({secrets.client_id.describe()}) and secret ({secrets.client_secret.describe()})."
            )
        if error != "invalid_grant":
            return (
                f"PandaDoc refuses to refresh credential {self.name} ({error}). Check credentials.{self.name}.oauth2."
            )
        return (
            f"PandaDoc refuses the refresh token of credential {self.name} (invalid_grant): it was used"
            f" elsewhere or revoked.{self._lost_reply()} {HOW_TO_GET_ONE} {self._where_to()}."
        )

    def _where_to(self) -> str:
        """Name the place where a new refresh token belongs."""
        seed = self._secrets.refresh_token
        key = f"credentials.{self.name}.oauth2.refresh_token"
        return key if seed is None else f"{key} ({seed.describe()})"

    def _lost_reply(self) -> str:
        """Say when a reply was lost, the likeliest cause (law 6)."""
        if self._lost_at is None:
            return ""
        minutes = (self._clock.wall() - self._lost_at) / 60
        return f" A reply of the token endpoint was lost {minutes:.0f} minutes ago and may have spent it."

    def _fingerprint(self, client: Client, grant: Grant) -> str:
        """Tell apart what is sent to the token endpoint: a dead grant opens when any of it changes (law 6)."""
        secrets = (client.client_id, client.client_secret, grant.refresh_token)
        parts = (str(self._endpoint.url), *(secret.reveal() for secret in secrets))
        return sha256("\n".join(parts).encode()).hexdigest()
