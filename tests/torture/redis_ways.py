"""Replicas' engines on a real Redis, by every way that there is to one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tls import CertificateFolder
from torture.redis_server import RedisServer, cluster, sentinel_pair
from wire import free_port

from proxy.credential.redis_client import Way
from proxy.credential.redis_engine import RedisEngine
from proxy.secrets import Secret

OWNER: Final = "0123456789abcdef"
PASSWORD: Final = "correct/horse@battery#staple"
ENCODED: Final = "correct%2Fhorse%40battery%23staple"

ACL: Final = (
    f"user pandadoc on >{PASSWORD} resetchannels"
    " ~pandadoc-proxy:* &pandadoc-proxy:*"
    " +get +set +del +pttl +eval +publish +subscribe +ping"
)
"""Just what is needed."""


@dataclass
class Replicas:
    """Makes engines, and closes them in the end. A test may change `url`, as a secret's file changes."""

    url: str
    way: Way
    engines: list[RedisEngine] = field(default_factory=list)

    def __call__(self) -> RedisEngine:
        async def url() -> Secret:
            return Secret(self.url)

        async def owner() -> str:
            return OWNER

        engine = RedisEngine(url, owner, prefix="pandadoc-proxy", way=self.way)
        self.engines.append(engine)
        return engine


@asynccontextmanager
async def replicas(url: str, way: Way | None = None) -> AsyncIterator[Replicas]:
    opened = Replicas(url, way or Way())
    try:
        yield opened
    finally:
        for engine in opened.engines:
            await engine.close()
        assert not [engine for engine in opened.engines if PASSWORD in f"{engine!r} {engine.name}"]


@asynccontextmanager
async def plain(folder: Path) -> AsyncIterator[Replicas]:
    async with RedisServer(folder) as server, replicas(f"{server.url}/3") as opened:
        yield opened


@asynccontextmanager
async def by_user(folder: Path) -> AsyncIterator[Replicas]:
    """As a user that may do just what docs/fleet-redis.md says."""
    folder.mkdir()
    (folder / "users.acl").write_text(f"user default off\n{ACL}\n")
    server = RedisServer(folder, {"aclfile": str(folder / "users.acl")})
    async with server, replicas(f"redis://pandadoc:{ENCODED}@127.0.0.1:{server.port}") as opened:
        yield opened


@asynccontextmanager
async def by_password_and_tls(folder: Path) -> AsyncIterator[Replicas]:
    pems = CertificateFolder(folder / "tls")
    pems.renew()
    authority = folder / "ca.pem"
    pems.ca.cert_pem.write_to_path(str(authority))
    settings = {
        "requirepass": f'"{PASSWORD}"',
        "tls-cert-file": pems.files["cert"],
        "tls-key-file": pems.files["key"],
        "tls-ca-cert-file": str(authority),
        "tls-auth-clients": "no",
    }
    async with RedisServer(folder, settings, tls=True) as server:
        url = f"rediss://:{ENCODED}@localhost:{server.port}"
        async with replicas(url, Way(ca_file=authority)) as opened:
            yield opened


@asynccontextmanager
async def by_socket(folder: Path) -> AsyncIterator[Replicas]:
    async with RedisServer(folder, {"unixsocket": str(folder / "s")}), replicas(f"unix://{folder}/s?db=2") as opened:
        yield opened


@asynccontextmanager
async def by_sentinel(folder: Path) -> AsyncIterator[Replicas]:
    """Ask Sentinels of which the first one is gone."""
    async with sentinel_pair(folder, PASSWORD) as pair:
        url = f"redis://:{ENCODED}@127.0.0.1:{free_port()},127.0.0.1:{pair.sentinel.port}"
        async with replicas(url, Way(sentinel="mymaster")) as opened:
            yield opened


@asynccontextmanager
async def as_a_cluster(folder: Path) -> AsyncIterator[Replicas]:
    """Begin at nodes of which the first one is gone, as a user that may do just what docs/fleet-redis.md says."""
    async with cluster(folder, f"{ACL} +cluster|slots +command") as nodes:
        url = nodes.url.replace("redis://", f"redis://pandadoc:{ENCODED}@127.0.0.1:{free_port()},")
        async with replicas(url, Way(cluster=True)) as opened:
            yield opened


WAYS: Final = (plain, by_user, by_password_and_tls, by_socket, by_sentinel, as_a_cluster)
