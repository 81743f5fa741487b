"""The way to a cluster, for the store and for the ledger: who has the key is learnt anew in time; without a Redis.

That a real cluster fares as well is shown in tests/torture.
"""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme
from credential.redis_node import Node
from msgspec.structs import replace
from rig import until
from wire import free_port

from proxy import redis_budget
from proxy.budget.ledger import LedgerUnreachable
from proxy.budget.rates import Rate
from proxy.credential import redis_engine
from proxy.credential.redis_client import Way
from proxy.credential.redis_engine import RedisEngine
from proxy.credential.store import StoreError, StoreUnreachable
from proxy.redis_budget import RedisLedger
from proxy.secrets import Secret

CLUSTER = Way(cluster=True)


@pytest.mark.parametrize("way", [Way(), CLUSTER, Way(sentinel="pandadoc")], ids=["one", "cluster", "sentinel"])
async def test_a_fifo_in_the_place_of_ca_file_is_told_and_never_opened(tmp_path: Path, way: Way) -> None:
    """It would be opened on the event loop, which would stand still until somebody writes."""
    os.mkfifo(tmp_path / "ca.pem")
    way = replace(way, ca_file=tmp_path / "ca.pem")

    async def url() -> Secret:
        return Secret("rediss://127.0.0.1:1")

    async def owner() -> str:
        return "0" * 16

    engine = RedisEngine(url, owner, prefix="p", way=way)
    with pytest.raises(StoreError, match=r"ca_file .* is not a regular file"):
        await engine.read()
    await engine.close()


@dataclass
class Caller:
    """The store or the ledger: how to make a call and to close it, and what it raises. A test may change `url`."""

    url: str
    call: Callable[[], Awaitable[object]]
    close: Callable[[], Awaitable[None]]
    unreachable: type[Exception]

    async def reach(self, seconds: float = 10.0) -> None:
        """Call until that goes well."""
        async with asyncio.timeout(seconds):
            while True:
                try:
                    await self.call()
                except self.unreachable:
                    await asyncio.sleep(0.01)
                else:
                    return

    async def fail(self, words: str) -> None:
        with pytest.raises(self.unreachable, match=words):
            await self.call()


@dataclass
class Cluster:
    """Who has the keys, and another node."""

    master: Node = field(default_factory=Node)
    other: Node = field(default_factory=Node)
    running: AsyncExitStack = field(default_factory=AsyncExitStack)  # the master

    def fail_over(self) -> None:
        self.other.knows = (self.other.port, self.other.port)


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    made = Cluster()
    async with made.running, made.other.serve():
        await made.running.enter_async_context(made.master.serve())
        made.master.knows = made.other.knows = (made.other.port, made.master.port)
        yield made


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> float:
    """Cut each call off soon."""
    limit = 0.3
    monkeypatch.setattr(redis_engine, "LIMIT", limit)
    monkeypatch.setattr(redis_budget, "LIMIT", limit)
    return limit


@pytest.fixture(params=["the store", "the ledger"])
async def caller(request: pytest.FixtureRequest, cluster: Cluster) -> AsyncIterator[Caller]:
    """Return a caller that has the other node in its URL."""

    async def url() -> Secret:
        return Secret(made.url)

    async def owner() -> str:
        return "0123456789abcdef"

    engine = RedisEngine(url, owner, prefix="pandadoc-proxy", way=CLUSTER)
    ledger = RedisLedger(url, owner, prefix="pandadoc-proxy", way=CLUSTER, process="pod", answer=1.0)
    start = f"redis://127.0.0.1:{cluster.other.port}"
    if request.param == "the store":
        made = Caller(start, lambda: engine.take("pod", 5), engine.close, StoreUnreachable)
    else:
        rate = Rate(10, 60.0)
        made = Caller(start, lambda: ledger.tell("all", rate, {"slot": 1.0}), ledger.close, LedgerUnreachable)
    yield made
    await made.close()


async def test_a_master_that_falls_silent_is_left_for_its_successor(
    cluster: Cluster, caller: Caller, hasty: float
) -> None:
    """Nobody closes a connection: its machine is gone, or stands still."""
    await caller.reach()
    cluster.master.mute = True
    await caller.fail(f"does not answer within {hasty} s")
    cluster.fail_over()
    await caller.reach()
    assert b"EVAL" in cluster.other.calls


async def test_nodes_that_answer_late_are_learnt_in_the_course_of_several_calls(
    cluster: Cluster, caller: Caller, hasty: float
) -> None:
    """Each call is cut off by its limit; what was learnt by then need not be learnt again."""
    cluster.master.late = cluster.other.late = hasty * 0.6
    await caller.fail(f"does not answer within {hasty} s")
    await caller.reach()


async def test_nodes_that_are_all_gone_are_looked_for_at_the_url_again(cluster: Cluster, caller: Caller) -> None:
    """All pods of a cluster were replaced, and the name in the URL leads to the new ones."""
    known = cluster.master.port  # who is in the URL is forgotten then
    cluster.master.knows = cluster.other.knows = (known, known)
    await caller.call()
    await cluster.running.aclose()
    cluster.fail_over()
    await caller.fail("can't be reached")
    await caller.reach()


async def test_what_redis_py_has_no_name_for_is_a_server_that_is_not_reached(cluster: Cluster, caller: Caller) -> None:
    """It raises AttributeError where a slot is on its way to a node that it has not met yet."""
    cluster.master.says = f"-ASK 5 127.0.0.1:{free_port()}"
    await caller.fail("can't be reached: redis-py fails with AttributeError.")
    cluster.master.says = ":1"
    await caller.call()
    await until(lambda: len(cluster.master.callers) == 1)


async def test_a_node_whose_certificate_is_of_the_next_authority_is_trusted_when_ca_file_has_it(tmp_path: Path) -> None:
    """While another still shows the earlier one: what was learnt of the nodes holds what `ca_file` held then."""
    before, after, authorities = trustme.CA(), trustme.CA(), tmp_path / "ca.pem"
    nodes = [Node(tls=ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)) for _ in range(2)]
    for node in nodes:
        before.issue_cert("127.0.0.1").configure_cert(node.tls)
    before.cert_pem.write_to_path(str(authorities))
    master, other = nodes

    async def url() -> Secret:
        return Secret(f"rediss://127.0.0.1:{other.port}")

    async def owner() -> str:
        return "0123456789abcdef"

    engine = RedisEngine(url, owner, prefix="pandadoc-proxy", way=Way(cluster=True, ca_file=authorities))
    async with master.serve(), other.serve():
        master.knows = other.knows = (other.port, master.port)
        await engine.take("pod", 5)
        after.issue_cert("127.0.0.1").configure_cert(master.tls)
        after.cert_pem.write_to_path(str(authorities), append=True)
        for caller in [*master.callers]:
            caller.close()
        with pytest.raises(StoreError, match="certificate that is not trusted"):
            await engine.take("pod", 5)
        await engine.take("pod", 5)
        await engine.close()


async def test_nothing_stays_open_of_a_client_that_was_to_learn_the_nodes_anew(
    cluster: Cluster, caller: Caller
) -> None:
    await caller.call()
    await cluster.running.aclose()
    await caller.fail("can't be reached")
    await caller.close()
    await until(lambda: not cluster.other.callers)
