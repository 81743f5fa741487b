"""The demo as a process: the README's first command."""

import signal
from pathlib import Path

import pytest
from commands.process import PROXY, Machine
from rig import until


async def test_the_demo_tells_its_story_and_checks_it(machine: Machine) -> None:
    ended = await machine.run("demo", "--once", env={})
    assert ended.code == 0
    assert "the app never held a credential" in ended.out
    assert ended.err == ""


async def test_the_story_holds_though_its_words_are_taken_elsewhere_alone(machine: Machine) -> None:
    ended = await machine.run("demo", "--once", env={}, program=("sh", "-c", 'exec "$@" >/dev/full', "sh", *PROXY))
    assert ended.code == 0
    assert "the app never held a credential" in ended.err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_story_that_is_broken_off_leaves_nothing_behind(
    machine: Machine, tmp_path: Path, number: signal.Signals
) -> None:
    (tmp_path / "tmp").mkdir()
    process = await machine.start("demo", env={"TMPDIR": str(tmp_path / "tmp")})
    await until(lambda: any("seconds later" in line for line in process.out))
    assert list((tmp_path / "tmp").iterdir())
    process.signal(number)
    assert await process.ended() == 1
    assert not list((tmp_path / "tmp").iterdir())
