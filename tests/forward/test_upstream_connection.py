"""One connection to the upstream: what comes on it, how long it may take, and how it ends. Over real sockets."""

import asyncio
import select
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trustme
from rig import until
from wire import OK, Script, Stage, answering, hang_up, on_cue, upstream
from yarl import URL

from proxy.errors import AnswerBroken, UpstreamTimeout
from proxy.forward.burst import FEW, Burst
from proxy.forward.dialler import Dialler
from proxy.forward.framing import Malformed
from proxy.forward.upstream_connection import READ_AHEAD, Broken, UpstreamConnection
from proxy.time_limit import LATE

MIB = 2**20
ASK = b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"
UNFRAMED = b"HTTP/1.1 200 OK\r\n\r\nbegun"
PROMISED = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun"


class Line:
    """A connection, and how often it has told of its end; `lost` grows when it does."""

    def __init__(self) -> None:
        self.lost: list[UpstreamConnection] = []

    async def dial(self, url: str, context: ssl.SSLContext | None = None) -> UpstreamConnection:
        dialler = Dialler(URL(url), context or ssl.create_default_context(), connect_timeout=5, proxy=None)
        return await dialler(self.lost.append)


@asynccontextmanager
async def connected(script: Script) -> AsyncIterator[tuple[UpstreamConnection, Line]]:
    async with upstream(script) as up:
        line = Line()
        connection = await line.dial(up.url)
        try:
            yield connection, line
        finally:
            connection.close()


def ask(connection: UpstreamConnection, *, bodiless: bool = False) -> None:
    connection.begin(bodiless=bodiless)
    connection.write(ASK)


def saying(said: bytes, *, end: str = "") -> Script:
    """Say this to a request, and then close, reset, or wait for the other side to go."""

    async def script(stage: Stage) -> None:
        await stage.request()
        await stage.say(said)
        if end == "reset":
            await stage.upstream.cue.wait()
            stage.reset()
        elif not end:
            await stage.reader.read()

    return script


async def read_all(connection: UpstreamConnection, seconds: float = 5) -> bytes:
    body = b""
    while piece := await connection.read(seconds):
        body += piece
    return body


async def test_it_carries_one_request_after_the_other() -> None:
    async with connected(answering(OK)) as (connection, line):
        for _ in range(3):
            assert connection.reusable()
            ask(connection)
            assert connection.taken() is None
            assert (await connection.head(5)).status == 200
            assert await read_all(connection) == b"ok"
        assert not line.lost


async def test_an_answer_that_is_here_is_taken_without_waiting() -> None:
    async with connected(answering(OK)) as (connection, _):
        ask(connection)
        assert connection.taken() is None
        await connection.head(5)
        assert connection.taken() == b"ok"


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Le"], ids=["nothing", "half a head"])
async def test_an_end_before_a_whole_head_is_told_with_whether_anything_was_answered(said: bytes, end: str) -> None:
    async with upstream(saying(said, end=end)) as up:
        connection = await Line().dial(up.url)
        ask(connection)
        waiting = asyncio.create_task(connection.head(5))
        await until(lambda: connection.answered or not said)
        up.cue.set()
        with pytest.raises(Broken):
            await waiting
        assert connection.answered is bool(said)
        assert not connection.reusable()


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_what_came_before_a_break_is_read_before_it_is_told(end: str) -> None:
    async with upstream(saying(PROMISED, end=end)) as up:
        connection = await Line().dial(up.url)
        ask(connection)
        await connection.head(5)
        assert await connection.read(5) == b"begun"
        up.cue.set()
        with pytest.raises(AnswerBroken):
            await connection.read(5)


@asynccontextmanager
async def beside(*, tls: bool) -> AsyncIterator[tuple[UpstreamConnection, socket.socket]]:
    """Connect to a peer that does as the test says, while the loop hears of nothing."""
    authority = trustme.CA()
    serving, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(serving)
    authority.configure_trust(trusting)

    def accepted(listening: socket.socket) -> socket.socket:
        peer, _ = listening.accept()
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else its answer would wait for an ACK
        return serving.wrap_socket(peer, server_side=True) if tls else peer

    with socket.create_server(("127.0.0.1", 0)) as listening:
        accepting = asyncio.create_task(asyncio.to_thread(accepted, listening))
        url = f"http{'s' if tls else ''}://localhost:{listening.getsockname()[1]}"
        connection = await Line().dial(url, trusting)
        with await accepting as peer:
            yield connection, peer
    connection.close()


@pytest.mark.parametrize("tls", [False, True])
async def test_what_came_before_a_write_that_fails_is_an_answer_all_the_same(*, tls: bool) -> None:
    """An upstream that refuses an upload may not read it: its answer comes, and at once a reset."""
    async with beside(tls=tls) as (connection, peer):
        ask(connection)
        await asyncio.to_thread(select.select, [peer], [], [])
        peer.sendall(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")
        peer.close()
        connection.write(bytes(MIB))  # the loop has not heard of it yet
        assert (await connection.head(5)).status == 413
        assert await read_all(connection) == b"no"
        assert not connection.reusable()


@pytest.mark.parametrize("tls", [False, True])
async def test_what_came_before_the_end_is_read_however_late_its_caller_takes_it(*, tls: bool) -> None:
    """The end may come while the socket is left alone; over TLS without a goodbye, for the length tells enough."""
    half = bytes(2 * READ_AHEAD)
    async with beside(tls=tls) as (connection, peer):
        ask(connection)
        assert await asyncio.to_thread(peer.recv, MIB) == ASK  # what is left unread would make a reset of the end
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2 * len(half)) + half)
        await connection.head(5)
        await asyncio.to_thread(peer.sendall, half)
        peer.close()
        for _ in range(50):
            await asyncio.sleep(0.001)  # a loop that would hear of it does
        assert len(await read_all(connection)) == 2 * len(half)


async def test_an_answer_without_a_length_ends_with_the_upstreams_close() -> None:
    async with connected(saying(UNFRAMED, end="close")) as (connection, line):
        ask(connection)
        await connection.head(5)
        assert await read_all(connection) == b"begun"
        assert not connection.reusable()
        await until(lambda: line.lost == [connection])


async def test_an_answer_without_a_length_is_not_ended_by_a_reset() -> None:
    async with upstream(saying(UNFRAMED, end="reset")) as up:
        connection = await Line().dial(up.url)
        ask(connection)
        await connection.head(5)
        assert await connection.read(5) == b"begun"
        up.cue.set()
        with pytest.raises(AnswerBroken):
            await connection.read(5)


async def test_an_answer_without_a_length_is_not_ended_by_our_own_clock() -> None:
    """It is we who close the connection then, and the rest is missing."""
    async with connected(saying(UNFRAMED)) as (connection, _):
        ask(connection)
        await connection.head(5)
        with pytest.raises(AnswerBroken):
            await read_all(connection, 0.1)


async def test_an_answer_without_a_length_is_not_ended_by_our_closing_it() -> None:
    """A pool that is closed cuts off what it has lent."""
    async with connected(saying(UNFRAMED)) as (connection, _):
        ask(connection)
        await connection.head(5)
        assert await connection.read(5) == b"begun"
        rest = asyncio.create_task(connection.read(5))
        await asyncio.sleep(0)
        connection.close()
        with pytest.raises(AnswerBroken):
            await rest


@pytest.mark.parametrize("goodbye", [True, False])
async def test_over_tls_an_answer_without_a_length_ends_with_a_goodbye_only(*, goodbye: bool) -> None:
    """Whoever is on the way can end the TCP connection, but can't say goodbye (RFC 9112 §9.8)."""
    if not goodbye and isinstance(asyncio.get_running_loop(), asyncio.SelectorEventLoop):
        pytest.skip("asyncio's own TLS tells the one end as it tells the other; the proxy runs on uvloop")
    authority = trustme.CA()
    serving, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(serving)
    authority.configure_trust(trusting)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(UNFRAMED)
        await writer.drain()
        if goodbye:
            writer.close()
        else:
            hang_up(writer)
            writer.transport.abort()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=serving) as server:
        connection = await Line().dial(f"https://localhost:{server.sockets[0].getsockname()[1]}", trusting)
        ask(connection)
        await connection.head(5)
        if goodbye:
            assert await read_all(connection) == b"begun"
        else:
            with pytest.raises(AnswerBroken):
                await read_all(connection)
        connection.close()


async def test_a_head_that_trickles_has_no_longer_than_one_that_is_silent() -> None:
    """Each byte is no reason to wait anew."""

    async def script(stage: Stage) -> None:
        await stage.request()
        for byte in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000:
            await stage.say(bytes([byte]))
            await asyncio.sleep(0.02)

    async with connected(script) as (connection, _):
        ask(connection)
        began = time.monotonic()
        with pytest.raises(UpstreamTimeout):
            await connection.head(0.2)
        assert 0.19 <= time.monotonic() - began < 2


async def test_a_body_may_take_for_ever_as_long_as_it_comes() -> None:
    """Its limit is for each silence: here 0.3 s, and the whole takes twice as long."""

    async def script(stage: Stage) -> None:
        await stage.request()
        await stage.say(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n")
        for byte in b"as it comes!":
            await asyncio.sleep(0.05)
            await stage.say(bytes([byte]))

    async with connected(script) as (connection, _):
        ask(connection)
        await connection.head(5)
        assert await read_all(connection, 0.3) == b"as it comes!"


async def test_a_body_that_falls_silent_is_broken_off() -> None:
    async with connected(saying(PROMISED)) as (connection, line):
        ask(connection)
        await connection.head(5)
        assert await connection.read(5) == b"begun"
        with pytest.raises(AnswerBroken):
            await connection.read(0.1)
        assert line.lost == [connection]


async def test_that_the_process_was_held_up_is_forgiven_once() -> None:
    """Else an upstream that says nothing would be waited for as long as the process is too busy."""

    async def held_up() -> None:
        while True:
            time.sleep(2 * LATE)  # noqa: ASYNC251 - that the loop stands still is the point
            await asyncio.sleep(0)

    async with connected(saying(b"")) as (connection, _):
        ask(connection)
        busy = asyncio.create_task(held_up())
        with pytest.raises(UpstreamTimeout):
            await connection.head(0.1)
        busy.cancel()


async def rings_as_it_hears(connection: UpstreamConnection, said: bytes) -> None:
    """Have the time be over just behind what comes: before whoever waits for that has heard of it."""
    await asyncio.sleep(0)  # until somebody waits
    connection._due = asyncio.get_running_loop().time()  # noqa: SLF001 - over just now
    connection.data_received(said)
    connection._ring()  # noqa: SLF001 - as a loop does that finds both in one turn


async def test_what_comes_just_in_time_is_an_answer_like_any_other() -> None:
    async with connected(saying(b"")) as (connection, line):
        ask(connection)
        head = asyncio.create_task(connection.head(5))
        await rings_as_it_hears(connection, PROMISED)
        assert (await head).status == 200
        assert await connection.read(5) == b"begun"
        rest = asyncio.create_task(connection.read(5))
        await rings_as_it_hears(connection, b"x" * 95)
        assert await rest == b"x" * 95
        assert await connection.read(5) == b""
        assert connection.reusable()
        assert not line.lost


async def test_a_piece_of_a_head_that_comes_just_in_time_gives_the_rest_no_more() -> None:
    async with connected(saying(b"")) as (connection, _):
        ask(connection)
        head = asyncio.create_task(connection.head(60))
        await rings_as_it_hears(connection, PROMISED[:20])
        async with asyncio.timeout(5):
            with pytest.raises(UpstreamTimeout):
                await head


async def test_room_that_comes_just_in_time_is_taken() -> None:
    async with connected(saying(b"")) as (connection, line):
        connection.begin(bodiless=False)
        connection.pause_writing()
        room = asyncio.create_task(connection.room(5))
        await asyncio.sleep(0)
        connection._due = 0  # noqa: SLF001 - long over
        connection.resume_writing()
        connection._ring()  # noqa: SLF001 - in the same turn
        await room
        assert not line.lost


async def test_little_is_read_ahead_of_whoever_takes_it() -> None:
    """The rest stays with the upstream, and comes when there is room."""
    size = 20 * MIB

    async def script(stage: Stage) -> None:
        await stage.request()
        await stage.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
        stage.upstream.cue.set()
        await stage.reader.read()

    async with upstream(script) as up:
        connection = await Line().dial(up.url)
        ask(connection)
        await connection.head(5)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(up.cue.wait(), 0.5)
        first = await connection.read(5)
        assert READ_AHEAD < len(first) <= READ_AHEAD + 256 * 1024  # what asyncio reads at a time
        assert len(first) + len(await read_all(connection)) == size
        assert connection.reusable()
        connection.close()


async def test_an_upstream_that_takes_nothing_is_given_up_in_time() -> None:
    async def script(stage: Stage) -> None:
        await stage.upstream.cue.wait()

    async with connected(script) as (connection, _):
        connection.begin(bodiless=False)
        connection.write(bytes(50 * MIB))  # more than any two sockets hold
        with pytest.raises(UpstreamTimeout):
            await connection.room(0.2)


@pytest.mark.parametrize("said", [b"HTTP/1.1 100 Continue\r\n\r\n", OK], ids=["100", "an answer"])
async def test_an_upstream_that_says_anything_to_an_expectation_is_not_waited_for_any_longer(said: bytes) -> None:
    async with connected(saying(said)) as (connection, _):
        ask(connection)
        began = time.monotonic()
        assert await connection.asked(10) is (said != OK)
        assert time.monotonic() - began < 5


async def test_an_upstream_that_knows_no_expectations_is_waited_for_a_little() -> None:
    async with connected(on_cue) as (connection, _):
        ask(connection)
        began = time.monotonic()
        assert await connection.asked(0.2)
        assert time.monotonic() - began >= 0.19


@pytest.mark.parametrize("said", [OK, b"x", b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n"])
async def test_what_comes_unasked_ends_the_connection(said: bytes) -> None:
    async def script(stage: Stage) -> None:
        await stage.say(said)
        await stage.reader.read()

    async with connected(script) as (connection, line):
        await until(lambda: line.lost == [connection])
        assert not connection.reusable()


async def test_an_end_that_nobody_has_told_us_of_is_seen_in_the_socket() -> None:
    """The loop tells later; whoever may send once only looks first."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        connection = await Line().dial(f"http://127.0.0.1:{listening.getsockname()[1]}")
        peer, _ = listening.accept()
        assert connection.quiet()
        peer.close()
        assert connection.reusable()  # as far as the loop knows
        assert not connection.quiet()
        connection.close()


async def test_its_end_is_told_once_whatever_ends_it() -> None:
    async with connected(saying(b"nonsense\r\n\r\n", end="close")) as (connection, line):
        ask(connection)
        with pytest.raises(Malformed):
            await connection.head(5)
        connection.close()
        connection.close()
        await asyncio.sleep(0.05)
        assert line.lost == [connection]


async def test_after_its_end_nothing_is_written() -> None:
    async with connected(answering(OK)) as (connection, _):
        connection.begin(bodiless=False)
        connection.close()
        with pytest.raises(Broken):
            connection.write(ASK)
        assert not connection.wrote


async def test_whoever_waits_is_told_when_it_is_closed() -> None:
    async with connected(on_cue) as (connection, _):
        ask(connection)
        waiting = asyncio.create_task(connection.head(10))
        await asyncio.sleep(0)
        connection.close()
        with pytest.raises(Broken):
            await waiting


async def test_a_wait_that_is_cancelled_leaves_no_clock_behind() -> None:
    async with connected(on_cue) as (connection, _):
        ask(connection)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connection.head(0.1), 0.02)
        await asyncio.sleep(0.15)
        ask(connection)
        assert not connection.reusable()
        with pytest.raises(UpstreamTimeout):
            await connection.head(0.1)


async def test_a_whole_request_that_its_turn_holds_back_goes_out_behind_it() -> None:
    async with connected(answering(OK)) as (connection, _):
        connection.begin(bodiless=False)
        connection.write_whole(Burst(lambda: FEW), ASK)
        assert not connection.wrote
        assert (await connection.head(5)).status == 200
        assert connection.wrote


async def test_a_write_that_its_turn_held_back_and_that_raises_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(answering(OK)) as (connection, _):

        def broken(*_: object) -> None:
            raise RuntimeError("a transport's own fault")

        monkeypatch.setattr(connection, "_hand", broken)
        connection.begin(bodiless=False)
        connection.write_whole(Burst(lambda: FEW), ASK)
        with pytest.raises(Broken):
            await connection.head(60)
        assert [record.message for record in caplog.records] == ["a fault of ours in a send"]


@pytest.mark.parametrize("ending", ["closed", "408", "end"])
async def test_nothing_is_written_where_the_connection_ends_before_its_turn(ending: str) -> None:
    async with upstream(answering(OK)) as up:
        connection = await Line().dial(up.url)
        connection.begin(bodiless=False)
        connection.write_whole(Burst(lambda: FEW), ASK)
        if ending == "closed":
            connection.close()
        elif ending == "408":  # as servers say it to an idle connection: nobody has asked yet
            connection.data_received(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        else:
            connection.eof_received()
        with pytest.raises(Broken):
            await connection.head(5)
        assert not connection.wrote
        assert not connection.answered
        with pytest.raises(Broken):
            connection.write_whole(Burst(lambda: FEW), ASK)
        await until(lambda: up.gone == 1)
        assert up.heard == []
