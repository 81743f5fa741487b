"""The README's first command: the story is told, and what it tells happened."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import pytest

from proxy import demo
from proxy.simulator import Fault, Simulator


@pytest.fixture(autouse=True)
def _short_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "LIFETIME", 1)


async def never() -> None:
    raise AssertionError("nobody waits with --once")


async def heard(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Wait until the demo has told them."""
    told = ""
    async with asyncio.timeout(20):
        while words not in told:
            await asyncio.sleep(0)
            told += capsys.readouterr().out


async def test_the_story_holds(capsys: pytest.CaptureFixture[str]) -> None:
    assert await demo.play(once=True, until=never) == 0
    told = capsys.readouterr().out
    assert told.count("no Authorization") == 4
    assert told.count("the refresh token is redeemed") == 3
    assert "► 401" in told
    assert "◄ 401" not in told


async def test_it_stays_up_for_curl_until_it_is_told_to_end(capsys: pytest.CaptureFixture[str]) -> None:
    end = asyncio.Event()
    telling = asyncio.create_task(demo.play(once=False, until=end.wait))
    await heard("curl", capsys)
    assert not telling.done()
    end.set()
    assert await telling == 0


async def test_a_story_that_does_not_hold_is_told_and_is_an_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "WHO_AM_I", "/public/v1/nobody")
    assert await demo.play(once=True, until=never) == 1
    assert "The story broke: the app was not answered 200" in capsys.readouterr().err


@pytest.mark.parametrize("turns", range(0, 12, 2))
async def test_whoever_ends_it_in_its_first_request_finds_no_folder_left(
    turns: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refresh that begins while all ends would make its store anew."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    telling = asyncio.create_task(demo.play(once=True, until=never))
    await heard("no Authorization", capsys)
    for _ in range(turns):
        await asyncio.sleep(0)
    telling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await telling
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert list(tmp_path.iterdir()) == []


async def test_its_end_waits_for_no_answer_that_never_comes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent(Simulator):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            self.faults.add(Fault(hang=True))

    monkeypatch.setattr(demo, "Simulator", Silent)
    monkeypatch.setattr(demo, "PARTING", 0.5)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    telling = asyncio.create_task(demo.play(once=True, until=never))
    await heard("no Authorization", capsys)
    telling.cancel()
    async with asyncio.timeout(20):
        await asyncio.wait({telling})
    assert telling.cancelled()
    assert list(tmp_path.iterdir()) == []
