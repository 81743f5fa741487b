"""The one refresh of a grant (law 1): adopt what the store has, else redeem.

    take the lease ─► read again ─► newer? adopt ─► write the intent ─► redeem ─► store the pair ─► lend it

Laws 4 to 8 live here, in the keeper and in the pure modules beside this one. A refresh is a task of
its own and never raises: it ends in a new credential or in `trouble`.

Never here: HTTP, files, the meaning of a reply, and what a 401 proves.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from enum import Enum
from itertools import count
from math import ceil, inf
from typing import Final, Protocol

from msgspec import Struct
from msgspec.structs import replace

from proxy.clock import Clock
from proxy.credential import backoff
from proxy.credential.advice import Advice
from proxy.credential.credential import Credential, Freshness
from proxy.credential.grant_keeper import GrantKeeper
from proxy.credential.grant_secrets import GrantSecrets
from proxy.credential.latch import Latch
from proxy.credential.ledger import REFRESHED, SEEDED, Attempt, Grant, Intent, Lineage
from proxy.credential.policy import Policy
from proxy.credential.store import MemoryStore, Release, StoreError, StoreUnreachable
from proxy.credential.token_endpoint import Client
from proxy.credential.token_reply import Cause, NotRedeemed, Outcome, Redeemed, Refused, Unknown
from proxy.errors import CredentialUnavailable, OperatorError, ProxyError
from proxy.notice import Notice
from proxy.secrets import Secret, SecretUnavailable
from proxy.tasks import Tasks

log = logging.getLogger(__name__)

LEASE_SLACK: Final = 5.0
"""Seconds beyond redeem_timeout for which a lease is taken: storing the pair has limits too."""

PATIENCE_SLACK: Final = 10.0
"""Seconds beyond redeem_timeout for which another process's lease is waited for: longer than a lease lasts."""

SHORT_LIFE: Final = 60.0
"""Seconds. A token that lives for less is refreshed by traffic alone: when idle, it would be for ever."""

SILENCE: Final = 1.0
"""Seconds that a person waits without a word."""

QUICK_TURNS: Final = 3
"""Looks at a store that has moved on, before there are pauses between them."""

SECOND_LOOK: Final = 2.0
"""Seconds for which the store is looked at again after an invalid_grant that another process's redeem may have caused:
it may be storing what it got, and callers are waiting. The last look may take a second or two more."""

ADOPTED: Final = "adopted"
NEEDLESS: Final = "needless"
UNAVAILABLE: Final = "unavailable"
"""How a refresh may end in which nothing was redeemed."""

OUTRUN: Final = "outrun"
"""How a redeem ended that another replica's came before: its pair is lent, and nothing is lost."""

HEARD_FOR: Final = 600.0
"""Seconds for which a replica believes what PandaDoc told another of a refresh token, before it asks by itself."""

PASSING: Final = frozenset(Cause)
"""Results of an attempt after which waiting helps."""

Trace = Callable[[str, str], AbstractContextManager[Callable[[str], None]]]
"""What may look on while a credential is refreshed, given its name and the cause; it is to be told the result."""


class Redeemer(Protocol):
    """Redeems refresh tokens: the token endpoint, or what stands in for it where no time passes."""

    @property
    def redeem_timeout(self) -> float:
        """Seconds that a redeem takes at most."""
        ...

    @property
    def scope(self) -> str | None:
        """What is asked for."""
        ...

    def owner(self, client: Client) -> str:
        """Name whose grants it refreshes with `client`'s credentials."""
        ...

    async def redeem(self, refresh_token: Secret, client: Client) -> Outcome:
        """Redeem `refresh_token` once; never raises for what the network or the endpoint does."""
        ...


class Because(Enum):
    """Why a refresh is begun, for the log; the names are for the metrics."""

    NO_TOKEN = "there is no token yet"  # noqa: S105 - words
    NEEDED = "there is no token that is still good"
    STALE = "it expires soon"
    EXPIRED = "it has expired"
    SEED = "a new refresh token is configured"
    REFUSED = "the upstream refused it"
    PROBE_REFUSED = "the upstream refused it, and a probe too"
    BY_HAND = "a person asked for it"


FOR_THE_SEED: Final = frozenset({Because.SEED, Because.BY_HAND})
"""Why a new seed is redeemed first also where it got no verdict before."""


AFTER_A_401: Final = frozenset({Because.REFUSED, Because.PROBE_REFUSED})
"""Why a token is to be replaced that may be good by its date."""


class _Order(Struct, frozen=True):
    """Why a refresh was begun. `refused`: the generation that the upstream answered with 401, if that is why."""

    because: Because
    refused: int | None


class _Doubt(Struct, frozen=True):
    """A refresh token that PandaDoc refuses, while another replica may still be storing what it was redeemed for."""

    lineage: Lineage
    since: float  # monotonic: clocks of replicas differ
    asked: Because | None  # why we had asked; None: another replica had, and wrote down what it was told


class _Unsettled(Struct, frozen=True):
    """How the last redeem of a refresh token ended that brought no verdict on it."""

    at: float  # monotonic
    doubt: Intent | None  # since when it may be spent


class Refresher:
    """Mints generation after generation, one refresh in flight at most.

    What changes, all of it on the event loop:
    `credential`, `_lent`             what is lent, and the grant it is from; `_publish`
    `seed_waits`                      whether a new seed waits to be redeemed; `_seeded`, `_round`, `_keep`, `_refused`
    `in_flight`                       the one refresh; `start`
    `trouble`, `try_at`, `failures`   why there is no newer token, when to try again; `_publish`, `_fail`, `_refused`,
                                      `_forget_trouble`
    `failed_at`                       when the last refresh failed, by the wall; `_fail`
    `_held_back`                      whether an urgent refresh need not heed `try_at`; `_renew`
    `_disproved`                      the generation for whose 401 the last refresh was begun, until it is accepted
                                      again; `_renew`, `accepted`
    `refreshes`                       how often one ended how, for each reason it was begun for; `_count`
    `_result`                         how the one in flight ends, for who traces it; `_count`, `_adopt`, `_fail`,
                                      `_traced`
    `_last`                           the last attempt that we know of, whoever's it was; `_heeds`, `_round`
    `_unsettled`                      refresh tokens, by fingerprint, whose last redeem brought no verdict;
                                      `_no_verdict`, `_may_live`, `_keep`
    `_doubts`                         refusals, by the refresh token's fingerprint, that may not be believed yet;
                                      `_doubt` and `_outrun`
    """

    def __init__(
        self,
        name: str,
        *,
        secrets: GrantSecrets,
        endpoint: Redeemer,
        keeper: GrantKeeper,
        policy: Policy,
        clock: Clock,
        jitter: Callable[[], float],
        tasks: Tasks,
        trace: Trace | None = None,
        several: bool = False,
    ) -> None:
        self.keeper = keeper
        self.credential: Credential | None = None
        self.seed_waits = False
        self.in_flight: asyncio.Task[None] | None = None
        self.trouble: ProxyError | None = None
        self.try_at = 0.0  # monotonic
        self.failed_at = 0.0
        self.failures = 0  # since the last success
        self.refreshes: Counter[tuple[Because, str]] = Counter()
        self._latch = Latch()
        self.reconfigure(name, secrets=secrets, endpoint=endpoint, policy=policy, several=several)
        self._clock = clock
        self._jitter = jitter
        self._tasks = tasks
        self._trace = trace
        self._result = ""
        self._lent: Grant | None = None
        self._held_back = False
        self._disproved: int | None = None
        self._doubts: dict[str, _Doubt] = {}
        self._unsettled: dict[str, _Unsettled] = {}
        self._passed_over = Notice(log, logging.ERROR)
        self._last: Attempt | None = None

    def reconfigure(
        self, name: str, *, secrets: GrantSecrets, endpoint: Redeemer, policy: Policy, several: bool = False
    ) -> None:
        """Go on with other settings; a refresh in flight ends with what it began with, as far as it has come.

        `several`: it is one of several grants, so commands that people are given name it.
        """
        self.name = name
        self.advice = Advice(
            name,
            secrets.client_id.describe(),
            secrets.client_secret.describe(),
            secrets.refresh_token.describe() if secrets.refresh_token else None,
            in_memory=isinstance(self.keeper.store, MemoryStore),
            several=several,
        )
        self._secrets = secrets
        self._endpoint = endpoint
        self._latch.scope = endpoint.scope
        self._policy = policy
        self.keeper.reconfigure(name, secrets.seed)

    def __repr__(self) -> str:
        state = "refreshing" if self.in_flight else f"trouble={self.trouble!r}"
        return f"<Refresher {self.name} {self.credential} {state} {dict(self.results)} {self.keeper}>"

    async def by_hand(self, say: Callable[[str], object]) -> str | None:
        """Refresh once, for a person, whatever is left of the token; return what is in the way, if anything.

        `say` is told why it takes long. Raises StoreError or SecretUnavailable.
        """
        await self.keeper.read_again()
        self._adopt()
        refresh = self.start(because=Because.BY_HAND, refused=self.keeper.ledger.generation)
        if refresh is not None and not (await asyncio.wait({refresh}, timeout=SILENCE))[0]:
            say("Waiting: PandaDoc has not answered yet, or another process is refreshing, and its pair will do.")
            await asyncio.wait({refresh})  # being cancelled here leaves it running
        return self.trouble.detail if self.trouble else None

    async def passed_over(self) -> str | None:
        """Say, for a person who has refreshed, what became of a new seed where the stored grant goes on instead.

        None: there is no such seed, or `by_hand` has said all. Raises SecretUnavailable.
        """
        seeded = await self.keeper.new_lineage()
        if seeded is None or not self._stored_lives(client := await self._client()):
            return None
        if self._latch.closed(client, seeded):
            return self._latch.why(client, seeded)
        if self._disbelieved(seeded):  # as true where another replica has spent it: its pair will win
            return self.advice.dead_seed(self._in_doubt(seeded))
        return None if self.trouble else self.advice.seed_not_tried()

    @property
    def stored(self) -> Credential | None:
        """What the stored grant would be lent as, expired or not."""
        grant = self.keeper.ledger.grant
        return None if grant is None else self._policy.lend(grant)

    @property
    def results(self) -> Counter[str]:
        """How often refreshes ended how: REFRESHED, a Cause, an OAuth error, or what kept one from beginning."""
        results: Counter[str] = Counter()
        for (_, result), number in self.refreshes.items():
            results[result] += number
        return results

    # When

    async def look(self) -> bool:
        """Look behind the traffic: take what another process stored, begin what is due.

        Tells whether it has looked: not during a refresh. Raises StoreError or SecretUnavailable if it can't see; a
        refresh that is due is begun all the same.
        """
        if self.in_flight is not None:
            return False
        try:
            await self._seeded(urgent=False, anew=False)
            if self.in_flight is None:  # else what is in memory by now may not be stored, and is that refresh's to lend
                self._adopt()
                self._forget_trouble(await self._client())  # read each time, so that one that is gone is told
        except Exception:  # but not one that is cut off: nobody would wait for what it begins behind a drain (law 1)
            self._start_what_is_due()
            raise
        self._start_what_is_due()
        return True

    def _start_what_is_due(self) -> None:
        because = self._due()
        if because is not None and (self.seed_waits or not self._short_lived()):
            self.start(because=because)

    def start_if_due(self, credential: Credential) -> None:
        """Refresh behind the traffic what is stale, or what a newly configured refresh token replaces."""
        if self.seed_waits or credential.freshness(self._clock.wall()) is Freshness.STALE:
            self.start(because=self._due() or Because.STALE)

    def start(self, *, because: Because, refused: int | None = None) -> asyncio.Task[None] | None:
        """Return the refresh in flight; begin one if there is none and the last failure's pause is over.

        `refused` is the generation that the upstream answered with 401, if that is the reason.
        """
        order = _Order(because, refused)
        may = self._clock.monotonic() >= self.try_at or (self._held_back and self._urgent(order))
        if self.in_flight is None and may:
            work = self._renew(order) if self._trace is None else self._traced(order, self._trace)
            self.in_flight = self._tasks.start(work, f"refresh {self.name}", finish=True)
            self.in_flight.add_done_callback(self._ended)
        return self.in_flight

    def _ended(self, _task: asyncio.Task[None]) -> None:
        self.in_flight = None

    def _due(self) -> Because | None:
        """Say why a refresh is due; None if none is."""
        ours = self.credential
        if ours is None:
            return Because.NO_TOKEN
        freshness = ours.freshness(self._clock.wall())
        if freshness is Freshness.FRESH:
            return Because.SEED if self.seed_waits else None
        return Because.STALE if freshness is Freshness.STALE else Because.EXPIRED

    def accepted(self, generation: int) -> None:
        """Learn that PandaDoc takes a generation, whatever a 401 has said of it."""
        if generation == self._disproved:
            self._disproved = None

    def _forget_trouble(self, client: Client) -> None:
        """Forget what was in the way, where it is not any more and nothing is due: the next success may be far off."""
        grant = self.keeper.ledger.grant
        if grant is not None and self._due() is None and self._is_over(client, grant):
            self.trouble, self.failures = None, 0

    def _is_over(self, client: Client, grant: Grant) -> bool:
        """Tell whether the store is back, a secret was corrected, or nobody has needed a new token for a while.

        A token that was refused is still needed, until PandaDoc accepts it; and a while, so that one which is taken
        here and refused there does not end the backoff.
        """
        if isinstance(self.trouble, OperatorError):
            return not self._latch.closed(client, grant) and self._stopping_doubt(grant) is None
        return self._disproved is None and self._clock.monotonic() >= self.try_at + backoff.LONGEST

    def _short_lived(self) -> bool:
        grant = self.keeper.ledger.grant
        return self.credential is not None and grant is not None and grant.expires_at - grant.obtained_at < SHORT_LIFE

    def _urgent(self, order: _Order) -> bool:
        """Tell whether a new token is needed now: the old one was refused, has expired, or never was."""
        ours = self.credential
        return order.refused is not None or ours is None or ours.freshness(self._clock.wall()) is Freshness.EXPIRED

    def _needless(self, order: _Order) -> bool:
        """Tell whether what was ordered is there already: another process has refreshed (law 2)."""
        if order.refused is not None and self.credential is not None:
            return self.credential.generation > order.refused
        return self._due() is None

    # How

    async def _traced(self, order: _Order, trace: Trace) -> None:
        """Renew while somebody looks on."""
        self._result = NEEDLESS
        with trace(self.name, order.because.name.lower()) as tell:
            await self._renew(order)
            tell(self._result)

    async def _renew(self, order: _Order) -> None:
        self._held_back, self._disproved = False, order.refused
        try:
            await self._take_turns(order)
        except ProxyError as trouble:
            self._fail(trouble, backoff.DEAD_LOOK, tried=False)
        except StoreUnreachable as fault:
            if self._fail(self._waiting_helps(str(fault).rstrip(".")), backoff.DEAD_LOOK * (0.5 + self._jitter())):
                self._count(order, "store_unreachable")
        except (StoreError, SecretUnavailable) as fault:
            self._held_back = isinstance(fault, StoreError) and not self._urgent(order)
            word = "store_unavailable" if isinstance(fault, StoreError) else "secret_unavailable"
            why = OperatorError(f"Credential {self.name} can't be refreshed: {fault}")
            if self._fail(why, backoff.DEAD_LOOK, tried=False):
                self._count(order, word)
        except Exception:  # a fault of ours must not be tried again at once, by every request
            log.exception("a fault of ours in the refresh of credential %s", self.name)
            self._fail(self._waiting_helps("A fault of the proxy's own; its log says more"))

    async def _take_turns(self, order: _Order) -> None:
        """Refresh when the lease is ours, or has been another's for longer than a redeem may take.

        A store that ends leases by itself is waited for all the same: each replica may have had its turn.
        """
        redeem_timeout = self._endpoint.redeem_timeout
        patience = self._clock.monotonic() + redeem_timeout + PATIENCE_SLACK
        for turn in count():
            heard = self.keeper.store.heard
            if await self._settled(order):
                return
            lease = await self.keeper.lease(redeem_timeout + LEASE_SLACK, urgent=self._from_memory(order))
            overdue = lease is None and self._clock.monotonic() >= patience
            if overdue and self.keeper.store.remote:
                log.warning(
                    "credential %s: the lease has been others' for longer than one lasts; waiting on", self.name
                )
                patience, overdue = inf, False  # said once
            if lease is not None or overdue:
                if await self._with_lease(order, lease):
                    return
                if turn < QUICK_TURNS:
                    continue
            if await self._tasks.pause_until(self.keeper.store.news(heard, turn)):
                raise self._waiting_helps("Another process is refreshing it, and this one is ending")

    async def _settled(self, order: _Order) -> bool:
        """Tell whether the lease is not even needed: another process has done what was ordered, or was refused.

        Raises OperatorError where nothing that lives is known.
        """
        seeded = await self._seeded(urgent=self._from_memory(order))
        if self._adopt() or self._needless(order):
            return True
        client = await self._client()
        return bool(await self._told(self._alive(client, seeded, order), client, order))

    async def _told(self, grant: Grant, client: Client, order: _Order) -> bool | None:
        """Take what another replica was told as if we had asked; tell whether that settles it. None: nothing new."""
        if self._heard(grant, order):
            return await self._refused(Refused("invalid_grant"), grant, client, order, self.keeper.ledger.grant)
        return True if self._heeds(order) else None

    def _listens(self, order: _Order) -> bool:
        """Tell whether what other replicas were told is enough for us; a person asks by himself."""
        return self.keeper.store.remote and order.because is not Because.BY_HAND

    def _heeds(self, order: _Order) -> bool:
        """Tell whether another replica has failed since we last looked: that counts as a failure of ours.

        So a fleet has one backoff, and not one for each replica.
        """
        last, known = self.keeper.ledger.last, self._last
        self._last = last
        if last is None or last == known or not self._listens(order):
            return False
        asked = last.again_at - max(self._clock.wall(), last.at)  # its clock may be ahead, and both times are by that
        if last.result not in PASSING or (self._age(last) > backoff.LONGEST and asked <= 0):
            return False
        pause = backoff.pause(self.failures + 1, self._jitter(), asked)
        self._fail(self._waiting_helps(f"Another replica has just tried in vain ({last.result})"), pause)
        return True

    async def _seeded(self, *, urgent: bool, anew: bool = True) -> Grant | None:
        """Look at what is kept, and at the configuration; return the grant that a new seed begins."""
        await self.keeper.read_again(urgent=urgent, peek=True, anew=anew)
        seeded = await self.keeper.new_lineage()
        self.seed_waits = seeded is not None and await self._may_live(seeded)
        return seeded

    async def _with_lease(self, order: _Order, lease: Release | None) -> bool:
        """Have a round, and give the lease back; None stands for one that another process keeps for too long."""
        if lease is None:
            log.warning("credential %s: another process holds the refresh for too long; going on", self.name)
        try:
            return await self._round(order, lease)
        finally:
            if lease is not None:
                lease()

    async def _round(self, order: _Order, lease: Release | None) -> bool:
        """Adopt or redeem; tell whether that settled it, or the store has moved on and wants another look."""
        await self.keeper.read_again(urgent=self._from_memory(order))
        seeded = await self.keeper.new_lineage()
        if seeded is not None and seeded.access_token is not None:
            await self.keeper.keep(seeded, Attempt(self._clock.wall(), SEEDED))
            seeded = None
        self.seed_waits = seeded is not None and await self._may_live(seeded)
        if self._adopt() or self._needless(order):
            return True
        client = await self._client()
        grant = self._alive(client, seeded, order)
        if (settled := await self._told(grant, client, order)) is not None:
            return settled
        self._stop_in_doubt(grant)
        if order.because is Because.BY_HAND:
            self._recall(grant)
        was, before = self.keeper.ledger.grant, self.keeper.ledger.intent
        if not await self.keeper.begin(grant, urgent=self._from_memory(order) and grant is not seeded):
            return False
        sent_at, scope = self._clock.wall(), self._latch.scope
        outcome = await self._endpoint.redeem(grant.refresh_token, client)
        if isinstance(outcome, Redeemed):
            await self._keep(grant, outcome, sent_at, order)
            return True
        proven = not isinstance(outcome, Unknown)
        asked = None if isinstance(outcome, Refused) else outcome.retry_after
        again_at = self._clock.wall() + asked if asked else 0.0
        tried = grant.refresh_token.fingerprint()
        now, refused_at = self._clock.wall(), self._refused_at(order)
        attempt = Attempt(now, outcome.cause, again_at=again_at, fingerprint=tried, refused_at=refused_at)
        await self.keeper.failed(grant, before, attempt, proven=proven)
        self._last = self.keeper.ledger.last
        self._count(order, outcome.cause)
        if isinstance(outcome, Refused):
            asked_alike = scope == self._latch.scope  # else a reload came meanwhile, and this says nothing any more
            return asked_alike and await self._refused(outcome, grant, client, order, was, alone=lease is not None)
        beside = grant is seeded and self._stored_lives(client)
        return self._no_verdict(grant, outcome, order, beside=beside)

    def _refused_at(self, order: _Order) -> float:
        """Return when PandaDoc last refused the access token there is, by the wall: now, or before the last attempt."""
        last = self.keeper.ledger.last
        before = 0.0 if last is None else last.refused_at
        return self._clock.wall() if order.because in AFTER_A_401 else before

    def _no_verdict(self, grant: Grant, outcome: NotRedeemed | Unknown, order: _Order, *, beside: bool) -> bool:
        """Have it tried again, or not, where it may be spent (law 6); tell whether that settles it.

        `beside`: it is a seed, and the stored grant lives; that one's turn is now, where a token is needed.
        """
        unsettled = _Unsettled(self._clock.monotonic(), self._in_doubt(grant))
        self._unsettled[grant.refresh_token.fingerprint()] = unsettled
        if not beside:
            self._stop_in_doubt(grant)
        elif self._stopping_doubt(grant) is not None:
            return not self._urgent(order)
        asked = outcome.retry_after
        self._held_back = beside and not asked and not self._urgent(order)
        trouble = self._waiting_helps(f"The token endpoint failed: {outcome.detail}")
        self._fail(trouble, backoff.pause(self.failures + 1, self._jitter(), asked))
        return True

    def _from_memory(self, order: _Order) -> bool:
        return self._policy.goes_on and self._policy.alone and self._urgent(order)

    def _adopt(self) -> bool:
        """Lend a stored token if it is newer than ours and still good; nothing is redeemed then (law 5)."""
        grant, ours = self.keeper.ledger.grant, self.credential
        if grant is None or grant == self._lent or (newer := self._policy.lend(grant)) is None:
            return False
        if newer.freshness(self._clock.wall()) is Freshness.EXPIRED:
            return False
        same = ours is not None and ours.authorization == newer.authorization
        if ours is not None and same and newer.expires_at <= ours.expires_at:
            return False  # a newer refresh token beside the same access token is nothing to replay with
        generation = self._publish(grant, newer)
        self._result = ADOPTED
        self._outrun(grant)
        log.info("credential %s: generation %d taken from the store", self.name, generation)
        return True

    async def _may_live(self, seeded: Grant) -> bool:
        if self._disbelieved(seeded):  # later, when it is known
            return False
        doubt = self._stopping_doubt(seeded)
        if doubt is not None and self.keeper.ledger.grant is not None:
            known = self._unsettled.get(seeded.refresh_token.fingerprint())
            may_come = self._clock.wall() - doubt.at <= self._endpoint.redeem_timeout + LEASE_SLACK
            if (known is not None and known.doubt == doubt) or not may_come:
                goes_on = not self._latch or self._stored_lives(await self._client())
                self._passed_over.say(self.advice.stopped_seed(doubt, goes_on=goes_on))
                self._unsettled.setdefault(seeded.refresh_token.fingerprint(), _Unsettled(0.0, doubt))
            return False  # while another process redeems it: until that ends
        return not self._latch or not self._latch.closed(await self._client(), seeded)

    async def _client(self) -> Client:
        """Read the client's credentials. Raises SecretUnavailable, also where they are not the stored grant's."""
        client = await self._secrets.client()
        if self.keeper.store.whose not in {"", self._endpoint.owner(client)}:
            raise SecretUnavailable(self.advice.another_client())
        return client

    def _alive(self, client: Client, seeded: Grant | None, order: _Order) -> Grant:
        """Choose what to redeem: a new seed before the stored grant, and nothing that is known to be dead.

        What may be spent comes last, where that is to stop us; before it what was refused, and may have been spent by
        another replica; before that, where a token is needed, what got no verdict when it was tried last. Raises
        OperatorError if there is no refresh token, or none that lives.
        """
        grants = [grant for grant in (seeded, self.keeper.ledger.grant) if grant is not None]
        if not grants:
            raise OperatorError(self.advice.no_refresh_token())

        def place(grant: Grant) -> tuple[bool, bool, float]:
            unsettled = self._unsettled.get(grant.refresh_token.fingerprint())
            tried_at = unsettled.at if unsettled is not None and order.because not in FOR_THE_SEED else -inf
            return self._stopping_doubt(grant) is not None, self._disbelieved(grant), tried_at

        for grant in sorted(grants, key=place):
            if not self._latch.closed(client, grant):
                return grant
        raise OperatorError(self._latch.why(client, grants[-1]))

    def _stored_lives(self, client: Client) -> bool:
        """Tell whether the stored grant may be redeemed."""
        stored = self.keeper.ledger.grant
        if stored is None or self._latch.closed(client, stored) or self._disbelieved(stored):
            return False
        return self._stopping_doubt(stored) is None

    def _stop_in_doubt(self, grant: Grant) -> None:
        """Raise OperatorError if nobody knows the end of a redeem of this token, and that is to stop us."""
        if (doubt := self._stopping_doubt(grant)) is not None:
            tried = self.keeper.ledger.refuses(grant.refresh_token)  # by a person, once more
            raise OperatorError(self.advice.dead("invalid_grant", doubt) if tried else self.advice.stopped(doubt))

    def _stopping_doubt(self, grant: Grant) -> Intent | None:
        return None if self._policy.retry_unknown else self._in_doubt(grant)

    def _in_doubt(self, grant: Grant) -> Intent | None:
        """Return the redeem of it that nobody knows the end of.

        The ledger forgets a seed's when the stored grant is redeemed after it; that one is remembered here.
        """
        doubt = self.keeper.ledger.doubt(grant.refresh_token)
        unsettled = self._unsettled.get(grant.refresh_token.fingerprint())
        if doubt is None and unsettled is not None and grant != self.keeper.ledger.grant:
            return unsettled.doubt
        return doubt

    async def _keep(self, grant: Grant, reply: Redeemed, sent_at: float, order: _Order) -> None:
        """Store the new pair, then lend it (law 4). Its life counts from before the request was sent (law 7)."""
        if reply.successor_unusable:
            log.critical("credential %s: the reply's refresh_token can't be used; the spent one is kept", self.name)
        ours = self.keeper.ledger.grant
        if ours is not None and ours.refresh_token == grant.refresh_token:
            grant = ours  # a store that it was moved to meanwhile may have numbered it anew
        generation = max(grant.generation, self.credential.generation if self.credential else 0) + 1
        renewed = replace(grant, generation=generation, refresh_token=reply.refresh_token or grant.refresh_token)
        if reply.access_token is not None:
            expires_at = sent_at + reply.lifetime
            renewed = replace(renewed, access_token=reply.access_token, obtained_at=sent_at, expires_at=expires_at)
        result = REFRESHED if reply.access_token is not None else Cause.NO_ACCESS_TOKEN
        await self.keeper.keep(renewed, Attempt(self._clock.wall(), result))
        self.seed_waits = False
        self._unsettled.pop(grant.refresh_token.fingerprint(), None)
        self._count(order, result)
        if reply.access_token is None:
            self._fail(self._waiting_helps(f"The token endpoint answered 200 with {reply.fault}"))
            return
        kept = self.keeper.ledger.grant
        lent = self._policy.lend(kept) if kept is not None else None
        if kept is None or lent is None or kept.access_token != reply.access_token:
            if kept is not None and kept.lineage == renewed.lineage:
                self._count(order, OUTRUN)
            self._adopt()  # somebody has logged in meanwhile, or another replica's redeem was the first to be stored
            return
        failures = self.failures
        generation = self._publish(kept, lent)
        if order.refused is not None:
            self.keeper.keep_refusals(self.keeper.refusals.minted(generation))
        log.info(
            "credential %s: refreshed because %s; generation %d, good for %.0f s%s",
            self.name,
            order.because.value,
            generation,
            reply.lifetime,
            " (expires_in was missing or odd)" if reply.lifetime_guessed else "",
        )
        if lent.freshness(self._clock.wall()) is Freshness.EXPIRED:  # each request would redeem the next
            self.failures = failures
            self._fail(self._waiting_helps("The new access token had expired when it came"))

    def _publish(self, grant: Grant, credential: Credential) -> int:
        """Lend it; return its generation: the stored one, or the next, where a login has followed unstored pairs."""
        generation = max(grant.generation, self.credential.generation + 1 if self.credential else 0)
        self._lent = grant
        self.credential = replace(credential, generation=generation)
        self.trouble, self.failures, self.try_at = None, 0, 0.0
        return generation

    # Failure

    async def _refused(
        self, outcome: Refused, grant: Grant, client: Client, order: _Order, was: Grant | None, *, alone: bool = True
    ) -> bool:
        """Latch a grant that PandaDoc refuses; tell whether that settles it, or there is another to try (law 6).

        `was`: what was kept before it was redeemed. `alone`: no other process may be redeeming it.
        """
        shared, now = outcome.error == "invalid_grant" and self.keeper.store.remote, self._clock.monotonic()
        since = self._doubt(grant, order.because, now).since if shared else now
        seen = await self._look_again(since + (SECOND_LOOK if shared or not alone else 0.0), was)
        if self.keeper.ledger.grant != was:
            return False
        if shared and not seen:
            self._fail(self._waiting_helps(self.advice.out_of_sight()))
            return True
        stored = self.keeper.ledger.grant
        if outcome.error == "invalid_grant" and self._disbelieved(grant):
            self.seed_waits = False
            self._fail(self._waiting_helps(self.advice.may_be_on_its_way(), self._believed_in(grant)))
            return not (self._stored_lives(client) and self._urgent(order))
        doubt = self._in_doubt(grant)
        why = self.advice.dead(outcome.error, doubt)
        self._latch.close(client, grant, why)
        self.seed_waits = False
        if stored is not None and not self._latch.closed(client, stored):
            if outcome.error == "invalid_grant":
                why = self.advice.dead_seed(doubt)
                self._latch.close(client, grant, why)
            log.error("%s", why)
            self.trouble = None
            return not self._urgent(order)
        self._fail(OperatorError(why), backoff.DEAD_LOOK)
        return True

    async def _look_again(self, until: float, was: Grant | None) -> bool:
        """Look at the store until it has something else than it had, or until then; tell whether it was seen last."""
        while True:
            heard = self.keeper.store.heard
            seen = await self.keeper.read_again(urgent=self._policy.alone)
            if self.keeper.ledger.grant != was or self._clock.monotonic() >= until:
                return seen
            if await self._tasks.pause_until(self.keeper.store.news(heard)):
                return seen

    def _heard(self, grant: Grant, order: _Order) -> bool:
        """Tell whether another replica has asked for us: PandaDoc has refused this very grant lately."""
        last = self.keeper.ledger.last
        if not self._listens(order) or grant != self.keeper.ledger.grant:
            return False
        if last is not None and last.result == "invalid_grant" and self._age(last) < HEARD_FOR:
            self._doubt(grant, None, self._clock.monotonic())
            return True
        return False

    def _recall(self, grant: Grant) -> None:
        """Take from the store since when a grant has been refused: a person's command has heard of nothing itself."""
        if not self.keeper.store.remote:
            return
        last = self.keeper.ledger.last
        if last is not None and last.result == "invalid_grant" and grant == self.keeper.ledger.grant:
            self._doubt(grant, Because.BY_HAND, self._clock.monotonic() - max(self._clock.wall() - last.at, 0.0))

    def _age(self, attempt: Attempt) -> float:
        """Seconds since it ended. Another replica's clock may be ahead of ours."""
        return abs(self._clock.wall() - attempt.at)

    def _disbelieved(self, grant: Grant) -> bool:
        """Tell whether it was refused, and a replica that has redeemed it may still be storing what it got."""
        return self._believed_in(grant) > 0.0

    def _believed_in(self, grant: Grant) -> float:
        """Return in how many seconds a refusal is believed; 0 where there was none, or it is.

        As long as a redeem and a lease last, from when we first heard of it.
        """
        longest = 2 * self._endpoint.redeem_timeout + LEASE_SLACK
        doubt = self._doubts.get(grant.refresh_token.fingerprint())
        return 0.0 if doubt is None else max(0.0, doubt.since + longest - self._clock.monotonic())

    def _doubt(self, grant: Grant, asked: Because | None, since: float) -> _Doubt:
        """Return the doubt about a refused grant; begin it if it is new."""
        doubt = _Doubt(grant.lineage, since, asked)
        return self._doubts.setdefault(grant.refresh_token.fingerprint(), doubt)

    def _outrun(self, newer: Grant) -> None:
        """Count a redeem of ours that was refused because another replica's had come before."""
        over = [each for each, doubt in self._doubts.items() if doubt.lineage.fingerprint == newer.lineage.fingerprint]
        for doubt in map(self._doubts.pop, over):
            if doubt.asked is not None:
                self.refreshes[doubt.asked, OUTRUN] += 1

    def _waiting_helps(self, cause: str, seconds: float = 0.0) -> CredentialUnavailable:
        """`seconds`: how long a person has to wait for another word, where that is known."""
        by_hand = f"Try again in {ceil(seconds)} s." if seconds else "Try again."
        again = "It is tried again by itself." if self._policy.goes_on else by_hand
        return CredentialUnavailable(f"Credential {self.name} can't be refreshed yet. {cause}. {again}")

    def _fail(self, trouble: ProxyError, pause: float | None = None, *, tried: bool = True) -> bool:
        """Remember why, and when to try again. Tell whether it is news: the same is not logged at every look.

        `tried`: it was more than a look at what is in the way; else the same is not counted again, either.
        """
        news = self.trouble is None or self.trouble.detail != trouble.detail
        self.failures += news or tried
        if self._result == NEEDLESS:
            self._result = UNAVAILABLE
        self.trouble = trouble
        self.failed_at = self._clock.wall()
        seconds = backoff.pause(self.failures, self._jitter()) if pause is None else pause
        self.try_at = self._clock.monotonic() + seconds
        level = logging.ERROR if isinstance(trouble, OperatorError) else logging.WARNING
        log.log(level if news else logging.DEBUG, "%s", trouble.detail)
        return news

    def _count(self, order: _Order, result: str) -> None:
        self.refreshes[order.because, result] += 1
        self._result = result
