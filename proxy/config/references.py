"""How a secret is written: `{env: NAME}`, `{file: PATH}`, `${NAME}`, a plain string, or `{value: …}`. Pure.

A secret may stand in any wrong place here: no message repeats a key or a value.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from proxy.config.nodes import ListNode, MapNode, Node
from proxy.config.scalars import path, text
from proxy.secrets import SecretReference, SecretUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VARIABLE = re.compile(r"\$\{([^{}]*)\}")
_WAYS = {"env", "file", "value"}
_FORMS = "expected {env: NAME} or {file: PATH}"


def reference(node: Node, environ: Mapping[str, str], folder: Path) -> SecretReference:
    """Read a reference and, unless it is a file, try it: a file may come later, a variable never will.

    Raises ValueError.
    """
    made = _in_mapping(node, environ, folder) if isinstance(node, MapNode) else _in_text(node, environ)
    if made.kind != "file":
        try:
            made.read()
        except SecretUnavailable as error:
            raise ValueError(str(error)) from None
    return made


def _in_mapping(node: MapNode, environ: Mapping[str, str], folder: Path) -> SecretReference:
    if len(node.entries) > 1 and node.entries.keys() <= _WAYS:  # a variable's beside the file's, or beside another's
        given = " and ".join(f"{way} ({value.place})" for way, value in node.entries.items())
        raise ValueError(f"{_FORMS}, found {given}: take one of them out")
    if len(node.entries) != 1:
        raise ValueError(f"{_FORMS}, found a mapping of {len(node.entries)} keys")
    ((key, value),) = node.entries.items()
    if key == "env":
        return _env(text(value), environ)
    if key == "file":
        return SecretReference.file(folder / _path(path(value)))
    if key == "value":
        return SecretReference.literal(text(value), str(value.place))
    raise ValueError(f"{_FORMS}, found a mapping with another key")


def _in_text(node: Node, environ: Mapping[str, str]) -> SecretReference:
    if isinstance(node, ListNode):
        raise ValueError(f"{_FORMS}, found a list")  # noqa: TRY004 - the document is wrong, not our types
    written = text(node)
    variable = _VARIABLE.fullmatch(written)
    if variable:
        return _env(variable[1], environ)
    if written.startswith("$") or "${" in written:
        raise ValueError("write ${NAME} with nothing around it; for a secret that has a $ itself, {value: …}")
    return SecretReference.literal(written, str(node.place))


def _env(name: str, environ: Mapping[str, str]) -> SecretReference:
    if not _NAME.fullmatch(name):
        raise ValueError("no variable has such a name: write the name, not the secret, and without a $")
    return SecretReference.env(name, environ)


def _path(written: str) -> str:
    """Refuse a bare word, which is more often the secret itself than a file beside config.yaml."""
    if "/" not in written:
        raise ValueError("expected a path such as /run/secrets/NAME, or ./NAME beside the configuration file")
    return written
