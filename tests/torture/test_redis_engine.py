"""The Redis engine against real Redis servers: what it keeps, and that it finds its way again."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from pathlib import Path
from typing import Any

import pytest
from credential.engine_contract import CLAUSES, LONG, Clause
from torture.redis_server import RedisServer, StableName, cluster, sentinel_pair
from torture.redis_ways import ENCODED, OWNER, PASSWORD, WAYS, Replicas, replicas
from wire import free_port

from proxy.credential import redis_engine
from proxy.credential.engine import Kept
from proxy.credential.redis_client import LIMIT, Way
from proxy.credential.redis_engine import QUIET, RedisEngine
from proxy.credential.store import StoreUnreachable

GRANT = f"pandadoc-proxy:{{{OWNER}}}:grant"
LEASE = f"pandadoc-proxy:{{{OWNER}}}:lease"

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with RedisServer(tmp_path / "redis", {"appendonly": "yes", "appendfsync": "always"}) as running:
        yield running


@pytest.fixture
async def opened(server: RedisServer) -> AsyncIterator[Replicas]:
    async with replicas(server.url) as made:
        yield made


async def kept(engine: RedisEngine, content: bytes) -> Kept:
    """Write `content` over whatever there is."""
    written = await engine.write(content, (await engine.read()).version)
    assert written is not None
    return written


def replicated(info: Mapping[str, Any]) -> bool:
    """Tell whether the one replica has all that its master has."""
    replica = info.get("slave0", {})
    return replica.get("state") == "online" and bool(replica["offset"] == info["master_repl_offset"])


async def reached(engine: RedisEngine, seconds: float = 30.0) -> Kept:
    """Read as soon as it can be read; fails if it takes long."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                return await engine.read()
            except StoreUnreachable:
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("clause", CLAUSES, ids=lambda clause: clause.__name__)
async def test_redis_keeps_the_contract(
    tmp_path: Path,
    way: Callable[[Path], AbstractAsyncContextManager[Replicas]],
    clause: Clause,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(redis_engine, "LIMIT", 20.0)  # it is not about machines that have other things to do
    async with way(tmp_path / "redis") as opened:
        await clause(opened)


async def test_the_record_stands_in_one_key_as_it_is_and_the_lease_in_another_that_ends(
    server: RedisServer, opened: Replicas
) -> None:
    """So that a person can read, copy and restore it with redis-cli."""
    engine = opened()
    await kept(engine, b"{}")
    assert await engine.take("pod-1", LONG)
    assert sorted(await server.ask("KEYS", "*")) == [GRANT.encode(), LEASE.encode()]
    assert await server.ask("GET", GRANT) == b"{}"
    assert await server.ask("PTTL", GRANT) == -1
    assert await server.ask("GET", LEASE) == b"pod-1"
    assert LONG * 900 < await server.ask("PTTL", LEASE) <= LONG * 1000


async def test_a_lease_without_an_end_has_one_as_soon_as_somebody_waits_for_it(
    server: RedisServer, opened: Replicas
) -> None:
    """PERSIST, a restored dump, and some ways to migrate take the end away."""
    await server.ask("SET", LEASE, "long-gone")
    assert not await opened().take("here", LONG)
    assert await server.ask("GET", LEASE) == b"long-gone"
    ends = await server.ask("PTTL", LEASE)
    assert LONG * 900 < ends <= LONG * 1000
    assert not await opened().take("there", LONG + 10)
    assert await server.ask("PTTL", LEASE) <= ends


async def test_a_record_that_a_person_puts_there_is_found_and_written_over(
    server: RedisServer, opened: Replicas
) -> None:
    engine = opened()
    before = await kept(engine, b"ours")
    await server.ask("SET", GRANT, "a person's")
    assert await engine.write(b"newer", before.version) is None
    assert (await engine.read()).content == b"a person's"
    await kept(engine, b"newer")


async def test_what_is_flushed_is_empty_and_old_versions_of_it_are_not_written_over(
    server: RedisServer, opened: Replicas
) -> None:
    engine = opened()
    before = await kept(engine, b"ours")
    assert await engine.take("here", LONG)
    await server.ask("FLUSHALL")
    assert await engine.write(b"newer", before.version) is None
    assert (await engine.read()).content == b""
    assert await engine.holder() is None
    await kept(engine, b"newer")


async def test_one_connection_does_for_all_calls_and_one_for_the_watch(server: RedisServer, opened: Replicas) -> None:
    engine = opened()
    async with aclosing(engine.watch()) as told:
        await anext(told)
        await asyncio.gather(*(engine.read() for _ in range(50)), *(engine.take("here", LONG) for _ in range(50)))
        assert await server.callers() == 2
    await engine.close()
    await server.asked_until("CLIENT", "LIST", holds=lambda answer: answer.count(b"\n") == 1)


async def test_a_server_that_is_killed_and_comes_back_with_its_data_is_found_again(
    server: RedisServer, opened: Replicas
) -> None:
    engine = opened()
    written = await kept(engine, b"ours")
    await server.end()
    with pytest.raises(StoreUnreachable, match=f"Redis at 127.0.0.1:{server.port} can't be reached"):
        await engine.read()
    with pytest.raises(StoreUnreachable):
        await engine.write(b"newer", written.version)
    with pytest.raises(StoreUnreachable):
        await engine.take("here", LONG)
    await server.start()
    assert await reached(engine) == written


async def test_a_server_that_stands_still_costs_each_call_two_seconds_and_no_more(
    server: RedisServer, opened: Replicas
) -> None:
    engine = opened()
    written = await kept(engine, b"ours")
    server.pause()
    began = asyncio.get_running_loop().time()
    calls = (engine.read(), engine.write(b"newer", written.version), engine.take("here", LONG), engine.holder())
    ends = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(end) for end in ends} == {StoreUnreachable}
    assert LIMIT <= asyncio.get_running_loop().time() - began < LIMIT + 3
    server.resume()
    assert (await reached(engine)).content in {b"ours", b"newer"}  # whether it was written, the next read tells


@pytest.mark.parametrize("how", ["killed", "stands still"])
async def test_a_watch_finds_out_that_its_server_is_gone(server: RedisServer, opened: Replicas, how: str) -> None:
    """Also where nobody closes the connection: a ping is sent when nothing was heard for a while."""
    engine = opened()
    async with aclosing(engine.watch()) as told:
        await anext(told)
        if how == "killed":
            await server.end()
        else:
            server.pause()
        with pytest.raises(StoreUnreachable):
            async with asyncio.timeout(QUIET + LIMIT + 5):
                await anext(told)
    server.resume() if how == "stands still" else await server.start()
    await reached(engine)
    async with aclosing(engine.watch()) as told:
        await anext(told)
        await kept(engine, b"heard")
        async with asyncio.timeout(5):
            await anext(told)


async def test_a_watch_outlives_a_silence(opened: Replicas) -> None:
    """An answer to a ping is no news."""
    engine = opened()
    async with aclosing(engine.watch()) as told:
        await anext(told)
        waiting = asyncio.ensure_future(anext(told))
        await asyncio.sleep(QUIET + 2)
        assert not waiting.done()
        await kept(engine, b"heard")
        async with asyncio.timeout(5):
            await waiting


async def test_a_url_that_changes_is_followed(tmp_path: Path, server: RedisServer, opened: Replicas) -> None:
    """A password that is rotated in a mounted file; the old connections are closed."""
    engine = opened()
    await kept(engine, b"here")
    async with RedisServer(tmp_path / "other") as other:
        opened.url = other.url
        assert (await engine.read()).content == b""
        await kept(engine, b"there")
        assert await server.callers() == 0
        assert await other.ask("GET", GRANT) == b"there"
        assert f"{other.port}" in engine.name


async def test_after_a_failover_sentinel_names_the_new_master(tmp_path: Path) -> None:
    async with sentinel_pair(tmp_path, PASSWORD) as pair:
        url = f"redis://:{ENCODED}@127.0.0.1:{pair.sentinel.port}"
        async with replicas(url, Way(sentinel="mymaster")) as opened:
            engine, other = opened(), opened()
            written = await kept(engine, b"ours")
            await pair.replica.asked_until("GET", GRANT, holds=lambda content: content == b"ours")
            await pair.fail_over()
            assert await reached(engine) == written
            assert await other.write(b"newer", written.version) is not None
            async with aclosing(engine.watch()) as told:
                await anext(told)
                await kept(other, b"newest")
                async with asyncio.timeout(5):
                    await anext(told)
            assert await pair.replica.ask("GET", GRANT) == b"newest"


async def test_a_master_that_comes_back_as_a_replica_is_not_written_to(tmp_path: Path) -> None:
    """It was only paused; whoever had a connection to it must not take it for the master it was."""
    async with sentinel_pair(tmp_path, PASSWORD) as pair:
        url = f"redis://:{ENCODED}@127.0.0.1:{pair.sentinel.port}"
        async with replicas(url, Way(sentinel="mymaster")) as opened:
            engine = opened()
            written = await kept(engine, b"ours")
            await pair.replica.asked_until("GET", GRANT, holds=lambda content: content == b"ours")
            pair.master.pause()
            await pair.promoted()
            pair.master.resume()
            await pair.master.asked_until("ROLE", holds=lambda role: role[0] == b"slave")
            assert await reached(engine) == written
            await kept(engine, b"newer")
            assert await pair.replica.ask("GET", GRANT) == b"newer"


async def test_a_master_that_loses_its_name_with_its_connections_open_is_left(tmp_path: Path) -> None:
    """It goes on answering reads, as a replica; nothing but the refusal of a write tells."""
    async with AsyncExitStack() as stack:
        old = await stack.enter_async_context(RedisServer(tmp_path / "old", {"repl-diskless-sync-delay": "0"}))
        following = {"replicaof": f"127.0.0.1 {old.port}"}
        new = await stack.enter_async_context(RedisServer(tmp_path / "new", following))
        name = StableName(old)
        await stack.enter_async_context(await name.serve())
        opened = await stack.enter_async_context(replicas(f"redis://127.0.0.1:{name.port}"))
        engine = opened()
        written = await kept(engine, b"ours")
        await new.asked_until("GET", GRANT, holds=lambda content: content == b"ours")
        told = await stack.enter_async_context(aclosing(engine.watch()))
        await anext(told)
        await engine.read()  # on another connection than the watch's
        await new.ask("REPLICAOF", "NO", "ONE")
        await old.ask("REPLICAOF", "127.0.0.1", new.port)
        name.leads_to = new
        assert await engine.read() == written
        with pytest.raises(StoreUnreachable, match="READONLY"):
            await engine.write(b"newer", written.version)
        assert await engine.write(b"newer", written.version) is not None
        with pytest.raises((StoreUnreachable, StopAsyncIteration)):
            async with asyncio.timeout(LIMIT):
                await anext(told)
        assert await new.ask("GET", GRANT) == b"newer"
        assert await old.ask("CLIENT", "LIST", "TYPE", "pubsub") == b""


async def test_who_only_reads_finds_the_new_master_too(tmp_path: Path) -> None:
    """The old one answers for ever, and knows of nothing new: it does not even reach its master."""
    async with AsyncExitStack() as stack:
        old = await stack.enter_async_context(RedisServer(tmp_path / "old", {"repl-diskless-sync-delay": "0"}))
        following = {"replicaof": f"127.0.0.1 {old.port}"}
        new = await stack.enter_async_context(RedisServer(tmp_path / "new", following))
        name = StableName(old)
        await stack.enter_async_context(await name.serve())
        opened = await stack.enter_async_context(replicas(f"redis://127.0.0.1:{name.port}"))
        reader, writer = opened(), opened()
        written = await kept(reader, b"ours")
        await new.asked_until("GET", GRANT, holds=lambda content: content == b"ours")
        told = await stack.enter_async_context(aclosing(reader.watch()))
        await anext(told)
        await reader.read()  # on another connection than the watch's
        await new.ask("REPLICAOF", "NO", "ONE")
        await old.ask("REPLICAOF", "127.0.0.1", free_port())
        name.leads_to = new
        await kept(writer, b"newer")
        assert await reader.read() == written
        with pytest.raises((StoreUnreachable, StopAsyncIteration)):
            async with asyncio.timeout(QUIET + LIMIT + 5):
                await anext(told)
        assert (await reader.read()).content == b"newer"
        await old.asked_until("CLIENT", "LIST", holds=lambda answer: answer.count(b"\n") == 1)


@pytest.mark.parametrize("how", ["killed", "stands still"])
async def test_a_cluster_whose_node_is_gone_goes_on_with_its_replica(tmp_path: Path, how: str) -> None:
    """Also where nobody closes a connection, and nobody refuses one."""
    async with cluster(tmp_path, node_timeout=1.0) as nodes:
        others = [node for node in nodes.nodes if node is not await nodes.master_of(GRANT)]
        url = f"redis://127.0.0.1:{others[0].port},127.0.0.1:{free_port()}"
        async with replicas(url, Way(cluster=True)) as opened:
            engine = opened()
            await reached(engine)
            written = await kept(engine, b"ours")
            master = await nodes.master_of(GRANT)
            await master.asked_until("INFO", "replication", holds=replicated)
            if how == "killed":
                await master.end()
            else:
                master.pause()
            assert await reached(engine, 60) == written
            await kept(engine, b"newer")
            assert (await nodes.master_of(GRANT)).port != master.port
