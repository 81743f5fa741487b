"""A peer's turn: it is started, does all of the work alone, and is ended. What a round is made of."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench.load import LOGGED, WARM_UP, WORKS, Work, send
from bench.origin import LARGE_BYTES, SMALL
from bench.peer import Peer, Place
from bench.running import Failed, Running, answers, free_port
from bench.transfer import TRANSFERS

WARM_UP_SECONDS: Final = 1
SETTLE_SECONDS: Final = 0.5
"""Between the first answer and the look at what an idle process holds."""

TIMES: Final = 3
"""How often a large body goes each way in a turn: the kernel counts CPU time by hundredths of a second."""


@dataclass(frozen=True)
class Setting:
    """What all turns of a run have in common."""

    place: Place
    """The origin's: its folder and port, and what it takes for a credential."""
    cpus: set[int]
    """Those that a peer may use; the origin and wrk have the others."""
    seconds: int
    """How long each work lasts."""


def take(peer: Peer, setting: Setting) -> dict[str, float]:
    """Measure a peer once. It is started twice: with its access log only what shows the log's cost, and large bodies.

    Those come where nothing was before, for memory that a crowd has left free would hide what they take.
    """
    figures: dict[str, float] = {}
    with _started(peer, setting, logged=False) as (running, port, ready_seconds):
        time.sleep(SETTLE_SECONDS)
        figures |= {"start.ready_ms": ready_seconds * 1e3, "start.idle_mib": running.resident_mib()}
        send(WARM_UP, port, WARM_UP_SECONDS)
        for work in WORKS:
            figures |= _worked(work, running, port, setting.seconds)
    with _started(peer, setting, logged=True) as (running, port, _):
        for name in TRANSFERS:
            figures |= _transferred(name, running, port)
        send(WARM_UP, port, WARM_UP_SECONDS)
        return figures | _worked(LOGGED, running, port, setting.seconds)


@contextmanager
def _started(peer: Peer, setting: Setting, *, logged: bool) -> Iterator[tuple[Running, int, float]]:
    with TemporaryDirectory() as folder:
        here, port, admin_port = Path(folder), free_port(), free_port()
        place = replace(setting.place, folder=here, port=port, admin_port=admin_port, logged=logged)
        with Running(peer.command(place), place.folder, setting.cpus) as running:
            yield running, port, running.until(lambda: answers(port, SMALL))


def _worked(work: Work, running: Running, port: int, seconds: int) -> dict[str, float]:
    running.forget_peak()
    before = running.cpu_seconds()
    said = send(work, port, seconds)
    if said.requests == 0:
        raise Failed(f"answered nothing in {seconds} s with {work.connections} connections")
    used, lasted = running.cpu_seconds() - before, said.microseconds / 1e6
    figures = {
        "cpu_us": used / said.requests * 1e6,
        "rate": said.requests / lasted,
        "p50_us": said.p50_us,
        "p99_us": said.p99_us,
        "busy_percent": used / lasted * 100,
        "peak_mib": running.peak_mib(),
        "errors": float(said.errors),
    }
    return {f"{work.name}.{name}": figure for name, figure in figures.items()}


def _transferred(name: str, running: Running, port: int) -> dict[str, float]:
    running.forget_peak()
    held, before = running.resident_mib(), running.cpu_seconds()
    seconds = sum(TRANSFERS[name](port) for _ in range(TIMES)) / TIMES
    figures = {
        "seconds": seconds,
        "rate_mb": LARGE_BYTES / 1e6 / seconds,
        "cpu_ms": (running.cpu_seconds() - before) / TIMES * 1e3,
        "peak_mib": running.peak_mib(),
        "growth_mib": running.peak_mib() - held,
    }
    return {f"{name}.{what}": figure for what, figure in figures.items()}
