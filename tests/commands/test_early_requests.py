"""Requests that come before the first credential: `run` binds at once and holds them, but not where waiting is vain."""

import asyncio
from typing import Any, Final

import msgspec
import pytest
from aiohttp import ClientSession
from commands.crowd import SETTING
from commands.danger import SEED
from commands.process import MEMBER, Machine, status_of
from rig import until

from proxy.config import OAuth2Credential
from proxy.simulator import Fault
from proxy.simulator.journal import TOKEN_PATH

AT_ONCE: Final = 5.0
"""Seconds: far less than callers would wait here, and enough for a busy machine."""

PATIENT: Final = {f"{SETTING}WAIT": "50s"}


async def asked(app: ClientSession, url: str) -> tuple[int, bool, str]:
    """Ask for something; return the status, whether the answer says when to come back, and why it failed."""
    async with app.get(url + MEMBER) as answer:
        said: dict[str, Any] = await answer.json()
        return answer.status, "Retry-After" in answer.headers, str(said.get("detail"))


async def test_a_request_before_the_first_token_is_held_and_then_answered(machine: Machine, app: ClientSession) -> None:
    """An app that starts with its sidecar meets no refused connection, and no error either."""
    gate = asyncio.Event()
    machine.simulator.faults.add(Fault(path=TOKEN_PATH, gate=gate))
    process = await machine.start(env=machine.with_grant())
    url, admin = await process.url(), await process.admin_url()
    asking = [asyncio.create_task(status_of(app, url + MEMBER)) for _ in range(20)]
    await until(lambda: bool(machine.simulator.token_calls()))
    assert await status_of(app, f"{admin}/startupz") == 200
    assert await status_of(app, f"{admin}/readyz") == 200
    assert not any(each.done() for each in asking)
    gate.set()
    assert await asyncio.gather(*asking) == [200] * 20
    assert len(machine.simulator.token_calls()) == 1


async def test_nobody_is_held_for_longer_than_wait_though_the_first_token_never_comes(
    machine: Machine, app: ClientSession
) -> None:
    machine.simulator.faults.add(Fault(path=TOKEN_PATH, hang=True))
    # The loop's timers count whole milliseconds, from when its turn began: one may ring that much early.
    process = await machine.start(env=machine.with_grant() | {f"{SETTING}WAIT": "301ms"})
    url = await process.url()
    async with asyncio.timeout(AT_ONCE):
        status, waiting_helps, why = await asked(app, url)
    assert (status, waiting_helps) == (503, True)
    assert "0.301 s" in why
    (line,) = await process.accesses(1)
    assert line["ms"] >= 300


def test_wait_is_ten_seconds_unless_the_configuration_says_otherwise() -> None:
    (wait,) = [field for field in msgspec.structs.fields(OAuth2Credential) if field.name == "wait"]
    assert wait.default == 10


@pytest.mark.parametrize("why", ["no refresh token", "invalid_grant"])
async def test_a_dead_credential_answers_at_once(machine: Machine, app: ClientSession, why: str) -> None:
    """Nobody is told to come back, either: only a person can help."""
    env = machine.with_grant() | PATIENT
    if why == "no refresh token":
        del env[SEED]
    machine.simulator.revoke_grants()
    process = await machine.start(env=env)
    url = await process.url()
    for _ in range(2):
        async with asyncio.timeout(AT_ONCE):
            status, waiting_helps, said = await asked(app, url)
        assert (status, waiting_helps) == (503, False)
        assert why in said
        assert "pandadoc-proxy login" in said


async def test_a_credential_that_backs_off_answers_at_once_and_says_when_to_come_back(
    machine: Machine, app: ClientSession
) -> None:
    """The pause before the next try is not spent with callers in hand: that try would hang."""
    throttled = Fault(path=TOKEN_PATH, status=429, headers=(("Retry-After", "60"),), times=1)
    machine.simulator.faults.add(throttled)
    machine.simulator.faults.add(Fault(path=TOKEN_PATH, hang=True))
    process = await machine.start(env=machine.with_grant() | PATIENT)
    url = await process.url()
    for _ in range(3):
        async with asyncio.timeout(AT_ONCE):
            status, waiting_helps, _ = await asked(app, url)
        assert (status, waiting_helps) == (503, True)
    assert len(machine.simulator.token_calls()) == 1
