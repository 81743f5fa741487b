"""A login in a real browser: Debian's chromium, headless, clicks through the simulator's consent page."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession
from commands.process import MEMBER, Machine, Process, poll, status_of
from commands.test_login import address_of, configuration, env
from playwright.async_api import Page, async_playwright


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    """Open a page. Its browser loads nothing but what stands on loopback."""
    chromium = shutil.which("chromium")
    assert chromium, "install Debian's package chromium"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"],
        )
        yield await browser.new_page()
        await browser.close()


@pytest.fixture
def back(unused_tcp_port: int) -> str:
    return f"http://127.0.0.1:{unused_tcp_port}/callback"


async def login(machine: Machine) -> Process:
    return await machine.start("login", "--no-browser", env=env(machine), stdin=asyncio.subprocess.PIPE)


async def test_a_person_agrees_in_a_browser_and_a_running_proxy_is_healed(
    machine: Machine, app: ClientSession, page: Page, back: str
) -> None:
    configuration(machine, back)
    proxy = await machine.start(env=env(machine))
    url = await proxy.url()
    assert await status_of(app, url + MEMBER) == 503
    command = await login(machine)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    await page.goto(str(await address_of(command)))
    await page.click("#allow")
    await page.get_by_role("heading", name="Logged in").wait_for()
    assert "Simulated Member <member@example.com>" in await page.inner_text("main")
    await keep_picture(page, "login-done")
    assert await command.ended() == 0
    asked = [request.split("?")[0] for request in requests if not request.startswith("data:")]
    authorize = f"{machine.simulator.url}/oauth2/authorize"
    assert asked == [authorize, authorize, back]  # the page, the click, the way back; no page loads anything

    async def healed() -> bool:
        return await status_of(app, url + MEMBER) == 200

    await poll(healed, seconds=5)


async def test_a_person_declines_in_a_browser(machine: Machine, page: Page, back: str) -> None:
    configuration(machine, back)
    command = await login(machine)
    await page.goto(str(await address_of(command)))
    await page.click("#deny")
    await page.get_by_role("heading", name="Not logged in").wait_for()
    await keep_picture(page, "login-declined")
    assert await command.ended() == 1


async def test_a_page_of_somebody_elses_cant_end_a_login_nor_win_it(
    machine: Machine, page: Page, back: str, tmp_path: Path
) -> None:
    """It knows the callback's address and has a code of its own account, but not the login's state."""
    configuration(machine, back)
    command = await login(machine)
    address = await address_of(command)
    evil = tmp_path / "evil.html"
    evil.write_text(f'<a id="lure" href="{back}?code={machine.simulator.issue_code()}&state=x">win</a>')
    await page.goto(evil.as_uri())
    await page.click("#lure")
    await page.get_by_role("heading", name="Not logged in").wait_for()
    assert command.running
    await page.goto(str(address))
    await page.click("#allow")
    await page.get_by_role("heading", name="Logged in", exact=True).wait_for()
    assert await command.ended() == 0


async def test_a_browser_that_is_closed_leaves_the_pasting(machine: Machine, page: Page, back: str) -> None:
    configuration(machine, back)
    command = await login(machine)
    await page.goto(str(await address_of(command)))
    await page.close()
    await command.type(machine.simulator.issue_code())
    assert await command.ended() == 0


async def keep_picture(page: Page, name: str) -> None:
    """Save what a person would see, light and dark, where PICTURES says."""
    if folder := os.environ.get("PICTURES"):
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme)
            await page.screenshot(path=f"{folder}/{name}-{scheme}.png")
