"""Which of PandaDoc's operations a request calls, as far as budgets care. Pure.

Requests are looked up by segments, a concrete one before a placeholder (OpenAPI 3.0.3, Paths Object). Of several ways
to read a path, one with a rate of its own counts, then one whose answer may be not ready; of equals, the first by its
spelling.
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
    found = [_found(method, reading, query) for reading in sorted(readings)]
    return max(found, key=_weight, default=UNKNOWN)


def _weight(of: Call) -> tuple[bool, bool]:
    return of.rate != OTHER, bool(of.not_ready)


def _found(method: str, reading: str, query: str) -> Call:
    return _flagged(method, _below(_tree(), reading.split("/")[1:]), query)


def _below(node: _Node, segments: list[str], at: int = 0) -> Mapping[tuple[str, str], Call]:
    """Find what a path has, from one of its segments on; where a concrete one leads nowhere, the placeholder may."""
    if at == len(segments):
        return node.calls
    concrete, placeholder = node.below.get(segments[at]), node.below.get(ANY)
    calls = {} if concrete is None else _below(concrete, segments, at + 1)
    return calls if calls or placeholder is None else _below(placeholder, segments, at + 1)


def _flagged(method: str, calls: Mapping[tuple[str, str], Call], query: str) -> Call:
    """Tell operations apart that differ in a flag of the query alone, such as `?upload`."""
    if query:
        for name in query.split("&"):
            flagged = calls.get((method, name.partition("=")[0]))
            if flagged is not None:
                return flagged
    return calls.get((method, ""), UNKNOWN)
