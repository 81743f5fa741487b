"""The line itself: one request, from its head to the last byte of its answer.

guard ─► client ─► policy ─► credential ─► upstream ─► 401? replay once ─► relay
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from typing import Final

from aiohttp import web_response
from msgspec import Struct
from msgspec.structs import replace

from proxy.credential.credential import Credential
from proxy.errors import AnswerBroken, CallerError, MethodRefused, ProxyError, Refused, UpstreamError
from proxy.forward import guard, token_placeholder, token_request
from proxy.forward.body import Body, BodyLimits, KeptBytes
from proxy.forward.burst import Burst
from proxy.forward.clients import Anyone, Named
from proxy.forward.errand import Errand
from proxy.forward.exchange import Exchange
from proxy.forward.headers import (
    AnswerHead,
    Fields,
    Origin,
    forwards_left,
    tells,
    to_caller,
    without_credential,
    written,
)
from proxy.forward.incoming import Incoming
from proxy.forward.places import InFlight, Places
from proxy.forward.problem import problem
from proxy.forward.relay import JUDGED_WITHIN, NO_CONTENT, RelayedResponse, hold, relay
from proxy.forward.tally import Tally
from proxy.forward.upstream import Answer, Upstream
from proxy.policy.policy import Decision, Policy

log = logging.getLogger(__name__)

UNAUTHORIZED: Final = 401
LEAST_ERROR: Final = 400
SAYS_NOTHING: Final = frozenset({429, *range(500, 600)})
"""Statuses that come before or instead of a judgement of the credential."""

CLIENT_CLOSED: Final = 499
"""What the access log shows for a caller that hung up; nginx's number for it."""

HELD_401: Final = 64 * 1024
"""Bytes of a 401's body that are read ahead, so that no connection is held while a refresh runs."""

MEASURED: Final = 1024 * 1024
"""Bytes of an answer that are read ahead where only a length can tell a whole one: they count with what is kept."""

REMEMBERED: Final = 256
"""Paths that were judged: apps ask for the same ones again and again. With all readings that a path may have they cost
8 MiB at worst."""

LONGEST_REMEMBERED: Final = 256
"""Characters. A longer path is judged anew each time."""

RELAYED: Final = "PandaDoc's 401 is relayed: "
NOT_KEPT: Final = "the request's body was not kept (replay.max_body, replay.max_total), and can't be sent again"
REFUSED_TOO: Final = "a newer credential was refused too"
"""Why PandaDoc's 401 is its last word; the credential may have other reasons."""

Judged = tuple[frozenset[str], tuple[Decision, ...]]
"""Every reading of a path, and what a policy objects to."""

Response = web_response.StreamResponse | RelayedResponse
"""An answer of ours, which aiohttp sends; or PandaDoc's, which was sent here."""

Trace = Callable[[Exchange, Fields, bytes], AbstractContextManager[None]]
"""What may look on while a request is answered: given its exchange, its fields and its scheme."""


class Lane(Struct, frozen=True):
    """The parts that serve one listener: a request takes one lane and keeps it to its end."""

    gate: guard.Gate
    clients: Anyone | Named
    placeholder: bool  # whether the token endpoint's stand-in answers, for apps that insist on a token
    upstream: Upstream
    origin: Origin
    body_limits: BodyLimits
    kept_bytes: KeptBytes
    places: Places
    cookies: bool
    health: str | None
    tally: Tally
    in_flight: InFlight
    ready: Callable[[], bool]
    burst: Burst
    scheme: bytes = b"http"  # of the listener


class Handler:
    """Serves one listener's requests. `busy` counts those in flight; `__call__` alone changes it."""

    def __init__(
        self,
        listener: str,
        lane: Callable[[], Lane],
        now: Callable[[], float],
        ended: Callable[[Exchange], object],
        trace: Trace | None = None,
    ) -> None:
        """Tell `ended` of every exchange when it is over."""
        self.listener = listener
        self.busy = 0
        self._lane = lane
        self._now = now
        self._ended = ended
        self._trace = trace

    def __repr__(self) -> str:
        return f"<Handler {self.listener} {self.busy} in flight>"

    async def __call__(self, request: Incoming) -> Response:
        head, lane = request.head, self._lane()
        if head.target == lane.health and head.method in {"GET", "HEAD"}:
            return _health(lane)
        exchange = Exchange(head, self._now, self.listener)
        lane.in_flight.enter()
        self.busy += 1
        try:
            if self._trace is None:
                return await self._answer(request, lane, exchange)
            with self._trace(exchange, head.fields, lane.scheme):
                return await self._answer(request, lane, exchange)
        finally:
            self.busy -= 1
            lane.in_flight.leave()
            self._ended(exchange)
            exchange.tell()

    async def _answer(self, request: Incoming, lane: Lane, exchange: Exchange) -> Response:
        try:
            return await self._forward(request, lane, exchange)
        except ProxyError as fault:
            return _own_answer(request, fault, lane, exchange)
        except AnswerBroken as fault:
            exchange.unfinished, exchange.fault = True, f"unfinished: {fault}"
            raise
        except asyncio.CancelledError:
            if not exchange.delivered:
                cause = "the caller hung up" if lane.ready() else "cut off while the proxy was ending"
                exchange.status, exchange.fault = CLIENT_CLOSED, cause
            raise
        except ConnectionError:
            exchange.status, exchange.fault = CLIENT_CLOSED, "the caller's connection broke"
            raise
        except Exception:  # one request's failure is one request's failure (law 17)
            log.exception("a fault of ours in request %s", exchange.request_id)
            if request.sent > 0:  # law 13
                exchange.unfinished, exchange.fault = True, "unfinished: a fault of ours"
                raise
            return _own_answer(request, ProxyError(), lane, exchange)

    async def _forward(self, request: Incoming, lane: Lane, exchange: Exchange) -> Response:
        admitted = guard.admit(request.head, lane.gate)
        if lane.placeholder and token_request.asked(request.head.method, admitted.target):
            return await _placeholder(request, lane, exchange)
        client = await lane.clients.identify(request.head.fields)
        exchange.client = client.name
        readings, objections = _judged(client.policy, lane.gate, request.head.method, admitted.target)
        if objections:
            _object(objections, request.head.method, lane, exchange)
        if forwards_left(request.head) == 0:
            return _last_stop(request, lane, exchange)
        if client.meter is not None:
            exchange.turn = client.meter.turn(request.head, readings, admitted.target, request.is_attended)
        target, here = lane.origin.prefix + admitted.target, lane.scheme + b"://" + admitted.host
        errand = Errand(request.head, target, None, client.source, lane.upstream, lane.gate.via, lane.cookies, exchange)
        with lane.places, client.places:  # only now: whoever has no key takes no place
            if not request.announces_body():
                return await _lend(request, errand, lane, here)
            with _body(request, lane.body_limits, lane, exchange) as body:
                return await _lend(request, replace(errand, body=body), lane, here)


def _judged(policy: Policy, gate: guard.Gate, method: str, target: str) -> Judged:
    """Judge a target's path, or remember what was said of it. Raises CallerError."""
    path = target.partition("?")[0]
    judge = _judge_once if len(path) <= LONGEST_REMEMBERED else _judge
    return judge(policy, gate, method, path)


def _judge(policy: Policy, gate: guard.Gate, method: str, path: str) -> Judged:
    readings = guard.readings_of(path, gate)
    return readings, tuple(policy.objections(method, readings))


_judge_once = lru_cache(REMEMBERED)(_judge)


def _object(objections: tuple[Decision, ...], method: str, lane: Lane, exchange: Exchange) -> None:
    """Count and note what a policy objects to. Raises Refused, unless it only warns."""
    for objection in objections:
        lane.tally.objected(objection.by, enforced=objection.enforced)
        if objection.enforced:
            doubt = " It can be read in more than one way, and one of them is refused." if objection.doubtful else ""
            raise Refused(f"The proxy's policy refuses {method} on this path ({objection.by}).{doubt} {objection.cure}")
        exchange.would_refuse = exchange.would_refuse or objection.by


def _last_stop(request: Incoming, lane: Lane, exchange: Exchange) -> web_response.Response:
    """Answer an OPTIONS that may be forwarded no more (RFC 9110 §7.6.2)."""
    response = web_response.Response(status=NO_CONTENT, headers=MethodRefused.headers)
    exchange.status = response.status
    if not (lane.ready() and request.content.is_eof()):
        response.force_close()
    return response


async def _placeholder(request: Incoming, lane: Lane, exchange: Exchange) -> Response:
    """Answer a token request ourselves; it never goes up."""
    with _body(request, token_placeholder.LIMITS, lane, exchange) as body:
        response, exchange.client, error = await token_placeholder.answer(request.head.fields, body, lane.clients)
    if error:
        exchange.error, exchange.fault = token_placeholder.ERROR, f"the token request was refused: {error}"
    exchange.status, exchange.bytes_out = response.status, response.content_length or 0
    if not (lane.ready() and request.content.is_eof()):
        response.force_close()
    return response


@contextmanager
def _body(request: Incoming, limits: BodyLimits, lane: Lane, exchange: Exchange) -> Iterator[Body | None]:
    """Lend a request's body; in the end, note its size and let go of what is kept of it. Raises BodyTooLarge."""
    body = request.body(limits, lane.kept_bytes)
    try:
        yield body
    finally:
        if body is not None:
            exchange.bytes_in = body.received
            body.let_go()


async def _lend(request: Incoming, errand: Errand, lane: Lane, here: bytes) -> RelayedResponse:
    """Have the errand done, and relay the answer to a caller who has reached us at `here`."""
    exchange = errand.exchange
    turn = exchange.turn
    answer, lent = await (_ask(errand) if turn is None else turn.ask(errand, _ask))
    try:
        fields = to_caller(answer.head, lane.origin, here, cookies=lane.cookies)
        if turn is not None:
            fields += turn.fields_of(answer)
        head, lines = answer.head, written(fields)
        if tells(lines + head.reason, lent.authorization):
            head = _unleaked(head, fields, lent, lane, exchange)
            lines = written(head.fields)
        # We are leaving, or the caller still sends what nobody reads (RFC 9112 §9.6).
        last = not (lane.ready() and request.content.is_eof())
        response = RelayedResponse(request, head, lines, lane.burst, last=last)
        if response.breaks_visibly():
            await relay(response, answer, exchange, lane.body_limits.idle_timeout)
        else:
            await _relay_measured(lane, answer, response, exchange)
        return response
    finally:
        answer.close()


async def _ask(errand: Errand) -> tuple[Answer, Credential]:
    """Return the answer to relay: the first, or after a 401 and with a newer credential the second (law 11).

    With it comes the credential that was lent for it.
    """
    source, body = errand.source, errand.body
    keepable = body is None or body.surely_replayable()
    credential = await (source.current() if keepable else source.proven())
    answer = await errand.attempt(credential)
    if answer.status != UNAUTHORIZED:
        if answer.status < LEAST_ERROR:
            source.accepted(credential)
        return answer, credential
    if body is not None and not body.replayable:
        source.renew_behind(credential)
        errand.exchange.fault = RELAYED + NOT_KEPT
        return answer, credential
    answer = await hold(answer, HELD_401, JUDGED_WITHIN)
    try:
        newer = await source.replacement(credential)
    except BaseException:  # our reason says more than the upstream's; or the caller hung up
        answer.close()
        raise
    if isinstance(newer, str) or not errand.repeatable:
        errand.exchange.fault = RELAYED + (newer if isinstance(newer, str) else NOT_KEPT)
        return answer, credential
    answer.close()
    answer = await errand.attempt(newer, replay=True)
    refused = answer.status == UNAUTHORIZED
    if answer.status not in SAYS_NOTHING:
        source.replayed(newer, refused=refused)
    if refused:
        errand.exchange.fault = RELAYED + REFUSED_TOO
    return answer, newer


def _unleaked(head: AnswerHead, fields: Fields, lent: Credential, lane: Lane, exchange: Exchange) -> AnswerHead:
    """Drop what would tell the caller the credential, count it, and say that it happened."""
    head, leaks = without_credential(head, fields, lent.authorization)
    lane.tally.leaked(leaks)
    text = "the upstream's answer to request %s held the credential in %d places of its head, which are dropped"
    log.warning(text, exchange.request_id, leaks)
    return head


async def _relay_measured(lane: Lane, answer: Answer, response: RelayedResponse, exchange: Exchange) -> None:
    """Read an answer ahead that tells no length, so that it can be sent with one. Raises UpstreamError where it breaks.

    One that is longer, or finds no room, is passed on as it comes: where it breaks off, its caller can't know.
    """
    if answer.whole is not None:
        response.measured(len(answer.whole), last=False)
    if response.framed or not lane.kept_bytes.take(MEASURED):
        await relay(response, answer, exchange, lane.body_limits.idle_timeout)
        return
    try:
        held = await hold(answer, MEASURED)
        if held.broken is not None:
            raise UpstreamError("The upstream's answer broke off.") from held.broken
        if held.whole is not None:
            response.measured(len(held.whole), last=not lane.ready())  # we may have begun to leave meanwhile
        await relay(response, held, exchange, lane.body_limits.idle_timeout)
    finally:
        lane.kept_bytes.give_back(MEASURED)


def _own_answer(request: Incoming, fault: ProxyError, lane: Lane, exchange: Exchange) -> Response:
    response = problem(fault, exchange.request_id)
    if exchange.turn is not None:
        response.headers.update((name.decode(), value.decode()) for name, value in exchange.turn.fields())
    exchange.status, exchange.error, exchange.fault = fault.status, fault.error, f"{fault.error}: {fault.detail}"
    exchange.bytes_out = response.content_length or 0
    if isinstance(fault, CallerError) or not (lane.ready() and request.content.is_eof()):
        response.force_close()
    return response


def _health(lane: Lane) -> web_response.Response:
    """Answer the listener's own health path: whether it takes requests, not whether PandaDoc does."""
    ready = lane.ready()
    return web_response.Response(status=200 if ready else 503, text="ok\n" if ready else "draining\n")
