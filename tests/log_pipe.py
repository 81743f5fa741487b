"""A pipe as a log's reader has it: with little room, and read when a test says so."""

import fcntl
import os
import threading
from typing import Final, Self

PAGE: Final = 4096
"""Bytes that it has room for, the least that a kernel gives."""


class Pipe:
    """One pipe, from `stream` to `reader`. `_heard` is set in a thread, when all is read."""

    def __init__(self) -> None:
        reading, writing = os.pipe()
        self.reader = os.fdopen(reading, "rb")
        self.stream = os.fdopen(writing, "w")
        self._heard = b""
        self._reading = threading.Thread(target=self._read)

    def __enter__(self) -> Self:
        fcntl.fcntl(self.stream, fcntl.F_SETPIPE_SZ, PAGE)
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()
        self.reader.close()

    def fill(self) -> None:
        """Leave room for nothing."""
        os.write(self.stream.fileno(), b"\n" * PAGE)

    def read(self) -> None:
        """Begin to read what comes, and what waits."""
        self._reading.start()

    def lines(self) -> list[str]:
        """End it, and return what was read."""
        self.stream.close()
        self._reading.join()
        return [line for line in self._heard.decode().splitlines() if line]

    def _read(self) -> None:
        self._heard = self.reader.read()
