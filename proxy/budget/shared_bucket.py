"""One rate that replicas share: the line is this process's own, its head asks the ledger for what there is.

So the ledger is asked as often as slots come free, however many wait. What this process sends is counted in the
window of its share, too: when the ledger can't be reached, the line goes on by that within the same second. When it is
back, a slot is had where both have one, until every replica has told what it sent meanwhile:

    shared ──fall_back──► alone, within its share ──come_back──► within its share, of what the ledger has
       ▲                            ▲                              │  │
       │                            └──────────fall_back───────────┘  │
       └─────────────────────────share_again──────────────────────────┘
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from itertools import count
from math import inf
from typing import Final

from msgspec import Struct, field

from proxy.budget.bucket import Bucket, Line
from proxy.budget.budget import Priority, Standing
from proxy.budget.ledger import Ask, Ledger, LedgerUnreachable, Reply, Seen
from proxy.budget.rates import Rate
from proxy.tasks import Tasks

ASK_AGAIN: Final = 1.0
"""Seconds. A slot may be given back before its time, and nobody tells the others."""

SPREAD: Final = 0.01
"""Seconds between the first and the last of those that were told the same moment."""

FIRST_WORD: Final = 2.5
"""Seconds that whoever may not wait waits all the same, for the ledger to say whether there is something: a call that
is on its way and the next, each of a second at most (redis_budget.LIMIT); without a word of it the share goes on."""

IN_VAIN: Final = 0.25
"""Seconds that a slot must be late for somebody to be told so: it may come sooner than the ledger has said."""

SETTLED: Final = 3.0
"""Seconds for which a ledger must answer before it is shared by again, so that all have told what they sent: else who
is first to ask has what others have spent. Each finds it within shared.TRY_EVERY and the limit of a call."""

AT_ONCE: Final = 50
"""Slots that one process takes with one question: what comes free together is for all."""


class Way(Struct, frozen=True):
    """How the buckets of one credential get at the ledger."""

    ledger: Ledger
    tasks: Tasks
    jitter: Callable[[], float]
    process: str  # names this process among the replicas
    lost: Callable[[LedgerUnreachable], None]
    answer: float  # seconds within which every request is answered, as good as surely
    numbers: Iterator[int] = field(default_factory=count)


class SharedBucket(Bucket):
    """Hands slots out that the ledger has granted, or those of its share while there is no ledger.

    What changes, besides what a Bucket has: `_linked`, whether the ledger is asked and told, and `_bounded`, whether
    there are no more slots than those of the share; `_flying` and `_spent`, the slots that are taken, by id, and when
    the latter come back; `_unsaid` and `_pause`, what the ledger is still to hear; `_heard`, what was in flight when it
    was last there; `_born`, which ledger has heard the rest; `_seen`, how the rate stood when it was last asked, at
    `_seen_at`, and `_opens`, when there was to be more, for batch requests and others; `_early_until`, until when slots
    may have come back early, after a 429; `_late`, who stands in line though the ledger has been asked; the tasks that
    ask and tell. All by the verbs and the two tasks.
    """

    def __init__(self, name: str, rate: Rate | None, now: Callable[[], float], way: Way) -> None:
        super().__init__(name, rate, now)
        self._whole = rate
        self._way = way
        self._linked = True
        self._bounded = False
        self._flying: deque[str] = deque()
        self._spent: deque[tuple[str, float]] = deque()
        self._unsaid: dict[str, float | None] = {}
        self._pause = 0.0
        self._heard: tuple[str, ...] = ()
        self._born = ""
        self._seen: Seen | None = None
        self._seen_at = -inf
        self._early_until = -inf
        self._opens = {False: -inf, True: -inf}
        self._late: set[asyncio.Future[bool]] = set()
        self._news = asyncio.Event()
        self._asking: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<SharedBucket linked={self._linked} bounded={self._bounded} seen={self._seen} {super().__repr__()}>"

    @property
    def whole(self) -> Rate | None:
        """The rate of all replicas together."""
        return self._whole

    @property
    def shared(self) -> bool:
        """Whether there are as many slots as the ledger has."""
        return self._linked and not self._bounded

    @property
    def counted(self) -> bool:
        """Whether slots are had from the ledger; what has no number only pauses with the others."""
        return self._linked and self._whole is not None

    async def take(self, priority: Priority, wait: float) -> None:
        """Take a slot. Raises BudgetSpent."""
        if not self.counted:
            return await super().take(priority, wait)
        now = self._now()
        until, left = now + wait, self._ends_at - now
        wait, first_word = min(wait, left), min(FIRST_WORD, left)
        if (self._told_in(priority) if self._ahead(priority) else self._paused_for()) > max(wait, IN_VAIN):
            return self._refuse(priority, until)
        if not self._ahead(priority):
            self._news.set()  # it is the head of the line
        if not await self._stand(priority, wait, first_word):
            return self._refuse(priority, until)
        return None

    def answered(self) -> None:
        slot = self._flying.popleft() if self._flying else None
        if self._whole is not None and slot is not None:
            until = self._now() + self._whole.seconds
            self._spent.append((slot, until))
            self._say(slot, until)
        self._forget()
        super().answered()

    def unused(self) -> None:
        if self._flying:
            self._say(self._flying.pop(), None)
            self._news.set()
        super().unused()

    def throttled(self, wait: float) -> None:
        super().throttled(wait)
        self._let_early(wait)
        if self.shared:  # else it would teach by what few have told
            self._pause = max(self._pause, wait)
            self._tell()

    def resize(self, rate: Rate | None) -> None:
        if rate != self._whole:
            self._whole, self._seen = rate, None
        self._news.set()
        if self.shared or rate is None:  # else by `keep_to`, which knows the share
            super().resize(rate)

    def count_in(self, sent: Sequence[float], paused: float) -> None:
        super().count_in(sent, paused)
        if self._whole is not None:
            self._spent.extend((self._id(), each + self._whole.seconds) for each in sent)
            self._unsaid |= dict(self._spent)
            self._tell()

    def standing(self) -> Standing:
        own = super().standing()._replace(shared=self.shared)
        if self._bounded or not self.counted or self._seen is None:
            return own
        seen, paused = self._seen, self._paused_for()
        left = 0 if paused else seen.left
        opens = max(paused, self._seen_at + seen.opens - self._now())
        return own._replace(rate=self._whole, left=left, limit=seen.limit, paused_for=paused, opens_in=opens)

    # With the ledger, and without

    def seen(self, seen: Seen, born: str) -> None:
        """Note how the rate stands for all, without having asked for a slot."""
        self._see(seen, born)
        if self._whole is None:
            self._window.pause(self._now(), seen.paused)
        elif self._forgotten(seen):
            self._tell_all()

    def fall_back(self, share: Fraction) -> None:
        """Go on without the ledger, with this part of the rate; of what was left for all, it has no more either."""
        if self.shared:
            now, seen, paused = self._now(), self._seen, self._paused_for()
            self._window.resize(self._part(share))
            if seen is not None:
                self._window.believe(now, max(1, int(seen.limit * share)))
                self._window.hold_back(now, int(seen.left * share))
            self._window.pause(now, paused)
        if self._linked:
            self._linked, self._bounded = False, True
            self._heard = tuple(self._flying)
            self._serve()

    def keep_to(self, share: Fraction) -> None:
        """Have no more than this part of the rate from now on."""
        super().resize(self._part(share))

    def come_back(self) -> None:
        """Tell the ledger what was sent without it, and ask it from now on for each slot of the share."""
        if not self._linked:
            self._linked, self._pause = True, 0.0
            self._unsaid |= self._all_said()
            self._tell()
            self._serve()

    def share_again(self) -> None:
        """Have as many slots as the ledger has."""
        self._bounded = False
        self._news.set()

    async def close(self) -> None:
        """Wait until the ledger has heard what became of each slot, or can't be reached; nobody waits in line."""
        while calls := [task for task in (self._asking, self._telling) if task is not None and not task.done()]:
            await asyncio.wait(calls)

    # The line

    def _part(self, share: Fraction) -> Rate | None:
        """Return this part of the rate, but one slot at least."""
        whole = self._whole
        return None if whole is None else Rate(max(1, int(whole.most * share)), whole.seconds)

    def _take(self, now: float) -> None:
        if self._whole is not None:
            slot = self._id()
            self._flying.append(slot)
            self._say(slot, now + self._way.answer + self._whole.seconds)  # it has not granted what is sent again
        super()._take(now)

    def _serve(self) -> None:
        if not self.counted:
            self._late.update(*self._lines.values())
            super()._serve()
        elif self.waiting and self._asking is None:
            self._asking = self._way.tasks.start(self._ask(), f"ask for {self.name}")

    def _has_waited(self, waiter: asyncio.Future[bool]) -> bool:
        """All wait for the ledger's first word, which is counted for none."""
        late = waiter in self._late
        self._late.discard(waiter)
        return late

    def _refuse(self, priority: Priority, until: float) -> None:
        raise self._refusal(self._whole, self._told_in(priority) or ASK_AGAIN, until)

    def _told_in(self, priority: Priority) -> float:
        """Return in how many seconds a newcomer's turn may come, by what the ledger has said."""
        turns, batch = 0.0, priority is Priority.BATCH
        if self._whole is not None and self._seen is not None:
            turns = self._ahead(priority) // self._seen.limit * self._whole.seconds
        opens = max(self._opens.values()) if batch and any(self._lines_of(batch=False)) else self._opens[batch]
        return turns + max(opens - self._now(), self._paused_for())

    def _paused_for(self) -> float:
        """Return how many seconds are left of a pause that was noted here, or that the ledger has told of."""
        now, seen = self._now(), 0.0 if self._seen is None else self._seen.paused
        return max(0.0, self._window.paused_for(now), self._seen_at + seen - now)

    async def _ask(self) -> None:
        """Ask for those who wait, for the first of them first, until nobody does."""
        try:
            while self.waiting and self.counted:
                self._news.clear()
                shut = self._shut_for()
                if shut:
                    self._send_away_who_hopes_in_vain(self._opens_again(shut), batch=False)
                wait = min(shut, ASK_AGAIN) if shut else await self._asked()
                if wait:
                    self._late.update(*self._lines.values())
                    with suppress(TimeoutError):
                        async with asyncio.timeout(wait + SPREAD * self._way.jitter()):
                            await self._news.wait()
        except LedgerUnreachable as fault:
            self._way.lost(fault)
        finally:
            self._asking = None
        self._serve()

    def _shut_for(self) -> float:
        """Return in how many seconds there is sense in asking."""
        now = self._now()
        return self._window.opens_in(now) if self._bounded else self._window.paused_for(now)

    def _opens_again(self, shut: float) -> float:
        """Return when there may be something: a share that is spent for so long is soon not all that there is."""
        now = self._now()
        return now + max(self._window.paused_for(now), min(shut, SETTLED))

    async def _asked(self) -> float:
        """Ask once; return in how many seconds to ask again, 0 for at once. Raises LedgerUnreachable."""
        assert self._whole is not None  # noqa: S101 - `counted`
        first = [*self._lines[Priority.AGAIN], *self._lines[Priority.INTERACTIVE]]
        batch = not first
        wanted = min(AT_ONCE, len(first) or len(self._lines[Priority.BATCH]))
        if self._bounded:
            wanted = min(wanted, self._window.left(self._now()) or 0)
        ids = tuple(self._id() for _ in range(wanted))
        rate = self._whole
        try:
            reply = await self._way.ledger.take(self.name, rate, Ask(ids, batch, self._born, self._bounded))
        except LedgerUnreachable:
            self._unsaid |= dict.fromkeys(ids)  # it may have been done
            raise
        self._hand_out(ids[: reply.granted], batch=batch)
        if rate == self._whole:  # else a reload has overtaken it
            self._note(reply, batch=batch)
        if reply.granted == wanted:
            return 0.0
        self._send_away_who_hopes_in_vain(self._opens[batch], batch=batch)
        return min(reply.wait, ASK_AGAIN)

    def _lines_of(self, *, batch: bool) -> list[Line]:
        return [self._lines[each] for each in Priority if (each is Priority.BATCH) is batch]

    def _send_away_who_hopes_in_vain(self, opens: float, *, batch: bool) -> None:
        """Let nobody wait for what can't come in time; `batch`: nor do others wait for that moment."""
        for line in self._lines_of(batch=True) if batch else self._lines.values():
            for waiter in [waiter for waiter, until in line.items() if until + IN_VAIN < opens]:
                del line[waiter]
                waiter.set_result(False)

    def _hand_out(self, slots: tuple[str, ...], *, batch: bool) -> None:
        for slot in slots:
            line = next(filter(None, self._lines_of(batch=batch)), None)
            if line is None or self._shut_for():  # they went away while the ledger was asked, or it did, or a 429 came
                self._unsaid[slot] = None
                self._tell()
                continue
            waiter, _ = line.popitem(last=False)
            self._window.take()
            self._flying.append(slot)
            waiter.set_result(True)

    def _note(self, reply: Reply, *, batch: bool) -> None:
        self._see(reply.seen, reply.born)
        self._opens[batch] = self._seen_at + reply.wait

    def _see(self, seen: Seen, born: str) -> None:
        self._seen, self._seen_at = seen, self._now()
        if seen.paused:
            self._let_early(seen.paused)
        self._know(born)

    def _know(self, born: str) -> None:
        """Tell all anew where the ledger has lost it."""
        if self._born and born != self._born:
            self._tell_all()
        self._born = born or self._born

    def _forgotten(self, seen: Seen) -> bool:
        """Tell whether all together have fewer slots than this process alone: some are lost, or the clock has leapt.

        What is granted or told while the ledger is asked may look like that: then it hears what it knows.
        """
        self._forget()
        ours = len(self._flying) + len(self._spent)
        return seen.left > 0 and seen.limit - seen.left < ours and self._now() >= self._early_until

    def _let_early(self, pause: float) -> None:
        """Note that after this pause slots come back before their time, by the ledger's will (Ledger.throttled)."""
        window = 0.0 if self._whole is None else self._whole.seconds
        self._early_until = max(self._early_until, self._now() + pause + window)

    # What the ledger is told, behind the requests

    def _say(self, slot: str, until: float | None) -> None:
        if self._linked:  # else all is told when it is back
            self._unsaid[slot] = until
            self._tell()

    def _tell_all(self) -> None:
        self._unsaid |= self._all_taken()
        self._tell()

    def _tell(self) -> None:
        if self._linked and self._telling is None:
            self._telling = self._way.tasks.start(self._hear(), f"tell of {self.name}", finish=True)

    async def _hear(self) -> None:
        try:
            await self._hear_out()
        except LedgerUnreachable as fault:
            self._way.lost(fault)
        finally:
            self._telling = None

    async def _hear_out(self) -> None:
        """Tell all that there is to be told, in order. Raises LedgerUnreachable."""
        while self._unsaid or self._pause:
            said, self._unsaid = self._unsaid, {}
            pause, self._pause = self._pause, 0.0
            now = self._now()
            slots = {slot: None if until is None else max(0.001, until - now) for slot, until in said.items()}
            try:
                if self._whole is not None and slots:
                    await self._way.ledger.tell(self.name, self._whole, slots)
                if pause:
                    await self._way.ledger.throttled(self.name, self._whole, pause)
            except LedgerUnreachable:
                self._unsaid = said | self._unsaid
                self._pause = max(pause, self._pause)
                raise

    def _all_taken(self) -> dict[str, float]:
        """Return every slot that this process has, and until when at the latest."""
        self._forget()
        window = 0.0 if self._whole is None else self._whole.seconds
        return dict.fromkeys(self._flying, self._now() + self._way.answer + window) | dict(self._spent)

    def _all_said(self) -> dict[str, float | None]:
        """Return the same, and that whatever else it has heard of was given back, or has come back by itself."""
        return dict.fromkeys(self._heard) | self._all_taken()

    def _forget(self) -> None:
        now = self._now()
        while self._spent and self._spent[0][1] <= now:
            self._spent.popleft()

    def _id(self) -> str:
        return f"{self._way.process}:{next(self._way.numbers)}"
