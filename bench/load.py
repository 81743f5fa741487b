"""Many small requests: what wrk is asked to do, and what it says."""

import json
import subprocess
from dataclasses import dataclass
from typing import Final

from bench.origin import SMALL, UPLOAD
from bench.peer import ENVIRONMENT, ROOT
from bench.running import Failed

SCRIPT: Final = ROOT / "bench" / "wrk.lua"
TIMEOUT: Final = "10s"
"""Until a request counts as an error; wrk's own 2 s would be one for slow peers with many connections."""


@dataclass(frozen=True)
class Work:
    """A kind of request, sent by a number of connections, each of which waits for its answer."""

    name: str
    connections: int
    path: str = SMALL
    body_bytes: int = 0


WORKS: Final = (Work("c1", 1), Work("c32", 32), Work("c256", 256), Work("post", 32, UPLOAD, 16 * 1024))
LOGGED: Final = Work("logged", 32)
WARM_UP: Final = Work("warm up", 256)


@dataclass(frozen=True)
class Said:
    """What wrk says of one run. Errors: connections, reads, writes, time-outs, and statuses from 400."""

    requests: int
    microseconds: int
    errors: int
    p50_us: float
    p99_us: float


def send(work: Work, port: int, seconds: int) -> Said:
    """Send as many as go in so many seconds, with one thread, on the CPUs that this process runs on."""
    options = ["--threads", "1", "--connections", str(work.connections), "--duration", f"{seconds}s"]
    options += ["--timeout", TIMEOUT, "--script", str(SCRIPT), f"http://127.0.0.1:{port}{work.path}"]
    options += ["--", str(work.body_bytes)] if work.body_bytes else []
    ended = subprocess.run(["wrk", *options], capture_output=True, text=True, check=False, env=ENVIRONMENT)  # noqa: S603, S607 - found by its own PATH
    if ended.returncode:
        raise Failed(f"{work.name}: {ended.stderr.strip() or ended.stdout.strip()}")
    return Said(**json.loads(ended.stdout.splitlines()[-1]))
