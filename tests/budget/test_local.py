"""The line of those that wait, on a real event loop: who is served, who leaves, who is sent away."""

import asyncio
import time

import pytest
from rig import until

from proxy.budget.budget import BudgetSpent, Priority
from proxy.budget.local import LocalBudget, LocalSlot
from proxy.budget.rates import ALL, Rate

ONE = Rate(1, 0.2)


def budget(rate: Rate | None = ONE) -> LocalBudget:
    return LocalBudget({ALL: rate}, time.monotonic)


async def take(of: LocalBudget, priority: Priority = Priority.INTERACTIVE, wait: float = 5.0) -> LocalSlot:
    return await of.take("list", priority, wait)


def waiting(of: LocalBudget) -> int:
    return of.standing("list").waiting


async def test_a_slot_that_was_given_to_a_caller_who_left_meanwhile_goes_to_the_next() -> None:
    """The moment between being served and running again belongs to nobody else."""
    spent = budget()
    first = await take(spent)
    leaver, next_one = asyncio.create_task(take(spent)), asyncio.create_task(take(spent))
    await until(lambda: waiting(spent) == 2)
    first.unused()  # serves the leaver, who has not run since
    leaver.cancel()
    async with asyncio.timeout(5):
        (await next_one).answered()
    assert leaver.cancelled()
    assert spent.standing("list").left == 0
    assert waiting(spent) == 0


async def test_a_slot_that_comes_in_the_moment_of_giving_up_is_taken() -> None:
    spent = budget(Rate(1, 60))
    first = await take(spent)
    late = asyncio.create_task(take(spent, wait=60.1))
    await until(lambda: waiting(spent) == 1)
    first.unused()
    (await late).unused()


async def test_whoever_was_sent_before_goes_first_and_batch_goes_last() -> None:
    spent = budget(Rate(1, 0.3))
    held = await take(spent)
    order: list[str] = []

    async def one(name: str, priority: Priority) -> None:
        slot = await take(spent, priority, 1000)
        order.append(name)
        slot.unused()

    tasks = []
    for name, priority in (
        ("batch", Priority.BATCH),
        ("batch too", Priority.BATCH),
        ("person", Priority.INTERACTIVE),
        ("person too", Priority.INTERACTIVE),
        ("again", Priority.AGAIN),
    ):
        tasks.append(asyncio.create_task(one(name, priority)))
        await until(lambda: waiting(spent) == len(tasks))
    held.unused()
    await asyncio.gather(*tasks)
    assert order == ["again", "person", "person too", "batch", "batch too"]


async def test_batch_jobs_leave_room_for_who_comes_between() -> None:
    """Forty slots a second: people who ask for sixteen of them hardly wait, and jobs without a pause get the rest."""
    spent = budget(Rate(40, 1.0))
    batch, waited = 0, []

    async def job() -> None:
        nonlocal batch
        while True:
            (await take(spent, Priority.BATCH, 60)).answered()
            batch += 1

    async def ask() -> None:
        began = time.monotonic()
        (await take(spent)).answered()
        waited.append(time.monotonic() - began)

    jobs = [asyncio.create_task(job()) for _ in range(30)]
    people = []
    for _ in range(64):
        people.append(asyncio.create_task(ask()))
        await asyncio.sleep(1 / 16)  # as people do
    await asyncio.gather(*people)
    for each in jobs:
        each.cancel()
    await asyncio.gather(*jobs, return_exceptions=True)
    assert sum(waited) / len(waited) < 0.25, "it is half a second where jobs only stand behind in the line"
    assert batch + len(waited) >= 0.95 * 40 * 4


async def test_batch_jobs_are_held_by_a_pause_alone_where_nothing_is_counted() -> None:
    free = budget(None)
    for _ in range(50):
        (await take(free, Priority.BATCH)).unused()
    free.throttled("list", 0.1)
    (await take(free, Priority.BATCH)).answered()


async def test_a_batch_request_that_can_not_be_due_in_time_is_told_at_once() -> None:
    spent = budget(Rate(10, 60))
    (await take(spent, Priority.BATCH)).answered()
    with pytest.raises(BudgetSpent):
        await take(spent, Priority.BATCH, 4)
    (await take(spent, wait=0)).answered()


async def test_a_newcomer_does_not_overtake_those_who_wait() -> None:
    spent = budget(Rate(1, 60))
    held = await take(spent)
    waiter = asyncio.create_task(take(spent, wait=100))
    await until(lambda: waiting(spent) == 1)
    with pytest.raises(BudgetSpent):
        await take(spent, wait=1)
    held.unused()
    await waiter


async def test_what_becomes_of_a_slot_is_said_once() -> None:
    spent = budget(Rate(2, 60))
    slot = await take(spent)
    slot.answered()
    slot.answered()
    slot.unused()
    slot.again()
    assert spent.standing("list").left == 1
    assert "None" in repr(slot)


async def test_what_is_sent_again_counts_though_nothing_is_left() -> None:
    spent = budget(Rate(2, 0.3))
    slot = await take(spent)
    for _ in range(3):
        slot.again()
    slot.unused()
    assert spent.standing("list").left == 0
    (await take(spent)).answered()


async def test_a_pause_holds_those_who_wait_where_nothing_is_counted() -> None:
    free = budget(None)
    (await take(free)).answered()
    free.throttled("list", 0.3)
    began = time.monotonic()
    await take(free)
    assert time.monotonic() - began >= 0.29
    standing = free.standing("list")
    assert (standing.left, standing.throttled, standing.waits) == (None, 1, 1)


async def test_a_pause_that_grows_while_they_wait_is_kept_to() -> None:
    free = budget(None)
    free.throttled("list", 0.2)
    began = time.monotonic()
    waiter = asyncio.create_task(take(free))
    await until(lambda: waiting(free) == 1)
    free.throttled("list", 0.5)
    await waiter
    assert time.monotonic() - began >= 0.49


async def test_whoever_waits_until_a_429_is_all_heard_waits_no_longer_than_that_says() -> None:
    free = budget(None)
    free.halt("list", 30.0)
    waiter = asyncio.create_task(take(free, wait=60))
    await until(lambda: waiting(free) == 1)
    free.throttled("list", 0.1)
    async with asyncio.timeout(5):
        (await waiter).answered()


async def test_an_end_sends_away_who_is_not_served_by_then() -> None:
    spent = budget(Rate(1, 0.4))
    (await take(spent)).answered()
    tasks = [asyncio.create_task(take(spent)) for _ in range(4)]
    await until(lambda: waiting(spent) == 4)
    spent.end(0.6)
    (await tasks[0]).answered()
    ends = await asyncio.gather(*tasks[1:], return_exceptions=True)
    assert all(isinstance(end, BudgetSpent) and end.ending for end in ends)
    with pytest.raises(BudgetSpent) as caught:
        await take(spent)
    assert caught.value.ending


async def test_an_end_is_no_cause_for_who_would_not_have_waited_for_it() -> None:
    spent = budget(Rate(1, 30))
    (await take(spent)).answered()
    for end in (20, 5):  # behind what it would have waited for, and before; in neither does a slot open
        spent.end(end)
        with pytest.raises(BudgetSpent) as caught:
            await take(spent, wait=10)
        assert not caught.value.ending


async def test_an_end_ends_every_pause() -> None:
    spent = budget()
    assert not await spent.pause(0.01)
    pausing = asyncio.create_task(spent.pause(30))
    await asyncio.sleep(0)  # so that it pauses
    spent.end(1)
    async with asyncio.timeout(5):
        assert await pausing
    assert await spent.pause(30)


async def test_hundreds_that_wait_are_served_at_the_rate_and_in_order() -> None:
    """All of them wait before the first slot comes back."""
    spent = budget(Rate(200, 1.0))
    order: list[int] = []

    async def one(number: int) -> None:
        (await take(spent, wait=30)).answered()
        order.append(number)

    began = time.monotonic()
    await asyncio.gather(*(one(number) for number in range(800)))
    assert order == list(range(800))
    assert time.monotonic() - began >= 3.0


async def test_what_was_given_back_holds_no_batch_request() -> None:
    spent = budget(Rate(10, 60))
    for _ in range(100):
        (await take(spent)).unused()
    (await take(spent, Priority.BATCH, wait=0)).answered()


async def test_a_larger_rate_serves_those_who_wait_at_once() -> None:
    spent = budget(Rate(1, 60))
    held = await take(spent)
    waiter = asyncio.create_task(take(spent, wait=100))
    await until(lambda: waiting(spent) == 1)
    spent.resize({ALL: Rate(2, 60)})
    async with asyncio.timeout(5):
        (await waiter).answered()
    held.answered()
    spent.resize({ALL: Rate(3, 60)})
    assert spent.standing("list").left == 1


async def test_names_that_a_reload_no_longer_tells_apart_are_gone_and_what_was_sent_is_not() -> None:
    spent = LocalBudget({"list": Rate(5, 60), "send": Rate(5, 30), "other": None}, time.monotonic)
    (await spent.take("list", Priority.BATCH, 1)).answered()
    for rate in ("send", "other"):
        (await spent.take(rate, Priority.INTERACTIVE, 1)).answered()
    flying = await spent.take("send", Priority.INTERACTIVE, 1)
    spent.resize({ALL: Rate(9, 60)})
    flying.answered()
    assert spent.standing("list").left == 6, "for what had no number nothing was counted"
    assert spent.standing("list").opens_in > 55
    spent.resize({"list": Rate(5, 60), "send": Rate(9, 60), "other": None})
    assert [each.left for each in spent.standings()] == [2, 6, None], "they may all have been lists, or all sent"


async def test_a_reload_to_a_shorter_window_holds_no_batch_request_for_the_rest_of_the_longer_one() -> None:
    spent = budget(Rate(10, 3600))
    for _ in range(10):
        (await take(spent)).unused()
        (await take(spent)).answered()
    spent.resize({ALL: Rate(10, 0.3)})
    (await take(spent, Priority.BATCH, 1)).answered()


@pytest.mark.parametrize(("before", "after"), [("list", ALL), (ALL, "list")])
async def test_a_pause_is_kept_under_other_names(before: str, after: str) -> None:
    spent = LocalBudget({before: Rate(10, 60)}, time.monotonic)
    spent.throttled(before, 30)
    spent.resize({after: Rate(20, 60)})
    assert 28 < spent.standing(after).paused_for <= 30
    with pytest.raises(BudgetSpent):
        await take(spent, wait=1)


async def test_whoever_waits_under_a_name_that_is_gone_is_let_go() -> None:
    spent = LocalBudget({"list": Rate(1, 60)}, time.monotonic)
    (await take(spent)).answered()
    waiter = asyncio.create_task(take(spent, wait=100))
    await until(lambda: waiting(spent) == 1)
    spent.resize({ALL: Rate(3, 60)})
    async with asyncio.timeout(5):
        (await waiter).answered()
    assert [each.name for each in spent.standings()] == [ALL]
    assert "all" in repr(spent)
    assert "0 waiting" in repr(spent)
