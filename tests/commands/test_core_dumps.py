"""What is in memory stays there: no core dump, nobody attaches."""

import os
import subprocess
import sys
from typing import Final

import pytest
from commands.process import Machine
from rig import until

TELL: Final = """
import ctypes, resource
from proxy import core_dumps
core_dumps.refuse()
print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""
"""3 is PR_GET_DUMPABLE."""


def test_a_process_that_refuses_is_not_dumped_and_not_dumpable() -> None:
    told = subprocess.run([sys.executable, "-c", TELL], capture_output=True, text=True, check=True)  # noqa: S603 - ours
    assert told.stdout.strip() == ("(0, 0) 0" if sys.platform == "linux" else "(0, 0) -1")


async def test_a_running_proxy_refuses_core_dumps(machine: Machine) -> None:
    process = await machine.start(env=machine.with_api_key())
    await process.url()
    (limit,) = [line for line in process.kernel_says("limits").splitlines() if line.startswith("Max core file size")]
    assert limit.split()[4:6] == ["0", "0"]


@pytest.mark.parametrize("command", ["check", "healthcheck", "wait", "login", "token status", "token refresh"])
async def test_whatever_a_command_does_it_has_refused_core_dumps_before_it_reads_anything(
    machine: Machine, command: str
) -> None:
    """It waits here for a configuration. Images run `healthcheck` every few seconds, with all secrets around it."""
    pipe = machine.folder / "config.yaml"
    os.mkfifo(pipe)
    process = await machine.start(*command.split(), "--config", str(pipe), env={})

    def limits() -> str:
        return next(
            line for line in process.kernel_says("limits").splitlines() if line.startswith("Max core file size")
        )

    await until(lambda: limits().split()[4:6] == ["0", "0"])
