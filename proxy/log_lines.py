"""Log lines on their way out: a thread writes them, so that a log that nobody reads stalls no request."""

import logging
import threading
import time
from collections import deque
from typing import Final, TextIO

MOST_WAITING: Final = 10_000
"""Lines that may wait for the stream; about two seconds of a busy proxy, and a few MiB."""

GATHERING: Final = 0.02
"""Seconds in which more lines may join the first: to wake a thread and write for each would cost more than they do."""

PATIENCE: Final = 2.0
"""Seconds that lines get to leave at the end, when the stream takes none."""


class Lines(logging.Handler):
    """Writes formatted lines in order.

    `_waiting` grows in `emit` and shrinks in the writer; `_there` is set while it has something. `dropped`, how many
    found no room or no stream, grows in both; `_closing` is set by `close`.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.dropped = 0
        self.stream = stream
        self._waiting: deque[str] = deque()
        self._there = threading.Event()
        self._closing = False
        self._writer = threading.Thread(target=self._write, name="log", daemon=True)
        self._writer.start()

    def __repr__(self) -> str:
        return f"<Lines {len(self._waiting)} waiting, {self.dropped} dropped>"

    def emit(self, record: logging.LogRecord) -> None:
        if len(self._waiting) >= MOST_WAITING:
            self.dropped += 1
            return
        try:
            self._waiting.append(self.format(record))
        except Exception:  # noqa: BLE001 - as in logging's own handlers: a line that can't be formatted fails nobody
            self.handleError(record)
        if not self._there.is_set():
            self._there.set()

    def close(self) -> None:
        """Let what waits be written, for a while."""
        self._closing = True
        self._there.set()
        self._writer.join(PATIENCE)
        super().close()

    def _write(self) -> None:
        while not self._closing or self._waiting:
            self._there.wait()
            if not self._closing:
                time.sleep(GATHERING)
            self._there.clear()  # before they are taken: one that comes now sets it again
            lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
            try:
                self.stream.write("".join(f"{line}\n" for line in lines))
                self.stream.flush()
            except OSError:  # the stream is gone, and there is no other to say so to
                self.dropped += len(lines)
