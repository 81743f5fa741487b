"""Which of PandaDoc's operations a request calls, as far as budgets care. Pure.

Of several ways to read a path, one with a rate of its own counts, then one whose answer may be not ready; of equals,
the first by its spelling.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from proxy.budget.rates import OTHER
from proxy.policy.profiles import Operation, named


class Call(NamedTuple):
    """What a request is to a budget."""

    rate: str = OTHER  # what it is counted by
    not_ready: tuple[int, ...] = ()  # statuses that may mean "ask again"


UNKNOWN: Final = Call()


def call(method: str, readings: Iterable[str], query: str) -> Call:
    """Find what a request calls, by every reading of its path and its raw query."""
    found = [_call(named(method, reading, query)) for reading in sorted(readings)]
    return max(found, key=_weight, default=UNKNOWN)


def _call(operation: Operation | None) -> Call:
    return UNKNOWN if operation is None else Call(operation.rate, operation.not_ready)


def _weight(of: Call) -> tuple[bool, bool]:
    return of.rate != OTHER, bool(of.not_ready)
