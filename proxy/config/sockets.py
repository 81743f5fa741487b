"""Who may use a unix socket, as people write it: its mode and its owner. Pure."""

from __future__ import annotations

import re

import msgspec

_MODE = re.compile(r"0?[0-7]{3}", re.ASCII)
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}"
_OWNER = re.compile(rf"(?:({_NAME})(?::({_NAME}))?|:({_NAME}))", re.ASCII)

PRIVATE = 0o600

# (uid_t) -1 means "unchanged" to chown(2).
_LARGEST_ID = 2**32 - 2


class Owner(msgspec.Struct, frozen=True):
    """A user and a group, each by name or number; None is the one that bind(2) gives."""

    user: str | None = None
    group: str | None = None

    def __str__(self) -> str:
        return (self.user or "") + (f":{self.group}" if self.group else "")


def mode(text: str) -> int:
    """Read a mode as chmod takes it, in octal."""
    if not _MODE.fullmatch(text):
        raise ValueError('expected an octal mode such as "0600" or "0660"')
    return int(text, 8)


def owner(text: str) -> Owner:
    """Read `user`, `user:group` or `:group`, names or numbers."""
    match = _OWNER.fullmatch(text)
    if match is None:
        raise ValueError("expected user, user:group or :group, by name or number")
    read = Owner(match[1], match[2] or match[3])
    if any(part is not None and part.isdecimal() and int(part) > _LARGEST_ID for part in (read.user, read.group)):
        raise ValueError(f"a user's or group's number can be {_LARGEST_ID} at most")
    return read
