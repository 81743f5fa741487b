"""One request from its head to its answer, and the answer's way onto the wire.

The order is this server's law: the head is journaled, a fault may take over, the credential is judged
before the body is read, the body is read to its end whatever the verdict, and then comes the answer.
"""

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast

from aiohttp import web
from multidict import CIMultiDict

from proxy.simulator.answers import TOO_LARGE, Answer, Cut, documented, json_answer
from proxy.simulator.api import Api, Call
from proxy.simulator.bodies import Body
from proxy.simulator.connection import Connection
from proxy.simulator.consent import Consent
from proxy.simulator.faults import Fault, Faults
from proxy.simulator.grants import Grants
from proxy.simulator.journal import AUTHORIZE_PATH, CONTROL_PATH, TOKEN_PATH, Received
from proxy.simulator.throttle import Throttle

_FORM_TYPE = b"application/x-www-form-urlencoded"
_logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False, repr=False)
class Exchange:
    """Answers requests.

    The mutable state is the journal's growth and the count of token replies to lose; the faults, grants,
    consent and documents change themselves.
    """

    grants: Grants
    consent: Consent
    api: Api
    throttle: Throttle
    faults: Faults
    journal: list[Received]
    control: Callable[[str, str, bytes], Answer]
    stopping: asyncio.Event  # ends hangs and delays
    moved: asyncio.Event  # pulses when the journal has changed
    token_replies_to_lose: int = 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; never raises but to be cancelled."""
        received = Received(request.method, request.raw_path, request.raw_headers)
        try:
            outcome = await self._outcome(Body(request, received, self._pulse))
        except (ConnectionError, web.RequestPayloadError):  # the caller left, or sent what is no body
            outcome = Cut.CLOSE
        except Exception:
            # One request's failure stays its own; a fault of ours must be seen all the same.
            _logger.exception("the simulator failed on %s %s", received.method, received.path)
            outcome = documented(500, received.path)
        received.status = 0 if isinstance(outcome, Cut) else outcome.status
        self._pulse()
        if outcome is Cut.NEVER:
            await self._hang(request)
        return _cut(request, outcome) if isinstance(outcome, Cut) else await _send(request, outcome)

    async def _outcome(self, body: Body) -> Answer | Cut:
        received = body.received
        if received.path == CONTROL_PATH or received.path.startswith(f"{CONTROL_PATH}/"):
            order = await body.whole()
            return TOO_LARGE if order is None else self.control(received.method, received.path, order)
        self.journal.append(received)
        self._pulse()
        fault = self.faults.take(received.method, received.path) or Fault()
        if received.path == TOKEN_PATH and not fault.early:
            await body.drain()  # so that a caller who leaves while its answer is held has been heard all the same
        played = await self._play(fault, body)
        if played is not None:
            return played
        if received.path == TOKEN_PATH:
            return await self._redeem(body)
        if received.path == AUTHORIZE_PATH:
            return await self._ask(body)
        return await self._call(body, early=fault.early)

    async def _play(self, fault: Fault, body: Body) -> Answer | Cut | None:
        if fault.replaces_the_answer and not fault.early:
            await body.drain()
        if fault.hang:
            return Cut.NEVER
        if fault.gate is not None:
            await fault.gate.wait()
        elif fault.delay:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), fault.delay)
        if self.stopping.is_set():
            return Cut.CLOSE
        return Cut.RESET if fault.reset else fault.answer(body.received.path)

    async def _hang(self, request: web.BaseRequest) -> None:
        """Wait until the caller has left or the simulator stops."""
        ends = (self.stopping, cast("Connection", request.protocol).lost)
        waiting = {asyncio.ensure_future(end.wait()) for end in ends}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()

    async def _call(self, body: Body, *, early: bool) -> Answer:
        received = body.received
        refusal = self.grants.refusal(received.path, received.authorization)
        if refusal is None:
            refusal = self.throttle.refusal(received.method, received.target)
        if refusal is None:
            return self.api.answer(Call(received.method, received.target, await body.content()))
        if not early:
            await body.drain()
        return refusal

    async def _redeem(self, body: Body) -> Answer | Cut:
        await body.drain()
        received = body.received
        if received.method != "POST":
            return json_answer(405, {"error": "invalid_request"}, ("Allow", "POST"))
        if not _is_form(received):
            return json_answer(400, {"error": "invalid_request"})
        answer = self.grants.redeem(received.parse_form())
        if answer.status == HTTPStatus.OK and self.token_replies_to_lose > 0:
            self.token_replies_to_lose -= 1
            return Cut.CLOSE
        return answer

    async def _ask(self, body: Body) -> Answer:
        await body.drain()
        received = body.received
        form = received.parse_form() if _is_form(received) else {}
        return self.consent.answer(received.method, received.target, form)

    def _pulse(self) -> None:
        # Whoever waits now is woken, though the event is clear again when they run.
        self.moved.set()
        self.moved.clear()

    def __repr__(self) -> str:
        return f"<Exchange {len(self.journal)} received, {self.token_replies_to_lose} token replies to lose>"


def _is_form(received: Received) -> bool:
    return received.header(b"content-type").lower().startswith(_FORM_TYPE)


def _cut(request: web.BaseRequest, cut: Cut) -> web.Response:
    """End the connection; the response returned to aiohttp goes nowhere."""
    transport = request.transport
    if transport is not None:
        connection: socket.socket | None = transport.get_extra_info("socket")
        if cut is Cut.RESET and connection is not None:
            # Lingering for zero seconds makes the kernel send RST instead of FIN.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response()


async def _send(request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    headers = CIMultiDict(answer.headers)
    if answer.pdf is None:
        response: web.StreamResponse = web.Response(status=answer.status, headers=headers, body=answer.body)
    else:
        response = web.StreamResponse(status=answer.status, headers=headers)
        response.content_length = answer.pdf.size
    if not request.content.is_eof() or _closes(headers):
        # What is still to come of the body would be taken for the next request; and what is said is done.
        response.force_close()
    if answer.pdf is not None:
        with contextlib.suppress(ConnectionError):  # aiohttp meets it again, and knows what to do
            await response.prepare(request)
            await _stream(request, response, answer.pdf.chunks())
    return response


def _closes(headers: CIMultiDict[str]) -> bool:
    options = ",".join(headers.getall("Connection", []))
    return any(option.strip().lower() == "close" for option in options.split(","))


async def _stream(request: web.BaseRequest, response: web.StreamResponse, chunks: Iterator[bytes]) -> None:
    if request.method == "HEAD":
        return
    for chunk in chunks:
        await response.write(chunk)
