"""A grant that PandaDoc refuses costs its token endpoint nothing, however many ask (laws 5, 6 and 14)."""

import asyncio
import json
import time
from typing import Final

import pytest
from aiohttp import ClientSession
from commands.oracle import COMMAND, read_stored
from commands.process import MEMBER, Machine
from rig import until

from proxy.simulator import Fault
from proxy.simulator.journal import TOKEN_PATH

pytestmark = pytest.mark.timeout(600)

LIFETIME: Final = 4
"""Seconds that the last good token is said to live."""

GROWTH: Final = 4 * 2**20
"""Bytes that a warm process may add: an allocator's rounding, more connections' buffers."""

AT_ONCE: Final = 50


async def test_ten_thousand_requests_against_a_dead_grant_cost_a_handful_of_token_calls(
    machine: Machine, app: ClientSession, *, full_size: bool
) -> None:
    """The good token is lent to its end; from then on every request is told why there is none, and what to do."""
    token = {"access_token": machine.simulator.issue_access_token(), "expires_in": LIFETIME, "refresh_token": "next"}
    faults = machine.simulator.faults
    faults.add(Fault(path=TOKEN_PATH, status=200, body=json.dumps(token).encode(), times=1))
    faults.add(Fault(path=TOKEN_PATH, status=400, body=b'{"error": "invalid_grant"}'))
    process = await machine.start(env=machine.with_grant())
    url = await process.url() + MEMBER
    await until(lambda: read_stored(machine).generation == 1)
    stored = read_stored(machine).newest
    assert stored is not None

    while time.time() < stored["expires_at"]:
        asked = await asked_at_once(app, url)
        early = time.time() < stored["expires_at"]
        assert set(asked) == {"lent"} if early else set(asked) <= {"lent", "dead"}
    await process.said('"level":"error"', "invalid_grant", COMMAND)
    assert len(machine.simulator.token_calls()) <= 3

    assert set(await asked_at_once(app, url)) == {"dead"}
    before = process.resident
    for _ in range((10_000 if full_size else 1_500) // AT_ONCE):
        assert set(await asked_at_once(app, url)) == {"dead"}
    assert process.resident - before < GROWTH
    assert len(machine.simulator.token_calls()) <= 3


async def asked_at_once(app: ClientSession, url: str) -> list[str]:
    return list(await asyncio.gather(*(asked(app, url) for _ in range(AT_ONCE))))


async def asked(app: ClientSession, url: str) -> str:
    """Ask once: `lent` is a good answer, `dead` one that says why there is none. Nothing else may come."""
    async with app.get(url) as answer:
        said = await answer.text()
    if answer.status == 200:
        return "lent"
    assert answer.status == 503
    assert "invalid_grant" in said
    assert COMMAND in said
    assert "Retry-After" not in answer.headers
    return "dead"
