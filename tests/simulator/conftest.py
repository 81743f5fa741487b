"""A running simulator, a client session against it, and a way to speak raw bytes to it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import ClientSession

from proxy.simulator import Simulator


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(draft_after_polls=1) as running:
        yield running


@pytest.fixture
def draft(simulator: Simulator) -> str:
    """Return the id of a document that is there: one that is still uploaded is downloaded by nobody."""
    document = simulator.documents.create("x")
    simulator.documents.poll(document)
    return document.id


@pytest.fixture
async def client(simulator: Simulator) -> AsyncIterator[ClientSession]:
    """Open a session that presents a live access token."""
    headers = {"Authorization": f"Bearer {simulator.issue_access_token()}"}
    async with ClientSession(simulator.url, headers=headers) as session:
        yield session


@pytest.fixture
def speak(simulator: Simulator) -> Callable[[bytes], Awaitable[bytes]]:
    """Return a function that sends raw bytes on a fresh connection and returns all that comes back."""

    async def exchange(data: bytes) -> bytes:
        port = int(simulator.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        answer = await reader.read()
        writer.close()
        return answer

    return exchange
