"""Options whose values look right and are not: a command says so in a sentence."""

import pytest
from commands.process import PROXY, Machine


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
    assert "Name or service not known" in said


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("wait",), "write --config behind the command: wait --config F"),
        (("token", "status"), "behind the command: token status --config F or token refresh --config F"),
        (("demo",), "demo takes no configuration"),
        (("simulator",), "simulator takes no configuration"),
    ],
)
async def test_a_configuration_before_the_command_is_told_where_it_goes(
    machine: Machine, command: tuple[str, ...], said: str
) -> None:
    ended = await machine.run("--config", "F", *command)
    assert (ended.code, ended.err.endswith(said)) == (2, True)


FULL = ("sh", "-c", 'exec "$@" >/dev/full', "sh", *map(str, PROXY))


@pytest.mark.parametrize("asked", [("--help",), ("--version",), ("token", "status", "--help")])
async def test_what_help_can_not_be_written_to_is_told_in_a_sentence(machine: Machine, asked: tuple[str, ...]) -> None:
    ended = await machine.run(*asked, program=FULL)
    assert (ended.code, ended.err) == (1, "can't go on: [Errno 28] No space left on device")


async def test_a_simulator_serves_though_its_words_are_taken_elsewhere_alone(machine: Machine) -> None:
    process = await machine.start("simulator", "--port", "0", env={}, program=FULL)
    assert "a PandaDoc stand-in at http://" in await process.said("a PandaDoc stand-in at")
    assert process.running
