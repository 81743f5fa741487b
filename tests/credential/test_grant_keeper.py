"""Keeping the newest grant: in which order, over whom, and how often (laws 2 and 4)."""

import asyncio
from pathlib import Path

from proxy.credential.file_store import FileStore
from proxy.credential.grant_keeper import GrantKeeper
from proxy.credential.refusals import Refusals
from proxy.credential.store import Grant, MemoryStore, Store, StoreError
from proxy.secrets import Secret
from proxy.tasks import Tasks

COOLING = Refusals(until=100.0, length=30.0)


def grant(generation: int) -> Grant:
    return Grant(generation, Secret(f"refresh-{generation}"), Secret(f"access-{generation}"), 0.0, 9e9)


def keeper(store: Store, tasks: Tasks) -> GrantKeeper:
    return GrantKeeper("default", store=store, seed=lambda: None, jitter=lambda: 0.0, tasks=tasks)


async def test_a_cool_down_saved_late_never_brings_an_older_generation_back() -> None:
    """Its task was begun for generation 1 and runs after generation 2 was kept."""
    store, tasks = MemoryStore(), Tasks()
    ours = keeper(store, tasks)
    await ours.keep(grant(1))
    ours.keep_refusals(COOLING)
    await ours.keep(grant(2))
    await tasks.drain(1)
    kept = await store.load()
    assert ours.newest == grant(2)
    assert kept is not None
    assert kept.generation == 2
    assert kept.refusals == COOLING


async def test_an_older_process_never_writes_over_a_newer_ones_pair(tmp_path: Path) -> None:
    """The old pod learns of a cool-down while it drains; the new one has rotated meanwhile."""
    tasks = Tasks()
    old, new = (keeper(FileStore(lambda: tmp_path / "grant.json"), tasks) for _ in range(2))
    await old.keep(grant(1))
    await new.read_again(urgent=False)
    await new.keep(grant(2))
    old.keep_refusals(COOLING)
    await tasks.drain(1)
    kept = await FileStore(lambda: tmp_path / "grant.json").load()
    assert kept is not None
    assert kept.generation == 2


class FullStore(MemoryStore):
    """A store that fails until it is told otherwise, and counts."""

    full = True
    saves = 0

    async def save(self, grant: Grant) -> None:
        if self.full:
            raise StoreError("The disk is full.")
        self.saves += 1
        await super().save(grant)


async def test_one_task_at_most_waits_to_store_a_grant() -> None:
    store, tasks = FullStore(), Tasks()
    ours = keeper(store, tasks)
    await ours.keep(grant(1))
    for number in range(20):
        ours.keep_refusals(Refusals(until=100.0 + number, length=30.0))
        await asyncio.sleep(0)
    store.full = False
    await tasks.drain(1)
    assert store.saves == 1


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
