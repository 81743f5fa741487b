"""One HTTP/1.1 message out of raw bytes, as strictly as RFC 9112 has it. Pure; nothing of a message is tidied up."""

import re
from dataclasses import dataclass
from typing import Final

Fields = tuple[tuple[bytes, bytes], ...]

CRLF: Final = b"\r\n"
CHUNK: Final = re.compile(rb"([0-9a-fA-F]+)(?:;[^\r\n]*)?\r\n")
FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})


class Garbled(Exception):
    """What came is no HTTP message."""


@dataclass(frozen=True)
class Message:
    """One message; `whole` tells whether its end came, and `size` how many bytes it is long."""

    start: bytes
    fields: Fields
    framing: str  # "none", "length", "chunked", or "close": until the connection's end
    body: bytes
    whole: bool
    size: int

    def values(self, name: bytes) -> list[bytes]:
        """Return every value of the field `name` (lower case)."""
        return [value for field, value in self.fields if field.lower() == name]


def read(raw: bytes, *, answer: bool, bodiless: bool = False, ended: bool = False) -> Message | None:
    """Read the first message of `raw`: an answer or a request. None: its head is not here yet. Raises Garbled.

    `bodiless` is for the answer to a HEAD; `ended` tells that nothing more will come.
    """
    head, blank, rest = raw.partition(b"\r\n\r\n")
    if not blank:
        return None
    start, *lines = head.split(CRLF)
    fields = tuple(_field(line) for line in lines)
    framing = _framing(fields, answer=answer, bodiless=bodiless or (answer and _is_bodiless(start)))
    body, length = b"", 0
    if framing == "chunked":
        body, length = _chunks(rest)
    elif framing == "length":
        length = int(next(value for name, value in fields if name.lower() == b"content-length"))
        body = rest[:length]
    elif framing == "close":
        body, length = rest, len(rest) if ended else -1
    whole = 0 <= length <= len(rest)
    return Message(start, fields, framing, body, whole, len(head) + 4 + length if whole else len(raw))


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b": ")
    if not colon:
        raise Garbled(line)
    return name, value


def _is_bodiless(start: bytes) -> bool:
    return start[9:12] in {b"204", b"304"} or start[9:10] == b"1"


def _framing(fields: Fields, *, answer: bool, bodiless: bool) -> str:
    found = [name.lower() for name, _ in fields if name.lower() in FRAMING]
    if len(found) > 1:
        raise Garbled(found)
    if bodiless:
        return "none"
    if found == [b"transfer-encoding"]:
        return "chunked"
    return "length" if found else "close" if answer else "none"


def _chunks(rest: bytes) -> tuple[bytes, int]:
    """Return what of a chunked body is here, and its length with its framing; -1: its end is not here."""
    body, place = b"", 0
    while (match := CHUNK.match(rest, place)) is not None:
        size, place = int(match[1], 16), match.end()
        body += rest[place : place + size]
        place += size
        ending = rest[place : place + 2]
        if not CRLF.startswith(ending):
            raise Garbled(ending)
        place += 2
        if size == 0 or len(ending) < len(CRLF):
            return body, place if len(ending) == len(CRLF) else -1
    return body, -1
