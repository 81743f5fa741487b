"""The README's first command: the story is told, and what it tells happened."""

import asyncio

import pytest

from proxy import demo


@pytest.fixture(autouse=True)
def _short_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "LIFETIME", 1)


async def never() -> None:
    raise AssertionError("nobody waits with --once")


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
    told = ""
    async with asyncio.timeout(20):
        while "curl" not in told:
            await asyncio.sleep(0.05)
            told += capsys.readouterr().out
    assert not telling.done()
    end.set()
    assert await telling == 0


async def test_a_story_that_does_not_hold_is_told_and_is_an_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "WHO_AM_I", "/public/v1/nobody")
    assert await demo.play(once=True, until=never) == 1
    assert "The story broke: the app was not answered 200" in capsys.readouterr().err
