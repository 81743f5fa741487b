"""`python -m proxy`: how a process starts, from files and from the environment alone, and how it does not."""

import os
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import ClientSession
from commands.process import MEMBER, ROOT, SCRIPT, Machine, status_of


@pytest.fixture
def taken() -> Iterator[str]:
    """Take an address, so that nobody else can have it."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        yield f"127.0.0.1:{holder.getsockname()[1]}"


@pytest.mark.parametrize("with_file", [True, False], ids=["the shipped config.yaml", "no file at all"])
async def test_an_api_key_in_the_environment_is_all_it_needs(
    machine: Machine, app: ClientSession, *, with_file: bool
) -> None:
    """The promise of the README's first screen, both ways."""
    process = await machine.start(env=machine.with_api_key(), cwd=ROOT if with_file else None)
    assert await status_of(app, await process.url() + MEMBER) == 200
    (call,) = machine.simulator.api_calls()
    assert [value.partition(" ")[0] for value in call.authorization] == ["API-Key"]


async def test_the_installed_command_runs_the_proxy_too(machine: Machine, app: ClientSession) -> None:
    process = await machine.start("run", env=machine.with_api_key(), program=(SCRIPT,))
    assert await status_of(app, await process.url() + MEMBER) == 200


async def test_a_grant_in_the_environment_is_redeemed_once_and_survives_a_restart(
    machine: Machine, app: ClientSession
) -> None:
    """The refresh token is single-use: a process that forgot it would need a person."""
    env = machine.with_grant()
    for _ in range(2):
        process = await machine.start(env=env)
        assert await status_of(app, await process.url() + MEMBER) == 200
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0
        assert [line["generation"] for line in process.access] == [1]
    assert len(machine.simulator.token_calls()) == 1
    assert len({call.authorization for call in machine.simulator.api_calls()}) == 1


async def test_what_is_stored_is_for_the_owners_eyes_alone(machine: Machine, app: ClientSession) -> None:
    """The store holds the one thing that opens the account; its default place is the XDG state folder."""
    process = await machine.start(env=machine.with_grant())
    assert await status_of(app, await process.url() + MEMBER) == 200
    (store,) = machine.stored()
    assert stat.S_IMODE(store.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.parent.stat().st_mode) == 0o700


async def test_a_store_whose_path_is_no_utf_8_is_told_of_everywhere(machine: Machine, app: ClientSession) -> None:
    """A path is bytes, and JSON is not."""
    home = os.fsdecode(os.fsencode(machine.home) + b"/st-\xff")
    Path(home).mkdir()
    (Path(home) / "pandadoc-proxy").write_text("a file where a folder should be")
    process = await machine.start(env=machine.with_grant() | {"XDG_STATE_HOME": home})
    async with app.get(await process.url() + MEMBER) as answer:
        told = await answer.json(content_type="application/problem+json")
    assert (answer.status, told["status"]) == (503, 503)
    assert "st-\\udcff/pandadoc-proxy" in told["detail"]
    admin = await process.admin_url()
    for page in ("/status", "/", "/metrics"):
        assert await status_of(app, admin + page) == 200
    (access,) = await process.accesses(1)
    assert (access["status"], access["level"]) == (503, "warning")
    assert "st-\\udcff/pandadoc-proxy" in access["fault"]
    ended = await machine.run("token", "status", "--json", env=machine.with_grant() | {"XDG_STATE_HOME": home})
    assert "st-\\\\udcff/pandadoc-proxy" in ended.out


@pytest.mark.parametrize("named_by", ["option", "variable"])
async def test_a_bad_configuration_is_told_whole_and_nothing_is_bound(
    machine: Machine, tmp_path: Path, taken: str, named_by: str
) -> None:
    """Exit 2 and every fault at once. The address is taken: an attempt to bind it would be told as well."""
    file = tmp_path / "bad.yaml"
    file.write_text(f"listeners: [{{bind: {taken}}}]\nlog: {{level: loud}}\nupstraem: https://api.pandadoc.com\n")
    argv, env = (
        (["run", "--config", str(file)], {}) if named_by == "option" else ([], {"PANDADOC_PROXY_CONFIG": str(file)})
    )
    ended = await machine.run(*argv, env=env | {"PANDADOC_PROXY__LIMITS__MAX_HEADERS": "many"})
    assert ended.code == 2
    assert ended.out == ""
    for fault in (
        f"{file}:2: log.level: ",
        f"{file}:3: upstraem: ",
        "PANDADOC_PROXY__LIMITS__MAX_HEADERS: limits.max_headers: ",
        "PANDADOC_API_KEY",  # what to set, for there is no credential
    ):
        assert sum(fault in line for line in ended.err.splitlines()) == 1, fault
    assert "can't start" not in ended.err


async def test_two_credentials_in_the_environment_are_one_too_many(machine: Machine) -> None:
    """Which of the two was meant is not for us to guess."""
    ended = await machine.run(env=machine.with_grant() | machine.with_api_key())
    assert ended.code == 2
    assert "PANDADOC_API_KEY" in ended.err
    assert "PANDADOC_CLIENT_ID" in ended.err


@pytest.mark.parametrize("who", ["LISTENERS__0", "ADMIN"])
async def test_an_address_that_is_taken_is_told_in_one_line(machine: Machine, taken: str, who: str) -> None:
    """Exit 1: the configuration is well-formed, the machine is not free."""
    ended = await machine.run(env=machine.with_api_key() | {f"PANDADOC_PROXY__{who}__BIND": taken})
    assert ended.code == 1
    (line,) = ended.err.splitlines()
    assert "can't start" in line
    assert taken.rpartition(":")[2] in line
