"""What docs/http.md promises and no other file shows: HTTP/1.1 (RFC 9110, RFC 9112) as raw bytes on both sides."""

import asyncio
import socket
from contextlib import suppress

import msgspec
import pytest
from conftest import HouseMaker
from rig import House, until
from wire import OK, Message, Script, Stage, answering, caller, converse, read_message, upstream

from proxy.forward.answer_reader import LARGEST_HEAD
from proxy.forward.relay import RESET

DATE = b"Date: Mon, 23 Nov 2026 08:00:00 GMT"
TWO_HUNDRED = b"HTTP/1.1 200 OK"
TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large"
CHUNKED = b"Transfer-Encoding: chunked"
CLOSE = b"Connection: close"
EMPTY = b"Content-Length: 0"


def message(*lines: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([*lines, b"", body])


def asking(*lines: bytes, method: bytes = b"GET", version: bytes = b"HTTP/1.1", body: bytes = b"") -> bytes:
    return message(method + b" /x " + version, b"Host: localhost", *lines, body=body)


def in_pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def saying(*pieces: bytes) -> Script:
    """Make a script that answers one request in these pieces and closes."""

    async def script(stage: Stage) -> None:
        await stage.request()
        for piece in pieces:
            await stage.say(piece)
            await asyncio.sleep(0)

    return script


async def all_of(house: House, request: bytes) -> bytes:
    """Send the last request of a connection; return every byte that comes back."""
    async with caller(house.port) as line:
        await line.send(request)
        return await line.closed()


# What an upstream says, and what a caller that is about to leave gets of it.
ANSWERS = {
    "a body with a length": (
        message(TWO_HUNDRED, DATE, b"Content-Length: 5", body=b"panda"),
        message(TWO_HUNDRED, DATE, b"Content-Length: 5", CLOSE, body=b"panda"),
    ),
    "an empty body with a length": (
        message(TWO_HUNDRED, DATE, EMPTY),
        message(TWO_HUNDRED, DATE, EMPTY, CLOSE),
    ),
    "chunks, with an extension and a trailer": (
        message(TWO_HUNDRED, DATE, b"Trailer: X-T", CHUNKED, body=b"5;a=b\r\npanda\r\n0;c\r\nX-T: t\r\n\r\n"),
        message(TWO_HUNDRED, DATE, CHUNKED, CLOSE, body=b"5\r\npanda\r\n0\r\n\r\n"),
    ),
    "no chunk but the last": (
        message(TWO_HUNDRED, DATE, CHUNKED, body=b"0\r\n\r\n"),
        message(TWO_HUNDRED, DATE, CHUNKED, CLOSE, body=b"0\r\n\r\n"),
    ),
    "a body that ends with the connection": (
        message(TWO_HUNDRED, DATE, body=b"panda"),
        message(TWO_HUNDRED, DATE, CHUNKED, CLOSE, body=b"5\r\npanda\r\n0\r\n\r\n"),
    ),
    "HTTP/1.0": (
        message(b"HTTP/1.0 200 OK", DATE, body=b"panda"),
        message(TWO_HUNDRED, DATE, CHUNKED, CLOSE, body=b"5\r\npanda\r\n0\r\n\r\n"),
    ),
    "zeros before a length": (
        message(TWO_HUNDRED, DATE, b"Content-Length: 005", body=b"panda"),
        message(TWO_HUNDRED, DATE, b"Content-Length: 005", CLOSE, body=b"panda"),
    ),
    "a reason that is no UTF-8": (
        message(b"HTTP/1.1 299 caf\xe9  \xc3\xa9", DATE, EMPTY),
        message(b"HTTP/1.1 299 caf\xe9  \xc3\xa9", DATE, EMPTY, CLOSE),
    ),
    "no reason": (
        message(b"HTTP/1.1 200", DATE, EMPTY),
        message(b"HTTP/1.1 200 ", DATE, EMPTY, CLOSE),
    ),
    "values that are empty, no UTF-8, in white space": (
        message(TWO_HUNDRED, DATE, b"X:", b"x: \xff\xfe", b"X-Y:\t a  b \t", EMPTY),
        message(TWO_HUNDRED, DATE, b"X: ", b"x: \xff\xfe", b"X-Y: a  b", EMPTY, CLOSE),
    ),
    "a Server and no Content-Type": (
        message(TWO_HUNDRED, b"Server: nginx", DATE, b"Content-Length: 2", body=b"ok"),
        message(TWO_HUNDRED, b"Server: nginx", DATE, b"Content-Length: 2", CLOSE, body=b"ok"),
    ),
    "interim answers": (
        message(b"HTTP/1.1 100 Continue")
        + message(b"HTTP/1.1 102 Processing")
        + message(b"HTTP/1.1 103 Early Hints", b"Link: </x>")
        + message(TWO_HUNDRED, DATE, EMPTY),
        message(TWO_HUNDRED, DATE, EMPTY, CLOSE),
    ),
    "what is about one hop": (
        message(
            TWO_HUNDRED,
            b"Keep-Alive: timeout=5",
            b"Proxy-Connection: x",
            b"Proxy-Authenticate: Basic",
            b"TE: trailers",
            b"Trailer: X",
            b"Upgrade: h2c",
            b"X-Kept: 1",
            DATE,
            EMPTY,
        ),
        message(TWO_HUNDRED, b"X-Kept: 1", DATE, EMPTY, CLOSE),
    ),
    "what Connection nominates, in two lines and any spelling": (
        message(
            TWO_HUNDRED, b"Connection: X-ONE , x_two", b"X-One: 1", b"X_Two: 2", b"connection: x-three", b"X-Three: 3",
            DATE, EMPTY,
        ),
        message(TWO_HUNDRED, DATE, EMPTY, CLOSE),
    ),
    "a length that Connection nominates": (
        message(TWO_HUNDRED, DATE, b"Connection: content-length", b"Content-Length: 2", body=b"ok"),
        message(TWO_HUNDRED, DATE, b"Content-Length: 2", CLOSE, body=b"ok"),
    ),
    "a 204 with a length": (
        message(b"HTTP/1.1 204 No Content", DATE, EMPTY),
        message(b"HTTP/1.1 204 No Content", DATE, CLOSE),
    ),
    "a 204 with a body": (
        message(b"HTTP/1.1 204 No Content", DATE, b"Content-Length: 5", body=b"panda"),
        message(b"HTTP/1.1 204 No Content", DATE, CLOSE),
    ),
    "a 204 in chunks": (
        message(b"HTTP/1.1 204 No Content", DATE, CHUNKED),
        message(b"HTTP/1.1 204 No Content", DATE, CLOSE),
    ),
    "a 304 with a length": (
        message(b"HTTP/1.1 304 Not Modified", DATE, b"Content-Length: 5"),
        message(b"HTTP/1.1 304 Not Modified", DATE, b"Content-Length: 5", CLOSE),
    ),
    "a 304 in chunks": (
        message(b"HTTP/1.1 304 Not Modified", DATE, CHUNKED),
        message(b"HTTP/1.1 304 Not Modified", DATE, CLOSE),
    ),
    "a 429 that says when": (
        message(b"HTTP/1.1 429 Slow", DATE, b"Retry-After: Mon, 23 Nov 2026 08:00:09 GMT", EMPTY),
        message(b"HTTP/1.1 429 Slow", DATE, b"Retry-After: Mon, 23 Nov 2026 08:00:09 GMT", EMPTY, CLOSE),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("said", "expected"), ANSWERS.values(), ids=ANSWERS)
async def test_an_answer_is_the_upstreams_in_our_framing(
    api_key_house: HouseMaker, said: bytes, expected: bytes
) -> None:
    """To the byte: what is about one hop ends here, all else has its order, its case and its value."""
    async with upstream(saying(said)) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        assert await all_of(house, asking(CLOSE)) == expected


@pytest.mark.parametrize(("said", "expected"), ANSWERS.values(), ids=ANSWERS)
async def test_an_answer_in_one_byte_pieces_is_the_same_answer(
    api_key_house: HouseMaker, said: bytes, expected: bytes
) -> None:
    async with upstream(saying(*in_pieces(said, 1))) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        seen, whole = _parsed(await all_of(house, asking(CLOSE))), _parsed(expected)
        assert (seen.head, seen.body) == (whole.head, whole.body)


def _parsed(raw: bytes) -> Message:
    head, blank, body = raw.partition(b"\r\n\r\n")
    return Message(head + blank, body)


async def test_a_request_in_one_byte_pieces_is_the_same_request(api_key_house: HouseMaker) -> None:
    lines = (b"X:", b"x: caf\xe9\xff", b"X-Y:\t a  b \t", CHUNKED)
    sent = asking(*lines, method=b"PUT", body=b"5;a=b\r\npanda\r\n1\r\n!\r\n0\r\nX-T: t\r\n\r\n")
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        for size in (len(sent), 1):
            async with caller(house.port) as line:
                for piece in in_pieces(sent, size):
                    await line.send(piece)
                    await asyncio.sleep(0)
                assert (await line.answer()).body == b"ok"
    whole, drop_by_drop = up.heard
    assert drop_by_drop.head == whole.head
    assert drop_by_drop.body == whole.body == b"panda!"
    assert whole.head.split(b"\r\n")[2:5] == [b"X: ", b"x: caf\xe9\xff", b"X-Y: a  b"]


async def test_a_body_that_should_end_with_the_connection_and_is_reset_is_not_taken_for_whole(
    api_key_house: HouseMaker,
) -> None:
    async def script(stage: Stage) -> None:
        await stage.request()
        await stage.say(message(TWO_HUNDRED, DATE, body=b"pan"))
        await stage.upstream.cue.wait()
        stage.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        stage.reset()

    async with upstream(script) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        async with caller(house.port) as line:
            await line.send(asking())
            await line.reader.readuntil(b"pan\r\n")
            up.cue.set()
            assert await line.closed() == b""


PROMISES = {
    "a length": b"Content-Length: 5",
    "chunks": CHUNKED,
    "nothing": b"X: y",
}


@pytest.mark.parametrize("promise", PROMISES.values(), ids=PROMISES)
@pytest.mark.parametrize("body", [b"", b"panda", b"5\r\npanda\r\n0\r\n\r\n"], ids=["no body", "a body", "chunks"])
async def test_the_answer_to_a_head_ends_with_its_head_whatever_comes_behind(
    api_key_house: HouseMaker, promise: bytes, body: bytes
) -> None:
    """The caller's connection serves on; the upstream's does only where it promised an end and nothing came behind."""

    async def script(stage: Stage) -> None:
        while True:
            request = await stage.request()
            head = request.start.startswith(b"HEAD")
            await stage.say(message(TWO_HUNDRED, promise, body=body) if head else OK)

    async with upstream(script) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        async with caller(house.port) as line:
            await line.send(asking(method=b"HEAD"))
            seen = await line.answer(bodiless=True)
            assert seen.values(b"content-length") == ([b"5"] if promise == PROMISES["a length"] else [])
            assert not seen.values(b"transfer-encoding")
            await line.send(asking())
            assert (await line.answer()).body == b"ok"
        assert up.connections == (1 if not body and promise != PROMISES["nothing"] else 2)


@pytest.mark.parametrize("method", [b"GET", b"DELETE"])
@pytest.mark.parametrize(
    ("framing", "body"),
    [(b"X: y", b""), (EMPTY, b""), (b"Content-Length: 5", b"panda"), (CHUNKED, b"5\r\npanda\r\n0\r\n\r\n")],
    ids=["none", "empty", "a length", "chunks"],
)
async def test_a_request_goes_up_framed_as_it_came(
    api_key_house: HouseMaker, method: bytes, framing: bytes, body: bytes
) -> None:
    """Also one whose method needs no body; and none is given a length that it did not have."""
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        await converse(house.port, asking(framing, method=method, body=body))
        heard = up.heard[0]
        framings = [line for line in heard.head.split(b"\r\n") if line.startswith((b"Content-L", b"Transfer"))]
        assert framings == [framing] * (framing != b"X: y")
        assert heard.body == (b"panda" if body else b"")


async def test_a_post_without_a_body_is_given_no_length(api_key_house: HouseMaker) -> None:
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        await converse(house.port, asking(method=b"POST"))
        assert {name for name, _ in up.heard[0].fields} == {b"Host", b"Via", b"Authorization"}


async def test_a_head_goes_up_before_its_body_comes(api_key_house: HouseMaker) -> None:
    """So that the upstream can refuse it early."""

    async def script(stage: Stage) -> None:
        await stage.head()
        await stage.say(message(b"HTTP/1.1 413 Content Too Large", EMPTY))

    async with upstream(script) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        for framing in (b"Content-Length: 5", CHUNKED):
            seen = await converse(house.port, asking(framing, method=b"POST"))
            assert seen.start == b"HTTP/1.1 413 Content Too Large"
            assert seen.values(b"connection") == [b"close"]


async def test_pipelined_requests_of_every_framing_are_answered_in_order(api_key_house: HouseMaker) -> None:
    """One after the other, though the first answer is the last that begins to come."""
    requests = [
        (asking(method=b"GET"), b""),
        (asking(b"Content-Length: 3", method=b"POST", body=b"one"), b"one"),
        (asking(CHUNKED, method=b"POST", body=b"3;x\r\ntwo\r\n0\r\nX: y\r\n\r\n"), b"two"),
        (asking(EMPTY, method=b"DELETE"), b""),
        (asking(b"Content-Length: 5", method=b"PUT", body=b"three"), b"three"),
    ]

    async def script(stage: Stage) -> None:
        while True:
            request = await stage.request()
            await stage.upstream.cue.wait()
            said = request.start.split()[0] + request.body
            await stage.say(message(TWO_HUNDRED, b"Content-Length: %d" % len(said), body=said))

    async with upstream(script) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        async with caller(house.port) as line:
            await line.send(b"".join(request for request, _ in requests))
            up.cue.set()
            for request, body in requests:
                assert (await line.answer()).body == request.split()[0] + body


async def test_the_upstreams_close_is_not_the_callers(api_key_house: HouseMaker) -> None:
    async with upstream(saying(message(TWO_HUNDRED, CLOSE, b"Content-Length: 2", body=b"ok"))) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        async with caller(house.port) as line:
            for _ in range(3):
                await line.send(asking())
                seen = await line.answer()
                assert seen.body == b"ok"
                assert not seen.values(b"connection")
        assert up.connections == 3


async def test_a_caller_that_says_no_more_has_hung_up(api_key_house: HouseMaker) -> None:
    """TCP can't tell the one who will still read (RFC 9112 §9.6) from the one who has left."""

    async def script(stage: Stage) -> None:
        await stage.request()
        stage.upstream.cue.set()
        await stage.reader.readexactly(1)

    async with upstream(script) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        async with caller(house.port) as line:
            await line.send(asking())
            await up.cue.wait()
            line.writer.write_eof()
            assert await line.closed() == b""
        await until(lambda: up.gone == 1)


async def test_what_is_no_request_is_refused_with_those_before_it_that_came_at_once(api_key_house: HouseMaker) -> None:
    """One 400 for all of them, and none goes up."""
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        raw = await all_of(house, asking() + asking() + b"GARBAGE\r\n\r\n")
        assert raw.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert raw.count(b"HTTP/1.1 ") == 1
        assert not up.heard


async def test_a_chunk_extension_without_an_end_is_a_body_that_stalls(api_key_house: HouseMaker) -> None:
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url, "idle_timeout": "100ms"}})
        async with caller(house.port) as line:
            await line.send(asking(CHUNKED, method=b"POST", body=b"5;"))
            with suppress(ConnectionError):
                while not house.ear.fields:
                    await line.send(b"x" * 1000)
                    await asyncio.sleep(0.001)
            assert (await line.answer()).start.startswith(b"HTTP/1.1 408 ")
        await until(lambda: up.gone == 1)


@pytest.mark.parametrize("method", [b"GET", b"PUT", b"POST"])
async def test_a_kept_connection_that_was_closed_costs_only_what_can_be_done_once_its_request(
    api_key_house: HouseMaker, method: bytes
) -> None:
    """RFC 9112 §9.3.1, RFC 9110 §9.2.2: what is idempotent is sent again, once, on a fresh connection."""

    async def script(stage: Stage) -> None:
        await stage.request()
        await stage.say(OK)
        await stage.request()
        if stage.upstream.connections > 1:
            await stage.say(OK)

    async with upstream(script) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        await converse(house.port, asking())
        seen = await converse(house.port, asking(b"Content-Length: 5", method=method, body=b"panda"))
        assert seen.start == (b"HTTP/1.1 502 Bad Gateway" if method == b"POST" else TWO_HUNDRED)
        assert [heard.start.split()[0] for heard in up.heard[1:]] == [method] * (1 if method == b"POST" else 2)
        assert {heard.body for heard in up.heard[1:]} == {b"panda"}


# HTTP/1.0


@pytest.mark.parametrize("kept", [True, False])
async def test_an_http_1_0_caller_is_answered_in_http_1_1_and_kept_if_it_asks(
    api_key_house: HouseMaker, *, kept: bool
) -> None:
    """RFC 9110 §2.5: an answer's version is that of who sends it."""
    lines = [b"Connection: keep-alive"] if kept else []
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        async with caller(house.port) as line:
            for _ in range(2 if kept else 1):
                await line.send(asking(*lines, version=b"HTTP/1.0"))
                seen = await line.answer()
                assert seen.start == TWO_HUNDRED
                assert seen.body == b"ok"
                assert seen.values(b"connection") == [b"keep-alive" if kept else b"close"]
            if not kept:
                assert await line.closed() == b""
        assert {heard.start for heard in up.heard} == {b"GET /x HTTP/1.1"}


async def test_an_http_1_0_caller_gets_our_own_answers_in_http_1_1_too(api_key_house: HouseMaker) -> None:
    house = await api_key_house()
    health = b"GET /healthz HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n"
    async with caller(house.port) as line:
        for _ in range(2):
            await line.send(health)
            seen = await line.answer()
            assert (seen.start, seen.values(b"connection")) == (TWO_HUNDRED, [b"keep-alive"])
        await line.send(asking(b"Origin: null", version=b"HTTP/1.0"))
        seen = await line.answer()
        assert (seen.start, seen.values(b"connection")) == (b"HTTP/1.1 403 Forbidden", [b"close"])
        assert await line.closed() == b""


async def test_an_http_1_0_caller_is_never_told_to_continue(api_key_house: HouseMaker) -> None:
    """RFC 9110 §10.1.1: its Expect is as good as none, and goes no further."""
    sent = asking(b"Expect: 100-continue", b"Content-Length: 5", method=b"POST", version=b"HTTP/1.0", body=b"panda")
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        assert (await all_of(house, sent)).startswith(TWO_HUNDRED)
        assert up.heard[0].body == b"panda"
        assert not up.heard[0].values(b"expect")


# Via and Max-Forwards


async def test_via_is_added_behind_the_callers_own(api_key_house: HouseMaker) -> None:
    """RFC 9110 §7.6.3, under a name that tells nothing of the machine."""
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        await converse(house.port, asking(b"Via: 1.0 fred, 1.1 p.example"))
        theirs, ours = up.heard[0].values(b"via")
        assert theirs == b"1.0 fred, 1.1 p.example"
        assert ours.startswith(b"1.1 pandadoc-proxy-")


async def test_a_request_that_comes_back_to_us_is_a_508(api_key_house: HouseMaker) -> None:
    """Once round, not until something gives."""
    house: House

    async def leading_back(stage: Stage) -> None:
        request = await stage.request()
        async with caller(house.port) as line:
            await line.send(request.head + request.raw)
            answer = await line.answer()
        await stage.say(answer.head + answer.raw)

    async with upstream(leading_back) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        seen = await converse(house.port, asking())
        assert seen.start == b"HTTP/1.1 508 Loop Detected"
        assert seen.values(b"proxy-status") == [b"pandadoc-proxy; error=proxy_loop_detected"]
        assert "upstream.url" in msgspec.json.decode(seen.body)["detail"]
        assert len(up.heard) == 1


FORWARDS = {
    b"1": b"0",
    b"10": b"9",
    b"007": b"6",
    b"x": b"x",
    b"-1": b"-1",
    b"99999999999": b"99999999999",
}


@pytest.mark.parametrize(("given", "expected"), FORWARDS.items())
async def test_an_options_goes_up_with_one_forward_less(
    api_key_house: HouseMaker, given: bytes, expected: bytes
) -> None:
    """RFC 9110 §7.6.2. What is no number of ours passes as it came."""
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        await converse(house.port, asking(b"max-FORWARDS: " + given, b"X: 1", method=b"OPTIONS"))
        await converse(house.port, asking(b"Max-Forwards: " + given))
        assert up.heard[0].head.split(b"\r\n")[2:4] == [b"max-FORWARDS: " + expected, b"X: 1"]
        assert up.heard[1].values(b"max-forwards") == [given]  # a GET's says nothing


async def test_an_options_that_goes_no_further_is_answered_here(api_key_house: HouseMaker) -> None:
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        async with caller(house.port) as line:
            for _ in range(2):
                await line.send(asking(b"Max-Forwards: 0", method=b"OPTIONS"))
                seen = await line.answer(bodiless=True)
                assert seen.start == b"HTTP/1.1 204 No Content"
                assert seen.values(b"allow") == [b"DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"]
        assert not up.heard
        assert house.ear.fields[-1]["status"] == 204


# Limits


COUNTED = len(b"/x") + len(b"Host: localhost\r\n") + len(b"X: \r\n")
LARGEST = asking(b"X: " + b"y" * (64 * 1024 - COUNTED))
MOST = [b"X: y"] * 127  # and Host

HEADS = {
    "64 KiB": (LARGEST, TWO_HUNDRED),
    "a byte more": (LARGEST.replace(b"X: ", b"X: y"), TOO_LARGE),
    "128 fields": (asking(*MOST), TWO_HUNDRED),
    "129 fields": (asking(*MOST, b"X: y"), TOO_LARGE),
}


@pytest.mark.parametrize(("head", "start"), HEADS.values(), ids=HEADS)
async def test_a_head_may_be_as_large_as_its_limit_and_no_larger(
    api_key_house: HouseMaker, head: bytes, start: bytes
) -> None:
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        assert (await converse(house.port, head)).start == start
        assert len(up.heard) == (start == TWO_HUNDRED)


NO_ANSWERS = {
    "another version": (b"HTTP/2.0 200 OK", EMPTY),
    "a refusal in another version": (b"HTTP/2.0 401 Unauthorized", EMPTY),
    "a status of no class": (b"HTTP/1.1 700 Odd", EMPTY),
    "a status below all classes": (b"HTTP/1.1 099 Odd", EMPTY),
    "a coding that nobody knows": (TWO_HUNDRED, b"Transfer-Encoding: gzip, chunked"),
    "a coding where no body is": (b"HTTP/1.1 204 No Content", b"Transfer-Encoding: gzip"),
    "chunks in HTTP/1.0": (b"HTTP/1.0 200 OK", CHUNKED),
}


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("lines", NO_ANSWERS.values(), ids=NO_ANSWERS)
async def test_what_is_no_answer_of_http_1_1_is_a_502_and_says_nothing_of_the_credential(
    api_key_house: HouseMaker, lines: tuple[bytes, ...], method: bytes
) -> None:
    async with upstream(answering(message(*lines, body=b"0\r\n\r\n"))) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        head, _, _ = (await all_of(house, asking(CLOSE, method=method))).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 502 ")
        assert len(up.heard) == 1
        assert not house.ear.heard("WARNING", "refused")


@pytest.mark.parametrize("size", [1000, 1_000_000], ids=["in pieces", "at once"])
async def test_an_answers_head_may_be_as_large_as_its_limit(api_key_house: HouseMaker, size: int) -> None:
    bare = len(b"X") + len(b"Content-Length2")
    large = b"X: " + b"y" * (LARGEST_HEAD - bare)
    answer = message(TWO_HUNDRED, large, b"Content-Length: 2", body=b"ok")
    async with upstream(saying(*in_pieces(answer, size))) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        async with caller(house.port) as line:
            await line.send(asking())
            seen = await read_message(line.reader)
        assert (seen.start, seen.body) == (TWO_HUNDRED, b"ok")
        assert large in seen.head
