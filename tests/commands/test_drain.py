"""SIGTERM: the listener closes, what is in flight ends in peace, the exit code is 0.

What is in flight is held by the test itself, as an upload whose end it has not sent or a download that it does
not read: so nothing here depends on how long anything takes.
"""

import asyncio
import hashlib
import os
import signal
import sys
import tomllib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import yaml
from aiohttp import ClientSession
from commands.oracle import read_stored
from commands.process import MEMBER, PATIENCE, PROXY, ROOT, Machine, Process, status_of, until_closed, until_unready
from rig import until
from wire import Caller, caller
from yarl import URL

from proxy.acceptor import ACCEPTED_AT_ONCE
from proxy.binding import CUT_OFF
from proxy.simulator import Fault, pdf_sha256
from proxy.simulator.journal import TOKEN_PATH

DOCUMENTS: Final = "/public/v1/documents"
DOWNLOAD_SIZE: Final = 64 * 1024 * 1024
"""Bytes: more than all sockets and buffers on the way can take, so that an unread download stays unfinished."""

ASKING: Final = f"GET {MEMBER} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()

BOTH_SIGNALS: Final = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


async def test_sigterm_is_heard_before_anything_is_bound(machine: Machine, tmp_path: Path) -> None:
    """A pod that is deleted while it starts must not be waited for.

    The start stands still because the configuration is a pipe into which nobody writes.
    """
    pipe = tmp_path / "config.yaml"
    os.mkfifo(pipe)
    process = await machine.start("run", "--config", str(pipe), env=machine.with_api_key())
    writer = await once_it_is_read(pipe)
    process.signal(signal.SIGTERM)
    os.close(writer)  # now the start goes on, with an empty configuration, unless the signal was heard
    assert await process.ended() == 0
    assert process.err == []


async def test_sigterm_is_heard_before_the_commands_are_loaded(machine: Machine, tmp_path: Path) -> None:
    """As PID 1 the process would never get it. The start stands still in an import, which reads such a pipe."""
    pipe, scripts = tmp_path / "held", tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    os.mkfifo(pipe)
    (tmp_path / "click.py").write_text(f"open({str(pipe)!r}).read()")
    module, name = scripts["pandadoc-proxy"].split(":")
    script = (sys.executable, "-c", f"from {module} import {name}; {name}()")
    for program, argv in (PROXY, ()), (PROXY, ("run",)), (script, ("run",)):
        process = await machine.start(*argv, program=program, env={"PYTHONPATH": str(tmp_path)})
        writer = await once_it_is_read(pipe)
        process.signal(signal.SIGTERM)
        os.close(writer)  # now the import goes on, and fails, unless the signal was heard
        assert await process.ended() == 0
        assert process.err == []


async def once_it_is_read(pipe: Path) -> int:
    """Wait until somebody has opened `pipe` to read; return the end to write to, which keeps the reader waiting."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(OSError):  # ENXIO: no reader yet (open(2))
                return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            await asyncio.sleep(0.005)


@dataclass
class HeldUpload:
    """A request in flight for as long as the test likes: its body ends when `release` is set."""

    release: asyncio.Event
    answer: asyncio.Task[aiohttp.ClientResponse]


@asynccontextmanager
async def held_upload(app: ClientSession, url: str, machine: Machine) -> AsyncIterator[HeldUpload]:
    """Create a document, but hold the body's last byte back; enter once PandaDoc has seen the request."""
    release = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b'{"name": "Contract"'
        await release.wait()
        yield b"}"

    answer = asyncio.create_task(app.post(url + DOCUMENTS, data=body()))
    await until(lambda: any(call.body_size for call in machine.simulator.api_calls()))
    try:
        yield HeldUpload(release, answer)
    finally:
        answer.cancel()
        await asyncio.wait({answer})


@BOTH_SIGNALS
async def test_an_idle_proxy_ends_at_once_and_in_peace(
    machine: Machine, app: ClientSession, number: signal.Signals
) -> None:
    """Kept connections of apps and probes are idle ones: they keep nobody waiting."""
    process = await machine.start(env=machine.with_api_key())
    url, admin = await process.url(), await process.admin_url()
    assert await status_of(app, url + MEMBER) == 200
    assert await status_of(app, f"{admin}/readyz") == 200
    process.signal(number)
    assert await process.ended() == 0
    assert process.records[-1]["message"] == "drained"


@pytest.fixture
async def stopped(machine: Machine) -> AsyncIterator[tuple[Process, int, Caller]]:
    """Stop a proxy that keeps one idle connection: what callers send lies in the kernel until SIGCONT."""
    process = await machine.start(env=machine.with_api_key())
    port = URL(await process.url()).port
    assert port is not None
    async with caller(port) as kept:
        await kept.send(ASKING)
        assert (await kept.answer()).start == b"HTTP/1.1 200 OK"
        process.signal(signal.SIGSTOP)
        yield process, port, kept


async def test_what_lies_in_the_kernel_when_sigterm_comes_is_read_and_answered(
    stopped: tuple[Process, int, Caller],
) -> None:
    """On a kept connection, and on ones that nobody has accepted yet: a close would reset them, unread (RFC 1122)."""
    process, port, kept = stopped
    async with AsyncExitStack() as connected:
        fresh = [await connected.enter_async_context(caller(port)) for _ in range(6 * ACCEPTED_AT_ONCE)]
        for each in (kept, *fresh):
            await each.send(ASKING)
        process.signal(signal.SIGTERM)
        process.signal(signal.SIGCONT)
        for each in (kept, *fresh):
            answer = await each.answer()
            assert answer.start == b"HTTP/1.1 200 OK"
            assert answer.values(b"connection") == [b"close"]
    assert await process.ended() == 0


async def test_a_head_of_which_only_a_part_has_come_at_sigterm_is_waited_for(
    stopped: tuple[Process, int, Caller],
) -> None:
    process, _, kept = stopped
    await kept.send(ASKING[:20])
    process.signal(signal.SIGTERM)
    process.signal(signal.SIGCONT)
    await process.said("draining")
    await until_closed(await process.url())
    await asyncio.sleep(1)  # decides nothing: by then the rest would find the connection closed
    await kept.send(ASKING[20:])
    assert (await kept.answer()).start == b"HTTP/1.1 200 OK"
    assert await process.ended() == 0


async def test_an_upload_still_being_sent_at_sigterm_is_answered_before_the_process_ends(
    machine: Machine, app: ClientSession
) -> None:
    """Its caller notices nothing but `Connection: close`. New ones find the door shut, and the probes say why."""
    process = await machine.start(env=machine.with_api_key())
    url, admin = await process.url(), await process.admin_url()
    async with held_upload(app, url, machine) as upload:
        process.signal(signal.SIGTERM)
        await until_unready(app, admin)
        await until_closed(url)
        assert await status_of(app, f"{admin}/livez") == 200
        assert await status_of(app, f"{admin}/readyz") == 503
        upload.release.set()
        async with asyncio.timeout(5), await upload.answer as answer:
            assert answer.status == 201
            assert answer.headers["Connection"] == "close"
            assert (await answer.json())["name"] == "Contract"
    assert await process.ended() == 0
    assert [(line["method"], line["status"]) for line in process.access] == [("POST", 201)]


async def test_a_download_still_being_read_at_sigterm_ends_whole_before_the_process_does(
    machine: Machine, app: ClientSession
) -> None:
    """A slow reader gets every byte; until then the admin port goes on answering."""
    process = await machine.start(env=machine.with_api_key())
    url, admin = await process.url(), await process.admin_url()
    document = machine.simulator.documents.create("Contract")
    async with app.get(f"{url}{DOCUMENTS}/{document.id}/download?size={DOWNLOAD_SIZE}") as answer:
        process.signal(signal.SIGTERM)
        await until_unready(app, admin)
        await until_closed(url)
        assert await status_of(app, f"{admin}/livez") == 200
        assert process.running
        digest = hashlib.sha256()
        async for chunk in answer.content.iter_any():
            digest.update(chunk)
    assert digest.hexdigest() == pdf_sha256(document.id, DOWNLOAD_SIZE)
    assert await process.ended() == 0
    assert [(line["status"], line["bytes_out"]) for line in process.access] == [(200, DOWNLOAD_SIZE)]


async def test_an_answer_pandadoc_is_still_working_on_at_sigterm_is_waited_for(
    machine: Machine, app: ClientSession
) -> None:
    """The delay only makes it likely that SIGTERM comes first; the outcome is the same if it doesn't."""
    machine.simulator.faults.add(Fault(path=MEMBER, delay=0.5))
    process = await machine.start(env=machine.with_api_key())
    asking = asyncio.create_task(status_of(app, await process.url() + MEMBER))
    await until(lambda: bool(machine.simulator.api_calls()))
    process.signal(signal.SIGTERM)
    assert await asking == 200
    assert await process.ended() == 0


async def test_in_the_grace_period_requests_are_still_taken_while_the_probes_say_unready(
    machine: Machine, app: ClientSession
) -> None:
    """A pod's endpoints take a while to disappear; until then its callers come."""
    process = await machine.start(env=machine.with_api_key() | {"PANDADOC_PROXY__SHUTDOWN__GRACE": "60s"})
    url, admin = await process.url(), await process.admin_url()
    assert await status_of(app, f"{url}/healthz") == 200
    process.signal(signal.SIGTERM)
    await until_unready(app, admin)
    assert await status_of(app, f"{url}/healthz") == 503
    async with app.get(url + MEMBER) as answer:
        assert answer.status == 200
        assert answer.headers["Connection"] == "close"


@pytest.mark.parametrize("waiting", ["grace", "drain"])
async def test_a_second_signal_ends_it_at_once(machine: Machine, app: ClientSession, waiting: str) -> None:
    """Whoever presses Ctrl-C twice means it: neither grace nor a request in flight is waited for."""
    process = await machine.start(env=machine.with_api_key() | {f"PANDADOC_PROXY__SHUTDOWN__{waiting.upper()}": "60s"})
    url, admin = await process.url(), await process.admin_url()
    async with held_upload(app, url, machine) as upload:
        process.signal(signal.SIGTERM)
        await until_unready(app, admin)
        if waiting == "drain":
            await until_closed(url)
        process.signal(signal.SIGINT)
        assert await process.ended(seconds=10) == 1
        await process.said("a second signal: ending at once")
        upload.release.set()
        with pytest.raises(aiohttp.ClientError):
            await upload.answer


async def test_a_second_signal_still_closes_what_was_opened(machine: Machine, app: ClientSession) -> None:
    """At once is not in disorder: the log ends without errors and warnings about things left open."""
    process = await machine.start(env=machine.with_api_key() | {"PANDADOC_PROXY__SHUTDOWN__GRACE": "60s"})
    admin = await process.admin_url()
    assert await status_of(app, f"{admin}/readyz") == 200
    process.signal(signal.SIGTERM)
    await until_unready(app, admin)
    process.signal(signal.SIGTERM)
    assert await process.ended(seconds=10) == 1
    assert [record["message"] for record in process.records if record["level"] in {"warning", "error"}] == [
        "a second signal: ending at once"
    ]


NO_NAME_SERVER: Final = """
import socket, sys, time
real = socket.getaddrinfo
def silent(host, *rest, **more):
    if str(host).endswith(".example"):
        print("a name is looked up", file=sys.stderr)
        time.sleep(600)
    return real(host, *rest, **more)
socket.getaddrinfo = silent
from proxy.cli import main
main()
"""


@pytest.mark.parametrize("asked", ["upstream", "token endpoint"])
async def test_a_name_server_that_is_silent_keeps_no_process_from_ending(
    machine: Machine, app: ClientSession, asked: str
) -> None:
    """Its resolver would ask it for half a minute yet, in a thread that nobody can end."""
    env = machine.with_api_key() if asked == "upstream" else machine.with_grant()
    env |= {
        "PANDADOC_PROXY__UPSTREAM__URL": "https://pandadoc.example" if asked == "upstream" else machine.simulator.url,
        "PANDADOC_PROXY__UPSTREAM__CONNECT_TIMEOUT": "100ms",
    }
    if asked != "upstream":
        oauth2 = "PANDADOC_PROXY__CREDENTIALS__DEFAULT__OAUTH2"
        env |= {f"{oauth2}__TOKEN_URL": "https://pandadoc.example/token", f"{oauth2}__REDEEM_TIMEOUT": "1s"}
    process = await machine.start(env=env, program=(sys.executable, "-c", NO_NAME_SERVER, "run"))
    assert await status_of(app, await process.url() + MEMBER) == (504 if asked == "upstream" else 503)
    process.signal(signal.SIGTERM)
    await process.said("drained")
    assert await process.ended(seconds=10) == 0


async def test_sigterm_is_heard_while_the_name_of_an_address_is_looked_up(machine: Machine, tmp_path: Path) -> None:
    """Nothing is served yet, and what was bound meanwhile is left to nobody."""
    listeners = {"LISTENERS__0__BIND": f"unix:{tmp_path}/app.sock", "ADMIN__BIND": "lost.example:8081"}
    env = machine.with_api_key() | {f"PANDADOC_PROXY__{key}": value for key, value in listeners.items()}
    process = await machine.start(env=env, program=(sys.executable, "-c", NO_NAME_SERVER, "run"))
    await process.said("a name is looked up")
    process.signal(signal.SIGTERM)
    assert await process.ended(seconds=3) == 0
    assert process.err == ["a name is looked up"]
    assert not (tmp_path / "app.sock").exists()


async def test_a_request_that_outlasts_the_drain_is_cut_off(machine: Machine) -> None:
    """Its caller sees a closed connection, never a made-up answer; the orchestrator's patience is not tried."""
    machine.simulator.faults.add(Fault(path=MEMBER, hang=True))
    process = await machine.start(env=machine.with_api_key() | {"PANDADOC_PROXY__SHUTDOWN__DRAIN": "100ms"})
    url = URL(await process.url())
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(f"GET {MEMBER} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    await until(lambda: bool(machine.simulator.api_calls()))
    process.signal(signal.SIGTERM)
    assert await process.ended() == 0
    assert await reader.read() == b""
    writer.close()


async def test_a_refresh_in_flight_at_sigterm_is_stored_before_the_process_ends(
    machine: Machine, app: ClientSession
) -> None:
    """A redeem that is cut off is a lost grant: nobody waits for this one any more, and still it ends."""
    gate = asyncio.Event()
    machine.simulator.faults.add(Fault(path=TOKEN_PATH, gate=gate, times=1))
    env = machine.with_grant()
    process = await machine.start(env=env)
    asking = asyncio.create_task(status_of(app, await process.url() + MEMBER))
    await until(lambda: bool(machine.simulator.token_calls()))
    asking.cancel()
    process.signal(signal.SIGTERM)
    await until_unready(app, await process.admin_url())
    gate.set()
    assert await process.ended() == 0
    assert process.records[-1]["message"] == "drained"
    assert read_stored(machine).generation == 1
    process = await machine.start(env=env)
    assert await status_of(app, await process.url() + MEMBER) == 200
    assert len(machine.simulator.token_calls()) == 1


def oauth(redeem_timeout: str) -> dict[str, Any]:
    """Return the credential whose variables `Machine.with_grant` sets."""
    names = {name: {"env": f"PANDADOC_{name.upper()}"} for name in ("client_id", "client_secret", "refresh_token")}
    return {"oauth2": {**names, "redeem_timeout": redeem_timeout}}


AFTER = {
    "lowered": {"default": oauth("100ms")},
    "renamed": {"alice": oauth("100ms")},
    "an API key": {"default": {"api_key": {"env": "PANDADOC_API_KEY"}}},
}
"""Credentials that a reload brings while a refresh is in flight."""


@pytest.mark.parametrize("after", AFTER.values(), ids=AFTER)
async def test_a_refresh_in_flight_at_sigterm_has_the_time_that_it_began_with(
    machine: Machine, app: ClientSession, after: dict[str, Any]
) -> None:
    """A reload takes no time from it: it is a lost grant all the same, also where nobody lends it any more."""
    config, gate = machine.home / "config.yaml", asyncio.Event()
    machine.simulator.faults.add(Fault(path=TOKEN_PATH, gate=gate, times=1))
    env = machine.with_api_key() | machine.with_grant() | {"PANDADOC_PROXY__SHUTDOWN__DRAIN": "100ms"}
    settings = {"listeners": [{"credential": "default"}], "credentials": {"default": oauth("30s")}}
    config.write_text(yaml.safe_dump(settings))
    process = await machine.start("run", "--config", str(config), env=env)
    asking = asyncio.create_task(status_of(app, await process.url() + MEMBER))
    await until(lambda: bool(machine.simulator.token_calls()))
    asking.cancel()
    (lent,) = after
    config.write_text(yaml.safe_dump({"listeners": [{"credential": lent}], "credentials": after}))
    process.signal(signal.SIGHUP)
    await process.said("the configuration is reloaded")
    process.signal(signal.SIGTERM)
    with suppress(TimeoutError):
        await process.ended(CUT_OFF + 2)  # decides nothing: what has no more than the new time is over by then
    gate.set()
    assert await process.ended() == 0
    assert process.records[-1]["message"] == "drained"
    assert read_stored(machine).generation == 1
