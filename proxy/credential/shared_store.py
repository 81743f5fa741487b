"""The store of a fleet: a ledger that replicas share through an engine.

    load     read, with its version
    update   read ─► change ─► write over that version, or read again: no replica can come between
    lease    one holder, for a bounded time; it avoids waste and keeps nothing safe
    watch    what is told of changes is read at once; what is not told, after `engine.poll`

Every change is a pure function of what is kept at that moment (ledger.py). So a pair is saved only while
the refresh token that it was redeemed with is the stored one, whoever has the lease by then: the one whose
redeem succeeded has the only living pair.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from functools import partial
from itertools import count
from math import inf
from typing import Final

from proxy.clock import Clock
from proxy.credential import backoff
from proxy.credential.engine import Engine, Kept
from proxy.credential.ledger import Ledger
from proxy.credential.record import Unreadable, decode, encode
from proxy.credential.store import Release, StoreError, StoreUnreachable
from proxy.notice import Notice
from proxy.tasks import Tasks

log = logging.getLogger(__name__)

TRIES: Final = 20
"""Changes of others that may come between ours and what it was made from, in a row."""

COLLISION: Final = 0.05
"""Seconds, times the number of collisions and a jitter, until a change is tried again."""

WAKE: Final = 1.0
"""Seconds after which somebody who waits for a refresh of another replica looks by himself; longer at each turn."""

_NUMBERS: Final = count(1)

LONGEST_BLIND: Final = 5.0
"""Seconds between two tries to reach an engine that is gone, between two looks while nobody tells of changes, and
between two tries to take a lease whose end would be told, unless its holder has died."""


LAST_TRIES: Final = 3.0
"""Seconds from the beginning of a drain, for as long as it is tried to give a lease back: it ends by itself."""


class SharedStore:
    """Keeps the ledger in an engine.

    What changes: `_known`, what was last read, written or told, `_known_at`, when, `_known_of`, what `heard` was then,
    and `_spread`, a chance drawn then, by `_learn`, and `_known` by `news`; `_changes`, how often it was changed from
    here, by `update`; `_watched`, whether changes are told, `heard`, how often one was, and `_turn`, the event that the
    next one sets, by `_watch` and `_wake`; `_blind`, why the engine can't be read, and `_blind_until`, for how long
    nobody need try behind the traffic, by `_read`; `_returning`, the lease that is being given back, by `_give_back`,
    and `_let_be`, whether that is tried no more, by it, `lease` and `close`; `whose`, by `owner`.
    """

    remote = True

    def __init__(
        self,
        engine: Engine,
        owner: Callable[[], Awaitable[str]],
        *,
        who: str,
        clock: Clock,
        jitter: Callable[[], float],
        tasks: Tasks,
    ) -> None:
        """`who` names this replica to people. `owner` may raise SecretUnavailable."""
        self._engine = engine
        self._owner = owner
        self._who = f"{who}.{next(_NUMBERS)}"  # a reload may have two of them on one record
        self._clock = clock
        self._jitter = jitter
        self._tasks = tasks
        self._known: Ledger | None = None
        self._known_at = 0.0  # monotonic
        self._known_of = 0
        self._changes = 0
        self.heard = 0
        self._spread = 0.0
        self._watched = False
        self._watching: asyncio.Task[None] | None = None
        self._look: Callable[[], Awaitable[None]] | None = None
        self._turn = asyncio.Event()
        self._blind: StoreError | None = None
        self._blind_until = 0.0  # monotonic
        self._failures = 0
        self.whose = ""
        self._returning: asyncio.Task[None] | None = None
        self._let_be = asyncio.Event()
        self._notice = Notice(log)

    def __repr__(self) -> str:
        return f"<SharedStore {self._engine.name} {'watched' if self._watched else 'polled'}>"

    @property
    def where(self) -> str:
        return self._engine.name

    async def owner(self) -> str:
        """Name whose grant it is: asked once, for what the engine keeps and what is in it must be one's.

        Raises SecretUnavailable.
        """
        whose = self.whose or await self._owner()
        self.whose = self.whose or whose  # another may have asked meanwhile
        return self.whose

    async def load(self) -> Ledger:
        return self._decoded(*await self._read())

    async def peek(self, *, anew: bool = False) -> Ledger:
        now = self._clock.monotonic()
        if not anew and self._blind is not None and now < self._blind_until:
            raise type(self._blind)(str(self._blind))
        poll = self._engine.poll if self._watched else min(self._engine.poll, LONGEST_BLIND)
        told = self.heard != self._known_of
        if self._known is not None and not told and now < self._known_at + poll * (0.5 + self._spread):
            return self._known
        return await self.load()

    async def update(self, change: Callable[[Ledger], Ledger | None], *, room: bool = False) -> Ledger | None:
        for collisions in range(TRIES):
            await asyncio.sleep(COLLISION * collisions * self._jitter())
            kept, heard = await self._read()
            ledger = self._decoded(kept, heard)
            wanted = change(ledger)
            if wanted is None or (wanted == ledger and not room):
                return wanted
            content = encode(wanted, self.whose)
            if content == kept.content:  # it is to prove something, and an API server writes nothing over its like
                content += b"\n"
            written = await self._engine.write(content, kept.version)
            if written is not None:
                self._changes += 1
                self._learn(wanted, heard)
                return wanted
        raise StoreUnreachable(f"The store in {self._engine.name} changed {TRIES} times while it was being changed.")

    async def lease(self, seconds: float) -> Release | None:
        if self._returning is not None:  # it would end the next one, which has the same holder
            self._let_be.set()
            await asyncio.wait({self._returning})
        try:
            ours = await self._engine.take(self._who, seconds)
        except StoreError:
            self._give_back(seconds)  # it may be ours all the same, or still
            raise
        return partial(self._give_back, seconds) if ours else None

    async def holder(self) -> str | None:
        return await self._engine.holder()

    async def news(self, since: int, turns: int = 0) -> None:
        seconds = min(LONGEST_BLIND, WAKE * (1 + turns)) if self._watched else WAKE
        try:
            async with asyncio.timeout(seconds * (0.5 + self._jitter())):
                while self.heard == since:
                    await self._turn.wait()
        except TimeoutError:
            if turns or not self._watched:  # else it would have been told; unless the watch is dead and does not know
                self._known = None

    def watch(self, look: Callable[[], Awaitable[None]]) -> None:
        if self._watching is None:
            self._look = look
            self._watching = self._tasks.start(self._watch(look), f"watch {self._engine.name}")

    def move(self, engine: Engine) -> None:
        """Reach the same record by another way from now on: another address, another authority."""
        before, self._engine = self._engine, engine
        self._known = self._blind = None
        if self._watching is not None and self._look is not None:
            self._watching.cancel()
            self._watching = None
            self.watch(self._look)
        self._tasks.start(before.close(), f"leave {before.name}", finish=True)

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait({self._watching})
        self._let_be.set()
        await self._engine.close()

    async def _watch(self, look: Callable[[], Awaitable[None]]) -> None:
        """Look whenever something is told; open the watch again when it breaks, ever more rarely if it never lasts."""
        failures, ending = 0, False
        while not ending:
            end: StoreError = StoreUnreachable()
            opened = inf
            try:
                async with aclosing(self._engine.watch()) as told:
                    async for kept in told:
                        opened, self._watched = min(opened, self._clock.monotonic()), True
                        self._wake(kept)
                        await _looked(look)
            except StoreError as fault:
                end = fault
            except Exception:  # the next watch may do better
                log.exception("a fault of ours in the watch of %s", self._engine.name)
            finally:
                self._watched = False
            if self._clock.monotonic() > opened + LONGEST_BLIND:
                failures = 0
                self._notice.say("")
            failures += 1
            if why := str(end) or ("Watches end as soon as they are open." if failures > 1 and opened < inf else ""):
                self._notice.say(f"changes in {self._engine.name} are not told: it is looked at instead. {why}")
            ending = await self._tasks.pause(_pause(end, failures, self._jitter()))

    def _wake(self, kept: Kept | None) -> None:
        """Take what was told, or have it read; wake whoever waits for news.

        What is older than what is known is read: either a watch lags behind an answer, or it was put back.
        """
        self.heard += 1
        self._blind = None  # whoever tells can be asked
        if kept is not None and self.whose:
            with suppress(Unreadable):  # whoever reads it is told
                told = decode(kept.content, self.whose) if kept.content else Ledger()
                if self._known is None or told.generation >= self._known.generation:
                    self._learn(told, self.heard)
        turn, self._turn = self._turn, asyncio.Event()
        turn.set()

    async def _read(self) -> tuple[Kept, int]:
        """Read; with it goes what `heard` was before: a change that is told meanwhile may not be in it.

        One that is made from here meanwhile is: it is known already, and would seem lost.
        """
        await self.owner()
        heard, changes = self.heard, self._changes
        try:
            kept = await self._engine.read()
        except StoreError as fault:
            self._failures += 1
            self._blind = fault
            self._blind_until = self._clock.monotonic() + _pause(fault, self._failures, self._jitter())
            raise
        self._blind, self._failures = None, 0
        return (kept, heard) if changes == self._changes else await self._read()

    def _decoded(self, kept: Kept, heard: int) -> Ledger:
        if not kept.content:
            return self._learn(Ledger(), heard)
        try:
            return self._learn(decode(kept.content, self.whose), heard)
        except Unreadable as fault:
            cure = fault.cure or (
                f"Restore a copy of it, or {self._engine.removal}: a proxy that is lending has the newest grant in"
                " memory and writes it again. Otherwise run `pandadoc-proxy login` for its credential then."
            )
            raise StoreError(f"What is kept in {self._engine.name} {fault}; it is left as it is. {cure}") from None

    def _learn(self, ledger: Ledger, heard: int) -> Ledger:
        self._known, self._known_at, self._known_of = ledger, self._clock.monotonic(), heard
        self._spread = self._jitter()
        return ledger

    def _give_back(self, seconds: float) -> None:
        self._let_be.clear()
        self._returning = self._tasks.start(self._end_lease(seconds), "give back the lease", finish=True)

    async def _end_lease(self, seconds: float) -> None:
        """Try until it is given back, is to be let be, or is over by itself; when all ends, for a moment more."""
        until, failures, ending = self._clock.monotonic() + seconds, 0, False
        while not await self._given_back():
            failures += 1
            pause = _pause(StoreUnreachable(), failures, self._jitter())
            if self._clock.monotonic() + pause > until:
                break
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    if ending:
                        await self._let_be.wait()
                    elif ending := await self._tasks.pause_until(self._let_be.wait()):
                        failures, until = 0, min(until, self._clock.monotonic() + LAST_TRIES)
            if self._let_be.is_set():
                break

    async def _given_back(self) -> bool:
        try:
            await self._engine.give_back(self._who)
        except StoreError as fault:
            log.debug("the lease is not given back: %s", fault)
            return False
        return True


def _pause(fault: StoreError, failures: int, jitter: float) -> float:
    """Return for how many seconds not to try: an engine that is gone comes back by itself, the rest needs a person."""
    pause = backoff.pause(failures, jitter)
    return min(LONGEST_BLIND, pause) if isinstance(fault, StoreUnreachable) else pause


async def _looked(look: Callable[[], Awaitable[None]]) -> None:
    try:
        await look()
    except Exception:  # the next look may do better
        log.exception("a fault of ours while looking at what has changed")
