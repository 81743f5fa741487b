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
        methods = {*self.methods, "HEAD"} if "GET" in self.methods else self.methods
        method = f"(?:{'|'.join(sorted(methods))})" if methods else "[^ ]+"
        return f"{method} {''.join(map(_segment_expression, self.segments))}"

    def covers(self, other: "Pattern") -> bool:
        """Tell whether this means all requests that `other` means, for patterns whose stars are whole segments."""
        methods = not self.methods or (bool(other.methods) and set(other.methods) <= set(self.methods))
        path = "".join(f"/{segment}" for segment in other.segments)
        return methods and re.fullmatch(Pattern((), self.segments, "").expression, f"GET {path}", re.DOTALL) is not None


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
