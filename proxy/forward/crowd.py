"""Who is connected to a listener, and who gives way when it is full. Pure.

A connection that owes no answer may be closed at any moment (RFC 9112 §9.5), so a newcomer takes the
place of one of those; only where all are busy is the newcomer turned away. Of those that owe nothing there
are three kinds. The most numerous gives up the one that has waited longest: a flood of one kind then feeds on
itself. Half-open connections can't push out idle ones that apps keep for their next request, and idle ones
can't squeeze newcomers into so few places that none lives long enough to send its head.
"""

from collections import OrderedDict
from enum import StrEnum
from typing import Generic, TypeVar

T = TypeVar("T")


class Waits(StrEnum):
    """Why a connection owes no answer. Where two kinds are as numerous, the one named first gives way."""

    LEAVING = "it has its last answer, and we only wait for it to go"
    STRANGER = "it has not finished a single head, nor perhaps its TLS handshake"
    IDLE = "it was answered, and may ask again"


class Crowd(Generic[T]):
    """The connections of one listener, with room for so many.

    What changes: `_waiting`, each kind with who has waited longest first; `_kinds`, who is here, and as
    what (None: busy). All by the five verbs below, each in constant time. `room` is the listener's to set.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self._waiting: dict[Waits, OrderedDict[T, None]] = {kind: OrderedDict() for kind in Waits}
        self._kinds: dict[T, Waits | None] = {}

    def __repr__(self) -> str:
        waiting = " ".join(f"{kind.name.lower()}={len(queue)}" for kind, queue in self._waiting.items())
        return f"<Crowd {len(self._kinds)} of {self.room} {waiting}>"

    def come(self, newcomer: T) -> T | None:
        """Let a newcomer in, as a stranger, and return who must give way for it.

        That is nobody where there is room, and the newcomer itself, which is not let in, where all are busy.
        """
        leaver = None
        if len(self._kinds) >= self.room:
            queue = max(self._waiting.values(), key=len)
            if not queue:
                return newcomer
            leaver = next(iter(queue))
            self.go(leaver)
        self._put(newcomer, Waits.STRANGER)
        return leaver

    def work(self, one: T) -> None:
        """Note that it owes an answer."""
        kind = self._kinds.get(one)
        if kind is not None:
            del self._waiting[kind][one]
            self._kinds[one] = None

    def rest(self, one: T, kind: Waits) -> None:
        """Note that it owes none any more."""
        if one in self._kinds:
            self._take(one)
            self._put(one, kind)

    def go(self, one: T) -> None:
        """Note that it is gone. Does nothing the second time."""
        if one in self._kinds:
            self._take(one)
            del self._kinds[one]

    def is_leaving(self, one: T) -> bool:
        """Tell whether it is gone, or all that it is still here for is to go."""
        return self._kinds.get(one, Waits.LEAVING) is Waits.LEAVING

    def everybody(self) -> list[T]:
        """Return all who are here."""
        return list(self._kinds)

    def _put(self, one: T, kind: Waits) -> None:
        self._waiting[kind][one] = None
        self._kinds[one] = kind

    def _take(self, one: T) -> None:
        kind = self._kinds[one]
        if kind is not None:
            del self._waiting[kind][one]
