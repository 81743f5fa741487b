"""The source that refreshes itself: an OAuth 2 grant, lent as `Bearer …`.

Lends what the refresher minted, and turns the upstream's 401s into refreshes, probes and cool-downs
(laws 2, 3, 5, 12). Callers only ever wait for a task that is not theirs, so a caller that hangs up
changes nothing.

Never here: HTTP, files, and how a refresh is done.
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from enum import Enum
from typing import Final

from cachetools import TLRUCache
from msgspec import Struct

from proxy.clock import Clock
from proxy.credential.credential import Credential, Freshness
from proxy.credential.expiry_alarm import ExpiryAlarm
from proxy.credential.ledger import Lineage
from proxy.credential.probe import Probe, Probed
from proxy.credential.refresh import Because, Refresher
from proxy.credential.refusals import Verdict
from proxy.credential.status import REFUSED, Running, Status, running_status
from proxy.credential.store import StoreError
from proxy.errors import CredentialUnavailable, OperatorError, ProxyError
from proxy.notice import Notice
from proxy.secrets import SecretUnavailable
from proxy.tasks import Tasks
from proxy.time_limit import time_limit

log = logging.getLogger(__name__)

ACCEPTED_LATELY: Final = 30.0
"""Seconds for which an accepted token needs no probe before a large upload (law 12)."""

PROBE_PAUSE: Final = 5.0
"""Seconds for which a probe's result holds: a revocation in a cool-down heals this soon (law 3)."""


COOLING: Final = "a fresh token was refused too, not long ago: this is the cool-down after it"
STILL_GOOD: Final = "a probe shows that the token is good: what was asked for is refused"
"""Why a 401 is relayed, for the access log."""


class State(Enum):
    """What a credential can do now (laws 5 to 7)."""

    FRESH = "fresh"  # lend it
    STALE = "stale"  # lend it, and refresh behind the traffic
    EXPIRED = "expired"  # wait for the refresh
    DEAD = "dead"  # no refresh can help: say what to do. What is still good is lent


class _LastProbe(Struct, frozen=True):
    generation: int
    at: float  # monotonic
    result: Probed


class RefreshingCredential:
    """Lends an access token, refreshed ahead of its expiry, at it, or when a 401 comes back.

    What changes, all of it on the event loop:
    `_cache`                      a view of the refresher's credential (law 8); `_lendable`
    `_healing`                    the one probe-and-refresh in flight (law 3); `_heal`
    `_probing`, `_last_probe`     the one probe in flight, and the last one's result; `_ask`
    `_blind`                      why the last look saw nothing; `look`
    `_accepted`, `_accepted_at`   the token last accepted by the upstream, and when; `accepted`
    `_refused`                    the lineage of which a token just minted was refused in a probe, until one is
                                  accepted; `_note_refusal`, `accepted`
    """

    def __init__(self, refresher: Refresher, *, probe: Probe | None, wait: float, clock: Clock, tasks: Tasks) -> None:
        self._refresher = refresher
        self._keeper = refresher.keeper
        self.reconfigure(probe=probe, wait=wait)
        self._clock = clock
        self._tasks = tasks
        self._cache: TLRUCache[str, Credential] = TLRUCache(
            maxsize=1, ttu=lambda _name, credential, _now: credential.expires_at, timer=clock.wall
        )
        self._healing: asyncio.Task[None] | None = None
        self._probing: asyncio.Task[Probed] | None = None
        self._last_probe: _LastProbe | None = None
        self._accepted: Credential | None = None
        self._accepted_at = 0.0  # monotonic
        self._refused: Lineage | None = None
        self._blind = ""
        self._notice = Notice(log)
        self._alarm = ExpiryAlarm()

    def reconfigure(self, *, probe: Probe | None, wait: float) -> None:
        """Go on with other settings."""
        self._probe = probe
        self._wait = wait

    @property
    def name(self) -> str:
        return self._refresher.name

    @property
    def refresher(self) -> Refresher:
        return self._refresher

    def __repr__(self) -> str:
        busy = "healing" if self._healing else "probing" if self._probing else "idle"
        state = f"{self.state.value} {busy} last_probe={self._last_probe}"
        return f"<RefreshingCredential {self.name} {state} {self._refresher}>"

    @property
    def state(self) -> State:
        if isinstance(self._refresher.trouble, OperatorError):
            return State.DEAD
        credential = self._refresher.credential
        return State.EXPIRED if credential is None else State(credential.freshness(self._clock.wall()).value)

    def status(self) -> Status:
        trouble = self._refresher.trouble.detail if self._refresher.trouble else self._blind
        state = self.state.value
        if not trouble and self._is_refused():
            state, trouble = REFUSED, self._refresher.advice.refused()
        store = self._keeper.store.where
        running = Running(state, self._refresher.credential, trouble, self._keeper.stored, store)
        return running_status(self.name, self._keeper.ledger, running, self._clock.wall())

    def _is_refused(self) -> bool:
        grant = self._keeper.ledger.grant
        return grant is not None and grant.lineage == self._refused

    @property
    def refreshes(self) -> Mapping[tuple[Because, str], int]:
        """How often refreshes ended how, for each reason one was begun for."""
        return self._refresher.refreshes

    @property
    def failures(self) -> int:
        """How many refreshes have failed since the last that did not."""
        return self._refresher.failures

    @property
    def blind(self) -> bool:
        """Whether the last look behind the traffic could not read the store or a secret."""
        return bool(self._blind)

    @property
    def stored(self) -> bool:
        """Whether the store has the newest pair."""
        return self._keeper.stored

    # Behind the traffic

    async def look(self) -> None:
        self._keeper.store.watch(self.look)
        try:
            if await self._refresher.look():
                self._blind = ""
        except (StoreError, SecretUnavailable) as fault:
            self._blind = f"credential {self.name}: {fault}"
        self._notice.say(self._blind)
        self._sound_alarm()

    async def close(self) -> None:
        """Let go of the store's connections. Nothing is lent any more."""
        await self._keeper.store.close()

    def _sound_alarm(self) -> None:
        """Say that the end is near, once a refresh that was due has failed."""
        credential, trouble = self._refresher.credential, self._refresher.trouble
        grant, now = self._keeper.ledger.grant, self._clock.wall()
        if credential is None or grant is None or trouble is None or now >= credential.expires_at:
            return
        if min(now, self._refresher.failed_at) >= credential.stale_at:
            lifetime = grant.expires_at - grant.obtained_at
            self._alarm.sound(self.name, credential, lifetime=lifetime, now=now, trouble=trouble.detail)

    # Lending

    async def current(self) -> Credential:
        credential = self._lendable()
        if credential is None:
            return await self._after_refresh()
        self._refresher.start_if_due(credential)
        return credential

    async def proven(self) -> Credential:
        by = self._patience_ends()
        try:
            async with time_limit(by):
                credential, dead = await self._probed()
        except TimeoutError:
            credential = self._at_once()
            dead = self._refused_last(credential)
        if dead:
            await self._newer(credential, by)
        return self._at_once()

    async def _probed(self) -> tuple[Credential, bool]:
        """Return what a refresh in flight leaves, and whether a probe shows that PandaDoc does not take it."""
        await self.current()
        await self._join(self._refresher.in_flight)
        credential = await self.current()
        if self._probe is None or self._accepted_lately(credential):
            return credential, False
        return credential, await self._ask(self._probe, credential) is Probed.REFUSED

    def _lendable(self) -> Credential | None:
        """Return the newest credential unless it has expired (law 5)."""
        newest = self._refresher.credential
        try:
            cached = self._cache[self.name]  # `get` looks twice, at three times the cost
        except KeyError:
            cached = None
        if cached is newest:
            return cached
        if newest is None or newest.freshness(self._clock.wall()) is Freshness.EXPIRED:
            return None
        self._cache[self.name] = newest  # minted just now, or forgotten when a clock stepped
        return newest

    async def _after_refresh(self) -> Credential:
        """Wait for the refresh in flight, or a new one, at most `wait` seconds (law 1)."""
        with suppress(TimeoutError):
            async with time_limit(self._patience_ends()):
                await self._join(self._refresher.start(because=Because.NEEDED))
        return self._at_once()

    def _at_once(self) -> Credential:
        """Lend what there is, or say why there is nothing."""
        if (credential := self._lendable()) is not None:
            return credential
        raise self._why_not()

    def _why_not(self) -> ProxyError:
        """Make the error that says why there is nothing, or nothing newer."""
        trouble = self._refresher.trouble
        if self._refresher.in_flight is not None or trouble is None:
            return CredentialUnavailable(
                f"Credential {self.name} is being refreshed, and that takes longer than {self._wait:g} s.",
                retry_after=1,
            )
        return self._afresh(trouble)

    def _afresh(self, trouble: ProxyError) -> ProxyError:
        """Make the error anew for each caller: its Retry-After counts down, its traceback is its own."""
        if isinstance(trouble, OperatorError):
            return OperatorError(trouble.detail)
        left = self._refresher.try_at - self._clock.monotonic()
        return CredentialUnavailable(trouble.detail, retry_after=left)

    def _patience_ends(self) -> float:
        """Return when a caller who comes now has waited for `wait` seconds, by the event loop's clock."""
        return asyncio.get_running_loop().time() + self._wait

    async def _join(self, task: asyncio.Task[None] | None) -> None:
        """Wait for somebody else's task; being cancelled here, as at the end of `wait`, leaves it running."""
        if task is not None:
            await asyncio.wait({task})

    # What the upstream's answers teach (laws 2 and 3)

    async def replacement(self, refused: Credential) -> Credential | str:
        return await self._newer(refused, self._patience_ends())

    async def _newer(self, refused: Credential, by: float) -> Credential | str:
        """Do what `replacement` does, until the loop's clock says `by`."""
        probed = Probed.UNCLEAR
        with suppress(TimeoutError):
            async with time_limit(by):
                for _ in range(2):  # the first may have joined a refresh that was begun for another reason
                    if not self._superseded(refused):
                        await self._join(self._heal(refused))
                if self._superseded(refused):
                    return await self.current()
                if self._probe is not None and (self.state is State.DEAD or not self._cooling):
                    probed = await self._ask(self._probe, refused)
        return self._last_word(probed)

    def _last_word(self, probed: Probed) -> str:
        """Say why a 401 is PandaDoc's last word, though nothing newer is there to replay with.

        Raises ProxyError where it is not: the token that a probe has shown to be dead can't be replaced, as only a
        person can help, or a refresh has failed for a reason that passes, or takes too long. Where PandaDoc has killed
        the old token in a redeem whose reply was lost, its 401 would hide that.
        """
        if probed is Probed.ACCEPTED:
            return STILL_GOOD
        fault = self._why_not()
        if isinstance(fault, OperatorError):
            if probed is Probed.UNCLEAR:
                return fault.detail
        elif self._cooling:
            return COOLING
        raise fault

    @property
    def _cooling(self) -> bool:
        return self._keeper.refusals.cooling(self._clock.wall())

    def renew_behind(self, refused: Credential) -> None:
        """Refresh at once only a token that was not accepted lately: no replay will show whether it helped (law 3)."""
        if self._superseded(refused):
            return
        if not self._accepted_lately(refused):
            self._heal(refused)
        elif self._probe is not None and self._healing is None:
            self._start_healing(self._probe, refused)

    def accepted(self, credential: Credential) -> None:
        self._accepted, self._accepted_at = credential, self._clock.monotonic()
        if not self._superseded(credential):
            self._refused = None
        self._refresher.accepted(credential.generation)
        refusals = self._keeper.refusals
        if refusals.on_trial is not None or refusals.spent:
            self._keeper.keep_refusals(refusals.accepted(credential.generation))

    def replayed(self, credential: Credential, *, refused: bool) -> None:
        if self._superseded(credential):
            return
        was = self._keeper.refusals
        if not refused:
            if was.on_trial == credential.generation:  # else it was another process's refresh that has helped
                self._keeper.keep_refusals(was.helped())
            return
        now = was.replay_refused(credential.generation, self._clock.wall())
        self._keeper.keep_refusals(now)
        if now.until != was.until:
            log.warning(
                "credential %s: generation %d was refused as soon as it was minted; for %g s, 401s are"
                " relayed unless a probe is refused too",
                self.name,
                credential.generation,
                now.length,
            )

    def _superseded(self, sent: Credential) -> bool:
        newest = self._refresher.credential
        return newest is not None and newest.generation > sent.generation

    def _heal(self, refused: Credential) -> asyncio.Task[None] | None:
        """Begin what a 401 for the newest generation permits; return the task to wait for, if any."""
        if (busy := self._healing or self._refresher.in_flight) is not None:
            return busy
        refusals, verdict = self._keeper.refusals.on_401(refused.generation, self._clock.wall())
        self._keeper.keep_refusals(refusals)
        if verdict is Verdict.REFRESH:
            return self._refresher.start(because=Because.REFUSED, refused=refused.generation)
        if verdict is Verdict.PROBE and self._probe is not None:
            return self._start_healing(self._probe, refused)
        return None

    def _start_healing(self, probe: Probe, refused: Credential) -> asyncio.Task[None]:
        self._healing = self._tasks.start(self._probe_first(probe, refused), f"heal {self.name}")
        self._healing.add_done_callback(self._healed)
        return self._healing

    def _healed(self, _task: asyncio.Task[None]) -> None:
        self._healing = None

    async def _probe_first(self, probe: Probe, refused: Credential) -> None:
        """In a cool-down: refresh only if the probe is refused too, and learn whether that helped."""
        if await self._ask(probe, refused) is not Probed.REFUSED:
            return
        refresh = self._refresher.start(because=Because.PROBE_REFUSED, refused=refused.generation)
        if refresh is None:
            return
        await asyncio.wait({refresh})
        newest, current = self._refresher.credential, self._probe  # a reload has closed what the former probe asks by
        if newest is None or newest.generation <= refused.generation or current is None:
            return
        result, learnt = await self._ask(current, newest), self._keeper.refusals
        helped = result is Probed.ACCEPTED
        self._keeper.keep_refusals(learnt.helped() if helped else learnt.spend(self._clock.wall()))
        if result is Probed.REFUSED and not self._superseded(newest):
            self._note_refusal()

    def _note_refusal(self) -> None:
        """Remember, and say once, that a token just minted is refused."""
        grant = self._keeper.ledger.grant
        if grant is not None and not self._is_refused():
            self._refused = grant.lineage
            log.warning("%s", self._refresher.advice.refused())

    async def _ask(self, probe: Probe, credential: Credential) -> Probed:
        """Probe, unless this generation was probed within PROBE_PAUSE: then that result still holds."""
        while True:
            last = self._last_probe
            if last and last.generation == credential.generation and self._clock.monotonic() < last.at + PROBE_PAUSE:
                return last.result
            if self._probing is None:  # else it may be another generation's: look again when it is over
                self._probing = self._tasks.start(self._probe_now(probe, credential), f"probe {self.name}")
            probing = self._probing
            await asyncio.wait({probing})
            if probing.cancelled() or probing.exception() is not None:  # a fault of ours; Tasks has logged it
                return Probed.UNCLEAR

    async def _probe_now(self, probe: Probe, credential: Credential) -> Probed:
        try:
            result = await probe(credential)
        finally:
            self._probing = None
        self._last_probe = _LastProbe(credential.generation, self._clock.monotonic(), result)
        if result is Probed.ACCEPTED:
            self.accepted(credential)
        return result

    def _accepted_lately(self, credential: Credential) -> bool:
        return self._accepted is credential and self._clock.monotonic() < self._accepted_at + ACCEPTED_LATELY

    def _refused_last(self, credential: Credential) -> bool:
        """Tell whether the last that is known of it is that a probe was refused."""
        last = self._last_probe
        if last is None or (last.generation, last.result) != (credential.generation, Probed.REFUSED):
            return False
        return self._accepted is not credential or self._accepted_at < last.at
