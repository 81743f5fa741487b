"""A request that is sent within a rate budget: when it leaves, and whether its answer is the last word.

    take a slot ─► ask (credential, upstream, 401? replay once) ─► 429? pause and ask again
                                                               ─► not ready yet, and the caller waits? ask again
                                                               ─► the answer to relay

A request that waits holds no connection and no credential: it asks for both when it has its slot. What was refused
for its rate was not done, so it may be sent again whatever its method, as long as its body is kept whole (law 11).
"""

import json
import zlib
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from math import ceil
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from proxy import throttled
from proxy.budget.budget import Budget, BudgetSpent, Priority, Slot
from proxy.budget.calls import Call, call
from proxy.clock import Clock
from proxy.credential.credential import Credential
from proxy.errors import ProxyError, Throttled
from proxy.forward import preference
from proxy.forward.body import Body
from proxy.forward.errand import Errand
from proxy.forward.headers import Fields, Head
from proxy.forward.relay import JUDGED_WITHIN, HeldAnswer, hold
from proxy.forward.upstream import Answer, Attempt, Upstream
from proxy.forward.watch import Watch

TOO_MANY: Final = 429
ACCEPTED: Final = 202

RESENDS: Final = 3
"""How often one request is sent again on account of a 429 (law 11)."""

POLL_EVERY: Final = 1.0
"""Seconds between two questions where nothing is said: PandaDoc asks for no more than one."""

MOMENT: Final = 0.001
"""Seconds. Whoever was served within them has not waited."""

HELD: Final = 64 * 1024
"""Bytes of an answer that are read ahead, so that no connection is held while its request waits."""

RATE_LIMIT: Final = frozenset({b"ratelimit", b"ratelimit-policy"})

UPLOADED: Final = "document.uploaded"

Lent = tuple[Answer, Credential]
Once = Callable[[Errand], Awaitable[Lent]]


class Meter(Struct, frozen=True):
    """A client's part in a credential's budget."""

    budget: Budget
    priority: Priority
    max_wait: float  # seconds
    prefer_wait: float  # the most that a caller may prefer to wait for
    clock: Clock

    def turn(self, head: Head, readings: Iterable[str], target: str, is_attended: Callable[[], bool]) -> "Turn":
        """Begin a request's way through the budget; `is_attended` looks whether its caller is still there."""
        return Turn(self, call(head.method, readings, target.partition("?")[2]), head, is_attended)


class Turn:
    """One request's way through the budget.

    What changes, by `ask` and what it calls alone: `_slot`, while one is held; `resends`, on account of a 429;
    `waited`, seconds in line; `_until`, when the caller is to have an answer; `_wait`, what the last 429 said;
    `_prefers`, None once it is clear that its body may not be sent again.
    """

    def __init__(self, meter: Meter, of: Call, head: Head, is_attended: Callable[[], bool]) -> None:
        self.rate = of.rate
        self._meter = meter
        self._not_ready = of.not_ready
        self._is_attended = is_attended
        self._slot: Slot | None = None
        self.resends = 0
        self.waited = 0.0
        self._wait = 0.0
        self._prefers = self._preferred(head)
        self._began = meter.clock.monotonic()
        self._until = self._began + meter.max_wait

    def __repr__(self) -> str:
        return f"<Turn {self.rate} resends={self.resends}>"

    async def ask(self, errand: Errand, once: Once) -> Lent:
        """Ask until there is an answer to relay. Raises Throttled where the budget allows no question."""
        with Watch(self._is_attended):
            try:
                return await self._ask(self._taken_over(errand), once)
            except Throttled:
                self._meter.budget.refused(self.rate)
                raise

    async def _ask(self, errand: Errand, once: Once) -> Lent:
        last: Lent | None = None
        priority = self._meter.priority
        while True:
            try:
                await self.take(priority)
            except Throttled:
                if last is None:
                    raise
                return last  # PandaDoc's own word says more than ours
            if last is not None:
                self.resends += last[0].status == TOO_MANY
                last[0].close()
            try:
                await self._attend(errand.body)
                answer, lent = await once(errand)
            finally:
                self.leave()
            answer, again = await self._judged(answer)
            last = answer, lent
            priority = Priority.AGAIN if answer.status == TOO_MANY else self._meter.priority
            if again is None or not errand.repeatable or not await self._sleep(again):
                return last

    async def _attend(self, body: Body | None) -> None:
        """Send nothing after a wait for a caller that has hung up: it may have asked again. Raises ConnectionError.

        Its goodbye stands behind what it has sent, so a body that is kept is read first; its fault is raised, too.
        """
        if self._meter.clock.monotonic() - self._began < MOMENT:
            return
        if body is not None and body.surely_replayable() and not body.waits:
            async for _ in body.chunks():
                pass
        if not self._is_attended():
            raise ConnectionResetError("the caller hung up while it waited")

    async def take(self, priority: Priority) -> None:
        """Take a slot for the next attempt. Raises Throttled."""
        now = self._meter.clock.monotonic
        began = now()
        try:
            self._slot = await self._meter.budget.take(self.rate, priority, self._until - began)
        except BudgetSpent as spent:
            paused = ceil(self._meter.budget.standing(self.rate).paused_for)
            detail = f"{spent.rate or 'What PandaDoc grants'} for {self.rate} (rate_budget) is spent"
            if paused:
                detail = f"PandaDoc has answered 429, so {self.rate} (rate_budget) pauses for {paused} s"
            cause = "nothing comes free within rate_budget.max_wait. Ask less often, or later."
            if spent.ending:
                cause = "this proxy is ending: ask again."
            raise Throttled(
                f"{detail}, and {cause} This answer is pandadoc-proxy's, not PandaDoc's.",
                retry_after=spent.opens_in,
            ) from spent
        finally:
            self.waited += now() - began

    def leave(self) -> None:
        """Give back a slot for which nothing was sent."""
        if self._slot is not None:
            slot, self._slot = self._slot, None
            slot.unused()

    def again(self) -> None:
        """Have an attempt counted twice, for its connection broke and it is sent once more."""
        if self._slot is not None:
            self._slot.again()

    def settle(self, answer: Answer | None) -> None:
        """Tell the budget what became of an attempt; None: it failed, and may have been counted."""
        if self._slot is not None:
            slot, self._slot = self._slot, None
            if answer is not None and answer.status == TOO_MANY:
                self._meter.budget.halt(self.rate, self._said(answer))  # before anybody else has its slot
                slot.unused()
            else:
                slot.answered()

    def fields(self) -> Fields:
        """Tell the caller what is left (draft-ietf-httpapi-ratelimit-headers-10 §4 and §5)."""
        stands = self._meter.budget.standing(self.rate)
        if stands.rate is None or stands.left is None:
            return ()
        name = stands.name.encode()
        return (
            (b"RateLimit-Policy", b'"%b";q=%d;w=%d' % (name, stands.rate.most, ceil(stands.rate.seconds))),
            (b"RateLimit", b'"%b";r=%d;t=%d' % (name, stands.left, ceil(stands.opens_in))),
        )

    def fields_of(self, answer: Answer) -> Fields:
        """Return what is added to an answer of PandaDoc's; what it says itself stays its word."""
        names = answer.head.names
        added = self.fields() if RATE_LIMIT.isdisjoint(names) else ()
        if answer.status == TOO_MANY and b"retry-after" not in names:
            added += ((b"Retry-After", b"%d" % ceil(self._wait)),)
        if self._prefers is not None:
            added += ((b"Preference-Applied", b"wait=%d" % self._prefers),)
        return added

    def _preferred(self, head: Head) -> int | None:
        """Return for how many seconds the caller waits for what is ready; None where that is not for us to do.

        The answer to a HEAD says nothing of its document.
        """
        if not self._not_ready or head.method == "HEAD" or preference.PREFER not in head.names:
            return None
        said = preference.wait(head.fields)
        most = int(min(said or 0, self._meter.prefer_wait))
        return most or None

    def _taken_over(self, errand: Errand) -> Errand:
        """Have the budget hear of each attempt, and take out of the request what is done for it here."""
        errand = replace(errand, upstream=Counted(errand.upstream, self, errand.exchange.asked))
        if self._prefers is None or not (errand.body is None or errand.body.surely_replayable()):
            self._prefers = None
            return errand
        head = errand.head
        fields = preference.with_what_can_be_read(preference.without_wait(head.fields))
        return replace(errand, head=Head(head.method, head.target, head.version, fields))

    async def _judged(self, answer: Answer) -> tuple[Answer, float | None]:
        """Return an answer and in how many seconds to ask again: None where it is the last word."""
        if answer.status == TOO_MANY:
            return await self._throttled(answer)
        if self._prefers is None or answer.status not in self._not_ready:
            return answer, None
        self._until = self._began + self._prefers
        held = await hold(answer, HELD, JUDGED_WITHIN)
        said = _after(held, self._meter.clock.wall())
        not_yet = said is not None if answer.status == ACCEPTED else _uploaded(held)
        if held.whole is None or not not_yet:
            return held, None
        return held, max(POLL_EVERY, said or 0.0)

    async def _throttled(self, answer: Answer) -> tuple[Answer, float | None]:
        """Have all that is counted with this request pause; the next slot is had after that.

        Its sentence is waited for where nothing else says for how long; who hangs up before that ends no pause.
        """
        told = _after(answer, self._meter.clock.wall()) is not None
        if told:
            self._note(self._said(answer))
        body = b""
        try:
            held = await hold(answer, HELD, JUDGED_WITHIN)
            body = _readable(held)
        finally:
            if not told:
                self._note(self._said(answer, body))
        return held, 0.0 if held.whole is not None and self.resends < RESENDS else None

    def _said(self, answer: Answer, body: bytes | None = None) -> float:
        """Return how many seconds a 429 says to wait, by its head and its body; None: that has not come yet."""
        return throttled.wait(_first(answer, b"retry-after"), body, self._meter.clock.wall())

    def _note(self, wait: float) -> None:
        self._wait = wait
        self._meter.budget.throttled(self.rate, wait)

    async def _sleep(self, seconds: float) -> bool:
        """Wait for the next question; tell whether it is to be asked."""
        if self._meter.clock.monotonic() + seconds > self._until:
            return False
        return not await self._meter.budget.pause(seconds)


class Counted:
    """An upstream whose every answer the budget hears of. The replay of a 401 takes a slot of its own."""

    def __init__(self, upstream: Upstream, turn: Turn, asked: Callable[[], None]) -> None:
        """Call `asked` where the upstream's time begins only after a wait."""
        self._upstream = upstream
        self._turn = turn
        self._asked = asked

    def __repr__(self) -> str:
        return f"<Counted {self._upstream}>"

    async def send(self, attempt: Attempt) -> Answer:
        if attempt.replay:
            await self._turn.take(Priority.AGAIN)
            self._asked()
        answer = None
        try:
            answer = await self._upstream.send(replace(attempt, again=self._turn.again))
        except ProxyError as fault:
            if fault.unsent:
                self._turn.leave()
            raise
        finally:
            self._turn.settle(answer)
        return answer


def _first(answer: Answer, name: bytes) -> bytes | None:
    return next(iter(answer.head.values(name)), None)


def _after(answer: Answer, now: float) -> float | None:
    """Read an answer's Retry-After: seconds from `now`, or None where it has none that makes sense."""
    return throttled.after(_first(answer, b"retry-after") or b"", now)


def _uploaded(answer: HeldAnswer) -> bool:
    """Tell whether an answer says that its document is still being made."""
    try:
        document = json.loads(_readable(answer))
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and document.get("status") == UPLOADED


def _readable(answer: HeldAnswer) -> bytes:
    """Return the body of an answer that was read ahead, for judging it; it is relayed as it came."""
    body = answer.whole or b""
    coding = (_first(answer, b"content-encoding") or b"").strip().lower()
    if coding in preference.COMPRESSED:
        with suppress(zlib.error):
            return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, HELD)  # either format, by its head
    return body
