"""One request from its head to its answer, on the wire."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import ClientError, ClientSession

from proxy.simulator import Fault, Simulator, pdf_sha256

Speak = Callable[[bytes], Awaitable[bytes]]


def _request(simulator: Simulator, method: str, target: str, *, body: bytes = b"", extra: bytes = b"") -> bytes:
    head = (
        f"{method} {target} HTTP/1.1\r\nHost: a\r\nAuthorization: API-Key {simulator.issue_api_key()}\r\n"
        f"Connection: close\r\nContent-Length: {len(body)}\r\n"
    )
    return head.encode() + extra + b"\r\n" + body


async def _refresh(simulator: Simulator, refresh_token: str) -> tuple[int, bytes]:
    form = {
        "grant_type": "refresh_token",
        "client_id": simulator.client_id,
        "client_secret": simulator.client_secret,
        "refresh_token": refresh_token,
    }
    async with ClientSession(simulator.url) as session, session.post("/oauth2/access_token", data=form) as reply:
        return reply.status, await reply.read()


async def test_a_refresh_over_the_wire_lends_a_token_that_opens_the_api(simulator: Simulator) -> None:
    status, body = await _refresh(simulator, simulator.issue_refresh_token())
    assert status == 200
    headers = {"Authorization": f"Bearer {json.loads(body)['access_token']}"}
    async with (
        ClientSession(simulator.url) as session,
        session.get("/public/v1/members/current", headers=headers) as response,
    ):
        assert response.status == 200
    (call,) = simulator.token_calls()
    assert call.form["grant_type"] == "refresh_token"
    assert [received.path for received in simulator.api_calls()] == ["/public/v1/members/current"]


async def test_a_token_request_that_is_no_form_is_an_invalid_request(simulator: Simulator, speak: Speak) -> None:
    request = _request(simulator, "POST", "/oauth2/access_token", extra=b"Content-Type: application/json\r\n")
    answer = await speak(request)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.endswith(b'{"error": "invalid_request"}')


async def test_only_post_redeems(simulator: Simulator, speak: Speak) -> None:
    answer = await speak(_request(simulator, "GET", "/oauth2/access_token"))
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"\r\nAllow: POST\r\n" in answer


async def test_a_lost_reply_has_rotated_all_the_same(simulator: Simulator) -> None:
    refresh_token = simulator.issue_refresh_token()
    simulator.lose_token_replies(1)
    with pytest.raises(ClientError):
        await _refresh(simulator, refresh_token)
    assert simulator.token_calls()[0].status == 0
    assert await _refresh(simulator, refresh_token) == (400, b'{"error": "invalid_grant"}')


async def test_a_refused_token_request_is_no_reply_to_lose(simulator: Simulator) -> None:
    simulator.lose_token_replies(1)
    assert (await _refresh(simulator, "unknown"))[0] == 400
    with pytest.raises(ClientError):
        await _refresh(simulator, simulator.issue_refresh_token())


async def test_a_redeem_that_is_held_is_made_though_its_caller_has_left(simulator: Simulator) -> None:
    """So is a grant lost with a process that dies between its request and the answer."""
    gate = asyncio.Event()
    simulator.faults.add(Fault(path="/oauth2/access_token", gate=gate))
    refresh_token = simulator.issue_refresh_token()
    asking = asyncio.create_task(_refresh(simulator, refresh_token))
    await simulator.until(lambda: bool(simulator.token_calls() and simulator.token_calls()[0].body))
    asking.cancel()
    await asyncio.wait({asking})
    gate.set()
    await simulator.until(lambda: simulator.token_calls()[0].status == 200)
    assert refresh_token not in simulator.refresh_tokens


async def test_a_request_without_a_credential_is_401_after_its_body_was_read(simulator: Simulator) -> None:
    async with (
        ClientSession(simulator.url) as session,
        session.post("/public/v1/documents", data=b"x" * 100_000) as response,
    ):
        assert response.status == 401
        assert (await response.json())["type"] == "authentication_error"
    assert simulator.journal[0].body_size == 100_000


async def test_the_journal_has_the_target_and_the_headers_byte_for_byte(simulator: Simulator, speak: Speak) -> None:
    target = "//a%2Fb/..%2f/%2e%2e/c%zz/?upload&x=a+b%20c&x=&y?"
    request = _request(simulator, "GET", target, extra=b"X-a: 1\r\nx-A: 2\r\nX-Odd: caf\xe9\r\n")
    assert (await speak(request)).startswith(b"HTTP/1.1 404 ")
    (received,) = simulator.journal
    assert received.target == target
    assert received.headers[-3:] == ((b"X-a", b"1"), (b"x-A", b"2"), (b"X-Odd", b"caf\xe9"))


@pytest.mark.parametrize(
    "line",
    [
        b"OPTIONS * HTTP/1.1",
        b"GET http://elsewhere/public/v1/documents HTTP/1.1",
        b"GET /\xc3\xa9\xff HTTP/1.1",
        b"GET /%00%ff?%ff=%zz HTTP/1.1",
        b"PROPFIND / HTTP/1.1",
        b"GET /" + b"a" * 60_000 + b" HTTP/1.1",
        b"GET /public/v1/documents?count=%FF HTTP/1.0",
        b"CONNECT elsewhere:443 HTTP/1.1",
        b"nonsense",
    ],
)
async def test_no_request_line_however_odd_is_more_than_a_4xx(speak: Speak, line: bytes) -> None:
    answer = await speak(line + b"\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4"))


async def test_two_authorization_lines_are_journaled_and_refused(simulator: Simulator, speak: Speak) -> None:
    request = _request(simulator, "GET", "/public/v1/documents", extra=b"authorization: Bearer other\r\n")
    assert (await speak(request)).startswith(b"HTTP/1.1 401 ")
    assert simulator.journal[0].authorization[1] == "Bearer other"


async def test_a_download_arrives_whole(client: ClientSession, draft: str) -> None:
    async with client.get(f"/public/v1/documents/{draft}/download?size=5000001") as response:
        assert response.content_type == "application/pdf"
        content = await response.read()
    assert hashlib.sha256(content).hexdigest() == pdf_sha256(draft, 5_000_001)


async def test_head_has_the_length_of_get_and_no_content(simulator: Simulator, speak: Speak, draft: str) -> None:
    answer = await speak(_request(simulator, "HEAD", f"/public/v1/documents/{draft}/download"))
    assert b"\r\nContent-Length: 65536\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


async def test_delete_is_answered_204_without_content(simulator: Simulator, speak: Speak) -> None:
    document_id = simulator.documents.create("x").id
    answer = await speak(_request(simulator, "DELETE", f"/public/v1/documents/{document_id}"))
    assert answer.startswith(b"HTTP/1.1 204 No Content\r\n")
    assert answer.endswith(b"\r\n\r\n")


async def test_a_caller_that_leaves_during_its_download_harms_nobody(simulator: Simulator, draft: str) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", int(simulator.url.rpartition(":")[2]))
    writer.write(_request(simulator, "GET", f"/public/v1/documents/{draft}/download?size=100000000"))
    await simulator.until(lambda: any(received.status == 200 for received in simulator.journal))
    writer.transport.abort()
    assert (await _refresh(simulator, simulator.issue_refresh_token()))[0] == 200


async def test_a_fault_answers_instead_of_the_api_and_then_no_more(simulator: Simulator, client: ClientSession) -> None:
    simulator.faults.add(Fault("GET", "/public/**", 429, headers=(("Retry-After", "7"),), times=1))
    async with client.get("/public/v1/members/current") as response:
        assert (response.status, response.headers["Retry-After"]) == (429, "7")
        assert await response.json() == {"type": "throttled", "detail": "Request was throttled."}
    async with client.get("/public/v1/members/current") as response:
        assert response.status == 200


async def test_a_fault_needs_no_credential_and_redeems_nothing(simulator: Simulator) -> None:
    refresh_token = simulator.issue_refresh_token()
    simulator.faults.add(Fault(path="/oauth2/*", status=400, times=1))
    assert await _refresh(simulator, refresh_token) == (400, b'{"error": "invalid_grant"}')
    assert (await _refresh(simulator, refresh_token))[0] == 200


async def test_a_faults_own_body_is_sent_as_it_is(simulator: Simulator, client: ClientSession) -> None:
    simulator.faults.add(Fault(status=200, body=b"\x00garbage", headers=(("Content-Type", "text/html"),)))
    async with client.get("/public/v1/documents") as response:
        assert (response.content_type, await response.read()) == ("text/html", b"\x00garbage")


@pytest.mark.parametrize("value", ["close", "Close", "keep-alive, close", "x , CLOSE"])
async def test_a_faults_own_close_closes(simulator: Simulator, speak: Speak, value: str) -> None:
    simulator.faults.add(Fault(status=200, body=b"x", headers=(("connection", value),)))
    async with asyncio.timeout(10):
        answer = await speak(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert f"\r\nconnection: {value}\r\n".encode() in answer


async def test_a_fault_that_says_something_else_of_the_connection_keeps_it(simulator: Simulator) -> None:
    simulator.faults.add(Fault(status=200, body=b"x", headers=(("Connection", "x-close"),)))
    reader, writer = await asyncio.open_connection("127.0.0.1", int(simulator.url.rpartition(":")[2]))
    for _ in range(2):
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        assert await reader.readexactly(1) == b"x"
    writer.close()


async def test_a_delay_comes_before_the_usual_answer_and_before_the_credential_is_judged(
    simulator: Simulator, client: ClientSession
) -> None:
    loop = asyncio.get_running_loop()
    simulator.faults.add(Fault(delay=0.05))
    began = loop.time()
    answer = asyncio.create_task(_get(client, "/public/v1/members/current"))
    await simulator.until(lambda: bool(simulator.journal))
    simulator.revoke_access_tokens()
    assert await answer == 401
    assert loop.time() - began >= 0.05 - 0.002  # a loop counts milliseconds


async def test_a_reset_is_a_reset_and_not_an_end(simulator: Simulator, speak: Speak) -> None:
    simulator.faults.add(Fault(reset=True))
    with pytest.raises(ConnectionResetError):
        await speak(_request(simulator, "GET", "/"))
    assert simulator.journal[0].status == 0


async def test_an_early_answer_does_not_wait_for_the_body_and_closes(simulator: Simulator) -> None:
    simulator.faults.add(Fault(early=True, status=413))
    more = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"x"
        await more.wait()

    async with ClientSession(simulator.url) as session, session.post("/public/v1/documents", data=body()) as response:
        assert (response.status, response.headers["Connection"]) == (413, "close")
        more.set()
    assert simulator.journal[0].body_sha256 == ""


async def test_an_early_fault_alone_lets_a_401_come_before_the_body(simulator: Simulator) -> None:
    simulator.faults.add(Fault(early=True))
    request = b"POST /public/v1/documents HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", int(simulator.url.rpartition(":")[2]))
    writer.write(request)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 401 ")
    writer.close()


async def test_a_failure_of_the_simulators_own_is_a_500_and_is_told(
    simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    simulator.expires_in = object()  # not JSON: the simulator's user has gone wrong
    assert (await _refresh(simulator, simulator.issue_refresh_token()))[0] == 500
    assert "the simulator failed on POST /oauth2/access_token" in caplog.text
    assert simulator.client_secret not in caplog.text


async def test_a_bad_header_line_is_logged_nowhere(speak: Speak, caplog: pytest.LogCaptureFixture) -> None:
    answer = await speak(b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization : Bearer SECRET\r\n\r\n")
    assert answer.startswith(b"HTTP/1.0 400 ")
    assert "SECRET" not in caplog.text


async def _get(client: ClientSession, path: str) -> int:
    async with client.get(path) as response:
        await response.read()
        return response.status
