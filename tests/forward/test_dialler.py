"""The transport behind the seam: TLS that is verified, a proxy that tunnels, faults in RFC 9209's words."""

import asyncio
import errno
import resource
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from conftest import HouseMaker
from wire import OK, RESET, Stage, answering, upstream
from yarl import URL

from proxy.errors import Overloaded, UpstreamError, UpstreamTimeout
from proxy.forward.dialler import Dialler, as_proxy_error


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@asynccontextmanager
async def tls_upstream(
    authority: trustme.CA, *names: str, not_before: datetime | None = None, not_after: datetime | None = None
) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Run a TLS server that answers OK; yield its URL and the heads it has read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, not_before=not_before, not_after=not_after).configure_cert(context)
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(OK)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            heads.append(b"")
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}", heads


def pem(authority: trustme.CA, folder: Path) -> str:
    path = folder / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


async def test_a_private_authority_is_trusted_by_ca_file(
    api_key_house: HouseMaker, authority: trustme.CA, tmp_path: Path
) -> None:
    async with tls_upstream(authority, "localhost") as (url, heads):
        house = await api_key_house({"upstream": {"url": url, "ca_file": pem(authority, tmp_path)}})
        assert (await house.get("/x")).status == 200
        assert heads[0].startswith(b"GET /x HTTP/1.1\r\n")


async def test_a_certificate_nobody_vouches_for_is_refused_and_the_credential_never_leaves(
    api_key_house: HouseMaker, authority: trustme.CA
) -> None:
    async with tls_upstream(authority, "localhost") as (url, heads):
        house = await api_key_house({"upstream": {"url": url}})
        seen = await house.get("/x")
        assert seen.status == 502
        assert seen.headers["Proxy-Status"] == "pandadoc-proxy; error=tls_certificate_error"
        assert "upstream.ca_file" in seen.json["detail"]
        assert not any(heads)


NOW, DAY = datetime.now(UTC), timedelta(days=1)
FLAWS: dict[str, tuple[str, dict[str, datetime], str, str]] = {
    "another name": ("other.example", {}, "localhost", "is for another name. Check upstream.url."),
    "another address": ("127.0.0.2", {}, "127.0.0.1", "is for another name. Check upstream.url."),
    "over": ("localhost", {"not_after": NOW - DAY}, "localhost", "has expired. Check this machine's clock"),
    "not begun": ("localhost", {"not_before": NOW + DAY}, "localhost", "is not valid yet. Check this machine's clock"),
}


@pytest.mark.parametrize("flaw", FLAWS)
async def test_a_certificate_of_another_name_or_time_is_refused_for_that(
    api_key_house: HouseMaker, authority: trustme.CA, tmp_path: Path, flaw: str
) -> None:
    """No ca_file would help: a clock that is wrong looks like this."""
    name, dates, asked, said = FLAWS[flaw]
    async with tls_upstream(authority, name, **dates) as (url, heads):
        settings = {"url": url.replace("localhost", asked), "ca_file": pem(authority, tmp_path)}
        house = await api_key_house({"upstream": settings})
        seen = await house.get("/x")
        assert seen.headers["Proxy-Status"] == "pandadoc-proxy; error=tls_certificate_error"
        assert f"The upstream's certificate {said}" in seen.json["detail"]
        assert "ca_file" not in seen.json["detail"]
        assert not any(heads)


async def test_an_upstream_that_speaks_no_tls_is_told(api_key_house: HouseMaker) -> None:
    async def plain(stage: Stage) -> None:
        await stage.reader.read(1)
        await stage.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with upstream(plain) as up:
        house = await api_key_house({"upstream": {"url": up.url.replace("http://", "https://")}})
        seen = await house.get("/x")
        assert seen.status == 502
        assert seen.headers["Proxy-Status"].startswith("pandadoc-proxy; error=tls_")


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_an_upstream_that_leaves_before_its_handshake_is_told(api_key_house: HouseMaker, how: str) -> None:
    """So does what passes TCP on to something that is not there."""
    dialled = 0

    def leave(listening: socket.socket) -> None:
        nonlocal dialled
        with suppress(OSError):  # it ends with the test
            while True:
                peer, _ = listening.accept()
                dialled += 1
                if how == "reset":
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                peer.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        leaving = asyncio.create_task(asyncio.to_thread(leave, listening))
        try:
            house = await api_key_house({"upstream": {"url": f"https://localhost:{listening.getsockname()[1]}"}})
            for number in range(1, 21):
                seen = await house.ask("POST", "/x", data=b"once")
                assert seen.status == 502
                assert seen.headers["Proxy-Status"] == "pandadoc-proxy; error=destination_unavailable"
                assert dialled == number  # nothing was sent, and nothing is tried again
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            await leaving


async def test_an_upstream_that_speaks_first_is_told_as_no_tls(api_key_house: HouseMaker) -> None:
    async def greeting(stage: Stage) -> None:
        await stage.say(b"220 mail.example ESMTP\r\n")
        await stage.reader.read()

    async with upstream(greeting) as up:
        house = await api_key_house({"upstream": {"url": up.url.replace("http://", "https://")}})
        for _ in range(20):
            seen = await house.get("/x")
            assert seen.status == 502
            assert seen.headers["Proxy-Status"] == "pandadoc-proxy; error=tls_protocol_error"


@pytest.mark.parametrize("tls", [False, True])
async def test_an_http_proxy_tunnels_and_sees_no_credential(
    api_key_house: HouseMaker, authority: trustme.CA, tmp_path: Path, *, tls: bool
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    async def tunnel(stage: Stage) -> None:
        head = await stage.head()
        host, port = head.start.split()[1].decode().split(":")
        reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
        assert host == "api.example"  # which only the proxy can find
        await stage.say(b"HTTP/1.1 200 Connection established\r\n\r\n")
        async with asyncio.TaskGroup() as both:
            both.create_task(pump(stage.reader, writer))
            both.create_task(pump(reader, stage.writer))

    async with (
        tls_upstream(authority, "api.example") as (url, heads),
        upstream(tunnel, tls=context if tls else None) as between,
    ):
        settings = {"ca_file": pem(authority, tmp_path), "proxy": between.url}
        settings["url"] = url.replace("localhost", "api.example")
        house = await api_key_house({"upstream": settings})
        assert (await house.get("/x")).status == 200
        assert between.heard[0].start.startswith(b"CONNECT api.example:")
        assert not between.heard[0].values(b"authorization")
        assert heads


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


async def test_an_http_proxy_that_refuses_is_named(api_key_house: HouseMaker) -> None:
    async with upstream(answering(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")) as between:
        settings = {"url": "https://api.example", "proxy": between.url}
        house = await api_key_house({"upstream": settings})
        seen = await house.get("/x")
        assert seen.status == 502
        assert "upstream.proxy, or HTTPS_PROXY where that is not set" in seen.json["detail"]


FAULTS = [
    (socket.gaierror(-2, "x"), 502, "dns_error"),
    (TimeoutError(), 504, "connection_timeout"),
    (ssl.SSLCertVerificationError("x"), 502, "tls_certificate_error"),
    (ssl.SSLError("x"), 502, "tls_protocol_error"),
    (OSError(errno.ENETUNREACH, "x"), 502, "destination_ip_unroutable"),
    (ConnectionRefusedError(), 502, "connection_refused"),
    (ConnectionResetError(), 502, "destination_unavailable"),
    (OSError("Multiple exceptions: "), 502, "destination_unavailable"),
    (OSError(errno.EMFILE, "x"), 503, "proxy_internal_error"),
]


@pytest.mark.parametrize(("fault", "status", "error"), FAULTS, ids=lambda each: type(each).__name__)
def test_each_fault_has_its_word(fault: Exception, status: int, error: str) -> None:
    """RFC 9209 §2.3."""
    told = as_proxy_error(fault)
    assert (told.status, told.error) == (status, error)
    assert isinstance(told, {502: UpstreamError, 503: Overloaded, 504: UpstreamTimeout}[status])


@pytest.mark.parametrize("proxy", [None, URL("http://127.0.0.1:1")], ids=["direct", "through a proxy"])
async def test_where_no_file_is_left_nobody_else_is_blamed(proxy: URL | None) -> None:
    dial = Dialler(URL("https://127.0.0.1:1"), ssl.create_default_context(), connect_timeout=5, proxy=proxy)
    with no_file_left(), pytest.raises(Overloaded, match="ulimit -n"):
        await dial(lambda _: None)


@contextmanager
def no_file_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Path("/dev/null").open("rb") as file:
        free = file.fileno()
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_cookies_are_not_kept(api_key_house: HouseMaker) -> None:
    """One app's session must not become another's."""
    answer = OK.replace(b"Content-Type", b"Set-Cookie: visid=1; Path=/\r\nContent-Type")
    async with upstream(answering(answer)) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        for _ in range(2):
            assert (await house.get("/x", headers={"Cookie": ""})).status == 200
        assert b"visid" not in up.heard[1].head


async def test_an_address_that_takes_no_connection_is_a_504_in_time(api_key_house: HouseMaker) -> None:
    """A full backlog stands in for a black hole: the kernel answers no SYN."""
    with ExitStack() as sockets:
        listening = sockets.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = listening.getsockname()[1]
        for _ in range(4):
            filler = sockets.enter_context(socket.socket())
            filler.setblocking(False)  # noqa: FBT003 - the standard library's own signature
            with suppress(BlockingIOError):
                filler.connect(("127.0.0.1", port))
        house = await api_key_house({"upstream": {"url": f"http://127.0.0.1:{port}", "connect_timeout": "300ms"}})
        seen = await house.get("/x")
        assert seen.status == 504
        assert seen.headers["Proxy-Status"] == "pandadoc-proxy; error=connection_timeout"


async def test_connections_that_come_at_once_look_a_name_up_once(
    api_key_house: HouseMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resolver that takes a while must not take it once for each of them."""
    asked, real = [], socket.getaddrinfo

    def slow(host: str, *args: Any, **more: Any) -> Any:
        asked.append(host)
        if host == "localhost":  # no resolver is asked for an address
            time.sleep(0.2)
        return real(host, *args, **more)

    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url.replace("127.0.0.1", "localhost")}})
        monkeypatch.setattr(socket, "getaddrinfo", slow)
        assert {seen.status for seen in await house.many(60)} == {200}
        assert asked.count("localhost") == 1
