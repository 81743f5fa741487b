"""The callers themselves: that they call lost what is lost, and nothing else."""

import asyncio
import socket
from collections.abc import Callable

import pytest
from commands.callers import Callers, Fate, Way

WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


def read_and_close(line: socket.socket) -> None:
    line.recv(65536)


def read_and_break_off(line: socket.socket) -> None:
    line.recv(65536)
    line.sendall(WHOLE[:-1])


def close_unread(line: socket.socket) -> None:
    while not line.recv(1, socket.MSG_PEEK):
        pass


def close_at_once(line: socket.socket) -> None:
    del line


def answer(line: socket.socket) -> None:
    line.recv(65536)
    line.sendall(WHOLE)


@pytest.mark.parametrize(
    ("serve", "fate"),
    [
        (read_and_close, Fate.LOST),
        (read_and_break_off, Fate.LOST),
        (close_unread, Fate.UNREAD),
        (close_at_once, Fate.UNREAD),
        (answer, Fate.ANSWERED),
    ],
)
async def test_a_requests_fate_is_told_by_what_the_kernel_knows(
    serve: Callable[[socket.socket], None], fate: Fate
) -> None:
    """Only one connection is taken: whoever comes then is refused."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve_one() -> None:
            line, _ = listening.accept()
            listening.close()
            with line:
                serve(line)

        callers = Callers(listening.getsockname()[1], "test")
        await asyncio.gather(callers.ask(Way.KEPT), asyncio.to_thread(serve_one))
    assert list(callers.fates.values()) == [fate, Fate.REFUSED]
