"""Fixtures: a simulator, a machine to run processes on, and an app's way to talk to them."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from commands.danger import Danger
from commands.process import Machine

from proxy.simulator import Simulator


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(draft_after=0) as running:
        yield running


@pytest.fixture
async def machine(simulator: Simulator, tmp_path: Path) -> AsyncIterator[Machine]:
    async with Machine(tmp_path, simulator) as running:
        yield running


@pytest.fixture
async def app() -> AsyncIterator[aiohttp.ClientSession]:
    """Open an app's session: it has no credential, keeps its connections, and gives up after a while."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield session


@pytest.fixture
def danger(machine: Machine, app: aiohttp.ClientSession) -> Danger:
    """Put one grant on the machine, of which a process may die."""
    return Danger(machine, app, machine.with_grant())
