"""`Prefer: wait=30` (RFC 7240): how long a caller will wait for an answer that is final. Pure."""

import re
from typing import Final

from proxy.forward.headers import Fields, values

PREFER: Final = b"prefer"

COMPRESSED: Final = frozenset({b"gzip", b"x-gzip", b"deflate"})
"""Codings that can be read here."""

PREFERENCE: Final = re.compile(rb"""(?:[^,"]|"(?:[^"\\]|\\.)*+"?)+""")
"""One of the preferences in a field; a comma in a quoted string parts nothing (RFC 7240 §2). A string without an end
takes the rest: it matches all the same, and nothing is ever looked at twice."""

WAIT: Final = re.compile(
    rb"""\s*wait\s*=\s*(?:"(?P<quoted>[0-9]{1,6})"|(?P<plain>[0-9]{1,6}))\s*(?:;.*)?""", re.IGNORECASE | re.DOTALL
)
"""RFC 7240 §4.3: a number of seconds."""


def wait(fields: Fields) -> int | None:
    """Return the seconds of the first `wait` that counts, or None (RFC 7240 §2: of several the first)."""
    found = (WAIT.fullmatch(each) for value in values(fields, PREFER) for each in PREFERENCE.findall(value))
    match = next(filter(None, found), None)
    return None if match is None else int(match["quoted"] or match["plain"])


def without_wait(fields: Fields) -> Fields:
    """Take `wait` out of what a caller prefers: it is done here. What else it prefers stays as it was."""
    kept = ((name, _without(value) if name.lower() == PREFER else value) for name, value in fields)
    return tuple((name, value) for name, value in kept if value or name.lower() != PREFER)


def with_what_can_be_read(fields: Fields) -> Fields:
    """Accept no coding that can't be read here (RFC 9110 §12.5.3): such an answer would be taken for the last word."""
    return tuple((name, _read(value) if name.lower() == b"accept-encoding" else value) for name, value in fields)


def _read(value: bytes) -> bytes:
    kept = [each for each in value.split(b",") if each.partition(b";")[0].strip().lower() in {*COMPRESSED, b"identity"}]
    return b",".join(kept).strip() or b"identity"


def _without(value: bytes) -> bytes:
    preferences = PREFERENCE.findall(value)
    others = [each for each in preferences if WAIT.fullmatch(each) is None]
    return value if len(others) == len(preferences) else b",".join(others).strip()
