"""Options whose values look right and are not: they are refused before anything begins."""

import pytest
from commands.process import Machine


@pytest.mark.parametrize("number", ["nan", "inf", "1e999"])
@pytest.mark.parametrize("command", [("simulator", "--port", "0", "--rate-window"), ("login", "--timeout")])
async def test_seconds_that_never_pass_are_refused(machine: Machine, command: tuple[str, ...], number: str) -> None:
    ended = await machine.run(*command, number)
    assert ended.code == 2
    assert f"Invalid value for '{command[-1]}': must be finite" in ended.err
