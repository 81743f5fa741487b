"""What goes in comes out: raw bytes on both sides of the proxy (law 10, and the framing of RFC 9112)."""

import gzip
import random
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path

import pytest
from conftest import HouseMaker
from rig import House, until
from wire import OK, Message, Stage, answering, caller, converse, upstream

from proxy.compose_policy import policy_of_all
from proxy.config import Config
from proxy.errors import CallerError
from proxy.forward.headers import Origin, tells
from proxy.policy.paths import readings

TARGETS = [
    b"/public/v1/documents?upload",
    b"/public/v1/documents?upload=",
    b"/public/v1/documents?",
    b"//public/v1/documents",
    b"/a%2Fb",
    b"/a%2fb",
    b"/a/..%2fb",
    b"/a/../b",
    b"/a/./b",
    b"/a/%2e%2e/b",
    b"/a%20b+c",
    b"/a?q=a%20b+c&q=d&q=d&=&&x",
    b"/a?next=https://other.example/?x=1",
    b"/%zz",
    b"/%",
    b"/a%00b",
    b"/%C3%A9",
    b"/a;v=1/b;x",
    b"/a?b?c",
    b"/{id}|^`\"<>[]!$&'()*,:@~",
    b"/",
    b"/a//b///",
]


async def through(house: House, request: bytes, *, bodiless: bool = False) -> Message:
    return await converse(house.port, request, bodiless=bodiless)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.decode())
async def test_path_and_query_pass_byte_for_byte(api_key_house: HouseMaker, target: bytes) -> None:
    """`?upload` is a route of PandaDoc's, `%2F` an id's slash: nothing is normalised (law 10)."""
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        answer = await through(house, b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % target)
        assert answer.start == b"HTTP/1.1 200 OK"
        assert up.heard[0].start == b"GET %s HTTP/1.1" % target


async def test_whatever_target_is_let_in_passes_byte_for_byte(api_key_house: HouseMaker) -> None:
    """A thousand random ones, the same each run, on one connection."""
    chance = random.Random(9110)  # noqa: S311 - for variety, not for secrecy
    visible = [byte for byte in range(0x21, 0x7F) if byte not in b"#\\"]
    targets: list[bytes] = []
    policy = policy_of_all(Config(credentials={}))
    while len(targets) < 1000:
        target = "/" + "".join(map(chr, chance.choices([*visible, *b"//..%%??&=+;2fFeE"], k=chance.randrange(20))))
        with suppress(CallerError):
            if not policy.objections("GET", readings(target.partition("?")[0])):
                targets.append(target.encode())
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        async with caller(house.port) as line:
            for raw in targets:
                await line.send(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % raw)
                assert (await line.answer()).body == b"ok", raw
        assert [message.start for message in up.heard] == [b"GET %s HTTP/1.1" % raw for raw in targets]
        assert up.connections == 1  # and on one to the upstream: a finished answer's is used again


async def test_a_path_prefix_is_prepended_to_the_raw_target(api_key_house: HouseMaker) -> None:
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url + "/gateway/pandadoc/"}})
        await through(house, b"GET //a%2Fb?x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert up.heard[0].start == b"GET /gateway/pandadoc//a%2Fb?x HTTP/1.1"


async def test_fields_pass_in_order_and_case_and_host_is_the_upstreams(api_key_house: HouseMaker) -> None:
    request = (
        b"GET / HTTP/1.1\r\nhost: localhost:1\r\nX-One: 1\r\nx-TWO: 2\r\nX-One: 3\r\n"
        b"Cookie: a=b\r\nCookie: c=d\r\nX-Empty:\r\nX-Utf8: caf\xc3\xa9\r\n\r\n"
    )
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        await through(house, request)
        fields = up.heard[0].fields
        key = house.environ["KEY"].encode()
        assert [field for field in fields if field[0] not in {b"Host", b"Via", b"Authorization"}] == [
            (b"X-One", b"1"),
            (b"x-TWO", b"2"),
            (b"X-One", b"3"),
            (b"Cookie", b"a=b"),
            (b"Cookie", b"c=d"),
            (b"X-Empty", b""),
            (b"X-Utf8", b"caf\xc3\xa9"),
        ]
        assert up.heard[0].values(b"host") == [up.url.removeprefix("http://").encode()]
        assert up.heard[0].values(b"authorization") == [b"API-Key " + key]


HIDDEN_CREDENTIALS = [
    b"Authorization: Bearer theirs",
    b"authorization: theirs",
    b"AUTHORIZATION: a\r\nAuthorization: b",
    b"Proxy-Authorization: Basic dGhlaXJz",
    b"Proxy_Authorization: theirs",
    b"Connection: authorization",
    b"Connection: close, Authorization\r\nAuthorization: theirs",
    b"Authorization:",
]


@pytest.mark.parametrize("lines", HIDDEN_CREDENTIALS, ids=repr)
async def test_exactly_one_authorization_goes_up_and_it_is_ours(api_key_house: HouseMaker, lines: bytes) -> None:
    """The caller's never crosses, whatever its spelling or number (law 9)."""
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        await through(house, b"GET / HTTP/1.1\r\nHost: localhost\r\n%s\r\n\r\n" % lines)
        key = house.environ["KEY"].encode()
        assert up.heard[0].values(b"authorization") == [b"API-Key " + key]
        assert b"theirs" not in up.heard[0].head
        assert not up.heard[0].values(b"proxy-authorization")
        assert b"dGhlaXJz" not in up.heard[0].head


async def test_hop_by_hop_fields_end_here_both_ways(api_key_house: HouseMaker) -> None:
    """RFC 9110 §7.6.1: Connection, what it nominates, and the fields known to be hop-by-hop."""
    request = (
        b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: X-Gone, keep-alive\r\nX-Gone: 1\r\nKeep-Alive: 5\r\n"
        b"TE: trailers\r\nTrailer: X\r\nUpgrade: h2c\r\nProxy-Connection: x\r\nX-Kept: 1\r\n\r\n"
    )
    answer = (
        b"HTTP/1.1 200 Fine\r\nConnection: X-Gone\r\nX-Gone: 1\r\nKeep-Alive: 5\r\nUpgrade: h2c\r\n"
        b"Trailer: X\r\nX-Kept: 1\r\nContent-Length: 0\r\n\r\n"
    )
    async with upstream(answering(answer)) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        seen = await through(house, request)
        names = {name.lower() for name, _ in up.heard[0].fields}
        assert names == {b"host", b"x-kept", b"via", b"authorization"}
        assert seen.start == b"HTTP/1.1 200 Fine"
        assert {name.lower() for name, _ in seen.fields} == {b"x-kept", b"content-length", b"date"}


async def test_the_answers_fields_pass_as_they_are_and_nothing_is_added_but_date(api_key_house: HouseMaker) -> None:
    answer = (
        b"HTTP/1.1 202 Not Quite\r\nset-cookie: a=1\r\nSet-Cookie: b=2; Path=/\r\nSET-COOKIE: c=3\r\n"
        b"Date: Mon, 23 Nov 2026 08:00:00 GMT\r\nRetry-After: 7\r\nWWW-Authenticate: Bearer\r\n"
        b"X-Latin: caf\xe9\r\nContent-Length: 3\r\n\r\nabc"
    )
    async with upstream(answering(answer)) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        seen = await through(house, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert seen.start == b"HTTP/1.1 202 Not Quite"
        assert seen.fields == [
            (b"set-cookie", b"a=1"),
            (b"Set-Cookie", b"b=2; Path=/"),
            (b"SET-COOKIE", b"c=3"),
            (b"Date", b"Mon, 23 Nov 2026 08:00:00 GMT"),
            (b"Retry-After", b"7"),
            (b"WWW-Authenticate", b"Bearer"),
            (b"X-Latin", b"caf\xe9"),
            (b"Content-Length", b"3"),
        ]
        assert seen.body == b"abc"


async def test_a_gzip_body_passes_as_the_bytes_it_is_both_ways(api_key_house: HouseMaker) -> None:
    """By default, aiohttp would inflate it under an unchanged Content-Encoding."""
    packed = gzip.compress(b"panda " * 100)
    head = b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    async with upstream(answering(b"HTTP/1.1 200 OK\r\n" + head + packed)) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        seen = await through(house, b"POST / HTTP/1.1\r\nHost: localhost\r\n" + head + packed)
        assert up.heard[0].body == packed
        assert up.heard[0].values(b"content-encoding") == [b"gzip"]
        assert seen.body == packed
        assert seen.values(b"content-encoding") == [b"gzip"]


async def test_chunked_bodies_pass_both_ways(api_key_house: HouseMaker) -> None:
    chunked = b"5\r\nhello\r\n6;ext=1\r\n panda\r\n0\r\n\r\n"
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked
    async with upstream(answering(answer)) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        request = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked
        seen = await through(house, request)
        assert up.heard[0].chunked
        assert not up.heard[0].values(b"content-length")
        assert up.heard[0].body == b"hello panda"
        assert seen.chunked
        assert seen.body == b"hello panda"


async def test_an_empty_chunked_body_is_still_a_body(api_key_house: HouseMaker) -> None:
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        await through(house, b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        assert up.heard[0].chunked
        assert up.heard[0].body == b""


@pytest.mark.parametrize("method", [b"GET", b"DELETE", b"POST", b"PUT", b"PATCH", b"OPTIONS"])
async def test_any_method_may_have_a_body_with_a_length(api_key_house: HouseMaker, method: bytes) -> None:
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        await through(house, method + b" /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\npanda")
        assert up.heard[0].start == method + b" /x HTTP/1.1"
        assert up.heard[0].values(b"content-length") == [b"5"]
        assert up.heard[0].body == b"panda"


async def test_a_request_without_a_body_goes_up_without_one(api_key_house: HouseMaker) -> None:
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        await through(house, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert {name for name, _ in up.heard[0].fields} == {b"Host", b"Via", b"Authorization"}


async def test_head_keeps_the_length_and_has_no_body(api_key_house: HouseMaker) -> None:
    async with upstream(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n")) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        async with caller(house.port) as line:
            for _ in range(2):
                await line.send(b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                seen = await line.answer(bodiless=True)
                assert seen.values(b"content-length") == [b"1234"]
        assert up.heard[1].start == b"HEAD / HTTP/1.1"


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_an_answer_without_content_has_none(api_key_house: HouseMaker, status: bytes) -> None:
    async with upstream(answering(b"HTTP/1.1 " + status + b'\r\nETag: "x"\r\n\r\n')) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        async with caller(house.port) as line:
            for _ in range(2):  # the second shows that no body was left on the connection
                await line.send(b'GET / HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: "x"\r\n\r\n')
                seen = await line.answer(bodiless=True)
                assert seen.start == b"HTTP/1.1 " + status
                assert seen.values(b"etag") == [b'"x"']
        assert up.heard[0].values(b"if-none-match") == [b'"x"']


async def test_a_range_and_its_206_pass(api_key_house: HouseMaker) -> None:
    answer = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-3/10\r\nContent-Length: 4\r\n\r\n%PDF"
    async with upstream(answering(answer)) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        seen = await through(house, b"GET / HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-3\r\nIf-Range: x\r\n\r\n")
        assert up.heard[0].values(b"range") == [b"bytes=0-3"]
        assert up.heard[0].values(b"if-range") == [b"x"]
        assert seen.start == b"HTTP/1.1 206 Partial Content"
        assert seen.values(b"content-range") == [b"bytes 0-3/10"]
        assert seen.body == b"%PDF"


async def test_an_answer_that_ends_with_its_connection_is_complete(api_key_house: HouseMaker) -> None:
    async def script(stage: Stage) -> None:
        await stage.request()
        await stage.say(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end")

    async with upstream(script) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        seen = await through(house, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert seen.body == b"to the end"


async def test_an_http_1_0_caller_gets_no_chunks(api_key_house: HouseMaker) -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    async with upstream(answering(answer)) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        seen = await through(house, b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
        assert not seen.chunked
        assert seen.body == b"hello"


async def test_an_http_1_0_caller_that_would_keep_its_connection_is_told_where_an_unframed_answer_ends(
    api_key_house: HouseMaker,
) -> None:
    """By the connection's end: there is nothing else that could tell."""
    async with upstream(answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        async with caller(house.port) as line:
            await line.send(b"GET / HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n")
            assert (await line.closed()).endswith(b"\r\n\r\nok")


async def test_expect_100_continue_is_answered_before_the_body_comes(api_key_house: HouseMaker) -> None:
    """PandaDoc's PHP SDK sends it on every upload; aiohttp's low-level server never answers it."""
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        async with caller(house.port) as line:
            await line.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
            assert (await line.answer(bodiless=True)).head == b"HTTP/1.1 100 Continue\r\n\r\n"
            await line.send(b"panda")
            assert (await line.answer()).body == b"ok"
        assert up.heard[0].body == b"panda"


EXPECTING = b"POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"


async def test_the_upstream_is_asked_first_whether_it_wants_the_body(api_key_house: HouseMaker) -> None:
    """RFC 9110 §10.1.1: the caller's 100 comes behind the upstream's."""

    async def script(stage: Stage) -> None:
        assert (await stage.head()).values(b"expect") == [b"100-continue"]
        await stage.upstream.cue.wait()
        await stage.say(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await stage.reader.readexactly(5) == b"panda"
        await stage.say(OK)

    async with upstream(script) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        async with caller(house.port) as line:
            await line.send(EXPECTING)
            await until(lambda: len(up.heard) == 1)
            up.cue.set()
            assert (await line.answer(bodiless=True)).head == b"HTTP/1.1 100 Continue\r\n\r\n"
            await line.send(b"panda")
            assert (await line.answer()).body == b"ok"


@pytest.mark.parametrize("status", [b"417 Expectation Failed", b"413 Content Too Large", b"200 OK"])
async def test_what_the_upstream_answers_without_the_body_is_final(api_key_house: HouseMaker, status: bytes) -> None:
    """The caller is not told to send it."""

    async def script(stage: Stage) -> None:
        await stage.head()
        await stage.say(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
        assert await stage.reader.read() == b""

    async with upstream(script) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        async with caller(house.port) as line:
            await line.send(EXPECTING)
            answer = await line.answer()
            assert answer.start == b"HTTP/1.1 " + status
            assert answer.values(b"connection") == [b"close"]


async def test_a_401_before_the_body_is_replayed_however_large_the_body(oauth_house: HouseMaker) -> None:
    """Nothing of it was read yet."""

    async def script(stage: Stage) -> None:
        await stage.head()
        if len(stage.upstream.heard) == 1:
            await stage.say(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
            assert await stage.reader.read() == b""
            return
        await stage.say(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert len(await stage.reader.readexactly(5000)) == 5000
        await stage.say(OK)

    async with upstream(script) as up:
        house = await oauth_house({"replay": {"max_body": "1KiB"}}, probe=None)
        await house.forward_to(up.url)
        async with caller(house.port) as line:
            await line.send(EXPECTING.replace(b": 5", b": 5000"))
            assert (await line.answer(bodiless=True)).head == b"HTTP/1.1 100 Continue\r\n\r\n"
            await line.send(b"p" * 5000)
            assert (await line.answer()).body == b"ok"
    first, second = (heard.values(b"authorization") for heard in up.heard)
    assert first != second


async def test_a_refused_upload_is_never_invited(api_key_house: HouseMaker) -> None:
    async with upstream(answering(OK)) as up:
        limits = {"limits": {"max_body": "1KiB"}, "replay": {"max_body": "1KiB"}}
        house = await api_key_house({"upstream": {"url": up.url}, **limits})
        request = b"POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 2000\r\n\r\n"
        assert (await through(house, request)).start == b"HTTP/1.1 413 " + HTTPStatus(413).phrase.encode()
        assert not up.heard


async def test_redirects_are_relayed_and_a_location_on_the_upstreams_origin_is_ours(api_key_house: HouseMaker) -> None:
    """Law 15: never followed, and the app stays inside the proxy."""

    async def script(stage: Stage) -> None:
        while True:
            request = await stage.request()
            wanted = request.values(b"x-location")[0]
            await stage.say(b"HTTP/1.1 302 Found\r\nLocation: " + wanted + b"\r\nContent-Length: 0\r\n\r\n")

    async with upstream(script) as up:
        house = await api_key_house({"upstream": {"url": up.url + "/p"}})
        origin = up.url.encode()
        cases = {
            origin + b"/p/a%2Fb?x": b"http://localhost:99/a%2Fb?x",
            origin + b"/p": b"http://localhost:99/",
            origin: b"http://localhost:99",
            origin + b"/other": b"http://localhost:99/other",
            origin + b".evil.example/": origin + b".evil.example/",
            b"https://elsewhere.example/p/x": b"https://elsewhere.example/p/x",
            b"/p/next": b"/next",
            b"/elsewhere": b"/elsewhere",
            b"relative": b"relative",
        }
        for given, expected in cases.items():
            seen = await through(house, b"GET / HTTP/1.1\r\nHost: localhost:99\r\nX-Location: " + given + b"\r\n\r\n")
            assert seen.start == b"HTTP/1.1 302 Found"
            assert seen.values(b"location") == [expected]
        assert len(up.heard) == len(cases)


async def test_the_access_line_shows_no_query(api_key_house: HouseMaker) -> None:
    house = await api_key_house()
    await house.get("/public/v1/documents?q=hush")
    assert house.ear.heard("/public/v1/documents", "200")
    assert not house.ear.heard("hush")


async def test_what_an_upstream_says_to_whoever_reached_it_at_its_own_name_stops_here(
    api_key_house: HouseMaker,
) -> None:
    """An HSTS field would make the app refuse http://localhost; Alt-Svc would lead it past the proxy."""
    said = (b'Alt-Svc: h3=":443"', b"strict-transport-security: max-age=1", b"NEL: {}", b"Report-To: {}", b"X-Kept: 1")
    answer = b"HTTP/1.1 200 OK\r\n" + b"\r\n".join(said) + b"\r\nContent-Length: 0\r\n\r\n"
    async with upstream(answering(answer)) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        seen = await through(house, b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert [name for name, _ in seen.fields if name.lower() not in {b"date", b"content-length"}] == [b"X-Kept"]


async def test_no_permission_for_a_page_is_relayed(api_key_house: HouseMaker) -> None:
    said = (b"Access-Control-Allow-Origin: *", b"access-control-Allow-Private-Network: true", b"X-Access-Control-: 1")
    answer = b"HTTP/1.1 200 OK\r\n" + b"\r\n".join(said) + b"\r\nContent-Length: 0\r\n\r\n"
    async with upstream(answering(answer)) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        seen = await through(house, b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        names = [name for name, _ in seen.fields]
        assert [name for name in names if b"access" in name.lower()] == [b"X-Access-Control-"]


async def test_an_answer_that_echoes_the_credential_tells_the_caller_nothing(api_key_house: HouseMaker) -> None:
    """An upstream that debugs, or a proxy on the way that shows what it was sent."""

    async def script(stage: Stage) -> None:
        request = await stage.request()
        lent = request.values(b"authorization")[0]
        key = lent.split(b" ")[1]
        echo = b"X-Echo: %b\r\nX-Inside: a=%b;b\r\nX-%b: in a name\r\nX-Kept: API-Key\r\n" % (lent, key, key)
        await stage.say(b"HTTP/1.1 200 Welcome " + lent + b"\r\n" + echo + b"Content-Length: 0\r\n\r\n")

    async with upstream(script) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        seen = await through(house, b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert house.environ["KEY"].encode() not in seen.head
        assert seen.start == b"HTTP/1.1 200 "
        assert seen.values(b"x-kept") == [b"API-Key"]
        assert house.ear.heard("WARNING", "held the credential in 4 places")


@pytest.mark.parametrize("name", [b"Content-Length", b"Date"])
async def test_an_answer_is_framed_and_dated_without_a_field_that_echoes_the_credential(
    api_key_house: HouseMaker, tmp_path: Path, name: bytes
) -> None:
    key, file = b"0000000000000002", tmp_path / "key"
    file.write_bytes(key)
    fields = {b"Content-Length": b"2", name: key}
    answer = b"HTTP/1.1 200 Fine\r\n" + b"".join(b"%b: %b\r\n" % field for field in fields.items()) + b"\r\nok"
    async with upstream(answering(answer)) as up:
        lent = {"default": {"api_key": {"file": str(file)}}}
        house = await api_key_house({"upstream": {"url": up.url}, "credentials": lent})
        seen = await through(house, b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert key not in seen.head
        assert seen.body == b"ok"
        assert len(seen.values(b"date")) == 1


def test_a_short_credential_stands_in_a_field_by_chance() -> None:
    assert not tells(b"X-Page: 12345\r\n", "API-Key 12345")


def test_a_location_may_name_the_port_that_goes_without_saying() -> None:
    for origin, port in (("https://api.example", b":443"), ("http://localhost", b":80")):
        stem, here = origin.encode(), b"http://localhost:8080"
        assert Origin(origin, "").as_seen_here(stem + port + b"/x", here) == here + b"/x"
        assert Origin(origin, "").as_seen_here(stem + b"/x", here) == here + b"/x"
        assert Origin(origin, "").as_seen_here(stem + b":444/x", here) == stem + b":444/x"
        assert Origin(origin + ":444", "").as_seen_here(stem + b":444/x", here) == here + b"/x"
        assert Origin(origin + ":444", "").as_seen_here(stem + b"/x", here) == stem + b"/x"


@pytest.mark.parametrize(
    ("location", "seen"),
    [
        (b"/gateway/x", b"/x"),
        (b"/gateway", b"/"),
        (b"/gateway?x", b"/?x"),
        (b"/gateway#x", b"/#x"),
        (b"https://api.example/gateway?x", b"http://localhost:8080/?x"),
        (b"/gateway//elsewhere.example/x", b"http://localhost:8080//elsewhere.example/x"),
        (b"/gateway/\\elsewhere.example/x", b"http://localhost:8080/\\elsewhere.example/x"),
        (b"/gateway/\t/elsewhere.example/x", b"http://localhost:8080/\t/elsewhere.example/x"),
        (b"//elsewhere.example/gateway", b"//elsewhere.example/gateway"),
        (b"/\\elsewhere.example/gateway", b"/\\elsewhere.example/gateway"),  # it is PandaDoc's that says so
    ],
)
def test_what_is_left_of_a_location_without_the_prefix_leads_here(location: bytes, seen: bytes) -> None:
    """A caller that follows it elsewhere would take its key along."""
    assert Origin("https://api.example", "/gateway").as_seen_here(location, b"http://localhost:8080") == seen
