"""What SharedStore relies on, of every engine: run against each, with replicas that share one record and one lease.

An Opened is how a test gets at them: it makes engines, as many as it likes, for one owner or for another.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final, Protocol, cast

from proxy.credential.engine import Engine, Kept

LONG: Final = 30.0
"""Seconds of a lease that does not end while a test runs."""

RECORD: Final = b'{"format": "any",\n "token": "\xc3\xa9\x00"}\n'
"""What a record may hold: an engine knows nothing of it."""


class Opened(Protocol):
    """Makes one replica's engine; whoever gave it closes what it made."""

    def __call__(self) -> Engine: ...


Clause = Callable[[Opened], Awaitable[None]]


async def what_was_never_written_is_empty(opened: Opened) -> None:
    assert (await opened().read()).content == b""


async def what_is_written_is_read_by_every_replica(opened: Opened) -> None:
    here, there = opened(), opened()
    written = await here.write(RECORD, (await here.read()).version)
    assert written is not None
    assert written.content == RECORD
    assert await there.read() == written
    assert await here.read() == written


async def a_version_changes_with_the_record(opened: Opened) -> None:
    engine = opened()
    seen = [await engine.read()]
    for content in (b"one", b"two", b"three"):
        written = await engine.write(content, seen[-1].version)
        assert written is not None
        seen.append(written)
    assert len({kept.version for kept in seen}) == 4


async def what_was_read_long_ago_is_not_written_over(opened: Opened) -> None:
    here, there = opened(), opened()
    old = await here.read()
    assert await there.write(b"theirs", old.version) is not None
    assert await here.write(b"ours", old.version) is None
    assert (await here.read()).content == b"theirs"


async def of_many_that_write_over_one_version_one_has_written(opened: Opened) -> None:
    engines = [opened() for _ in range(8)]
    version = (await engines[0].read()).version
    written = await asyncio.gather(*(each.write(f"{n}".encode(), version) for n, each in enumerate(engines)))
    (winner,) = [kept for kept in written if kept is not None]
    assert await engines[0].read() == winner


async def no_change_is_lost_where_all_change_at_once(opened: Opened) -> None:
    async def count(engine: Engine) -> None:
        for _ in range(5):
            written = None
            while written is None:
                kept = await engine.read()
                written = await engine.write(b"%d" % (int(kept.content or 0) + 1), kept.version)

    engines = [opened() for _ in range(4)]
    await asyncio.gather(*map(count, engines))
    assert (await engines[0].read()).content == b"20"


async def the_lease_has_one_holder(opened: Opened) -> None:
    here, there = opened(), opened()
    assert await here.holder() is None
    assert await here.take("here", LONG)
    assert not await there.take("there", LONG)
    assert await there.holder() == "here"
    await here.give_back("here")
    assert await there.holder() is None
    assert await there.take("there", LONG)


async def of_many_that_take_the_lease_one_has_it(opened: Opened) -> None:
    engines = [opened() for _ in range(8)]
    taken = await asyncio.gather(*(each.take(f"replica-{n}", LONG) for n, each in enumerate(engines)))
    assert taken.count(True) == 1
    assert await engines[0].holder() == f"replica-{taken.index(True)}"


async def who_has_the_lease_takes_it_again(opened: Opened) -> None:
    engine = opened()
    assert await engine.take("here", LONG)
    assert await engine.take("here", LONG)
    assert await engine.holder() == "here"


async def nobody_gives_back_what_another_has(opened: Opened) -> None:
    here, there = opened(), opened()
    assert await here.take("here", LONG)
    await there.give_back("there")
    assert await here.holder() == "here"
    await there.give_back("here-and-more")
    assert not await there.take("there", LONG)


async def a_lease_ends_by_itself(opened: Opened) -> None:
    """Its holder has died. Until then nobody else has it, and then somebody has."""
    here, there = opened(), opened()
    began = asyncio.get_running_loop().time()
    assert await here.take("here", 1.0)
    async with asyncio.timeout(20):
        while not await there.take("there", LONG):  # noqa: ASYNC110 - nobody tells when a lease ends
            await asyncio.sleep(0.02)
    assert asyncio.get_running_loop().time() - began > 0.9
    assert await here.holder() == "there"
    assert not await here.take("here", LONG)


async def a_lease_that_was_taken_for_years_ends_as_soon_as_ones_own_would(opened: Opened) -> None:
    """No edit, and no clock, stops a fleet."""
    here, there = opened(), opened()
    assert await here.take("here", 1e8)
    began = asyncio.get_running_loop().time()
    async with asyncio.timeout(20):
        while not await there.take("there", 1.0):  # noqa: ASYNC110 - nobody tells when a lease ends
            await asyncio.sleep(0.02)
    assert asyncio.get_running_loop().time() - began > 0.9


async def taking_the_lease_again_makes_it_longer(opened: Opened) -> None:
    here, there = opened(), opened()
    assert await here.take("here", 1.0)
    assert await here.take("here", LONG)
    async with asyncio.timeout(20):
        for _ in range(30):
            assert not await there.take("there", LONG)
            await asyncio.sleep(0.05)


async def whoever_watches_is_told_that_he_does_and_of_every_change(opened: Opened) -> None:
    here, there = opened(), opened()
    async with aclosing(watched(here)) as told:
        await anext(told)
        for content in (b"one", b"two", b"three"):
            written = await there.write(content, (await there.read()).version)
            async with asyncio.timeout(10):
                while await read_or_told(here, await anext(told)) != written:
                    pass


async def what_changes_just_before_a_watch_opens_is_not_missed(opened: Opened) -> None:
    """Who reads when he is told that the watch is open has seen everything."""
    here, there = opened(), opened()
    written = await there.write(b"one", (await there.read()).version)
    async with aclosing(watched(here)) as told:
        async with asyncio.timeout(10):
            while await read_or_told(here, await anext(told)) != written:
                pass


async def several_watch_at_once(opened: Opened) -> None:
    engines = [opened() for _ in range(4)]
    opening = [watched(each) for each in engines]
    for told in opening:
        await anext(told)
    written = await engines[0].write(b"one", (await engines[0].read()).version)
    async with asyncio.timeout(10):
        for engine, told in zip(engines, opening, strict=True):
            while await read_or_told(engine, await anext(told)) != written:
                pass
    for told in opening:
        await told.aclose()


async def its_name_and_its_repr_are_short_words_for_people(opened: Opened) -> None:
    engine = opened()
    await engine.write(RECORD, (await engine.read()).version)
    assert 0 < len(engine.name) < 100
    assert "token" not in engine.name + repr(engine)
    assert engine.poll > 0


CLAUSES: Final[tuple[Clause, ...]] = (
    what_was_never_written_is_empty,
    what_is_written_is_read_by_every_replica,
    a_version_changes_with_the_record,
    what_was_read_long_ago_is_not_written_over,
    of_many_that_write_over_one_version_one_has_written,
    no_change_is_lost_where_all_change_at_once,
    the_lease_has_one_holder,
    of_many_that_take_the_lease_one_has_it,
    who_has_the_lease_takes_it_again,
    nobody_gives_back_what_another_has,
    a_lease_ends_by_itself,
    a_lease_that_was_taken_for_years_ends_as_soon_as_ones_own_would,
    taking_the_lease_again_makes_it_longer,
    whoever_watches_is_told_that_he_does_and_of_every_change,
    what_changes_just_before_a_watch_opens_is_not_missed,
    several_watch_at_once,
    its_name_and_its_repr_are_short_words_for_people,
)


def watched(engine: Engine) -> AsyncGenerator[Kept | None, None]:
    """Open a watch that can be closed: all of ours are generators."""
    return cast("AsyncGenerator[Kept | None, None]", cast("Any", engine).watch())


async def read_or_told(engine: Engine, told: Kept | None) -> Kept:
    """Return what came along, or else what is kept now."""
    return await engine.read() if told is None else told
