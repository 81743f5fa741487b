"""Options whose values look right and are not: a command says so in a sentence."""

import pytest
from commands.process import Machine


@pytest.mark.parametrize("number", ["nan", "inf", "1e999"])
@pytest.mark.parametrize("command", [("simulator", "--port", "0", "--rate-window"), ("login", "--timeout")])
async def test_seconds_that_never_pass_are_refused(machine: Machine, command: tuple[str, ...], number: str) -> None:
    ended = await machine.run(*command, number)
    assert ended.code == 2
    assert f"Invalid value for '{command[-1]}': must be finite" in ended.err


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("host", ["a" * 70, "a..b"])
async def test_a_host_that_can_be_no_name_is_one_that_is_not_known(machine: Machine, host: str, loop: str) -> None:
    env = {"PANDADOC_PROXY_EVENT_LOOP": loop}
    process = await machine.start("simulator", "--port", "0", "--host", host, env=env)
    assert await process.ended() == 1
    (said,) = process.err
    assert said.startswith("can't start: ")
    assert said.endswith("Name or service not known")
