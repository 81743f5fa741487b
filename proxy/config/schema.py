"""The JSON Schema (draft 2020-12) of config.yaml, made from the types of `sections`, as the reader walks them. Pure.

It never marks what would load. What it can't see stays with `check`: whether values fit each other, the environment
and the files that are named, and how YAML spelled a value. Never here: how one value is written (forms), and what a
key means: that is said in config.yaml, and comes here by `meanings`.
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec
from msgspec.structs import FieldInfo, fields

from proxy.config.forms import FORMS, Form, Shape, one_of
from proxy.config.nodes import SHORT
from proxy.config.sections import (
    NAME,
    Config,
    Credential,
    FileStore,
    KubernetesStore,
    MemoryStore,
    OAuth2Credential,
    RedisStore,
    Section,
    Store,
    keys_of,
)
from proxy.secrets import SecretReference

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


@cache
def meanings() -> Mapping[str, str]:
    """Return what each key means by its path, `*` for a name: tools/reference.py has it from config.yaml's comments."""
    return msgspec.json.decode(Path(__file__).with_name("meanings.json").read_bytes(), type=dict[str, str])


def schema(meanings: Mapping[str, str]) -> dict[str, Any]:
    """Make the whole schema."""
    return {
        "$schema": DIALECT,
        "title": "pandadoc-proxy's config.yaml",
        **_Walk(meanings).section(Config, ""),
        "$defs": {form.key: _defined(form) for form in FORMS.values()},
    }


def _defined(form: Form) -> Shape:
    return {"title": form.name, "description": form.says, **form.shape, "examples": list(form.examples)}


class _Walk:
    """Goes through the types. Nothing changes while it does."""

    def __init__(self, meanings: Mapping[str, str]) -> None:
        self._meanings = meanings

    def section(self, cls: type[msgspec.Struct], path: str) -> dict[str, Any]:
        """Shape a mapping with the keys of a struct; null is one with none of them, where none is required."""
        keys = keys_of(cls)
        # The environment may give credentials, and no other key that is required.
        required = [field.name for field in keys if field.required and cls is not Config]
        shape: dict[str, Any] = {
            "type": "object" if required else ["object", "null"],
            "properties": {field.name: self._key(field, f"{path}.{field.name}".lstrip(".")) for field in keys},
            "additionalProperties": False,
        }
        return shape | ({"required": required} if required else {})

    def _key(self, field: FieldInfo, path: str) -> dict[str, Any]:
        shape = self.of(field.type, path)
        if isinstance(field.default, (tuple, frozenset)) or path == "credentials":
            shape = _or_null(shape)
        return {**self._said(path), **shape, **_default(field)}

    def of(self, kind: Any, path: str) -> dict[str, Any]:
        """Shape what a field of this type holds."""
        if kind in FORMS or get_origin(kind) is Annotated:  # one without a form fails here, at every test
            return {"$ref": f"#/$defs/{FORMS[kind].key}"}
        if kind is Credential:
            return self._credential(path)
        if kind is Store:
            return self._store(path)
        if isinstance(kind, type) and issubclass(kind, Section):
            whole = self.section(kind, path)
            short = [self.of(field.type, path) for field in fields(kind) if field.name == SHORT.get(path)]
            return {"anyOf": [*short, whole]} if short else whole
        return self._compound(get_origin(kind), get_args(kind), path)

    def _compound(self, origin: Any, args: tuple[Any, ...], path: str) -> dict[str, Any]:
        if origin is Literal:
            return {"enum": list(args)}
        if origin is Mapping:
            named = f"{path}.*"
            below = {**self._said(named), **self.of(args[1], named)}
            return {"type": "object", "propertyNames": {"pattern": f"^{NAME}$"}, "additionalProperties": below}
        if origin in (Union, UnionType):  # X | None
            return _or_null(self.of(args[0], path))
        return {"type": "array", "items": self.of(args[0], path)}

    def _credential(self, path: str) -> dict[str, Any]:
        key = {**self._said(f"{path}.api_key"), **self.of(SecretReference, path)}
        grant = {**self._said(f"{path}.oauth2"), **self.section(OAuth2Credential, f"{path}.oauth2")}
        return dict(one_of(api_key=key, oauth2=grant))

    def _store(self, path: str) -> dict[str, Any]:
        redis, kubernetes = f"{path}.redis", f"{path}.kubernetes"
        ways = one_of(
            file={**self._told("a file of your choice"), **self.of(Path, path)},
            memory={**self._told("forgets the grant when the process ends"), **self.of(MemoryStore, path)},
            redis={**self._said(redis), **self.section(RedisStore, redis)},
            kubernetes={**self._said(kubernetes), **self.section(KubernetesStore, kubernetes)},
        )
        return {"anyOf": [ways, {"type": "null"}]}

    def _told(self, meaning: str) -> dict[str, str]:
        """Say what a key means that the shipped file has no room for."""
        return {"description": meaning} if self._meanings else {}

    def _said(self, path: str) -> dict[str, str]:
        """Say what a key means. A client's policy has the keys of the policy of all, and their meanings."""
        ways = [match.end() for match in re.finditer(r"\.", path)]
        found = next((self._meanings[path[way:]] for way in [0, *ways] if path[way:] in self._meanings), None)
        return {} if found is None else {"description": found}


def _or_null(shape: dict[str, Any]) -> dict[str, Any]:
    if "type" not in shape:
        return {"anyOf": [shape, {"type": "null"}]}
    types = [shape["type"]] if isinstance(shape["type"], str) else shape["type"]
    return shape | {"type": [*types, *({"null"} - set(types))]}


def _default(field: FieldInfo) -> dict[str, Any]:
    """Write a field's default as it would stand in the file; a section's is that of its keys."""
    parts = field.default if isinstance(field.default, tuple) else (field.default,)
    if field.required or any(isinstance(part, Section) for part in parts):
        return {}
    return {"default": _written(field.type, field.default)}


def _written(kind: Any, value: Any) -> Any:
    if kind in FORMS:
        return FORMS[kind].written(value)
    if value == FileStore():
        return None
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return {}
    if get_origin(kind) in (Union, UnionType):  # X | None
        return _written(get_args(kind)[0], value)
    return [_written(get_args(kind)[0], each) for each in value]
