"""What a SharedBudget relies on, of every ledger: run against each, with replicas that share one account.

An Opened makes one replica's ledger, by the process's name; answers come within ANSWER seconds.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from proxy.budget.ledger import Ask, Ledger, Reply
from proxy.budget.rates import Rate

ANSWER: Final = 2.0
FIVE: Final = Rate(5, 60.0)
SHORT: Final = Rate(1, 0.3)


class Opened(Protocol):
    """Makes one replica's ledger; whoever gave it closes what it made."""

    def __call__(self, process: str) -> Ledger: ...


Clause = Callable[[Opened], Awaitable[None]]


async def take(
    of: Ledger,
    *ids: str,
    rate: Rate = FIVE,
    name: str = "list",
    batch: bool = False,
    born: str = "",
    bounded: bool = False,
) -> Reply:
    return await of.take(name, rate, Ask(ids, batch, born, bounded))


async def replicas_have_the_slots_of_a_rate_together(opened: Opened) -> None:
    here, there = opened("here"), opened("there")
    first, second = await take(here, "1", "2", "3"), await take(there, "4", "5", "6", "7")
    assert (first.granted, first.seen.left, first.seen.limit, first.wait) == (3, 2, 5, 0.0)
    assert (second.granted, second.seen.left) == (2, 0)
    assert 0 < second.wait <= FIVE.seconds


async def rates_have_nothing_to_do_with_each_other(opened: Opened) -> None:
    ledger = opened("here")
    assert (await take(ledger, *"12345")).granted == 5
    assert (await take(ledger, *"12345", name="send")).granted == 5


async def a_slot_comes_back_when_it_was_said_to_and_no_sooner(opened: Opened) -> None:
    ledger = opened("here")
    await take(ledger, "1", rate=SHORT)
    await ledger.tell("list", SHORT, {"1": 1.0})
    early = await take(ledger, "2", rate=SHORT)
    assert early.granted == 0
    assert 0 < early.wait <= SHORT.seconds, "a window at most, for it may be given back"
    await asyncio.sleep(1.01)
    assert (await take(ledger, "2", rate=SHORT)).granted == 1


async def a_slot_that_was_given_back_is_free_at_once_and_saying_so_twice_changes_nothing(opened: Opened) -> None:
    here, there = opened("here"), opened("there")
    await take(here, *"12345")
    for _ in range(2):
        await here.tell("list", FIVE, {"3": None, "4": 60.0})
    assert (await take(there, "6", "7")).granted == 1


async def a_slot_of_which_nobody_says_a_word_comes_back_a_window_after_any_answer(opened: Opened) -> None:
    ledger = opened("here")
    await take(ledger, "dead", rate=SHORT)
    assert (await take(ledger, "2", rate=SHORT)).wait <= SHORT.seconds, "were it answered this moment"
    await asyncio.sleep(SHORT.seconds + 0.1)
    assert (await take(ledger, "2", rate=SHORT)).granted == 0
    await asyncio.sleep(ANSWER)
    assert (await take(ledger, "2", rate=SHORT)).granted == 1


async def slots_that_were_had_without_the_ledger_count_once_it_is_told(opened: Opened) -> None:
    here, there = opened("here"), opened("there")
    await here.tell("list", FIVE, {"1": 30.0, "2": 30.0, "3": 30.0, "4": 30.0, "5": 30.0, "6": 1.0})
    full = await take(there, "7")
    assert (full.granted, full.seen.left) == (0, 0)
    assert full.wait > 20, "two of six must be back before the seventh goes"


async def batch_requests_get_nothing_while_somebody_waits_in_another_process(opened: Opened) -> None:
    people, robots = opened("people"), opened("robots")
    await take(robots, *"12345")
    assert (await take(people, "6")).granted == 0
    await robots.tell("list", FIVE, {"1": None, "2": None})
    refused = await take(robots, "7", batch=True)
    assert refused.granted == 0
    assert refused.wait > 0
    assert (await take(people, "6")).granted == 1
    assert (await take(robots, "7", batch=True)).wait > FIVE.seconds / 5, "nobody waits, but it is not due"


async def batch_requests_are_spread_over_the_window_and_others_are_not_held(opened: Opened) -> None:
    ledger, rate = opened("here"), Rate(10, 4.0)
    spread = await take(ledger, *"12345", rate=rate, batch=True)
    assert spread.granted == 1
    assert 0.2 < spread.wait <= 0.4
    await asyncio.sleep(spread.wait + 0.01)
    assert (await take(ledger, "2", rate=rate, batch=True)).granted == 1
    assert (await take(ledger, *"abcd", rate=rate)).granted == 4
    assert (await take(ledger, "3", rate=rate, batch=True)).wait > 0.5, "it goes around the others"


async def what_was_given_back_holds_no_batch_request(opened: Opened) -> None:
    ledger = opened("here")
    for _ in range(3):
        await take(ledger, *"12345")
        await ledger.tell("list", FIVE, dict.fromkeys("12345"))
    assert (await take(ledger, "robot", batch=True)).granted == 1


async def no_batch_request_is_due_later_than_in_a_window(opened: Opened) -> None:
    ledger = opened("here")
    for _ in range(3):
        await take(ledger, *"12345")
        await ledger.tell("list", FIVE, dict.fromkeys("12345", 0.001))
        await asyncio.sleep(0.01)
    assert 50 < (await take(ledger, "robot", batch=True)).wait <= FIVE.seconds


async def a_429_pauses_all_and_teaches_all_how_much_there_is(opened: Opened) -> None:
    here, there, rate = opened("here"), opened("there"), Rate(5, 1.5)
    await take(here, "1", "2", "3", rate=rate)
    await here.tell("list", rate, {"1": 5.0, "2": 5.0, "3": 5.0})
    await there.look({"list": rate})  # it is connected by then: a cluster's nodes take their time
    await here.throttled("list", rate, 0.8)
    paused = await take(there, "4", rate=rate)
    assert (paused.granted, paused.seen.limit) == (0, 3)
    assert 0.1 < paused.wait <= 1.5
    assert 0.1 < paused.seen.paused <= 0.8
    await asyncio.sleep(0.81)
    assert (await take(there, "4", "5", rate=rate)).granted == 1, "one more is granted by then"
    await asyncio.sleep(0.71)
    assert (await take(there, "5", rate=rate)).seen.limit == 5, "doubted after a window"


async def a_429_that_comes_alone_leaves_half_and_one_soon_after_it_an_eighth(opened: Opened) -> None:
    here, there, rate = opened("here"), opened("there"), Rate(40, 60.0)
    await there.look({"list": rate})  # it is connected by then: a cluster's nodes take their time
    for _ in range(2):  # those that were under way together are one
        await here.throttled("list", rate, 1.0)
        assert (await there.look({"list": rate})).rates["list"].limit == 20
    await asyncio.sleep(1.01)
    await here.throttled("list", rate, 1.0)
    assert (await there.look({"list": rate})).rates["list"].limit == 2


async def what_a_429_has_taught_is_doubted_for_each_window_that_nobody_asked_in(opened: Opened) -> None:
    ledger, rate = opened("here"), Rate(40, 0.3)
    await ledger.throttled("list", rate, 0.1)
    await asyncio.sleep(0.61)
    assert (await ledger.look({"list": rate})).rates["list"].limit == 40, "20, 31, all of them"


async def who_looks_is_counted_and_sees_how_all_stands(opened: Opened) -> None:
    here, there = opened("here"), opened("there")
    born = (await take(here, "1", "2")).born
    began = time.monotonic()
    await here.throttled("other", None, 7.0)
    assert (await here.look({"list": FIVE})).replicas == 1
    look = await there.look({"list": FIVE, "other": None})
    assert look.replicas == 2
    assert look.rates["list"][:3] == (3, 5, 0.0)
    assert 7 - (time.monotonic() - began) - 0.1 < look.rates["other"].paused <= 7
    assert look.born == {"list": born, "other": ""}
    assert (await here.look({"list": FIVE})).replicas == 2


async def who_has_no_number_sees_nothing_of_what_others_have_taken(opened: Opened) -> None:
    here, there = opened("here"), opened("there")
    await take(here, "1", "2")
    assert (await there.look({"list": None})).rates["list"] == (0, 0, 0.0, 0.0)
    assert (await here.look({"list": FIVE})).rates["list"].left == 3


async def all_see_when_there_is_one_more(opened: Opened) -> None:
    here, there = opened("here"), opened("there")
    assert (await there.look({"list": FIVE})).rates["list"].opens == 60, "one that is taken now is back by then"
    assert (await take(here, *"1234")).seen.opens == 60, "were it answered this moment"
    await here.tell("list", FIVE, {"1": 20.0, "2": 30.0})
    assert 19 < (await there.look({"list": FIVE})).rates["list"].opens <= 20
    assert 19 < (await take(there, "5")).seen.opens <= 20
    await here.tell("list", FIVE, {"6": 10.0})
    assert 19 < (await take(there, "7")).seen.opens <= 20, "the first of six leaves five"


async def a_ledger_that_knows_nothing_waits_for_those_who_do(opened: Opened) -> None:
    here, there = opened("here"), opened("there")
    lost = await take(here, "1", born="another")
    assert lost.granted == 0
    assert 0 < lost.wait <= 3.0
    assert lost.born not in {"", "another"}
    assert (await take(there, "2")).granted == 0, "nor for who never knew"
    await asyncio.sleep(lost.wait + 0.01)
    assert (await take(here, "1", born=lost.born)).granted == 1


async def who_keeps_to_a_share_waits_for_nobody(opened: Opened) -> None:
    here, there = opened("here"), opened("there")
    assert (await take(here, "1", born="another", bounded=True)).granted == 1
    assert (await take(there, "2", born="another")).granted == 0
    assert (await take(here, "3", bounded=True)).granted == 1
    await there.throttled("list", FIVE, 5.0)
    assert (await take(here, "4", bounded=True)).granted == 0, "but for PandaDoc"


async def a_new_ledger_waits_for_nobody_where_nobody_has_sent_a_thing(opened: Opened) -> None:
    reply = await take(opened("here"), "1")
    assert reply.granted == 1
    assert (await take(opened("there"), "2")).born == reply.born


CLAUSES: Final[tuple[Clause, ...]] = (
    replicas_have_the_slots_of_a_rate_together,
    rates_have_nothing_to_do_with_each_other,
    a_slot_comes_back_when_it_was_said_to_and_no_sooner,
    a_slot_that_was_given_back_is_free_at_once_and_saying_so_twice_changes_nothing,
    a_slot_of_which_nobody_says_a_word_comes_back_a_window_after_any_answer,
    slots_that_were_had_without_the_ledger_count_once_it_is_told,
    batch_requests_get_nothing_while_somebody_waits_in_another_process,
    batch_requests_are_spread_over_the_window_and_others_are_not_held,
    what_was_given_back_holds_no_batch_request,
    no_batch_request_is_due_later_than_in_a_window,
    a_429_pauses_all_and_teaches_all_how_much_there_is,
    a_429_that_comes_alone_leaves_half_and_one_soon_after_it_an_eighth,
    what_a_429_has_taught_is_doubted_for_each_window_that_nobody_asked_in,
    who_looks_is_counted_and_sees_how_all_stands,
    who_has_no_number_sees_nothing_of_what_others_have_taken,
    all_see_when_there_is_one_more,
    a_ledger_that_knows_nothing_waits_for_those_who_do,
    who_keeps_to_a_share_waits_for_nobody,
    a_new_ledger_waits_for_nobody_where_nobody_has_sent_a_thing,
)
