"""Rules, and what they say of a request. Pure.

A policy is a row of rule sets. In each the first rule that fits decides, else its `otherwise`; a request passes
only if every set lets every reading of it pass. So a client's policy can narrow the one of all, never widen it,
and an encoding that could be read in two ways is refused exactly where a rule tells them apart.
"""

import re
from collections.abc import Iterable
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from proxy.policy.pattern import Pattern

FLAGS: Final = re.ASCII | re.DOTALL
FOLDED: Final = FLAGS | re.IGNORECASE

CONFIGURED: Final = "Whoever runs the proxy can change its rules."


class Rule(Struct, frozen=True):
    """One line of a policy."""

    allows: bool
    pattern: Pattern

    def __str__(self) -> str:
        return f"{word(self.allows)} {self.pattern}"


class Decision(Struct, frozen=True):
    """What one rule set says of a request, and which of its lines says so."""

    allowed: bool
    by: str
    enforced: bool  # False: what is refused passes all the same, and is counted
    by_default: bool  # no rule fits
    cure: str  # what a caller who is refused is told to do
    doubtful: bool = False  # some reading of the path is decided otherwise


class RuleSet:
    """Ordered rules under one name.

    Letter case can't walk around a rule: a path is judged as it is written and as if case said nothing.
    """

    def __init__(
        self, name: str, rules: Iterable[Rule], *, otherwise: bool, enforced: bool = True, cure: str = CONFIGURED
    ) -> None:
        """`otherwise`: whether what fits no rule is allowed. `cure`: what those whom it refuses are told to do."""
        self.name = name
        self.rules = tuple(rules)
        self._exact = tuple(re.compile(rule.pattern.expression, FLAGS) for rule in self.rules)
        # All rules at once; the empty group behind each tells by its number which one fits first.
        self._folded = re.compile("|".join(f"{rule.pattern.expression}()" for rule in self.rules) or "(?!)", FOLDED)
        by_rule = (
            Decision(rule.allows, f"{name}: {rule}", enforced, by_default=False, cure=cure) for rule in self.rules
        )
        by_default = Decision(otherwise, f"{name}: otherwise: {word(otherwise)}", enforced, by_default=True, cure=cure)
        self._decisions = (*by_rule, by_default)

    def __repr__(self) -> str:
        return f"<RuleSet {self.name}: {len(self.rules)} rules>"

    def decide(self, method: str, readings: Iterable[str]) -> Decision:
        """Judge a request by every reading of its path: all must be allowed."""
        fitting: set[int] = set()
        for reading in readings:
            fitting.update(self._fitting(f"{method} {reading}"))
        if len(fitting) == 1:  # as nearly always
            return self._decisions[fitting.pop()]
        refusing = [number for number in fitting if not self._decisions[number].allowed]
        decision = self._decisions[min(refusing or fitting)]
        return replace(decision, doubtful=True) if 0 < len(refusing) < len(fitting) else decision

    def _fitting(self, request: str) -> tuple[int, ...]:
        """Return the number of the rule that fits first; two where letter case matters. The last is `otherwise`."""
        match, none = self._folded.fullmatch(request), len(self.rules)
        if match is None or match.lastindex is None:
            return (none,)
        first = match.lastindex - 1  # no earlier one fits exactly, for what fits exactly fits folded
        if self._exact[first].fullmatch(request) is not None:
            return (first,)
        later = (number for number in range(first + 1, none) if self._exact[number].fullmatch(request) is not None)
        return (first, next(later, none))


class Policy(Struct, frozen=True, eq=False):
    """Rule sets that must all agree."""

    sets: tuple[RuleSet, ...] = ()

    def __add__(self, other: "Policy") -> "Policy":
        return Policy(self.sets + other.sets)

    def decide(self, method: str, readings: Iterable[str]) -> list[Decision]:
        """Return what each rule set says."""
        return [rules.decide(method, readings) for rules in self.sets]

    def objections(self, method: str, readings: Iterable[str]) -> list[Decision]:
        """Return what speaks against a request; it passes if nothing of that is enforced."""
        return [decision for decision in self.decide(method, readings) if not decision.allowed]


def word(allows: bool) -> str:  # noqa: FBT001 - the only thing it is about
    """Say it as a configuration does."""
    return "allow" if allows else "deny"
