"""What the kernel's books say of a process, against a process that does what they should say."""

import os
import sys
from pathlib import Path
from typing import Final

import pytest

from bench.peer import Command
from bench.running import Failed, Running

BURN: Final = """
import time
def burn(seconds):
    while time.process_time() < seconds: pass
"""
STAY: Final = """
import pathlib, signal
pathlib.Path({sign!r}).touch()
signal.pause()
"""
CPU: Final = {min(os.sched_getaffinity(0))}


def running(program: str, folder: Path) -> Running:
    """Run a program that then stays, and says so by a sign: a port may be somebody else's by then."""
    return Running(Command((sys.executable, "-c", program + STAY.format(sign=str(folder / "sign")))), folder, CPU)


def test_the_cpu_time_of_children_and_threads_counts_too(tmp_path: Path) -> None:
    program = f"""{BURN}
import os, signal, threading
ends, held = os.pipe()
if os.fork() == 0:
    os.close(held)
    burn(0.3)
    os.kill(os.getppid(), signal.SIGUSR1)
    os.read(ends, 1)  # until its parent is gone
    raise SystemExit
signal.sigwait([signal.SIGUSR1])
thread = threading.Thread(target=burn, args=(0.3,)); thread.start(); thread.join()
"""
    program = f"import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])\n{program}"
    with running(program, tmp_path) as process:
        process.until((tmp_path / "sign").exists)
        assert 0.55 < process.cpu_seconds() < 1.5


def test_a_peak_counts_from_when_it_was_forgotten(tmp_path: Path) -> None:
    with running("held = bytearray(128 * 2**20); del held", tmp_path) as process:
        process.until((tmp_path / "sign").exists)
        assert process.peak_mib() > 64
        process.forget_peak()
        assert process.peak_mib() < 64
        assert process.resident_mib() <= process.peak_mib()


def test_it_is_pinned_and_gets_nothing_of_our_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    with running("import os; print(os.sched_getaffinity(0), 'HTTPS_PROXY' in os.environ, flush=True)", tmp_path) as it:
        it.until((tmp_path / "sign").exists)
    assert (tmp_path / "said").read_text() == f"{CPU} False\n"


def test_one_that_ends_before_it_is_ready_has_failed_with_its_last_words(tmp_path: Path) -> None:
    with running("raise SystemExit('no such key')", tmp_path) as process, pytest.raises(Failed, match="no such key"):
        process.until(lambda: False)
