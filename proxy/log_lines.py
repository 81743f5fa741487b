"""Log lines on their way out: a thread writes them, so that a log that nobody reads stalls no request."""

import contextlib
import logging
import queue
import threading
from typing import Final, TextIO

MOST_WAITING: Final = 10_000
"""Lines that may wait for the stream; about two seconds of a busy proxy, and a few MiB."""

PATIENCE: Final = 2.0
"""Seconds that lines get to leave at the end, when the stream takes none."""


class Lines(logging.Handler):
    """Writes formatted lines in order. `dropped`, how many found no room, grows in `emit` alone."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.dropped = 0
        self._stream = stream
        self._waiting: queue.Queue[str | None] = queue.Queue(MOST_WAITING)
        self._writer = threading.Thread(target=self._write, name="log", daemon=True)
        self._writer.start()

    def __repr__(self) -> str:
        return f"<Lines {self._waiting.qsize()} waiting, {self.dropped} dropped>"

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._waiting.put_nowait(self.format(record))
        except queue.Full:
            self.dropped += 1
        except Exception:  # noqa: BLE001 - as in logging's own handlers: a line that can't be formatted fails nobody
            self.handleError(record)

    def close(self) -> None:
        """Let what waits be written, for a while."""
        with contextlib.suppress(queue.Full):
            self._waiting.put(None, timeout=PATIENCE)
        self._writer.join(PATIENCE)
        super().close()

    def _write(self) -> None:
        while (line := self._waiting.get()) is not None:
            try:
                self._stream.write(f"{line}\n")
                if self._waiting.empty():
                    self._stream.flush()
            except OSError:  # the stream is gone, and there is no other to say so to
                self.dropped += 1
