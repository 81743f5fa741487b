"""`pandadoc-proxy check`, `--version`, `--help`, and what is no command at all: said at once, nothing sent."""

import asyncio
import re

import pytest
from commands.process import ROOT, SCRIPT, Machine

from proxy import __version__

COMMANDS = ("run", "check", "healthcheck", "simulator")


async def test_check_tells_what_would_be_sent_where_and_sends_nothing(machine: Machine) -> None:
    """The dry run names the variable a secret comes from, and shows no secret (the machine looks for it)."""
    ended = await machine.run("check", env=machine.with_api_key(), cwd=ROOT)
    assert (ended.code, ended.err) == (0, "")
    assert "Configuration: config.yaml" in ended.out
    assert f"GET {machine.simulator.url}/public/v1/documents" in ended.out
    assert "Authorization: API-Key *** (from $PANDADOC_API_KEY)" in ended.out
    assert machine.simulator.journal == []


async def test_check_tells_how_a_grant_would_be_kept_alive(machine: Machine) -> None:
    """Without a file too; neither the seed nor the client's secret is shown, and nothing is redeemed or stored."""
    ended = await machine.run("check", env=machine.with_grant())
    assert (ended.code, ended.err) == (0, "")
    assert "no file" in ended.out
    assert f"POST {machine.simulator.url}/oauth2/access_token" in ended.out
    assert "first refresh token from $PANDADOC_REFRESH_TOKEN" in ended.out
    assert machine.simulator.journal == []
    assert machine.stored() == []


async def test_check_refuses_what_run_would_refuse(machine: Machine) -> None:
    ended = await machine.run("check", env=machine.with_api_key() | {"PANDADOC_PROXY__LOG__LEVEL": "loud"})
    assert (ended.code, ended.out) == (2, "")
    assert "log.level" in ended.err


async def test_the_version_is_told_by_the_module_and_by_the_installed_command(machine: Machine) -> None:
    module, script = await asyncio.gather(machine.run("--version"), machine.run("--version", program=(SCRIPT,)))
    assert module == script
    assert module.code == 0
    assert __version__ in module.out


async def test_help_names_every_command_and_is_there_for_each(machine: Machine) -> None:
    """Asking for help needs no configuration."""
    whole = await machine.run("--help")
    each = await asyncio.gather(*(machine.run(command, "--help") for command in COMMANDS))
    assert [ended.code for ended in (whole, *each)] == [0] * (1 + len(COMMANDS))
    for command, ended in zip(COMMANDS, each, strict=True):
        assert re.search(rf"(?m)^  {command} ", whole.out)
        assert command in ended.out


@pytest.mark.parametrize("argv", [("--colour",), ("run", "--port", "1"), ("walk",)])
async def test_usage_that_is_none_is_exit_2(machine: Machine, argv: tuple[str, ...]) -> None:
    """Whatever the environment: an entrypoint with a typo must not look like a proxy that failed."""
    ended = await machine.run(*argv, env=machine.with_api_key())
    assert (ended.code, ended.out) == (2, "")
    assert "Usage:" in ended.err
