"""SIGHUP and a changed file: a running process takes a new configuration, or tells why it does not."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import ClientSession
from commands.process import MEMBER, Machine, Process, status_of
from rig import until

ROUNDS = 5


@pytest.fixture
def config(machine: Machine) -> Path:
    return machine.home / "config.yaml"


def write(path: Path, **settings: Any) -> None:
    """Replace the file in one step, as Kubernetes and careful editors do."""
    fresh = path.with_suffix(".new")
    fresh.write_text(yaml.safe_dump(settings))
    fresh.replace(path)


async def started(machine: Machine, config: Path) -> Process:
    return await machine.start("run", "--config", str(config), env=machine.with_api_key())


DENYING = {"rules": [{"deny": "/public/v1/members/**"}]}


async def test_sighup_takes_a_changed_file_at_once(machine: Machine, app: ClientSession, config: Path) -> None:
    write(config, log={"level": "info"})
    process = await started(machine, config)
    url = await process.url()
    assert await status_of(app, url + MEMBER) == 200
    write(config, policy=DENYING)
    process.signal(signal.SIGHUP)
    await process.said("the configuration is reloaded")
    assert await status_of(app, url + MEMBER) == 403
    process.signal(signal.SIGTERM)
    assert await process.ended() == 0


async def test_a_changed_file_is_noticed_without_a_signal(machine: Machine, app: ClientSession, config: Path) -> None:
    write(config)
    process = await started(machine, config)
    url = await process.url()
    write(config, policy=DENYING)
    await process.said("the configuration is reloaded")
    assert await status_of(app, url + MEMBER) == 403


async def test_a_bad_configuration_is_told_with_every_fault_and_the_old_one_serves_on(
    machine: Machine, app: ClientSession, config: Path
) -> None:
    write(config)
    process = await started(machine, config)
    url = await process.url()
    write(config, upstrem={}, policy={"rules": [{"deny": "DELTE /x"}]})
    process.signal(signal.SIGHUP)
    await process.said("not taken", "upstrem: unknown key")
    await process.said("not taken", "policy.rules.0.deny: methods are")
    assert await status_of(app, url + MEMBER) == 200
    write(config, policy=DENYING)
    await process.said("the configuration is reloaded")
    assert await status_of(app, url + MEMBER) == 403


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("named", [True, False])
async def test_a_file_that_is_gone_takes_no_policy_with_it(
    machine: Machine, app: ClientSession, *, named: bool, asked: bool
) -> None:
    """Nothing but the defaults would be left, which allow more; and when it is back, it is what is looked at."""
    config = machine.folder / "config.yaml"
    write(config, policy=DENYING)
    env = machine.with_api_key()
    process = await (machine.start("run", "--config", str(config), env=env) if named else machine.start(env=env))
    url = await process.url()
    config.unlink()
    if asked:
        process.signal(signal.SIGHUP)
    await process.said("not taken", "config.yaml: the file is gone: put it back")
    assert await status_of(app, url + MEMBER) == 403
    write(config, log={"level": "info"})
    await process.said("the configuration is reloaded")
    assert await status_of(app, url + MEMBER) == 200


async def test_a_file_that_has_become_empty_takes_no_policy_with_it(
    machine: Machine, app: ClientSession, config: Path
) -> None:
    """As a copy leaves it on a disk that is full. It is told, though nothing else would be wrong with it."""
    write(config, policy=DENYING)
    process = await started(machine, config)
    url = await process.url()
    config.write_text("# nothing but this\n")
    await process.said("not taken", "config.yaml: the file has no keys any more")
    assert await status_of(app, url + MEMBER) == 403


async def test_a_file_that_never_had_a_key_may_go_on_without(machine: Machine, config: Path) -> None:
    config.write_text("")
    process = await started(machine, config)
    await process.url()
    process.signal(signal.SIGHUP)
    await process.said("the configuration is what it was")


async def test_a_pipe_is_read_once(machine: Machine, app: ClientSession) -> None:
    """`--config <(…)` of a shell: a second reading would find nothing."""
    read, write = os.pipe()
    os.write(write, yaml.safe_dump({"policy": DENYING}).encode())
    os.close(write)
    process = await machine.start("run", "--config", "/dev/stdin", env=machine.with_api_key(), stdin=read)
    os.close(read)
    url = await process.url()
    assert await status_of(app, url + MEMBER) == 403
    process.signal(signal.SIGHUP)
    await process.said("not taken", "/dev/stdin: the file has no keys any more")
    assert await status_of(app, url + MEMBER) == 403
    process.signal(signal.SIGTERM)
    assert await process.ended() == 0
    assert sum("not taken" in line for line in process.err) == 1


async def test_sighup_without_a_change_changes_nothing(machine: Machine, app: ClientSession, config: Path) -> None:
    write(config)
    process = await started(machine, config)
    url = await process.url()
    process.signal(signal.SIGHUP)
    await process.said("the configuration is what it was")
    assert await status_of(app, url + MEMBER) == 200


async def test_a_refused_configuration_that_is_put_back_is_told(machine: Machine, config: Path) -> None:
    """Whoever mended it looks at the log for whether that has helped."""
    write(config)
    before = config.read_text()
    process = await started(machine, config)
    await process.url()
    config.write_text("polcy: {}\n")
    await process.said("not taken", "unknown key")
    config.write_text(before)
    await process.said("the configuration is what it was")


async def test_no_request_fails_while_policy_key_and_listeners_change(
    machine: Machine, app: ClientSession, config: Path, unused_tcp_port: int
) -> None:
    await change_under_load(machine, app, config, unused_tcp_port, ROUNDS)


async def change_under_load(machine: Machine, app: ClientSession, config: Path, port: int, rounds: int) -> None:
    """Reload so many times while apps ask all the time; every one of their requests must be answered 200."""
    key = machine.home / "key"
    keys = [machine.simulator.issue_api_key() for _ in range(rounds + 1)]
    machine.secrets.update(keys)
    key.write_text(keys[0])

    def settings(number: int) -> dict[str, Any]:
        extra = [{"bind": f"127.0.0.1:{port}"}] if number % 2 else []
        return {
            "listeners": [{"bind": "127.0.0.1:0"}, *extra],
            "admin": {"bind": "127.0.0.1:0"},
            "upstream": {"url": machine.simulator.url, "max_connections": 50 + number},
            "credentials": {"default": {"api_key": {"file": str(key)}}},
            "policy": {"rules": [{"deny": f"/public/v1/nothing-{number}"}]},
        }

    write(config, **settings(0))
    process = await machine.start("run", "--config", str(config), env={"HOME": str(machine.home)})
    url = await process.url()
    over, statuses = asyncio.Event(), list[int]()

    async def ask() -> None:
        while not over.is_set():
            statuses.append(await status_of(app, url + MEMBER))

    asking = [asyncio.ensure_future(ask()) for _ in range(8)]
    for number in range(1, rounds + 1):
        key.write_text(keys[number])
        write(config, **settings(number))
        process.signal(signal.SIGHUP)
        told = f"127.0.0.1:{port} lends" if number % 2 else "the configuration is reloaded"
        await process.said(told)
        await until(lambda number=number: _reloads(process) >= number)  # type: ignore[misc]
        enough = len(statuses) + 20
        await until(lambda enough=enough: len(statuses) > enough)  # type: ignore[misc]
    over.set()
    await asyncio.gather(*asking)
    assert set(statuses) == {200}
    process.signal(signal.SIGTERM)
    assert await process.ended() == 0


def _reloads(process: Process) -> int:
    return sum("the configuration is reloaded" in line for line in process.err)
