"""Names are looked up beside all else: one that is not answered holds nobody up, and not the end."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession, TCPConnector
from wire import OK, answering, upstream

from proxy.names import Resolver, look_up, scoped


class Silence:
    """A name server that does not answer for `lost.example`, until `over` is set."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self._real = socket.getaddrinfo

    def getaddrinfo(self, host: str, *rest: Any, **more: Any) -> Any:
        if host == "lost.example":
            self.over.wait()
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return self._real(host, *rest, **more)


@pytest.fixture
async def silence(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Silence]:
    silence = Silence()
    monkeypatch.setattr(socket, "getaddrinfo", silence.getaddrinfo)
    yield silence
    silence.over.set()


async def test_a_name_that_is_not_answered_holds_no_other_up(silence: Silence) -> None:
    lost = look_up("lost.example", 1)
    found = await asyncio.wait_for(look_up("localhost", 8080), 10)
    assert ("127.0.0.1", 8080) in [address for *_, address in found]
    assert not lost.done()
    silence.over.set()
    with pytest.raises(socket.gaierror, match="Temporary failure"):
        await lost


def test_an_address_is_written_with_the_interface_that_it_is_at() -> None:
    assert scoped(("127.0.0.1", 80)) == "127.0.0.1"
    assert scoped(("::1", 80, 0, 0)) == "::1"
    assert scoped(("fe80::1", 80, 0, 2)) == "fe80::1%2"


async def test_nobody_is_told_who_has_left(silence: Silence) -> None:
    lost = look_up("lost.example", 1)
    lost.cancel()
    silence.over.set()
    await look_up("localhost", 1)
    with pytest.raises(asyncio.CancelledError):
        await lost


def test_a_loop_that_has_ended_is_told_nothing(silence: Silence) -> None:
    """And it ends though the look-up does not."""

    async def ask() -> None:
        look_up("lost.example", 1)

    asyncio.run(ask())
    (asking,) = (each for each in threading.enumerate() if each.name == "look a name up")
    assert asking.daemon
    silence.over.set()
    asking.join(10)  # a fault in a thread is a warning, which fails the test
    assert not asking.is_alive()


async def test_where_no_thread_is_to_be_had_it_is_a_fault_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    with pytest.raises(OSError, match="can't start new thread"):
        look_up("localhost", 1)


async def test_aiohttp_finds_hosts_by_it() -> None:
    async with (
        upstream(answering(OK)) as up,
        ClientSession(connector=TCPConnector(resolver=Resolver())) as session,
        session.get(up.url.replace("127.0.0.1", "localhost")) as answer,
    ):
        assert await answer.text() == "ok"
