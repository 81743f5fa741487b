"""Where fleets keep their record in these tests, one for each kind of engine."""

import json
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from commands.replicas import Place
from redis.exceptions import RedisError
from torture.redis_server import RedisServer

PASSWORD: Final = "a/password@of#ours"


@dataclass
class RedisPlace:
    """A Redis that writes everything down at once, as docs/fleet.md advises."""

    server: RedisServer

    store: Mapping[str, Any]
    environ: Mapping[str, str]
    name: str
    secrets: frozenset[str]

    async def start(self) -> None:
        await self.server.start()

    async def kill(self) -> None:
        await self.server.end()

    async def lose(self) -> None:
        await self.server.ask("FLUSHALL")

    async def come_back_empty(self) -> None:
        """Start again after a kill, without what was written down."""
        shutil.rmtree(self.server.folder / "appendonlydir")
        await self.server.start()

    def pause(self) -> None:
        self.server.pause()

    def resume(self) -> None:
        if self.server.running:
            self.server.resume()

    async def record(self) -> Mapping[str, Any]:
        try:
            keys = await self.server.ask("KEYS", "*:grant")
            record: Mapping[str, Any] = json.loads(await self.server.ask("GET", keys[0])) if keys else {}
        except RedisError:
            return {}
        return record


@asynccontextmanager
async def redis_place(folder: Path) -> AsyncIterator[Place]:
    settings = {"requirepass": f'"{PASSWORD}"', "appendonly": "yes", "appendfsync": "always"}
    async with RedisServer(folder, settings, password=PASSWORD) as server:
        yield RedisPlace(
            server,
            store={"redis": {"url": {"env": "REDIS_URL"}}},
            environ={"REDIS_URL": server.url_with("a%2Fpassword%40of%23ours")},
            name=f"Redis at 127.0.0.1:{server.port}",
            secrets=frozenset({PASSWORD, "a%2Fpassword%40of%23ours"}),
        )


PLACES: Final[Mapping[str, Callable[[Path], AbstractAsyncContextManager[Place]]]] = {"redis": redis_place}
