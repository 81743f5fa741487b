"""Callers of a process that is about to end: raw sockets, each in a thread, that know what became of each request.

A request is lost if the proxy took it and did not answer it whole. That it was not taken, the caller's kernel can
tell: a connection that is closed while something lies in it unread is reset (RFC 9293 §3.6.1, RFC 2525 §2.17), and
one that was closed before the request came has sent its FIN without acknowledging it (RFC 9293 §3.10.7).
"""

import asyncio
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from http.client import HTTPException, HTTPResponse, RemoteDisconnected
from itertools import count
from typing import Final

from commands.process import MEMBER, PATIENCE
from yarl import URL

DOCUMENTS: Final = "/public/v1/documents"
PIECE: Final = 16 * 1024
PIECES: Final = 8
BETWEEN: Final = 0.002
"""Seconds between two pieces of an upload, and two halves of a head."""

BYTES_ACKED: Final = struct.Struct("120xQ")
"""Where Linux' tcp_info has tcpi_bytes_acked; the SYN counts as one."""


class Fate(Enum):
    """What became of a request."""

    ANSWERED = "answered whole"
    REFUSED = "nobody listened any more"
    UNREAD = "its connection ended before a byte of it was read"
    LOST = "it was taken, and not answered whole"


class Way(Enum):
    """How a caller asks."""

    KEPT = "one connection for all requests, until an answer says that it closes"
    FRESH = "a connection for each request"
    IN_HALVES = "as KEPT, each head in two pieces"
    UPLOAD = "as KEPT, a body in pieces"


@dataclass
class Line:
    """A connection, and how much was sent on it: `sent` grows with each piece."""

    socket: socket.socket
    sent: int = 0

    def send(self, *pieces: bytes) -> None:
        for number, piece in enumerate(pieces):
            if number:
                time.sleep(BETWEEN)
            self.socket.sendall(piece)
            self.sent += len(piece)

    @property
    def all_acknowledged(self) -> bool:
        (acknowledged,) = BYTES_ACKED.unpack(self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 128))
        return bool(acknowledged > self.sent)


@dataclass
class Callers:
    """Callers of one port. `fates` and `statuses` grow with each request: its own thread notes each."""

    port: int
    name: str
    fates: dict[str, Fate] = field(default_factory=dict)
    statuses: list[int] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=count)

    @classmethod
    def of(cls, url: str, name: str) -> "Callers":
        port = URL(url).port
        assert port is not None
        return cls(port, name)

    async def ask(self, *ways: Way) -> None:
        """Ask in each of these ways at once, without a pause, until nobody listens any more."""
        async with asyncio.timeout(2 * PATIENCE):
            await asyncio.gather(*(asyncio.to_thread(self._ask, way) for way in ways))

    def counted(self, fate: Fate) -> int:
        return sum(each is fate for each in self.fates.values())

    def _ask(self, way: Way) -> None:
        while True:
            try:
                connected = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
            except ConnectionError:
                self.fates[self._next_id()] = Fate.REFUSED
                return
            with connected:
                connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                line = Line(connected)
                while self._exchange(line, way) and way is not Way.FRESH:
                    pass

    def _exchange(self, line: Line, way: Way) -> bool:
        """Send one request and read its answer; tell whether another may follow."""
        request_id = self._next_id()
        try:
            line.send(*_request(way, request_id))
            answer = HTTPResponse(line.socket, method="POST" if way is Way.UPLOAD else "GET")
            answer.begin()
            answer.read()
        except (ConnectionError, HTTPException) as ended:
            self.fates[request_id] = _fate(line, ended)
            return False
        self.fates[request_id] = Fate.ANSWERED
        self.statuses.append(answer.status)
        return not answer.will_close

    def _next_id(self) -> str:
        return f"{self.name}-{next(self._numbers)}"


def _fate(line: Line, ended: ConnectionError | HTTPException) -> Fate:
    """Tell what became of a request whose connection has ended before it had its answer."""
    if isinstance(ended, RemoteDisconnected):  # a FIN, and no byte of an answer
        return Fate.LOST if line.all_acknowledged else Fate.UNREAD
    return Fate.UNREAD if isinstance(ended, ConnectionError) else Fate.LOST


def _request(way: Way, request_id: str) -> tuple[bytes, ...]:
    """Return the pieces in which a request is sent."""
    if way is Way.UPLOAD:
        body = b'{"name": "' + b"x" * (PIECE * PIECES - 12) + b'"}'
        head = f"POST {DOCUMENTS} HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: {request_id}\r\n"
        fields = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        pieces = [body[start : start + PIECE] for start in range(0, len(body), PIECE)]
        return ((head + fields).encode(), *pieces)
    head = f"GET {MEMBER} HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: {request_id}\r\n\r\n"
    half = len(head) // 2 if way is Way.IN_HALVES else len(head)
    return tuple(piece.encode() for piece in (head[:half], head[half:]) if piece)
