"""The machine that the other tests of this folder stand on: that it hears, and that its nets hold."""

import json
import sys
from pathlib import Path

import pytest
from commands.process import KEPT_VARIABLES, Machine

from proxy.simulator import Simulator

PYTHON = (sys.executable, "-c")
KEY = "a-very-secret-key"


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
async def test_a_secret_that_a_process_says_is_noticed(simulator: Simulator, tmp_path: Path, stream: str) -> None:
    """Every test that uses a machine is a test of law 16; the complaint must not be a leak of its own."""
    say = f"import os, sys; print('the key is', os.environ['PANDADOC_API_KEY'], file=sys.{stream})"
    with pytest.raises(AssertionError, match="a secret was said") as caught:
        async with Machine(tmp_path, simulator) as machine:
            await machine.run(say, env={"PANDADOC_API_KEY": KEY}, program=PYTHON)
    assert KEY not in str(caught.value)


async def test_a_traceback_is_noticed(simulator: Simulator, tmp_path: Path) -> None:
    """No fault of an operator's or of a caller's may look like one of ours."""
    with pytest.raises(AssertionError, match="a traceback was shown"):
        async with Machine(tmp_path, simulator) as machine:
            assert (await machine.run("1 / 0", program=PYTHON)).code == 1


async def test_a_process_knows_only_what_the_test_tells_it(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own PANDADOC_API_KEY, or a proxy of the company's, decides nothing here."""
    monkeypatch.setenv("PANDADOC_API_KEY", KEY)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.corp:3128")
    ended = await machine.run("import json, os; print(json.dumps(list(os.environ)))", program=PYTHON)
    own = {"HOME", "XDG_STATE_HOME", "PYTHONWARNINGS", "LC_CTYPE"}  # Python sets the last one itself
    assert set(json.loads(ended.out)) <= own | set(KEPT_VARIABLES)


async def test_what_is_left_running_is_ended(simulator: Simulator, tmp_path: Path) -> None:
    """A test that fails half-way must leave nothing behind."""
    async with Machine(tmp_path, simulator) as machine:
        process = await machine.start("import time; time.sleep(600)", env={}, program=PYTHON)
        assert process.running
    assert not process.running
