"""YAML text becomes a tree of nodes with line numbers.

YAML is read as plain data: anchors, aliases, merge keys and tags are refused, so that no document means more
than it shows, none refers to itself, and none grows while it is read. Never here: what the keys mean.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias

import yaml

from proxy.config.faults import join
from proxy.config.nodes import Kind, ListNode, MapNode, Node, Place, Scalar
from proxy.config.syntax import hint

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.config.faults import Findings

MAX_CHARACTERS = 256 * 1024
# The reference has six levels; the bound keeps Python's own recursion out of reach.
MAX_DEPTH = 20

_KINDS: dict[str, Kind] = {
    "tag:yaml.org,2002:int": "number",
    "tag:yaml.org,2002:float": "number",
    "tag:yaml.org,2002:bool": "flag",
    "tag:yaml.org,2002:null": "nothing",
    "tag:yaml.org,2002:timestamp": "date",
}
_BRACKETED_ADDRESS = re.compile(r"\[[^\[\]{}]*\]:\d+")

# Zero-based line, as PyYAML counts, to place.
_Where: TypeAlias = "Callable[[int], Place]"


class Unreadable(Exception):
    """The text is no YAML document of ours; nothing in it can be judged."""

    def __init__(self, place: Place, message: str) -> None:
        super().__init__(place, message)
        self.place = place
        self.message = message


def document(text: str, source: str, faults: Findings) -> MapNode:
    """Read a whole file; an empty one is an empty mapping.

    Raises Unreadable for what stops the reading; what does not goes to `faults`.
    """

    def where(line: int) -> Place:
        return Place(source, line + 1)

    node = _composed(text, where)
    if node is None or _kind(node) == "nothing":
        return MapNode(where(0), {})
    if not isinstance(node, yaml.MappingNode):
        raise Unreadable(where(node.start_mark.line), "expected keys such as upstream: at the top")
    return _Tree(where, faults).mapping(node, where(0), "")


def variable(name: str, text: str, path: str, faults: Findings) -> Node:
    """Read an environment variable: YAML if it begins with a bracket, brace or quote, else one scalar.

    A plain scalar is taken as it is, so `[::1]:8080`, `*` and texts with `#` or `: ` need no quotes there.
    Raises Unreadable.
    """
    place, value = Place(name), text.strip()
    if value.startswith(("{", "[", '"', "'")) and not _BRACKETED_ADDRESS.fullmatch(value):
        node = _composed(value, lambda _: place)
        return _Tree(lambda _: place, faults).node(node, place, path)
    return Scalar(place, value, _kind_of_plain(value))


class _PlainLoader(yaml.SafeLoader):
    """Composes plain data and refuses the rest at the event, before anything is built from it."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0  # changed by compose_node alone

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave its type out
        flaw = self._flaw(event)
        if flaw:
            raise _Refused(flaw, event.start_mark.line)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def _flaw(self, event: Any) -> str | None:
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            return "anchors and aliases (& and *) are not read here: write the value out, or quote it"
        if event.tag is not None:
            return "tags (!) are not read here: put a value that begins with ! in quotes"
        if self._depth >= MAX_DEPTH:
            return f"nested deeper than {MAX_DEPTH} levels"
        return None


class _Refused(Exception):
    def __init__(self, message: str, line: int) -> None:
        super().__init__(message, line)
        self.message = message
        self.line = line


def _composed(text: str, where: _Where) -> Any:
    """Compose, and translate every way in which PyYAML can fail (`from None`: its errors quote the text)."""
    if len(text) > MAX_CHARACTERS:
        raise Unreadable(where(0), "larger than 256KiB: is this the right file?")
    try:
        loader = _PlainLoader(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position)
        raise Unreadable(where(line), "YAML does not allow a control character that stands here") from None
    try:
        return loader.get_single_node()
    except _Refused as refused:
        raise Unreadable(where(refused.line), refused.message) from None
    except yaml.MarkedYAMLError as error:
        line, message = _explained(error, text.splitlines())
        raise Unreadable(where(line), message) from None
    except (ValueError, OverflowError):  # PyYAML lets chr() fail on "\U00110000"
        raise Unreadable(where(loader.line), "an escape in double quotes names no character") from None


def _explained(error: yaml.MarkedYAMLError, lines: list[str]) -> tuple[int, str]:
    at = error.problem_mark.line if error.problem_mark else 0
    text = lines[at] if at < len(lines) else ""
    found = hint(error.context or "", error.problem or "", text)
    return (error.context_mark.line if found.at_context and error.context_mark else at), found.message


class _Tree:
    """Turns PyYAML's nodes into ours, each with its place."""

    def __init__(self, where: _Where, faults: Findings) -> None:
        self._where = where
        self._faults = faults

    def node(self, node: Any, place: Place, path: str) -> Node:
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, place, path)
        if isinstance(node, yaml.SequenceNode):
            items = (
                self.node(item, self._where(item.start_mark.line), join(path, str(index)))
                for index, item in enumerate(node.value)
            )
            return ListNode(place, tuple(items))
        return Scalar(place, node.value, _kind(node))

    def mapping(self, node: Any, place: Place, path: str) -> MapNode:
        """Convert a mapping; an entry's place is its key's, for what is missing in it is looked for there."""
        entries: dict[str, Node] = {}
        for key, value in node.value:
            at = self._where(key.start_mark.line)
            flaw = _flaw_of_key(key, entries)
            if flaw:
                self._faults.add(at, join(path, str(key.value)), flaw)
            else:
                entries[key.value] = self.node(value, at, join(path, key.value))
        return MapNode(place, entries)


def _flaw_of_key(node: Any, earlier: dict[str, Node]) -> str | None:
    if not isinstance(node, yaml.ScalarNode):
        return "expected a key here, found a list or a mapping: a value with [ or { needs quotes"
    if node.tag == "tag:yaml.org,2002:merge":
        return "merge keys (<<) are not read here: write the keys out"
    if node.value in earlier:
        return f"written twice, first at {earlier[node.value].place}"
    return None


def _kind(node: yaml.Node) -> Kind:
    return _KINDS.get(node.tag, "text")


def _kind_of_plain(text: str) -> Kind:
    """Judge a scalar as YAML would if it stood in a file without quotes."""
    resolver: Any = yaml.SafeLoader("")  # the stubs leave out the type of `resolve`
    return _KINDS.get(resolver.resolve(yaml.ScalarNode, text, (True, False)), "text")
