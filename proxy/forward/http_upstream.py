"""Behind the seam: HTTP/1.1 on connections of our own, to one origin.

What a request's head says passes as it came; its framing is ours: a Content-Length where the caller gave one,
chunks otherwise (RFC 9112 §6). Whether a send that broke is tried again is `resend`'s to say.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from yarl import URL

from proxy.errors import AnswerBroken, ProxyError, UpstreamError
from proxy.forward.body import Body
from proxy.forward.burst import Burst
from proxy.forward.headers import AnswerHead
from proxy.forward.resend import Sent, may_be_sent_again
from proxy.forward.upstream import Answer, Attempt
from proxy.forward.upstream_connection import Broken, UpstreamConnection
from proxy.forward.upstream_pool import UpstreamPool

LAST_CHUNK: Final = b"0\r\n\r\n"

EXPECTING: Final = 1.0
"""Seconds that an upstream has to ask for a body, or to do without, before it is sent anyway (RFC 9110 §10.1.1)."""


class HttpAnswer:
    """An answer whose head is here. Its connection goes back to the pool at its end, or when it is closed."""

    def __init__(
        self, head: AnswerHead, connection: UpstreamConnection, pool: UpstreamPool, idle_timeout: float
    ) -> None:
        self.status = head.status
        self.head = head
        self.whole = connection.taken()
        self._pool = pool
        self._idle_timeout = idle_timeout
        self._connection: UpstreamConnection | None = connection  # while it is ours
        if self.whole is not None:
            self.close()

    def __repr__(self) -> str:
        return f"<HttpAnswer {self.status}>"

    async def chunks(self) -> AsyncIterator[bytes]:
        if self.whole is not None:
            if self.whole:
                yield self.whole
            return
        while self._connection is not None:
            chunk = await self._connection.read(self._idle_timeout)
            if not chunk:
                self.close()
                return
            yield chunk
        raise AnswerBroken("closed")

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.release(connection)


class HttpUpstream:
    """Sends on the pool's connections, the only thing that changes."""

    def __init__(
        self, pool: UpstreamPool, origin: URL, burst: Burst, *, response_timeout: float, idle_timeout: float
    ) -> None:
        self._pool = pool
        self._burst = burst
        self._origin = origin
        self._host = f"Host: {origin.raw_authority}\r\n".encode()
        self._response_timeout = response_timeout
        self._idle_timeout = idle_timeout

    def __repr__(self) -> str:
        return f"<HttpUpstream {self._origin}>"

    async def send(self, attempt: Attempt) -> Answer:
        again = wrote = False
        while True:
            try:
                connection = await self._pool.take(self._response_timeout, fresh=again)
            except ProxyError as fault:
                fault.unsent = not wrote
                raise
            if wrote and attempt.again is not None:
                attempt.again()
            try:
                return await self._converse(attempt, connection)
            except Broken as fault:
                sent = Sent(connection.wrote, connection.answered, connection.reused)
                whole = attempt.body is None or attempt.body.replayable
                spent = again or (attempt.replay and sent.written)
                if spent or not may_be_sent_again(sent, attempt.method, whole=whole):
                    fault.unsent = not (wrote or sent.written)
                    raise
                again, wrote = True, sent.written
                self._pool.counts.resent += 1

    async def _converse(self, attempt: Attempt, connection: UpstreamConnection) -> HttpAnswer:
        try:
            connection.begin(bodiless=attempt.method == "HEAD")
            body = attempt.body
            here = b"" if body is None else body.arrived()
            if body is None or here is not None:
                connection.write_whole(self._burst, self._start(attempt), *([here] if here else []))
                head = await connection.head(self._response_timeout)
            else:
                connection.write(self._start(attempt, expect=body.waits))
                head = await self._stream(body, connection)
            return HttpAnswer(head, connection, self._pool, self._idle_timeout)
        except BaseException:  # a cancelled request, too: what was begun can't be taken back (RFC 9112 §9.6)
            connection.close()
            self._pool.release(connection)
            raise

    def _start(self, attempt: Attempt, *, expect: bool = False) -> bytes:
        start = f"{attempt.method} {attempt.target} HTTP/1.1\r\n".encode("ascii")
        lines = [start, self._host, attempt.lines]
        if attempt.body is not None:
            length = attempt.body.length
            lines.append(b"Transfer-Encoding: chunked\r\n" if length is None else b"Content-Length: %d\r\n" % length)
        lines.append(b"Expect: 100-continue\r\n\r\n" if expect else b"\r\n")
        return b"".join(lines)

    async def _stream(self, body: Body, connection: UpstreamConnection) -> AnswerHead:
        """Send a body as it comes, and listen meanwhile: an early answer ends the sending, and then the connection."""
        sending = asyncio.create_task(self._pour(body, connection), name="send a request's body")
        try:
            return await connection.head(None)
        finally:
            if sending.cancel():
                connection.carry_no_more()
            await asyncio.wait({sending})
            fault = None if sending.cancelled() else sending.exception()
            if fault is not None and not isinstance(fault, UpstreamError):  # of the connection `head` tells, if it must
                raise fault

    async def _pour(self, body: Body, connection: UpstreamConnection) -> None:
        """Hand a body over chunk by chunk; time runs for the upstream only while it holds one."""
        try:
            if body.waits and not await connection.asked(EXPECTING):
                connection.carry_no_more()  # the body that was announced stays with the caller
                return
            await connection.room(self._idle_timeout)
            async for chunk in body.chunks():
                if body.length is None:
                    connection.write(b"%x\r\n" % len(chunk), chunk, b"\r\n")
                else:
                    connection.write(chunk)
                await connection.room(self._idle_timeout)
            if body.length is None:
                connection.write(LAST_CHUNK)
        except UpstreamError:  # the connection tells of it, when it has read what had come before
            raise
        except Exception:  # the caller's fault: no answer is to be waited for
            connection.close()
            raise
        connection.expect_by(self._response_timeout)
