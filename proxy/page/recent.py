"""What has happened lately, kept for the page for people: a quarter hour of counts, and the last troubles of each kind.

It is fed with each request that is over, so it does little, and it is bounded whatever comes. Paths are as in the
access log. Never here: a query, a field of a request, a secret.
"""

import re
from collections import deque
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from proxy.forward.exchange import Exchange
from proxy.page.traffic import ANSWERED, FAILED, REFUSED, SECONDS, SLOTS, End, Slot, Slots

KINDS: Final = 12
"""Troubles that are remembered. One that comes again is the same one, so that a flood of it hides no other."""

COUNTED_DOWN: Final = re.compile(r"\d+ s\b")
"""What a pause still takes. It is another number at each request, and the same trouble."""

HUNG_UP: Final = 499
"""How the access log calls a caller that left: nobody's trouble but its own."""

ABOUT_US: Final = frozenset({401, 403, 429})
"""PandaDoc's refusals that are about the credential or its use. Other 4xx are between the app and PandaDoc."""

LEAST_REFUSAL: Final = 400
LEAST_FAILURE: Final = 500


class Trouble(Struct, frozen=True):
    """A refusal or an error, and the last request that met it."""

    status: int
    error: str  # of an answer of our own: its word in Proxy-Status
    fault: str  # what happened and what to do, as in the access log; none: PandaDoc said so itself
    listener: str
    client: str
    method: str
    path: str
    age: float  # seconds since the last one
    count: int


class Recent:
    """`ended` alone changes it: `_slots`, those in which a request was over; `_troubles`, the latest last."""

    def __init__(self, now: Callable[[], float]) -> None:
        """`now` is monotonic, in seconds."""
        self._now = now
        self._slots: deque[Slot] = deque([Slot(-1)], SLOTS)
        self._troubles: dict[tuple[str, str, int, str, str], tuple[int, float, str, str, str]] = {}

    def __repr__(self) -> str:
        return f"<Recent {len(self._slots)} slots, {len(self._troubles)} troubles>"

    def ended(self, exchange: Exchange) -> None:
        """Note a request that has been answered or given up."""
        now, status = self._now(), exchange.status
        number, slot = int(now // SECONDS), self._slots[-1]
        if slot.number != number:
            slot = Slot(number)
            self._slots.append(slot)
        slot.add(_end(exchange), now - exchange.started)
        if exchange.fault or status >= LEAST_FAILURE or status in ABOUT_US:
            self._met(exchange, now)

    def slots(self) -> Slots:
        """Return the last quarter hour; its last slot is still filling."""
        last = int(self._now() // SECONDS)
        known = {slot.number: slot for slot in self._slots}
        return [known.get(number) for number in range(last - SLOTS + 1, last + 1)]

    def troubles(self) -> tuple[Trouble, ...]:
        """Return what is remembered, the latest first."""
        now, known = self._now(), reversed(self._troubles.items())
        return tuple(
            Trouble(status, error, fault, listener, client, method, path, now - at, count)
            for (listener, client, status, error, _), (count, at, fault, method, path) in known
        )

    def _met(self, exchange: Exchange, now: float) -> None:
        if exchange.status == HUNG_UP:
            return
        key = (exchange.listener, exchange.client, exchange.status, exchange.error, _kind(exchange))
        earlier = self._troubles.pop(key, None)  # so that it goes to the end
        count = earlier[0] + 1 if earlier else 1
        self._troubles[key] = (count, now, exchange.fault, exchange.method, exchange.path)
        if len(self._troubles) > KINDS:
            del self._troubles[next(iter(self._troubles))]


def _kind(exchange: Exchange) -> str:
    """Return the fault without what one caller can vary at will: its method, which a rule may name behind it."""
    return COUNTED_DOWN.sub("", exchange.fault.replace(f" {exchange.method} ", " ", 1))


def _end(exchange: Exchange) -> End:
    if exchange.unfinished or exchange.status >= LEAST_FAILURE:
        return FAILED
    return REFUSED if exchange.status >= LEAST_REFUSAL else ANSWERED
