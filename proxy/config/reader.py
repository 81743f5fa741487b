"""Nodes become the structs of `sections`, by their types; every fault is collected. Pure.

What is faulty is left at its default, so that the rest can be judged too: a tree from here is fit for use only
if no fault was found. Never here: checks between values (rules), and what a default depends on (completion).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec

from proxy.config import scalars
from proxy.config.faults import Findings, join, suggestion
from proxy.config.nodes import ListNode, MapNode, Node, is_nothing, spelled_out
from proxy.config.references import reference
from proxy.config.sections import (
    NAME,
    ApiKeyCredential,
    Credential,
    FileStore,
    KubernetesStore,
    MemoryStore,
    OAuth2Credential,
    Reads,
    RedisStore,
    Section,
    Store,
    keys_of,
)
from proxy.policy.pattern import Pattern
from proxy.policy.policy import Rule
from proxy.secrets import SecretReference

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from msgspec.structs import FieldInfo

# Stands for a value that could not be read; a fault says why.
FAULTY: Final = object()


class Reader:
    """Reads one document. `faults` and `warnings` grow while it reads; nothing else changes."""

    def __init__(self, environ: Mapping[str, str], folder: Path, faults: Findings) -> None:
        self.faults = faults
        self.warnings = Findings()
        self._environ = environ
        self._folder = folder  # relative paths start here
        self._by_type: dict[Any, Callable[[Node, str], Any]] = {
            str: lambda node, path: self._leaf(node, path, scalars.plain),
            bool: lambda node, path: self._leaf(node, path, scalars.flag),
            Path: lambda node, path: self._leaf(node, path, self._file),
            SecretReference: self._secret,
            Store: self._store,
            Credential: self._credential,
            Rule: self._rule,
        }

    def section(self, node: Node, cls: type[msgspec.Struct], path: str, wanted: str = "keys,") -> Any:
        """Read a mapping as a struct; FAULTY only if a key without a default is missing or faulty."""
        entries = self._entries(node, path, wanted)
        keys = {field.name: field for field in keys_of(cls)}
        self._refuse_unknown(entries, keys, path)
        values = {
            key: self.read(entries[key], field.type, join(path, key))
            for key, field in keys.items()
            if key in entries and not _left_out(entries[key], field)
        }
        required = {key for key, field in keys.items() if field.required}
        if not self.faults.covers(path):
            for key in sorted(required - values.keys()):
                self.faults.add(node.place, join(path, key), f"is missing: {_wanted(keys[key].type)}")
        good = {key: value for key, value in values.items() if value is not FAULTY}
        return cls(**good) if required <= good.keys() else FAULTY

    def read(self, node: Node, kind: Any, path: str) -> Any:
        """Read one node as a type that a section's field has; FAULTY if that can't be."""
        if kind in self._by_type:
            return self._by_type[kind](node, path)
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return self.section(node, kind, path)
        return self._compound(node, get_origin(kind), get_args(kind), path)

    def _compound(self, node: Node, origin: Any, args: tuple[Any, ...], path: str) -> Any:
        if origin is Annotated:
            return self._leaf(node, path, lambda node: scalars.parsed(node, args[1].parse))
        if origin is Literal:
            return self._leaf(node, path, lambda node: scalars.choice(node, args))
        if origin is Mapping:
            return self._named(node, args[1], path)
        if origin in (Union, UnionType):  # X | None: the other unions are in the table
            return None if is_nothing(node) else self._some(node, args[0], path)
        return self._many(node, origin, args[0], path)

    def _some(self, node: Node, kind: Any, path: str) -> Any:
        """Read what may be null, and say so where a section is switched off by another word."""
        if isinstance(kind, type) and issubclass(kind, Section):
            return self.section(node, kind, path, "keys, or null for none;")
        return self.read(node, kind, path)

    def _leaf(self, node: Node, path: str, read: Callable[[Node], Any]) -> Any:
        try:
            return read(node)
        except ValueError as error:
            self.faults.add(node.place, path, str(error))
            return FAULTY

    def _file(self, node: Node) -> Path:
        return self._folder / scalars.path(node)

    def _entries(self, node: Node, path: str, wanted: str = "keys,") -> dict[str, Node]:
        node = spelled_out(node, path)
        if isinstance(node, MapNode):
            return node.entries
        if not is_nothing(node):
            self.faults.add(node.place, path, f"expected {wanted} found {node.found}")
        return {}

    def _refuse_unknown(self, entries: Mapping[str, Node], known: Collection[str], path: str) -> None:
        for key in (key for key in entries if key not in known):
            self.faults.add(entries[key].place, join(path, key), f"unknown key{suggestion(key, known)}")

    def _many(self, node: Node, collection: Any, kind: Any, path: str) -> Any:
        if not isinstance(node, ListNode):
            how = 'begin each entry with "- "' if node.place.line else "write it in brackets, such as [one, two]"
            self.faults.add(node.place, path, f"expected a list: {how}; found {node.found}")
            return FAULTY
        items = (self.read(item, kind, join(path, str(index))) for index, item in enumerate(node.items))
        return collection(item for item in items if item is not FAULTY)

    def _named(self, node: Node, kind: Any, path: str) -> Mapping[str, Any]:
        """Read a mapping whose keys are the operator's own; faulty entries keep their names."""
        entries = self._entries(node, path)
        if is_nothing(node):
            self.faults.add(node.place, path, "is empty: name one, or leave the key out")
        for name in entries:
            if not re.fullmatch(NAME, name):
                flaw = "a name has letters, digits, - and _, 32 at most"
                self.faults.add(entries[name].place, join(path, name), flaw)
        return MappingProxyType({name: self.read(entries[name], kind, join(path, name)) for name in entries})

    def _secret(self, node: Node, path: str) -> Any:
        made = self._leaf(node, path, lambda node: reference(node, self._environ, self._folder))
        public = path.endswith(".client_id")  # RFC 6749 §2.2: the client identifier is not a secret
        if made is not FAULTY and made.kind == "literal" and not public:
            advice = "the secret stands here in plain text: {env: NAME} or {file: PATH} would keep it out"
            self.warnings.add(node.place, path, advice)
        return made

    def _store(self, node: Node, path: str) -> Any:
        if is_nothing(node):
            return FileStore()
        way, below = self._one_of(node, path, ("file", "memory", "redis", "kubernetes"))
        if way == "file":
            return self._leaf(below, join(path, way), lambda node: FileStore(self._file(node)))
        if way == "memory":
            return self._leaf(below, join(path, way), _memory_store)
        if way == "redis":
            return self.section(below, RedisStore, join(path, way))
        return self.section(below, KubernetesStore, join(path, way)) if way else FAULTY

    def _rule(self, node: Node, path: str) -> Any:
        way, below = self._one_of(node, path, ("allow", "deny"))
        if not way:
            return FAULTY
        return self._leaf(below, join(path, way), lambda node: Rule(way == "allow", _pattern(node)))

    def _credential(self, node: Node, path: str) -> Any:
        way, below = self._one_of(node, path, ("api_key", "oauth2"))
        if way == "oauth2":
            return self.section(below, OAuth2Credential, join(path, way))
        if way == "api_key":
            secret = self._secret(below, join(path, way))
            return FAULTY if secret is FAULTY else ApiKeyCredential(api_key=secret)
        return FAULTY

    def _one_of(self, node: Node, path: str, ways: tuple[str, ...]) -> tuple[str, Node]:
        """Find the one key that is there of some that exclude each other; "" after a fault."""
        entries = self._entries(node, path)
        given = [way for way in ways if way in entries]
        self._refuse_unknown(entries, ways, path)
        if len(given) == 1:
            return given[0], entries[given[0]]
        if given or node == MapNode(node.place, {}) or is_nothing(node):  # else its fault is known already
            several, none = (" and ".join(given), "none of them") if ways[2:] else ("both", "neither")
            wanted = f"{', '.join(ways[:-1])} or {ways[-1]}"
            self.faults.add(node.place, path, f"expected {wanted}, found {several if given else none}")
        return "", node


def _wanted(kind: Any) -> str:
    if kind is SecretReference:
        return "write {env: NAME} or {file: PATH}"
    return "name a PEM file" if kind is Path else "name one"


def _left_out(node: Node, field: FieldInfo) -> bool:
    """Whether null here means the default.

    So it does where marked, and for what has parts (all of them may be commented out), but not where null is a
    value of its own.
    """
    if not is_nothing(node) or get_origin(field.type) in (Union, UnionType):
        return False
    marks = (mark for mark in get_args(field.type) if isinstance(mark, Reads))
    return isinstance(field.default, (tuple, frozenset, Section)) or any(mark.null_is_default for mark in marks)


def _pattern(node: Node) -> Pattern:
    if not scalars.is_written(node):
        raise ValueError(f"expected one pattern, such as GET /public/v1/documents/**; found {node.found}")
    return scalars.parsed(node, Pattern.parse)


def _memory_store(node: Node) -> MemoryStore:
    if not scalars.flag(node):
        raise ValueError("can only be true; for a file, write {file: PATH} instead")
    return MemoryStore()
