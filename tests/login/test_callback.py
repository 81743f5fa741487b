"""The loopback listener: raw requests, and what it believes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from wire import Message, converse
from yarl import URL

from proxy.login import pages
from proxy.login.arrivals import Arrivals
from proxy.login.callback import Callback


@asynccontextmanager
async def listening(port: int, host: str = "127.0.0.1") -> AsyncIterator[Arrivals]:
    arrivals = Arrivals("s")
    callback = Callback(URL(f"http://{host}:{port}/callback"), arrivals)
    assert callback.possible
    await callback.start()
    try:
        yield arrivals
    finally:
        await callback.stop()


AHEAD = "https://app.pandadoc.com/oauth2/authorize?state=s"


async def get(port: int, target: str, host: str = "127.0.0.1:8089", method: str = "GET") -> Message:
    return await converse(port, f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())


async def test_a_browser_waits_for_the_page_that_says_how_it_went(unused_tcp_port: int) -> None:
    async with listening(unused_tcp_port) as arrivals:
        browser = asyncio.create_task(get(unused_tcp_port, "/callback?code=abcdef&state=s"))
        arrival = await arrivals.next()
        assert arrival is not None
        assert arrival.text == "code=abcdef&state=s"
        assert not arrival.pasted
        assert "abcdef" not in repr(arrival)
        arrival.show(pages.done("Logged in as you."))
        seen = await browser
        assert seen.start == b"HTTP/1.1 200 OK"
        assert b"Logged in as you." in seen.body
        assert seen.values(b"referrer-policy") == [b"no-referrer"]
        assert seen.values(b"connection") == [b"close"]


async def test_a_page_on_its_way_leaves_before_the_listener_is_gone(unused_tcp_port: int) -> None:
    async with listening(unused_tcp_port) as arrivals:
        browser = asyncio.create_task(get(unused_tcp_port, "/callback?state=s"))
        arrival = await arrivals.next()
        assert arrival is not None
        arrival.show(pages.done())
    assert (await browser).start == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize(
    ("target", "host", "method"),
    [
        ("/", "127.0.0.1", "GET"),
        ("/favicon.ico", "127.0.0.1", "GET"),
        ("/callback/", "127.0.0.1", "GET"),
        ("/callback?code=abcdef&state=s", "evil.example:8089", "GET"),
        ("/callback?code=abcdef&state=s", "127.0.0.1", "POST"),
    ],
)
async def test_it_knows_one_path_by_its_own_names(unused_tcp_port: int, target: str, host: str, method: str) -> None:
    """A rebound name or a form of another page gets nothing, and brings nothing."""
    async with listening(unused_tcp_port) as arrivals:
        seen = await get(unused_tcp_port, target, host, method)
        assert seen.start == b"HTTP/1.1 404 Not Found"
        assert "0 waiting" in repr(arrivals)


async def test_a_malformed_request_is_not_echoed(unused_tcp_port: int, caplog: pytest.LogCaptureFixture) -> None:
    async with listening(unused_tcp_port):
        seen = await converse(
            unused_tcp_port, b"GET /callback?code=s3cret HTTP/1.1\r\nHost: x\r\nbad\x00: s3cret\r\n\r\n"
        )
    assert b" 400 " in seen.start
    assert b"s3cret" not in seen.body
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize(
    ("uri", "possible"),
    [
        ("http://127.0.0.1:8089/callback", True),
        ("http://localhost/callback", True),
        ("http://[::1]:9/x", True),
        ("https://127.0.0.1:8089/callback", False),
        ("https://app.example/oauth/callback", False),
        ("http://192.168.0.7/callback", False),
    ],
)
async def test_a_browser_can_come_back_to_loopback_alone(uri: str, *, possible: bool) -> None:
    assert Callback(URL(uri), Arrivals("s")).possible is possible


async def test_an_address_that_is_taken_is_told(unused_tcp_port: int) -> None:
    async with listening(unused_tcp_port):
        with pytest.raises(OSError, match="Address already in use"):
            await Callback(URL(f"http://127.0.0.1:{unused_tcp_port}/callback"), Arrivals("s")).start()


@pytest.mark.usefixtures("localhost_without_ipv6")
async def test_a_name_of_which_this_machine_lacks_an_address_is_listened_at_where_it_can_be(
    unused_tcp_port: int,
) -> None:
    async with listening(unused_tcp_port, "localhost"):
        assert (await get(unused_tcp_port, "/")).start == b"HTTP/1.1 404 Not Found"


async def test_what_a_browser_is_started_with_leads_to_the_consent_once(unused_tcp_port: int) -> None:
    """Whoever else has read it there, and is the first to open it, is shown to the person."""
    callback = Callback(URL(f"http://127.0.0.1:{unused_tcp_port}/callback"), Arrivals("s"))
    address = URL(callback.lead(AHEAD))
    assert address.port == unused_tcp_port
    await callback.start()
    try:
        for host, method in (("evil.example", "GET"), ("127.0.0.1", "POST")):
            nothing = await get(unused_tcp_port, address.path, host, method)
            assert nothing.start == b"HTTP/1.1 404 Not Found"
        led = await get(unused_tcp_port, address.path)
        assert led.start == b"HTTP/1.1 302 Found"
        assert led.values(b"location") == [AHEAD.encode()]
        assert led.values(b"cache-control") == [b"no-store"]
        again = await get(unused_tcp_port, address.path)
        assert again.start == b"HTTP/1.1 410 Gone"
        assert b"another user of this machine" in again.body
    finally:
        await callback.stop()


async def test_no_address_leads_anywhere_where_no_browser_was_started(unused_tcp_port: int) -> None:
    async with listening(unused_tcp_port):
        assert (await get(unused_tcp_port, "/" + "x" * 32)).start == b"HTTP/1.1 404 Not Found"
