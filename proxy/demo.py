"""`pandadoc-proxy demo`: the story on the terminal while it happens, on the simulator and on loopback.

Every sentence is checked against what really went over the wire; `--once` turns that into an exit code.
"""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import aiohttp
import yaml
from msgspec import Struct

from proxy.app import Proxy
from proxy.config import Config, load
from proxy.signals import end_by_cancelling
from proxy.simulator import Received, Simulator
from proxy.terminal import complain, tell

LIFETIME: Final = 3
"""Seconds the demo's access tokens live, so that an expiry can be watched."""

PARTING: Final = 5.0
"""Seconds that what was begun has to its end. A simulator that was told to hang answers never."""

PORT: Final = 8080
WHO_AM_I: Final = "/public/v1/members/current"
SHOWN: Final = 10
"""Characters of a token that are shown. They open nothing but the simulator."""


class StoryBroken(Exception):
    """What was told did not happen."""


class Stage(Struct, frozen=True):
    """What the story is played on."""

    simulator: Simulator
    proxy: Proxy
    app: aiohttp.ClientSession

    async def ask(self, method: str, path: str, body: bytes | None = None) -> aiohttp.ClientResponse:
        """Send a request as an app without a credential would, and show it."""
        size = f"  ({len(body)} bytes)" if body else ""
        tell(f"  app      {method} {self.proxy.urls[0]}{path}{size}   no Authorization")
        async with self.app.request(method, self.proxy.urls[0] + path, data=body) as answer:
            await answer.read()
        tell(f"  app      ◄ {answer.status}")
        return answer

    def since(self, number: int) -> list[Received]:
        """Return what PandaDoc received after its first `number` requests, and show it."""
        received = self.simulator.journal[number:]
        for one in received:
            lent = f"Authorization: {one.authorization[0][: len('Bearer ') + SHOWN]}…" if one.authorization else ""
            note = "the refresh token is redeemed" if one.form else lent
            tell(f"  PandaDoc {one.method} {one.target}   {note}   ► {one.status}")
        return received


async def play(*, once: bool, until: Callable[[], Awaitable[object]]) -> int:
    """Tell the story; then stay up until `until` returns, unless `once`. Returns the exit code."""
    end_by_cancelling()
    simulator = Simulator(expires_in=LIFETIME)
    with tempfile.TemporaryDirectory(prefix="pandadoc-proxy-demo-") as folder:
        try:
            await simulator.start()
            proxy = await _proxy(simulator, Path(folder))
        except OSError as fault:
            complain(f"can't start: {fault}")
            return 1
        try:
            async with aiohttp.ClientSession() as app:
                await _story(Stage(simulator, proxy, app))
            if not once:
                _invite(simulator, proxy)
                await until()
        except StoryBroken as broken:
            complain(f"\nThe story broke: {broken}")
            return 1
        finally:
            await _part(simulator, proxy)
    return 0


async def _part(simulator: Simulator, proxy: Proxy) -> None:
    """End both; what was begun comes to its end first, or would write into the folder that is about to go."""
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(PARTING):
                await proxy.drain()
    finally:  # a second signal ends the first
        await proxy.stop()
        await simulator.stop()


async def _story(stage: Stage) -> None:
    await _first_request(stage)
    await _expiry(stage)
    await _revocation(stage)
    await _refusal(stage)
    tell("\nThat is all: the app never held a credential, and never saw a 401.")


async def _first_request(stage: Stage) -> None:
    _chapter("The first request. Nothing is cached: the proxy redeems its refresh token, then lends the token.")
    answer = await stage.ask("GET", WHO_AM_I)
    token_call, call = _exactly(2, stage.since(0))
    _hold(answer.status == 200, "the app was not answered 200")  # noqa: PLR2004 - a status reads best as itself
    _hold(token_call.path == "/oauth2/access_token", "no token was fetched first")
    _hold(call.authorization[0].startswith("Bearer "), "no token was lent")


async def _expiry(stage: Stage) -> None:
    _chapter(
        f"{LIFETIME} seconds later the token has expired. The next request waits for one refresh and goes through."
    )
    await asyncio.sleep(LIFETIME)
    seen = len(stage.simulator.journal)
    answer = await stage.ask("GET", WHO_AM_I)
    token_call, call = _exactly(2, stage.since(seen))
    _hold(answer.status == 200, "the app was not answered 200")  # noqa: PLR2004 - the same
    _hold([token_call.status, call.status] == [200, 200], "an expired token was lent")


async def _revocation(stage: Stage) -> None:
    _chapter("PandaDoc revokes the token. A POST meets a 401; one refresh later it is sent again, byte for byte.")
    stage.simulator.revoke_access_tokens()
    seen = len(stage.simulator.journal)
    body = (
        b'{"name": "Contract", "url": "https://example.com/contract.pdf", "recipients": [], "parse_form_fields": false}'
    )
    answer = await stage.ask("POST", "/public/v1/documents", body)
    first, token_call, second = _exactly(3, stage.since(seen))
    _hold(answer.status == 201, "the document was not created")  # noqa: PLR2004 - the same
    _hold([first.status, token_call.status, second.status] == [401, 200, 201], "there was no refresh and replay")
    _hold(first.body_sha256 == second.body_sha256, "the replay was not the same bytes")


async def _refusal(stage: Stage) -> None:
    _chapter("Somebody asks through the proxy for the token itself. Nothing reaches PandaDoc.")
    seen = len(stage.simulator.journal)
    answer = await stage.ask("POST", "/oauth2/access_token", b"grant_type=refresh_token")
    _exactly(0, stage.since(seen))
    _hold(answer.status == 403, "the token endpoint was not closed")  # noqa: PLR2004 - the same


async def _proxy(simulator: Simulator, folder: Path) -> Proxy:
    """Start a proxy before the simulator, on the usual port if it is free."""
    try:
        proxy = Proxy(_config(simulator, folder, PORT), state_home=folder)
        await proxy.start()
    except OSError:
        proxy = Proxy(_config(simulator, folder, 0), state_home=folder)
        await proxy.start()
    return proxy


def _config(simulator: Simulator, folder: Path, port: int) -> Config:
    path = folder / "config.yaml"
    credential = {
        "client_id": "${CLIENT_ID}",
        "client_secret": "${CLIENT_SECRET}",
        "refresh_token": "${REFRESH_TOKEN}",
    }
    path.write_text(
        yaml.safe_dump(
            {
                "listeners": [{"bind": f"127.0.0.1:{port}"}],
                "admin": None,
                "upstream": {"url": simulator.url},
                "credentials": {"default": {"oauth2": credential}},
            }
        )
    )
    environ = {
        "CLIENT_ID": simulator.client_id,
        "CLIENT_SECRET": simulator.client_secret,
        "REFRESH_TOKEN": simulator.issue_refresh_token(),
    }
    return load(path, environ=environ)


def _invite(simulator: Simulator, proxy: Proxy) -> None:
    tell(f"""
Still up; tokens live {LIFETIME} s here. Try, and stop with Ctrl-C:

  curl {proxy.urls[0]}/public/v1/documents
  curl -X POST {simulator.url}/_simulator/revoke    # then the first line again
""")


def _chapter(text: str) -> None:
    tell(f"\n{text}")


def _hold(condition: bool, otherwise: str) -> None:  # noqa: FBT001 - reads as an assertion
    if not condition:
        raise StoryBroken(otherwise)


def _exactly(number: int, received: list[Received]) -> list[Received]:
    _hold(len(received) == number, f"PandaDoc received {len(received)} requests, not {number}")
    return received
