"""Sends over real sockets: what goes out, when it may go out again, and what an early answer ends."""

import asyncio
import select
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from held import nothing_left_behind
from rig import until
from wire import OK, Script, ScriptedUpstream, Stage, answering, hang_up, on_cue, upstream
from yarl import URL

from proxy.errors import AnswerBroken, CallerError, RequestTimeout, UpstreamTimeout
from proxy.forward.body import Body, BodyLimits, KeptBytes
from proxy.forward.burst import FEW, Burst
from proxy.forward.dialler import Dialler
from proxy.forward.http_upstream import HttpUpstream
from proxy.forward.upstream import Answer, Attempt
from proxy.forward.upstream_connection import Broken, UpstreamConnection
from proxy.forward.upstream_pool import UpstreamPool

MIB = 2**20
LINES = b"Accept: */*\r\nauthorization: API-Key x\r\n"
GET = Attempt("GET", "/x", LINES, None)


class Sender:
    """A transport before a scripted upstream."""

    def __init__(self, up: ScriptedUpstream, *, limit: int, patience: float) -> None:
        dialler = Dialler(URL(up.url), ssl.create_default_context(), connect_timeout=5, proxy=None)
        self.up = up
        self.pool = UpstreamPool(dialler, limit=limit, keepalive=15)
        self.transport = HttpUpstream(
            self.pool, URL(up.url), Burst(lambda: self.pool.busy), response_timeout=patience, idle_timeout=patience
        )

    async def send(self, method: str = "GET", body: Body | None = None, *, replay: bool = False) -> Answer:
        return await self.transport.send(Attempt(method, "/x?y=%2F", LINES, body, replay))

    async def warm(self) -> None:
        """Have one connection that was used before."""
        assert await whole(await self.send()) == b"ok"
        self.up.heard.clear()
        assert self.pool.idle == 1


@asynccontextmanager
async def sender(script: Script, *, limit: int = 5, patience: float = 5) -> AsyncIterator[Sender]:
    async with upstream(script) as up:
        sender = Sender(up, limit=limit, patience=patience)
        async with nothing_left_behind():
            yield sender
            up.cue.set()
            assert sender.pool.busy == 0
            sender.pool.close()


class Unparsed(BaseProtocol):
    """A caller's connection as a StreamReader sees it; what comes on it is fed by the test."""

    def __init__(self) -> None:
        super().__init__(asyncio.get_running_loop())
        self._upgraded = True  # there is no parser to hold back
        self.connection_made(asyncio.Transport())


class Sent:
    """A caller's body as it comes; `content` is fed by the test."""

    def __init__(self, length: int | None, *, kept: int = MIB, waits: bool = False, idle_timeout: float = 5) -> None:
        self.invited = 0
        self.content = StreamReader(Unparsed(), 2**16, loop=asyncio.get_running_loop())
        limits = BodyLimits(largest=100 * MIB, kept=kept, idle_timeout=idle_timeout)
        invite = self._invite if waits else None
        self.kept_bytes = KeptBytes(kept)
        self.body = Body(self.content, length, limits=limits, kept_bytes=self.kept_bytes, invite=invite)

    def comes(self, *pieces: bytes, whole: bool = False) -> "Sent":
        for piece in pieces:
            self.content.feed_data(piece)
        if whole:
            self.content.feed_eof()
        return self

    def _invite(self) -> None:
        self.invited += 1


async def whole(answer: Answer) -> bytes:
    return b"".join([chunk async for chunk in answer.chunks()])


def once_then(broken: Callable[[Stage], None], *, read: bool = True) -> Script:
    """Answer OK on each connection, once; to the next request there, do something else. Connections after it are fine.

    `read`: only when that request has come, whole.
    """

    async def script(stage: Stage) -> None:
        await stage.request()
        await stage.say(OK)
        if stage.upstream.connections == 1:
            if read:
                await stage.request()
            else:
                await stage.upstream.cue.wait()
            broken(stage)
            await stage.reader.read()
        else:
            await answering(OK)(stage)

    return script


async def test_a_request_goes_out_as_it_came_in_a_framing_of_ours() -> None:
    async with sender(answering(OK)) as line:
        await line.send()
        host = line.up.url.removeprefix("http://").encode()
        start = b"GET /x?y=%2F HTTP/1.1\r\nHost: " + host + b"\r\nAccept: */*\r\nauthorization: API-Key x\r\n"
        assert line.up.heard[0].head == start + b"\r\n"
        await line.send("POST", Sent(5).comes(b"panda", whole=True).body)
        assert line.up.heard[1].head == start.replace(b"GET", b"POST") + b"Content-Length: 5\r\n\r\n"
        assert line.up.heard[1].raw == b"panda"
        await line.send("POST", Sent(None).comes(b"panda", whole=True).body)
        assert line.up.heard[2].head == start.replace(b"GET", b"POST") + b"Transfer-Encoding: chunked\r\n\r\n"
        assert line.up.heard[2].body == b"panda"


async def test_a_body_that_comes_in_pieces_goes_out_in_pieces() -> None:
    async with sender(on_cue) as line:
        sent = Sent(10)
        asked = asyncio.create_task(line.send("POST", sent.body))
        sent.comes(b"panda")
        await asyncio.sleep(0.02)
        sent.comes(b"panda", whole=True)
        line.up.cue.set()
        assert await whole(await asked) == b"ok"
        assert line.up.heard[0].raw == b"pandapanda"
        assert line.pool.idle == 1


async def test_an_answer_that_is_whole_holds_no_connection() -> None:
    async with sender(answering(OK), limit=1) as line:
        answers = [await line.send() for _ in range(3)]
        assert [answer.whole for answer in answers] == [b"ok"] * 3
        assert [await whole(answer) for answer in answers] == [b"ok"] * 3
        assert (line.pool.idle, line.up.connections) == (1, 1)


async def test_a_connection_comes_back_at_an_answers_end() -> None:
    async def script(stage: Stage) -> None:
        while True:
            await stage.request()
            await stage.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\npanda")
            await stage.upstream.cue.wait()
            await stage.say(b"panda")

    async with sender(script) as line:
        answer = await line.send()
        assert answer.whole is None
        assert line.pool.busy == 1
        line.up.cue.set()
        assert await whole(answer) == b"pandapanda"
        assert (line.pool.busy, line.pool.idle) == (0, 1)


async def test_what_one_caller_has_left_unread_never_reaches_another() -> None:
    """The rest of its answer arrives while it takes nothing; it hangs up; its connection is nobody's any more."""

    async def script(stage: Stage) -> None:
        if stage.upstream.connections == 1:
            await stage.request()
            await stage.say(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
            await stage.upstream.cue.wait()
            await stage.say(b"secret")
        await answering(OK)(stage)

    async with sender(script, limit=1) as line:
        left = await line.send()
        (lent,) = line.pool._lent  # noqa: SLF001 - nothing else shows when the rest has come
        line.up.cue.set()
        await until(lambda: lent._reader.complete)  # noqa: SLF001 - the same
        left.close()
        assert await whole(await line.send()) == b"ok"


async def test_an_answer_that_is_closed_early_takes_its_connection_with_it() -> None:
    """Its rest would be the next request's answer."""

    async def script(stage: Stage) -> None:
        await stage.request()
        await stage.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\npanda")
        await stage.reader.readexactly(1)

    async with sender(script) as line:
        answer = await line.send()
        answer.close()
        answer.close()
        assert (line.pool.busy, line.pool.idle) == (0, 0)
        with pytest.raises(AnswerBroken):
            await whole(answer)
        await until(lambda: line.up.gone == 1)


# Law 11: what may be sent again


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "DELETE"])
async def test_a_kept_connection_that_breaks_costs_an_idempotent_request_nothing(method: str) -> None:
    async with sender(once_then(Stage.reset)) as line:
        await line.warm()
        answer = await line.send(method)
        assert answer.status == 200
        assert line.pool.counts.resent == 1
        assert [message.start.split()[0] for message in line.up.heard] == [method.encode()] * 2
        answer.close()


async def test_a_put_is_sent_again_with_the_same_bytes() -> None:
    """Those that had come before the break, and those that come after it."""
    async with sender(once_then(Stage.reset)) as line:
        await line.warm()
        answer = await line.send("PUT", Sent(None).comes(b"panda" * 1000, whole=True).body)
        assert await whole(answer) == b"ok"
        assert [message.body for message in line.up.heard] == [b"panda" * 1000] * 2


async def test_a_put_of_which_something_was_let_go_is_not_sent_again() -> None:
    async with sender(once_then(Stage.reset)) as line:
        await line.warm()
        with pytest.raises(Broken):
            await line.send("PUT", Sent(None, kept=100).comes(b"panda" * 1000, whole=True).body)
        assert (len(line.up.heard), line.pool.counts.resent) == (1, 0)


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_a_post_of_which_a_byte_was_written_is_not_sent_again(method: str) -> None:
    """It may have been done."""
    async with sender(once_then(Stage.reset)) as line:
        await line.warm()
        with pytest.raises(Broken):
            await line.send(method, Sent(5).comes(b"panda", whole=True).body)
        assert (len(line.up.heard), line.pool.counts.resent) == (1, 0)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_connection_that_had_ended_before_is_never_the_one_a_request_is_lost_on(method: str) -> None:
    """Though the loop does not know yet: nothing is written to it."""
    stages: list[Stage] = []

    async def script(stage: Stage) -> None:
        stages.append(stage)
        await answering(OK)(stage)

    async with sender(script) as line:
        await line.warm()
        hang_up(stages[0].writer)
        body = Sent(5).comes(b"panda", whole=True).body if method == "POST" else None
        assert await whole(await line.send(method, body)) == b"ok"
        assert [message.start.split()[0] for message in line.up.heard] == [method.encode()]
        assert line.pool.counts.resent == 0


async def test_a_fresh_connection_that_breaks_is_a_failure() -> None:
    """The upstream has had the request."""

    async def script(stage: Stage) -> None:
        await stage.request()
        stage.reset()

    async with sender(script) as line:
        with pytest.raises(Broken):
            await line.send()
        assert len(line.up.heard) == 1


async def test_a_request_is_sent_again_once() -> None:
    async def script(stage: Stage) -> None:
        await stage.request()
        if stage.upstream.connections == 1:
            await stage.say(OK)
            await stage.request()
        stage.reset()

    async with sender(script) as line:
        await line.warm()
        with pytest.raises(Broken):
            await line.send()
        assert len(line.up.heard) == 2


async def test_a_request_of_which_nothing_was_written_is_sent_again_once_too() -> None:
    """Both connections had ended when they were there: it is not dialled for ever."""
    async with upstream(answering(OK)) as up:
        dialler = Dialler(URL(up.url), ssl.create_default_context(), connect_timeout=5, proxy=None)

        async def dial(lost: Callable[[UpstreamConnection], None]) -> UpstreamConnection:
            connection = await dialler(lost)
            if pool.counts.created < 2:
                connection.close()
            return connection

        pool = UpstreamPool(dial, limit=5, keepalive=15)
        with pytest.raises(Broken):
            await HttpUpstream(pool, URL(up.url), Burst(lambda: 1), response_timeout=5, idle_timeout=5).send(GET)
        assert (pool.counts.created, pool.counts.resent, up.heard) == (2, 1, [])


async def test_a_request_is_sent_again_on_a_fresh_connection_though_another_is_kept() -> None:
    """What has ended one kept connection has ended the others: a restart of the upstream, or a device on the way."""
    both = asyncio.Barrier(2)

    async def script(stage: Stage) -> None:
        if stage.upstream.connections > 2:
            await answering(OK)(stage)
        await stage.request()
        await both.wait()
        await stage.say(OK)
        await stage.request()
        stage.reset()

    async with sender(script) as line:
        assert [await whole(answer) for answer in await asyncio.gather(line.send(), line.send())] == [b"ok", b"ok"]
        assert line.pool.idle == 2
        assert await whole(await line.send()) == b"ok"
        assert (len(line.up.heard), line.up.connections, line.pool.counts.resent) == (4, 3, 1)


async def test_a_request_that_has_half_a_head_for_an_answer_is_not_sent_again() -> None:
    def half(stage: Stage) -> None:
        stage.writer.write(b"HTTP/1.1 2")
        stage.writer.close()

    async with sender(once_then(half)) as line:
        await line.warm()
        with pytest.raises(Broken):
            await line.send()
        assert len(line.up.heard) == 1


async def test_the_replay_of_a_401_is_not_sent_again() -> None:
    async with sender(once_then(Stage.reset)) as line:
        await line.warm()
        with pytest.raises(Broken):
            await line.send(replay=True)
        assert len(line.up.heard) == 1


async def test_the_replay_of_a_401_looks_twice_whether_its_connection_is_still_open() -> None:
    """It has one send only, like a POST."""
    stages: list[Stage] = []

    async def script(stage: Stage) -> None:
        stages.append(stage)
        await answering(OK)(stage)

    async with sender(script) as line:
        await line.warm()
        hang_up(stages[0].writer)
        assert await whole(await line.send(replay=True)) == b"ok"


# Early answers, and bodies that break off


async def test_an_early_answer_ends_the_sending_and_then_the_connection() -> None:
    async def script(stage: Stage) -> None:
        await stage.head()
        await stage.say(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")
        await stage.reader.readuntil(b"the end of a body that never comes")

    async with sender(script) as line:
        sent = Sent(100_000).comes(b"panda")
        answer = await line.send("POST", sent.body)
        assert (answer.status, await whole(answer)) == (413, b"no")
        assert (line.pool.busy, line.pool.idle) == (0, 0)
        await until(lambda: line.up.gone == 1)
        sent.comes(b"panda")
        assert sent.body.received == 5


async def test_an_early_answer_that_waits_for_the_rest_of_an_upload_says_so_where_it_breaks_off() -> None:
    """Whatever it says ends the upload (RFC 9112 §9.5 asks for that where it is an error)."""

    async def script(stage: Stage) -> None:
        await stage.head()
        await stage.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        await stage.reader.read()

    async with sender(script, patience=0.2) as line:
        answer = await line.send("POST", Sent(100_000).comes(b"panda").body)
        assert answer.status == 200
        with pytest.raises(AnswerBroken, match="the upload that its early head ended"):
            await whole(answer)
        answer.close()
        assert (line.pool.busy, line.pool.idle) == (0, 0)


async def test_an_early_answer_reaches_a_sender_that_is_held_back() -> None:
    """The upstream reads no more, and has said why."""

    async def script(stage: Stage) -> None:
        await stage.head()
        await stage.upstream.cue.wait()
        await stage.say(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
        await stage.reader.read()

    async with sender(script) as line:
        asked = asyncio.create_task(line.send("POST", Sent(20 * MIB, kept=0).comes(bytes(20 * MIB), whole=True).body))
        await asyncio.sleep(0.1)
        assert not asked.done()
        line.up.cue.set()
        answer = await asyncio.wait_for(asked, 2)
        assert answer.status == 401
        answer.close()


@pytest.mark.parametrize("ends_wrongly", [False, True])
async def test_an_early_answer_that_closes_outweighs_the_piece_that_can_not_be_sent_any_more(
    *, ends_wrongly: bool
) -> None:
    """They come in the same moment. A body that is framed wrongly is the caller's fault all the same."""

    async def script(stage: Stage) -> None:
        await stage.head()
        await stage.upstream.cue.wait()

    async with sender(script) as line:
        sent = Sent(100_000).comes(b"panda")
        asked = asyncio.create_task(line.send("POST", sent.body))
        await until(lambda: len(line.up.heard) == 1)
        (connection,) = line.pool._lent  # noqa: SLF001 - nothing else puts two arrivals into one turn of the loop
        if ends_wrongly:
            sent.content.set_exception(web.RequestPayloadError("no chunk"))
        sent.comes(b"panda")
        connection.data_received(b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")
        if ends_wrongly:
            with pytest.raises(CallerError):
                await asked
        else:
            assert await whole(await asked) == b"no"


async def test_an_early_answer_outweighs_the_reset_that_comes_right_behind_it() -> None:
    """The upstream does not read on; on asyncio's own loop the next piece is written before the answer is read."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        line = Sender(
            ScriptedUpstream(on_cue, url=f"http://127.0.0.1:{listening.getsockname()[1]}"), limit=1, patience=5
        )
        sent = Sent(20 * MIB, kept=0).comes(b"panda")
        asked = asyncio.create_task(line.send("POST", sent.body))
        await until(lambda: line.pool.counts.created == 1)
        peer, _ = listening.accept()
        await asyncio.to_thread(select.select, [peer], [], [])
        peer.sendall(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")
        peer.close()
        sent.comes(b"panda")
        assert await whole(await asked) == b"no"
        assert (line.pool.busy, line.pool.idle) == (0, 0)


async def test_an_upstream_that_takes_no_more_of_a_body_is_given_up() -> None:
    async def script(stage: Stage) -> None:
        await stage.head()
        await stage.upstream.cue.wait()

    async with sender(script, patience=0.2) as line:
        with pytest.raises(UpstreamTimeout):
            await line.send("POST", Sent(20 * MIB, kept=0).comes(bytes(20 * MIB), whole=True).body)


async def test_the_time_for_an_answer_runs_from_the_bodys_end() -> None:
    """A caller that sends slowly is not the upstream's fault."""
    async with sender(on_cue, patience=0.2) as line:
        sent = Sent(8)
        asked = asyncio.create_task(line.send("POST", sent.body))
        for _ in range(4):
            await asyncio.sleep(0.1)
            sent.comes(b"xx")
        assert not asked.done()
        sent.comes(whole=True)
        with pytest.raises(UpstreamTimeout):
            await asyncio.wait_for(asked, 2)


async def test_the_room_of_a_body_that_outgrew_it_is_given_back_once() -> None:
    sent = Sent(None, kept=10).comes(b"panda")
    chunks = sent.body.chunks()
    assert await anext(chunks) == b"panda"
    assert sent.kept_bytes.used == 5
    sent.comes(b"pandapanda", whole=True)
    assert await anext(chunks) == b"pandapanda"
    assert (sent.kept_bytes.used, sent.body.replayable) == (0, False)
    sent.body.let_go()
    assert sent.kept_bytes.used == 0


@pytest.mark.parametrize("length", [10, None])
async def test_a_body_that_breaks_off_is_the_callers_fault_and_never_whole_for_the_upstream(length: int | None) -> None:
    async with sender(answering(OK)) as line:
        sent = Sent(length, idle_timeout=0.1).comes(b"panda")
        with pytest.raises(RequestTimeout):
            await line.send("POST", sent.body)
        await until(lambda: line.up.gone == 1)
        assert not line.up.heard


async def test_a_body_that_is_framed_wrongly_is_the_callers_fault() -> None:
    async with sender(answering(OK)) as line:
        sent = Sent(10).comes(b"panda")
        asked = asyncio.create_task(line.send("POST", sent.body))
        await asyncio.sleep(0.02)
        sent.content.set_exception(web.RequestPayloadError("unreadable"))
        with pytest.raises(CallerError):
            await asked
        await until(lambda: line.up.gone == 1)


async def test_a_body_that_is_waited_for_is_sent_when_the_upstream_asks_for_it() -> None:
    async def script(stage: Stage) -> None:
        head = await stage.head()
        assert head.values(b"expect") == [b"100-continue"]
        await stage.say(b"HTTP/1.1 100 Continue\r\n\r\n")
        await stage.reader.readexactly(5)
        await stage.say(OK)

    async with sender(script) as line:
        sent = Sent(5, waits=True)
        asked = asyncio.create_task(line.send("POST", sent.body))
        await until(lambda: sent.invited == 1, 0.9)
        sent.comes(b"panda", whole=True)
        assert await whole(await asked) == b"ok"


async def test_a_body_that_is_waited_for_stays_with_the_caller_if_the_answer_is_there_before() -> None:
    async def script(stage: Stage) -> None:
        await stage.head()
        await stage.say(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
        assert not await stage.reader.read()

    async with sender(script) as line:
        sent = Sent(5, waits=True)
        answer = await line.send("POST", sent.body)
        assert (answer.status, sent.invited) == (417, 0)
        answer.close()


async def test_a_body_that_is_waited_for_is_not_invited_by_an_answer_that_comes_at_once() -> None:
    """It is there before the sending has begun: in the turn of the loop in which the head goes out."""
    async with sender(answering(OK)) as line:
        await line.warm()
        (kept,) = line.pool._idle  # noqa: SLF001 - nothing else puts an arrival into that turn
        sent = Sent(5, waits=True)
        asked = asyncio.create_task(line.send("POST", sent.body))
        await asyncio.sleep(0)
        kept.data_received(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
        assert ((await asked).status, sent.invited) == (413, 0)
        assert (line.pool.busy, line.pool.idle) == (0, 0)


# Cancellation


@pytest.mark.parametrize("body", [True, False])
async def test_a_request_that_is_cancelled_takes_its_connection_with_it(*, body: bool) -> None:
    async with sender(on_cue) as line:
        sent = Sent(10).comes(b"panda").body if body else None
        asked = asyncio.create_task(line.send("POST", sent))
        await until(lambda: line.up.connections == 1)
        await asyncio.sleep(0.02)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert (line.pool.busy, line.pool.idle) == (0, 0)
        if body:
            await until(lambda: line.up.gone == 1)


@pytest.mark.parametrize("replay", [False, True])
@pytest.mark.parametrize("told", [True, False], ids=["we have heard of it", "the kernel has"])
async def test_a_post_that_its_turn_held_back_is_sent_where_a_kept_connection_ends_meanwhile_law_11(
    *, told: bool, replay: bool
) -> None:
    stages: list[Stage] = []

    async def script(stage: Stage) -> None:
        stages.append(stage)
        await answering(OK)(stage)

    async with sender(script) as line:
        await line.warm()
        burst = Burst(lambda: FEW)
        line.transport = HttpUpstream(line.pool, URL(line.up.url), burst, response_timeout=5, idle_timeout=5)
        posting = asyncio.create_task(line.send("POST", replay=replay))
        await asyncio.sleep(0)
        [kept] = line.pool._lent  # noqa: SLF001 - nothing else leads to it
        assert not kept.wrote
        if told:
            kept.eof_received()
        else:
            hang_up(stages[0].writer)
            burst._end()  # noqa: SLF001 - what the loop would do next, before or behind its look at the sockets
        assert await whole(await posting) == b"ok"
        assert [message.start for message in line.up.heard] == [b"POST /x?y=%2F HTTP/1.1"]
        assert line.pool.counts.resent == 1


class Ending(Burst):
    """One in whose turns each connection ends, before anything is written to it."""

    def hold(self, write: Callable[..., object], *data: bytes) -> None:
        connection: UpstreamConnection = getattr(write, "__self__")  # noqa: B009 - a bound method's
        connection.close()
        super().hold(write, *data)


@pytest.mark.parametrize("replay", [False, True])
async def test_who_was_never_written_is_sent_twice_in_vain_and_says_so(*, replay: bool) -> None:
    async with sender(answering(OK)) as line:
        burst = Ending(lambda: FEW)
        line.transport = HttpUpstream(line.pool, URL(line.up.url), burst, response_timeout=5, idle_timeout=5)
        with pytest.raises(Broken) as broken:
            await line.send("POST", replay=replay)
        assert broken.value.unsent
        assert line.up.heard == []
        assert line.pool.counts.created == 2
