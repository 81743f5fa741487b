"""What an editor sees: a file's text as plain JSON, and what the schema complains of."""

from collections.abc import Set as AbstractSet
from typing import Any, Final

import yaml
from jsonschema import Draft202012Validator

from proxy.config.document import document
from proxy.config.faults import Findings
from proxy.config.nodes import ListNode, MapNode, Node
from proxy.config.schema import meanings, schema

SCHEMA: Final = schema(meanings())
VALIDATOR: Final = Draft202012Validator(SCHEMA)

DIALECTS: Final[tuple[AbstractSet[str], ...]] = (frozenset(), frozenset({"yes", "no", "on", "off"}))
"""What is a truth value in YAML 1.1, and in 1.2 a text."""


def complaints(text: str) -> list[str]:
    """Return the paths of what the schema refuses, as the proxy would write them. Raises Unreadable."""
    root = document(text, "config.yaml", Findings())
    found = [each for texts in DIALECTS for each in VALIDATOR.iter_errors(plain(root, texts))]
    return sorted({".".join(map(str, each.absolute_path)) for each in found})


def plain(node: Node, texts: AbstractSet[str]) -> Any:
    """Write a node as JSON. What JSON has no type for, a date, is a text to an editor."""
    if isinstance(node, MapNode):
        return {key: plain(below, texts) for key, below in node.entries.items()}
    if isinstance(node, ListNode):
        return [plain(below, texts) for below in node.items]
    if node.kind in {"text", "date"} or node.text.lower() in texts:
        return node.text
    return yaml.safe_load(node.text or "null")
