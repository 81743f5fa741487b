"""The Redis engine where the name of its server comes to lead elsewhere, and where it was closed; without a Redis.

What a Redis does is shown in tests/torture/test_redis_engine.py. Here are a few words of its protocol (RESP2).
"""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from proxy.budget.ledger import LedgerUnreachable
from proxy.budget.rates import Rate
from proxy.credential import redis_engine
from proxy.credential.redis_client import LIMIT, Way
from proxy.credential.redis_engine import RedisEngine
from proxy.credential.store import StoreError, StoreUnreachable
from proxy.redis_budget import RedisLedger
from proxy.secrets import Secret

EMPTY = "da39a3ee5e6b4b0d3255bfef95601890afd80709"
REFUSALS = (
    "READONLY You can't write against a read only replica.",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "LOADING Redis is loading the dataset in memory",
    "NOREPLICAS Not enough good replicas to write.",
    "ERR Error running script (call to f_1): @user_script:4: -READONLY You can't write against a read only replica. ",
)


@dataclass
class Name:
    """A name that leads to a master: whoever is connected stays where it led then.

    What changes: `writes`, by a test, what EVAL and DEL are answered with on the connections that are made from then
    on; `port`, by `serve`; `callers`, by connections as they come and go, and `calls` and `deletes`.
    """

    writes: str = ":1"
    port: int = 0
    calls: int = 0
    deletes: int = 0
    callers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def serve(self, tls: ssl.SSLContext | None = None) -> asyncio.Server:
        server = await asyncio.start_server(self._talk, "127.0.0.1", self.port, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.callers.add(writer)
        answers = {b"GET": "$-1", b"EVAL": self.writes, b"SUBSCRIBE": "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1"}
        answers |= {b"DEL": self.writes, b"PING": "*2\r\n$4\r\npong\r\n$0\r\n"}
        try:
            while line := await reader.readline():
                words = [await _word(reader) for _ in range(int(line[1:]))]
                self.calls += 1
                self.deletes += words[0] == b"DEL"
                writer.write(f"{answers[words[0]]}\r\n".encode())
        except (ConnectionError, ssl.SSLError):  # the latter: a call came behind our goodbye
            pass
        finally:
            self.callers.discard(writer)
            writer.close()


async def _word(reader: asyncio.StreamReader) -> bytes:
    length = int((await reader.readline())[1:])
    return (await reader.readexactly(length + 2))[:-2]


@pytest.fixture
async def name() -> AsyncIterator[Name]:
    made = Name()
    async with await made.serve():
        yield made


@dataclass
class Url:
    """A URL that a test changes, and that is there when `read` is set."""

    text: str
    read: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self) -> Secret:
        await self.read.wait()
        return Secret(self.text)


@pytest.fixture
def url(name: Name) -> Url:
    made = Url(f"redis://127.0.0.1:{name.port}")
    made.read.set()
    return made


@pytest.fixture
async def engine(url: Url) -> AsyncIterator[RedisEngine]:
    async def owner() -> str:
        return "0123456789abcdef"

    made = RedisEngine(url, owner, prefix="pandadoc-proxy", way=Way())
    yield made
    await made.close()


@pytest.fixture
async def ledger(url: Url) -> AsyncIterator[RedisLedger]:
    async def user() -> str:
        return "0123456789abcdef"

    made = RedisLedger(url, user, prefix="pandadoc-proxy", way=Way(), process="pod", answer=1.0)
    yield made
    await made.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while True:
            if holds():
                return
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.partition(" ")[0])
async def test_a_write_that_is_refused_by_who_was_the_master_has_the_name_asked_again(
    name: Name, engine: RedisEngine, refusal: str
) -> None:
    """The connection to it stays open, and reads go well on it."""
    name.writes = f"-{refusal}"
    await engine.read()
    name.writes = ":1"
    with pytest.raises(StoreUnreachable, match="can't be reached: "):
        await engine.take("here", 5)
    assert await engine.take("here", 5)
    assert len(name.callers) == 1


@dataclass
class OverTls:
    """The store and the ledger before a Redis that speaks TLS, with an authority of their own in `ca_file`."""

    ca_file: Path
    ca: trustme.CA
    shown: ssl.SSLContext
    name: Name
    calls: tuple[Callable[[], Awaitable[object]], ...]


@pytest.fixture
async def over_tls(tmp_path: Path) -> AsyncIterator[OverTls]:
    ca, shown = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("localhost").configure_cert(shown)
    name, way = Name(), Way(ca_file=tmp_path / "ca.pem")

    async def url() -> Secret:
        return Secret(f"rediss://localhost:{name.port}")

    async def owner() -> str:
        return "0123456789abcdef"

    engine = RedisEngine(url, owner, prefix="pandadoc-proxy", way=way)
    ledger = RedisLedger(url, owner, prefix="pandadoc-proxy", way=way, process="pod", answer=1.0)
    calls = (engine.read, lambda: ledger.tell("all", Rate(10, 60.0), {"slot": 1.0}))
    async with await name.serve(shown):
        yield OverTls(tmp_path / "ca.pem", ca, shown, name, calls)
        await engine.close()
        await ledger.close()


async def test_a_ca_file_that_is_replaced_is_read_again(over_tls: OverTls) -> None:
    """With another authority in it; what a client made for its connections holds the earlier one."""
    after = trustme.CA()
    over_tls.ca.cert_pem.write_to_path(str(over_tls.ca_file))
    for call in over_tls.calls:
        await call()
    after.issue_cert("localhost").configure_cert(over_tls.shown)
    for caller in [*over_tls.name.callers]:
        caller.close()
    for call in over_tls.calls:
        await refused(call, "certificate that is not trusted")
    after.cert_pem.write_to_path(str(over_tls.ca_file))
    for call in over_tls.calls:
        await call()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "can't be read: No such file or directory. Mount it, or name another file."),
        ("", "holds no certificate. Name a PEM file."),
        ("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "holds no certificate."),
    ],
)
async def test_a_ca_file_that_is_of_no_use_is_named_and_read_again_when_it_is_mended(
    over_tls: OverTls, content: str | None, said: str
) -> None:
    """That is for a person, and nothing that waiting for Redis cures."""
    if content is not None:
        over_tls.ca_file.write_text(content)
    read, tell = over_tls.calls
    with pytest.raises(StoreError, match=f"ca_file {re.escape(f'{over_tls.ca_file} {said}')}") as fault:
        await read()
    assert not isinstance(fault.value, StoreUnreachable)
    await refused(tell, said)
    over_tls.ca.cert_pem.write_to_path(str(over_tls.ca_file))
    for call in over_tls.calls:
        await call()


async def refused(call: Callable[[], Awaitable[object]], words: str) -> None:
    """Call until that is said; what is said first is that the connection was closed."""
    said = ""
    async with asyncio.timeout(5):
        while words not in said:
            try:
                await call()
            except (StoreError, LedgerUnreachable) as fault:
                said = str(fault)


async def test_a_ledger_has_the_name_asked_again_too(name: Name, ledger: RedisLedger) -> None:
    """That which counts a rate budget: every call of it writes."""
    name.writes = f"-{REFUSALS[0]}"
    with pytest.raises(LedgerUnreachable):
        await ledger.tell("all", Rate(10, 60.0), {"slot": 1.0})
    name.writes = ":1"
    await ledger.tell("all", Rate(10, 60.0), {"slot": 1.0})
    assert len(name.callers) == 1


async def test_calls_of_a_ledger_that_find_another_url_at_once_make_one_client(
    name: Name, url: Url, ledger: RedisLedger
) -> None:
    """They take no turns. Else each would make one, and all but one would be closed by nobody."""
    other = Name()

    async def tell() -> None:
        await ledger.tell("all", Rate(10, 60.0), {"slot": 1.0})

    async with await other.serve():
        await tell()
        url.text = f"redis://127.0.0.1:{other.port}"
        await asyncio.gather(*(tell() for _ in range(5)))
        await until(lambda: not name.callers)
        await ledger.close()
        await until(lambda: not other.callers)


async def test_a_watch_is_opened_anew_where_the_name_leads_then(name: Name, engine: RedisEngine) -> None:
    name.writes = f"-{REFUSALS[0]}"
    async with aclosing(engine.watch()) as told:
        await anext(told)
        waiting = asyncio.ensure_future(anext(told))
        with pytest.raises(StoreUnreachable):
            await engine.take("here", 5)
        with pytest.raises((StoreUnreachable, StopAsyncIteration)):
            async with asyncio.timeout(LIMIT):
                await waiting
    await until(lambda: not name.callers)


@pytest.mark.parametrize("refusal", REFUSALS[:-1], ids=lambda refusal: refusal.partition(" ")[0])
async def test_who_only_reads_leaves_who_was_the_master_too(
    name: Name, engine: RedisEngine, monkeypatch: pytest.MonkeyPatch, refusal: str
) -> None:
    """Nothing is told there, reads and pings go well, and what is read is old."""
    monkeypatch.setattr(redis_engine, "QUIET", 0.02)
    name.writes = f"-{refusal}"
    async with aclosing(engine.watch()) as told:
        await anext(told)
        await engine.read()
        name.writes = ":0"
        async with asyncio.timeout(LIMIT):
            with pytest.raises((StoreUnreachable, StopAsyncIteration)):
                await anext(told)
    await until(lambda: not name.callers)
    await engine.read()
    assert await engine.take("here", 5) is False, "as the new master says"


async def test_a_watch_goes_on_where_writes_are_refused_for_another_reason(
    name: Name, engine: RedisEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be told all the same; whoever has to write says so."""
    monkeypatch.setattr(redis_engine, "QUIET", 0.02)
    name.writes = "-MISCONF Redis is configured to save RDB snapshots, but is unable to persist to disk."
    async with aclosing(engine.watch()) as told:
        await anext(told)
        waiting = asyncio.ensure_future(anext(told))
        await until(lambda: name.deletes >= 3)
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait({waiting})


async def test_a_refusal_for_another_reason_ends_no_connection(name: Name, engine: RedisEngine) -> None:
    name.writes = "-BUSY Redis is busy running a script."
    for _ in range(2):
        with pytest.raises(StoreUnreachable, match="BUSY"):
            await engine.take("here", 5)
    name.writes = ":1"
    with pytest.raises(StoreUnreachable, match="BUSY"):
        await engine.take("here", 5)


async def test_an_engine_that_was_closed_connects_no_more(name: Name, engine: RedisEngine) -> None:
    await engine.read()
    await engine.close()
    await until(lambda: not name.callers)
    seen = name.calls
    for call in (engine.read(), engine.write(b"", EMPTY), engine.take("here", 5), anext(engine.watch())):
        with pytest.raises(StoreUnreachable, match="was closed"):
            await call
    assert (name.calls, name.callers) == (seen, set())


async def test_calls_that_are_being_made_while_it_is_closed_leave_no_connection(
    name: Name, url: Url, engine: RedisEngine
) -> None:
    await engine.read()
    url.read.clear()
    calls = [asyncio.ensure_future(call) for call in (engine.read(), anext(engine.watch()), engine.holder())]
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(engine.close())
    await asyncio.sleep(0)
    url.read.set()
    ends = await asyncio.gather(*calls, closing, return_exceptions=True)
    assert [type(end) for end in ends] == [StoreUnreachable] * 3 + [type(None)]
    await until(lambda: not name.callers)


async def test_a_watch_and_calls_that_find_another_url_at_once_make_one_client(name: Name, url: Url) -> None:
    """Else each would make one, and one of them would be closed by nobody."""
    other = Name()

    async def owner() -> str:
        return "0123456789abcdef"

    engine = RedisEngine(url, owner, prefix="pandadoc-proxy", way=Way())
    async with await other.serve():
        await engine.read()
        url.read.clear()
        url.text = f"redis://127.0.0.1:{other.port}"
        told = [engine.watch() for _ in range(3)]
        asked = [asyncio.ensure_future(call) for call in (engine.read(), *map(anext, told), engine.read())]
        await asyncio.sleep(0)
        url.read.set()
        await asyncio.gather(*asked)
        await until(lambda: not name.callers)
        assert len(other.callers) == 1 + len(told)
        await engine.close()
        await until(lambda: not other.callers)
        for each in told:
            await each.aclose()
