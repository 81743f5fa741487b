"""Log lines on their way out: a thread writes them, so that a log that nobody reads stalls no request.

They go past the stream, to its descriptor. The interpreter flushes sys.stderr at its end: it would wait for ever for a
thread that writes to it, and end with 120 where that is in vain. Unbuffered, it forgets what a short write leaves.
"""

import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from itertools import accumulate
from typing import Final, TextIO

MOST_WAITING: Final = 10_000
"""Lines that may wait for the stream; about two seconds of a busy proxy, and a few MiB."""

GATHERING: Final = 0.02
"""Seconds in which more lines may join the first: to wake a thread and write for each would cost more than they do."""

PATIENCE: Final = 2.0
"""Seconds that lines get to leave at the end, when the stream takes none."""


IN_ITS_PLACE: Final = {
    "levelno": logging.ERROR,
    "levelname": "ERROR",
    "msg": "a fault of ours: a log line that can't be formatted is dropped",
}
"""What is written where a line can't be."""


class Lines(logging.Handler):
    """Writes formatted lines in order.

    `_waiting` grows in `emit` and shrinks in the writer; `_there` is set while it has something. `dropped`, how many
    found no room, no form or no stream, grows in both. `_torn`, whether the last byte out stands within a line, is the
    writer's; `_closing` is set by `close`.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.dropped = 0
        self.stream = stream
        self._descriptor = stream.fileno()
        self._torn = False
        self._waiting: deque[str] = deque()
        self._there = threading.Event()
        self._closing = False
        self._writer = threading.Thread(target=self._write, name="log", daemon=True)
        self._begun()

    def __repr__(self) -> str:
        return f"<Lines {len(self._waiting)} waiting, {self.dropped} dropped>"

    def handle(self, record: logging.LogRecord) -> bool:
        """Take a record without a lock: what `emit` changes may be changed by several threads at once."""
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        if len(self._waiting) >= MOST_WAITING:
            self.dropped += 1
            return
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - it fails nobody, and nothing of it is shown: it was not redacted
            self.dropped += 1
            line = self.format(logging.makeLogRecord({**IN_ITS_PLACE, "name": record.name}))
        self._waiting.append(line)
        if not self._there.is_set() and self._begun():
            self._there.set()

    def close(self) -> None:
        """Let what waits be written, for a while."""
        self._closing = True
        self._there.set()
        if self._begun():
            self._writer.join(PATIENCE)
        super().close()

    def _begun(self) -> bool:
        """Tell whether there is a writer, and begin it if need be: there may be no more threads for a while."""
        if self._writer.ident is None:
            with suppress(RuntimeError):
                self._writer.start()
        return self._writer.ident is not None

    def _write(self) -> None:
        while not self._closing or self._waiting:
            self._there.wait()
            if not self._closing:
                time.sleep(GATHERING)
            self._there.clear()  # before they are taken: one that comes now sets it again
            lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if lines:
                self._put([f"{line}\n".encode("utf-8", "backslashreplace") for line in lines])

    def _put(self, lines: Sequence[bytes]) -> None:
        """Write lines, and count those that are not out whole. The next to come ends a torn one first."""
        lines = [b"\n" * self._torn + lines[0], *lines[1:]]
        text = b"".join(lines)
        out = self._written(text)
        lost = sum(end > out for end in accumulate(map(len, lines)))
        self.dropped += lost
        if out:
            self._torn = not text.endswith(b"\n", 0, out)

    def _written(self, text: bytes) -> int:
        """Return how many bytes of a text are out: fewer where the stream is gone, or its disk is full."""
        rest = memoryview(text)
        with suppress(OSError):  # there is no other stream to say so to
            while rest:
                try:
                    rest = rest[os.write(self._descriptor, rest) :]
                except BlockingIOError:  # it is full, and does not wait by itself
                    select.select([], [self._descriptor], [])
        return len(text) - len(rest)
