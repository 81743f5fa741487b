"""The proxy as a process of its own: `python -m proxy …` with nothing around it but what a test gives.

A Machine is where the processes of one test run: a home folder, an environment that holds no more than a
pod's would, and an ear for everything they say. When it is torn down it ends what is left and looks for each
secret in all that was said (law 16). Every wait has a bound; reaching it is a failure and decides nothing else.
"""

import asyncio
import json
import os
import re
import resource
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from aiohttp import ClientSession
from rig import assert_silent, until
from yarl import URL

from proxy.simulator import Simulator

MEMBER: Final = "/public/v1/members/current"
"""The cheapest thing to ask PandaDoc for."""

ROOT: Final = Path(__file__).resolve().parents[2]
"""The project, where the shipped config.yaml is."""

PROXY: Final = (sys.executable, "-m", "proxy")
SCRIPT: Final = Path(sys.executable).with_name("pandadoc-proxy")

PATIENCE: Final = 30.0
"""Seconds. A start takes half a second where nobody else computes, and over fifteen where ten others do."""

SECRET_VARIABLES: Final = ("PANDADOC_API_KEY", "PANDADOC_CLIENT_SECRET", "PANDADOC_REFRESH_TOKEN")
KEPT_VARIABLES: Final = ("PATH", "SSL_CERT_FILE", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")
"""What passes from the tests' environment to a process: where programs are, whom it trusts, and who counts lines."""

LENDING: Final = re.compile(r"(https?://\S+) lends (?:credential|to clients) ")
PROBING: Final = re.compile(r"(http://\S+) answers probes")


@dataclass(frozen=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str


class Process:
    """One started process. `out` and `err` grow by a line whenever it says one; `_hearing` alone adds them."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self._child = child
        self.out: list[str] = []
        self.err: list[str] = []
        self._hearing = asyncio.gather(_hear(child.stdout, self.out), _hear(child.stderr, self.err))

    def __repr__(self) -> str:
        return f"<Process {self._child.pid} code={self._child.returncode}>"

    @property
    def running(self) -> bool:
        return self._child.returncode is None

    @property
    def resident(self) -> int:
        """Bytes of memory in use now (proc(5))."""
        return int(self._of_proc("status", r"VmRSS:\s+(\d+) kB")) * 1024

    @property
    def peak(self) -> int:
        """The most bytes of memory ever in use."""
        return int(self._of_proc("status", r"VmHWM:\s+(\d+) kB")) * 1024

    @property
    def open_files(self) -> int:
        return len(list(Path(f"/proc/{self._child.pid}/fd").iterdir()))

    @property
    def threads(self) -> list[str]:
        """Return their names, as the kernel has them; one that ends in this moment is left out."""
        names = []
        for each in Path(f"/proc/{self._child.pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                names.append((each / "comm").read_text().strip())
        return names

    @property
    def most_open_files(self) -> int:
        """How many files it may have open (the soft limit)."""
        return int(self._of_proc("limits", r"Max open files\s+(\d+)"))

    def kernel_says(self, what: str) -> str:
        """Read what the kernel tells of the process (proc(5))."""
        return Path(f"/proc/{self._child.pid}/{what}").read_text()

    def limit(self, what: int, most: int) -> int:
        """Set a soft limit of the process (getrlimit(2)); return what it was."""
        before, hard = resource.prlimit(self._child.pid, what)
        resource.prlimit(self._child.pid, what, (most, hard))
        return before

    def signal(self, number: signal.Signals) -> None:
        self._child.send_signal(number)

    async def type(self, line: str) -> None:
        """Send a line to its standard input, as a person at a terminal would."""
        assert self._child.stdin is not None
        self._child.stdin.write(line.encode() + b"\n")
        await self._child.stdin.drain()

    async def ended(self, seconds: float = PATIENCE) -> int:
        """Wait for its end and its last word; return the exit code, negative for a signal's number."""
        async with asyncio.timeout(seconds):
            code = await self._child.wait()
            await asyncio.shield(self._hearing)
        return code

    async def lives_to_say(self, *words: str) -> bool:
        """Wait for a line on standard error that holds all of `words`; tell whether it came before the end."""
        await until(lambda: self._find(words) is not None or self._hearing.done(), PATIENCE)
        return self._find(words) is not None

    async def said(self, *words: str) -> str:
        """Wait for such a line, and return it."""
        await self.lives_to_say(*words)
        line = self._find(words)
        assert line is not None, f"it ended without saying {words}: {self.err}"
        return line

    async def url(self) -> str:
        """Wait until it serves; return where the first listener answers."""
        return _address(LENDING, await self.said(" lends "))

    async def admin_url(self) -> str:
        return _address(PROBING, await self.said(" answers probes"))

    @property
    def records(self) -> list[dict[str, Any]]:
        """Return its log; fails if a line of it is not one JSON object."""
        stray = [line for line in self.err if not line.startswith('{"time":')]
        assert not stray, stray
        return [json.loads(line) for line in self.err]

    @property
    def access(self) -> list[dict[str, Any]]:
        return [record for record in self.records if record["logger"] == "proxy.access"]

    async def accesses(self, number: int) -> list[dict[str, Any]]:
        """Wait for `number` access lines: a line is written when its answer is out, so a caller may be earlier."""
        await until(lambda: len(self.access) >= number or self._hearing.done(), PATIENCE)
        return self.access

    def _of_proc(self, file: str, pattern: str) -> str:
        found = re.search(pattern, self.kernel_says(file))
        assert found is not None
        return found[1]

    def _find(self, words: Sequence[str]) -> str | None:
        return next((line for line in self.err if all(word in line for word in words)), None)


async def _hear(stream: asyncio.StreamReader | None, lines: list[str]) -> None:
    while stream is not None and (line := await stream.readline()):
        lines.append(line.decode().removesuffix("\n"))


def _address(pattern: re.Pattern[str], line: str) -> str:
    found = pattern.search(line)
    assert found is not None
    return found[1]


async def poll(condition: Callable[[], Awaitable[bool]], seconds: float = PATIENCE) -> None:
    """Ask until it is so. For what another process does not announce."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - no event crosses to here from another process
            await asyncio.sleep(0.005)


async def status_of(app: ClientSession, url: str) -> int:
    async with app.get(url) as answer:
        await answer.read()
        return answer.status


async def until_unready(app: ClientSession, admin: str) -> None:
    """Wait until the process has begun to leave."""

    async def unready() -> bool:
        return await status_of(app, f"{admin}/readyz") == 503

    await poll(unready)


async def until_closed(url: str) -> None:
    """Wait until nobody accepts connections there."""
    where = URL(url)

    async def closed() -> bool:
        try:
            _, writer = await asyncio.open_connection(where.host, where.port)
        except ConnectionError:
            return True
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        return False

    await poll(closed)


@dataclass
class Machine:
    """Where the processes of one test run. `processes` and `secrets` grow; nothing is ever taken away."""

    home: Path
    simulator: Simulator
    secrets: set[str] = field(default_factory=set)
    processes: list[Process] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self.folder.mkdir(parents=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self.processes:
            if process.running:
                process.signal(signal.SIGKILL)
        for process in self.processes:
            await process.ended()
        said = [line for process in self.processes for line in (*process.out, *process.err)]
        assert_silent(self.all_secrets(), said)
        assert not [line for line in said if "Traceback" in line], "a traceback was shown"

    @property
    def folder(self) -> Path:
        """Where processes start, if a test names no other: an empty folder, so no config.yaml is found."""
        return self.home / "cwd"

    @property
    def state(self) -> Path:
        return self.home / "state"

    def stored(self) -> list[Path]:
        """Return every grant's file."""
        return sorted(self.state.glob("pandadoc-proxy/grant-*.json"))

    def serving(self) -> dict[str, str]:
        """Return the variables of a proxy on free ports before the simulator; a credential is still lacking."""
        return {
            "PANDADOC_PROXY__UPSTREAM__URL": self.simulator.url,
            "PANDADOC_PROXY__LISTENERS__0__BIND": "127.0.0.1:0",
            "PANDADOC_PROXY__ADMIN__BIND": "127.0.0.1:0",
        }

    def with_api_key(self) -> dict[str, str]:
        return self.serving() | {"PANDADOC_API_KEY": self.simulator.issue_api_key()}

    def with_grant(self) -> dict[str, str]:
        return self.serving() | {
            "PANDADOC_CLIENT_ID": self.simulator.client_id,
            "PANDADOC_CLIENT_SECRET": self.simulator.client_secret,
            "PANDADOC_REFRESH_TOKEN": self.simulator.issue_refresh_token(),
        }

    async def start(
        self,
        *argv: str,
        env: Mapping[str, str],
        cwd: Path | None = None,
        program: Sequence[str | Path] = PROXY,
        stdin: int = asyncio.subprocess.DEVNULL,
        stderr: int = asyncio.subprocess.PIPE,
    ) -> Process:
        """Start `python -m proxy …`, or another program, in an environment of its own.

        What goes to a `stderr` that a test gives is heard by that test alone.
        """
        self.secrets.update(env[name] for name in SECRET_VARIABLES if env.get(name))
        child = await asyncio.create_subprocess_exec(
            *program,
            *argv,
            env=self._environ(env),
            cwd=cwd or self.folder,
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
        )
        process = Process(child)
        self.processes.append(process)
        return process

    async def run(
        self,
        *argv: str,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        program: Sequence[str | Path] = PROXY,
    ) -> Ended:
        """Run a command to its end."""
        process = await self.start(*argv, env=env or {}, cwd=cwd, program=program)
        code = await process.ended()
        return Ended(code, "\n".join(process.out), "\n".join(process.err))

    def all_secrets(self) -> set[str]:
        """Return every secret that a process here was given, was sent, has stored, or may have been told."""
        found = set(self.secrets)
        for received in self.simulator.journal:
            found.update(value.split(" ", 1)[-1] for value in received.authorization)
            found.update(received.form.get(name, "") for name in ("client_secret", "refresh_token", "code"))
        found.update(self.simulator.minted)
        for path in self.stored():
            record = json.loads(path.read_text())
            found.update(str(record.get(name) or "") for name in ("access_token", "refresh_token"))
        return found - {""}

    def _environ(self, env: Mapping[str, str]) -> dict[str, str]:
        kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        # With warnings shown, whatever a process leaves open is a line of its log that is not JSON.
        own = {"HOME": str(self.home), "XDG_STATE_HOME": str(self.state), "PYTHONWARNINGS": "default"}
        return {**kept, **own, **env}
