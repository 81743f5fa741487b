"""Which of PandaDoc's operations a request calls, as far as budgets care. Pure.

Requests are looked up by segments, a concrete one before a placeholder (OpenAPI 3.0.3, Paths Object). A path that
may be read in several ways is the first of them that has a rate of its own.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Final, NamedTuple

from proxy.budget.rates import OTHER
from proxy.policy.profiles import ANY, Operation, operations


class Call(NamedTuple):
    """What a request is to a budget."""

    rate: str = OTHER  # what it is counted by
    not_ready: tuple[int, ...] = ()  # statuses that may mean "ask again"


UNKNOWN: Final = Call()


@dataclass(slots=True)
class _Node:
    """Where paths go on after some segments; `_tree` alone changes it."""

    below: dict[str, "_Node"] = field(default_factory=dict)
    calls: dict[tuple[str, str], Call] = field(default_factory=dict)  # by method, and the flag in the query


@cache
def _tree() -> _Node:
    root = _Node()
    for operation in operations():
        node = root
        for segment in _shape(operation):
            node = node.below.setdefault(segment, _Node())
        node.calls[operation.method, operation.query] = Call(operation.rate, operation.not_ready)
    return root


def _shape(operation: Operation) -> Iterator[str]:
    return (ANY if segment.startswith("{") else segment for segment in operation.path.split("/")[1:])


def call(method: str, readings: Iterable[str], query: str) -> Call:
    """Find what a request calls, by every reading of its path and its raw query."""
    method = "GET" if method == "HEAD" else method
    found = [_found(method, reading, query) for reading in readings]
    return next((each for each in found if each.rate != OTHER), found[0] if found else UNKNOWN)


def _found(method: str, reading: str, query: str) -> Call:
    node = _tree()
    for segment in reading.split("/")[1:]:
        below = node.below.get(segment) or node.below.get(ANY)
        if below is None:
            return UNKNOWN
        node = below
    return _flagged(method, node.calls, query)


def _flagged(method: str, calls: Mapping[tuple[str, str], Call], query: str) -> Call:
    """Tell operations apart that differ in a flag of the query alone, such as `?upload`."""
    if query:
        for name in query.split("&"):
            flagged = calls.get((method, name.partition("=")[0]))
            if flagged is not None:
                return flagged
    return calls.get((method, ""), UNKNOWN)
