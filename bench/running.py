"""A process under measurement and all that it starts: pinned, waited for, read from the kernel's books, ended."""

import os
import re
import socket
import subprocess
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from bench.peer import ENVIRONMENT, Command

PATIENCE_SECONDS: Final = 30.0
POLL_SECONDS: Final = 0.002
TICKS: Final = os.sysconf("SC_CLK_TCK")
MIB: Final = 2**20
RESET_PEAK: Final = "5"
"""proc(5), clear_refs: the highest resident size begins anew at the present one. Root may, where the process is not
dumpable."""


class Failed(Exception):
    """A peer that did not start, or did not do the work."""


def free_port() -> int:
    """Find a port that nobody listens at."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


class Running:
    """A started command. What it says is in its folder."""

    def __init__(self, command: Command, folder: Path, cpus: set[int]) -> None:
        for name, content in command.files.items():
            (folder / name).write_text(content, encoding="utf-8")
        self._said = folder / "said"
        pinned = ("taskset", "--cpu-list", ",".join(map(str, sorted(cpus))), *command.argv)
        with self._said.open("wb") as said:
            self._begun = time.perf_counter()
            self._child = subprocess.Popen(  # noqa: S603 - peers' own
                pinned, cwd=command.cwd or folder, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=said, stderr=said
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._child.terminate()
        try:
            self._child.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def until(self, ready: Callable[[], bool]) -> float:
        """Wait until it is so; return the seconds since exec. Raise Failed with its last words."""
        while not ready():
            if self._child.poll() is not None or time.perf_counter() - self._begun > PATIENCE_SECONDS:
                words = self._said.read_text(errors="replace").strip().splitlines() or ["without a word"]
                raise Failed(f"did not start: {words[-1]}")
            time.sleep(POLL_SECONDS)
        return time.perf_counter() - self._begun

    def cpu_seconds(self) -> float:
        """Return user and system time of all its processes and their threads, those that ended too (proc(5), stat)."""
        return sum(_ticks(pid) for pid in self._pids()) / TICKS

    def resident_mib(self) -> float:
        return self._memory("VmRSS")

    def peak_mib(self) -> float:
        """Return the highest resident size since `forget_peak`."""
        return self._memory("VmHWM")

    def forget_peak(self) -> None:
        for pid in self._pids():
            Path(f"/proc/{pid}/clear_refs").write_text(RESET_PEAK)

    def _memory(self, what: str) -> float:
        """Add it up; what processes share is counted for each."""
        status = (Path(f"/proc/{pid}/status").read_text() for pid in self._pids())
        return sum(int(found[1]) for text in status if (found := re.search(rf"{what}:\s+(\d+) kB", text))) * 1024 / MIB

    def _pids(self) -> list[int]:
        pids = [self._child.pid]
        for pid in pids:
            started = (file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/children"))
            pids += [int(child) for line in started for child in line.split()]
        return pids


def _ticks(pid: int) -> int:
    """Read utime and stime. The name before them may hold anything, so the count begins behind its bracket."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def answers(port: int, path: str) -> bool:
    """Ask whether a request gets through to the origin and back."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200  # noqa: PLR2004 - HTTP's
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def listens(port: int) -> bool:
    """Ask whether somebody accepts connections there."""
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0
