"""Runs the README's `docker run` lines, word by word but for three things.

Podman runs them, the port of this machine is a free one, and PandaDoc is a simulator that the container reaches at its
own loopback.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from commands.process import Ended, Machine, Process, poll
from torture.containers import Engine, loopback
from wire import free_port

NAME: Final = "pandadoc-proxy"
PANDADOC_PORT: Final = 9000


@dataclass
class Running:
    """A container, seen from outside."""

    docker: "Docker"
    process: Process
    pid: int
    url: str

    def kernel_says(self, word: str) -> str:
        """Return a line of what the kernel tells of its process (proc(5))."""
        found = re.search(rf"^{word}:\s*(.*)$", Path(f"/proc/{self.pid}/status").read_text(), re.MULTILINE)
        assert found
        return " ".join(found[1].split())

    async def stop(self) -> int:
        """Stop it as the README says; return the exit code of its `docker run`."""
        assert (await self.docker.podman("stop", "-t", "30", NAME)).code == 0
        return await self.process.ended()


@dataclass
class Docker:
    """Runs the README's lines. Stands in for the program they name."""

    engine: Engine
    machine: Machine

    @property
    def program(self) -> list[str]:
        return self.engine.words("podman")

    async def podman(self, *words: str, env: dict[str, str] | None = None) -> Ended:
        return await self.machine.run(*words, program=self.program, env=self.engine.environ | (env or {}))

    @asynccontextmanager
    async def run(self, line: list[str], env: dict[str, str], *options: str) -> AsyncIterator[Running]:
        """Run a line of the README until the block ends or something stops it."""
        port = free_port()
        published = [word.replace("127.0.0.1:8080:", f"127.0.0.1:{port}:") for word in line[1:-1]]
        upstream = f"PANDADOC_PROXY__UPSTREAM__URL=http://127.0.0.1:{PANDADOC_PORT}"
        # Docker's --read-only makes /tmp and /run read-only as well; podman's does with this.
        words = [*published, "--read-only-tmpfs=false", "-e", upstream, *options, line[-1]]
        process = await self.machine.start(*words, program=self.program, env=self.engine.environ | env)
        pid = await self._pid()
        async with loopback(pid, PANDADOC_PORT, self.machine.simulator.url):
            await process.said(" is ready")
            yield Running(self, process, pid, f"http://127.0.0.1:{port}")

    async def _pid(self) -> int:
        pid = 0

        async def known() -> bool:
            nonlocal pid
            pid = int((await self.podman("inspect", "--format", "{{.State.Pid}}", NAME)).out or "0")
            return pid > 0

        await poll(known)
        return pid
