"""What the tests stand on: a real simulator, a real proxy before it, clocks that a test can turn.

Nothing is mocked. Every secret that exists in a house is looked for, when the house closes, in
everything the house has said (law 16).
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
import msgspec
import yaml

from proxy.app import Proxy
from proxy.compose_credentials import place
from proxy.config import Config, OAuth2Credential, load
from proxy.credential import ledger
from proxy.credential.file_store import FileStore
from proxy.credential.oauth2 import RefreshingCredential
from proxy.credential.refresh import Refresher
from proxy.forward.server import Server
from proxy.secrets import Secret
from proxy.simulator import Simulator

PROXY_LOGGER: Final = logging.getLogger("proxy")


class TurnedClock:
    """The machine's clocks with a step added; a test alone changes the steps."""

    def __init__(self) -> None:
        self._wall_step = 0.0
        self._monotonic_step = 0.0

    def wall(self) -> float:
        return time.time() + self._wall_step

    def monotonic(self) -> float:
        return time.monotonic() + self._monotonic_step

    def pass_(self, seconds: float) -> None:
        """Let time pass, on both clocks."""
        self._wall_step += seconds
        self._monotonic_step += seconds

    def step(self, seconds: float) -> None:
        """Set the wall clock alone, as an administrator or NTP does."""
        self._wall_step += seconds


@dataclass(frozen=True)
class Seen:
    """An answer as a client saw it."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Ear(logging.Handler):
    """Hears every log line as it is before any formatter redacts it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.fields: list[dict[str, Any]] = []
        self._formatter = logging.Formatter("%(levelname)s %(name)s %(message)s")

    def emit(self, record: logging.LogRecord) -> None:
        fields = getattr(record, "fields", None)
        if fields is not None:
            self.fields.append(fields)
        self.lines.append(f"{self._formatter.format(record)} {fields or ''}")

    def heard(self, *words: str) -> bool:
        """Tell whether one line held all of `words`."""
        return any(all(word in line for word in words) for line in self.lines)


@dataclass
class House:
    """One proxy before one simulator, on loopback. `restart` makes the proxy anew on what it stored.

    The proxy does not look behind the traffic by itself: a test says when.
    """

    simulator: Simulator
    folder: Path
    settings: Mapping[str, Any]
    environ: Mapping[str, str]
    clock: TurnedClock = field(default_factory=TurnedClock)
    secrets: set[str] = field(default_factory=set)
    said: list[str] = field(default_factory=list)
    ear: Ear = field(default_factory=Ear)
    proxy: Proxy = field(init=False)
    client: aiohttp.ClientSession = field(init=False)

    async def __aenter__(self) -> Self:
        logging.getLogger().addHandler(self.ear)
        PROXY_LOGGER.setLevel(logging.DEBUG)
        self.client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=30), auto_decompress=False
        )
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.said += [repr(self.proxy), repr(self.proxy._snapshot)]  # noqa: SLF001 - a repr of everything in it
        await self.client.close()
        await self.proxy.stop()
        await self.simulator.stop()
        logging.getLogger().removeHandler(self.ear)
        assert_silent(self.all_secrets(), [*self.ear.lines, *self.said])

    async def open(self) -> None:
        self.proxy = Proxy(self.config(), state_home=self.folder / "state", clock=self.clock, watch=False)
        await self.proxy.start()

    async def look(self) -> None:
        """Have the proxy look behind the traffic, as it does every two seconds, and let what it began end."""
        await self.proxy.look()
        await self.settle()

    async def settle(self) -> None:
        """Let the refreshes in flight end."""
        await until(lambda: not any(refresher.in_flight for refresher in self.refreshers))

    @property
    def server(self) -> Server:
        """The first listener's."""
        return next(iter(self.proxy._open.values())).binding.server  # noqa: SLF001 - nothing else shows who is connected

    @property
    def credential(self) -> RefreshingCredential:
        """The first OAuth credential."""
        assert self.proxy._snapshot is not None  # noqa: SLF001 - nothing else shows what a credential knows
        sources = self.proxy._snapshot.sources.values()  # noqa: SLF001 - the same
        return next(source for source in sources if isinstance(source, RefreshingCredential))

    @property
    def refreshers(self) -> list[Refresher]:
        assert self.proxy._snapshot is not None  # noqa: SLF001 - the same
        sources = self.proxy._snapshot.sources.values()  # noqa: SLF001 - the same
        return [source._refresher for source in sources if isinstance(source, RefreshingCredential)]  # noqa: SLF001

    @property
    def refresher(self) -> Refresher:
        """The first OAuth credential's."""
        return self.refreshers[0]

    def store(self) -> FileStore:
        """Open the first OAuth credential's store, as another process does."""
        configured = self.config().credentials["default"]
        assert isinstance(configured, OAuth2Credential)
        return FileStore(lambda: place(configured, self.folder / "state"))

    def redeemed(self) -> list[str]:
        """Return every refresh token that was sent to the simulator, in order."""
        return [call.parse_form()["refresh_token"] for call in self.simulator.token_calls()]

    async def log_in(self, life: float = 3600) -> Secret:
        """Store a new pair as the command `login` does, from another process; return its refresh token."""
        access, refresh = self.simulator.issue_access_token(), Secret(self.simulator.issue_refresh_token())
        now = self.clock.wall()
        lineage = ledger.Lineage("login", refresh.fingerprint(), now)
        grant = ledger.Grant(0, lineage, refresh, Secret(access), now, now + life)
        seed = Secret(self.environ["REFRESH_TOKEN"])
        await self.store().update(lambda kept: ledger.consented(kept, grant, now, configured=seed))
        return refresh

    async def restart(self) -> None:
        """End the proxy as SIGTERM does, and start another on what it stored."""
        await self.proxy.drain()
        await self.open()

    async def forward_to(self, url: str) -> None:
        """Put another upstream behind an OAuth house; its tokens still come from the simulator."""
        oauth2 = self.settings["credentials"]["default"]["oauth2"]
        oauth2["token_url"] = f"{self.simulator.url}/oauth2/access_token"
        self.settings = {**self.settings, "upstream": {"url": url}}
        await self.restart()

    def config(self) -> Config:
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(dict(self.settings)))
        return load(path, environ=self.environ)

    @property
    def url(self) -> str:
        return self.proxy.urls[0]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def all_secrets(self) -> set[str]:
        """Return every secret that the simulator issued or was sent, and those the test named."""
        sent = (value.split(" ", 1)[-1] for received in self.simulator.journal for value in received.authorization)
        return {secret for secret in {*self.secrets, *self.simulator.minted, *sent} if len(secret) > 5}

    async def ask(self, method: str, path: str, **options: Any) -> Seen:
        """Send one request through the proxy, as an app without a credential."""
        async with self.client.request(method, self.url + path, allow_redirects=False, **options) as answer:
            seen = Seen(answer.status, answer.headers, await answer.read())
        if answer.headers.get("Proxy-Status"):
            self.said.append(seen.body.decode())
        return seen

    async def get(self, path: str = "/public/v1/members/current", **options: Any) -> Seen:
        return await self.ask("GET", path, **options)

    async def many(self, number: int, path: str = "/public/v1/members/current") -> list[Seen]:
        """Send `number` requests at once."""
        return list(await asyncio.gather(*(self.get(path) for _ in range(number))))


def oauth(simulator: Simulator, store: Mapping[str, Any], **more: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a configuration with an OAuth credential for `simulator`, and the environment it reads."""
    environ = {
        "CLIENT_ID": simulator.client_id,
        "CLIENT_SECRET": simulator.client_secret,
        "REFRESH_TOKEN": simulator.issue_refresh_token(),
    }
    credential = {
        "client_id": "${CLIENT_ID}",
        "client_secret": "${CLIENT_SECRET}",
        "refresh_token": "${REFRESH_TOKEN}",
        "store": dict(store),
        **more,
    }
    return {"credentials": {"default": {"oauth2": credential}}}, environ


def ground(simulator: Simulator) -> dict[str, Any]:
    """Return the settings every house has: free ports, the simulator as upstream."""
    anywhere = {"bind": "127.0.0.1:0"}
    return {"listeners": [anywhere], "admin": dict(anywhere), "upstream": {"url": simulator.url}}


def assert_silent(secrets: set[str], said: list[str]) -> None:
    """Fail if any of `secrets` stands in anything `said`, without showing it again."""
    leaks = [line.replace(secret, "<THE SECRET>") for line in said for secret in secrets if secret in line]
    assert not leaks, f"a secret was said: {leaks[:3]}"


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until `condition` holds; fail after `seconds`. Used where nothing announces the change."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.005)
