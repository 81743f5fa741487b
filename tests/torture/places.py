"""Where fleets keep their record in these tests, one for each kind of engine."""

import json
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from commands.replicas import Place
from kubernetes_api import SECRET, KubernetesApi
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


@dataclass
class KubernetesPlace:
    """A stand-in for a Kubernetes API server (tests/kubernetes_api.py) that forgets its history when it is killed."""

    api: KubernetesApi

    store: Mapping[str, Any]
    environ: Mapping[str, str]
    name: str
    secrets: frozenset[str]

    async def start(self) -> None:
        self.api.objects.compact()
        await self.api.start()

    async def kill(self) -> None:
        await self.api.stop()

    async def lose(self) -> None:
        """Somebody has applied the empty Secret with force."""
        self.api.edit("secrets", data=None)

    def pause(self) -> None:
        self.api.faults.stalled = True

    def resume(self) -> None:
        self.api.faults.stalled = False

    async def record(self) -> Mapping[str, Any]:
        return self.api.record


@asynccontextmanager
async def kubernetes_place(folder: Path) -> AsyncIterator[Place]:
    folder.mkdir()
    async with KubernetesApi(folder) as api:
        api.apply_manifests()
        kubeconfig, token = api.kubeconfig()
        yield KubernetesPlace(
            api,
            store={"kubernetes": {"secret": SECRET, "kubeconfig": str(kubeconfig)}},
            environ={},
            name=f"the Kubernetes API at https://127.0.0.1:{api.port}",
            secrets=frozenset({token}),
        )


PLACES: Final[Mapping[str, Callable[[Path], AbstractAsyncContextManager[Place]]]] = {
    "redis": redis_place,
    "kubernetes": kubernetes_place,
}
