"""A secret is a reference (env, file, literal) that is read anew each time, and a value that prints nothing.

Here lives the only way from a configured secret to its text. Never here: a cache (files change while we run,
Kubernetes swaps a `..data` link), a log line, or a message that shows any part of a value.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NoReturn

from proxy.utf8 import encodable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# The largest secret known is a JWT of some KiB; the limit keeps a wrong path (a disk, a log) out of memory.
MAX_FILE_BYTES = 64 * 1024

# Characters. A client's key guards the credential itself; shorter ones are guessed, or are no keys at all.
SHORTEST_CLIENT_KEY = 16

# Names that look like names. Others may be a secret written where a variable's name belongs: never echoed.
_PLAINLY_A_NAME = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*|[a-z]+(_[a-z0-9]+)+")


class SecretUnavailable(Exception):
    """The secret can't be read now. The message says which one and what to do, never the value."""

    def __init__(self, text: str) -> None:
        super().__init__(encodable(text))


class Secret:
    """A text that no print, format, log or pickle gives away; only `reveal` does."""

    __slots__ = ("_text",)
    _text: str

    def __init__(self, text: str) -> None:
        object.__setattr__(self, "_text", text)

    def reveal(self) -> str:
        return self._text

    def fingerprint(self) -> str:
        """Twelve hex digits of SHA-256, to tell secrets apart in logs without showing them."""
        return hashlib.sha256(self._bytes()).hexdigest()[:12]

    def _bytes(self) -> bytes:
        return self._text.encode("utf-8", "surrogatepass")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._bytes(), other._bytes())

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __repr__(self) -> str:
        return "Secret(***)"

    def __format__(self, _spec: str) -> str:
        return repr(self)

    def __setattr__(self, name: str, _value: object) -> NoReturn:
        raise AttributeError(f"a Secret never changes: {name} can't be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a Secret never changes: {name} can't be deleted")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is never pickled or copied")


def environ_for_others(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a program that is none of ours: without the variables that only we are to read."""
    return {name: text for name, text in environ.items() if not name.startswith("PANDADOC_")}


def fits_a_field(text: str) -> bool:
    """Tell whether a text can stand in a header field's value and add no other (RFC 9110 §5.5): printable ASCII."""
    return text.isascii() and text.isprintable()


def flaw_of_api_key(key: Secret) -> str | None:
    """Tell what is wrong with a secret that is lent as an API key; None: nothing that shows."""
    return "has a space in it: give the key alone, without 'API-Key' before it" if " " in key.reveal() else None


@dataclass(frozen=True, slots=True, repr=False)
class SecretReference:
    """Where a secret is to be read. Made by `env`, `file` or `literal`."""

    kind: Literal["env", "file", "literal"]
    name: str  # the variable or the path; a literal has none
    _place: str = field(default="", compare=False)  # of the literal ("config.yaml:12"): it moves with a line above it
    _environ: Mapping[str, str] = field(default_factory=dict, compare=False)
    _path: Path | None = field(default=None, compare=False)
    _literal: Secret | None = None

    @classmethod
    def env(cls, name: str, environ: Mapping[str, str]) -> SecretReference:
        return cls("env", name, _environ=environ)

    @classmethod
    def file(cls, path: Path) -> SecretReference:
        return cls("file", encodable(str(path)), _path=path)

    @classmethod
    def literal(cls, text: str, place: str) -> SecretReference:
        return cls("literal", "", _place=place, _literal=Secret(text))

    def read(self) -> Secret:
        """Read the secret as it is now.

        Raises SecretUnavailable; does blocking file I/O for the kind `file`.
        """
        return _judged(self._text(), self.describe())

    def describe(self) -> str:
        """Say where the secret comes from, for messages."""
        return {"env": "$", "file": "file ", "literal": "a literal in "}[self.kind] + (self._place or self.name)

    def __repr__(self) -> str:
        return f"SecretReference({self.describe()})"

    def _text(self) -> str:
        if self._literal is not None:
            return self._literal.reveal()
        if self._path is not None:
            return _one_line(_read_file(self._path))
        if self.name in self._environ:
            return _one_line(self._environ[self.name])
        if _PLAINLY_A_NAME.fullmatch(self.name):
            raise SecretUnavailable(f"the environment variable {self.name} is not set: set it")
        raise SecretUnavailable(
            "the environment variable named here is not set: set it, or, if this is the secret itself,"
            " give its variable's name instead"
        )


def _one_line(text: str) -> str:
    """Take one line break from the end: echo and editors put it there, into what a variable is filled from as well."""
    return text[:-2] if text.endswith("\r\n") else text.removesuffix("\n")


def _read_file(path: Path) -> str:
    return _decoded(_file_bytes(path), path)


def irregular(path: Path) -> bool:
    """Tell whether what is there is no regular file: to open a FIFO would block, and to read a device might not end."""
    return path.exists() and not path.is_file()


def _file_bytes(path: Path) -> bytes:
    try:
        if irregular(path):
            raise SecretUnavailable(f"{path} is not a regular file: name a file that holds the secret alone")
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise SecretUnavailable(f"the file {path} does not exist: create or mount it") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SecretUnavailable(f"the file {path} can't be read ({reason}): check its mode and owner") from error


def _decoded(content: bytes, path: Path) -> str:
    if len(content) > MAX_FILE_BYTES:
        raise SecretUnavailable(f"the file {path} is larger than 64KiB: it should hold the secret alone")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        # `from None`: the error object carries the bytes, and a traceback would show them.
        raise SecretUnavailable(f"the file {path} is not UTF-8 text: it should hold the secret alone") from None


def _judged(text: str, where: str) -> Secret:
    """Refuse what could never be a header's value: a secret ends up in one (RFC 9110 §5.5)."""
    flaw = _flaw(text)
    if flaw:
        raise SecretUnavailable(f"{where} {flaw}")
    return Secret(text)


def _flaw(text: str) -> str | None:
    if not text:
        return "is empty: put the secret there"
    if any(character in text for character in "\r\n\0"):
        return "holds a line break or a NUL inside: the secret must be one line, alone"
    if not fits_a_field(text):
        return "holds characters other than printable ASCII: was it saved with a byte order mark or mistyped?"
    if text != text.strip(" "):
        return "begins or ends with a space: remove it"
    return None
