"""`pandadoc-proxy simulator`: what it prints is what an app, or a proxy, needs to talk to it."""

import asyncio
import re

import aiohttp
import pytest

from proxy.simulator.command import simulate


async def welcome(capsys: pytest.CaptureFixture[str]) -> str:
    """Wait for what it prints when it serves."""
    printed = ""
    async with asyncio.timeout(10):
        while "switches:" not in printed:
            await asyncio.sleep(0)
            printed += capsys.readouterr().out
    return printed


async def test_the_printed_credentials_open_it(capsys: pytest.CaptureFixture[str]) -> None:
    end = asyncio.Event()
    running = asyncio.create_task(simulate("127.0.0.1", 0, 60, rotate=True, until=end.wait))
    printed = await welcome(capsys)
    given = dict(re.findall(r"(PANDADOC_\w+)=(\S+)", printed))
    url = given["PANDADOC_PROXY__UPSTREAM__URL"]
    assert f"consent page: {url}/oauth2/authorize" in printed
    form = {
        "grant_type": "refresh_token",
        "client_id": given["PANDADOC_CLIENT_ID"],
        "client_secret": given["PANDADOC_CLIENT_SECRET"],
        "refresh_token": given["PANDADOC_REFRESH_TOKEN"],
    }
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{url}/oauth2/access_token", data=form) as answer:
            assert (await answer.json())["expires_in"] == 60
        key = {"Authorization": f"API-Key {given['PANDADOC_API_KEY']}"}
        async with session.get(f"{url}/public/v1/members/current", headers=key) as answer:
            assert answer.status == 200
    end.set()
    assert await running == 0


@pytest.mark.parametrize(("limits", "enforced"), [("off", {}), ("sandbox", {"all": 10})])
async def test_it_enforces_the_rate_limits_that_it_is_told_to(
    capsys: pytest.CaptureFixture[str], limits: str, enforced: dict[str, int]
) -> None:
    end = asyncio.Event()
    serving = simulate("127.0.0.1", 0, 60, rotate=True, until=end.wait, rate_limits=limits, rate_window=2.5)
    running = asyncio.create_task(serving)
    (url,) = re.findall(r"UPSTREAM__URL=(\S+)", await welcome(capsys))
    async with aiohttp.ClientSession() as session, session.get(f"{url}/_simulator/state") as answer:
        state = await answer.json()
    assert (state["rate_limits"], state["rate_window"]) == (enforced, 2.5)
    end.set()
    assert await running == 0
