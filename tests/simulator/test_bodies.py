"""Bodies on the wire: read to their end, tallied as they came, never held."""

import asyncio
import gzip
import hashlib
import json
import tracemalloc
from collections.abc import AsyncIterator, Iterable

import pytest
from aiohttp import ClientSession, FormData

from proxy.simulator import Simulator, pdf_bytes

_MIB = 1024 * 1024


async def test_a_large_body_to_an_unknown_path_is_read_hashed_and_answered_404(
    simulator: Simulator, client: ClientSession
) -> None:
    content = b"".join(pdf_bytes("a", 3 * _MIB))
    async with client.put("/no/such/path?a=b", data=_chunks(content)) as response:
        assert response.status == 404
    (received,) = simulator.journal
    assert (received.body_size, received.body, received.status) == (len(content), None, 404)
    assert received.body_sha256 == hashlib.sha256(content).hexdigest()


async def test_a_gzip_body_is_journaled_as_the_bytes_that_came(simulator: Simulator, client: ClientSession) -> None:
    content = gzip.compress(b'{"name": "x"}')
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    async with client.post("/public/v1/documents", data=content, headers=headers) as response:
        assert response.status == 400
    assert simulator.journal[0].body == content


async def test_an_upload_far_above_a_mebibyte_creates_a_document(simulator: Simulator, client: ClientSession) -> None:
    form = FormData()
    form.add_field("file", _chunks(b"x" * 20 * _MIB), filename="a.pdf", content_type="application/pdf")
    form.add_field("data", json.dumps({"name": "Scan"}), content_type="application/json")
    async with client.post("/public/v1/documents?upload", data=form) as response:
        assert response.status == 201
    assert [document.name for document in simulator.documents.newest_first()] == ["Scan"]
    assert simulator.journal[0].target == "/public/v1/documents?upload"


async def test_json_above_two_mebibytes_is_413(client: ClientSession) -> None:
    content = _chunks(b'{"name": "' + b"x" * 2 * _MIB + b'"}')
    headers = {"Content-Type": "application/json"}
    async with client.post("/public/v1/documents", data=content, headers=headers) as response:
        assert response.status == 413


async def test_a_caller_that_expects_100_gets_it_before_it_sends_its_body(simulator: Simulator) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(simulator.url.rpartition(":")[2]))
    head = (
        f"POST /public/v1/documents HTTP/1.1\r\nHost: a\r\nAuthorization: API-Key {simulator.issue_api_key()}\r\n"
        "Expect: 100-continue\r\nConnection: close\r\nContent-Length: 13\r\n\r\n"
    )
    writer.write(head.encode())
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b'{"name": "x"}')
    assert (await reader.read()).startswith(b"HTTP/1.1 201 Created\r\n")
    writer.close()


async def test_a_caller_that_speaks_http_1_0_gets_no_100(simulator: Simulator) -> None:
    """It would take it for the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(simulator.url.rpartition(":")[2]))
    head = (
        f"POST /public/v1/documents HTTP/1.0\r\nAuthorization: API-Key {simulator.issue_api_key()}\r\n"
        "Expect: 100-continue\r\nContent-Length: 13\r\n\r\n"
    )
    writer.write(head.encode() + b'{"name": "x"}')
    assert (await reader.read()).startswith(b"HTTP/1.0 201 Created\r\n")
    writer.close()


async def test_the_journal_shows_a_body_while_it_is_still_coming(simulator: Simulator, client: ClientSession) -> None:
    more = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"first"
        await more.wait()
        yield b"second"

    answer = asyncio.create_task(_status(client, body()))
    await simulator.until(lambda: any(received.body_size for received in simulator.journal))
    (received,) = simulator.journal
    assert (received.body_size, received.body_sha256, received.status) == (5, "", 0)
    more.set()
    assert await answer == 404
    assert (received.body, received.status) == (b"firstsecond", 404)


async def test_a_caller_that_leaves_in_the_middle_of_its_body_leaves_an_unanswered_entry(
    simulator: Simulator, client: ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", int(simulator.url.rpartition(":")[2]))
    head = f"POST /a HTTP/1.1\r\nHost: a\r\nAuthorization: API-Key {simulator.issue_api_key()}\r\n"
    writer.write(head.encode() + b"Content-Length: 9\r\n\r\nfirst")
    await simulator.until(lambda: any(received.body_size for received in simulator.journal))
    writer.transport.abort()
    assert await _status(client, _chunks(b"x")) == 404
    first, second = simulator.journal
    assert (first.body_size, first.body_sha256, first.status) == (5, "", 0)
    assert (second.body_size, second.status) == (1, 404)
    assert caplog.records == []


async def test_neither_way_is_a_body_ever_held_whole(client: ClientSession, draft: str) -> None:
    tracemalloc.start()
    try:
        assert await _status(client, _stream(pdf_bytes("a", 48 * _MIB))) == 404
        async with client.get(f"/public/v1/documents/{draft}/download?size={48 * _MIB}") as response:
            received = [len(chunk) async for chunk in response.content.iter_any()]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sum(received) == 48 * _MIB
    assert peak < 6 * _MIB


async def _status(client: ClientSession, body: AsyncIterator[bytes]) -> int:
    async with client.post("/no/such/path", data=body) as response:
        return response.status


async def _chunks(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 65536):
        yield content[start : start + 65536]


async def _stream(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
