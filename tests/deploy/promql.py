"""Just enough of PromQL to know what an expression asks for: its metrics, matchers, and the labels it names."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

SELECTOR: Final = re.compile(r"\b(?P<name>(?:pandadoc_proxy|process)_\w+)(?:\{(?P<matchers>[^}]*)\})?")
MATCHER: Final = re.compile(r'(?P<label>\w+)(?P<operator>=~|!~|!=|=)"(?P<value>[^"]*)"')
GROUPING: Final = re.compile(r"\b(?:by|without|ignoring|on)\s*\((?P<labels>[^)]*)\)")
SHOWN: Final = re.compile(r"\{\{\s*(?!else\b|end\b)(?:\$labels\.)?(?P<label>[a-z_]+)\s*\}\}")
COMPARISON: Final = re.compile(r"(?P<selector>[^<>=]+(?:\{[^}]*\})?)\s*(?P<operator>==|>=|>)\s*(?P<number>[0-9.]+)")

TARGET: Final = frozenset({"job", "instance"})
"""Labels that Prometheus itself gives to what it scrapes."""


@dataclass(frozen=True)
class Selector:
    """One metric that is asked for."""

    name: str
    equal: tuple[tuple[str, str], ...]  # label="value"
    labels: frozenset[str]  # every label that a matcher names


def selectors(expression: str) -> Iterator[Selector]:
    for found in SELECTOR.finditer(expression):
        matchers = list(MATCHER.finditer(found["matchers"] or ""))
        equal = tuple((each["label"], each["value"]) for each in matchers if each["operator"] == "=")
        yield Selector(found["name"], equal, frozenset(each["label"] for each in matchers) - TARGET)


def grouped(expression: str) -> set[str]:
    """Return the labels that an expression groups or joins by."""
    return {label.strip() for found in GROUPING.finditer(expression) for label in found["labels"].split(",")} - TARGET


def shown(text: str) -> set[str]:
    """Return the labels that a legend or an annotation shows."""
    return {found["label"] for found in SHOWN.finditer(text)} - TARGET
