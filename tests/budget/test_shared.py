"""Replicas in one process that share a rate: with a ledger, without one, and from one to the other."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from fractions import Fraction

import pytest
from budget.ledger_contract import ANSWER
from ledgers import Account, MemoryLedger
from rig import until

from proxy.budget import shared, shared_bucket
from proxy.budget.budget import BudgetSpent, Priority
from proxy.budget.ledger import FORGOTTEN
from proxy.budget.local import LocalSlot
from proxy.budget.rates import ALL, Rate
from proxy.budget.shared import SharedBudget
from proxy.budget.shared_bucket import SETTLED
from proxy.tasks import Tasks

TEN = Rate(10, 60.0)
QUICK = Rate(10, 0.5)


@dataclass
class Replicas:
    """Makes replicas' budgets of one account."""

    account: Account = field(default_factory=Account)
    tasks: Tasks = field(default_factory=Tasks)
    made: list[SharedBudget] = field(default_factory=list)
    passed: float = 0.0  # seconds that a test lets pass for all budgets

    async def __call__(self, rate: Rate | None = TEN, share: Fraction | None = None) -> SharedBudget:
        process = f"replica-{len(self.made)}"
        budget = SharedBudget(
            "default",
            {"list": rate, "other": None},
            lambda: time.monotonic() + self.passed,
            ledger=MemoryLedger(self.account, process, ANSWER),
            tasks=self.tasks,
            jitter=lambda: 0.0,
            process=process,
            answer=ANSWER,
        )
        budget.reconfigure({"list": rate, "other": None}, share)
        self.made.append(budget)
        for each in self.made * 2:  # so that all know of each other
            await each.look()
        return budget

    async def settle(self, *budgets: SharedBudget) -> None:
        """Have these, or all, tell a ledger that is back what they sent, and share again."""
        for passed in (0.0, SETTLED):
            self.passed += passed
            for each in budgets or self.made:
                await each.look()
        assert all(each.standings()[0].shared for each in budgets or self.made)


@pytest.fixture
async def replicas() -> AsyncIterator[Replicas]:
    made = Replicas()
    yield made
    await made.tasks.drain(1)


async def take(of: SharedBudget, priority: Priority = Priority.INTERACTIVE, wait: float = 5.0) -> LocalSlot:
    return await of.take("list", priority, wait)


async def spend(of: SharedBudget, number: int) -> int:
    """Have so many requests answered, as far as they get a slot at once; return how many did."""
    got = await asyncio.gather(*(take(of, wait=0.05) for _ in range(number)), return_exceptions=True)
    slots = [slot for slot in got if isinstance(slot, LocalSlot)]
    assert {type(each) for each in got} <= {LocalSlot, BudgetSpent}
    for slot in slots:
        slot.answered()
    return len(slots)


def waiting(of: SharedBudget) -> int:
    return of.standing("list").waiting


def waited(of: SharedBudget) -> tuple[int, float]:
    """Return how many have waited, and for how many seconds."""
    standing = of.standing("list")
    return standing.waits, standing.waited


async def test_replicas_have_one_rate_together(replicas: Replicas) -> None:
    here, there = await replicas(), await replicas()
    assert await spend(here, 7) == 7
    assert await spend(there, 7) == 3
    assert await spend(here, 7) == 0
    assert (here.standing("list").left, here.standing("list").rate, here.standings()[0].shared) == (0, TEN, True)


async def test_each_tells_when_there_is_one_more(replicas: Replicas) -> None:
    here, there = await replicas(), await replicas()
    await spend(here, 3)
    await there.look()
    for each in (here, there):
        assert 50 < each.standing("list").opens_in <= 60
    assert await spend(there, 7) == 7
    assert 50 < there.standing("list").opens_in <= 60
    await until(lambda: there.standing("list").opens_in < 59.9)


async def test_a_slot_given_back_serves_who_waits_in_this_process_at_once_and_elsewhere_soon(
    replicas: Replicas,
) -> None:
    here, there = await replicas(), await replicas()
    slots = [await take(here) for _ in range(10)]
    waits = asyncio.create_task(take(here, wait=60))
    await until(lambda: waiting(here) == 1)
    slots.pop().unused()
    async with asyncio.timeout(0.5):
        await waits
    elsewhere = asyncio.create_task(take(there, wait=60))
    await until(lambda: waiting(there) == 1)
    slots.pop().unused()
    async with asyncio.timeout(3):
        await elsewhere


async def test_who_is_served_before_others_waits_for_nothing_that_they_were_told(replicas: Replicas) -> None:
    """The head of the line sleeps until a batch request is due; a person who comes meanwhile is asked for at once."""
    here = await replicas()
    await take(here)
    robot = asyncio.create_task(take(here, Priority.BATCH, 60))
    await until(lambda: waiting(here) == 1)
    await asyncio.sleep(0.05)  # until it has been refused; if it was not yet, nothing is shown, and nothing fails
    async with asyncio.timeout(0.5):
        await take(here)
    robot.cancel()


async def test_robots_wait_while_people_do_anywhere(replicas: Replicas) -> None:
    people, robots = await replicas(QUICK), await replicas(QUICK)
    assert await spend(robots, 10) == 10
    order: list[str] = []

    async def one(of: SharedBudget, name: str, priority: Priority) -> None:
        slot = await take(of, priority, 20)
        order.append(name)
        slot.answered()

    tasks = [asyncio.create_task(one(robots, "robot", Priority.BATCH)) for _ in range(5)]
    tasks += [asyncio.create_task(one(people, "person", Priority.INTERACTIVE)) for _ in range(15)]
    await asyncio.gather(*tasks)
    assert order[:15].count("person") >= 14


async def test_however_many_wait_the_ledger_is_asked_as_often_as_slots_come_free(replicas: Replicas) -> None:
    here = await replicas(QUICK)
    await spend(here, 10)
    replicas.account.calls.clear()
    crowd = [asyncio.create_task(take(here, wait=20)) for _ in range(300)]
    done: set[asyncio.Task[LocalSlot]] = set()
    while len(done) < 30:
        done, _ = await asyncio.wait(crowd, timeout=0.01)
        for each in done:
            each.result().answered()
    for each in crowd:
        each.cancel()
    assert replicas.account.calls["take"] < 60


async def test_who_leaves_while_the_ledger_is_asked_takes_nothing_with_him(replicas: Replicas) -> None:
    here = await replicas()
    leavers = [asyncio.create_task(take(here)) for _ in range(10)]
    await asyncio.sleep(0)
    for each in leavers:
        each.cancel()
    await asyncio.gather(*leavers, return_exceptions=True)
    await until(lambda: replicas.account.of("list").taken(time.monotonic()) == 0)
    assert waiting(here) == 0
    assert await spend(here, 10) == 10


async def test_a_budget_that_is_closed_has_told_what_became_of_each_slot(replicas: Replicas) -> None:
    """A reload that shares no more closes it behind the last answer: the others would miss its slot for minutes."""
    here, kept = await replicas(), replicas.account.of("list")
    for slot in [await take(here) for _ in range(3)]:
        slot.answered()
    await here.close()
    assert kept.taken(time.monotonic()) == 3
    assert max(kept.slots.values()) <= time.monotonic() + TEN.seconds


async def test_a_budget_that_is_closed_keeps_nothing_that_nobody_waits_for_any_more(replicas: Replicas) -> None:
    here, kept = await replicas(), replicas.account.of("list")
    replicas.account.answers.clear()
    leaver = asyncio.create_task(take(here))
    await until(lambda: kept.taken(time.monotonic()) == 1)
    leaver.cancel()
    await asyncio.wait({leaver})
    closing = asyncio.create_task(here.close())
    await asyncio.sleep(0)  # decides nothing: one that does not wait has closed by then
    replicas.account.answers.set()
    await closing
    assert kept.taken(time.monotonic()) == 0


async def test_who_cant_be_served_in_time_is_refused_and_told_when(replicas: Replicas) -> None:
    here = await replicas(Rate(10, 20.0))
    await spend(here, 10)
    with pytest.raises(BudgetSpent) as caught:
        await take(here, wait=0.1)
    assert 18 < caught.value.opens_in <= 20
    assert caught.value.rate == Rate(10, 20.0)
    waits = asyncio.create_task(take(here, wait=30))
    await until(lambda: waiting(here) == 1)
    began = time.monotonic()
    with pytest.raises(BudgetSpent):
        await take(here, wait=10)
    assert time.monotonic() - began < 1, "at once, for another is before him"
    waits.cancel()


@pytest.mark.parametrize("priority", [Priority.AGAIN, Priority.INTERACTIVE, Priority.BATCH])
async def test_the_head_of_the_line_hopes_for_nothing_that_can_not_come_in_time(
    replicas: Replicas, priority: Priority
) -> None:
    here, there = await replicas(), await replicas()
    assert await spend(here, 10) == 10
    async with asyncio.timeout(2):
        with pytest.raises(BudgetSpent) as caught:
            await take(there, priority, 20)
    assert caught.value.opens_in > 50


async def test_nobody_waits_out_a_pause_that_is_longer_than_he_would_wait(replicas: Replicas) -> None:
    here, there = await replicas(), await replicas()
    here.throttled("list", 30.0)
    await until(lambda: replicas.account.calls["throttled"] == 1)
    await there.look()
    for each in (here, there):
        replicas.account.calls.clear()
        with pytest.raises(BudgetSpent) as caught:
            await take(each, wait=20)
        assert 25 < caught.value.opens_in <= 30
        assert replicas.account.calls["take"] == 0, "at once"


async def test_who_may_not_wait_waits_for_the_ledgers_word(replicas: Replicas) -> None:
    here = await replicas()
    slots = [await take(here, wait=0.0) for _ in range(10)]
    assert len(slots) == 10
    async with asyncio.timeout(2):  # he waits for no more than that
        with pytest.raises(BudgetSpent):
            await take(here, wait=0.0)


async def test_who_may_not_wait_waits_for_the_word_of_a_slow_ledger_too(replicas: Replicas) -> None:
    here = await replicas()
    replicas.account.answers.clear()
    first = asyncio.create_task(take(here, wait=0.0))
    await until(lambda: replicas.account.calls["take"] == 1)
    second = asyncio.create_task(take(here, wait=0.0))
    await asyncio.sleep(0.5)  # as long as it takes; a call may take a second
    replicas.account.answers.set()
    await asyncio.gather(first, second)


async def test_who_may_not_wait_is_told_at_once_where_people_wait_or_the_share_is_spent(replicas: Replicas) -> None:
    here = await replicas(TEN, Fraction(1, 2))
    await spend(here, 10)
    calls = replicas.account.calls["take"]
    person = asyncio.create_task(take(here, wait=100))
    await until(lambda: replicas.account.calls["take"] > calls)
    calls = replicas.account.calls["take"]
    with pytest.raises(BudgetSpent):
        await take(here, Priority.BATCH, wait=0.0)
    assert replicas.account.calls["take"] == calls, "the ledger's last word is enough"
    person.cancel()
    replicas.account.reachable = False
    await here.look()
    replicas.account.reachable = True
    await here.look()
    assert not here.standing("list").shared
    async with asyncio.timeout(2):
        with pytest.raises(BudgetSpent):
            await take(here, wait=0.0)


async def test_only_those_are_counted_as_waiting_who_were_not_served_at_once(replicas: Replicas) -> None:
    here = await replicas(QUICK)
    assert await spend(here, 10) == 10
    assert waited(here) == (0, 0.0), "a call to the ledger is none"
    with pytest.raises(BudgetSpent):
        await take(here, wait=0.0)
    assert waited(here) == (0, 0.0)
    (await take(here)).answered()
    waits, seconds = waited(here)
    assert (waits, seconds > 0) == (1, True)


async def test_those_count_as_waiting_whose_time_was_over(replicas: Replicas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_bucket, "FIRST_WORD", 0.05)
    here = await replicas(Rate(1, 0.4))
    assert await spend(here, 1) == 1
    with pytest.raises(BudgetSpent):
        await take(here, wait=0.3)  # there is something after 0.4, or sooner
    waits, seconds = waited(here)
    assert (waits, seconds >= 0.29) == (1, True)


async def test_those_count_as_waiting_who_hung_up(replicas: Replicas) -> None:
    here = await replicas()
    assert await spend(here, 10) == 10
    calls = replicas.account.calls["take"]
    leaver = asyncio.create_task(take(here, wait=600))
    await until(lambda: replicas.account.calls["take"] > calls)
    leaver.cancel()
    await asyncio.gather(leaver, return_exceptions=True)
    assert waited(here)[0] == 1


async def test_who_is_served_with_the_first_question_has_not_waited_though_others_go_on(replicas: Replicas) -> None:
    here = await replicas()
    crowd = [asyncio.create_task(take(here, wait=600)) for _ in range(12)]
    await until(lambda: waiting(here) == 2)
    assert waited(here) == (0, 0.0)
    for each in crowd[10:]:
        each.cancel()
    await asyncio.gather(*crowd, return_exceptions=True)
    assert waited(here)[0] == 2


async def test_what_is_sent_again_counts_for_all(replicas: Replicas) -> None:
    here, there = await replicas(), await replicas()
    slot = await take(here)
    slot.again()
    await until(lambda: replicas.account.of("list").taken(time.monotonic()) == 2)
    assert await spend(there, 10) == 8
    slot.answered()
    assert await spend(there, 1) == 0
    assert replicas.account.of("list").taken(time.monotonic()) == 10


async def test_a_429_pauses_every_replica(replicas: Replicas) -> None:
    here, there = await replicas(), await replicas()
    slot = await take(here)
    slot.unused()
    here.throttled("list", 0.4)
    await until(lambda: replicas.account.calls["throttled"] == 1)
    began = time.monotonic()
    (await take(there)).answered()
    assert time.monotonic() - began > 0.2
    assert there.standing("list").limit == 5, "half of it stays, for it came alone"


async def test_nothing_is_sent_into_a_pause_that_begins_while_the_ledger_is_asked(replicas: Replicas) -> None:
    here, account = await replicas(), replicas.account
    refused = await take(here)
    account.answers.clear()
    crowd = [asyncio.create_task(take(here, wait=65)) for _ in range(9)]
    await until(lambda: account.of("list").taken(time.monotonic()) == 10)
    here.halt("list", 40.0)
    refused.unused()
    here.throttled("list", 40.0)
    account.answers.set()
    await until(lambda: account.of("list").taken(time.monotonic()) == 0)
    assert waiting(here) == 9
    for each in crowd:
        each.cancel()


async def test_a_429_for_what_has_no_number_pauses_every_replica_that_has_looked(replicas: Replicas) -> None:
    here, there = await replicas(), await replicas()
    (await here.take("other", Priority.INTERACTIVE, 1)).answered()
    here.throttled("other", 30.0)
    await until(lambda: replicas.account.calls["throttled"] == 1)
    await there.look()
    with pytest.raises(BudgetSpent):
        await there.take("other", Priority.INTERACTIVE, 1)


async def test_without_a_ledger_each_has_its_share_of_what_was_left_and_it_is_told_once(
    replicas: Replicas, caplog: pytest.LogCaptureFixture
) -> None:
    here, there = await replicas(), await replicas()
    await spend(here, 4)
    await there.look()
    replicas.account.reachable = False
    with caplog.at_level(logging.INFO):
        assert await spend(here, 10) == 1, "five are its share, four of which it has spent"
        assert await spend(there, 10) == 3, "half of six, for it can't know who has the others"
        await there.look()
    assert [record.getMessage() for record in caplog.records] == [
        "credential default: The test's memory does not answer. Each replica keeps to its share, here 1/2."
    ] * 2
    assert (here.standings()[0].shared, here.standing("list").shared, here.standing("list").rate) == (
        False,
        False,
        Rate(5, 60.0),
    )


async def test_the_watch_outlives_a_fault_of_ours(
    replicas: Replicas, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else this replica would never again know of the others, nor they of it."""
    monkeypatch.setattr(shared, "LOOK_EVERY", 0.02)
    budget = await replicas()
    replicas.account.broken = True
    await until(lambda: "a fault of ours in the watch of the rate budget of default" in caplog.text)
    replicas.account.broken = False
    looks = replicas.account.calls["look"]
    await until(lambda: replicas.account.calls["look"] > looks)
    assert budget.standings()[0].shared


async def test_a_pause_that_another_replica_has_told_of_is_kept_without_a_ledger_too(replicas: Replicas) -> None:
    here, there = await replicas(), await replicas()
    here.throttled("list", 30.0)
    await until(lambda: replicas.account.calls["throttled"] == 1)
    await there.look()
    replicas.account.reachable = False
    await there.look()
    with pytest.raises(BudgetSpent) as caught:
        await take(there, wait=1)
    assert 25 < caught.value.opens_in <= 30


async def test_what_a_429_has_taught_is_doubted_without_a_ledger_too(replicas: Replicas) -> None:
    rate = Rate(40, 0.5)
    here = await replicas(rate, Fraction(1, 2))
    here.throttled("list", 0.01)
    await until(lambda: replicas.account.calls["throttled"] == 1)
    await here.look()
    assert here.standing("list").limit == 20
    replicas.account.reachable = False
    await here.look()
    assert (here.standing("list").rate, here.standing("list").limit) == (Rate(20, 0.5), 10)
    await until(lambda: here.standing("list").limit == 20)


async def test_a_look_that_a_reload_overtakes_is_not_believed(replicas: Replicas) -> None:
    here = await replicas(None)
    looking = asyncio.create_task(here.look())
    await asyncio.sleep(0)  # so that the ledger is asked
    here.reconfigure({"list": TEN, "other": None}, None)
    await looking
    assert here.standing("list").limit == 10


async def test_who_waits_while_the_ledger_goes_away_is_served_by_the_share(replicas: Replicas) -> None:
    here = await replicas(QUICK, Fraction(1, 5))
    await spend(here, 10)
    crowd = [asyncio.create_task(take(here, wait=20)) for _ in range(4)]
    await until(lambda: waiting(here) == 4)
    replicas.account.reachable = False
    began = time.monotonic()
    for each in crowd[:2]:
        (await each).answered()
    assert waiting(here) == 2
    for each in crowd[2:]:
        (await each).answered()
    assert time.monotonic() - began > QUICK.seconds, "two in a window"
    assert not here.standings()[0].shared


async def test_who_waits_for_the_share_while_the_ledger_comes_back_is_served_by_that(replicas: Replicas) -> None:
    here = await replicas(Rate(10, 30.0), Fraction(1, 10))
    replicas.account.reachable = False
    assert await spend(here, 1) == 1
    crowd = [asyncio.create_task(take(here, wait=600)) for _ in range(5)]
    await until(lambda: waiting(here) == 5)
    replicas.account.reachable = True
    async with asyncio.timeout(15):
        await asyncio.gather(*crowd)
    assert here.standings()[0].shared


async def test_who_can_not_wait_for_the_share_waits_for_the_ledger_that_is_back(replicas: Replicas) -> None:
    here = await replicas(TEN, Fraction(1, 5))
    replicas.account.reachable = False
    await here.look()
    assert await spend(here, 3) == 2
    replicas.account.reachable = True
    await here.look()
    calls = replicas.account.calls["take"]
    crowd = [asyncio.create_task(take(here, wait=30)) for _ in range(3)]
    await until(lambda: waiting(here) == 3)
    await replicas.settle()
    async with asyncio.timeout(5):
        await asyncio.gather(*crowd)
    assert replicas.account.calls["take"] - calls <= 2


async def test_what_was_sent_without_the_ledger_counts_when_it_is_back(replicas: Replicas) -> None:
    here, there = await replicas(), await replicas()
    replicas.account.reachable = False
    flying = await take(here)
    assert await spend(here, 10) == 4
    assert await spend(there, 10) == 5
    replicas.account.reachable = True
    await replicas.settle()
    assert await spend(there, 10) == 0
    flying.unused()
    await until(lambda: replicas.account.of("list").taken(time.monotonic()) == 9)
    assert await spend(there, 10) == 1


async def test_what_is_sent_until_all_have_told_counts_at_once_for_who_shares_already(replicas: Replicas) -> None:
    """A slot comes back for the ledger and for its process at one moment: only one of both may hand it out."""
    here, there = await replicas(), await replicas()
    account = replicas.account
    account.away = {"replica-0", "replica-1"}
    await asyncio.gather(here.look(), there.look())
    account.away = {"replica-1"}
    await replicas.settle(here)
    account.away = set()
    await there.look()
    assert not there.standings()[0].shared
    assert await spend(there, 10) == 5, "its share, though all are free"
    assert await spend(here, 10) == 5
    await replicas.settle(there)
    assert await spend(there, 10) == 0


async def test_what_the_ledger_grants_to_who_has_fallen_back_meanwhile_is_within_the_share_and_given_back(
    replicas: Replicas,
) -> None:
    here, there = await replicas(), await replicas()
    account = replicas.account
    account.answers.clear()
    crowd = [asyncio.create_task(take(here, wait=60)) for _ in range(10)]
    await until(lambda: account.of("list").taken(time.monotonic()) == 10)
    account.reachable = False
    await here.look()
    await until(lambda: waiting(here) == 5)
    account.answers.set()
    account.reachable = True
    await replicas.settle()
    await until(lambda: waiting(here) == 0)
    assert account.of("list").taken(time.monotonic()) == 10
    assert await spend(there, 10) == 0
    for each in crowd:
        each.result().unused()
    await until(lambda: account.of("list").taken(time.monotonic()) == 0)


async def test_a_ledger_that_comes_back_empty_stops_nobody_who_keeps_to_his_share(replicas: Replicas) -> None:
    here, there = await replicas(), await replicas()
    assert (await spend(here, 1), await spend(there, 1)) == (1, 1)
    replicas.account.reachable = False
    await asyncio.gather(here.look(), there.look())
    replicas.account.lose()
    replicas.account.reachable = True
    await asyncio.gather(here.look(), there.look())
    assert not here.standings()[0].shared
    assert (await spend(here, 10), await spend(there, 10)) == (4, 4)


async def test_fewer_replicas_are_believed_only_when_nobody_could_be_forgotten_by_mistake(replicas: Replicas) -> None:
    """A ledger that was emptied counts anew; if it goes away again, who looked first knows of himself alone."""
    here, there = await replicas(), await replicas()
    replicas.account.lose()
    await here.look()
    replicas.account.reachable = False
    await asyncio.gather(here.look(), there.look())
    assert here.share == there.share == Fraction(1, 2)
    assert (await spend(here, 10), await spend(there, 10)) == (5, 5)


async def test_a_replica_that_stays_away_leaves_its_part_to_the_others(replicas: Replicas) -> None:
    here, _ = await replicas(), await replicas()
    replicas.account.away = {"replica-1"}
    del replicas.account.replicas["replica-1"]
    await here.look()
    assert here.share == Fraction(1, 2)
    replicas.passed = FORGOTTEN
    await here.look()
    assert here.share == 1


async def test_a_rate_that_is_new_while_the_ledger_comes_back_keeps_to_the_share_like_the_others(
    replicas: Replicas,
) -> None:
    here, there = await replicas(), await replicas()
    replicas.account.reachable = False
    await asyncio.gather(here.look(), there.look())
    replicas.account.reachable = True
    await here.look()
    here.reconfigure({"list": TEN, "other": None, "send": TEN}, None)
    assert not here.standing("send").shared
    slots = await asyncio.gather(
        *(here.take("send", Priority.INTERACTIVE, 0.05) for _ in range(10)), return_exceptions=True
    )
    assert sum(isinstance(slot, LocalSlot) for slot in slots) == 5
    await replicas.settle()
    assert here.standing("send").shared


async def test_what_was_in_flight_while_there_was_no_number_is_not_told_of_for_ever(replicas: Replicas) -> None:
    here = await replicas()
    slots = [await take(here) for _ in range(3)]
    here.reconfigure({"list": None, "other": None}, None)
    for slot in slots:
        slot.answered()
    here.reconfigure({"list": TEN, "other": None}, None)
    await here.look()
    replicas.account.lose()
    await spend(here, 1)
    await until(lambda: replicas.account.of("list").born != "")
    await asyncio.sleep(0.05)  # so that all is told that would be
    assert replicas.account.of("list").taken(time.monotonic()) <= 1


async def test_a_ledger_that_goes_away_again_before_all_have_told_is_told_all_when_it_is_back(
    replicas: Replicas,
) -> None:
    here, there = await replicas(), await replicas()
    replicas.account.reachable = False
    assert await spend(here, 3) == 3
    replicas.account.reachable = True
    await here.look()
    flying = await take(here)
    replicas.account.reachable = False
    assert await spend(here, 10) == 1, "five are its share"
    flying.unused()
    assert await spend(here, 10) == 1
    replicas.account.reachable = True
    await replicas.settle()
    assert await spend(there, 10) == 5


async def test_a_ledger_that_has_lost_all_is_told_all_again(replicas: Replicas) -> None:
    here, there = await replicas(), await replicas()
    assert (await spend(here, 4), await spend(there, 3)) == (4, 3)
    await until(lambda: replicas.account.of("list").taken(time.monotonic()) == 7)
    replicas.account.lose()
    last = await asyncio.gather(*(take(each, wait=3) for each in (here, there, here, there)), return_exceptions=True)
    assert sorted(type(each).__name__ for each in last) == ["BudgetSpent"] + ["LocalSlot"] * 3
    assert replicas.account.of("list").taken(time.monotonic()) == 10


async def test_a_ledger_that_has_lost_all_is_told_by_those_who_ask_for_nothing(replicas: Replicas) -> None:
    here, there = await replicas(), await replicas()
    assert (await spend(here, 4), await spend(there, 3)) == (4, 3)
    await until(lambda: replicas.account.of("list").taken(time.monotonic()) == 7)
    await there.look()
    replicas.account.lose()
    waits = asyncio.create_task(take(here, wait=5))
    await until(lambda: replicas.account.of("list").born != "")
    await there.look()
    (await waits).answered()
    assert await spend(here, 10) == 2


async def test_a_ledger_that_has_lost_all_grants_nothing_to_who_comes_first_and_has_nothing_to_tell(
    replicas: Replicas,
) -> None:
    here, there = await replicas(), await replicas()
    assert await spend(here, 10) == 10
    await there.look()
    replicas.account.lose()
    assert await spend(there, 10) == 0


async def test_a_ledger_that_has_lost_a_part_is_told_that_again_by_who_looks(replicas: Replicas) -> None:
    """It is the same ledger: a Redis that was killed has what its last snapshot has."""
    here, there = await replicas(), await replicas()
    flying, kept = await take(here), replicas.account.of("list")
    assert (await spend(here, 6), await spend(there, 1)) == (6, 1)
    await until(lambda: kept.taken(time.monotonic()) == 8)
    before = dict(kept.slots)
    for slot in [*before][:5]:
        del kept.slots[slot]
    await there.look()
    assert there.standing("list").left == 7
    await here.look()
    await until(lambda: kept.slots.keys() == before.keys())
    assert max(kept.slots[slot] - until for slot, until in before.items()) < 1, "as long as it would have been"
    assert await spend(there, 10) == 2
    flying.unused()
    assert await spend(there, 10) == 1


async def test_a_ledger_that_has_lost_nothing_is_told_nothing_again(replicas: Replicas) -> None:
    here, there = await replicas(), await replicas()
    await spend(here, 4)
    await take(here)
    await spend(there, 2)
    await until(lambda: replicas.account.of("list").taken(time.monotonic()) == 7)
    await here.close()  # it has told all that there is
    tells = replicas.account.calls["tell"]
    for _ in range(3):
        await here.look()
    await there.look()
    await asyncio.sleep(0.05)  # decides nothing: what would be told is told by then
    assert replicas.account.calls["tell"] == tells


@pytest.mark.parametrize("met_by", ["here", "there"])
async def test_the_slot_that_is_free_when_a_pause_is_over_is_not_taken_back(replicas: Replicas, met_by: str) -> None:
    """It comes back before its time, so who had it sees fewer taken than it has."""
    here, there = await replicas(), await replicas()
    assert await spend(here, 10) == 10
    (here if met_by == "here" else there).throttled("list", 0.3)
    await until(lambda: replicas.account.calls["throttled"] == 1)
    if met_by == "there":
        await here.look()
    await until(lambda: replicas.account.of("list").taken(time.monotonic()) == 9)
    await here.look()
    assert here.standing("list").left == 1
    await asyncio.sleep(0.05)  # decides nothing: what would be told is told by then
    assert await spend(there, 10) == 1


async def test_what_is_given_back_without_the_ledger_is_told_when_it_is_back(replicas: Replicas) -> None:
    here, _ = await replicas(), await replicas()
    slots = [await take(here) for _ in range(5)]
    replicas.account.reachable = False
    await here.look()
    slots.pop().unused()
    replicas.account.reachable = True
    await here.look()
    assert not here.standings()[0].shared
    await until(lambda: replicas.account.of("list").taken(time.monotonic()) == 4)
    slots.pop().unused()
    await replicas.settle()
    await until(lambda: replicas.account.of("list").taken(time.monotonic()) == 3)


async def test_another_rate_goes_on_with_what_was_sent(replicas: Replicas) -> None:
    here = await replicas()
    assert await spend(here, 10) == 10
    here.reconfigure({"list": Rate(12, 60.0), "other": None}, None)
    assert await spend(here, 10) == 2


async def test_what_was_sent_under_a_name_that_is_gone_counts_for_all(replicas: Replicas) -> None:
    here, there = await replicas(), await replicas()
    assert await spend(here, 4) == 4
    flying = await take(here)
    for each in (here, there):
        each.reconfigure({ALL: TEN}, None)
    flying.answered()
    await until(lambda: replicas.account.of(ALL).taken(time.monotonic()) == 5)
    assert await spend(there, 10) == 5


async def test_a_pause_that_another_replica_has_told_of_is_kept_under_other_names(replicas: Replicas) -> None:
    here, there = await replicas(), await replicas()
    here.throttled("list", 30.0)
    await until(lambda: replicas.account.calls["throttled"] == 1)
    await there.look()
    there.reconfigure({ALL: TEN}, None)
    with pytest.raises(BudgetSpent) as caught:
        await take(there, wait=1)
    assert 25 < caught.value.opens_in <= 30


async def test_whoever_waits_under_a_name_that_is_gone_is_let_go(replicas: Replicas) -> None:
    here = await replicas()
    await spend(here, 10)
    waits = asyncio.create_task(take(here, wait=60))
    await until(lambda: waiting(here) == 1)
    here.reconfigure({ALL: TEN}, None)
    async with asyncio.timeout(5):
        await waits


async def test_another_share_counts_at_once_where_there_is_no_ledger_and_the_rate_is_none_ones_own(
    replicas: Replicas,
) -> None:
    here = await replicas(TEN, Fraction(1, 5))
    replicas.account.reachable = False
    assert await spend(here, 10) == 2
    for share, more in ((Fraction(1, 5), 0), (Fraction(1, 2), 3)):
        here.reconfigure({"list": TEN, "other": None}, share)
        assert await spend(here, 10) == more


async def test_a_number_for_what_had_none_is_shared_from_then_on(replicas: Replicas) -> None:
    here, there = await replicas(None), await replicas(None)
    assert await spend(here, 30) == 30
    for each in (here, there):
        each.reconfigure({"list": TEN, "other": None}, None)
    assert await spend(here, 7) == 7
    assert await spend(there, 7) == 3


async def test_an_end_sends_away_who_still_waits(replicas: Replicas) -> None:
    here = await replicas()
    await spend(here, 10)
    waits = asyncio.create_task(take(here, wait=60))
    await until(lambda: waiting(here) == 1)
    here.end(0.1)
    with pytest.raises(BudgetSpent) as caught:
        await waits
    assert caught.value.ending
