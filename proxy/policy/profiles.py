"""Rules by name, and PandaDoc's operations: what the two files beside this one hold. Pure, once they are read.

Both are made by tools/operations.py from PandaDoc's OpenAPI contract; a change belongs there. They are read when
first asked for, because most starts of a command never ask. Never here: what a rule means, and any verdict.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

import msgspec

ANY: Final = "{}"
"""Stands in a shape for a placeholder: any segment but an empty one."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A rule set that comes with the proxy: the first rule that fits decides, `otherwise` the rest."""

    name: str
    about: str  # one sentence for people
    rules: tuple[str, ...]
    otherwise: Literal["allow", "deny"]


@dataclass(frozen=True, slots=True)
class Operation:
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


def named(method: str, path: str) -> Operation | None:
    """Find the operation that a normalised path without its query names, for telling people.

    A concrete path goes before one with placeholders, whatever the method (OpenAPI 3.0.3, Paths Object). Of
    operations that only a flag in the query tells apart it is the one without. HEAD is GET.
    """
    segments = path.split("/")
    by_method = next((of for shape, of in _by_shape().items() if _fits(shape, segments)), None)
    return by_method.get("GET" if method == "HEAD" else method) if by_method else None


@cache
def _by_shape() -> Mapping[tuple[str, ...], Mapping[str, Operation]]:
    """Sort the operations by what their paths look like, the concrete before those with placeholders."""
    by_shape: dict[tuple[str, ...], dict[str, Operation]] = {}
    for operation in operations():
        shape = tuple(ANY if segment.startswith("{") else segment for segment in operation.path.split("/"))
        by_shape.setdefault(shape, {}).setdefault(operation.method, operation)
    return dict(sorted(by_shape.items(), key=lambda item: [segment == ANY for segment in item[0]]))


def _fits(shape: tuple[str, ...], segments: list[str]) -> bool:
    return len(shape) == len(segments) and all(map(_meets, shape, segments))


def _meets(wanted: str, segment: str) -> bool:
    return wanted == segment or (wanted == ANY and segment != "")


def _held(name: str) -> bytes:
    return Path(__file__).with_name(name).read_bytes()
