"""The document as a tree of nodes, each with the place where it was written. Pure.

A node is text and shape, not yet a value: the reader decides what a text means, by the type that is wanted.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Kind: TypeAlias = Literal["text", "number", "flag", "date", "nothing"]

_FOUND = {
    "text": "a text",
    "number": "a number",
    "flag": "a truth value",
    "date": "a date",
    "nothing": "nothing",
}


class Place(msgspec.Struct, frozen=True):
    """Where something was written: a line of a file, or an environment variable."""

    source: str
    line: int | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


class Scalar(msgspec.Struct, frozen=True):
    place: Place
    text: str
    kind: Kind  # what YAML would take it for; "text" if it was quoted

    @property
    def found(self) -> str:
        return _FOUND[self.kind]


class ListNode(msgspec.Struct, frozen=True):
    place: Place
    items: tuple[Node, ...]

    found = "a list"


class MapNode(msgspec.Struct, frozen=True):
    place: Place
    entries: dict[str, Node]  # never changed once built; `with_entry` builds another

    found = "a mapping"

    def with_entry(self, key: str, node: Node) -> MapNode:
        return MapNode(self.place, self.entries | {key: node})


SHORT = {"upstream": "url", "rate_budget": "numbers"}
"""Sections that may be written as one of their values."""

NAMED = frozenset({"clients", "credentials"})
"""Keys below which stand names that people choose: digits there are no number in a list."""

Node: TypeAlias = Scalar | ListNode | MapNode


def is_nothing(node: Node | None) -> bool:
    """Whether a key was left out or has null, or no value, after it."""
    return node is None or (isinstance(node, Scalar) and node.kind == "nothing")


def spelled_out(node: Node, path: str) -> Node:
    """Write a short form in full: `upstream: https://…` means `upstream: {url: https://…}`."""
    if path in SHORT and isinstance(node, Scalar) and node.kind != "nothing":
        return MapNode(node.place, {SHORT[path]: node})
    return node


def locate(root: Node, path: str) -> Place:
    """Find the place of what stands at a path, or of the deepest thing above it that was written."""
    node = root
    for key in path.split("."):
        below = _below(node, key)
        if below is None:
            break
        node = below
    return node.place


def _below(node: Node, key: str) -> Node | None:
    if isinstance(node, MapNode):
        return node.entries.get(key)
    if isinstance(node, ListNode) and key.isdecimal() and int(key) < len(node.items):
        return node.items[int(key)]
    return None
