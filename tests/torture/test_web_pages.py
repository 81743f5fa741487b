"""Pages in a real chromium that want to borrow the credential of a running proxy (law 19).

A page must read nothing, and nothing of what it sends may go up. Each attack has a path of its own and is seen from
both ends: from the page, and from the proxy's access log and PandaDoc's journal, in which at the same path an app
without a browser must be found. Chromium's own protection of this machine is off: who refuses is the proxy.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from aiohttp import ClientSession
from commands.process import LENDING, MEMBER, Machine, Process, status_of
from playwright.async_api import Browser, BrowserContext, Page
from rig import until
from torture import evil
from torture.attacks import ATTACKS, BLIND, DEPARTURES, Attack
from torture.evil import Website, browse, filled
from yarl import URL

from proxy.simulator import Simulator

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAMES: Final = {
    "127.0.0.1": 403,
    "127.1": 403,
    "2130706433": 403,
    "localhost": 403,
    "localhost.": 403,
    "[::1]": 403,
    "foo.localhost": 421,
    "0.0.0.0": 421,  # noqa: S104 - nothing is bound to it
    "0": 421,
    "[::]": 421,
    "[::ffff:127.0.0.1]": 421,
    "evil.example": 421,
    "evil.example.": 421,
    "localhost.evil.example": 421,
    "127.0.0.1.evil.example": 421,
}
"""What may stand in a URL for this machine, and the answer. From 0.0.0.0 on, chromium sends no Sec-Fetch-Site there."""

REBOUND: Final = {"evil.example": 421, "localhost.evil.example": 421, "localhost": 403, "127.0.0.1": 403}
"""Hosts of pages that were there at the proxy's port before it: the first two by DNS, the others in time."""

SAME_ORIGIN: Final = {
    "GET": "told(fetch('TARGET'))",
    "POST": "told(fetch('TARGET', {method: 'POST', body: '{}'}))",
    "DELETE": "told(fetch('TARGET', {method: 'DELETE'}))",
}


@dataclass
class Scene:
    """A proxy, an app, a browser. `judged` counts the journal's lines that a test has looked at."""

    machine: Machine
    proxy: Process
    url: str
    app: ClientSession
    context: BrowserContext
    judged: int = 0

    @asynccontextmanager
    async def visit(self, address: str) -> AsyncIterator[Page]:
        """Type an address into a new tab; close in the end whatever has been opened."""
        before = self.context.pages
        page = await self.context.new_page()
        try:
            await page.goto(address)
            yield page
        finally:
            for opened in self.context.pages:
                if opened not in before:
                    await opened.close()

    async def assert_an_app_alone_is_served(self, path: str, refused: str) -> None:
        """Wait for what comes to a path, then have an app ask for it: nothing else has gone up.

        How often a browser asks is its own affair: after a 421, chromium tries once more (RFC 9110 §15.5.20).
        """
        await until(lambda: bool(self.answers(path)))
        assert await status_of(self.app, self.url + path) == 404  # PandaDoc's own: it has no such document
        await until(lambda: "GET 404" in self.answers(path))
        assert (self.gone_up(), self.answers(path)) == ([f"GET {path}"], {refused, "GET 404"})

    def answers(self, path: str) -> set[str]:
        """Return how the proxy has answered at a path."""
        return {f"{line['method']} {line['status']}" for line in self.proxy.access if line["path"] == path}

    def gone_up(self) -> list[str]:
        """Return what has come to PandaDoc since the last look."""
        calls = self.machine.simulator.api_calls()[self.judged :]
        self.judged += len(calls)
        return [f"{call.method} {call.target}" for call in calls]


@asynccontextmanager
async def stage(home: Path, context: BrowserContext, env: dict[str, str]) -> AsyncIterator[Scene]:
    async with Simulator() as simulator, Machine(home, simulator) as machine, ClientSession() as app:
        proxy = await machine.start(env=machine.with_api_key() | env)
        yield Scene(machine, proxy, await proxy.url(), app, context)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def website() -> AsyncIterator[Website]:
    async with Website() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(website: Website) -> AsyncIterator[Browser]:
    async with browse(website) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    context = await browser.new_context()
    await context.new_page()  # stays: a context's first tab takes long to open
    home = tmp_path_factory.mktemp("scene")
    async with stage(home, context, {"PANDADOC_PROXY__LISTENERS__1__BIND": "[::1]:0"}) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rebound(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    """Have pages of another website open when the proxy takes its place."""
    context = await browser.new_context()
    async with Website() as earlier:
        for host in REBOUND:
            page = await context.new_page()
            await page.goto(f"http://{host}:{earlier.port}/")
            if host == "localhost":
                await learned(page, "serving().then(() => null)")
    bind = {"PANDADOC_PROXY__LISTENERS__0__BIND": f"127.0.0.1:{earlier.port}"}
    async with stage(tmp_path_factory.mktemp("rebound"), context, bind) as running:
        yield running


def path_of(name: str) -> str:
    return f"/public/v1/documents/{re.sub(r'[^a-z0-9]+', '-', name.lower())}"


async def learned(page: Page, script: str) -> Any:
    async with asyncio.timeout(15):
        return await page.evaluate(script) if script else None


async def leave(page: Page, script: str, where: str | re.Pattern[str]) -> None:
    """Have a page go elsewhere, by itself if there is no script, and wait until another is shown."""
    await learned(page, script and f"setTimeout(() => {{ {script} }}), null")
    await page.wait_for_url(where)


@pytest.mark.parametrize(("name", "attack"), ATTACKS.items(), ids=ATTACKS)
async def test_a_page_borrows_nothing_by(name: str, attack: Attack, scene: Scene, website: Website) -> None:
    path, here = path_of(name), f"http://{attack.at}:{website.port}"
    target = scene.url + path
    website.pages["/attack"] = attack.page.about(target, here)
    async with scene.visit(f"{here}/attack") as page:
        outcome = await learned(page, filled(attack.script, target, here))
        await scene.assert_an_app_alone_is_served(path, attack.refused)
        assert outcome == attack.learns
        statuses = await learned(page, f"performance.getEntriesByName('{target}').map(entry => entry.responseStatus)")
        assert set(statuses) <= {0}, "the page has seen how it was answered"


@pytest.mark.parametrize(("name", "attack"), DEPARTURES.items(), ids=DEPARTURES)
async def test_a_page_that_sends_its_visitor_there_shows_a_refusal(
    name: str, attack: Attack, scene: Scene, website: Website
) -> None:
    path, here = path_of(f"departure {name}"), f"http://{attack.at}:{website.port}"
    target = scene.url + path
    website.pages["/attack"] = attack.page.about(target, here)
    async with scene.visit(f"{here}/attack") as page:
        await leave(page, filled(attack.script, target, here), re.compile(re.escape(target)))
        assert json.loads(await page.inner_text("pre"))["status"] == 403
        await scene.assert_an_app_alone_is_served(path, attack.refused)


@pytest.mark.parametrize(("name", "status"), NAMES.items(), ids=NAMES)
async def test_no_name_of_this_machine_lets_a_page_in(name: str, status: int, scene: Scene, website: Website) -> None:
    """Not even blindly, by the one request that says nothing of its origin where Sec-Fetch-Site is not sent."""
    path = path_of(f"name {name}")
    target = f"http://{name}:{port_of(scene.proxy, name)}{path}"
    async with scene.visit(f"http://evil.example:{website.port}/") as page:
        assert await learned(page, filled(BLIND, target, "")) == "opaque 0"
        assert await learned(page, f"barred(framed({{src: '{target}'}}))") == "SecurityError"
    await scene.assert_an_app_alone_is_served(path, f"GET {status}")


def port_of(proxy: Process, name: str) -> int:
    """Return the port of the listener to which a name leads."""
    urls = [URL(found[1]) for line in proxy.err if (found := LENDING.search(line))]
    return next(url.port for url in urls if url.port and (url.host == "::1") == (name in {"[::1]", "[::]"}))


@pytest.mark.parametrize(("method", "script"), SAME_ORIGIN.items(), ids=SAME_ORIGIN)
@pytest.mark.parametrize(("host", "status"), REBOUND.items(), ids=REBOUND)
async def test_a_page_from_before_the_proxy_reads_a_refusal(
    host: str, status: int, method: str, script: str, rebound: Scene
) -> None:
    """It is of the same origin. So is, by DNS rebinding, any page that waits until its name means this machine."""
    path = path_of(f"{host} {method}")
    page = next(page for page in rebound.context.pages if URL(page.url).host == host)
    outcome = await learned(page, filled(script, path, ""))
    await rebound.assert_an_app_alone_is_served(path, f"{method} {status}")
    assert outcome == f"basic {status}"


async def test_a_worker_from_before_the_proxy_reads_nothing_that_a_person_asks_for(rebound: Scene) -> None:
    """Navigation preload gives it the answer to an address that was typed; the request says so."""
    path = path_of("typed above a worker")
    async with rebound.visit(rebound.url.replace("127.0.0.1", "localhost") + path) as page:
        assert await page.inner_text("body") == "The worker read: 403"
    await rebound.assert_an_app_alone_is_served(path, "GET 403")


async def test_a_person_may_type_the_address(scene: Scene) -> None:
    """The one request of a browser that goes up: no page has had a part in it (Sec-Fetch-Site: none)."""
    async with scene.visit(scene.url + MEMBER) as page:
        assert "member@example.com" in await page.inner_text("pre")
        assert scene.gone_up() == [f"GET {MEMBER}"]
        await page.reload()
        assert scene.gone_up() == [f"GET {MEMBER}"]


@pytest.mark.parametrize("name", ["evil.example", "localhost.evil.example", "0.0.0.0"])  # noqa: S104 - bound nowhere
async def test_a_person_is_shown_a_refusal_at_an_address_of_another_name(name: str, scene: Scene) -> None:
    path = path_of(f"typed {name}")
    async with scene.visit(f"http://{name}:{port_of(scene.proxy, name)}{path}") as page:
        assert json.loads(await page.inner_text("pre"))["status"] == 421
    await scene.assert_an_app_alone_is_served(path, "GET 421")


async def test_what_was_refused_is_refused_again_when_it_is_reloaded_or_gone_back_to(
    scene: Scene, website: Website
) -> None:
    path = path_of("reload")
    async with scene.visit(f"http://evil.example:{website.port}/") as page:
        await leave(page, f"location = '{scene.url + path}'", scene.url + path)
        for again in (page.reload, page.go_back, page.go_forward):
            await again()
        assert json.loads(await page.inner_text("pre"))["status"] == 403
    await scene.assert_an_app_alone_is_served(path, "GET 403")


async def test_a_limit_what_a_typed_address_redirects_to_is_asked_as_if_it_were_typed(
    scene: Scene, website: Website
) -> None:
    """Nothing in the request tells it from the address bar: a blind GET, whose answer no page can read."""
    path = path_of("link in a mail")
    async with scene.visit(f"http://evil.example:{website.port}/redirect?status=302&to={scene.url + path}"):
        await until(lambda: scene.answers(path) == {"GET 404"})
    assert scene.gone_up() == [f"GET {path}"]


async def test_a_limit_so_is_the_way_back_to_an_address_that_redirects_by_now(scene: Scene, website: Website) -> None:
    path, here = path_of("way back"), f"http://evil.example:{website.port}"
    website.pages["/entrance"] = evil.Page("<script>onunload = () => 0</script>")  # so that it is asked for again
    async with scene.visit(f"{here}/entrance") as page:
        await leave(page, "location = '/inside'", f"{here}/inside")
        website.pages["/entrance"] = evil.Page(status=302, headers={"Location": scene.url + path})
        await leave(page, "history.back()", scene.url + path)
        await until(lambda: scene.answers(path) == {"GET 404"})
    assert scene.gone_up() == [f"GET {path}"]


async def test_a_limit_at_an_allowed_host_a_blind_get_bears_no_mark_of_its_page(
    browser: Browser, website: Website, tmp_path: Path
) -> None:
    """It is no trustworthy URL, where browsers would send Sec-Fetch-Site. Whatever changes something bears Origin."""
    path, allowed = path_of("allowed host"), {"PANDADOC_PROXY__LISTENERS__0__ALLOWED_HOSTS": "[proxy.example]"}
    async with stage(tmp_path, await browser.new_context(), allowed) as scene:
        async with scene.visit(f"http://evil.example:{website.port}/") as page:
            target = scene.url.replace("127.0.0.1", "proxy.example") + path
            assert await learned(page, filled(BLIND, target, "")) == "opaque 0"
            posted = filled("told(fetch('TARGET', {method: 'POST', mode: 'no-cors', body: '{}'}))", target, "")
            assert await learned(page, posted) == "opaque 0"
            await until(lambda: len(scene.answers(path)) > 1)
        assert scene.answers(path) == {"GET 404", "POST 403"}
        assert scene.gone_up() == [f"GET {path}"]
