"""The store of a fleet over an engine in memory: each change is made to what is kept at that moment, or not at all."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from engines import MemoryEngine, Record
from msgspec.structs import replace
from rig import TurnedClock, until

from proxy.credential import shared_store
from proxy.credential.engine import Kept
from proxy.credential.ledger import REFRESHED, Attempt, Grant, Ledger, Lineage, renewed
from proxy.credential.record import decode, encode
from proxy.credential.refusals import Refusals
from proxy.credential.shared_store import LAST_TRIES, SharedStore
from proxy.credential.store import StoreError, StoreUnreachable
from proxy.secrets import Secret
from proxy.tasks import Tasks

OWNER = "0123456789abcdef"
SEED = Secret("s" * 40)
LINEAGE = Lineage("refresh_token", SEED.fingerprint(), 1.0)


def grant(generation: int) -> Grant:
    return Grant(generation, LINEAGE, Secret(f"r{generation:039}"), Secret(f"a{generation:039}"), 1.0, 9e9)


@dataclass
class Ground:
    """Replicas' stores on one record."""

    record: Record = field(default_factory=Record)
    clock: TurnedClock = field(default_factory=TurnedClock)
    tasks: Tasks = field(default_factory=Tasks)

    def store(self, who: str = "one", jitter: float = 0.5, engine: type[MemoryEngine] = MemoryEngine) -> SharedStore:
        async def owner() -> str:
            return OWNER

        return SharedStore(
            engine(self.record, self.clock.monotonic),
            owner,
            who=who,
            clock=self.clock,
            jitter=lambda: jitter,
            tasks=self.tasks,
        )

    @property
    def kept(self) -> Ledger:
        return decode(self.record.content, OWNER)


@pytest.fixture
async def ground() -> AsyncIterator[Ground]:
    ground = Ground()
    yield ground
    await ground.tasks.drain(1)


def mint(generation: int, by: str = "one") -> Ledger:
    return Ledger(grant(generation), (LINEAGE.fingerprint,), last=Attempt(2.0, REFRESHED, by))


async def test_nothing_is_kept_at_first(ground: Ground) -> None:
    assert await ground.store().load() == Ledger()


async def test_where_it_is_kept_is_the_engines_to_say(ground: Ground) -> None:
    store, elsewhere = ground.store(), MemoryEngine(ground.record)
    elsewhere.name = "elsewhere"
    assert store.where == "the test's memory"
    store.move(elsewhere)
    assert store.where == "elsewhere"


async def test_whose_grant_it_is_is_asked_once(ground: Ground) -> None:
    """The engine's keys and what they hold must be one client's, also where its id is corrected meanwhile."""
    answers = iter(("one", "two", "three"))
    asked, ready = 0, asyncio.Event()

    async def owner() -> str:
        nonlocal asked
        asked += 1
        if asked > 1:
            ready.set()
        await ready.wait()
        return next(answers)

    engine = MemoryEngine(ground.record, ground.clock.monotonic)
    store = SharedStore(engine, owner, who="one", clock=ground.clock, jitter=lambda: 0.5, tasks=ground.tasks)
    assert store.whose == ""
    assert set(await asyncio.gather(store.owner(), store.owner())) == {"one"}
    await store.update(lambda _: mint(1))
    assert store.whose == "one"
    assert decode(ground.record.content, "one") == mint(1)


async def test_what_one_replica_writes_another_reads(ground: Ground) -> None:
    await ground.store("one").update(lambda _: mint(1))
    assert await ground.store("two").load() == mint(1)


async def test_a_change_that_another_came_before_is_made_anew_to_what_that_left(ground: Ground) -> None:
    """So the pair whose redeem succeeded is kept, whoever saves first: the other one finds it there."""
    ours, theirs = ground.store("one"), ground.store("two")
    await ours.update(lambda _: mint(1))
    first = replace(mint(2, "two"), grant=replace(grant(2), access_token=Secret("b" * 40)))
    seen: list[int] = []

    def change(kept: Ledger) -> Ledger | None:
        seen.append(kept.generation)
        if len(seen) == 1:  # in the moment between our reading and our writing
            ground.record.content = encode(first, OWNER)
            ground.record.version += 1
        return renewed(kept, grant(2), kept.seeds, Refusals(), Attempt(3.0, REFRESHED, "one"))

    assert await ours.update(change) is None
    assert seen == [1, 2]
    assert await theirs.load() == first


async def test_what_was_read_before_a_change_of_our_own_is_read_again(ground: Ground) -> None:
    """Else its answer, come late, would say that the store has lost what was just written."""
    answer, cue = asyncio.Event(), asyncio.Event()

    class Late(MemoryEngine):
        async def read(self) -> Kept:
            kept = await super().read()
            if not answer.is_set():
                answer.set()
                await cue.wait()
            return kept

    store = ground.store(engine=Late)
    late = asyncio.ensure_future(store.load())
    await answer.wait()
    await store.update(lambda _: mint(1))
    cue.set()
    assert await late == mint(1)
    assert await store.peek() == mint(1)
    assert ground.record.calls["read"] == 3


async def test_a_change_that_changes_nothing_writes_nothing_unless_it_is_to_prove_that_it_could(ground: Ground) -> None:
    store = ground.store()
    await store.update(lambda _: mint(1))
    await store.update(lambda kept: kept)
    assert ground.record.calls["write"] == 1
    await store.update(lambda kept: kept, room=True)
    assert ground.record.calls["write"] == 2


async def test_what_proves_that_it_could_write_changes_the_record_each_time_and_says_the_same(ground: Ground) -> None:
    """An API server writes nothing where nothing changes: an immutable Secret and a full etcd would pass."""
    store = ground.store()
    await store.update(lambda _: mint(1))
    seen = [ground.record.content]
    for _ in range(3):
        await store.update(lambda kept: kept, room=True)
        seen.append(ground.record.content)
        assert ground.kept == mint(1)
    assert all(after != before for before, after in pairwise(seen))
    assert max(map(len, seen)) <= len(seen[0]) + 1


async def test_a_store_that_never_stands_still_is_given_up_on(ground: Ground) -> None:
    def change(kept: Ledger) -> Ledger:
        ground.record.version += 1
        return replace(kept, seeds=("x",))

    store = ground.store(jitter=0.0)
    with pytest.raises(StoreUnreachable, match="changed 20 times"):
        await store.update(change)


async def test_what_is_not_ours_is_refused_and_left_as_it_is(ground: Ground) -> None:
    ground.record.content = b"something else"
    store = ground.store()
    for call in (store.load(), store.update(lambda _: mint(1))):
        with pytest.raises(StoreError, match=r"the test's memory is not a grant of pandadoc-proxy.* or delete it: a"):
            await call
    assert ground.record.content == b"something else"


WHOLE = {
    "another client's": (encode(mint(1), "another"), r"another OAuth client .*\. Check client_id, token_url and upstr"),
    "a later version's": (b'{"format": "pandadoc-proxy grant", "version": 2}', r"format 2.*\. Run the version that wr"),
}


@pytest.mark.parametrize(("content", "said"), WHOLE.values(), ids=WHOLE)
async def test_nobody_is_told_to_remove_a_grant_that_is_whole(ground: Ground, content: bytes, said: str) -> None:
    """Whoever ran such a command would be left with no grant, and the wrong id or endpoint still."""
    ground.record.content = content
    with pytest.raises(StoreError, match=said) as refused:
        await ground.store().load()
    assert "don't remove it" in str(refused.value)
    assert "delete it" not in str(refused.value)
    assert "login" not in str(refused.value)
    assert ground.record.content == content


# Looking behind the traffic


async def test_while_changes_are_told_a_look_costs_no_call_until_one_is(ground: Ground) -> None:
    ours, looks = ground.store("one"), []

    async def look() -> None:
        looks.append(await ours.peek())

    ours.watch(look)
    ours.watch(look)  # only the first counts
    await until(lambda: len(looks) == 1)
    for _ in range(5):
        await ours.peek()
    assert ground.record.calls["read"] == 1
    await ground.store("two").update(lambda _: mint(1))
    await until(lambda: len(looks) == 2)
    assert looks == [Ledger(), mint(1)]
    ground.clock.pass_(20)  # and what was not told is read after `poll`
    ground.record.calls.clear()
    await ours.peek()
    assert ground.record.calls["read"] == 1


async def test_without_a_watch_a_look_reads_every_few_seconds(ground: Ground) -> None:
    ours = ground.store()
    await ours.peek()
    await ours.peek()
    assert ground.record.calls["read"] == 1
    ground.clock.pass_(6)
    await ours.peek()
    assert ground.record.calls["read"] == 2


async def test_an_engine_that_is_gone_is_not_asked_at_every_look(ground: Ground) -> None:
    ours = ground.store()
    ground.record.reachable = False
    for _ in range(5):
        with pytest.raises(StoreUnreachable, match="does not answer"):
            await ours.peek()
    assert ground.record.calls["read"] == 1
    with pytest.raises(StoreUnreachable):
        await ours.load()  # who needs it asks
    ground.record.reachable = True
    ground.clock.pass_(5)
    assert await ours.peek() == Ledger()


async def test_a_watch_that_breaks_is_opened_again(ground: Ground) -> None:
    ours, looks = ground.store(), []

    async def look() -> None:
        looks.append(1)

    ours.watch(look)
    await until(lambda: len(looks) == 1)
    assert "watched" in repr(ours)
    ground.record.reachable = False
    ground.record.changed()
    await until(lambda: "polled" in repr(ours))
    ground.record.reachable = True
    await until(lambda: len(looks) == 2)
    assert "watched" in repr(ours)


async def test_a_watch_that_fails_by_a_fault_of_ours_is_opened_again(
    ground: Ground, caplog: pytest.LogCaptureFixture
) -> None:
    ours, looks = ground.store(), []

    async def look() -> None:
        looks.append(1)

    ours.watch(look)
    await until(lambda: len(looks) == 1)
    ground.record.fault = KeyError("nobody has thought of this")
    ground.record.changed()
    await until(lambda: "polled" in repr(ours))
    ground.record.fault = None
    await until(lambda: len(looks) == 2)
    assert "a fault of ours in the watch of the test's memory" in caplog.text


class BriefEngine(MemoryEngine):
    """One whose watches end as soon as they are open, as a proxy before an API server may have it."""

    async def watch(self) -> AsyncGenerator[Kept | None, None]:
        await self._called("watch")
        yield None


class Hasty(Tasks):
    """Takes no time for five pauses, and notes how long they were to be; `pause` alone changes them."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses: list[float] = []

    async def pause(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        return len(self.pauses) == 5


@pytest.mark.parametrize(
    ("lived", "pauses", "told"), [(0.0, [0.75, 1.5, 3.0, 5.0, 5.0], 1), (6.0, [0.75] * 5, 0)], ids=["brief", "lasting"]
)
async def test_watches_that_end_as_soon_as_they_are_open_are_opened_ever_more_rarely(
    caplog: pytest.LogCaptureFixture, lived: float, pauses: list[float], told: int
) -> None:
    """And that is said, once. One that has lived for a while may be opened soon."""
    tasks = Hasty()
    ground = Ground(tasks=tasks)

    async def look() -> None:
        ground.clock.pass_(lived)

    ours = ground.store(engine=BriefEngine)
    ours.watch(look)
    await until(lambda: len(tasks.pauses) == 5)
    assert tasks.pauses == pauses
    assert caplog.text.count("changes in the test's memory are not told") == told
    await tasks.drain(1)


async def test_what_a_person_must_mend_is_looked_at_ever_more_rarely(ground: Ground) -> None:
    """A Secret that was deleted, a permission that was taken away: a thousand pods must not ask at every look."""
    ours = ground.store()
    ground.record.forbidden = True
    for _ in range(60):
        with pytest.raises(StoreError, match="forbids"):
            await ours.peek()
        ground.clock.pass_(2)
    assert ground.record.calls["read"] < 12
    ground.record.forbidden = False
    ground.clock.pass_(30)
    assert await ours.peek() == Ledger()


async def test_two_stores_of_one_process_are_two_holders(ground: Ground) -> None:
    """As after a reload: the first to finish must not end the other's lease."""
    first, second = ground.store("one"), ground.store("one")
    assert await first.lease(60) is not None
    assert await second.lease(60) is None


async def test_a_look_that_fails_does_not_end_the_watch(ground: Ground, caplog: pytest.LogCaptureFixture) -> None:
    ours, looks = ground.store(), []

    async def look() -> None:
        looks.append(1)
        if len(looks) == 1:
            raise ValueError("a fault")

    ours.watch(look)
    await until(lambda: len(looks) == 1)
    ground.record.changed()
    await until(lambda: len(looks) == 2)
    assert "a fault of ours while looking at what has changed" in caplog.text


async def test_what_comes_along_with_the_news_is_not_read_again(ground: Ground) -> None:
    """As a watch of Kubernetes brings it."""
    ours = ground.store()
    await ours.load()
    ground.record.calls.clear()
    ours._wake(Kept(encode(mint(4), OWNER), "9"))  # noqa: SLF001 - the memory engine tells without
    assert await ours.peek() == mint(4)
    assert ground.record.calls["read"] == 0


async def test_who_waits_for_news_is_woken_by_a_change(ground: Ground) -> None:
    ours = ground.store()
    waiting = asyncio.create_task(ours.news(ours.heard))
    await asyncio.sleep(0)
    ours._wake(None)  # noqa: SLF001 - as the watch does
    async with asyncio.timeout(0.4):  # nobody told would be 0.5 s at least
        await waiting


async def test_who_waits_for_news_that_nobody_tells_reads_after_a_moment(ground: Ground) -> None:
    ours = ground.store(jitter=0.0)
    await ours.peek()
    await ours.news(ours.heard)
    await ours.peek()
    assert ground.record.calls["read"] == 2


async def test_news_that_came_since_the_last_look_is_not_waited_for(ground: Ground) -> None:
    """It came while the lease was asked for: whoever waited for the next would wait for nothing."""
    ours = ground.store()
    looked = ours.heard
    ours._wake(None)  # noqa: SLF001 - as the watch does
    async with asyncio.timeout(0.4):
        await ours.news(looked)


async def test_what_was_read_before_a_change_was_told_is_not_taken_for_the_newest(ground: Ground) -> None:
    """The answer to a read may come after the word of a change that the read has not seen: they come by two ways."""
    ours, theirs = ground.store(), ground.store("two")

    async def look() -> None:
        await asyncio.sleep(0)

    ours.watch(look)
    await until(lambda: ours.heard == 1)
    await theirs.update(lambda _: mint(1))
    await until(lambda: ours.heard == 2)
    ground.record.slow = asyncio.Event()
    reading = asyncio.create_task(ours.load())
    await asyncio.sleep(0.05)  # it has read, and its answer is on the way
    ground.record.content = encode(mint(2), OWNER)
    ground.record.version += 1
    ground.record.changed()
    await until(lambda: ours.heard == 3)
    ground.record.slow.set()
    assert await reading == mint(1)
    assert await ours.peek() == mint(2)


async def test_who_would_be_told_waits_longer_at_each_turn(ground: Ground) -> None:
    """Of a thousand that wait for a lease whose holder has died, few ask for it in any second."""
    ours = ground.store(jitter=0.0)
    ours.watch(ours.load)  # type: ignore[arg-type] # what it returns is nobody's
    await until(lambda: ground.record.watchers != [])
    loop = asyncio.get_running_loop()
    for turns, least, most in ((0, 0.5, 1.0), (2, 1.5, 2.0), (90, 2.5, 3.0)):
        began = loop.time()
        await ours.news(ours.heard, turns)
        assert least <= loop.time() - began + 0.01
        assert loop.time() - began < most


async def test_who_waits_for_long_reads_though_a_watch_tells_nothing(ground: Ground) -> None:
    """A connection may be dead and not know for a minute, and requests are waiting."""
    ours = ground.store(jitter=0.0)
    ours.watch(ours.load)  # type: ignore[arg-type] # what it returns is nobody's
    await until(lambda: ground.record.calls["read"] == 1)
    ground.record.tells = False
    await ground.store("two").update(lambda _: mint(1))
    await ours.news(ours.heard, 0)
    assert await ours.peek() == Ledger()
    await ours.news(ours.heard, 1)
    assert await ours.peek() == mint(1)


async def test_polls_of_replicas_that_were_told_together_spread_over_the_whole_poll(ground: Ground) -> None:
    """A chance is drawn once: drawn at each look, the first that is small enough would end the wait early."""
    chances = iter([0.9, *([0.0] * 9)])
    ours = ground.store()
    ours._jitter = lambda: next(chances)  # noqa: SLF001 - a chance that a test decides
    ours.watch(ours.load)  # type: ignore[arg-type] # what it returns is nobody's
    await until(lambda: ground.record.calls["read"] == 1)
    ground.clock.pass_(MemoryEngine.poll * 1.3)
    for _ in range(5):
        await ours.peek()
    assert ground.record.calls["read"] == 1
    ground.clock.pass_(MemoryEngine.poll * 0.2)
    await ours.peek()
    assert ground.record.calls["read"] == 2


# The lease


async def test_one_of_two_has_the_lease_until_it_gives_it_back(ground: Ground) -> None:
    ours, theirs = ground.store("one"), ground.store("two")
    lease = await ours.lease(60)
    assert lease is not None
    assert await theirs.lease(60) is None
    assert (await theirs.holder() or "").startswith("one.")
    lease()
    await until(lambda: ground.record.holder is None)
    assert await theirs.lease(60) is not None


async def test_a_lease_ends_by_itself_when_its_holder_does_not_come_back(ground: Ground) -> None:
    assert await ground.store("one").lease(60) is not None
    ground.clock.pass_(61)
    assert await ground.store("two").lease(60) is not None
    assert (await ground.store().holder() or "").startswith("two.")


async def test_giving_a_lease_back_does_not_end_the_next_one(ground: Ground) -> None:
    ours = ground.store("one")
    first = await ours.lease(60)
    assert first is not None
    first()
    assert await ours.lease(60) is not None
    await asyncio.sleep(0)
    assert (ground.record.holder or "").startswith("one.")


async def test_a_lease_that_can_not_be_given_back_is_left_to_end(ground: Ground) -> None:
    lease = await ground.store("one").lease(60)
    assert lease is not None
    ground.record.reachable = False
    lease()
    await ground.tasks.drain(1)
    ground.record.reachable = True
    ground.clock.pass_(61)
    assert await ground.store("two").lease(60) is not None


@pytest.mark.parametrize("lost", ["the taking", "the giving back"])
async def test_what_fails_once_is_tried_again_until_the_lease_is_given_back(ground: Ground, lost: str) -> None:
    """Nobody else may ask for it for long, and where its end is judged by who looks it lasts from then."""
    engine = MemoryEngine(ground.record, ground.clock.monotonic)
    store = ground.store("one")
    store.move(engine)
    engine.unheard = lost == "the taking"
    if engine.unheard:
        with pytest.raises(StoreUnreachable):
            await store.lease(60)
    else:
        lease = await store.lease(60)
        assert lease is not None
        lease()
    engine.cut_off = True
    await until(lambda: ground.record.calls["give_back"] == 2)
    assert ground.record.holder is not None
    engine.cut_off = False
    await until(lambda: ground.record.holder is None)


async def test_a_taking_that_is_refused_ends_no_giving_back(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = MemoryEngine(ground.record, ground.clock.monotonic)
    store = ground.store("one")
    store.move(engine)
    lease = await store.lease(60)
    assert lease is not None
    engine.cut_off = True
    lease()
    await until(lambda: ground.record.calls["give_back"] == 1)

    async def refused(*_: object) -> bool:
        raise StoreError("it is out of memory")

    monkeypatch.setattr(engine, "take", refused)
    with pytest.raises(StoreError, match="out of memory"):
        await store.lease(60)
    engine.cut_off = False
    await until(lambda: ground.record.holder is None)


async def test_who_wants_the_lease_again_waits_for_no_more_tries_to_give_it_back(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_store, "_pause", lambda *_: 30.0)
    store = ground.store("one")
    for _ in range(2):
        async with asyncio.timeout(5):
            lease = await store.lease(60)
        assert lease is not None
        ground.record.reachable = False
        calls = ground.record.calls["give_back"]
        lease()
        await until(lambda calls=calls: ground.record.calls["give_back"] > calls)  # type: ignore[misc]
        ground.record.reachable = True
    async with asyncio.timeout(5):
        lease = await store.lease(60)
    assert (ground.record.holder or "").startswith("one."), "nor is it ended by one of them"
    assert lease is not None
    lease()
    await until(lambda: ground.record.holder is None)


async def test_a_drain_waits_a_moment_for_a_lease_to_be_given_back_and_no_longer(ground: Ground) -> None:
    lease = await ground.store("one").lease(60)
    assert lease is not None
    ground.record.reachable = False
    lease()
    await until(lambda: ground.record.calls["give_back"] == 2)
    async with asyncio.timeout(LAST_TRIES + 2):
        await ground.tasks.drain(60)
    assert 3 <= ground.record.calls["give_back"] <= 5


async def test_a_lease_is_given_back_by_a_last_try_when_a_drain_begins(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_store, "_pause", lambda *_: 30.0)
    lease = await ground.store("one").lease(60)
    assert lease is not None
    ground.record.reachable = False
    lease()
    await until(lambda: ground.record.calls["give_back"] == 1)
    ground.record.reachable = True
    async with asyncio.timeout(5):
        await ground.tasks.drain(60)
    assert ground.record.holder is None


async def test_a_lease_that_is_over_is_given_back_no_more(ground: Ground) -> None:
    lease = await ground.store("one").lease(60)
    assert lease is not None
    ground.record.reachable = False
    lease()
    await until(lambda: ground.record.calls["give_back"] == 1)
    ground.clock.pass_(61)
    await until(lambda: not ground.tasks._to_be_finished)  # noqa: SLF001 - nothing else shows that it is given up
    assert ground.record.calls["give_back"] <= 2


async def test_closing_ends_the_watch(ground: Ground) -> None:
    ours = ground.store()

    async def look() -> None:
        await asyncio.sleep(0)

    ours.watch(look)
    await until(lambda: len(ground.record.watchers) == 1)
    await ours.close()
    await ours.close()
    assert ground.record.watchers == []


async def test_what_is_shown_has_no_token_in_it(ground: Ground) -> None:
    ours = ground.store()
    await ours.update(lambda _: mint(1))
    for each in (repr(ours), repr(Kept(ground.record.content, "1"))):
        assert "a0000" not in each
        assert "r0000" not in each


async def test_what_is_told_late_is_not_taken_for_what_is_kept(ground: Ground) -> None:
    """A watch that brings the record may lag behind an answer: the pair before this one has come, not gone."""
    told: asyncio.Queue[Kept] = asyncio.Queue()

    class Lagging(MemoryEngine):
        async def watch(self) -> AsyncGenerator[Kept | None, None]:
            while True:
                yield await told.get()

    store = ground.store(engine=Lagging)
    await store.update(lambda _: mint(1))
    late = await Lagging(ground.record).read()
    await store.update(lambda _: mint(2))
    seen: list[Ledger] = []

    async def look() -> None:
        seen.append(await store.peek())

    store.watch(look)
    told.put_nowait(late)
    told.put_nowait(late)
    await until(lambda: len(seen) == 2)
    assert seen == [mint(2)] * 2
    ground.record.content = late.content  # a backup was restored: that is told in the same way
    told.put_nowait(late)
    await until(lambda: len(seen) == 3)
    assert seen[-1] == mint(1)


async def test_closing_ends_a_watch_that_is_being_looked_at(ground: Ground) -> None:
    """Its connection is closed then, not when the loop ends: a traceback would be the last thing that was said."""
    closed: list[bool] = []

    class Tidy(MemoryEngine):
        async def watch(self) -> AsyncGenerator[Kept | None, None]:
            try:
                yield None
            finally:
                await asyncio.sleep(0)
                closed.append(True)

    store, looking = ground.store(engine=Tidy), asyncio.Event()

    async def look() -> None:
        looking.set()
        await asyncio.Event().wait()

    store.watch(look)
    await looking.wait()
    await store.close()
    assert closed == [True]
