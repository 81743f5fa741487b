"""Which event loop everything runs on, and how that connects where it is left to it."""

import asyncio
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from typing import Any

import pytest
import trustme
from commands.process import Machine
from tls import trusting
from wire import OK, ScriptedUpstream, answering, on_cue, upstream

from proxy import event_loop

NAME = "redis.example"
"""A name that leads where a test has it lead."""


class Resolver:
    """Stands in for getaddrinfo(3): NAME leads to `leads_to`, or is not answered before `over` is set."""

    def __init__(self) -> None:
        self.leads_to: tuple[str, ...] = ()
        self.over = threading.Event()
        self._real = socket.getaddrinfo

    def getaddrinfo(self, host: str, *rest: Any, **more: Any) -> Any:
        if host != NAME:
            return self._real(host, *rest, **more)
        if not self.leads_to:
            self.over.wait()
        return [found for each in self.leads_to for found in self._real(each, *rest, **more)]


def port_of(up: ScriptedUpstream) -> int:
    return int(up.url.rpartition(":")[2])


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    resolver = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", resolver.getaddrinfo)
    yield resolver
    resolver.over.set()


@pytest.mark.parametrize(
    ("choice", "package"), [(None, "uvloop"), ("", "uvloop"), ("uvloop", "uvloop"), ("asyncio", "asyncio")]
)
def test_it_is_uvloops_unless_another_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, choice: str | None, package: str
) -> None:
    if choice is None:
        monkeypatch.delenv(event_loop.CHOICE, raising=False)
    else:
        monkeypatch.setenv(event_loop.CHOICE, choice)
    with asyncio.Runner(loop_factory=event_loop.factory()) as runner:
        assert type(runner.get_loop()).__bases__[-1].__module__.partition(".")[0] == package


@pytest.mark.parametrize("command", ["run", "check"])
async def test_another_choice_is_refused_with_what_to_write(machine: Machine, command: str) -> None:
    env = machine.with_api_key() | {event_loop.CHOICE: "twisted"}
    process = await machine.start(command, env=env, program=(sys.executable, "-m", "proxy"))
    assert await process.ended() == 2
    assert process.err == ["PANDADOC_PROXY_EVENT_LOOP is 'twisted': write uvloop or asyncio"]


def test_a_name_that_is_not_answered_does_not_keep_the_loop_from_ending(resolver: Resolver) -> None:
    """A loop's own threads for look-ups are joined at its end."""

    async def ask() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.open_connection(NAME, 1), 0.05)

    with asyncio.Runner(loop_factory=event_loop.factory()) as runner:
        runner.run(ask())
    assert not resolver.over.is_set()


async def test_an_address_that_takes_no_connection_makes_way_for_the_next(resolver: Resolver) -> None:
    """A full backlog stands in for a black hole: the kernel answers no SYN."""
    async with upstream(answering(OK)) as up, asyncio.timeout(10):
        with ExitStack() as sockets:
            hole = sockets.enter_context(socket.create_server(("127.0.0.66", port_of(up)), backlog=0)).getsockname()
            for _ in range(4):
                filler = sockets.enter_context(socket.socket())
                filler.setblocking(False)  # noqa: FBT003 - the standard library's own signature
                with suppress(BlockingIOError):
                    filler.connect(hole)
            resolver.leads_to = ("127.0.0.66", "127.0.0.1")
            _, writer = await asyncio.open_connection(NAME, port_of(up))
            with closing(writer):
                assert writer.get_extra_info("peername") == ("127.0.0.1", port_of(up))


@pytest.mark.parametrize("certified", [NAME, "other.example"])
async def test_whoever_is_reached_by_a_name_must_show_a_certificate_of_it(resolver: Resolver, certified: str) -> None:
    ca = trustme.CA()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert(certified).configure_cert(tls)
    resolver.leads_to = ("127.0.0.1",)
    async with upstream(on_cue, tls=tls) as up:
        if certified == NAME:
            _, writer = await asyncio.open_connection(NAME, port_of(up), ssl=trusting(ca))
            writer.close()
            return
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            await asyncio.open_connection(NAME, port_of(up), ssl=trusting(ca))


async def test_who_leaves_during_a_handshake_leaves_no_connection(resolver: Resolver) -> None:
    resolver.leads_to = ("127.0.0.1",)
    gone = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.read()
        writer.close()
        gone.set()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, asyncio.timeout(10):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.open_connection(NAME, port, ssl=trusting(trustme.CA())), 0.05)
        await gone.wait()
