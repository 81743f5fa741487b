"""SIGTERM by the hundred under constant load: what the proxy has taken it answers, and what it redeems it stores."""

import asyncio
import random
import signal
from collections import Counter
from typing import Final

import pytest
from commands.callers import Callers, Fate, Way
from commands.danger import SEED, Danger
from commands.oracle import assert_spent_once, judge
from commands.process import Process
from rig import until

from proxy.simulator import Fault
from proxy.simulator.journal import TOKEN_PATH

pytestmark = pytest.mark.timeout(1800)

LOAD: Final = (Way.KEPT, Way.KEPT, Way.FRESH, Way.FRESH, Way.IN_HALVES, Way.IN_HALVES, Way.UPLOAD, Way.UPLOAD)
REDEEMING: Final = 0.1
"""Seconds that PandaDoc takes for a redeem: SIGTERM comes into the middle of it."""

GRACE: Final = "PANDADOC_PROXY__SHUTDOWN__GRACE"


async def under_load(process: Process, name: str) -> tuple[Callers, "asyncio.Task[None]"]:
    """Have the process asked in every way; return when each caller has had an answer or two."""
    callers = Callers.of(await process.url(), name)
    asking = asyncio.create_task(callers.ask(*LOAD))
    await until(lambda: len(callers.statuses) > 4 * len(LOAD) or asking.done())
    return callers, asking


@pytest.mark.parametrize("grace", ["0s", "300ms"])
async def test_sigterm_under_load_loses_no_request_of_which_a_byte_was_read(
    danger: Danger, chance: random.Random, grace: str, *, full_size: bool
) -> None:
    """And a refresh that was in flight is stored: the next process goes on with it."""
    danger.env[GRACE] = grace
    danger.machine.simulator.faults.add(Fault(path=TOKEN_PATH, delay=REDEEMING))
    fates: Counter[str] = Counter()
    for number in range(100 if full_size else 8):
        process = await danger.machine.start(env=danger.env)
        callers, asking = await under_load(process, f"round-{number}")
        await asyncio.sleep(chance.uniform(0, REDEEMING))
        if number % 2:  # everybody waits for the redeem; in the other rounds, for nothing
            danger.machine.simulator.expire_access_tokens()
            await asyncio.sleep(chance.uniform(0, REDEEMING))
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0
        await asking
        fates.update(fate.name for fate in callers.fates.values())
        begun = {line["request_id"] for line in process.access}
        unanswered = {each for each, fate in callers.fates.items() if fate is not Fate.ANSWERED}
        assert callers.counted(Fate.LOST) == 0, fates
        assert begun & unanswered == set()
        assert set(callers.statuses) <= {200, 201}
        assert not judge(danger.machine, danger.env[SEED]).lost
    assert_spent_once(danger.machine)
    print(dict(fates))  # noqa: T201 - how many came too late is chance's to say


async def test_a_second_signal_under_load_ends_it_at_once(
    danger: Danger, chance: random.Random, *, full_size: bool
) -> None:
    """Requests are lost then: that is what it asks for. The log stays in order."""
    danger.env[GRACE] = "60s"
    for number in range(20 if full_size else 3):
        process = await danger.machine.start(env=danger.env)
        _, asking = await under_load(process, f"round-{number}")
        process.signal(signal.SIGTERM)
        await asyncio.sleep(chance.uniform(0.01, 0.2))  # two signals at once are one to the kernel
        process.signal(chance.choice((signal.SIGTERM, signal.SIGINT)))
        assert await process.ended(seconds=5) == 1
        await process.said("a second signal: ending at once")
        await asking
