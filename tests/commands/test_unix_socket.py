"""A process at a unix socket: it is nobody else's, a crash does not block it, and its end removes it."""

import signal
import stat
from pathlib import Path

import aiohttp
import pytest
from commands.process import MEMBER, Machine, Process

BIND = "PANDADOC_PROXY__LISTENERS__0__BIND"
OWNER = "PANDADOC_PROXY__LISTENERS__0__OWNER"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "proxy.sock"


def env_at(machine: Machine, path: Path) -> dict[str, str]:
    return machine.with_api_key() | {BIND: f"unix:{path}"}


async def serving(process: Process, path: Path) -> int:
    await process.said(f"unix:{path} lends credential ")
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as app,
        app.get(f"http://localhost{MEMBER}") as answer,
    ):
        return answer.status


async def test_a_socket_left_by_a_crash_makes_way_and_one_that_lives_does_not(machine: Machine, path: Path) -> None:
    env = env_at(machine, path)
    crashed = await machine.start(env=env)
    assert await serving(crashed, path) == 200
    crashed.signal(signal.SIGKILL)
    await crashed.ended()
    assert path.is_socket()
    process = await machine.start(env=env)
    assert await serving(process, path) == 200
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    late = await machine.run(env=env)
    assert late.code == 1
    (line,) = late.err.splitlines()
    assert line.startswith(f"can't start: unix:{path}: the address is in use: ")
    assert (await machine.run("healthcheck", env=env)).code == 0
    process.signal(signal.SIGTERM)
    assert await process.ended() == 0
    assert not path.exists()


async def test_what_is_in_its_way_is_left_alone(machine: Machine, path: Path) -> None:
    path.write_text("precious")
    ended = await machine.run(env=env_at(machine, path))
    assert ended.code == 1
    assert ended.err.startswith(f"can't start: unix:{path}: something that is no socket is there. ")
    assert path.read_text() == "precious"


async def test_an_owner_whom_nobody_knows_is_a_fault_of_the_configuration(machine: Machine, path: Path) -> None:
    ended = await machine.run(env=env_at(machine, path) | {OWNER: "nobody-of-that-name"})
    assert ended.code == 2
    assert f"{OWNER}: listeners.0.owner: this machine knows no such user" in ended.err
