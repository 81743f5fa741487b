"""Lines that leave by a thread: in order, to the last, and in nobody's way."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from log_pipe import PAGE, Pipe

from proxy import log_lines
from proxy.log_lines import Lines


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    logger = logging.Logger("apart")  # noqa: LOG001 - nobody else's handlers hear it
    yield logger
    for handler in tuple(logger.handlers):
        handler.close()
        logger.removeHandler(handler)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def all_taken(lines: Lines) -> bool:
    """Tell whether all lines are with the stream."""
    return repr(lines).startswith("<Lines 0 waiting")


def test_lines_wait_for_a_thread_that_is_not_to_be_had_yet(
    log: logging.Logger, pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start that lacks it can say so itself; who serves already goes on."""

    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refused)
        lines = Lines(pipe.stream)
        log.addHandler(lines)
        log.error("first")
        Lines(pipe.stream).close()
    pipe.read()
    log.error("second")
    lines.close()
    assert pipe.lines() == ["first", "second"]


def test_every_line_leaves_in_order(log: logging.Logger, pipe: Pipe) -> None:
    lines = Lines(pipe.stream)
    log.addHandler(lines)
    pipe.read()
    for number in range(2000):
        log.warning("%d", number)
    lines.close()
    assert pipe.lines() == [str(number) for number in range(2000)]
    assert lines.dropped == 0


def test_a_stream_that_takes_nothing_stalls_nobody_and_what_finds_no_room_is_counted(
    log: logging.Logger, pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_lines, "MOST_WAITING", 3)
    pipe.fill()
    lines = Lines(pipe.stream)
    log.addHandler(lines)
    log.warning("first")
    until(lambda: all_taken(lines))
    for number in range(5):
        log.warning("%d", number)
    assert lines.dropped == 2
    pipe.read()
    lines.close()
    assert pipe.lines() == ["first", "0", "1", "2"]


@pytest.mark.parametrize("blocking", [True, False])
def test_what_a_stream_takes_in_parts_is_whole_in_the_end(log: logging.Logger, pipe: Pipe, *, blocking: bool) -> None:
    os.set_blocking(pipe.stream.fileno(), blocking)
    lines = Lines(pipe.stream)
    log.addHandler(lines)
    long = [str(number) * (3 * PAGE) for number in range(3)]
    for line in long:
        log.warning("%s", line)
    until(lambda: all_taken(lines))
    pipe.read()
    lines.close()
    assert pipe.lines() == long
    assert lines.dropped == 0


def test_the_end_does_not_wait_for_ever(log: logging.Logger, pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_lines, "PATIENCE", 0.01)
    pipe.fill()
    lines = Lines(pipe.stream)
    log.addHandler(lines)
    log.warning("stuck")
    lines.close()
    monkeypatch.undo()
    pipe.read()
    lines.close()
    assert pipe.lines() == ["stuck"]


def test_a_stream_that_is_gone_is_counted(log: logging.Logger, pipe: Pipe) -> None:
    pipe.reader.close()
    lines = Lines(pipe.stream)
    log.addHandler(lines)
    log.warning("to nobody")
    lines.close()
    assert lines.dropped == 1
    assert repr(lines) == "<Lines 0 waiting, 1 dropped>"


def test_a_line_that_cant_be_formatted_fails_nobody_and_nothing_of_it_is_shown(
    log: logging.Logger, pipe: Pipe, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither what was to be said was redacted yet, nor is its traceback."""
    lines = Lines(pipe.stream)
    log.addHandler(lines)
    pipe.read()
    log.warning("%d", "not a number")
    lines.close()
    assert pipe.lines() == ["a fault of ours: a log line that can't be formatted is dropped"]
    assert lines.dropped == 1
    assert capsys.readouterr().err == ""
