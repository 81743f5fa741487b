"""The one refresh of a grant (law 1): adopt what the store or a new seed has, else redeem.

Laws 4 to 8 live here and in the pure modules beside this one. A refresh is a task of its own and
never raises: it ends in a new credential or in `trouble`.

Never here: HTTP, files, the meaning of a reply, and what a 401 proves.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256

from proxy.clock import Clock
from proxy.credential import backoff
from proxy.credential.credential import Credential, stale_lead
from proxy.credential.refusals import Refusals
from proxy.credential.store import Grant, Store, StoreError
from proxy.credential.token_endpoint import Client, TokenEndpoint
from proxy.credential.token_reply import NotRedeemed, Redeemed, Refused, Unknown
from proxy.errors import CredentialUnavailable, OperatorError, ProxyError
from proxy.secrets import Secret, SecretReference, SecretUnavailable
from proxy.tasks import Tasks

log = logging.getLogger(__name__)

HOW_TO_GET_ONE = "Get a new one as the README's 'The first refresh token' shows and set it as"


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
    `credential`, `_grant`            the newest pair, as lent and as kept; `_publish` and `_keep`
    `refusals`                        what the 401s have shown; `keep_refusals`, `_keep`, the first load
    `in_flight`                       the one refresh; `start`
    `trouble`, `try_at`, `_failures`  why there is no newer token, when to try again; `_publish`, `_fail`
    `_dead`                           the latch: what PandaDoc refused for good; `_redeem`, `_judge`
    `_lost_at`                        when a reply was lost and nothing has cleared that up since; the same
    `_saving`                         writers of the store wait in line, so that the newest is written last
    """

    def __init__(
        self,
        name: str,
        *,
        secrets: GrantSecrets,
        endpoint: TokenEndpoint,
        store: Store,
        refresh_before: float | None,
        clock: Clock,
        jitter: Callable[[], float],
        tasks: Tasks,
    ) -> None:
        self.name = name
        self.credential: Credential | None = None
        self.in_flight: asyncio.Task[None] | None = None
        self.refusals = Refusals()
        self.trouble: ProxyError | None = None
        self.try_at = 0.0  # monotonic
        self._secrets = secrets
        self._endpoint = endpoint
        self._store = store
        self._refresh_before = refresh_before
        self._clock = clock
        self._jitter = jitter
        self._tasks = tasks
        self._grant: Grant | None = None
        self._failures = 0
        self._dead: str | None = None
        self._lost_at: float | None = None
        self._saving = asyncio.Lock()

    def __repr__(self) -> str:
        return (
            f"<Refresher {self.name} {self.credential} in_flight={self.in_flight is not None} trouble={self.trouble!r}>"
        )

    def start(self, *, because: str, refused: int | None = None) -> asyncio.Task[None] | None:
        """Return the refresh in flight; begin one if there is none and the last failure's pause is over.

        `refused` is the generation that the upstream answered with 401, if that is the reason.
        """
        if self.in_flight is None and self._clock.monotonic() >= self.try_at:
            work = self._renew(because, refused)
            self.in_flight = self._tasks.start(work, f"refresh {self.name}", finish=True)
            self.in_flight.add_done_callback(self._ended)
        return self.in_flight

    def keep_refusals(self, refusals: Refusals) -> None:
        """Remember them; a cool-down goes to the store, so that a restart does not end it (law 3)."""
        was, self.refusals = self.refusals, refusals
        if (was.until, was.spent) != (refusals.until, refusals.spent) and self._grant is not None:
            self._tasks.start(self._save(self._grant), f"save {self.name}", finish=True)

    def _ended(self, _task: asyncio.Task[None]) -> None:
        self.in_flight = None

    # The refresh

    async def _renew(self, because: str, refused: int | None) -> None:
        try:
            grant = await self._newest_grant()
            if self._adopt(grant):
                return
            client = await asyncio.to_thread(self._secrets.client)
            await self._prove_writable(refused)
        except OperatorError as trouble:
            self._fail(trouble, backoff.DEAD_LOOK)
            return
        except (StoreError, SecretUnavailable) as fault:
            self._fail(OperatorError(f"Credential {self.name} can't be refreshed. {fault}"), backoff.DEAD_LOOK)
            return
        await self._redeem(grant, client, because, on_trial=refused is not None)

    async def _newest_grant(self) -> Grant:
        """Read the store again and compare: another process, a restart or a new seed may have been there (law 6)."""
        kept = await self._store.load()
        if self._grant is None and kept is not None:
            self.refusals = kept.refusals
        both = (grant for grant in (self._grant, kept) if grant is not None)
        newest = max(both, key=lambda grant: grant.generation, default=None)
        seed = await asyncio.to_thread(self._secrets.seed)
        if seed is not None and (newest is None or seed.fingerprint() not in newest.seeds):
            generation, seeds = (newest.generation, newest.seeds) if newest else (0, ())
            return Grant(generation, seed, seeds=(*seeds, seed.fingerprint()))
        if newest is None:
            raise OperatorError(
                f"Credential {self.name} has no refresh token, neither stored nor configured."
                f" {HOW_TO_GET_ONE} credentials.{self.name}.oauth2.refresh_token."
            )
        return newest

    def _adopt(self, grant: Grant) -> bool:
        """Lend a stored token if it is newer than ours and still good; nothing is redeemed then."""
        newer = self.credential is None or grant.generation > self.credential.generation
        if grant.access_token is None or not newer or self._clock.wall() >= grant.expires_at:
            return False
        self._publish(grant, grant.access_token)
        log.info("credential %s: generation %d taken from the store", self.name, grant.generation)
        return True

    async def _prove_writable(self, refused: int | None) -> None:
        """Refuse to redeem what could not be stored, while the old token may still serve (law 4)."""
        try:
            await self._store.prove_writable()
        except StoreError as fault:
            still_good = self.credential is not None and self._clock.wall() < self.credential.expires_at
            if refused is None and still_good:
                raise
            log.critical("credential %s: redeeming into memory only. %s", self.name, fault)

    async def _redeem(self, grant: Grant, client: Client, because: str, *, on_trial: bool) -> None:
        latch = _fingerprint(self._endpoint, client, grant.refresh_token)
        if latch == self._dead:
            self.try_at = self._clock.monotonic() + backoff.DEAD_LOOK
            return
        self._dead = None
        sent_at = self._clock.wall()
        outcome = await self._endpoint.redeem(grant.refresh_token, client)
        if isinstance(outcome, Redeemed):
            await self._keep(grant, outcome, sent_at, because, on_trial=on_trial)
        else:
            self._judge(outcome, latch)

    async def _keep(self, grant: Grant, reply: Redeemed, sent_at: float, because: str, *, on_trial: bool) -> None:
        """Store the new pair, then lend it (law 4). Its life counts from before the request was sent (law 7)."""
        self._grant = replace(
            grant,
            generation=grant.generation + 1,
            refresh_token=reply.refresh_token or grant.refresh_token,
            access_token=reply.access_token,
            obtained_at=sent_at,
            expires_at=sent_at + reply.lifetime,
        )
        await self._save(self._grant)
        if reply.access_token is None:
            self._fail(self._waiting_helps(f"The token endpoint answered 200 with {reply.fault}"))
            return
        if on_trial:
            self.refusals = self.refusals.minted(self._grant.generation)
        self._lost_at = None
        self._publish(self._grant, reply.access_token)
        odd = " (expires_in was missing or odd)" if reply.lifetime_guessed else ""
        log.info(
            "credential %s: refreshed because %s; generation %d, good for %.0f s%s",
            self.name,
            because,
            self._grant.generation,
            reply.lifetime,
            odd,
        )

    def _publish(self, grant: Grant, access_token: Secret) -> None:
        lead = stale_lead(grant.expires_at - grant.obtained_at, self._refresh_before)
        self._grant = grant
        self.credential = Credential(
            f"Bearer {access_token.reveal()}",
            generation=grant.generation,
            stale_at=grant.expires_at - lead,
            expires_at=grant.expires_at,
        )
        self.trouble, self._failures, self.try_at = None, 0, 0.0

    # Storing

    async def _save(self, grant: Grant) -> None:
        """Store `grant`. A pair that can't be stored lives on in memory and is tried again until it is."""
        try:
            await self._write(grant)
        except StoreError as fault:
            log.critical("credential %s: generation %d is NOT stored. %s", self.name, grant.generation, fault)
            self._tasks.start(self._save_later(grant), f"save {self.name} later")

    async def _save_later(self, grant: Grant) -> None:
        failures = 0
        while self._grant is grant:  # a newer pair looks after itself
            failures += 1
            await asyncio.sleep(backoff.pause(failures, self._jitter()))
            try:
                await self._write(grant)
            except StoreError:
                log.error("credential %s: generation %d is still not stored", self.name, grant.generation)  # noqa: TRY400 - the reason was logged once, at length
            else:
                log.info("credential %s: generation %d is stored now", self.name, grant.generation)
                return

    async def _write(self, grant: Grant) -> None:
        async with self._saving:
            if self._grant is grant:
                await self._store.save(replace(grant, refusals=replace(self.refusals, on_trial=None)))

    # Failure

    def _judge(self, outcome: Refused | NotRedeemed | Unknown, latch: str) -> None:
        if isinstance(outcome, Refused):
            self._dead = latch
            self._fail(OperatorError(self._why_dead(outcome.error)), backoff.DEAD_LOOK)
            return
        if isinstance(outcome, Unknown) and self._lost_at is None:
            self._lost_at = self._clock.wall()
        trouble = self._waiting_helps(f"The token endpoint failed: {outcome.cause}")
        self._fail(trouble, backoff.pause(self._failures + 1, self._jitter(), outcome.retry_after))

    def _waiting_helps(self, cause: str) -> CredentialUnavailable:
        return CredentialUnavailable(
            f"Credential {self.name} can't be refreshed yet. {cause}. It is tried again by itself."
        )

    def _fail(self, trouble: ProxyError, pause: float | None = None) -> None:
        self._failures += 1
        self.trouble = trouble
        seconds = backoff.pause(self._failures, self._jitter()) if pause is None else pause
        self.try_at = self._clock.monotonic() + seconds
        level = logging.ERROR if isinstance(trouble, OperatorError) else logging.WARNING
        log.log(level, "%s (failure %d in a row)", trouble.detail, self._failures)

    def _why_dead(self, error: str) -> str:
        """Say why the grant is dead and what heals it."""
        where = f"credentials.{self.name}.oauth2"
        if error == "invalid_client":
            return (
                "PandaDoc does not know this OAuth client (invalid_client)."
                f" Check {where}.client_id and {where}.client_secret."
            )
        if error != "invalid_grant":
            return f"PandaDoc refuses to refresh credential {self.name} ({error}). Check {where}."
        return (
            f"PandaDoc refuses the refresh token of credential {self.name} (invalid_grant): it was used"
            f" elsewhere or revoked.{self._lost_reply()} {HOW_TO_GET_ONE} {where}.refresh_token."
        )

    def _lost_reply(self) -> str:
        """Say when a reply was lost, the likeliest cause (law 6)."""
        if self._lost_at is None:
            return ""
        minutes = (self._clock.wall() - self._lost_at) / 60
        return f" A reply of the token endpoint was lost {minutes:.0f} minutes ago and may have spent it."


def _fingerprint(endpoint: TokenEndpoint, client: Client, refresh_token: Secret) -> str:
    """Tell apart what is sent to the token endpoint: a dead grant opens when any of it changes (law 6)."""
    parts = (
        str(endpoint.url),
        client.client_id.reveal(),
        client.client_secret.reveal(),
        refresh_token.reveal(),
    )
    return sha256("\n".join(parts).encode()).hexdigest()
