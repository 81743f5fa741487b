"""Where connections come into a listener, and what becomes of those that find no place.

A socket that is closed while something unread lies in it is reset, and a reset may overtake the answer
(RFC 9112 §9.6). So a connection that is turned away is only half closed behind its 503, or behind the alert that its
handshake ends with, and what it sends is read away until it leaves or LINGER is over.
"""

import asyncio
from contextlib import suppress
from typing import Final

from proxy.errors import NAME, Overloaded, ProxyError
from proxy.forward.crowd import Crowd
from proxy.forward.problem import problem

LINGER: Final = 5.0
"""Seconds that an answer gets to arrive, while what its caller still sends is read away."""

TURNED_AWAY_AT_ONCE: Final = 64
"""Connections without a place that may linger with what they were told. The oldest is cut off for another."""


def whole(fault: ProxyError) -> bytes:
    """Write an answer with its head, by hand."""
    response = problem(fault, request_id="-")
    body = response.body
    assert isinstance(body, bytes)  # noqa: S101 - problem() makes it so
    fields = {**response.headers, "Content-Length": str(len(body)), "Connection": "close", "Server": NAME}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {response.status} {response.reason}\r\n{lines}\r\n".encode() + body


def half_close(transport: asyncio.WriteTransport) -> None:
    """Show the caller that nothing more will come."""
    if transport.can_write_eof() and not transport.is_closing():  # TLS has no way to
        with suppress(OSError):  # the caller has left with a reset, and we have not been told yet
            transport.write_eof()


class Door:
    """Where connections come into a listener.

    What changes is who is in `crowd`, of those who has not finished its TLS handshake (`handshakes`, by tls.py),
    and who is in `turned_away`; and the counts: two by `admit`, `malformed` by connections.
    """

    def __init__(self, max_connections: int) -> None:
        self.crowd: Crowd[asyncio.Transport] = Crowd(max_connections)
        self.handshakes: set[asyncio.Transport] = set()
        self.turned_away: Crowd[asyncio.Transport] = Crowd(TURNED_AWAY_AT_ONCE)
        self.refused = 0  # connections that found no place, ever
        self.displaced = 0  # and those that gave theirs to another
        self.malformed = 0  # what came and was no request
        self.resize(max_connections)

    def resize(self, max_connections: int) -> None:
        """Have room for so many from now on; who is here stays."""
        self.crowd.room = max_connections
        self._refusal = whole(
            Overloaded(f"All {max_connections} connections to this listener are busy (limits.max_connections).")
        )

    def __repr__(self) -> str:
        return f"<Door {self.crowd}>"

    def admit(self, newcomer: asyncio.Transport) -> bool:
        """Let a connection in, in the place of one that owes no answer if need be."""
        leaver = self.crowd.come(newcomer)
        if leaver is newcomer:
            self.refused += 1
            return False
        if leaver is not None:
            self.displaced += 1
            leaver.abort()  # it owes nothing; to close calmly would need its place until its caller agrees
        return True

    def turn_away(self, newcomer: asyncio.Transport) -> None:
        """Answer a plain connection that was not admitted."""
        self.see_out(newcomer, self._refusal)

    def see_out(self, leaver: asyncio.Transport, last_word: bytes) -> None:
        """Say one last thing to a connection that has no place, or none any more."""
        earlier = self.turned_away.come(leaver)
        if earlier is not None:
            earlier.abort()
        leaver.set_protocol(_Leaving(leaver, self.turned_away))
        leaver.write(last_word)
        half_close(leaver)


class _Leaving(asyncio.Protocol):
    """A connection that was turned away: whatever it says is read away until it leaves."""

    def __init__(self, transport: asyncio.Transport, turned_away: Crowd[asyncio.Transport]) -> None:
        self._transport = transport
        self._turned_away = turned_away
        self._end = asyncio.get_running_loop().call_later(LINGER, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - it does not matter how it ended
        self._end.cancel()
        self._turned_away.go(self._transport)
