"""A process that gets no time: it tells how late it was, and goes on."""

import asyncio
import signal

from aiohttp import ClientSession
from commands.process import MEMBER, Machine, poll, status_of
from prometheus_client import parser

LAG = "pandadoc_proxy_event_loop_lag_seconds"
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
