"""Rules by name, and PandaDoc's operations: what the two files beside this one hold. Pure, once they are read.

Both are made by tools/operations.py from PandaDoc's OpenAPI contract; a change belongs there. They are read when
first asked for, because most starts of a command never ask; who is to ask while it serves calls `read_operations`
before. Never here: what a rule means, and any verdict.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct, field

ANY: Final = "{}"
"""Stands for a placeholder: any segment but an empty one."""


class Profile(Struct, frozen=True):
    """A rule set that comes with the proxy: the first rule that fits decides, `otherwise` the rest."""

    name: str
    about: str  # one sentence for people
    rules: tuple[str, ...]
    otherwise: Literal["allow", "deny"]


class Operation(Struct, frozen=True):
    """What PandaDoc's contract calls an operation."""

    method: str
    path: str  # with placeholders: /public/v1/documents/{id}
    id: str
    query: str = ""  # the flag that tells it from another of the same method and path, such as upload
    marks: tuple[Literal["reads", "sends", "deletes", "credentials"], ...] = ()
    rate: str = "other"  # what PandaDoc counts it with
    not_ready: tuple[int, ...] = ()  # statuses that may mean "ask again"


@cache
def profiles() -> Mapping[str, Profile]:
    """Return the profiles by name."""
    held = msgspec.json.decode(_held("profiles.json"), type=dict[str, dict[str, Any]])
    return MappingProxyType({name: msgspec.convert({"name": name} | of, Profile) for name, of in held.items()})


@cache
def operations() -> tuple[Operation, ...]:
    """Return every operation, sorted by path, method and query."""
    return msgspec.json.decode(_held("operations.json"), type=tuple[Operation, ...])


def read_operations() -> None:
    """Read now what `named` goes by, so that it opens no file any more. Raises OSError."""
    _tree()


def named(method: str, path: str, query: str = "") -> Operation | None:
    """Find the operation that a normalised path and a raw query name.

    A concrete path goes before one with placeholders, whatever the method (OpenAPI 3.0.3, Paths Object). Of
    operations that only a flag in the query tells apart, such as `?upload`, it is the one whose flag is there, else
    the one without. HEAD is GET.
    """
    found = _at(_tree(), path.split("/"), 1)
    method = "GET" if method == "HEAD" else method
    for each in query.split("&"):
        if (operation := found.get((method, each.partition("=")[0]))) is not None:
            return operation
    return found.get((method, ""))


class _Node(Struct):
    """Where paths go on after some segments; `_tree` alone changes it."""

    below: dict[str, "_Node"] = field(default_factory=dict)
    operations: dict[tuple[str, str], Operation] = field(default_factory=dict)  # by method, and the flag in the query


@cache
def _tree() -> _Node:
    root = _Node()
    for operation in operations():
        node = root
        for segment in operation.path.split("/")[1:]:
            node = node.below.setdefault(ANY if segment.startswith("{") else segment, _Node())
        node.operations[operation.method, operation.query] = operation
    return root


def _at(node: _Node, segments: Sequence[str], place: int) -> Mapping[tuple[str, str], Operation]:
    """Return the operations of the first path that fits from that segment on, by method and flag."""
    if place == len(segments):
        return node.operations
    for way in (segments[place], ANY) if segments[place] else ():
        if way in node.below and (found := _at(node.below[way], segments, place + 1)):
            return found
    return {}


def _held(name: str) -> bytes:
    return Path(__file__).with_name(name).read_bytes()
