"""Keeping the newest grant: in which order, over whom, and how often (laws 2, 4 and 6)."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from engines import MemoryEngine, Record
from msgspec.structs import replace
from rig import TurnedClock, until

from proxy.credential import backoff
from proxy.credential.engine import Kept
from proxy.credential.file_store import FileStore, Place
from proxy.credential.grant_keeper import ONE_TROUBLE, GrantKeeper
from proxy.credential.grant_secrets import Seed
from proxy.credential.ledger import REFRESHED, Attempt, Grant, Intent, Ledger, Lineage, consented
from proxy.credential.record import decode
from proxy.credential.refusals import Refusals
from proxy.credential.shared_store import SharedStore
from proxy.credential.store import MemoryStore, Release, Store, StoreError
from proxy.secrets import Secret, SecretUnavailable
from proxy.tasks import Tasks

COOLING = Refusals(until=100.0, length=30.0)
LINEAGE = Lineage("refresh_token", Secret("seed").fingerprint(), 10.0)
LOGIN = Lineage("login", Secret("consent").fingerprint(), 20.0)
LATER = Lineage("login", Secret("another consent").fingerprint(), 30.0)
DONE = Attempt(500.0, REFRESHED)


def grant(generation: int, lineage: Lineage = LINEAGE) -> Grant:
    token = f"{lineage.origin}-{generation}"
    return Grant(generation, lineage, Secret(f"refresh-{token}"), Secret(f"access-{token}"), 0.0, 9e9)


def kept(newest: Grant, **more: object) -> Ledger:
    seeds = (LINEAGE.fingerprint,) if newest.lineage == LINEAGE else (LINEAGE.fingerprint, LOGIN.fingerprint)
    return replace(Ledger(newest, seeds, last=DONE), **more)


async def no_seed() -> Seed | None:
    return None


@dataclass
class Configured:
    """What the configuration has for a seed; a test changes it."""

    seed: Seed | None = None
    missing: bool = False

    async def __call__(self) -> Seed | None:
        if self.missing:
            raise SecretUnavailable("the file is not there yet")
        return self.seed


class FailingStore(MemoryStore):
    """A store that can't be written, or not even read, while it is told so; it counts what it wrote.

    `broken`: writing raises what no store may.
    """

    def __init__(self) -> None:
        super().__init__()
        self.full = False
        self.gone = False
        self.broken = False
        self.writes = 0

    async def load(self) -> Ledger:
        if self.gone:
            raise StoreError("The disk is gone.")
        return await super().load()

    async def update(self, change: Callable[[Ledger], Ledger | None], *, room: bool = False) -> Ledger | None:
        if self.full or self.gone:
            raise StoreError("The disk is full.")
        if self.broken:
            raise AttributeError("a fault in a library")
        self.writes += 1
        return await super().update(change, room=room)

    async def lease(self, seconds: float) -> Release:
        if self.gone:
            raise StoreError("The disk is gone.")
        return await super().lease(seconds)

    async def has(self, ledger: Ledger) -> None:
        """Put `ledger` there as another process does, or an administrator."""
        await MemoryStore.update(self, lambda _kept: ledger)


@dataclass
class Ground:
    """A keeper with what it stands on."""

    store: FailingStore = field(default_factory=FailingStore)
    seed: Configured = field(default_factory=Configured)
    tasks: Tasks = field(default_factory=Tasks)
    clock: TurnedClock = field(default_factory=TurnedClock)

    def __post_init__(self) -> None:
        self.keeper = GrantKeeper(
            "default", store=self.store, seed=self.seed, clock=self.clock, jitter=lambda: 0.0, tasks=self.tasks
        )


@pytest.fixture
async def ground() -> Ground:
    return Ground()


@pytest.fixture
async def lending() -> Ground:
    """Return a keeper whose memory and store have generation 1."""
    ground = Ground()
    await ground.store.has(kept(grant(1)))
    await ground.keeper.read_again()
    return ground


def keeper_of(store: Store, tasks: Tasks) -> GrantKeeper:
    return GrantKeeper("default", store=store, seed=no_seed, clock=TurnedClock(), jitter=lambda: 0.0, tasks=tasks)


# Reading again


async def test_what_another_process_has_stored_is_taken_with_its_cool_down(lending: Ground) -> None:
    await lending.store.has(kept(grant(2), refusals=COOLING))
    await lending.keeper.read_again()
    assert lending.keeper.ledger == kept(grant(2), refusals=COOLING)


async def test_a_store_that_can_not_be_read_is_told_unless_memory_must_do(
    lending: Ground, caplog: pytest.LogCaptureFixture
) -> None:
    lending.store.gone = True
    with pytest.raises(StoreError, match="gone"):
        await lending.keeper.read_again()
    await lending.keeper.read_again(urgent=True)
    assert "CRITICAL" in caplog.text
    assert "refreshing from memory only. The disk is gone." in caplog.text
    assert lending.keeper.ledger == kept(grant(1))


async def test_memory_without_a_grant_does_not_do(ground: Ground) -> None:
    """The store may have one: a seed must not be redeemed beside it."""
    ground.store.gone = True
    with pytest.raises(StoreError, match="gone"):
        await ground.keeper.read_again(urgent=True)


async def test_a_store_that_has_lost_its_grant_gets_it_again(lending: Ground, caplog: pytest.LogCaptureFixture) -> None:
    """A file that can't be read is to be moved away, for a proxy that lends has the newest grant in memory."""
    await lending.keeper.keep(grant(2, LOGIN), DONE)
    await lending.store.has(Ledger())
    await lending.keeper.read_again()
    assert await lending.store.load() == kept(grant(2, LOGIN))
    assert "the store has lost generation 2; it is written there again" in caplog.text


async def test_a_copy_from_before_gets_the_newest_grant_again(lending: Ground) -> None:
    """Somebody has restored a backup, whose refresh token is spent."""
    await lending.keeper.keep(grant(2), DONE)
    await lending.store.has(kept(grant(1)))
    await lending.keeper.read_again()
    assert (await lending.store.load()).grant == grant(2)


async def test_what_a_store_has_lost_and_can_not_take_is_tried_again(lending: Ground) -> None:
    await lending.store.has(Ledger())
    lending.store.full = True
    await lending.keeper.read_again()
    assert "NOT stored" in repr(lending.keeper)
    lending.store.full = False
    await lending.tasks.drain(1)
    assert lending.keeper.stored
    assert await lending.store.load() == kept(grant(1))


async def test_what_a_store_loses_again_and_again_is_written_after_longer_and_longer_pauses_and_told_once(
    lending: Ground, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A controller puts an empty Secret back as soon as it is told of ours: each would wake the other, for ever."""
    paused: list[int] = []

    def pause(failures: int, _jitter: float) -> float:
        paused.append(failures)
        return 0.01

    monkeypatch.setattr(backoff, "pause", pause)
    for losses in range(1, 6):
        await lending.store.has(Ledger())
        await lending.keeper.read_again()
        assert lending.keeper.stored is (losses == 1)
        assert (await lending.store.load() == kept(grant(1))) is (losses == 1)
        await until(lambda: lending.keeper.stored)
        assert await lending.store.load() == kept(grant(1))
    assert paused == [1, 2, 3, 4]
    assert caplog.text.count("the store has lost generation 1") == 1
    assert caplog.text.count("something else writes there") == 1


async def test_what_a_store_loses_now_and_then_is_written_there_at_once(
    lending: Ground, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        await lending.store.has(Ledger())
        await lending.keeper.read_again()
        assert await lending.store.load() == kept(grant(1))
        lending.clock.pass_(ONE_TROUBLE)
    assert caplog.text.count("the store has lost generation 1") == 3
    assert "something else writes there" not in caplog.text


async def test_a_newer_pair_that_is_lost_is_written_there_at_once(
    lending: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a replica that has not heard of it could write the one that is spent, and redeem it."""
    monkeypatch.setattr(backoff, "pause", lambda _failures, _jitter: 60.0)
    for _ in range(2):
        await lending.store.has(Ledger())
        await lending.keeper.read_again()
    assert not lending.keeper.stored
    assert await lending.keeper.begin(grant(1), urgent=False)
    await lending.keeper.keep(grant(2), DONE)
    await lending.store.has(Ledger())
    await lending.keeper.read_again()
    assert (await lending.store.load()).grant == grant(2)


async def test_the_first_loss_in_another_store_is_none_of_the_former_ones(
    lending: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "pause", lambda _failures, _jitter: 60.0)
    await lending.store.has(Ledger())
    await lending.keeper.read_again()
    lending.keeper.move(another := FailingStore(), "")
    await lending.keeper.settled()
    await another.has(Ledger())
    await lending.keeper.read_again()
    assert (await another.load()).grant == grant(1)


async def test_what_waits_to_be_written_there_again_is_stored_before_it_is_redeemed_and_before_the_end(
    lending: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "pause", lambda _failures, _jitter: 60.0)
    for work in (lending.keeper.begin(grant(1), urgent=False), lending.tasks.drain(5)):
        for _ in range(2):
            await lending.store.has(Ledger())
            await lending.keeper.read_again()
        before = lending.keeper.stored
        assert await lending.store.load() == Ledger()
        await work
        assert (before, lending.keeper.stored) == (False, True)
        assert (await lending.store.load()).grant == grant(1)


async def test_a_doubt_that_another_process_had_and_that_is_over_is_none_of_ours(lending: Ground) -> None:
    """It was on its way when we looked; unknown_outcome: stop would stop us for ever."""
    theirs = Intent(grant(1).refresh_token.fingerprint(), 600.0)
    await lending.store.has(kept(grant(1), intent=theirs))
    await lending.keeper.read_again()
    assert lending.keeper.ledger.intent == theirs
    await lending.store.has(kept(grant(1)))
    await lending.keeper.read_again()
    assert lending.keeper.ledger.intent is None


async def test_a_doubt_of_ours_that_could_not_be_written_stays(lending: Ground) -> None:
    lending.store.full = True
    assert await lending.keeper.begin(grant(1), urgent=True)
    lending.store.full = False
    await lending.keeper.read_again()
    assert lending.keeper.ledger.intent is not None


# A new lineage


@pytest.mark.parametrize("seen", [True, False])
async def test_a_configured_refresh_token_begins_one_lineage(lending: Ground, seen: bool) -> None:  # noqa: FBT001 - a column
    token = Secret("seed" if seen else "another seed")
    lending.seed.seed = Seed(token)
    fresh = await lending.keeper.new_lineage()
    if seen:
        assert fresh is None
        return
    assert fresh is not None
    assert (fresh.generation, fresh.refresh_token, fresh.access_token) == (1, token, None)
    assert (fresh.lineage.origin, fresh.lineage.fingerprint) == ("refresh_token", token.fingerprint())


async def test_nothing_configured_begins_nothing(ground: Ground) -> None:
    assert await ground.keeper.new_lineage() is None


@pytest.mark.parametrize(("left", "good"), [(60.0, True), (0.0, False), (-60.0, False)])
async def test_an_access_token_beside_it_is_the_first_generation_while_it_is_good(
    ground: Ground,
    left: float,
    good: bool,  # noqa: FBT001 - a column
) -> None:
    now = ground.clock.wall()
    ground.seed.seed = Seed(Secret("a seed"), Secret("access"), now + left)
    fresh = await ground.keeper.new_lineage()
    assert fresh is not None
    assert fresh.generation == (1 if good else 0)
    assert fresh.access_token == (Secret("access") if good else None)
    assert not good or (fresh.obtained_at >= now and fresh.expires_at == now + left)


async def test_an_access_token_beside_it_says_nothing_where_there_is_a_grant(lending: Ground) -> None:
    """It is not proven; the grant is."""
    lending.seed.seed = Seed(Secret("another seed"), Secret("access"), lending.clock.wall() + 60)
    fresh = await lending.keeper.new_lineage()
    assert fresh is not None
    assert (fresh.generation, fresh.access_token) == (1, None)


async def test_a_seed_that_can_not_be_read_matters_where_there_is_nothing_else(ground: Ground) -> None:
    ground.seed.missing = True
    with pytest.raises(SecretUnavailable, match="not there yet"):
        await ground.keeper.new_lineage()
    await ground.keeper.keep(grant(1), DONE)
    assert await ground.keeper.new_lineage() is None


# Around a redeem


async def test_the_intent_is_written_before_a_redeem(lending: Ground) -> None:
    now = lending.clock.wall()
    assert await lending.keeper.begin(grant(1), urgent=False)
    written = await lending.store.load()
    assert lending.keeper.ledger == written
    assert written.intent is not None
    assert written.intent.fingerprint == grant(1).refresh_token.fingerprint()
    assert written.intent.at >= now


@pytest.mark.parametrize("there", [kept(grant(2)), kept(grant(2, LOGIN))], ids=["a later pair", "a login"])
async def test_a_redeem_is_not_begun_where_the_store_has_moved_on(lending: Ground, there: Ledger) -> None:
    await lending.store.has(there)
    assert not await lending.keeper.begin(grant(1), urgent=True)
    assert await lending.store.load() == there
    assert lending.keeper.ledger.intent is None


async def test_a_store_that_can_not_be_written_is_found_out_before_the_redeem(
    lending: Ground, caplog: pytest.LogCaptureFixture
) -> None:
    lending.store.full = True
    with pytest.raises(StoreError, match="full"):
        await lending.keeper.begin(grant(1), urgent=False)
    assert lending.keeper.ledger.intent is None
    assert await lending.keeper.begin(grant(1), urgent=True)
    assert lending.keeper.ledger.doubt(grant(1).refresh_token) is not None
    assert "refreshing into memory only. The disk is full." in caplog.text


async def test_an_urgent_refresh_does_without_the_lock_of_a_store_that_is_gone(
    lending: Ground, caplog: pytest.LogCaptureFixture
) -> None:
    lending.store.gone = True
    with pytest.raises(StoreError, match="gone"):
        await lending.keeper.lease(60, urgent=False)
    lease = await lending.keeper.lease(60, urgent=True)
    assert lease is not None
    lease()
    assert "going on without the store's lock. The disk is gone." in caplog.text


@pytest.mark.parametrize("proven", [True, False])
async def test_a_redeem_that_brought_nothing_leaves_a_doubt_unless_it_is_proven(
    lending: Ground,
    proven: bool,  # noqa: FBT001 - a column
) -> None:
    await lending.keeper.begin(grant(1), urgent=False)
    failed = Attempt(600.0, "a word for it")
    await lending.keeper.failed(grant(1), None, failed, proven=proven)
    written = await lending.store.load()
    assert written == lending.keeper.ledger
    assert written.last == failed
    assert (written.doubt(grant(1).refresh_token) is None) is proven


async def test_a_failure_that_can_not_be_written_down_is_known_all_the_same(
    lending: Ground, caplog: pytest.LogCaptureFixture
) -> None:
    lending.store.full = True
    await lending.keeper.failed(grant(1), None, Attempt(600.0, "timeout"), proven=False)
    assert lending.keeper.ledger.last == Attempt(600.0, "timeout")
    assert "a failed refresh is not written down. The disk is full." in caplog.text


# Keeping a pair


async def test_a_new_pair_is_in_memory_and_in_the_store_and_ends_the_doubt(lending: Ground) -> None:
    await lending.keeper.begin(grant(1), urgent=False)
    await lending.keeper.keep(grant(2), Attempt(600.0, REFRESHED))
    assert lending.keeper.ledger == await lending.store.load() == kept(grant(2), last=Attempt(600.0, REFRESHED))
    assert lending.keeper.stored


async def test_a_trial_in_memory_outlives_a_new_pair(lending: Ground) -> None:
    lending.keeper.keep_refusals(Refusals(on_trial=1))
    await lending.keeper.keep(grant(2), DONE)
    assert lending.keeper.refusals.on_trial == 1


async def test_a_pair_that_a_login_has_overtaken_in_the_store_is_dropped(lending: Ground) -> None:
    await lending.store.has(kept(grant(2, LOGIN)))
    await lending.keeper.keep(grant(2), DONE)
    assert lending.keeper.ledger == await lending.store.load() == kept(grant(2, LOGIN))
    assert lending.keeper.stored


async def test_a_pair_that_a_login_has_overtaken_in_memory_is_dropped_and_told(
    lending: Ground, caplog: pytest.LogCaptureFixture
) -> None:
    await lending.store.has(kept(grant(2, LOGIN)))
    await lending.keeper.read_again()
    await lending.keeper.keep(grant(2), DONE)
    assert lending.keeper.ledger.grant == grant(2, LOGIN)
    assert "a newer grant has come during a refresh; its pair is dropped" in caplog.text


async def test_an_older_process_never_writes_over_a_newer_ones_pair(tmp_path: Path) -> None:
    """The old pod learns of a cool-down while it drains; the new one has rotated meanwhile."""
    tasks, place = Tasks(), Place(tmp_path / "grant.json", "ab")
    old, new = (keeper_of(FileStore(lambda: place), tasks) for _ in range(2))
    await old.keep(grant(1), DONE)
    await new.read_again()
    await new.keep(grant(2), DONE)
    old.keep_refusals(COOLING)
    await tasks.drain(1)
    written = await FileStore(lambda: place).load()
    assert written.grant == grant(2)
    assert written.refusals == COOLING


async def test_a_login_is_taken_while_pairs_wait_to_be_stored(lending: Ground) -> None:
    lending.store.full = True
    await lending.keeper.keep(grant(2), DONE)
    await lending.keeper.keep(grant(3), DONE)
    await lending.store.has(consented(await lending.store.load(), grant(0, LOGIN), 700.0))
    lending.store.full = False
    await lending.tasks.drain(1)
    stored = await lending.store.load()
    assert stored.grant is not None
    assert stored.grant.lineage == LOGIN
    assert lending.keeper.ledger.grant == stored.grant
    assert lending.keeper.stored


async def test_one_task_at_most_waits_to_store_a_grant(lending: Ground, caplog: pytest.LogCaptureFixture) -> None:
    lending.store.full = True
    for generation in range(2, 20):
        await lending.keeper.keep(grant(generation), DONE)
        assert f"generation {generation} is NOT stored. The disk is full." in caplog.text
    assert "NOT stored" in repr(lending.keeper)
    lending.store.full = False
    await lending.tasks.drain(1)
    assert lending.store.writes == 1
    assert (await lending.store.load()).grant == grant(19)
    assert lending.keeper.stored


async def test_what_waits_to_be_stored_does_not_end_the_intent_of_a_redeem_on_its_way(lending: Ground) -> None:
    """A crash in that redeem must leave its minute behind."""
    lending.store.full = True
    await lending.keeper.keep(grant(2), DONE)
    lending.store.full = False
    assert await lending.keeper.begin(grant(2), urgent=True)
    await lending.tasks.drain(1)
    written = await lending.store.load()
    assert written.grant == grant(2)
    assert written.doubt(grant(2).refresh_token) is not None


async def test_a_pair_that_waits_to_be_stored_is_stored_before_it_is_redeemed(lending: Ground) -> None:
    """Else a crash would lose it, with a redeem that has perhaps not even been sent."""
    lending.store.full = True
    await lending.keeper.keep(grant(2), DONE)
    lending.store.full = False
    assert await lending.keeper.begin(grant(2), urgent=True)
    written = await lending.store.load()
    assert written.grant == grant(2)
    assert written.doubt(grant(2).refresh_token) is not None
    assert lending.keeper.stored


async def test_a_pair_is_tried_again_whatever_the_store_raises(
    lending: Ground, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else has it. The traceback is in the log, for it is a fault of ours."""
    monkeypatch.setattr(backoff, "pause", lambda _failures, _jitter: 0.01)
    lending.store.broken = True
    await lending.keeper.keep(grant(2), DONE)
    assert "generation 2 is NOT stored. a fault in a library\nTraceback" in caplog.text
    await until(lambda: caplog.text.count("generation 2 is still not stored. a fault in a library\nTraceback") > 1)
    lending.store.broken = False
    assert await lending.keeper.settled()
    assert (await lending.store.load()).grant == grant(2)


async def test_a_pair_that_was_never_stored_ends_the_process_with_an_outcry(
    lending: Ground, caplog: pytest.LogCaptureFixture
) -> None:
    lending.store.full = True
    await lending.keeper.keep(grant(2), DONE)
    await lending.tasks.drain(1)
    assert "generation 2 is still not stored. The disk is full." in caplog.text
    assert "generation 2 was NEVER stored and ends with this process" in caplog.text
    assert "a new login will be needed" in caplog.text


async def test_a_pair_that_is_found_in_the_store_is_not_told_as_missing_there(
    lending: Ground, caplog: pytest.LogCaptureFixture
) -> None:
    """Its write arrived and the answer was lost: who logs in for that ends a lineage that lives."""
    caplog.set_level("INFO", "proxy")
    lending.store.full = True
    await lending.keeper.keep(grant(2), DONE)
    assert "NOT stored" in caplog.text
    await lending.store.has(kept(grant(2)))
    await lending.keeper.read_again()
    assert lending.keeper.stored
    assert "generation 2 is stored now" in caplog.text
    await lending.tasks.drain(1)
    assert "still not stored" not in caplog.text
    assert "NEVER" not in caplog.text


async def test_a_login_that_is_taken_instead_of_a_pair_that_could_not_be_stored_is_stored(
    lending: Ground, caplog: pytest.LogCaptureFixture
) -> None:
    lending.store.full = True
    await lending.keeper.keep(grant(2), DONE)
    await lending.store.has(consented(await lending.store.load(), grant(0, LOGIN), 700.0))
    await lending.keeper.read_again()
    assert lending.keeper.stored
    await lending.tasks.drain(1)
    assert "NEVER" not in caplog.text


# To another store


async def test_a_grant_that_leaves_a_broken_store_is_in_the_other_at_once(ground: Ground) -> None:
    """It is the only copy, and who tries to store it late is in a pause."""
    keeper = GrantKeeper(
        "default", store=ground.store, seed=no_seed, clock=ground.clock, jitter=lambda: 1e9, tasks=ground.tasks
    )
    ground.store.full = True
    await keeper.keep(grant(2), DONE)
    another = FailingStore()
    keeper.move(another, by="")
    await until(lambda: keeper.stored)
    assert (await another.load()).grant == grant(2)
    assert another.writes == 1
    await ground.tasks.drain(1)
    assert await keeper.settled()


@pytest.mark.parametrize(("there", "winner"), [(LINEAGE, LOGIN), (LATER, LATER)])
async def test_of_two_grants_that_never_heard_of_each_other_the_later_one_lives_on(
    ground: Ground, there: Lineage, winner: Lineage
) -> None:
    """An old file where a grant is to be kept from now on may be long dead; also where it is read first."""
    await ground.store.has(Ledger(grant(5, LOGIN), (LOGIN.fingerprint,)))
    await ground.keeper.read_again()
    another = FailingStore()
    await another.has(Ledger(grant(9, there), (there.fingerprint,)))
    ground.keeper.move(another, by="")
    await ground.keeper.read_again()
    assert await ground.keeper.settled()
    newest = (await another.load()).grant
    assert newest == ground.keeper.ledger.grant
    assert newest is not None
    assert newest.lineage == winner


@pytest.mark.parametrize(("renewed", "is_there"), [(False, True), (True, False)])
async def test_a_grant_that_never_reached_another_store_is_where_it_was_unless_it_was_redeemed(
    tmp_path: Path, ground: Ground, caplog: pytest.LogCaptureFixture, *, renewed: bool, is_there: bool
) -> None:
    former = Place(tmp_path / "grant.json", "0123456789abcdef")
    ground.store.full = True
    keeper = keeper_of(FileStore(lambda: former), ground.tasks)
    await keeper.keep(grant(1), DONE)
    keeper.move(ground.store, by="")
    keeper.move(another := FailingStore(), by="")
    another.full = True
    if renewed:
        await keeper.keep(grant(2), DONE)
    await ground.tasks.drain(1)
    assert ("It is still where it was kept before." in caplog.text) is is_there
    assert ("was NEVER stored and ends with this process." in caplog.text) is not is_there


async def test_what_a_shared_store_was_told_on_its_former_way_says_nothing_of_another(ground: Ground) -> None:
    """It is the same object; but that a write arrived at the one Redis does not prove it in the other."""

    class LateEngine(MemoryEngine):
        async def write(self, content: bytes, version: str) -> Kept | None:
            writing.set()
            await arrived.wait()
            return await super().write(content, version)

    async def owner() -> str:
        return "0123456789abcdef"

    writing, arrived, another = asyncio.Event(), asyncio.Event(), Record(version=7, reachable=False)
    store = SharedStore(
        LateEngine(Record()), owner, who="one", clock=ground.clock, jitter=lambda: 0.0, tasks=ground.tasks
    )
    keeper = keeper_of(store, ground.tasks)
    saving = asyncio.ensure_future(keeper.keep(grant(1), DONE))
    await writing.wait()
    store.move(MemoryEngine(another))
    keeper.move(store, by="one")
    arrived.set()
    await saving
    assert not keeper.stored
    another.reachable = True
    await ground.tasks.drain(1)
    assert await keeper.settled()
    assert decode(another.content, await owner()).grant == grant(1)


# What is known of 401s


async def test_a_cool_down_saved_late_never_brings_an_older_generation_back(lending: Ground) -> None:
    """Its task was begun for generation 1 and runs after generation 2 was kept."""
    lending.keeper.keep_refusals(COOLING)
    await lending.keeper.keep(grant(2), DONE)
    await lending.tasks.drain(1)
    written = await lending.store.load()
    assert lending.keeper.ledger.grant == written.grant == grant(2)
    assert written.refusals == COOLING


async def test_a_cool_down_is_not_written_to_another_lineage(lending: Ground) -> None:
    await lending.store.has(kept(grant(2, LOGIN)))
    lending.keeper.keep_refusals(COOLING)
    await lending.tasks.drain(1)
    assert await lending.store.load() == kept(grant(2, LOGIN))


async def test_only_what_a_restart_must_know_is_written(lending: Ground) -> None:
    """A trial changes with every refresh, and ends with the process."""
    lending.keeper.keep_refusals(Refusals(on_trial=1))
    await lending.tasks.drain(1)
    assert lending.store.writes == 0
    assert lending.keeper.refusals == Refusals(on_trial=1)


async def test_a_cool_down_without_any_grant_is_in_memory_only(ground: Ground) -> None:
    ground.keeper.keep_refusals(COOLING)
    await ground.tasks.drain(1)
    assert ground.store.writes == 0


async def test_a_cool_down_that_can_not_be_stored_is_told(lending: Ground, caplog: pytest.LogCaptureFixture) -> None:
    lending.store.full = True
    lending.keeper.keep_refusals(COOLING)
    await lending.tasks.drain(1)
    assert "a cool-down is not stored: a restart ends it. The disk is full." in caplog.text
    assert lending.keeper.refusals == COOLING


async def test_no_repr_shows_a_token(lending: Ground) -> None:
    shown = repr(lending.keeper)
    assert "refresh-refresh_token-1" not in shown
    assert "access-refresh_token-1" not in shown
    assert "generation=1" in shown


async def test_what_a_task_begins_at_its_end_is_finished_by_a_drain_too() -> None:
    tasks, done = Tasks(), asyncio.Event()

    async def last() -> None:
        await asyncio.sleep(0)
        done.set()

    async def first() -> None:
        await asyncio.sleep(0)
        tasks.start(last(), "last", finish=True)

    tasks.start(first(), "first", finish=True)
    await tasks.drain(5)
    assert done.is_set()


async def test_what_a_broken_store_makes_of_each_try_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """It is tried every two seconds, for as long as it takes somebody to come."""
    store, tasks = FailingStore(), Tasks()
    ours = keeper_of(store, tasks)
    await ours.keep(grant(1), DONE)
    store.gone = True
    for _ in range(5):
        await ours.lease(60, urgent=True)
        await ours.read_again(urgent=True)
    assert caplog.text.count("going on without the store's lock") == 1
    assert caplog.text.count("refreshing from memory only") == 1
    store.gone = False
    assert await ours.begin(grant(1), urgent=True)
    store.gone = True
    await ours.lease(60, urgent=True)
    assert caplog.text.count("going on without the store's lock") == 2
    await tasks.drain(1)


async def test_an_intent_that_was_given_up_and_written_all_the_same_is_no_doubt() -> None:
    """A slow disk: nothing was sent, so it must not be taken for a redeem whose reply was lost. The next one counts."""

    class SlowStore(MemoryStore):
        """Writes, and says that it has not."""

        slow = False

        async def update(self, change: Callable[[Ledger], Ledger | None], *, room: bool = False) -> Ledger | None:
            written = await super().update(change, room=room)
            if self.slow:
                raise StoreError("no answer within 2 s")
            return written

    store, tasks = SlowStore(), Tasks()
    ours = keeper_of(store, tasks)
    await ours.keep(grant(1), DONE)
    store.slow = True
    with pytest.raises(StoreError):
        await ours.begin(grant(1), urgent=False)
    store.slow = False
    given_up = (await store.load()).intent
    assert given_up is not None
    await ours.read_again()
    seen = [ours.ledger.intent]
    assert await ours.begin(grant(1), urgent=False)
    sent = (await store.load()).intent
    assert sent is not None
    assert sent.at > given_up.at
    await ours.read_again()
    assert [*seen, ours.ledger.intent] == [None, sent]
    await tasks.drain(1)
