"""The simulated engines: exact in what they keep, and broken where a story says so."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from bench.fleet.calls import Calls
from bench.fleet.engines import LIMIT, Ground, KubernetesLike, Profile, RedisLike
from bench.fleet.fate import Doom, Fate
from bench.fleet.virtual import VirtualLoop
from proxy.credential.store import StoreUnreachable

BOTH = pytest.mark.parametrize("kind", [RedisLike, KubernetesLike])
Story = Callable[[Ground, RedisLike, RedisLike], Awaitable[None]]


def played(kind: Profile, story: Story) -> Ground:
    """Tell a story of two replicas on one engine."""

    async def play() -> Ground:
        loop = asyncio.get_running_loop()
        ground = Ground(kind.pace, Random(1), loop, Calls(loop.time))  # noqa: S311 - the same in every run
        await story(ground, *(kind(ground, Fate(who, Doom())) for who in ("one", "two")))
        return ground

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(play())


@BOTH
def test_of_two_writes_over_one_version_the_first_is_kept_and_the_other_is_a_conflict(kind: Profile) -> None:
    async def story(_: Ground, one: RedisLike, two: RedisLike) -> None:
        version = (await one.read()).version
        assert await one.write(b"ours", version) == await two.read()
        assert await two.write(b"theirs", version) is None

    ground = played(kind, story)
    assert (ground.content, ground.conflicts) == (b"ours", 1)


@BOTH
def test_one_has_the_lease_until_it_is_given_back(kind: Profile) -> None:
    async def story(_: Ground, one: RedisLike, two: RedisLike) -> None:
        assert await one.take("one", 60)
        assert await one.take("one", 60)
        assert not await two.take("two", 60)
        assert await two.holder() == "one"
        await two.give_back("two")
        assert not await two.take("two", 60)
        await one.give_back("one")
        assert await two.take("two", 60)

    played(kind, story)


@BOTH
def test_of_two_that_take_the_lease_at_once_one_has_it(kind: Profile) -> None:
    async def story(_: Ground, one: RedisLike, two: RedisLike) -> None:
        assert sorted(await asyncio.gather(one.take("one", 60), two.take("two", 60))) == [False, True]

    played(kind, story)


@BOTH
def test_the_lease_of_one_who_is_gone_ends(kind: Profile) -> None:
    async def story(_: Ground, one: RedisLike, two: RedisLike) -> None:
        assert await one.take("one", 60)
        assert not await two.take("two", 60)
        await asyncio.sleep(59)
        assert not await two.take("two", 60)
        await asyncio.sleep(2)
        assert await two.take("two", 60)

    played(kind, story)


def test_in_kubernetes_a_lease_lasts_from_when_it_was_seen_first() -> None:
    async def story(_: Ground, one: RedisLike, two: RedisLike) -> None:
        assert await one.take("one", 60)
        await asyncio.sleep(100)
        assert not await two.take("two", 60)
        await asyncio.sleep(61)
        assert await two.take("two", 60)

    played(KubernetesLike, story)


@BOTH
def test_a_change_is_told_with_the_record_only_by_kubernetes(kind: Profile) -> None:
    async def story(ground: Ground, one: RedisLike, _: RedisLike) -> None:
        told = one.watch()
        await anext(told)
        ground.change(b"new")
        async with asyncio.timeout(1):
            assert await anext(told) == (ground.kept if kind is KubernetesLike else None)

    played(kind, story)


@BOTH
def test_nothing_is_told_to_one_that_is_cut_off_until_it_asks_again(kind: Profile) -> None:
    async def story(ground: Ground, one: RedisLike, two: RedisLike) -> None:
        told = one.watch()
        await anext(told)
        ground.cut_off.add("one")
        began = ground.loop.time()
        with pytest.raises(StoreUnreachable, match="does not answer"):
            await one.read()
        assert ground.loop.time() - began >= LIMIT
        assert (await two.read()).content == b""
        ground.change(b"new")
        await asyncio.sleep(1)
        ground.rejoin()
        with pytest.raises(StoreUnreachable, match="has broken the connection"):
            await anext(told)
        assert (await one.read()).content == b"new"

    played(kind, story)


@BOTH
def test_what_is_asked_is_counted_as_the_engine_sees_it(kind: Profile) -> None:
    async def story(_: Ground, one: RedisLike, two: RedisLike) -> None:
        await one.take("one", 60)
        await two.take("two", 60)
        await one.give_back("one")

    asked = played(kind, story).calls.kinds(0, 10)
    if kind is RedisLike:
        assert asked == {"give back": 1, "take": 2}
    else:
        assert asked == {"get lease": 3, "put lease": 2}
