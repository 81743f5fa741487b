"""Which event loop everything runs on."""

import asyncio
import sys

import pytest
from commands.process import Machine

from proxy import event_loop


@pytest.mark.parametrize(
    ("choice", "package"), [(None, "uvloop"), ("", "uvloop"), ("uvloop", "uvloop"), ("asyncio", "asyncio")]
)
def test_it_is_uvloops_unless_another_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, choice: str | None, package: str
) -> None:
    if choice is None:
        monkeypatch.delenv(event_loop.CHOICE, raising=False)
    else:
        monkeypatch.setenv(event_loop.CHOICE, choice)
    with asyncio.Runner(loop_factory=event_loop.factory()) as runner:
        assert type(runner.get_loop()).__module__.partition(".")[0] == package


@pytest.mark.parametrize("command", ["run", "check"])
async def test_another_choice_is_refused_with_what_to_write(machine: Machine, command: str) -> None:
    env = machine.with_api_key() | {event_loop.CHOICE: "twisted"}
    process = await machine.start(command, env=env, program=(sys.executable, "-m", "proxy"))
    assert await process.ended() == 2
    assert process.err == ["PANDADOC_PROXY_EVENT_LOOP is 'twisted': write uvloop or asyncio"]
