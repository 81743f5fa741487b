"""A process that gets no time: it tells how late it was, and goes on."""

import asyncio
import signal
import sys
from typing import Final

from aiohttp import ClientSession
from commands.process import MEMBER, Machine, poll, status_of
from prometheus_client import parser

LAG = "pandadoc_proxy_event_loop_lag_seconds"
COLLECTED: Final = (
    "import atexit, gc, sys; from proxy.__main__ import main;"
    "atexit.register(lambda: print('collected among', len(gc.get_objects(generation=2)), file=sys.stderr)); main()"
)
"""The proxy, and at its end how many objects a full garbage collection would have looked through."""

STALL = 2.5
"""Seconds. What is due each second is late by more than one."""


async def test_a_stalled_event_loop_is_told_at_its_length_and_serves_on(machine: Machine, app: ClientSession) -> None:
    """Stopped by a signal, as a throttled container is by its node."""
    process = await machine.start(env=machine.with_api_key())
    url, admin = await process.url(), await process.admin_url()

    async def late() -> float:
        """Count how often the loop was late by more than a second."""
        async with app.get(f"{admin}/metrics") as answer:
            families = parser.text_string_to_metric_families(await answer.text())
            (lag,) = [family for family in families if family.name == LAG]
        buckets = {sample.labels.get("le"): sample.value for sample in lag.samples}
        return buckets["+Inf"] - buckets["1.0"]

    async def later() -> bool:
        return await late() > before

    before = await late()
    process.signal(signal.SIGSTOP)
    await asyncio.sleep(STALL)
    process.signal(signal.SIGCONT)
    await poll(later)
    assert await status_of(app, url + MEMBER) == 200


async def test_no_garbage_collection_looks_through_what_was_loaded(machine: Machine, app: ClientSession) -> None:
    """It is fifty thousand objects and more, and nothing moves for as long as they are looked at."""
    process = await machine.start(program=(sys.executable, "-c", COLLECTED), env=machine.with_api_key())
    assert await status_of(app, await process.url() + MEMBER) == 200
    process.signal(signal.SIGTERM)
    assert await process.ended() == 0
    assert int((await process.said("collected among")).split()[-1]) < 1000
