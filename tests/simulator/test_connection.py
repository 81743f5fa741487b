"""What aiohttp's connection tells nobody: a body that breaks off, and a caller who has left."""

import asyncio

import pytest
from aiohttp import ClientSession

from proxy.simulator import Fault, Simulator

LATER = pytest.mark.parametrize(
    "later", [b"ZZ\r\n", b"5\r\nhello\r\nZZ\r\n", b"3\r\nabcdef\r\n", b"0\r\nno trailer\r\n\r\n"]
)
PATHS = ("/public/v1/documents", "/oauth2/access_token", "/oauth2/authorize", "/_simulator/revoke")


def _head(simulator: Simulator, method: str, path: str, *fields: str) -> bytes:
    lines = (f"{method} {path} HTTP/1.1", "Host: a", f"Authorization: API-Key {simulator.issue_api_key()}", *fields)
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


async def _open(simulator: Simulator) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", int(simulator.url.rpartition(":")[2]))


@pytest.mark.parametrize("path", PATHS)
@LATER
async def test_a_body_that_breaks_off_in_a_later_piece_than_its_head_ends_the_connection(
    simulator: Simulator, path: str, later: bytes
) -> None:
    reader, writer = await _open(simulator)
    simulator.issue_access_token()
    writer.write(_head(simulator, "POST", path, "Expect: 100-continue", "Transfer-Encoding: chunked"))
    async with asyncio.timeout(10):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(later)
        assert await reader.read() == b""
    writer.close()
    assert not any(received.status for received in simulator.journal)
    assert simulator.state()["access_tokens"] == 1


@LATER
async def test_one_that_breaks_off_before_its_turn_comes_leaves_the_answer_before_it(
    simulator: Simulator, later: bytes
) -> None:
    gate = asyncio.Event()
    simulator.faults.add(Fault("GET", status=418, gate=gate))
    reader, writer = await _open(simulator)
    first, second = _head(simulator, "GET", "/a"), _head(simulator, "POST", "/b", "Transfer-Encoding: chunked")
    writer.write(first + second)
    await simulator.until(lambda: bool(simulator.journal))
    writer.write(later)
    async with ClientSession(simulator.url) as session, session.get("/_simulator/state") as behind:
        assert behind.status == 200
    gate.set()
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 418 ")
    assert answer.count(b"HTTP/1.") == 1


@pytest.mark.parametrize("fault", [Fault(hang=True), Fault(hang=True, early=True)], ids=["read", "early"])
async def test_nothing_is_kept_of_a_caller_who_leaves_while_it_hangs(simulator: Simulator, fault: Fault) -> None:
    simulator.faults.add(fault)
    before = asyncio.all_tasks()
    _, writer = await _open(simulator)
    writer.write(_head(simulator, "POST", "/a", "Content-Length: 1") + b"x")
    await simulator.until(lambda: bool(simulator.journal))
    writer.close()
    async with asyncio.timeout(10):
        while left := asyncio.all_tasks() - before:
            await asyncio.wait(left)
    assert simulator.journal[0].status == 0
