"""What a multipart body holds, found while it streams past (RFC 2046 section 5.1, RFC 7578).

A file's bytes are counted, never kept; a field's are kept up to a limit. No I/O here.
"""

import enum
from email.message import Message
from email.parser import BytesHeaderParser

from msgspec import Struct, field

FIELD_BYTES = 2 * 1024 * 1024  # what PandaDoc takes as JSON
_HEAD_BYTES = 16 * 1024
_HEAD_END = b"\r\n\r\n"


def boundary_of(content_type: str) -> str | None:
    """Return the boundary of a multipart/form-data content type; None is another type, or a broken one."""
    head = Message()
    head["Content-Type"] = content_type
    boundary = head.get_boundary() if head.get_content_type() == "multipart/form-data" else None
    return boundary or None


class Part(Struct):
    """One part; the scanner grows it while it reads."""

    name: str = ""
    is_file: bool = False
    size: int = 0
    value: bytearray = field(default_factory=bytearray)  # empty for a file

    def feed(self, content: bytes | bytearray) -> None:
        self.size += len(content)
        if not self.is_file and self.size <= FIELD_BYTES:
            self.value += content


class _State(enum.Enum):
    CONTENT = "content"
    HEAD = "head"
    CLOSED = "closed"
    BROKEN = "broken"


class MultipartScanner:
    """Finds the parts of one body.

    It changes with every chunk: what is not yet decided is in the buffer, at most a head or a delimiter.
    """

    def __init__(self, boundary: str) -> None:
        self._delimiter = b"\r\n--" + boundary.encode("utf-8", "replace")
        self._buffer = bytearray(b"\r\n")  # so that the first delimiter is one like the others
        self._parts: list[Part] = []
        self._state = _State.CONTENT  # of the preamble

    def feed(self, chunk: bytes) -> None:
        if self._state in {_State.CLOSED, _State.BROKEN}:
            return  # an epilogue means nothing
        self._buffer += chunk
        while self._read_head() if self._state is _State.HEAD else self._read_content():
            pass

    def parts(self) -> tuple[Part, ...]:
        """Return what was found; nothing of a body that never came to its closing delimiter."""
        return tuple(self._parts) if self._state is _State.CLOSED else ()

    def _read_head(self) -> bool:
        """Read the lines behind a delimiter; True when content follows."""
        if self._buffer.startswith(b"--"):
            self._state = _State.CLOSED
            return False
        end = self._buffer.find(_HEAD_END)
        if end < 0:
            self._state = _State.BROKEN if len(self._buffer) > _HEAD_BYTES else self._state
            return False
        self._parts.append(_part(bytes(self._buffer[:end])))
        del self._buffer[: end + len(_HEAD_END)]
        self._state = _State.CONTENT
        return True

    def _read_content(self) -> bool:
        """Read up to the next delimiter; True when one was found."""
        at = self._buffer.find(self._delimiter)
        # Without a delimiter, its beginning may still be at the end of the buffer.
        length = at if at >= 0 else max(0, len(self._buffer) - len(self._delimiter))
        if self._parts:
            self._parts[-1].feed(self._buffer[:length])
        if at < 0:
            del self._buffer[:length]
            return False
        del self._buffer[: at + len(self._delimiter)]
        self._state = _State.HEAD
        return True

    def __repr__(self) -> str:
        return f"<MultipartScanner {len(self._parts)} parts, {self._state.value}>"


def _part(head: bytes) -> Part:
    parsed = BytesHeaderParser().parsebytes(head.lstrip(b" \t\r\n"))
    name = parsed.get_param("name", "", "Content-Disposition")
    return Part(str(name), is_file=name == "file" or parsed.get_filename() is not None)
