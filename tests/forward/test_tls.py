"""TLS on the way in: what is spoken, what is refused, and that a connection has its place before its handshake."""

import asyncio
import io
import socket
import ssl
import warnings
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import trustme
from conftest import HouseMaker
from rig import House, until
from tls import CertificateFolder, client_hello, trusting
from wire import OK, Caller, Stage, answering, caller, converse, upstream

from proxy.app import LAST_WORD
from proxy.forward.connection import Answering, Connection
from proxy.forward.incoming import Incoming
from proxy.forward.tls import Records

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
REFUSED = (ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)


@pytest.fixture
def certificates(tmp_path: Path) -> CertificateFolder:
    folder = CertificateFolder(tmp_path / "tls")
    folder.renew()
    return folder


@pytest.fixture
def context(certificates: CertificateFolder) -> ssl.SSLContext:
    return trusting(certificates.ca)


def at_tls(certificates: CertificateFolder, **more: object) -> dict[str, object]:
    return {"listeners": [{"bind": "127.0.0.1:0", "tls": {**certificates.files, **more}}]}


async def refused(house: House, context: ssl.SSLContext) -> bool:
    """Tell whether a caller gets no answer. With TLS 1.3 it may think that its handshake succeeded."""
    try:
        async with asyncio.timeout(10):
            await converse(house.port, GET, tls=context)
    except REFUSED:
        return True
    return False


async def test_a_request_over_tls_is_served_and_its_location_is_ours(
    api_key_house: HouseMaker, certificates: CertificateFolder, context: ssl.SSLContext
) -> None:
    async def script(stage: Stage) -> None:
        while True:
            await stage.request()
            here = stage.upstream.url.encode() + b"/next"
            await stage.say(b"HTTP/1.1 302 Found\r\nLocation: " + here + b"\r\nContent-Length: 0\r\n\r\n")

    async with upstream(script) as up:
        house = await api_key_house({"upstream": {"url": up.url}, **at_tls(certificates)})
        assert house.url.startswith("https://127.0.0.1:")
        assert house.ear.heard(f"{house.url} lends credential default")
        seen = await house.get("/x", ssl=context)
        assert seen.headers["Location"] == f"{house.url}/next"
        assert (await house.get("/healthz", ssl=context)).status == 200


@pytest.mark.parametrize("offered", [["h2", "http/1.1"], ["h2"], []])
async def test_http_1_1_is_all_that_is_spoken(
    api_key_house: HouseMaker, certificates: CertificateFolder, context: ssl.SSLContext, offered: list[str]
) -> None:
    if offered:
        context.set_alpn_protocols(offered)
    house = await api_key_house(at_tls(certificates))
    async with caller(house.port, context) as line:
        tls = line.writer.get_extra_info("ssl_object")
        assert tls.selected_alpn_protocol() == ("http/1.1" if "http/1.1" in offered else None)
        await line.send(GET)
        assert (await line.answer()).start == b"HTTP/1.1 404 Not Found"


@pytest.mark.parametrize(("version", "spoken"), [("TLSv1_1", False), ("TLSv1_2", True), ("TLSv1_3", True)])
async def test_tls_1_2_is_the_oldest_that_is_spoken(
    api_key_house: HouseMaker, certificates: CertificateFolder, context: ssl.SSLContext, version: str, *, spoken: bool
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the old one is: that is the point
        context.set_ciphers("DEFAULT@SECLEVEL=0")
        context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    house = await api_key_house(at_tls(certificates))
    assert await refused(house, context) is not spoken


async def test_large_bodies_pass_whole_both_ways(
    api_key_house: HouseMaker, certificates: CertificateFolder, context: ssl.SSLContext
) -> None:
    size = 20_000_000

    async def script(stage: Stage) -> None:
        body = (await stage.request()).body
        await stage.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    async with upstream(script) as up:
        house = await api_key_house({"upstream": {"url": up.url}, **at_tls(certificates)})
        body = bytes(range(256)) * (size // 256)
        assert (await house.ask("POST", "/x", data=io.BytesIO(body), ssl=context)).body == body


async def test_draining_waits_for_a_slow_callers_last_byte(
    api_key_house: HouseMaker, certificates: CertificateFolder, context: ssl.SSLContext
) -> None:
    """Between the answer and the kernel are two buffers now."""
    size = 20_000_000

    async def script(stage: Stage) -> None:
        await stage.request()
        await stage.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)

    async with upstream(script) as up:
        house = await api_key_house({"upstream": {"url": up.url}, **at_tls(certificates)})
        async with caller(house.port, context) as line:
            await line.send(GET)
            await line.reader.readuntil(b"\r\n\r\n")
            draining = asyncio.create_task(house.proxy.drain())
            read = 0
            while piece := await line.reader.read(2**18):
                read += len(piece)
                await asyncio.sleep(0)
            assert read == size
            await draining


async def test_draining_closes_idle_connections_and_unfinished_handshakes(
    api_key_house: HouseMaker, certificates: CertificateFolder, context: ssl.SSLContext
) -> None:
    house = await api_key_house(at_tls(certificates))
    async with caller(house.port, context) as idle, caller(house.port) as silent:
        await idle.send(GET)
        await idle.answer()
        async with asyncio.timeout(5):
            await house.proxy.drain()
        assert await idle.closed() == b""
        assert await silent.closed() == b""


@dataclass
class Sealed:
    """A caller whose records can be had in pieces."""

    line: Caller
    context: ssl.SSLContext

    def __post_init__(self) -> None:
        self._came, self._goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = self.context.wrap_bio(self._came, self._goes, server_hostname="localhost")

    async def shake_hands(self) -> None:
        await self._do(self._tls.do_handshake)

    async def ask(self) -> bytes:
        await self.line.send(self.record(GET))
        return await self.answer()

    async def answer(self) -> bytes:
        return await self._do(lambda: self._tls.read(1000)) or b""

    def record(self, data: bytes) -> bytes:
        self._tls.write(data)
        return self._goes.read()

    async def _do(self, step: Callable[[], bytes | None]) -> bytes | None:
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                await self.line.send(self._goes.read())
                self._came.write(await self.line.reader.read(65536))
            finally:
                await self.line.send(self._goes.read())


async def test_draining_waits_for_the_rest_of_a_record_that_has_begun_to_come(
    api_key_house: HouseMaker, certificates: CertificateFolder, context: ssl.SSLContext
) -> None:
    """What has been read of it is a request's beginning, though nobody can read it yet."""
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}, **at_tls(certificates)})
        async with caller(house.port) as line, asyncio.timeout(10):
            sealed = Sealed(line, context)
            await sealed.shake_hands()
            assert (await sealed.ask()).endswith(b"ok")
            record = sealed.record(GET)
            await line.send(record[:30])
            await asyncio.sleep(LAST_WORD / 2)  # until it is read
            draining = asyncio.create_task(house.proxy.drain())
            await asyncio.sleep(2 * LAST_WORD)
            await line.send(record[30:])
            assert (await sealed.answer()).endswith(b"ok")
            await draining


@pytest.mark.parametrize("when", ["at first", "between requests", "behind a request"])
async def test_a_record_that_never_ends_is_a_head_that_comes_too_slowly(
    api_key_house: HouseMaker, certificates: CertificateFolder, context: ssl.SSLContext, when: str
) -> None:
    """It would have a drain wait for all of its time."""
    async with upstream(answering(OK)) as up:
        limits = {"limits": {"header_timeout": "200ms"}}
        house = await api_key_house({"upstream": {"url": up.url}, **at_tls(certificates), **limits})
        async with caller(house.port) as line, asyncio.timeout(10):
            sealed = Sealed(line, context)
            await sealed.shake_hands()
            if when == "between requests":
                assert (await sealed.ask()).endswith(b"ok")
            await line.send((sealed.record(GET) if when == "behind a request" else b"") + sealed.record(GET)[:3])
            if when == "behind a request":
                assert (await sealed.answer()).endswith(b"ok")
            assert (await sealed.answer()).startswith(b"HTTP/1.1 408 ")


async def test_a_record_that_comes_in_pieces_leaves_the_connection_with_all_its_time(
    api_key_house: HouseMaker, certificates: CertificateFolder, context: ssl.SSLContext
) -> None:
    """Whatever was in it: nothing of HTTP, perhaps."""
    async with upstream(answering(OK)) as up:
        limits = {"limits": {"header_timeout": "200ms"}}
        house = await api_key_house({"upstream": {"url": up.url}, **at_tls(certificates), **limits})
        async with caller(house.port) as line, asyncio.timeout(10):
            sealed = Sealed(line, context)
            await sealed.shake_hands()
            record = sealed.record(GET)
            for piece in (record[:9], record[9:]):
                await line.send(piece)
                await asyncio.sleep(0.05)
            assert (await sealed.answer()).endswith(b"ok")
            (connection,) = house.server.connections
            assert isinstance(connection, Connection)
            for inside in (True, False):  # as a KeyUpdate in two pieces does, which no Python client sends
                connection.seal(inside=inside)
            await asyncio.sleep(0.4)
            assert (await sealed.ask()).endswith(b"ok")


async def test_a_record_of_a_body_that_begins_just_before_its_request_is_begun_leaves_no_clock_behind(
    api_key_house: HouseMaker,
    certificates: CertificateFolder,
    context: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = asyncio.Event()
    take = Connection._next_request  # noqa: SLF001 - the last that is called before

    def then(self: Connection) -> tuple[Incoming, Answering]:
        found = take(self)
        self.seal(inside=True)
        taken.set()
        return found

    monkeypatch.setattr(Connection, "_next_request", then)
    async with upstream(answering(OK)) as up:
        limits = {"limits": {"header_timeout": "200ms"}}
        house = await api_key_house({"upstream": {"url": up.url}, **at_tls(certificates), **limits})
        async with caller(house.port, context) as line, asyncio.timeout(10):
            for _ in range(2):
                await line.send(GET.replace(b"GET", b"POST")[:-2] + b"Content-Length: 5\r\n\r\n")
                await taken.wait()
                taken.clear()
                await line.send(b"hello")
                assert (await line.answer()).body == b"ok"
                await asyncio.sleep(0.4)


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5, 6, 9, 100])
def test_a_stream_stands_within_a_record_until_that_is_whole(step: int) -> None:
    """Whatever is in it: a KeyUpdate brings nothing to read (RFC 8446 §4.6.3)."""
    stream = b"".join(b"\x17\x03\x03" + len(body).to_bytes(2) + body for body in (b"abc", b"", b"x" * 300, b"d"))
    ends = {0, 8, 13, 318, 324}
    records = Records()
    for start in range(0, len(stream), step):
        piece = stream[start : start + step]
        assert records.feed(memoryview(piece)) is (start + len(piece) not in ends)


@pytest.mark.parametrize("pieces", [1, 2])
async def test_an_empty_line_in_a_record_of_its_own_is_nobodys_slow_head(
    api_key_house: HouseMaker, certificates: CertificateFolder, context: ssl.SSLContext, pieces: int
) -> None:
    async with upstream(answering(OK)) as up:
        limits = {"limits": {"header_timeout": "100ms"}}
        house = await api_key_house({"upstream": {"url": up.url}, **at_tls(certificates), **limits})
        async with caller(house.port) as line:
            sealed = Sealed(line, context)
            await sealed.shake_hands()
            assert (await sealed.ask()).endswith(b"ok")
            record = sealed.record(b"\r\n")
            for piece in (record[:9], record[9:]) if pieces == 2 else (record,):
                await line.send(piece)
                await asyncio.sleep(0.02)
            (connection,) = house.server.connections
            assert isinstance(connection, Connection)
            for inside in (True, False):  # as a KeyUpdate in two pieces does
                connection.seal(inside=inside)
            await asyncio.sleep(0.2)
            assert (await sealed.ask()).endswith(b"ok")


async def test_an_answer_that_breaks_off_shows_it(
    api_key_house: HouseMaker, certificates: CertificateFolder, context: ssl.SSLContext
) -> None:
    async def script(stage: Stage) -> None:
        await stage.request()
        await stage.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

    async with upstream(script) as up:
        house = await api_key_house({"upstream": {"url": up.url}, **at_tls(certificates)})
        with pytest.raises(REFUSED):
            await converse(house.port, GET, tls=context)


async def test_limits_are_said_over_tls_too(
    api_key_house: HouseMaker, certificates: CertificateFolder, context: ssl.SSLContext
) -> None:
    limits = {"limits": {"header_timeout": "200ms", "max_body": "1KiB"}}
    house = await api_key_house({**at_tls(certificates), **limits})
    cases = {
        b"GET / HT": b"HTTP/1.1 408 ",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 100_000: b"HTTP/1.1 431 ",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999\r\n\r\n" + bytes(9_999_999): b"HTTP/1.1 413 ",
    }
    for request, start in cases.items():
        async with caller(house.port, context) as line:
            with suppress(ConnectionError):
                await line.send(request)
            assert (await line.answer()).start.startswith(start)


async def test_a_renewed_certificate_is_shown_to_new_connections_and_old_ones_go_on(
    api_key_house: HouseMaker, certificates: CertificateFolder
) -> None:
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}, **at_tls(certificates)})
        first = trusting(certificates.ca)
        async with caller(house.port, first) as line:
            certificates.ca = trustme.CA()
            certificates.renew()
            second = trusting(certificates.ca)
            assert await refused(house, second)
            await house.look()
            assert (await converse(house.port, GET, tls=second)).body == b"ok"
            assert await refused(house, first)
            await line.send(GET)
            assert (await line.answer()).body == b"ok"
        assert house.ear.heard("INFO", "new connections get the new certificate")
        before = len(house.ear.lines)
        await house.look()
        assert len(house.ear.lines) == before


async def test_a_pair_that_is_half_replaced_is_told_once_and_taken_when_it_is_whole(
    api_key_house: HouseMaker, certificates: CertificateFolder, context: ssl.SSLContext
) -> None:
    house = await api_key_house(at_tls(certificates))
    old = (certificates.path / "key").read_bytes()
    leaf = certificates.renew()
    certificates.put(key=old)
    for _ in range(3):
        await house.look()
        assert not await refused(house, context)
    told = [line for line in house.ear.lines if "is not the key of the first certificate" in line]
    assert len(told) == 1
    assert "tls.key" in told[0]
    assert "until then new connections get what was read before" in told[0]
    certificates.put(key=leaf.private_key_pem.bytes())
    await house.look()
    async with caller(house.port, context) as line:
        shown = line.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        assert shown == ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())


@pytest.mark.parametrize("part", ["cert", "key"])
async def test_a_file_that_is_gone_or_garbage_changes_nothing(
    api_key_house: HouseMaker, certificates: CertificateFolder, context: ssl.SSLContext, part: str
) -> None:
    house = await api_key_house(at_tls(certificates))
    certificates.put(**{part: b"garbage"})
    await house.look()
    assert not await refused(house, context)
    (certificates.path / part).unlink()
    await house.look()
    assert not await refused(house, context)
    assert house.ear.heard("WARNING", f"tls.{part}: ", "name a PEM file")
    assert house.ear.heard("WARNING", f"tls.{part}: ", "No such file")


class Callers:
    """Two authorities that issue callers' certificates, and a listener that knows them by a file."""

    def __init__(self, certificates: CertificateFolder) -> None:
        self.old, self.new = trustme.CA(), trustme.CA()
        self._own = certificates
        certificates.put(client_ca=self.old.cert_pem.bytes())

    def context(self, issuer: trustme.CA | None) -> ssl.SSLContext:
        return trusting(self._own.ca, issuer.issue_cert("app@example.com") if issuer else None)

    async def house(self, make: HouseMaker) -> House:
        return await make(at_tls(self._own, client_ca=str(self._own.path / "client_ca")))


@pytest.fixture
def callers(certificates: CertificateFolder) -> Callers:
    return Callers(certificates)


async def test_with_client_ca_a_caller_must_show_a_certificate_of_it(
    api_key_house: HouseMaker, callers: Callers
) -> None:
    house = await callers.house(api_key_house)
    assert await refused(house, callers.context(None))
    assert await refused(house, callers.context(callers.new))
    assert not await refused(house, callers.context(callers.old))
    assert house.simulator.api_calls() != []
    assert house.ear.heard("INFO", "no TLS with 127.0.0.1: ")


@pytest.mark.parametrize(("version", "alert"), [("TLSv1_2", "HANDSHAKE_FAILURE"), ("TLSv1_3", "CERTIFICATE_REQUIRED")])
async def test_a_caller_without_a_certificate_is_told_that_it_needs_one(
    api_key_house: HouseMaker, callers: Callers, version: str, alert: str
) -> None:
    house = await callers.house(api_key_house)
    context = callers.context(None)
    context.maximum_version = ssl.TLSVersion[version]
    with pytest.raises(ssl.SSLError, match=alert):
        await asyncio.to_thread(resumed, house.port, context, None)


def upload(port: int, context: ssl.SSLContext) -> bytes:
    """Send a megabyte, and only then listen; return the answer's beginning."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as line,
    ):
        line.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000_000)
        return line.recv(1000)


async def test_a_caller_without_a_certificate_is_told_so_whatever_it_sends_meanwhile(
    api_key_house: HouseMaker, callers: Callers
) -> None:
    """With TLS 1.3 its handshake is over before ours: a reset for what it sends would overtake the alert."""
    house = await callers.house(api_key_house)
    for _ in range(5):
        with pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
            await asyncio.to_thread(upload, house.port, callers.context(None))
    await until(lambda: not house.server.turned_away)


async def test_callers_whose_handshake_failed_hold_no_places(
    api_key_house: HouseMaker, certificates: CertificateFolder, context: ssl.SSLContext
) -> None:
    """They linger, but beside those who have one, and there are never many."""
    limits = {"limits": {"max_connections": 8}}
    house = await api_key_house({**at_tls(certificates), **limits})
    async with AsyncExitStack() as lines:
        for _ in range(70):
            line = await lines.enter_async_context(caller(house.port))
            await line.send(GET)
            await line.answer()
        assert house.server.here == []
        assert len(house.server.turned_away) == 64
        assert not await refused(house, context)
    await until(lambda: not house.server.turned_away)


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
async def test_another_client_ca_takes_effect_both_ways(
    api_key_house: HouseMaker, callers: Callers, certificates: CertificateFolder, version: str
) -> None:
    house = await callers.house(api_key_house)
    of_old, of_new = callers.context(callers.old), callers.context(callers.new)
    of_old.maximum_version = of_new.maximum_version = ssl.TLSVersion[version]
    assert (await refused(house, of_old), await refused(house, of_new)) == (False, True)
    certificates.put(client_ca=callers.new.cert_pem.bytes())
    await house.look()
    assert (await refused(house, of_old), await refused(house, of_new)) == (True, False)
    certificates.put(client_ca=callers.old.cert_pem.bytes() + callers.new.cert_pem.bytes())
    await house.look()
    assert (await refused(house, of_old), await refused(house, of_new)) == (False, False)


async def test_a_connection_does_not_outlive_the_authority_it_was_verified_with(
    api_key_house: HouseMaker, callers: Callers, certificates: CertificateFolder
) -> None:
    """The request that it has is answered; idle ones are closed, and so is a handshake that began before."""

    async def script(stage: Stage) -> None:
        while True:
            await stage.request()
            await stage.upstream.cue.wait()
            await stage.say(OK)

    async with upstream(script) as up:
        house = await callers.house(api_key_house)
        house.settings = {**house.settings, "upstream": {"url": up.url}}
        await house.restart()
        context = callers.context(callers.old)
        async with caller(house.port, context) as busy, caller(house.port, context) as idle, caller(house.port) as new:
            await new.send(client_hello(context))
            await new.reader.read(1)
            await busy.send(GET)
            await until(lambda: len(up.heard) == 1)
            certificates.renew()
            await house.look()
            await idle.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await idle.answer()).body == b"ok\n"  # a new certificate of ours is nobody's concern
            certificates.put(client_ca=callers.new.cert_pem.bytes())
            await house.look()
            assert await idle.closed() == b""
            await new.closed()
            up.cue.set()
            assert (await busy.answer()).body == b"ok"
            assert await busy.closed() == b""


async def test_a_connection_that_is_just_being_let_in_is_retired_too(
    api_key_house: HouseMaker, callers: Callers
) -> None:
    """Its protocol is made already, by what held until now, and has not heard of the connection yet."""
    house = await callers.house(api_key_house)
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)  # noqa: FBT003 - the standard library's own signature
    with ours, theirs:
        loop = asyncio.get_running_loop()
        coming = asyncio.create_task(loop.connect_accepted_socket(house.server, ours))
        await asyncio.sleep(0)
        house.server.retire()
        await coming
        async with asyncio.timeout(5):
            assert await loop.sock_recv(theirs, 1) == b""


def resumed(port: int, context: ssl.SSLContext, session: ssl.SSLSession | None) -> tuple[bytes, bool, ssl.SSLSession]:
    """Ask with an earlier session; return the answer's beginning, whether the session was taken, and the new one."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost", session=session) as line,
    ):
        line.sendall(GET)
        answer = line.recv(1000)
        assert line.session is not None
        return answer, bool(line.session_reused), line.session


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
async def test_a_resumed_session_does_not_outlive_the_authority_it_was_verified_with(
    api_key_house: HouseMaker, callers: Callers, certificates: CertificateFolder, version: str
) -> None:
    house = await callers.house(api_key_house)
    context = callers.context(callers.old)
    context.maximum_version = ssl.TLSVersion[version]
    answer, _, session = await asyncio.to_thread(resumed, house.port, context, None)
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert not session.has_ticket
    certificates.put(client_ca=callers.new.cert_pem.bytes())
    await house.look()
    with pytest.raises(ssl.SSLError, match="UNKNOWN_CA"):
        await asyncio.to_thread(resumed, house.port, context, session)


async def test_a_session_does_not_survive_a_renewal_but_its_caller_does(
    api_key_house: HouseMaker, certificates: CertificateFolder, context: ssl.SSLContext
) -> None:
    house = await api_key_house(at_tls(certificates))
    _, _, session = await asyncio.to_thread(resumed, house.port, context, None)
    assert (await asyncio.to_thread(resumed, house.port, context, session))[1]
    certificates.renew()
    await house.look()
    answer, reused, _ = await asyncio.to_thread(resumed, house.port, context, session)
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert not reused


async def say_and_leave(port: int, said: bytes) -> bytes:
    async with caller(port) as line:
        await line.send(said)
        return await line.closed()


NO_TLS: dict[str, bytes] = {
    "plain HTTP": GET,
    "garbage": b"\x00\xff" * 500,
    "half a hello": b"\x16\x03\x01\x02\x00\x01\x00",
    "a record that is too long": b"\x16\x03\x01\xff\xff" + bytes(70_000),
    "an alert": b"\x15\x03\x01\x00\x02\x02\x28",
    "silence": b"",
}


@pytest.mark.parametrize("said", NO_TLS.values(), ids=NO_TLS.keys())
async def test_what_is_no_tls_is_closed_with_one_quiet_line_at_most(
    api_key_house: HouseMaker, certificates: CertificateFolder, context: ssl.SSLContext, said: bytes
) -> None:
    house = await api_key_house({**at_tls(certificates), "limits": {"header_timeout": "200ms"}})
    before = len(house.ear.lines)
    answer = await say_and_leave(house.port, said)
    assert answer.startswith(b"HTTP/1.1 400 ") == (said is GET)
    assert (b"HTTP/" in answer) == (said is GET)
    lines = house.ear.lines[before:]
    assert len(lines) <= 1
    assert all(line.startswith("INFO proxy.forward.tls no TLS with 127.0.0.1: ") for line in lines)
    assert not await refused(house, context)


@pytest.mark.parametrize("method", [b"GET", b"POST", b"PUT"])
async def test_plain_http_is_told_that_this_listener_speaks_tls(
    api_key_house: HouseMaker, certificates: CertificateFolder, method: bytes
) -> None:
    """It is counted; and its body is read away, so that no reset overtakes the answer."""
    house = await api_key_house(at_tls(certificates))
    body = b"x" * 1_000_000
    async with caller(house.port) as line:
        await line.send(method + b" / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n" + body)
        seen = await line.answer()
        assert seen.start == b"HTTP/1.1 400 Bad Request"
        assert b"This listener speaks TLS: write https://" in seen.body
        assert seen.values(b"connection") == [b"close"]
        assert await line.closed() == b""
    assert house.server.door.malformed == 1
    await until(lambda: not house.server.turned_away)


async def test_tls_at_a_plain_listener_is_told_in_the_log(api_key_house: HouseMaker, context: ssl.SSLContext) -> None:
    house = await api_key_house()
    assert await refused(house, context)
    assert house.ear.heard("INFO", "malformed request from 127.0.0.1: it speaks TLS, and this listener does not")


async def test_callers_that_leave_in_their_handshake_leave_nothing_behind(
    api_key_house: HouseMaker, certificates: CertificateFolder, context: ssl.SSLContext
) -> None:
    """With a goodbye, with a reset, at the first byte and in the middle of a hello."""
    house = await api_key_house(at_tls(certificates))
    server, before = house.server, len(house.ear.lines)
    hello = client_hello(context)
    for said in (b"", hello[:1], hello[:100], hello):
        for leave in (_goodbye, _reset):
            async with caller(house.port) as line:
                await line.send(said)
                leave(line.writer)
    await until(lambda: not server.here)
    assert house.ear.lines[before:] == []


def _goodbye(writer: asyncio.StreamWriter) -> None:
    writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


Opening = Callable[[ssl.SSLContext], bytes]


@pytest.mark.parametrize("opening", [lambda _: b"", client_hello], ids=["silent", "half a handshake"])
async def test_unfinished_handshakes_never_keep_others_out(
    api_key_house: HouseMaker, certificates: CertificateFolder, context: ssl.SSLContext, opening: Opening
) -> None:
    """They count from their first packet on: asyncio alone would count them when they are done."""
    limits = {"limits": {"max_connections": 8, "header_timeout": "1h"}}
    house = await api_key_house({**at_tls(certificates), **limits})
    server = house.server
    async with AsyncExitStack() as lines, caller(house.port, context) as pooled:
        await pooled.send(GET)
        await pooled.answer()
        for _ in range(20):
            for _ in range(5):
                line = await lines.enter_async_context(caller(house.port))
                await line.send(opening(context))
            assert not await refused(house, context)
            assert len(server.here) <= 8
        await pooled.send(GET)
        assert (await pooled.answer()).start == b"HTTP/1.1 404 Not Found"


async def test_where_all_are_busy_a_newcomer_hears_nothing(
    api_key_house: HouseMaker, certificates: CertificateFolder, context: ssl.SSLContext
) -> None:
    """A 503 in plain text would be nonsense to it, and a handshake is work that a flood would like to give us."""

    async def script(stage: Stage) -> None:
        await stage.request()
        await stage.upstream.cue.wait()
        await stage.say(OK)

    async with upstream(script) as up:
        settings = {"upstream": {"url": up.url}, "limits": {"max_connections": 1}, **at_tls(certificates)}
        house = await api_key_house(settings)
        async with caller(house.port, context) as busy:
            await busy.send(GET)
            await until(lambda: len(up.heard) == 1)
            assert await say_and_leave(house.port, client_hello(context)) == b""
            up.cue.set()
            assert (await busy.answer()).body == b"ok"


async def test_a_caller_that_says_no_goodbye_is_let_go(
    api_key_house: HouseMaker, certificates: CertificateFolder, context: ssl.SSLContext
) -> None:
    """TLS asks for a close_notify from both sides; who owes one gives way to others meanwhile."""
    house = await api_key_house({**at_tls(certificates), "limits": {"max_connections": 4}})
    async with AsyncExitStack() as lines:
        for _ in range(12):
            plain = await lines.enter_async_context(caller(house.port))
            there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = context.wrap_bio(there, back, server_hostname="localhost")
            steps: list[Callable[[], object]] = [
                tls.do_handshake,
                partial(tls.write, b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
                partial(tls.read, 2**16),
            ]
            while steps:
                try:
                    steps[0]()
                    steps.pop(0)
                    await plain.send(back.read())
                except ssl.SSLWantReadError:
                    await plain.send(back.read())
                    there.write(await plain.reader.read(2**16))
        assert not await refused(house, context)
