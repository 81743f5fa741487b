"""The script in real Redis servers: that of the shared rate budget, by each way to one, and what it may cost."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

import pytest
from budget.ledger_contract import ANSWER, CLAUSES, FIVE, Clause, take
from torture.redis_server import RedisServer, cluster, sentinel_pair
from wire import free_port

from proxy import redis_budget
from proxy.budget.budget import BudgetSpent, Priority
from proxy.budget.ledger import LedgerUnreachable
from proxy.budget.rates import Rate
from proxy.budget.shared import SharedBudget
from proxy.credential.redis_client import Way
from proxy.redis_budget import LIMIT, RedisLedger
from proxy.secrets import Secret
from proxy.tasks import Tasks

pytestmark = pytest.mark.timeout(180)

PASSWORD: Final = "correct-horse-battery-staple"
ACL: Final = (
    f"user pandadoc on >{PASSWORD} resetchannels ~pandadoc-proxy:*"
    " +eval +time +zadd +zrem +zcard +zrange +zremrangebyscore +hget +hmget +hset +hdel +pexpire"
)
"""Just what is needed, as docs/rate-budget.md says."""


@dataclass
class Ledgers:
    """Makes ledgers, and closes them in the end."""

    url: str
    way: Way = field(default_factory=Way)
    user: str = "0123456789abcdef"
    made: list[RedisLedger] = field(default_factory=list)

    def __call__(self, process: str) -> RedisLedger:
        async def url() -> Secret:
            return Secret(self.url)

        async def user() -> str:
            return self.user

        ledger = RedisLedger(url, user, prefix="pandadoc-proxy", way=self.way, process=process, answer=ANSWER)
        self.made.append(ledger)
        return ledger


@asynccontextmanager
async def ledgers(url: str, way: Way | None = None) -> AsyncIterator[Ledgers]:
    opened = Ledgers(url, way or Way())
    try:
        yield opened
    finally:
        for ledger in opened.made:
            await ledger.close()
        assert not [ledger for ledger in opened.made if PASSWORD in f"{ledger!r} {ledger.name}"]


@asynccontextmanager
async def plain(folder: Path) -> AsyncIterator[Ledgers]:
    async with RedisServer(folder) as server, ledgers(f"{server.url}/3") as opened:
        yield opened


@asynccontextmanager
async def by_user(folder: Path) -> AsyncIterator[Ledgers]:
    folder.mkdir()
    (folder / "users.acl").write_text(f"user default off\n{ACL}\n")
    server = RedisServer(folder, {"aclfile": str(folder / "users.acl")})
    async with server, ledgers(f"redis://pandadoc:{PASSWORD}@127.0.0.1:{server.port}") as opened:
        yield opened


@asynccontextmanager
async def by_sentinel(folder: Path) -> AsyncIterator[Ledgers]:
    async with sentinel_pair(folder, PASSWORD, down_after=20) as pair:  # nothing fails over here
        url = f"redis://:{PASSWORD}@127.0.0.1:{free_port()},127.0.0.1:{pair.sentinel.port}"
        async with ledgers(url, Way(sentinel="mymaster")) as opened:
            yield opened


@asynccontextmanager
async def as_a_cluster(folder: Path) -> AsyncIterator[Ledgers]:
    async with cluster(folder, f"{ACL} +cluster|slots +command") as nodes:
        url = nodes.url.replace("redis://", f"redis://pandadoc:{PASSWORD}@")
        async with ledgers(url, Way(cluster=True)) as opened:
            yield opened


@pytest.mark.parametrize("way", [plain, by_user, by_sentinel, as_a_cluster], ids=lambda way: way.__name__)
@pytest.mark.parametrize("clause", CLAUSES, ids=lambda clause: clause.__name__)
async def test_redis_keeps_the_contract(
    tmp_path: Path,
    way: Callable[[Path], AbstractAsyncContextManager[Ledgers]],
    clause: Clause,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(redis_budget, "LIMIT", 20.0)  # it is not about machines that have other things to do
    async with way(tmp_path / "redis") as opened:
        await clause(opened)


def test_a_user_needs_what_the_docs_say() -> None:
    """The contract is kept by a user with just these rights."""
    page = (Path(__file__).parents[2] / "docs" / "rate-budget.md").read_text()
    assert f"ACL SETUSER pandadoc on >PASSWORD{ACL.partition(PASSWORD)[2]}\n" in page


async def test_every_key_is_of_the_user_and_is_forgotten_in_the_end(tmp_path: Path) -> None:
    async with RedisServer(tmp_path / "redis") as server, ledgers(server.url) as opened:
        ledger = opened("here")
        await take(ledger, *"123456")
        await ledger.tell("list", FIVE, {"1": 3.0})
        await ledger.throttled("list", FIVE, 1.0)
        await ledger.throttled("other", None, 1.0)
        await ledger.look({"list": FIVE, "other": None})
        keys = await server.ask("KEYS", "*")
        assert len(keys) == 5
        assert all(key.startswith(b"pandadoc-proxy:{0123456789abcdef}:rates:") for key in keys)
        assert all([await server.ask("PTTL", key.decode()) > 0 for key in keys])


async def test_what_one_user_has_sent_counts_for_no_other_from_the_next_call_on(tmp_path: Path) -> None:
    async def another() -> str:
        return "fedcba9876543210"

    async with RedisServer(tmp_path / "redis") as server, ledgers(server.url) as opened:
        ledger = opened("here")
        assert (await take(ledger, *"12345")).granted == 5
        ledger.belong(another)
        assert (await take(ledger, *"12345")).granted == 5
        assert await server.ask("KEYS", "pandadoc-proxy:{fedcba9876543210}:*")


async def test_a_rate_that_nobody_asks_for_is_known_for_as_long_as_somebody_looks(tmp_path: Path) -> None:
    """Else whoever asks first after an hour would be taken for the first after a loss, and wait."""
    async with RedisServer(tmp_path / "redis") as server, ledgers(server.url) as opened:
        ledger, key = opened("here"), "pandadoc-proxy:{0123456789abcdef}:rates:list:state"
        await take(ledger, "1")
        await server.ask("PEXPIRE", key, "60000")
        await ledger.look({"list": FIVE})
        assert await server.ask("PTTL", key) > 3_000_000


async def test_a_clock_that_has_stepped_back_holds_nobody_for_so_long(tmp_path: Path) -> None:
    """All that was written before lies an hour ahead then."""
    async with RedisServer(tmp_path / "redis") as server, ledgers(server.url) as opened:
        ledger, key, rate = opened("here"), "pandadoc-proxy:{0123456789abcdef}:rates", Rate(40, 1.0)
        born = (await take(ledger, "1", rate=rate)).born
        await ledger.throttled("list", rate, 0.1)
        ahead = str(round((time.time() + 3600) * 1000))  # it is the same machine's
        for slot in map(str, range(20)):
            await server.ask("ZADD", f"{key}:list:slots", ahead, slot)
        await server.ask("ZADD", f"{key}:list:line", ahead, "another")
        await server.ask("ZADD", f"{key}:replicas", ahead, "another")
        await server.ask("HSET", f"{key}:list:state", "quiet", ahead, "due", ahead, "grows", ahead)
        assert (await take(ledger, "robot", rate=rate, batch=True)).wait <= 3.1
        await server.ask("HSET", f"{key}:list:state", "paused", ahead)
        assert 299 < (await ledger.look({"list": rate})).rates["list"].paused <= 300
        assert (await ledger.look({"list": rate})).replicas == 2
        await server.ask("HSET", f"{key}:list:state", "paused", "0")
        await asyncio.sleep(1 + ANSWER + 0.1)
        robot = await take(ledger, "robot", rate=rate, batch=True, born=born)
        assert (robot.granted, robot.seen.limit, robot.seen.left) == (1, 20, 19)
        grows = float(await server.ask("HGET", f"{key}:list:state", "grows"))
        assert grows <= (time.time() + 300) * 1000


async def test_a_redis_that_comes_back_with_an_old_snapshot_is_told_again_what_was_sent_since(tmp_path: Path) -> None:
    """Nobody was there to notice, and it says that it is the same: that is in the snapshot, too."""
    async with RedisServer(tmp_path / "redis") as server, ledgers(server.url) as opened:
        tasks, rate, slots = Tasks(), Rate(10, 60.0), f"pandadoc-proxy:{{{opened.user}}}:rates:list:slots"
        here, there = (
            SharedBudget(
                "default",
                {"list": rate},
                time.monotonic,
                ledger=opened(process),
                tasks=tasks,
                jitter=lambda: 0.0,
                process=process,
                answer=ANSWER,
            )
            for process in ("here", "there")
        )
        (await here.take("list", Priority.INTERACTIVE, 1)).answered()
        await here.look()
        await server.ask("SAVE")
        for _ in range(7):
            (await here.take("list", Priority.INTERACTIVE, 1)).answered()
        await server.asked_until("ZCARD", slots, holds=lambda taken: taken == 8)
        await server.end()
        await server.start()
        assert await server.ask("ZCARD", slots) == 1
        await here.look()
        await server.asked_until("ZCARD", slots, holds=lambda taken: taken == 8)
        for _ in range(2):
            await there.take("list", Priority.INTERACTIVE, 0)
        with pytest.raises(BudgetSpent):
            await there.take("list", Priority.INTERACTIVE, 0)
        assert here.standings()[0].shared


async def test_what_goes_wrong_is_said_in_time_and_without_the_password(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis", {"requirepass": PASSWORD}, password=PASSWORD)
    async with server, ledgers(server.url_with(PASSWORD)) as opened:
        ledger = opened("here")
        await take(ledger, "1")
        server.pause()
        began = time.monotonic()
        with unreachable("does not answer within"):
            await take(ledger, "2")
        assert time.monotonic() - began < 2 * LIMIT
        server.resume()
        await server.end()
        with unreachable("can't be reached"):
            await take(ledger, "3")
        opened.url = "redis://"
        with unreachable("The URL of Redis can't be used"):
            await take(ledger, "4")


async def test_two_of_three_sentinels_may_be_silent(tmp_path: Path) -> None:
    """Machines that are gone: nobody refuses the connection, nobody answers on it."""
    async with sentinel_pair(tmp_path / "redis", PASSWORD) as pair, AsyncExitStack() as stack:
        silent = [stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(2)]
        hosts = ",".join(f"127.0.0.1:{port}" for port in (*silent, pair.sentinel.port))
        async with ledgers(f"redis://:{PASSWORD}@{hosts}", Way(sentinel="mymaster")) as opened:
            await reached(opened("here"))


async def test_a_cluster_whose_node_stands_still_goes_on_with_its_replica(tmp_path: Path) -> None:
    async with cluster(tmp_path / "redis", node_timeout=1.0) as nodes, ledgers(nodes.url, Way(cluster=True)) as opened:
        ledger = opened("here")
        await reached(ledger)
        master = await nodes.master_of(f"{{{opened.user}}}")
        master.pause()
        await reached(ledger, 60)
        assert (await nodes.master_of(f"{{{opened.user}}}")).port != master.port


async def test_another_user_has_another_rate(tmp_path: Path) -> None:
    """A key that was replaced is taken for another user's at the next look."""
    async with plain(tmp_path / "redis") as opened:
        ledger = opened("here")
        assert (await take(ledger, *"12345")).granted == 5
        opened.user = "fedcba9876543210"
        assert (await take(ledger, "6")).granted == 0
        await ledger.look({"list": FIVE})
        assert (await take(ledger, "6")).granted == 1


async def test_what_a_slot_costs(tmp_path: Path) -> None:
    """For docs/rate-budget.md; fails where it is ten times as much."""
    async with plain(tmp_path / "redis") as opened:
        ledger, rate, numbers = opened("here"), Rate(1_000_000, 60.0), count()
        await take(ledger, "warm", rate=rate)
        began = time.perf_counter()
        for number in range(1000):
            await take(ledger, f"here:{next(numbers)}", rate=rate)
            await ledger.tell("list", rate, {f"here:{number}": 60.0})
        each = (time.perf_counter() - began) / 2000
    print(f"{each * 1e6:.0f} µs for one call and its answer")  # noqa: T201 - for the record
    assert each < 0.01


async def reached(ledger: RedisLedger, seconds: float = 10.0) -> None:
    """Look as soon as that goes well; fails if it takes long."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                await ledger.look({"list": FIVE})
            except LedgerUnreachable:
                await asyncio.sleep(0.05)
            else:
                return


@contextmanager
def unreachable(words: str) -> Iterator[None]:
    with pytest.raises(LedgerUnreachable, match=words) as caught:
        yield
    assert PASSWORD not in str(caught.value)
