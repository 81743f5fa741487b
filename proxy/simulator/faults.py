"""Switches that make the simulator misbehave, by method and path.

The first fault added that matches a request is played. What a fault means on the wire is the
exchange's; here is only which one it is. The control endpoints are never touched by a fault.
"""

import asyncio
import re

from msgspec import Struct

from proxy.simulator.answers import Answer, documented

_SMALLEST_STATUS, _LARGEST_STATUS = 200, 599

# What the server below would cut the connection over, or send as a head that is none. A length may lie.
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # a token, RFC 9110 section 5.6.2
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # a tab may be sent
_LENGTH = re.compile(r"[0-9]{1,100}")  # int() of endless digits fails


class Fault(Struct, frozen=True):
    """One misbehaviour. Without status, hang or reset it is only a delay (or only early)."""

    method: str | None = None  # None: any
    path: str = "/**"  # a glob on the raw path, which has no query: `**` crosses slashes, `*` does not
    status: int | None = None  # answer this instead
    body: bytes | None = None  # None: the documented body for that status
    headers: tuple[tuple[str, str], ...] = ()
    delay: float = 0.0  # seconds, before the answer
    gate: asyncio.Event | None = None  # hold the answer until it is set
    times: int | None = None  # None: for ever
    hang: bool = False  # never answer, until the caller leaves or the simulator stops
    reset: bool = False  # reset the connection instead of answering
    early: bool = False  # answer before the body is read

    def __post_init__(self) -> None:
        if self.status is not None and not _SMALLEST_STATUS <= self.status <= _LARGEST_STATUS:
            raise ValueError(f"status must be from {_SMALLEST_STATUS} to {_LARGEST_STATUS}, not {self.status}")
        if self.delay < 0 or (self.times or 0) < 0:
            raise ValueError(f"delay and times must not be negative, are {self.delay} and {self.times}")
        if "?" in self.path:
            raise ValueError("path is compared without a query: leave out the ? and what follows")
        if not self.path.startswith(("/", "*")) and "://" not in self.path:
            raise ValueError(f"path must begin with / or *, not as {self.path!r}")
        if self.status is None and (self.body is not None or self.headers):
            raise ValueError("body and headers are those of a status that is answered instead: name one")
        for name, value in self.headers:
            _refuse_unsendable(name, value)

    @property
    def replaces_the_answer(self) -> bool:
        return self.hang or self.reset or self.status is not None

    def answer(self, path: str) -> Answer | None:
        """Return what is said instead of the usual answer, if anything."""
        if self.status is None:
            return None
        usual = documented(self.status, path)
        named = {name.lower() for name, _ in self.headers}
        kept = tuple(line for line in usual.headers if line[0].lower() not in named)
        body = usual.body if self.body is None else self.body
        return Answer(self.status, kept + self.headers, body)


class _Armed(Struct):
    """A fault and how often it is still to be played; only `Faults.take` counts down."""

    fault: Fault
    pattern: re.Pattern[str]
    left: int | None

    def matches(self, method: str, path: str) -> bool:
        if self.left == 0 or (self.fault.method or method).upper() != method:
            return False
        return self.pattern.fullmatch(path) is not None


class Faults:
    """The faults that are switched on.

    The mutable state is the list of armed faults; whoever holds the simulator may add and clear, and each
    request that plays one counts it down.
    """

    def __init__(self) -> None:
        self._armed: list[_Armed] = []

    def add(self, fault: Fault) -> None:
        self._armed.append(_Armed(fault, _glob(fault.path), fault.times))

    def clear(self) -> None:
        self._armed.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """Return the fault to play for this request, and count it."""
        armed = next((each for each in self._armed if each.matches(method, path)), None)
        if armed is None:
            return None
        if armed.left is not None:
            armed.left -= 1
        return armed.fault

    def armed(self) -> tuple[Fault, ...]:
        """Return the faults that may still be played."""
        return tuple(each.fault for each in self._armed if each.left != 0)

    def __repr__(self) -> str:
        return f"<Faults {len(self.armed())} armed>"


def _refuse_unsendable(name: str, value: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a header")
    if _CONTROL.search(value):
        raise ValueError(f"the header {name} has a control character in its value")
    if name.lower() == "content-length" and not _LENGTH.fullmatch(value):
        raise ValueError("Content-Length must be a number")
    if name.lower() == "transfer-encoding":
        raise ValueError("Transfer-Encoding can't be sent: a body goes with its length")


def _glob(path: str) -> re.Pattern[str]:
    wild = {"**": ".*", "*": "[^/]*"}
    parts = (wild.get(part, re.escape(part)) for part in re.split(r"(\*\*|\*)", path))
    return re.compile("".join(parts), re.DOTALL)
