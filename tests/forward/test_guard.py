"""Who may borrow the credential: the guard's decisions as tables, then on the wire (law 19)."""

import pytest
from conftest import HouseMaker
from wire import OK, answering, caller, converse, upstream

from proxy.errors import CallerError, ProxyError
from proxy.forward.guard import Admitted, Gate, admit, names_us, readings_of
from proxy.forward.headers import Head

HOST = (b"Host", b"localhost")


Field = tuple[bytes, bytes]


def head(*fields: Field, method: str = "GET", target: str = "/x", version: tuple[int, int] = (1, 1)) -> Head:
    return Head(method, target, version, (HOST, *fields))


def verdict(asked: Head, gate: Gate | None = None) -> int:
    """Return the status that a request is refused with; 0 if it is let in."""
    try:
        admit(asked, gate or Gate())
    except ProxyError as refusal:
        return refusal.status
    return 0


OURS = [
    "localhost",
    "LOCALHOST",
    "localhost.",
    "localhost:8080",
    "localhost:",
    "127.0.0.1",
    "127.0.0.1:1",
    "127.8.9.10",
    "[::1]",
    "[::1]:80",
    "[0:0:0:0:0:0:0:1]",
]
NOT_OURS = [
    "",
    "evil.example",
    "evil.example:8080",
    "localhost.evil.example",
    "127.0.0.1.nip.io",
    "127.0.0.1@evil.example",
    "evil.example@127.0.0.1",
    "user:pw@localhost",
    "0.0.0.0",  # noqa: S104 - a name to refuse
    "0.0.0.0:8080",
    "[::]",
    "[::]:8080",
    "[::ffff:127.0.0.1]",
    "[127.0.0.1]",  # brackets are for what has colons (RFC 3986 §3.2.2)
    "[::1.]",
    "[::1::]",
    "[fe80]",
    "[::1%25lo]",
    "[::ffff:7f00:1]:8080",
    "::1",
    "localhost:8080:1",
    "localhost:port",
    "localhost:123456",
    "localhost/x",
    "localhost?x",
    " localhost",
    "localhost, localhost",
    "127.1",
    "2130706433",
    "0x7f000001",
    "[::1",
    "[fe80::1%lo]",
    "192.168.1.10",
    "localhost\\",
]


@pytest.mark.parametrize("host", OURS)
def test_a_loopback_name_is_ours_with_any_port(host: str) -> None:
    """Port-forwards and `-p 9000:8080` must work."""
    assert names_us(host, Gate())


@pytest.mark.parametrize("host", NOT_OURS)
def test_no_other_name_is_ours(host: str) -> None:
    """DNS rebinding arrives with the attacker's name in Host."""
    assert not names_us(host, Gate())


def test_whoever_names_another_host_is_told_which_to_name() -> None:
    """An address, for `localhost` may be ::1 to an app."""
    with pytest.raises(CallerError, match=r"Write 127\.0\.0\.1 in the app, .* to listeners\[\]\.allowed_hosts"):
        admit(Head("GET", "/", (1, 1), ((b"Host", b"evil.example"),)), Gate())


def test_whoever_asks_for_a_tunnel_is_told_where_our_address_belongs() -> None:
    """The app's HTTPS_PROXY names us: its author knows nothing of a CONNECT."""
    with pytest.raises(CallerError, match=r"no forward proxy\. Make its address the app's base URL, .* HTTPS_PROXY"):
        admit(head(method="CONNECT", target="api.pandadoc.com:443"), Gate())
    with pytest.raises(CallerError, match="TRACE is not forwarded"):
        admit(head(method="TRACE"), Gate())


def test_allowed_hosts_and_the_bound_address_are_ours() -> None:
    gate = Gate(allowed_hosts=frozenset({"pandadoc-proxy", "proxy.default.svc"}), bound_to="10.1.2.3")
    assert all(names_us(host, gate) for host in ("pandadoc-proxy:8080", "Proxy.Default.Svc", "10.1.2.3:8080"))
    assert not names_us("10.1.2.4", gate)
    assert not names_us("x.pandadoc-proxy", gate)


@pytest.mark.parametrize("host", ["[fd00::a]", "[FD00:0:0::A]:8080", "[fd00:0000:0000:0000:0000:0000:0000:000a]"])
def test_an_address_is_the_same_however_it_is_written(host: str) -> None:
    """The configuration has it in its shortest form."""
    assert names_us(host, Gate(allowed_hosts=frozenset({"fd00::a"})))
    assert names_us(host, Gate(bound_to="fd00::a"))
    assert not names_us(host.replace("a", "b").replace("A", "b"), Gate(allowed_hosts=frozenset({"fd00::a"})))


def test_a_star_lets_any_host_pass_but_the_unspecified_address() -> None:
    gate = Gate(allowed_hosts=frozenset({"*"}))
    assert names_us("anything.example", gate)
    assert not names_us("0.0.0.0:8080", gate)
    assert not names_us("[0::0]:8080", gate)
    assert not names_us("not/a/host", gate)
    assert not names_us("[1.2.3.4]", gate)
    assert names_us("a" * 261, gate)
    assert not names_us("a" * 262, gate)  # longer than any name and its port


def test_a_heads_repr_shows_nothing_that_may_be_a_secret() -> None:
    assert "hush" not in repr(head((b"Cookie", b"hush"), target="/?q=hush"))


VERDICTS = {
    "a plain request": (head(), 0),
    "no host": (Head("GET", "/", (1, 0), ()), 400),
    "two hosts": (head((b"host", b"localhost")), 400),
    "another host": (Head("GET", "/", (1, 1), ((b"Host", b"evil.example"),)), 421),
    "a page's origin": (head((b"Origin", b"https://evil.example")), 403),
    "an opaque origin": (head((b"origin", b"null")), 403),
    "our own origin, for no page is served here": (head((b"Origin", b"http://localhost:8080")), 403),
    "cross-site": (head((b"Sec-Fetch-Site", b"cross-site")), 403),
    "same-site": (head((b"Sec-Fetch-Site", b"same-site")), 403),
    "same-origin": (head((b"Sec-Fetch-Site", b"same-origin")), 403),
    "typed into the address bar": (head((b"Sec-Fetch-Site", b"none")), 0),
    "what a page's rules load ahead": (head((b"Sec-Fetch-Site", b"none"), (b"Sec-Purpose", b"prefetch")), 403),
    "what a service worker is handed": (
        head((b"Sec-Fetch-Site", b"none"), (b"Service-Worker-Navigation-Preload", b"true")),
        403,
    ),
    "Node's fetch": (head((b"Sec-Fetch-Mode", b"cors")), 0),
    "two marks": (head((b"Sec-Fetch-Site", b"none"), (b"sec-fetch-site", b"cross-site")), 403),
    "a preflight": (
        head((b"Origin", b"https://e.example"), (b"Access-Control-Request-Method", b"PUT"), method="OPTIONS"),
        403,
    ),
    "OPTIONS": (head(method="OPTIONS"), 0),
    "HEAD": (head(method="HEAD"), 0),
    "CONNECT": (head(method="CONNECT", target="api.pandadoc.com:443"), 405),
    "TRACE": (head(method="TRACE"), 405),
    "a method of RTSP": (head(method="DESCRIBE", version=(1, 0)), 400),
    "a method of ICE": (head(method="SOURCE"), 400),
    "a WebSocket": (head((b"Connection", b"Upgrade"), (b"Upgrade", b"WebSocket")), 403),
    "h2c is dropped, not refused": (head((b"Upgrade", b"h2c")), 0),
    "HTTP/2.0": (head(version=(2, 0)), 400),
    "HTTP/1.0": (head(version=(1, 0)), 0),
    "chunked in HTTP/1.0": (head((b"Transfer-Encoding", b"chunked"), version=(1, 0)), 400),
    "chunked": (head((b"Transfer-Encoding", b"Chunked")), 0),
    "gzip, chunked": (head((b"Transfer-Encoding", b"gzip, chunked")), 400),
    "chunked twice": (head((b"Transfer-Encoding", b"chunked"), (b"Transfer-Encoding", b"chunked")), 400),
    "a length": (head((b"Content-Length", b"05")), 0),
    "a length of twenty-one digits": (head((b"Content-Length", b"0" * 20 + b"5")), 400),
    "a length with a sign": (head((b"Content-Length", b"+5")), 400),
    "an unknown expectation": (head((b"Expect", b"200-ok")), 400),
    "100-continue": (head((b"Expect", b"100-Continue")), 0),
    "latin-1 in a field": (head((b"X", b"caf\xe9")), 0),
    "UTF-8 in a field": (head((b"X", b"caf\xc3\xa9")), 0),
    "OPTIONS *": (head(method="OPTIONS", target="*"), 400),
    "a fragment": (head(target="/a#b"), 400),
    "a backslash": (head(target="/\\evil.example/"), 400),
    "raw non-ASCII": (head(target="/é"), 400),
    "a control character": (head(target="/a\x01"), 400),
    "DEL": (head(target="/a\x7f"), 400),
    "no slash": (head(target="x"), 400),
    "authority-form": (head(target="evil.example:443"), 400),
    "absolute-form of ours": (head(target="http://localhost:8080/x"), 0),
    "absolute-form of another": (head(target="http://evil.example/x"), 421),
    "absolute-form with userinfo": (head(target="http://localhost@evil.example/x"), 421),
    "absolute-form of another scheme": (head(target="ftp://localhost/x"), 400),
    "absolute-form without a path": (head(target="http://localhost"), 400),
    "a leading double slash": (head(target="//evil.example/x"), 0),
}


@pytest.mark.parametrize(("asked", "expected"), VERDICTS.values(), ids=VERDICTS)
def test_the_guard_decides(asked: Head, expected: int) -> None:
    assert verdict(asked) == expected


@pytest.mark.parametrize(("asked", "expected"), VERDICTS.values(), ids=VERDICTS)
def test_what_a_caller_has_asked_before_changes_nothing(asked: Head, expected: int) -> None:
    gate = Gate()
    for before, _ in VERDICTS.values():
        verdict(before, gate)
        assert verdict(Head(asked.method, asked.target, asked.version, asked.fields, before), gate) == expected


def test_another_gate_judges_anew_what_a_caller_repeats() -> None:
    fields = ((b"Host", b"proxy.example"),)
    before = Head("GET", "/x", (1, 1), fields)
    for _ in range(5):
        assert verdict(Head("GET", "/x", (1, 1), fields, before), Gate(allowed_hosts=frozenset({"proxy.example"}))) == 0
        assert verdict(Head("GET", "/x", (1, 1), fields, before), Gate()) == 421
        assert verdict(Head("GET", "/" + "x" * 99, (1, 1), fields, before), Gate(max_head=99)) == 431
    assert len(before.found) == 1


NAVIGATION = ((b"Sec-Fetch-Mode", b"navigate"), (b"Sec-Fetch-Dest", b"document"))
SAME_ORIGIN = (b"Sec-Fetch-Site", b"same-origin")

ASKED_AGAIN = {
    "typed": (head((b"Sec-Fetch-Site", b"none"), *NAVIGATION), 0),
    "by a program": (head(), 0),
    "by itself": (head(SAME_ORIGIN, *NAVIGATION), 0),
    "by a page of another port": (head((b"Sec-Fetch-Site", b"same-site"), *NAVIGATION), 403),
    "by a page of another site": (head((b"Sec-Fetch-Site", b"cross-site"), *NAVIGATION), 403),
    "by a script": (head(SAME_ORIGIN, (b"Sec-Fetch-Mode", b"cors"), (b"Sec-Fetch-Dest", b"empty")), 403),
    "by a worker": (head(SAME_ORIGIN, (b"Sec-Fetch-Mode", b"navigate"), (b"Sec-Fetch-Dest", b"empty")), 403),
    "for a frame": (head(SAME_ORIGIN, (b"Sec-Fetch-Mode", b"navigate"), (b"Sec-Fetch-Dest", b"iframe")), 403),
    "without saying for what": (head(SAME_ORIGIN), 403),
    "ahead of a click": (head(SAME_ORIGIN, *NAVIGATION, (b"Sec-Purpose", b"prefetch;prerender")), 403),
    "by a form": (head(SAME_ORIGIN, *NAVIGATION, (b"Origin", b"http://localhost:8081")), 403),
    "at a name that is not ours": (
        Head("GET", "/", (1, 1), ((b"Host", b"evil.example"), SAME_ORIGIN, *NAVIGATION)),
        421,
    ),
}


@pytest.mark.parametrize(("asked", "expected"), ASKED_AGAIN.values(), ids=ASKED_AGAIN)
def test_a_page_of_ours_may_be_asked_for(asked: Head, expected: int) -> None:
    assert verdict(asked, Gate(shows=True)) == expected


def test_what_is_let_in_keeps_its_raw_target_and_names_its_host() -> None:
    assert admit(head(target="//a%2Fb/../?x"), Gate()) == Admitted("//a%2Fb/../?x", b"localhost")
    assert admit(head(target="HTTP://LocalHost:80/a?b"), Gate()) == Admitted("/a?b", b"localhost")


def test_a_path_is_read_without_its_query_behind_what_pandadoc_sees_of_the_upstreams_prefix() -> None:
    assert readings_of("/members/current?x=/..", Gate(prefix="/public/v1")) == {"/public/v1/members/current"}
    assert readings_of("/a%2Fb/../?x", Gate()) == {"/a%2Fb/..", "/a/b/..", "/a", ""}
    assert readings_of("//x/a", Gate(prefix="/gateway")) == {"/x/a", "/a"}
    with pytest.raises(CallerError, match="leads out of"):
        readings_of("/../x", Gate(prefix="/gateway"))


def test_a_head_beyond_its_limits_is_a_431() -> None:
    assert verdict(head((b"X", b"y" * 100)), Gate(max_head=100)) == 431
    assert verdict(head((b"X", b"1"), (b"Y", b"1")), Gate(max_headers=2)) == 431
    assert verdict(head((b"X", b"1")), Gate(max_headers=2)) == 0


ON_THE_WIRE = {
    "rebinding": (b"GET / HTTP/1.1\r\nHost: evil.example:8080\r\n\r\n", 421),
    "a form's post": (b"POST / HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\nContent-Length: 1\r\n\r\nx", 403),
    "the token endpoint": (b"POST /oauth2/access_token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", 403),
    "CONNECT": (b"CONNECT api.pandadoc.com:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
    "TRACE": (b"TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
    "a method of RTSP": (b"DESCRIBE / RTSP/1.0\r\nHost: localhost\r\n\r\n", 400),
    "a method of ICE": (b"SOURCE / ICE/1.0\r\nHost: localhost\r\n\r\n", 400),
    "a WebSocket": (
        (
            b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ),
        403,
    ),
    "HTTP/2.0": (b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "length and chunked": (
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "two lengths": (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", 400),
    "space before the colon": (b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization : x\r\n\r\n", 400),
    "a folded field": (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n", 400),
    "bare line feeds": (b"GET / HTTP/1.1\nHost: localhost\n\n", 400),
    "an unknown method": (b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "a field of 70 KiB": (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", 431),
    "129 fields": (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: 1\r\n" * 128 + b"\r\n", 431),
    "garbage with a secret": (b"Authorization: Bearer not-for-logs\r\n\r\n", 400),
}


@pytest.mark.parametrize(("request_bytes", "status"), ON_THE_WIRE.values(), ids=ON_THE_WIRE)
async def test_a_refusal_closes_the_connection_and_no_byte_goes_up(
    api_key_house: HouseMaker, request_bytes: bytes, status: int
) -> None:
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        house.secrets.add("not-for-logs")
        async with caller(house.port) as line:
            await line.send(request_bytes)
            seen = await line.answer()
            assert seen.start.startswith(b"HTTP/1.1 %d " % status)
            assert seen.values(b"content-type") == [b"application/problem+json"]
            assert seen.values(b"proxy-status")
            assert not seen.values(b"access-control-allow-origin")
            assert b"not-for-logs" not in seen.body
            await line.closed()
        assert not up.connections
        assert not house.ear.heard("Traceback")


async def test_health_is_answered_here_whatever_the_host(api_key_house: HouseMaker) -> None:
    """A probe comes with the pod's address in Host."""
    house = await api_key_house()
    seen = await converse(house.port, b"GET /healthz HTTP/1.1\r\nHost: 10.1.2.3:8080\r\n\r\n")
    assert seen.start == b"HTTP/1.1 200 OK"
    assert seen.body == b"ok\n"
    assert not house.simulator.api_calls()


async def test_health_may_be_forwarded(api_key_house: HouseMaker) -> None:
    house = await api_key_house({"listeners": [{"bind": "127.0.0.1:0", "health": None}]})
    assert (await house.get("/healthz")).status == 404
    assert len(house.simulator.api_calls()) == 1
