"""Lines that leave by a thread: in order, to the last, and in nobody's way."""

import io
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from proxy import log_lines
from proxy.log_lines import Lines


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    logger = logging.Logger("apart")  # noqa: LOG001 - nobody else's handlers hear it
    yield logger
    for handler in tuple(logger.handlers):
        handler.close()
        logger.removeHandler(handler)


class Held(io.StringIO):
    """A stream that takes nothing until it is let go, as a pipe that nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()
        self.asked = threading.Event()

    def write(self, text: str) -> int:
        self.asked.set()
        self.let_go.wait()
        return super().write(text)


def test_every_line_leaves_in_order(log: logging.Logger) -> None:
    stream = io.StringIO()
    lines = Lines(stream)
    log.addHandler(lines)
    for number in range(2000):
        log.warning("%d", number)
    lines.close()
    assert stream.getvalue().splitlines() == [str(number) for number in range(2000)]
    assert lines.dropped == 0


def test_a_stream_that_takes_nothing_stalls_nobody_and_what_finds_no_room_is_counted(
    log: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_lines, "MOST_WAITING", 3)
    stream = Held()
    lines = Lines(stream)
    log.addHandler(lines)
    log.warning("the first is with the stream")
    stream.asked.wait(5)
    for number in range(5):
        log.warning("%d", number)
    assert lines.dropped == 2
    stream.let_go.set()
    lines.close()
    assert stream.getvalue().splitlines() == ["the first is with the stream", "0", "1", "2"]


def test_the_end_does_not_wait_for_ever(log: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_lines, "PATIENCE", 0.01)
    stream = Held()
    lines = Lines(stream)
    log.addHandler(lines)
    log.warning("stuck")
    lines.close()
    stream.let_go.set()


def test_a_stream_that_is_gone_is_counted(log: logging.Logger) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w", buffering=1)
    lines = Lines(stream)
    log.addHandler(lines)
    log.warning("to nobody")
    lines.close()
    assert lines.dropped == 1
    assert repr(lines) == "<Lines 0 waiting, 1 dropped>"
    with suppress(BrokenPipeError):
        stream.close()  # the line still waits in it


def test_a_line_that_cant_be_formatted_fails_nobody(log: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines(io.StringIO())
    log.addHandler(lines)
    log.warning("%d", "not a number")
    assert "Logging error" in capsys.readouterr().err
