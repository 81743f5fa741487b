"""One caller's connection: aiohttp's RequestHandler, with what a gateway needs besides.

    a time limit and a size limit for a head, however it comes (aiohttp limits each of its lines)
    requests answered in one task, with no turn of the loop between one's head and its handler
    a place in the listener's crowd, which it may lose while it owes no answer
    malformed requests answered by us: no echo, no traceback, no raw header in a log

It leans on inner names of aiohttp's RequestHandler, which is why the version is bounded.
"""

import asyncio
import logging
import select
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from aiohttp import StreamReader, web_protocol, web_response
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestHandler, _ErrInfo
from msgspec import Struct

from proxy.errors import AnswerBroken, CallerError, HeadTooLarge, ProxyError, RequestTimeout
from proxy.forward.crowd import Waits
from proxy.forward.door import LINGER, Door, half_close, whole
from proxy.forward.headers import Head
from proxy.forward.incoming import Incoming
from proxy.forward.problem import problem
from proxy.time_limit import LAST_LOOK, LATE

if TYPE_CHECKING:
    from proxy.forward.server import Server

log = logging.getLogger(__name__)

Answering = Callable[[Incoming], Awaitable[Any]]
"""What answers a request: with a response of aiohttp's kind, or relay.py's."""

READ_BUFFER: Final = 16 * 1024
"""Bytes of a body that wait for the upstream before the caller's socket is left alone. Up to twice as many, and one
read of the loop (64 KiB), are what each upload costs that stands in line for a connection. Larger gains no speed."""

SEND_BUFFER: Final = 128 * 1024
"""Bytes in the kernel. Left to itself it grows to megabytes, for each slow reader."""

UNCOUNTED: Final = 1024
"""Bytes of a head that the guard does not count: method, version, blanks. A head that it would admit is never
too large for having come in pieces."""

ENDS: Final = (b"\n\r\n", b"\n\n")
"""How a head ends, and a body in chunks, in a piece that is long enough to hold that."""

TOO_MANY: Final = "Too many headers received"
"""All that tells this BadHttpMessage of aiohttp's parser from others."""

SPEAKS_TLS: Final = "Received HTTPS traffic on an HTTP port"
"""All that tells this BadHttpMethod of aiohttp's parser from others."""

GONE: Final = select.POLLHUP | getattr(select, "POLLRDHUP", 0)
"""What the kernel says of a socket whose other side says no more; Linux has a word of its own for it."""


class ConnectionLimits(Struct, frozen=True):
    """What connections may cost a listener, in seconds, bytes and numbers: the section `limits`."""

    header_timeout: float
    max_head: int
    max_headers: int
    max_connections: int


class Connection(RequestHandler):
    """One caller's connection.

    What changes, besides what aiohttp changes:
    `_heads`, how many heads were whole; `_head_size`, bytes of the one that comes now; `_body`, of the last
    whole head, and `_chunked`, how that comes; `_unreadable`, once what came could not be parsed: nothing after it can.
    All by `data_received` and what it calls. `_begun`, whether a head has begun to come behind one that is answered
    yet, by the same.
    `_said`, the last head, if it is short; by `_next_request`. `_caller`, where it comes from, once it is connected.
    `_clock` runs while a head is incomplete, and once all is said. `_retired` is set by `retire`. `_place`, the TCP
    connection, is set by `take_place`: before the handshake, where there is one. `_sealed`, whether a TLS record has
    begun to come that can't be read yet, is set by `seal`; so is `_for_record`, whether the clock runs on its account
    alone, which `_piece_of_a_head_came` unsets.
    """

    __slots__ = (
        "_begun",
        "_body",
        "_caller",
        "_chunked",
        "_clock",
        "_door",
        "_for_record",
        "_head_size",
        "_heads",
        "_limits",
        "_place",
        "_retired",
        "_said",
        "_sealed",
        "_unreadable",
    )

    def __init__(self, manager: "Server", *, door: Door, limits: ConnectionLimits, **settings: Any) -> None:
        super().__init__(manager, **settings)
        self._door = door
        self._limits = limits
        self._place: asyncio.Transport | None = None
        self._clock: asyncio.TimerHandle | None = None
        self._heads = 0
        self._head_size = 0
        self._body: StreamReader | None = None
        self._chunked = False
        self._unreadable = False
        self._begun = False
        self._retired = False
        self._sealed = False
        self._for_record = False
        self._said: Head | None = None
        self._caller = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)  # each loop has a kind of its own
        if self._place is None:
            if not self._door.admit(transport):
                self._door.turn_away(transport)
                return
            self.take_place(transport)
        super().connection_made(transport)
        self._caller = str(self.peername[0]) if isinstance(self.peername, tuple) else str(self.peername)

    def take_place(self, transport: asyncio.Transport) -> None:
        """Take the place of a TCP connection that was admitted."""
        self._place = transport
        transport.set_write_buffer_limits(high=0)  # drained means handed to the kernel, to the last byte
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)

    async def start(self) -> None:
        """Answer one request after another, all in this one task, which aiohttp's connection_made begins.

        Its own gives each request another task, for which, before Python 3.12, the loop has to come round twice more.
        So a context variable that is set for one request has to be unset for the next (spans.py does).
        """
        try:
            while not self._force_close:
                if not self._messages:
                    await self._message()
                if not await self._answer():
                    break
                self._keep_alive_from_now()
        except ConnectionError:
            log.debug("an answer could not be finished")
        except Exception:  # one connection's failure is one connection's failure (law 17)
            log.exception("a fault of ours on a caller's connection")
        finally:
            self._all_is_said()

    def data_received(self, data: bytes) -> None:
        if self._unreadable:
            return
        body = self._body
        had = None if body is None or body.is_eof() else body.total_bytes
        try:
            super().data_received(data)
        except IndexError:  # yarl's, at a target such as http://[::1]@
            self._refuse_head(BadHttpMessage("no target"))
            return
        if self._request_count != self._heads:
            self._head_came()
            self._begun = not data.endswith(ENDS) and self._goes_on(data)
        elif had is None:
            self._piece_of_a_head_came(data)
        elif body is not None and data:
            rest = data if self._chunked else data[body.total_bytes - had :]
            self._begun = not data.endswith(ENDS) and not _blank(rest)

    def seal(self, *, inside: bool) -> None:
        """Take note of whether the caller's bytes end within a TLS record: it may hold the beginning of a head."""
        self._sealed = inside
        if self.transport is None or self.transport.is_closing() or self._owes():
            return
        if inside and self._clock is None:
            self._start_clock()
            self._for_record = True
        elif not inside and self._for_record:
            self._stop_clock()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_clock()
        if self._place is not None:
            self._door.crowd.go(self._place)
        super().connection_lost(exc)

    def leave(self) -> bool:
        """Close if nothing is owed, nor has begun to come; tell whether to look again.

        (`close` would drop the rest of a request's body; the handler says `Connection: close`.)
        """
        if self._busy():
            return self._place is not None and not self._door.crowd.is_leaving(self._place)
        if self._is_spoken_to():
            return True
        self.force_close()
        return False

    def is_attended(self) -> bool:
        """Ask the kernel whether the caller is there: nobody else knows while a body waits unread in the socket.

        One that has hung up is let go of, which cancels its request.
        """
        if self._place is None or self._place.is_closing():
            return False
        kernel = select.poll()
        kernel.register(self._place.get_extra_info("socket"), GONE)
        if not kernel.poll(0):
            return True
        self._place.abort()
        return False

    def retire(self) -> None:
        """Close if idle, or else behind the next answer."""
        self._retired = True
        self.leave()

    def _busy(self) -> bool:
        """Tell whether a request is being served, or the rest of its body is still being read away."""
        return self._owes() or self._waiter is None

    def _owes(self) -> bool:
        return self._request_in_progress or bool(self._messages)

    def _is_spoken_to(self) -> bool:
        """Tell whether a head has begun to come, or something lies in the kernel that nobody has read.

        A socket that is closed then is reset, and its caller can't know what became of its request (RFC 2525 §2.17).
        """
        if self.transport is None or self._place is None or self.transport.is_closing():
            return False
        if self._clock is not None or self._sealed:
            return True
        kernel = select.poll()
        kernel.register(self._place.get_extra_info("socket"), select.POLLIN)
        return bool(kernel.poll(0))

    def _head_came(self) -> None:
        """Take note of whole heads, or of something that is none; both are in the queue already."""
        self._heads, self._head_size = self._request_count, 0
        self._stop_clock()
        if self._place is not None:
            self._door.crowd.work(self._place)
        if self._messages:
            message, body = self._messages[-1]
            if isinstance(message, RawRequestMessage):
                self._body, self._chunked = body, message.chunked
            else:
                message.exc.with_traceback(None)  # it holds what was read, and lives as long as the caller lingers
                self._stop_reading()

    def _piece_of_a_head_came(self, data: bytes) -> None:
        self._head_size += len(data)
        if self._head_size > self._limits.max_head + UNCOUNTED:
            self._refuse_head(LineTooLong(b"", self._limits.max_head))
        elif data.strip(b"\r\n"):
            self._for_record = False
            if self._clock is None:
                if self._owes():
                    self._begun = True
                else:
                    self._start_clock()

    def _goes_on(self, data: bytes) -> bool:
        """Tell whether a piece that brought a head, and ends with no empty line, has the next one's beginning.

        The parser does not tell where it stands. What it has held back, of more requests than may wait, it parses with
        no `data`; where the last of them has a body with a length, nobody can tell.
        """
        body = self._body
        if not data:
            return self._begun and (self._chunked or body is EMPTY_PAYLOAD)
        if self._chunked or body is None:
            return not _blank(data)
        end = len(data) - body.total_bytes  # of the head, if nothing stands behind its body; or an empty line may
        ends = (end, end - 2) if data.endswith(b"\r\n") else (end,)
        return not any(data.endswith(ENDS, 0, end) or _blank(data[:end]) for end in ends)

    def _refuse_head(self, fault: BadHttpMessage) -> None:
        """Queue what the parser would have queued, had it counted or caught it."""
        self._messages.append((_ErrInfo(400, fault, ""), EMPTY_PAYLOAD))
        self._request_count += 1
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        self._head_came()

    def _stop_reading(self) -> None:
        """Read away what comes from now on: nobody can tell what it is."""
        self._unreadable = True
        self._parser = None  # it may hold a large part of what it has read
        if self._body is not None and not self._body.is_eof():
            self._messages.pop()  # it is the body of the head before it that is broken
            if self._request_in_progress or self._messages:  # else it is answered, and only read away
                self._body.set_exception(web_protocol.RequestPayloadError("unreadable"))
            self._body.feed_eof()
            self.close()

    def _answered(self, *, leaving: bool) -> None:
        if self._place is not None and (leaving or not self._messages):
            self._door.crowd.rest(self._place, Waits.LEAVING if leaving else Waits.IDLE)
            if (self._begun or self._sealed) and not leaving:
                self._start_clock()
                self._for_record = not self._begun
                self._begun = False

    async def _linger(self) -> None:
        """Wait for the caller to leave, while what it still sends is read away; aiohttp does so for whole heads."""
        if self.transport is not None:
            half_close(self.transport)
        await asyncio.sleep(LINGER)

    def _too_late(self) -> None:
        self._clock = None
        if self.transport is None or self.transport.is_closing() or self._place is None or self._busy():
            return
        timeout = self._limits.header_timeout
        self._door.malformed += 1
        self.transport.write(whole(RequestTimeout(f"No whole head came within {timeout:g} s (limits.header_timeout).")))
        self.transport.close()
        self._part()

    async def _message(self) -> None:
        """Wait for the next head, or for something that is none."""
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _next_request(self) -> tuple[Incoming, Answering]:
        """Take the first message out of the queue; return a request of it, and what answers that."""
        message, body = self._messages.popleft()
        self._request_in_progress = True
        if self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()
        if isinstance(message, _ErrInfo):
            return Incoming(web_protocol.ERROR, body, self, None), partial(self._refuse, message.exc)
        request = Incoming(message, body, self, self._said)
        self._said = request.head if request.head.is_short() else None
        return request, cast("Answering", self._request_handler)

    async def _answer(self) -> bool:
        """Have the next request answered; tell whether the connection may carry another."""
        try:
            request, answering = self._next_request()
            self._current_request = request  # type: ignore[assignment]  # of which aiohttp asks one thing, `_cancel`
            body = request.content
            try:
                response = await answering(request)
            except Exception as fault:  # noqa: BLE001 - it is logged there
                response = self._own_fault(request, fault)
            if not response.prepared:  # else it was relayed, to its end
                await self._send(request, response)
            last = self._unreadable and not self._messages
            if self._retired:
                self.close()
            self._answered(leaving=last or self._retired or not (response.keep_alive and body.is_eof()))
            if last:
                await self._linger()
        finally:
            self._current_request, self._request_in_progress = None, False
            if self._handler_waiter is not None and not self._handler_waiter.done():
                self._handler_waiter.set_result(None)
        return (body.is_eof() or await self._read_away(body)) and bool(response.keep_alive) and not self._close

    async def _send(self, request: Incoming, response: web_response.StreamResponse) -> None:
        try:
            async with asyncio.timeout(LINGER):  # ours are small: nobody takes so long
                await request.answer(response)
        except TimeoutError:
            if self._place is not None:
                self._place.abort()
            raise ConnectionResetError("the caller takes no answer") from None
        if self._messages:
            await asyncio.sleep(0)  # nothing was waited for: whoever sends many at once would hold up all others

    async def _refuse(self, fault: BaseException, _request: Incoming) -> web_response.StreamResponse:
        """Answer what never became a request, in our own words."""
        self._door.malformed += 1
        log.info("malformed request from %s: %s", self._caller, _what(fault))
        response = problem(self._refusal(fault), request_id="-")
        response.force_close()
        return response

    def _own_fault(self, request: Incoming, fault: Exception) -> web_response.StreamResponse:
        """Answer where a handler has failed; after the first byte, just close (law 13)."""
        if isinstance(fault, AnswerBroken | ConnectionError) or request.sent > 0:
            raise ConnectionResetError("the answer can't be finished") from fault
        log.error("a fault of ours in a request from %s", self._caller, exc_info=fault)
        response = problem(ProxyError(), request_id="-")
        response.force_close()
        return response

    async def _read_away(self, body: StreamReader) -> bool:
        """Read what is left of a body that nobody wanted, for a while; tell whether that was all of it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                while not (body.is_eof() or self._force_close):
                    await body.readany()
        return body.is_eof()

    def _keep_alive_from_now(self) -> None:
        """Have the connection closed when it has been idle for long; an alarm that is set looks again by itself."""
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)

    def _all_is_said(self) -> None:
        """Close it; nothing more is heard."""
        if self.transport is not None:
            self.transport.close()
        if self._manager is not None:  # aiohttp's sign that the connection is not lost yet
            self._part()

    def _part(self) -> None:
        """Let go of a connection that is being closed: one whose caller takes nothing would stay for ever."""
        if self._place is not None:
            self._stop_clock()
            self._door.crowd.rest(self._place, Waits.LEAVING)
            self._clock = self._loop.call_later(LINGER, self._place.abort)

    def _process_keepalive(self) -> None:
        """Leave a head that has begun to come the time that it has, though the one for idle connections is over.

        Not those that begin behind it. What lies unread came while the process was stopped.
        """
        late = self._loop.time() >= self._next_keepalive_close_time + self._limits.header_timeout
        if self._clock is not None and not late:
            self._keepalive_handle = self._loop.call_at(self._clock.when(), self._process_keepalive)
        elif self._clock is None and not self._owes() and self._is_spoken_to():
            self._keepalive_handle = self._loop.call_later(LAST_LOOK, self._process_keepalive)
        else:
            super()._process_keepalive()

    def _start_clock(self) -> None:
        self._clock = self._loop.call_later(self._limits.header_timeout, self._ring)

    def _ring(self) -> None:
        if self._clock is not None and self._loop.time() > self._clock.when() + LATE:
            self._clock = self._loop.call_later(LAST_LOOK, self._too_late)
        else:
            self._too_late()

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None
        self._for_record = False

    def _refusal(self, fault: BaseException) -> CallerError:
        if isinstance(fault, LineTooLong):
            return HeadTooLarge(f"The request's head is larger than {self._limits.max_head} bytes (limits.max_head).")
        if isinstance(fault, BadHttpMessage) and fault.message == TOO_MANY:
            most = self._limits.max_headers
            return HeadTooLarge(f"The request has more than {most} header fields (limits.max_headers).")
        return CallerError("The request is not valid HTTP/1.1.")


def _what(fault: BaseException | None) -> str:
    """Return what is wrong with what is no request, and never what came."""
    if isinstance(fault, BadHttpMessage) and fault.message == SPEAKS_TLS:
        return "it speaks TLS, and this listener does not: write http:// in the app, or give the listener tls"
    return type(fault).__name__


def _blank(data: bytes) -> bool:
    """Tell whether nothing but an empty line, or a part of one, stands at the end of what came."""
    return not data[-4:].strip(b"\r\n")
