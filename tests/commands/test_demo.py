"""The demo as a process: the README's first command."""

from commands.process import Machine


async def test_the_demo_tells_its_story_and_checks_it(machine: Machine) -> None:
    ended = await machine.run("demo", "--once", env={})
    assert ended.code == 0
    assert "the app never held a credential" in ended.out
    assert ended.err == ""
