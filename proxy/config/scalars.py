"""One node becomes one plain value. Pure.

Every function raises ValueError with what to write instead, never with what was written.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeGuard, TypeVar

from proxy.config.faults import suggestion
from proxy.config.nodes import Node, Scalar, is_nothing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_FLAGS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}

Value = TypeVar("Value")

_SURROGATE = re.compile("[\ud800-\udfff]")  # Python has them stand for bytes, too; they can't be sent

_FILLED_IN = "write it out, or set it by a variable of its own, PANDADOC_PROXY__…"


def is_written(node: Node) -> TypeGuard[Scalar]:
    """Whether a node is one value, and not null."""
    return isinstance(node, Scalar) and node.kind != "nothing"


def parsed(node: Node, parse: Callable[[str], Value]) -> Value:
    """Read what has a notation of its own; its text is taken as it stands, whatever YAML sees in it."""
    if is_written(node):
        return parse(_plain(node.text))
    advice = "leave the key out for its default" if is_nothing(node) else "a value with [ ] { } needs quotes"
    raise ValueError(f"expected one value, found {node.found}: {advice}")


def text(node: Node) -> str:
    """Read a text. A bare number or truth value is refused: YAML readers would not agree on its spelling."""
    if not is_written(node):
        raise ValueError(f"expected a text, found {node.found}")
    if node.kind != "text":
        raise ValueError(f"expected a text, found {node.found}: put it in quotes")
    if not node.text.strip():
        raise ValueError("expected a text, found an empty one")
    if _SURROGATE.search(node.text):
        raise ValueError("expected a text, found what is no character in it: half of one, or a byte that is no UTF-8")
    return node.text


def plain(node: Node) -> str:
    """Read a text that is no secret."""
    return _plain(text(node))


def _plain(written: str) -> str:
    """Refuse what is filled in for secrets alone; here it would be taken to the letter."""
    if "${" in written:
        raise ValueError(f"${{…}} is for secrets: {_FILLED_IN}")
    return written


def path(node: Node) -> str:
    """Read a file's path; what the operating system could not take, or a shell would replace, is refused here."""
    written = text(node)
    if not written.isprintable():
        raise ValueError("expected a path, found a control character in it")
    if written.startswith(("~", "$")) or "${" in written:
        raise ValueError(f"~ and $ are not filled in here: {_FILLED_IN}")
    return written


def flag(node: Node) -> bool:
    if not isinstance(node, Scalar) or node.kind != "flag":
        raise ValueError(f"expected true or false, found {node.found}")
    return _FLAGS[node.text.lower()]


def choice(node: Node, options: Sequence[str]) -> str:
    if not is_written(node):
        raise ValueError(f"expected one of {', '.join(options)}; found {node.found}")
    if node.text not in options:
        raise ValueError(f"not one of the possible words{suggestion(node.text, options)}")
    return node.text
