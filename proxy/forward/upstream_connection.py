"""One connection to the upstream: a request goes out, its answer comes back, and then perhaps another.

    idle ──begin──► busy ──the answer is whole──► idle, if it may carry another
      └──────────────┴──── closed: by either side, by its clock, by anything unexpected

Never here: what is sent, or whether it is sent again (http_upstream), and which connection is taken (pool).
"""

import asyncio
import os
import select
from collections.abc import Callable
from contextlib import suppress
from typing import Final, cast

from proxy.errors import AnswerBroken, UpstreamError, UpstreamTimeout
from proxy.forward.answer_reader import AnswerReader
from proxy.forward.burst import Burst
from proxy.forward.headers import AnswerHead, kept_for
from proxy.time_limit import LAST_LOOK, LATE

READ_AHEAD: Final = 64 * 1024
"""Bytes of an answer that may wait for the caller to take them before the socket is left alone."""

BEFORE_ITS_END: Final = 1.0
"""Seconds before the upstream closes an idle connection, by its own word, in which it is left alone: its clock began
before ours, and a request may be on its way. (undici's keepAliveTimeoutThreshold.)"""

NEVER: Final = float("inf")


class Broken(UpstreamError):
    """The connection broke before the answer's head was whole."""

    def __init__(self) -> None:
        super().__init__(
            "The connection to the upstream broke before its answer began. Whether the request was done is unknown."
        )


class UpstreamConnection(asyncio.Protocol):
    """One connection, as asyncio's transports know it.

    What changes: `_reader`, by what arrives; `_fault`, once nothing more can come of it; `wrote`, whether anything
    of the present request was handed to the transport; `_cut_short`, by `carry_no_more`; `_due`, when patience ends, by
    `_allow`, and with it the alarm, and by whoever waited, NEVER; `_idle_since`, when it was made or its last answer
    was whole; `idle_until`, by `rests`. `reused` is the pool's.
    """

    def __init__(self, lost: Callable[["UpstreamConnection"], None]) -> None:
        """Tell `lost` when it is over."""
        self.reused = False
        self.idle_until = 0.0
        self.wrote = False
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._idle_since = self._loop.time()
        self._transport: asyncio.Transport | None = None
        self._tcp: asyncio.Transport | None = None  # the same, or what lies below it
        self._kernel = select.poll()  # tells whether something lies in the socket
        self._reader = AnswerReader()
        self._fault: UpstreamError | None = None
        self._reading: asyncio.Future[None] | None = None  # who waits for what arrives
        self._writing: asyncio.Future[None] | None = None  # who waits for room
        self._full = False  # whether the transport has no room
        self._paused = False  # whether the socket is left alone
        self._cut_short = False  # whether the request's end stays unsent
        self._due = NEVER
        self._patience: Callable[[], UpstreamError] | None = None
        self._alarm: asyncio.Handle | None = None
        self._rings_at = NEVER

    def __repr__(self) -> str:
        return f"<UpstreamConnection {self._reader} reused={self.reused} fault={self._fault}>"

    @property
    def answered(self) -> bool:
        """Whether any byte of the present answer has come."""
        return self._reader.began

    def reusable(self) -> bool:
        """Tell whether it may carry another request now: not where something of an answer lies unread."""
        reader, transport = self._reader, self._transport
        if transport is None or transport.is_closing():
            return False
        return reader.complete and reader.reusable and not reader.chunks

    def rests(self, keepalive: float) -> None:
        """Note when its time without a request is up: after `keepalive` seconds, or before the upstream ends it."""
        head = self._reader.head
        said = None if head is None else kept_for(head)
        self.idle_until = self._idle_since + (keepalive if said is None else min(keepalive, said - BEFORE_ITS_END))

    def quiet(self) -> bool:
        """Look at the socket itself: whether nothing has arrived that we have not been told of, not even its end."""
        return not self._kernel.poll(0)

    def begin(self, *, bodiless: bool) -> None:
        """Start a request; `bodiless` if its answer has no body, being that to a HEAD."""
        self.wrote = False
        self._reader.expect(bodiless=bodiless)

    def write(self, *data: bytes) -> None:
        """Hand bytes to the transport. Raises Broken where it takes none any more."""
        self._hand(self._open_transport(), data)

    def write_whole(self, burst: Burst, *data: bytes) -> None:
        """Hand a whole request to the transport: now, or in a burst if it takes it then; where not, `head` tells.

        Raises Broken where it takes nothing by now.
        """
        transport = self._open_transport()
        if burst.calm():
            self._hand(transport, data)
        else:
            burst.hold(self._hand_if_open, *data)

    async def room(self, seconds: float) -> None:
        """Wait until the upstream has taken enough of what was written. Raises UpstreamError."""
        while self._full and self._fault is None:
            self._allow(seconds, _not_taken)
            try:
                await self._wait_to_write()
            finally:
                self._due = NEVER
        if self._fault is not None:
            raise self._fault

    async def asked(self, seconds: float) -> bool:
        """Wait until the upstream asks for the body (RFC 9110 §10.1.1) or says anything else, for so long at most.

        Tell whether it may still want it: not where it has answered.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not (self._reader.continued or self._reader.head is not None or self._fault is not None):
                    await self._wait_to_write()
        return self._reader.head is None

    async def head(self, seconds: float | None) -> AnswerHead:
        """Wait for the answer's head, from now on for so long. Raises UpstreamError."""
        reader = self._reader
        if reader.head is None:
            if seconds is not None:
                self._allow(seconds, _not_answered)
            try:
                while reader.head is None:
                    await self._more()
            finally:
                self._due = NEVER
        return reader.head

    def expect_by(self, seconds: float) -> None:
        """Give the upstream so long from now on for the head that somebody waits for."""
        self._allow(seconds, _not_answered)

    def taken(self) -> bytes | None:
        """Return the whole body if it has arrived, else None. Never waits."""
        if not self._reader.complete:
            return None
        return self._take()

    async def read(self, seconds: float) -> bytes:
        """Return what has arrived of the body, b"" at its end. Raises AnswerBroken, also after so long a silence."""
        reader = self._reader
        while not reader.chunks:
            if reader.complete:
                return b""
            self._allow(seconds, _not_answered)
            try:
                await self._more()
            except UpstreamError as fault:
                cause = "; it may have waited for the upload that its early head ended" if self._cut_short else ""
                raise AnswerBroken(type(fault).__name__ + cause) from fault
            finally:
                self._due = NEVER
        return self._take()

    def carry_no_more(self) -> None:
        """Let the present answer be the last: its request's end stays unsent."""
        self._reader.reusable = False
        self._cut_short = True

    def close(self) -> None:
        """Be done with it, at once."""
        self._fail(Broken())

    def lie_on(self, tcp: asyncio.Transport) -> None:
        """Know what lies below TLS: that is left alone where a caller is slow.

        A TLS that is told to hold back what has come throws it away when the end comes (uvloop's does).
        """
        self._tcp = tcp

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)  # each loop has a kind of its own
        self._transport = transport
        self._tcp = self._tcp or transport
        self._kernel.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        if not (self.wrote or reader.complete):  # a request waits for its turn's end: this is no answer to it
            self._fail(Broken())
            return
        try:
            reader.feed(data)
        except UpstreamError as fault:
            self._fail(fault)
            return
        if reader.complete:
            self._idle_since = self._loop.time()
            if not reader.reusable and self._transport is not None:
                self._transport.abort()
        elif not self._paused and sum(map(len, reader.chunks)) > READ_AHEAD and self._tcp is not None:
            self._paused = True
            self._tcp.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        if self._reader.end():
            self._wake()
        else:
            self._fail(Broken())

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None and self._fault is None:
            self._read_the_rest()
        self._reader.reusable = False  # an answer that its own end ends is whole by `eof_received`
        self._fail(Broken())  # what is whole may be read all the same

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        if self._writing is not None and not self._writing.done():
            self._writing.set_result(None)

    def _open_transport(self) -> asyncio.Transport:
        if self._fault is not None:
            raise self._fault
        assert self._transport is not None  # noqa: S101 - it was connected
        if self._transport.is_closing():
            raise Broken
        return self._transport

    def _hand_if_open(self, *data: bytes) -> None:
        """Hand over what a burst held back, unless the connection is over: then nothing of it was written."""
        transport = self._transport
        if transport is None or transport.is_closing() or self._fault is not None:
            return
        if self.reused and not self.quiet():  # as the pool has looked; but that was a turn before
            self._fail(Broken())
            return
        try:
            self._hand(transport, data)
        except Exception:  # whatever it is, who waits for the answer hears of it at once
            self._fail(Broken())
            raise

    def _hand(self, transport: asyncio.Transport, data: tuple[bytes, ...]) -> None:
        self.wrote = True
        if len(data) == 1:
            transport.write(data[0])
        else:
            transport.writelines(data)

    def _read_the_rest(self) -> None:
        """Take what had come before the break: perhaps the answer that says why nothing more was taken.

        Over TLS it is read below (upstream_tls), and the socket is closed by now.
        """
        transport = self._transport
        if transport is None or transport.get_extra_info("sslcontext") is not None:
            return
        with suppress(OSError):
            rest = os.read(transport.get_extra_info("socket").fileno(), READ_AHEAD)
            if rest:
                self.data_received(rest)

    async def _more(self) -> None:
        """Wait for whatever comes next. Raises what it came to."""
        if self._fault is not None:
            raise self._fault
        self._reading = self._loop.create_future()
        try:
            await self._reading
        finally:
            self._reading = None

    async def _wait_to_write(self) -> None:
        self._writing = self._loop.create_future()
        try:
            await self._writing
        finally:
            self._writing = None

    def _take(self) -> bytes:
        chunks = self._reader.chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        if self._paused and self._tcp is not None:
            self._paused = False
            self._tcp.resume_reading()
        return data

    def _allow(self, seconds: float, patience: Callable[[], UpstreamError]) -> None:
        """Let it last so long from now on.

        The alarm is moved only where it would ring too late: most of the time, setting a limit is free.
        """
        self._due, self._patience = self._loop.time() + seconds, patience
        if self._due < self._rings_at:
            self._set_alarm()

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._rings_at = self._due
        self._alarm = self._loop.call_at(self._due, self._ring)

    def _ring(self) -> None:
        self._alarm, self._rings_at = None, NEVER
        now = self._loop.time()
        if now < self._due < NEVER:
            self._set_alarm()
        elif now > self._due + LATE:
            self._alarm = self._loop.call_at(now + LAST_LOOK, self._run_out)
        else:
            self._run_out()

    def _run_out(self) -> None:
        """End it for whoever still waits. Who waits anew by then has set another alarm."""
        self._alarm = None
        if self._due < NEVER and self._patience is not None:
            if any(who is not None and who.done() for who in (self._reading, self._writing)):
                self._alarm = self._loop.call_soon(self._run_out)  # they hear first of what came in time
            else:
                self._fail(self._patience())

    def _fail(self, fault: UpstreamError) -> None:
        """Let nothing more come of it."""
        if self._fault is None:
            self._fault = fault
        if self._transport is not None:
            self._transport.abort()
        self._end()
        self._wake()

    def _end(self) -> None:
        """Take leave; does nothing the second time."""
        self._reader.close()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        lost, self._lost = self._lost, _nobody
        lost(self)

    def _wake(self) -> None:
        if self._reading is not None and not self._reading.done():
            self._reading.set_result(None)
        if self._writing is not None and not self._writing.done():
            self._writing.set_result(None)


def _nobody(_connection: UpstreamConnection) -> None:
    """Nobody needs to be told any more."""


def _not_taken() -> UpstreamError:
    return UpstreamTimeout(
        "The upstream did not take the request's body within upstream.idle_timeout.", error="connection_write_timeout"
    )


def _not_answered() -> UpstreamError:
    return UpstreamTimeout("The upstream did not answer within upstream.response_timeout.")
