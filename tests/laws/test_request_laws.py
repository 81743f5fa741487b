"""The laws of the request, each by its sentence, through the whole proxy."""

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import HouseMaker
from rig import House, until
from wire import OK, Stage, answering, caller, converse, put, read_message, upstream

from proxy.simulator import Fault

GET = b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"
SMALL_REPLAY = {"replay": {"max_body": "64KiB", "max_total": "128KiB"}}
UPLOAD = "/public/v1/documents?upload"
ME = "/public/v1/members/current"


async def pieces(size: int, piece: int = 16384) -> AsyncIterator[bytes]:
    for start in range(0, size, piece):
        yield bytes([start // piece % 256]) * min(piece, size - start)


def uploads(house: House) -> list[int]:
    """Return the statuses that uploads were answered with by the simulator."""
    return [call.status for call in house.simulator.api_calls() if call.method == "POST"]


# Law 11


async def test_a_replay_sends_the_same_bytes(oauth_house: HouseMaker) -> None:
    house = await oauth_house()
    await house.get()
    house.simulator.revoke_access_tokens()
    body = bytes(range(256)) * 4096  # 1 MiB, more than any one read
    assert (await house.ask("POST", "/public/v1/nowhere", data=body)).status == 404
    sent = [call for call in house.simulator.api_calls() if call.method == "POST"]
    assert [call.status for call in sent] == [401, 404]
    assert {call.body_sha256 for call in sent} == {hashlib.sha256(body).hexdigest()}


async def test_a_chunked_body_is_replayed_too_if_it_was_kept(oauth_house: HouseMaker) -> None:
    house = await oauth_house()
    await house.get()
    house.simulator.revoke_access_tokens()
    assert (await house.ask("POST", "/public/v1/nowhere", data=pieces(100_000))).status == 404
    sent = [call for call in house.simulator.api_calls() if call.method == "POST"]
    assert [call.status for call in sent] == [401, 404]
    assert len({call.body_sha256 for call in sent}) == 1
    assert {call.body_size for call in sent} == {100_000}


async def test_an_early_401_in_the_middle_of_a_kept_body_is_replayed_whole(oauth_house: HouseMaker) -> None:
    """The first attempt ends with half of the body; the second has that half and the rest."""
    house = await oauth_house()
    await house.get()
    house.simulator.faults.add(Fault(method="POST", status=401, early=True, times=1))
    body = bytes(range(256)) * 400
    async with caller(house.port) as line:
        await line.send(b"POST /public/v1/nowhere HTTP/1.1\r\nHost: localhost\r\n")
        await line.send(b"Content-Length: %d\r\n\r\n" % len(body) + body[:50_000])
        await house.simulator.until(lambda: len(house.simulator.api_calls()) == 3)
        await line.send(body[50_000:])
        assert (await line.answer()).start == b"HTTP/1.1 404 Not Found"
    assert uploads(house) == [401, 404]
    assert house.simulator.api_calls()[-1].body_sha256 == hashlib.sha256(body).hexdigest()


async def test_an_early_401_in_an_upload_that_was_not_kept_reaches_its_sender(oauth_house: HouseMaker) -> None:
    """While it is still sending: nobody uploads 60 MB to learn that it was for nothing."""
    house = await oauth_house(SMALL_REPLAY)
    await house.get()
    house.simulator.faults.add(Fault(method="POST", status=401, early=True))
    async with caller(house.port) as line:
        await line.send(b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000000\r\n\r\n" + b"x" * 100_000)
        seen = await line.answer()
        assert seen.start == b"HTTP/1.1 401 Unauthorized"
        assert seen.values(b"connection") == [b"close"]


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_could_not_be_kept_is_never_resent_short(oauth_house: HouseMaker, *, chunked: bool) -> None:
    """Its 401 is relayed, and the credential heals behind it."""
    house = await oauth_house(SMALL_REPLAY)
    await house.get()  # accepted just now: no probe
    house.simulator.revoke_access_tokens()
    size = 300_000
    data = pieces(size) if chunked else b"x" * size
    assert (await house.ask("POST", "/public/v1/nowhere", data=data)).status == 401
    assert uploads(house) == [401]
    await until(lambda: len(house.simulator.token_calls()) == 2)
    assert (await house.get()).status == 200


async def test_two_attempts_reach_the_upstream_at_most(oauth_house: HouseMaker) -> None:
    house = await oauth_house()
    house.simulator.faults.add(Fault(path="/public/**", status=401))
    assert (await house.ask("POST", "/public/v1/x", data=b"body")).status == 401
    assert uploads(house) == [401, 401]


async def test_a_403_is_never_a_reason_to_refresh(oauth_house: HouseMaker) -> None:
    house = await oauth_house()
    house.simulator.faults.add(Fault(path="/public/**", status=403))
    assert {answer.status for answer in await house.many(20)} == {403}
    assert len(house.simulator.token_calls()) == 1


async def test_a_401_with_an_api_key_is_relayed(api_key_house: HouseMaker) -> None:
    house = await api_key_house()
    house.simulator.revoke_api_keys()
    seen = await house.get()
    assert seen.status == 401
    assert seen.json["type"] == "authentication_error"
    assert len(house.simulator.api_calls()) == 1
    assert house.ear.fields[-1]["fault"] == "PandaDoc's 401 is relayed: no other API key is configured"


async def test_a_post_is_not_sent_again_after_a_reset(api_key_house: HouseMaker) -> None:
    """It may have been done."""

    async def script(stage: Stage) -> None:
        await stage.request()
        stage.reset()

    async with upstream(script) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        seen = await house.ask("POST", "/x", data=b"once")
        assert seen.status == 502
        assert len(up.heard) == 1


async def test_three_sends_are_the_most(oauth_house: HouseMaker) -> None:
    """Two attempts on account of a 401, and one more for a kept connection that breaks."""

    async def script(stage: Stage) -> None:
        if not stage.upstream.connections - 1:
            await stage.request()
            await stage.say(OK)
        await stage.request()
        if len(stage.upstream.heard) == 3:
            await stage.say(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
            await stage.request()
        stage.reset()

    async with upstream(script) as up:
        house = await oauth_house()
        await house.forward_to(up.url)
        assert (await house.get("/first")).status == 200
        assert (await house.get("/x")).status == 502
        assert [heard.start.split()[1] for heard in up.heard] == [b"/first", b"/x", b"/x", b"/x"]


# Law 12


async def test_a_revoked_token_is_found_by_the_probe_before_an_upload_that_cant_be_kept(
    oauth_house: HouseMaker,
) -> None:
    """A large upload must not die of a 401 at its end."""
    house = await oauth_house(SMALL_REPLAY)
    await house.get()
    house.simulator.revoke_access_tokens()
    house.clock.pass_(31)  # not accepted lately any more
    assert (await house.ask("POST", "/public/v1/nowhere", data=pieces(300_000))).status == 404
    assert uploads(house) == [404]
    probes = [call.status for call in house.simulator.api_calls() if call.method == "GET"]
    assert probes == [200, 401]


@pytest.mark.parametrize("fault", [{"status": 503}, {"hang": True}], ids=["failing", "hanging"])
async def test_a_token_that_the_probe_has_shown_to_be_dead_is_lent_to_no_upload(
    oauth_house: HouseMaker, fault: Mapping[str, Any]
) -> None:
    """Nor to a later one, while no newer token can be had: it would be sent whole, for a 401 at its end."""
    house = await oauth_house(SMALL_REPLAY, seed_life=3600, wait="1s")
    await house.look()
    await house.get()
    house.simulator.revoke_access_tokens()
    house.simulator.faults.add(Fault(path="/oauth2/access_token", **fault))
    house.clock.pass_(31)
    for _ in range(2):
        seen = await house.ask("POST", "/public/v1/nowhere", data=pieces(300_000))
        assert seen.status == 503
        assert seen.json["type"] == "credential_unavailable"
        assert 1 <= int(seen.headers["Retry-After"]) <= 10
        house.clock.pass_(6)  # the probe's result is old by then
    assert not uploads(house)


async def test_a_token_that_was_accepted_since_its_probe_was_refused_is_lent_to_uploads(
    oauth_house: HouseMaker,
) -> None:
    """A probe's own path may be refused for a while; a refresh that hangs is waited for, and no more."""
    house = await oauth_house(SMALL_REPLAY, seed_life=3600, wait="1s")
    await house.look()
    await house.get()
    house.clock.pass_(31)
    house.simulator.faults.add(Fault(path=ME, status=401, times=1))
    house.simulator.faults.add(Fault(path="/oauth2/access_token", hang=True))
    assert (await house.ask("POST", "/public/v1/nowhere", data=pieces(300_000))).status == 503
    assert (await house.get()).status == 200
    assert (await house.ask("POST", "/public/v1/nowhere", data=pieces(300_000))).status == 404


async def test_an_upload_that_cant_be_kept_waits_for_the_refresh_in_flight(oauth_house: HouseMaker) -> None:
    """PandaDoc kills the old token at the redeem, in the middle of the upload."""
    house = await oauth_house(SMALL_REPLAY, simulator={"expires_in": 3600})
    await house.get()
    house.clock.pass_(3500)
    gate = asyncio.Event()
    house.simulator.faults.add(Fault(path="/oauth2/access_token", gate=gate, times=1))
    upload = asyncio.create_task(house.ask("POST", "/public/v1/nowhere", data=pieces(300_000)))
    await house.simulator.until(lambda: len(house.simulator.token_calls()) == 2)
    assert not uploads(house)
    gate.set()
    assert (await upload).status == 404
    assert uploads(house) == [404]
    assert house.ear.fields[-1]["generation"] == 2


@pytest.mark.parametrize("status", [404, 502])
async def test_an_answer_that_is_an_error_does_not_spare_an_upload_its_probe(
    oauth_house: HouseMaker, status: int
) -> None:
    """It says nothing of the token: PandaDoc may not even have looked at it."""
    house = await oauth_house(SMALL_REPLAY)
    house.simulator.faults.add(Fault(path="/public/v1/documents", status=status))
    assert (await house.get("/public/v1/documents")).status == status
    await house.ask("POST", "/public/v1/nowhere", data=pieces(300_000))
    asked = [(call.method, call.target) for call in house.simulator.api_calls()]
    assert asked == [("GET", "/public/v1/documents"), ("GET", ME), ("POST", "/public/v1/nowhere")]


async def test_a_probe_that_is_redirected_goes_nowhere_else(oauth_house: HouseMaker) -> None:
    """Redirects are never followed, and the credential goes to the configured origin (law 15)."""
    async with upstream(answering(OK)) as other:
        house = await oauth_house(SMALL_REPLAY)
        house.simulator.faults.add(Fault(path=ME, status=302, headers=(("Location", other.url + ME),)))
        assert (await house.ask("POST", "/public/v1/nowhere", data=pieces(300_000))).status == 404
        assert [call.status for call in house.simulator.api_calls()] == [302, 404]
        assert not other.connections


async def test_a_token_accepted_lately_is_not_probed(oauth_house: HouseMaker) -> None:
    house = await oauth_house(SMALL_REPLAY)
    await house.get()
    await house.ask("POST", "/public/v1/nowhere", data=pieces(300_000))
    assert [call.method for call in house.simulator.api_calls()] == ["GET", "POST"]


async def test_all_kept_bodies_together_stay_within_max_total(oauth_house: HouseMaker) -> None:
    """Two bodies fit; the third streams unkept, and its 401 is relayed."""
    house = await oauth_house(SMALL_REPLAY)
    await house.get()
    house.simulator.revoke_access_tokens()
    body = b"x" * 60_000
    gate = asyncio.Event()
    house.simulator.faults.add(Fault(path="/public/v1/held", gate=gate))
    asked = [asyncio.create_task(house.ask("POST", "/public/v1/held", data=body)) for _ in range(3)]
    await house.simulator.until(lambda: len(uploads(house)) == 3)
    gate.set()
    answers = await asyncio.gather(*asked)
    assert sorted(answer.status for answer in answers) == [401, 404, 404]


async def test_what_was_kept_of_a_body_is_given_back_at_its_requests_end(oauth_house: HouseMaker) -> None:
    """Else a while after each start no body is kept any more, and every 401 of an upload is relayed."""
    house = await oauth_house(SMALL_REPLAY)
    body = b"x" * 60_000
    for _ in range(3):
        assert (await house.ask("POST", "/public/v1/nowhere", data=body)).status == 404
    house.simulator.revoke_access_tokens()
    assert (await house.ask("POST", "/public/v1/nowhere", data=body)).status == 404
    assert uploads(house) == [404, 404, 404, 401, 404]


async def test_a_body_larger_than_allowed_is_refused_before_or_while_it_streams(api_key_house: HouseMaker) -> None:
    house = await api_key_house({"limits": {"max_body": "100KiB"}, "replay": {"max_body": "64KiB"}})
    announced = await house.ask("POST", "/x", data=b"x" * 102_401)
    assert announced.status == 413
    assert "limits.max_body" in announced.json["detail"]
    assert not house.simulator.api_calls()
    streamed = await house.ask("POST", "/x", data=pieces(102_401))
    assert streamed.status == 413
    assert (await house.ask("POST", "/x", data=pieces(102_400))).status == 404


# Law 13


@pytest.mark.parametrize(
    "head", [b"Content-Length: 100\r\n", b"Transfer-Encoding: chunked\r\n"], ids=["length", "chunked"]
)
async def test_after_the_first_byte_failure_is_a_closed_connection(api_key_house: HouseMaker, head: bytes) -> None:
    """Never a second status line, never an end that was not there."""

    async def script(stage: Stage) -> None:
        await stage.request()
        begun = b"5\r\nhello\r\n" if b"chunked" in head else b"hello"
        await stage.say(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + begun)
        stage.writer.close()

    async with upstream(script) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        async with caller(house.port) as line:
            await line.send(GET)
            raw = await line.closed()
        assert raw.count(b"HTTP/1.1") == 1
        assert raw.endswith((b"hello", b"5\r\nhello\r\n"))
        await until(lambda: house.ear.heard("WARNING proxy.access", "unfinished"))
        assert not house.ear.heard("Traceback")


async def test_an_answer_to_http_1_0_that_breaks_off_ends_in_a_reset(api_key_house: HouseMaker) -> None:
    """There the end of the connection is the end of the body, so only a reset tells."""

    async def script(stage: Stage) -> None:
        await stage.request()
        await stage.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await stage.upstream.cue.wait()
        stage.reset()

    async with upstream(script) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        async with caller(house.port) as line:
            await line.send(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
            await line.reader.readuntil(b"hello")
            up.cue.set()
            with pytest.raises(ConnectionResetError):
                await line.reader.read()


@pytest.mark.parametrize("end", [b"0\r\n\r\n", b""], ids=["whole", "broken"])
@pytest.mark.parametrize("size", [0, 5, 2**20 - 1, 2**20 + 1])
async def test_at_a_unix_socket_an_answer_to_http_1_0_is_measured_before_it_is_passed_on(
    api_key_house: HouseMaker, tmp_path: Path, size: int, end: bytes
) -> None:
    """Nothing can be reset there. What is longer than a MiB ends as it does, broken or not."""

    async def script(stage: Stage) -> None:
        await stage.request()
        piece = b"%x\r\n%b\r\n" % (size, b"x" * size) if size else b""
        await stage.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + piece + end)

    async with upstream(script) as up:
        path = tmp_path / "proxy.sock"
        house = await api_key_house({"upstream": {"url": up.url}, "listeners": [{"bind": f"unix:{path}"}]})
        reader, writer = await asyncio.open_unix_connection(path, limit=2**21)
        await put(writer, b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
        seen = await read_message(reader, to_end=True)
        assert await reader.read() == b""
        writer.close()
        if size > 2**20:
            assert (len(seen.body), seen.values(b"content-length")) == (size, [])
        elif end:
            assert (len(seen.body), seen.values(b"content-length")) == (size, [b"%d" % size])
        else:
            assert seen.start == b"HTTP/1.1 502 Bad Gateway"
            assert house.ear.heard("The upstream's answer broke off")
        assert house.ear.fields[-1]["status"] == int(seen.start.split()[1])
        assert house.proxy._snapshot is not None  # noqa: SLF001 - nothing else shows what is kept
        assert house.proxy._snapshot.kept_bytes.used == 0  # noqa: SLF001 - the same


async def test_an_answer_that_is_whole_takes_no_room_to_be_measured(api_key_house: HouseMaker, tmp_path: Path) -> None:
    """There is none here."""

    async def script(stage: Stage) -> None:
        await stage.request()
        await stage.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")

    async with upstream(script) as up:
        path = tmp_path / "proxy.sock"
        room = {"replay": {"max_body": "1KiB", "max_total": "1KiB"}}
        await api_key_house({"upstream": {"url": up.url}, "listeners": [{"bind": f"unix:{path}"}], **room})
        reader, writer = await asyncio.open_unix_connection(path)
        await put(writer, b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
        seen = await read_message(reader, to_end=True)
        writer.close()
        assert (seen.body, seen.values(b"content-length")) == (b"ok", [b"2"])


async def test_a_caller_that_stops_reading_is_let_go_of(api_key_house: HouseMaker) -> None:
    """With all that was buffered for it: a closed connection would wait for it for ever."""

    async def script(stage: Stage) -> None:
        await stage.request()
        await stage.say(b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n" + b"x" * 50_000_000)

    async with upstream(script) as up:
        house = await api_key_house({"upstream": {"url": up.url, "idle_timeout": "200ms"}})
        async with caller(house.port) as line:
            await line.send(GET)
            await until(lambda: house.ear.heard("the caller stopped reading"))
            await until(lambda: not house.server.connections)
            assert len(await line.closed()) < 50_000_000


async def test_a_caller_that_reads_slowly_but_steadily_gets_all_of_it(api_key_house: HouseMaker) -> None:
    """What lies in the kernel for it takes longer than the idle timeout; some of it goes in each."""
    size = 600_000
    with socket.socket() as small:
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        async with upstream(answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))) as up:
            house = await api_key_house({"upstream": {"url": up.url, "idle_timeout": "200ms"}})
            small.connect(("127.0.0.1", house.port))
            reader, writer = await asyncio.open_connection(sock=small, limit=4096)
            writer.write(GET)
            await reader.readuntil(b"\r\n\r\n")
            while size:
                size -= len(await reader.readexactly(min(size, 6000)))
                await asyncio.sleep(0.02)
            writer.close()


# Law 14


FAILING = {
    "reset before the head": (b"", 502, "connection_terminated"),
    "half a head": (b"HTTP/1.1 200 OK\r\nContent-Le", 502, "connection_terminated"),
    "garbage": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", 502, "http_protocol_error"),
    "two lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", 502, "http_protocol_error"),
    "length and chunked": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        502,
        "http_protocol_error",
    ),
    "another protocol, unasked": (
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        502,
        "http_protocol_error",
    ),
    "a control character in a field": (
        b"HTTP/1.1 200 OK\r\nX: a\x01b\r\nContent-Length: 2\r\n\r\nok",
        502,
        "http_protocol_error",
    ),
    "a folded field": (
        b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
        502,
        "http_protocol_error",
    ),
    "a bare line feed": (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", 502, "http_protocol_error"),
    "a field of 65 KiB": (
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 66_000 + b"\r\n\r\n",
        502,
        "http_response_header_section_size",
    ),
}


@pytest.mark.parametrize(("said", "status", "error"), FAILING.values(), ids=FAILING)
async def test_what_the_upstream_breaks_is_told_as_a_502_of_ours(
    api_key_house: HouseMaker, said: bytes, status: int, error: str
) -> None:
    """It says what to do and holds no upstream text."""

    async def script(stage: Stage) -> None:
        await stage.request()
        await stage.say(said)

    async with upstream(script) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        seen = await house.ask("POST", "/x", data=b"x")
        assert seen.status == status
        assert seen.headers["Proxy-Status"] == f"pandadoc-proxy; error={error}"
        assert seen.headers["Content-Type"] == "application/problem+json"
        assert seen.json["type"] == "upstream_error"
        assert seen.json["status"] == status
        assert "Retry-After" not in seen.headers
        assert b"SSH" not in seen.body


async def test_an_upstream_that_does_not_answer_in_time_is_a_504(api_key_house: HouseMaker) -> None:
    async def script(stage: Stage) -> None:
        await stage.request()
        await stage.reader.read()

    async with upstream(script) as up:
        house = await api_key_house({"upstream": {"url": up.url, "response_timeout": "200ms"}})
        for body in (None, b"x", pieces(99_999)):
            seen = await house.ask("POST", "/x", data=body)
            assert seen.status == 504
            assert seen.headers["Proxy-Status"] == "pandadoc-proxy; error=http_response_timeout"


async def test_an_upstream_that_stops_taking_the_upload_is_a_504(api_key_house: HouseMaker) -> None:
    async def script(stage: Stage) -> None:
        await stage.head()
        await stage.upstream.cue.wait()

    async with upstream(script) as up:
        house = await api_key_house({"upstream": {"url": up.url, "idle_timeout": "300ms"}})
        seen = await house.ask("POST", "/x", data=pieces(60_000_000))
        assert seen.status == 504
        assert seen.headers["Proxy-Status"] == "pandadoc-proxy; error=connection_write_timeout"
        up.cue.set()


async def test_an_upstream_that_refuses_the_connection_is_a_502(
    api_key_house: HouseMaker, unused_tcp_port: int
) -> None:
    house = await api_key_house({"upstream": {"url": f"http://127.0.0.1:{unused_tcp_port}"}})
    seen = await house.get()
    assert seen.status == 502
    assert seen.headers["Proxy-Status"] == "pandadoc-proxy; error=connection_refused"


async def test_more_requests_than_allowed_are_told_to_come_back(api_key_house: HouseMaker) -> None:
    async def script(stage: Stage) -> None:
        await stage.request()
        await stage.upstream.cue.wait()
        await stage.say(OK)

    async with upstream(script) as up:
        house = await api_key_house({"upstream": {"url": up.url}, "limits": {"max_requests": 2}})
        both = [asyncio.create_task(house.get()) for _ in range(2)]
        await until(lambda: len(up.heard) == 2)
        seen = await house.get()
        assert seen.status == 503
        assert seen.headers["Retry-After"] == "1"
        up.cue.set()
        assert [(await task).status for task in both] == [200, 200]


async def test_a_caller_that_stalls_in_its_body_is_a_408(api_key_house: HouseMaker) -> None:
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url, "idle_timeout": "100ms"}})
        stalled = b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf"
        seen = await converse(house.port, stalled)
        assert seen.start.startswith(b"HTTP/1.1 408 ")
        assert seen.values(b"connection") == [b"close"]
        await until(lambda: up.gone == 1)


# Law 17


@pytest.mark.parametrize("moment", ["before the head", "in the download", "in the upload"])
async def test_a_caller_that_hangs_up_cancels_its_upstream_request(api_key_house: HouseMaker, moment: str) -> None:
    """Within a second, and without a traceback; what was half sent is never taken for whole."""

    async def script(stage: Stage) -> None:
        if moment == "in the upload":
            await stage.head()
            stage.upstream.cue.set()
            await stage.reader.readuntil(b"the end of the body that never comes")
        await stage.request()
        if moment == "in the download":
            await stage.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nbegun")
        stage.upstream.cue.set()
        await stage.reader.readexactly(1)

    async with upstream(script) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        async with caller(house.port) as line:
            body = b"Content-Length: 1000\r\n\r\nbegun" if moment == "in the upload" else b"\r\n"
            await line.send(b"POST /x HTTP/1.1\r\nHost: localhost\r\n" + body)
            await up.cue.wait()
            if moment == "in the download":
                await line.reader.readuntil(b"begun")
        await until(lambda: up.gone == 1, seconds=1)
        await until(lambda: bool(house.ear.fields) and house.ear.fields[-1]["status"] == 499)
        assert house.ear.heard("INFO proxy.access")  # nobody's trouble but its own
        assert not house.ear.heard("Traceback")
        assert not house.ear.heard("ERROR")


async def test_one_requests_failure_is_one_requests_failure(api_key_house: HouseMaker) -> None:
    async def script(stage: Stage) -> None:
        while True:
            request = await stage.request()
            if b"/broken" in request.start:
                stage.reset()
                return
            await stage.say(OK)

    async with upstream(script) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        paths = [f"/{'broken' if number % 3 == 0 else 'fine'}/{number}" for number in range(60)]
        answers = await asyncio.gather(*(house.ask("POST", path) for path in paths))
        for path, answer in zip(paths, answers, strict=True):
            assert answer.status == (502 if "broken" in path else 200)


async def test_pipelined_requests_are_answered_in_order(api_key_house: HouseMaker) -> None:
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        async with caller(house.port) as line:
            await line.send(b"".join(GET.replace(b"/x", b"/%d" % number) for number in range(5)))
            for _ in range(5):
                assert (await line.answer()).body == b"ok"
        assert [message.start for message in up.heard] == [b"GET /%d HTTP/1.1" % number for number in range(5)]
        assert (await converse(house.port, GET)).body == b"ok"
