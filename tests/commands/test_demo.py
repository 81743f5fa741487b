"""The demo as a process: the README's first command."""

from commands.process import PROXY, Machine


async def test_the_demo_tells_its_story_and_checks_it(machine: Machine) -> None:
    ended = await machine.run("demo", "--once", env={})
    assert ended.code == 0
    assert "the app never held a credential" in ended.out
    assert ended.err == ""


async def test_the_story_holds_though_its_words_are_taken_elsewhere_alone(machine: Machine) -> None:
    ended = await machine.run("demo", "--once", env={}, program=("sh", "-c", 'exec "$@" >/dev/full', "sh", *PROXY))
    assert ended.code == 0
    assert "the app never held a credential" in ended.err
