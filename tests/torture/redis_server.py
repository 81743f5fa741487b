"""Real Redis servers on free ports of loopback, started and ended by tests: one, a Sentinel and its two, a cluster."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from wire import free_port

ENGINE: Final = os.environ.get("ENGINE", "redis")
"""`ENGINE=valkey` has valkey-server and valkey-cli run instead."""

PATIENCE: Final = 20.0
"""Seconds until a server answers, or has ended."""


@dataclass
class RedisServer:
    """One server process on a folder of its own.

    What changes: `process`, by `start` and `end`. The folder keeps what was saved, from one start to the next.
    """

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    program: tuple[str, ...] = (f"{ENGINE}-server",)
    tls: bool = False
    password: str | None = None  # what an administrator says
    process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.end()

    @property
    def url(self) -> str:
        return f"{'rediss' if self.tls else 'redis'}://127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.returncode is None

    def url_with(self, password: str) -> str:
        return self.url.replace("://", f"://:{password}@")

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        port = {"port": "0", "tls-port": str(self.port)} if self.tls else {"port": str(self.port)}
        common = {"bind": "127.0.0.1", "dir": str(self.folder), "daemonize": "no", "save": ""}
        if "--sentinel" in self.program:
            del common["save"]
        file = self.folder / "server.conf"
        if not file.exists():  # a Sentinel and a cluster's node write into it what they have learnt
            lines = [f"{name} {value}" if value else f'{name} ""' for name, value in {**common, **port}.items()]
            file.write_text("\n".join([*lines, *(f"{name} {value}" for name, value in self.settings.items())]) + "\n")
        program, *options = self.program
        log = (self.folder / "server.log").open("ab")
        self.process = await asyncio.create_subprocess_exec(
            *(program, str(file), *options), stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
        )
        log.close()
        try:
            await self._listens()
        except BaseException:
            await self.end()
            raise

    async def _listens(self) -> None:
        socket = self.settings.get("unixsocket")  # it listens there last
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    if socket is None:
                        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    else:
                        _, writer = await asyncio.open_unix_connection(socket)
                except OSError:
                    assert self.process is not None
                    assert self.process.returncode is None, (self.folder / "server.log").read_text()
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    return

    async def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it; by SIGKILL, as a machine does that goes away."""
        if self.process is not None and self.running:
            self.process.send_signal(number)
            async with asyncio.timeout(PATIENCE):
                await self.process.wait()

    def pause(self) -> None:
        """Let it stand still, with its connections open and its port listening."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    async def ask(self, *command: str | int, **options: Any) -> Any:
        """Send one command as an administrator, on a connection of its own."""
        way = {"port": self.port, "password": self.password, "protocol": 2, **options}
        client: Any = Redis(**way, retry=Retry(NoBackoff(), 0))
        try:
            return await client.execute_command(*command)
        finally:
            await client.aclose()

    async def callers(self) -> int:
        """Count who is connected, besides whoever counts."""
        lines: bytes = await self.ask("CLIENT", "LIST")
        return lines.count(b"\n") - 1

    async def asked_until(self, *command: str | int, holds: Any) -> Any:
        """Send one command until its answer is as wished."""
        async with asyncio.timeout(3 * PATIENCE):
            while True:
                try:
                    answer = await self.ask(*command)
                except RedisError:
                    answer = None
                if answer is not None and holds(answer):
                    return answer
                await asyncio.sleep(0.05)


@dataclass
class StableName:
    """A name that leads to one of several servers, as a Service or a managed primary's endpoint does.

    What changes: `leads_to`, by a test; whoever is connected by then stays where it led before.
    """

    leads_to: RedisServer
    port: int = 0

    async def serve(self) -> asyncio.Server:
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection("127.0.0.1", self.leads_to.port)
        await asyncio.gather(_pour(reader, there[1]), _pour(there[0], writer))


async def _pour(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while some := await source.read(2**16):
            target.write(some)
    target.close()


@dataclass
class SentinelPair:
    """A master, its replica, and one Sentinel that makes the replica the master when the master is gone."""

    master: RedisServer
    replica: RedisServer
    sentinel: RedisServer

    async def fail_over(self) -> None:
        """Kill the master; wait until the replica has its place."""
        await self.master.end()
        await self.promoted()

    async def promoted(self) -> None:
        await self.replica.asked_until("ROLE", holds=lambda role: role[0] == b"master")


@asynccontextmanager
async def sentinel_pair(folder: Path, password: str, *, down_after: float = 0.5) -> AsyncIterator[SentinelPair]:
    """Run the three of them, all with one password, as the well-known charts do.

    `down_after`: seconds of the master's silence; what a busy machine has of that looks like its end.
    """
    secret = {"requirepass": f'"{password}"'}
    data = secret | {"masterauth": f'"{password}"', "repl-diskless-sync-delay": "0"}
    async with AsyncExitStack() as stack:
        master = await stack.enter_async_context(RedisServer(folder / "master", data, password=password))
        following = data | {"replicaof": f"127.0.0.1 {master.port}"}
        replica = await stack.enter_async_context(RedisServer(folder / "replica", following, password=password))
        await replica.asked_until("ROLE", holds=lambda role: role[0] == b"slave" and role[3] == b"connected")
        watching = secret | {
            "sentinel monitor mymaster": f"127.0.0.1 {master.port} 1",
            "sentinel auth-pass mymaster": f'"{password}"',
            "sentinel down-after-milliseconds mymaster": f"{1000 * down_after:.0f}",
            "sentinel failover-timeout mymaster": "3000",
        }
        sentinel = RedisServer(
            folder / "sentinel", watching, program=(f"{ENGINE}-server", "--sentinel"), password=password
        )
        await stack.enter_async_context(sentinel)
        await sentinel.asked_until("SENTINEL", "REPLICAS", "mymaster", holds=len)
        yield SentinelPair(master, replica, sentinel)


@dataclass
class Cluster:
    """Three masters, each with a third of the slots, and one replica each: `nodes` has the masters first."""

    nodes: list[RedisServer]

    @property
    def url(self) -> str:
        return "redis://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    async def master_of(self, key: str) -> RedisServer:
        """Name the node that has a key's slot."""
        slot = await self.nodes[-1].ask("CLUSTER", "KEYSLOT", key)
        for first, last, (_, port, *_), *_ in await self.nodes[-1].ask("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == port)
        raise LookupError(slot)


@asynccontextmanager
async def cluster(folder: Path, acl: str = "", *, node_timeout: float = 10.0) -> AsyncIterator[Cluster]:
    """Run six nodes. `acl`: a line for one more user than the default one, who may do everything.

    `node_timeout`: seconds after which a silent node is taken for dead, by machines that have other things to do.
    """
    folder.mkdir(parents=True, exist_ok=True)
    users = folder / "users.acl"
    users.write_text(f"user default on nopass ~* &* +@all\n{acl}\n")
    settings = {
        "cluster-enabled": "yes",
        "cluster-node-timeout": f"{node_timeout * 1000:.0f}",
        "repl-diskless-sync-delay": "0",
    }
    settings |= {"aclfile": str(users)}
    async with AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(RedisServer(folder / f"node-{number}", settings)) for number in range(6)
        ]
        addresses = [f"127.0.0.1:{node.port}" for node in nodes]
        making = await asyncio.create_subprocess_exec(
            *(f"{ENGINE}-cli", "--cluster", "create", *addresses, "--cluster-replicas", "1", "--cluster-yes"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await making.communicate()
        assert making.returncode == 0, said.decode()
        for node in nodes:
            await node.asked_until("CLUSTER", "INFO", holds=lambda info: b"cluster_state:ok" in info)
        yield Cluster(nodes)
