"""The ledger of one grant, in memory and in the store: read again, compared, written down (laws 2, 4 and 6).

What is in memory is never worse than what is in the store. A pair that can't be stored lives on here
and is tried again until it is.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from math import inf
from typing import Final

from msgspec.structs import replace

from proxy.clock import Clock
from proxy.credential import backoff, ledger
from proxy.credential.grant_secrets import Seed
from proxy.credential.ledger import Attempt, Grant, Intent, Ledger, Lineage
from proxy.credential.refusals import Refusals
from proxy.credential.store import MemoryStore, Release, Store, StoreError, unshared
from proxy.notice import Notice
from proxy.secrets import SecretUnavailable
from proxy.tasks import Tasks

log = logging.getLogger(__name__)

LAST_TRIES: Final = 10
LAST_PAUSE: Final = 1.0
"""How often, and after how many seconds, storing a pair is tried again when the process ends."""

ONE_TROUBLE: Final = 3 * backoff.LONGEST
"""Seconds within which another loss of the same pair is one trouble, our longest pause included: something else writes
there."""

_NOWHERE: Final = (
    "was NEVER stored and ends with this process. The stored refresh token is spent; a new login will be needed."
)
_LEFT_BEHIND: Final = "has NEVER reached the store that it was to go to. It is still where it was kept before."


class GrantKeeper:
    """Keeps one credential's ledger.

    What changes: `ledger`, by every method that reads or writes it; `_unstored`, while a pair in memory is
    not in the store, by `_store_now`, `_save`, `_write_again`, `read_again` and `move`; `_saving`, the last task to
    store one late, by `_store_soon` and `move`; `_store`, `_by`, `_moves` and `_left`, the grant that a former store
    has too, by `move`; `_arriving`, while what is in memory was never in this store, by `move`, `_save` and
    `read_again`; `_losses`, how often in a row the store has lost the pair `_lost`, and `_lost_at`, when last, by
    `_write_again` and `move`;
    `_given_up`, intents that were never sent and may still be written, by `begin`; `_seen_intent`, the one that the
    store had when it was last read, by `read_again`.
    """

    def __init__(
        self,
        name: str,
        *,
        store: Store,
        seed: Callable[[], Awaitable[Seed | None]],
        clock: Clock,
        jitter: Callable[[], float],
        tasks: Tasks,
        by: str = "",
    ) -> None:
        """`seed` reads what is configured; it may raise SecretUnavailable. `by` names the replica, if any."""
        self.ledger = Ledger()
        self._name = name
        self._store = store
        self._seed = seed
        self._clock = clock
        self._jitter = jitter
        self._tasks = tasks
        self._by = by
        self._unstored = self._arriving = False
        self._moves = 0  # a store that replicas share is the same object in another place
        self._left: Grant | None = None
        self._saving: asyncio.Task[None] | None = None
        self._losses = 0
        self._lost: Grant | None = None
        self._lost_at = -inf  # monotonic
        self._given_up: set[Intent] = set()
        self._seen_intent: Intent | None = None
        self._notice = Notice(log)
        self._lockless = Notice(log)
        self._contested = Notice(log, logging.ERROR)
        self._unreadable = Notice(log, logging.CRITICAL)
        self._unwritable = Notice(log, logging.CRITICAL)

    def reconfigure(self, name: str, seed: Callable[[], Awaitable[Seed | None]]) -> None:
        self._name, self._seed = name, seed

    def move(self, store: Store, by: str) -> None:
        """Keep the grant in another store from now on, unless there is a newer one in it: then that is taken."""
        before, self._store, self._by = self._store, store, by
        self._moves += 1
        self._seen_intent = None  # it was the former store's, and goes along
        self._lost = None
        if before is not store:
            self._tasks.start(before.close(), f"leave a store of {self._name}", finish=True)
        if not (self._unstored or isinstance(before, MemoryStore)):
            self._left = self.ledger.grant
        if self.ledger.grant is not None:
            log.info("credential %s: its grant goes to another store; where it was, it ends with a refresh", self._name)
            self._unstored = self._arriving = True
            along = self._keep_later(at_once=True, behind=self._saving)
            self._saving = self._tasks.start(along, f"save {self._name} elsewhere", finish=True)

    def __repr__(self) -> str:
        stored = "NOT stored" if self._unstored else "stored"
        return f"<GrantKeeper {self._name} {stored} {self.ledger} in {self._store}>"

    @property
    def store(self) -> Store:
        return self._store

    async def read_again(self, *, urgent: bool = False, peek: bool = False, anew: bool = True) -> bool:
        """Take what the store has if it is newer: another process or a restart may have been there (law 6).

        Give it what it has lost: it was moved away, or an older copy was restored. `peek`: what was last told will do.
        Not `anew`: a store that could not be read a moment ago is not tried again for that.

        Raises StoreError or SecretUnavailable; but where it is `urgent`, memory must do if it has a grant. Tells
        whether the store was read.
        """
        before = self.ledger.grant, self._lost_at, self._moves
        try:
            kept = self._without_given_up(await (self._store.peek(anew=anew) if peek else self._store.load()))
        except StoreError as fault:
            if not (urgent and self.ledger.grant is not None):
                raise
            self._unreadable.say(f"credential {self._name}: refreshing from memory only. {fault}")
            return False
        ours = self.ledger
        if ours.intent == self._seen_intent:  # it was the store's, and is over if it is not there any more
            ours = replace(ours, intent=None)
        self.ledger, self._seen_intent = ledger.merged(self._compared(ours, kept), kept), kept.intent
        if before != (ours.grant, self._lost_at, self._moves):  # overtaken by what was stored since it was read
            return True
        if self.ledger.grant != kept.grant and not self._unstored:
            await self._write_again()
        elif self.ledger.grant == kept.grant and self._unstored:  # a write arrived unheard, or somebody has logged in
            self._unstored = self._arriving = False
            self._say_stored()
        return True

    async def new_lineage(self) -> Grant | None:
        """Return the grant that the configured refresh token begins, if it was never seen here.

        An access token beside it, while that is good, makes it the first generation already where there is none: it
        is not proven, and must not write over what lives. Raises SecretUnavailable where there is nothing else to go
        on with; else it is only told, once.
        """
        try:
            seed = await self._seed()
        except SecretUnavailable as fault:
            if self.ledger.grant is None:
                raise
            self._notice.say(f"credential {self._name}: the configured refresh token is passed over. {fault}")
            return None
        self._notice.say("")
        if seed is None or seed.refresh_token.fingerprint() in self.ledger.seeds:
            return None
        now = self._clock.wall()
        lineage = Lineage("refresh_token", seed.refresh_token.fingerprint(), now)
        grant = Grant(self.ledger.generation, lineage, seed.refresh_token)
        if self.ledger.grant is not None or seed.access_token is None or seed.expires_at <= now:
            return grant
        return replace(
            grant,
            generation=grant.generation + 1,
            access_token=seed.access_token,
            obtained_at=now,
            expires_at=seed.expires_at,
        )

    # Around a redeem

    async def lease(self, seconds: float, *, urgent: bool) -> Release | None:
        """Take the right to redeem; None while another process has it. Raises as `read_again` does."""
        try:
            return await self._store.lease(seconds)
        except StoreError as fault:
            if not urgent:
                raise
            self._lockless.say(f"credential {self._name}: going on without the store's lock. {fault}")
            return unshared

    async def begin(self, grant: Grant, *, urgent: bool) -> bool:
        """Write down the intent to redeem `grant`, which proves the store writable (law 4).

        Tell whether it is written; else the store has moved on. Raises StoreError, unless it is `urgent`.
        """
        if self._unstored:  # what can be stored by now must be, before it is spent
            await self._store_now()
        known, now = self.ledger.seeds, self._clock.wall()
        begun = ledger.begun(self.ledger, grant, known, now)

        def change(kept: Ledger) -> Ledger | None:
            return ledger.begun(self._without_given_up(kept), grant, known, now)

        try:
            kept = await self._store.update(change, room=True)
        except StoreError as fault:
            if not urgent:
                self._given_up.add(Intent(grant.refresh_token.fingerprint(), now))
                raise
            self._unwritable.say(f"credential {self._name}: refreshing into memory only. {fault}")
            kept = begun
        else:
            self._store_is_well()
        if kept is None:
            return False
        self._given_up.clear()  # from here on an intent stands for what is sent
        self.ledger = replace(self.ledger, intent=kept.intent)
        return True

    def _without_given_up(self, kept: Ledger) -> Ledger:
        """Look past an intent that a slow disk has written after it had been given up: nothing was sent."""
        return replace(kept, intent=None) if kept.intent in self._given_up else kept

    def _store_is_well(self) -> None:
        for notice in (self._unreadable, self._unwritable, self._lockless):
            notice.say("")

    async def failed(self, grant: Grant, before: Intent | None, attempt: Attempt, *, proven: bool) -> None:
        """Write down that no pair came of it; `proven`: and that nothing was redeemed."""

        def change(kept: Ledger) -> Ledger:
            return ledger.refused(kept, grant, before, ended) if proven else ledger.unresolved(kept, grant, ended)

        ended = replace(attempt, by=self._by)
        self.ledger = change(self.ledger)
        try:
            await self._store.update(change)
        except StoreError as fault:
            log.warning("credential %s: a failed refresh is not written down. %s", self._name, fault)

    async def keep(self, grant: Grant, attempt: Attempt) -> None:
        """Keep a new pair: in memory, then in the store, however long that takes to be possible."""
        ended = replace(attempt, by=self._by)
        ours = ledger.renewed(self.ledger, grant, self.ledger.seeds, self.ledger.refusals, ended)
        if ours is None:
            log.warning("credential %s: a newer grant has come during a refresh; its pair is dropped", self._name)
            return
        self.ledger = replace(ours, refusals=self.ledger.refusals)
        await self._store_now()

    @property
    def stored(self) -> bool:
        """Whether the store has the newest pair, as far as we know."""
        return not self._unstored

    async def settled(self) -> bool:
        """Wait until the newest pair is stored, or was given up on at the end of the process; tell which."""
        if self._saving is not None:
            await asyncio.wait({self._saving})
        return self.stored

    async def _write_again(self) -> None:
        """Give the store what it has lost: at once, but after longer and longer pauses where it is lost each time.

        A newer pair is written at once, or a replica could write the one that is spent.
        """
        now, lost = self._clock.monotonic(), self.ledger.grant
        again = lost == self._lost and now < self._lost_at + ONE_TROUBLE
        self._losses, self._lost, self._lost_at = self._losses + 1 if again else 1, lost, now
        if self._losses == 1:
            self._contested.say("")
            text = "credential %s: the store has lost generation %d; it is written there again"
            log.error(text, self._name, self.ledger.generation)
            await self._store_now()
            return
        self._contested.say(
            f"credential {self._name}: the store loses its tokens again and again: something else writes there, such as"
            " a controller that puts back what is in Git. They are in memory, and written after pauses until they stay"
        )
        self._unstored = True
        self._store_soon(self._losses - 2)

    async def _store_now(self) -> None:
        """Store the pair that is in memory, or begin to try until that is possible."""
        self._unstored = True
        try:
            await self._save()
        except Exception as fault:  # whatever it is: nobody else has the pair
            text, trace = "credential %s: generation %d is NOT stored. %s", _trace(fault)
            log.critical(text, self._name, self.ledger.generation, fault, exc_info=trace)
            self._unstored = True
            self._store_soon()
        else:
            self._store_is_well()

    def _store_soon(self, failures: int = 0) -> None:
        if self._saving is None or self._saving.done():
            self._saving = self._tasks.start(self._keep_later(failures), f"save {self._name} later", finish=True)

    async def _save(self) -> None:
        """Store the pair that is in memory, unless the store has moved on: then take that. Raises StoreError.

        With it goes what belongs to it: a redeem of it may have begun meanwhile.
        """
        ours, store, moves = self.ledger, self._store, self._moves

        def change(kept: Ledger) -> Ledger | None:
            if ours.grant is None:
                return None
            known = self._compared(ours, kept).seeds
            after = ledger.renewed(kept, ours.grant, known, ours.refusals, ours.last)
            return after and ledger.merged(ours, after)

        kept = await store.update(change) or await store.load()
        self.ledger = ledger.merged(self._compared(self.ledger, kept), kept)
        if moves == self._moves:  # else it says nothing of the store that is to have the pair by now
            self._unstored = self.ledger.grant != kept.grant  # a later one may have come meanwhile
            self._arriving = self._arriving and self._unstored

    def _compared(self, ours: Ledger, kept: Ledger) -> Ledger:
        """Prepare what is in memory for being compared with what was in a store before it came there."""
        return ledger.arriving(ours, kept) if self._arriving else ours

    async def _keep_later(
        self, failures: int = 0, *, at_once: bool = False, behind: asyncio.Task[None] | None = None
    ) -> None:
        """Try until it is stored; when the process ends, LAST_TRIES times more, or until a drain cuts it off.

        `failures` there were before. `behind`: who tries already, and may be in a long pause.
        """
        last_tries = 0
        try:
            if at_once:
                await self._save_late()
            if behind is not None:
                await asyncio.wait({behind})
            while self._unstored and last_tries < LAST_TRIES:
                failures += 1
                if await self._tasks.pause(backoff.pause(failures, self._jitter())):
                    await asyncio.sleep(LAST_PAUSE if last_tries else 0.0)
                    last_tries += 1
                if self._unstored:  # else it was found there meanwhile
                    await self._save_late()
        finally:
            if self._unstored:
                end = _NOWHERE if self.ledger.grant != self._left else _LEFT_BEHIND
                log.critical("credential %s: generation %d %s", self._name, self.ledger.generation, end)

    async def _save_late(self) -> None:
        try:
            await self._save()
        except Exception as fault:  # the next try may do better
            text, trace = "credential %s: generation %d is still not stored. %s", _trace(fault)
            log.error(text, self._name, self.ledger.generation, fault, exc_info=trace)  # noqa: TRY400 - most say all
        else:
            self._store_is_well()
            self._say_stored()

    def _say_stored(self) -> None:
        log.info("credential %s: generation %d is stored now", self._name, self.ledger.generation)

    # What is known of 401s

    @property
    def refusals(self) -> Refusals:
        return self.ledger.refusals

    def keep_refusals(self, refusals: Refusals) -> None:
        """Remember them; a cool-down goes to the store, so that a restart does not end it (law 3)."""
        was = self.ledger.refusals
        self.ledger = replace(self.ledger, refusals=refusals)
        if was.kept != refusals.kept and self.ledger.grant is not None:
            self._tasks.start(self._store_refusals(self.ledger.grant.lineage), f"save {self._name}", finish=True)

    async def _store_refusals(self, lineage: Lineage) -> None:
        try:
            await self._store.update(lambda kept: ledger.cooled(kept, lineage, self.ledger.refusals))
        except StoreError as fault:
            log.warning("credential %s: a cool-down is not stored: a restart ends it. %s", self._name, fault)


def _trace(fault: Exception) -> Exception | None:
    """Return what the log shows the traceback of: a fault of ours, and none that says all by itself."""
    return None if isinstance(fault, StoreError | SecretUnavailable) else fault
