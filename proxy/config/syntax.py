"""What to write instead when YAML can't be read. Pure.

PyYAML's own texts are not shown: some repeat the document, where a secret may stand.
"""

from __future__ import annotations

import re

import msgspec

_BRACKETED_ADDRESS = re.compile(r"\[[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\]")


class Hint(msgspec.Struct, frozen=True):
    context: str  # a part of PyYAML's text on what it was doing
    problem: str  # a part of its text on what it met
    message: str
    at_context: bool = False  # whether the line where it began tells more than the line where it failed

    def fits(self, context: str, problem: str) -> bool:
        return self.context in context and self.problem in problem


_ADDRESS = Hint("flow node", "", 'put an address with brackets in quotes, such as "[::1]:8080"')
_UNKNOWN = Hint("", "", "this is not YAML")
_COLON = (
    "a colon is unexpected here: check the indentation, put a space after a key's colon,"
    " and quote values that hold a colon and a space"
)
# The first that fits is shown.
_HINTS = (
    Hint("", "found character '\\t'", "a tab stands here: indent with spaces"),
    Hint("", "cannot start any token", "YAML reserves the character that begins this value: put it in quotes"),
    Hint("quoted scalar", "unknown escape", "a backslash stands in double quotes: use single quotes"),
    Hint("quoted scalar", "", "a quote is opened here and not closed", at_context=True),
    Hint("", "'<document start>'", "only comments may stand before and after the document"),
    Hint("single document", "", "only one document is read: remove what follows the second ---"),
    Hint("flow mapping", "", "{ is not closed, or a value in it needs quotes", at_context=True),
    Hint("flow sequence", "", "[ is not closed, or a value in it needs quotes", at_context=True),
    Hint("an alias", "", 'a value that begins with * needs quotes, such as "*"'),
    Hint("an anchor", "", "a value that begins with & needs quotes"),
    Hint("a tag", "", "a value that begins with ! needs quotes"),
    Hint("", "undefined tag handle", "a value that begins with ! needs quotes"),
    Hint("flow node", "", "[ or { is not closed, or a value in it needs quotes"),
    Hint("block node", "", "a value that begins with ] or } needs quotes"),
    Hint("", "mapping values are not allowed", _COLON),
    Hint("", "expected <block end>", "this line's indentation does not match the lines above"),
    Hint("", "could not find expected ':'", "a key has no colon after it", at_context=True),
    Hint("block scalar", "", "after | or > the text begins on the next line"),
    Hint("", "incompatible YAML document", "write %YAML 1.1, or leave the line out"),
)


def hint(context: str, problem: str, line: str) -> Hint:
    """Say what to write instead of a line that PyYAML could not read."""
    if _ADDRESS.fits(context, problem) and _BRACKETED_ADDRESS.search(line):
        return _ADDRESS
    return next((known for known in _HINTS if known.fits(context, problem)), _UNKNOWN)
