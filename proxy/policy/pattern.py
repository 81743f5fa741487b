"""Which requests a rule means: `GET /public/v1/documents/**`. Pure.

    GET,POST /path   these methods, in capitals; GET means HEAD too (RFC 9110 §9.3.2)
    /path, * /path   every method
    *                one segment, or any characters within one; {id} is the same, as in PandaDoc's reference
    /**              at the end: all that follows, or nothing

The query is not looked at. One star a segment and `**` only at the end keep matching linear: a path comes from
whoever asks.
"""

import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
"""Those of PandaDoc's contract, and their like. What is none of them only a rule without methods means."""

SEGMENT: Final = re.compile(r"[A-Za-z0-9_.~!$&'()+,=:@*-]+")
PLACEHOLDER: Final = re.compile(r"\{[A-Za-z0-9_]*\}")


@dataclass(frozen=True, slots=True)
class Pattern:
    """Methods (none: every one) and the segments of a path. Made by `parse`."""

    methods: tuple[str, ...]
    segments: tuple[str, ...]
    text: str = field(compare=False)

    def __str__(self) -> str:
        return self.text

    @classmethod
    def parse(cls, text: str) -> "Pattern":
        """Read a pattern. Raises ValueError with what to write instead."""
        before, slash, path = text.strip().partition("/")
        if not slash:
            raise ValueError("expected a method and a path, such as GET /public/v1/documents/**, or a path alone")
        methods = tuple(filter(None, (word.strip() for word in before.split(","))))
        methods = () if methods == ("*",) else methods
        if not METHODS.issuperset(methods):
            raise ValueError(f"methods are {', '.join(sorted(METHODS))}; put commas between several: GET,POST /path")
        return cls(methods, _segments(path), text.strip())

    @property
    def expression(self) -> str:
        """Write a regular expression for `METHOD /path`, the path as a reading of `paths`."""
        method = f"(?:{'|'.join(sorted(_meant(self.methods)))})" if self.methods else "[^ ]+"
        return f"{method} {''.join(map(_segment_expression, self.segments))}"

    def covers(self, other: "Pattern") -> bool:
        """Tell whether this means all requests that `other` means."""
        wider, narrower = self.segments, other.segments
        if wider[-1:] == ("**",):
            wider, narrower = wider[:-1], narrower[: len(wider) - 1]
        if len(wider) != len(narrower) or not all(map(_covers, wider, narrower)):
            return False
        return not self.methods or (bool(other.methods) and _meant(self.methods) >= _meant(other.methods))


def _meant(methods: tuple[str, ...]) -> set[str]:
    return {*methods, "HEAD"} if "GET" in methods else {*methods}


def _covers(segment: str, other: str) -> bool:
    """Tell whether a segment means all that another does; a star in that can only be what a star means here."""
    return segment == other or ("*" in segment and other != "**" and fnmatchcase(other, segment))


def _segments(path: str) -> tuple[str, ...]:
    if re.search(r"[?#;%\\]", path):
        raise ValueError("a rule sees the decoded path, never the query: write it without ? # ; % and backslash")
    if "}{" in path:
        raise ValueError("a segment can have one *")
    segments = tuple(filter(None, PLACEHOLDER.sub("*", path).split("/")))
    if any(segment in {".", ".."} or SEGMENT.fullmatch(segment) is None for segment in segments):
        raise ValueError("expected a path such as /public/v1/documents/*, without dots as segments and without spaces")
    if "**" in segments[:-1]:
        raise ValueError("** stands for all that follows and can only be the last segment")
    if any(segment.count("*") > 1 for segment in segments if segment != "**"):
        raise ValueError("a segment can have one *")
    return segments


def _segment_expression(segment: str) -> str:
    if segment == "**":
        return "(?:/.*)?"
    if segment == "*":
        return "/[^/]+"
    return "/" + "[^/]*".join(map(re.escape, segment.split("*")))
