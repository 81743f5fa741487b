"""What a token endpoint may do wrong, one row a fault, played on the wire (laws 4 to 8, 14 and 16).

Each fault is met twice: when the token has expired, and when it is only stale and goes on being lent.
"""

import asyncio
import gzip
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from conftest import HouseMaker
from rig import House
from wire import Script, Stage, answering, upstream

from proxy.credential.oauth2 import State

SAID = b"what-the-reply-said"
"""Stands in every reply; the house looks for it in all that is said, as for a secret."""

TOKEN_LIFE = 3600

BOTH = pytest.mark.parametrize("good", [False, True], ids=["expired", "stale"])


def reply(status: str, body: bytes, *lines: bytes, kind: bytes = b"application/json") -> bytes:
    fields = b"\r\n".join([b"Content-Type: " + kind, b"Content-Length: %d" % len(body), b"X-Said: " + SAID, *lines])
    return b"HTTP/1.1 %s\r\n%s\r\n\r\n%s" % (status.encode(), fields, body)


def error(name: str, status: str = "400 Bad Request") -> Script:
    return answering(reply(status, b'{"error": "%s", "error_description": "%s"}' % (name.encode(), SAID)))


def page(status: str, *lines: bytes) -> Script:
    return answering(reply(status, b"<html>%s</html>" % SAID, *lines, kind=b"text/html"))


def two_hundred(body: bytes, *lines: bytes) -> Script:
    return answering(reply("200 OK", body, *lines))


async def hang(stage: Stage) -> None:
    await stage.request()
    await stage.reader.read()


async def drip(stage: Stage) -> None:
    await stage.request()
    await stage.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
    while True:
        await stage.say(b" ")
        await asyncio.sleep(0.02)


async def reset(stage: Stage) -> None:
    await stage.request()
    stage.reset()


async def cut_short(stage: Stage) -> None:
    await stage.request()
    await stage.say(reply("200 OK", b'{"access_token": "%s", "expires_in": 3600}' % SAID)[:-9])


@dataclass(frozen=True)
class Row:
    """A fault, and what must be known and said of it."""

    script: Script
    result: str  # the word for it: in the counter and in the ledger
    phrase: str  # of the answer
    dead: bool = False  # no waiting helps
    pause: float = 0.5  # seconds for which it is not tried again, at least
    settings: Mapping[str, Any] = field(default_factory=dict)


SLOW = {"redeem_timeout": "150ms"}
CLIENT = "Check its id ($CLIENT_ID) and secret ($CLIENT_SECRET)"
LOGIN = "Run `pandadoc-proxy login`, or set a new refresh token as credentials.default.oauth2.refresh_token"
SCOPE = "Check credentials.default.oauth2, its scope above all"
AGAIN = "It is tried again by itself"
NO_REPLY = "a 200 that is no token reply"
BOMB = gzip.compress(b" " * 10_000_000)

ROWS = {
    "invalid_grant": Row(error("invalid_grant"), "invalid_grant", LOGIN, dead=True),
    "invalid_client": Row(error("invalid_client"), "invalid_client", CLIENT, dead=True),
    "invalid_client as a 401": Row(error("invalid_client", "401 X"), "invalid_client", CLIENT, dead=True),
    "invalid_request": Row(error("invalid_request"), "invalid_request", SCOPE, dead=True),
    "invalid_scope": Row(error("invalid_scope"), "invalid_scope", SCOPE, dead=True),
    "unauthorized_client": Row(error("unauthorized_client"), "unauthorized_client", SCOPE, dead=True),
    "unsupported_grant_type": Row(error("unsupported_grant_type"), "unsupported_grant_type", SCOPE, dead=True),
    "access_denied": Row(error("access_denied"), "access_denied", SCOPE, dead=True),
    "an unknown error": Row(
        error("what-the-reply-said"), "unknown_oauth_error", "an unknown OAuth error with status 400", pause=60
    ),
    "400, validation error": Row(
        answering(reply("400 X", b'{"type": "validation_error"}')), "unexpected_status", "status 400"
    ),
    "401": Row(page("401 Unauthorized"), "unexpected_status", "status 401 from http://127.0.0.1:"),
    "403": Row(page("403 Forbidden"), "unexpected_status", "status 403"),
    "404": Row(page("404 Not Found"), "unexpected_status", "status 404"),
    "429": Row(page("429 Slow Down"), "throttled", "too many requests (429)"),
    "429, asking for two minutes": Row(page("429 X", b"Retry-After: 120"), "throttled", "(429)", pause=120),
    "429, asking for a year": Row(page("429 X", b"Retry-After: 31536000"), "throttled", "(429)", pause=300),
    "500": Row(page("500 Oh"), "server_error", "status 500"),
    "503, asking for a minute": Row(page("503 X", b"Retry-After: 60"), "server_error", "status 503", pause=60),
    "hang": Row(hang, "timeout", "no answer in time", settings=SLOW),
    "drip": Row(drip, "timeout", "no answer in time", settings=SLOW),
    "reset": Row(reset, "connection_lost", "the connection broke before the answer"),
    "cut short": Row(cut_short, "connection_lost", "the connection broke before the answer"),
    "no HTTP": Row(answering(b"SSH-2.0-" + SAID + b"\r\n\r\n"), "connection_lost", "the connection broke"),
    "ten megabytes": Row(two_hundred(b" " * 10_000_000), "reply_too_large", "larger than 64 KiB"),
    "ten megabytes in gzip": Row(
        two_hundred(BOMB, b"Content-Encoding: gzip"), "not_a_token_reply", f"{NO_REPLY} (application/json)"
    ),
    "gzip that is none": Row(two_hundred(SAID, b"Content-Encoding: gzip"), "not_a_token_reply", NO_REPLY),
    "a page": Row(page("200 OK"), "not_a_token_reply", f"{NO_REPLY} (text/html)"),
    "nothing": Row(two_hundred(b""), "not_a_token_reply", NO_REPLY),
    "an array": Row(two_hundred(b'["%s"]' % SAID), "not_a_token_reply", NO_REPLY),
    "no fields": Row(two_hundred(b'{"said": "%s"}' % SAID), "not_a_token_reply", "no usable access_token"),
    "another kind of token": Row(
        two_hundred(b'{"access_token": "%s", "token_type": "mac"}' % SAID), "not_a_token_reply", "not Bearer"
    ),
    "an access token of two lines": Row(
        two_hundred(b'{"access_token": "%s\\r\\nX: y"}' % SAID), "not_a_token_reply", "no usable access_token"
    ),
    "an array for a token": Row(two_hundred(b'{"access_token": ["%s"]}' % SAID), "not_a_token_reply", "no usable"),
    "a redirect": Row(page("302 Found", b"Location: /" + SAID), "redirect", "status 302"),
    "201": Row(answering(reply("201 Created", b'{"access_token": "x"}')), "unexpected_status", "status 201"),
}


async def met(house: House, *, good: bool) -> Mapping[str, Any]:
    """Let the seed's token expire, or only become stale, and a request meet that; return the answer's problem."""
    assert (await house.get()).status == 200
    house.clock.pass_(TOKEN_LIFE * 0.95 if good else TOKEN_LIFE + 1)
    seen = await house.get()
    await house.settle()
    if good:
        assert seen.status == 200
        return {}
    assert seen.status == 503
    return {"Retry-After": seen.headers.get("Retry-After"), **seen.json}


async def judge(house: House, row: Row, *, good: bool) -> None:
    """Meet the row's fault and check everything that must be known of it afterwards."""
    problem = await met(house, good=good)
    refresher = house.refresher
    assert house.credential.state is (State.DEAD if row.dead else State.STALE if good else State.EXPIRED)
    assert refresher.trouble is not None
    assert row.phrase in refresher.trouble.detail
    assert (AGAIN in refresher.trouble.detail) is not row.dead
    assert refresher.results == {row.result: 1}
    kept = await house.store().load()
    assert kept.last is not None
    assert kept.last.result == row.result
    assert kept.generation == 1
    assert refresher.try_at >= house.clock.monotonic() + row.pause - 5
    if not good:
        assert problem["detail"] == refresher.trouble.detail
        assert problem["type"] == ("credential_dead" if row.dead else "credential_unavailable")
        assert (problem["Retry-After"] is None) is row.dead
    assert house.ear.heard("ERROR" if row.dead else "WARNING", row.phrase)


@BOTH
@pytest.mark.parametrize("name", ROWS)
async def test_a_fault_is_named_counted_and_survived(oauth_house: HouseMaker, name: str, *, good: bool) -> None:
    """And once it is over all heals by itself, but for what only a person can mend."""
    row, faulty = ROWS[name], True

    async def script(stage: Stage) -> None:
        await (row.script if faulty else answering(fresh))(stage)

    async with upstream(script) as endpoint:
        house = await oauth_house(seed_life=TOKEN_LIFE, token_url=f"{endpoint.url}/token", **row.settings)
        house.secrets.add(SAID.decode())
        pair = {"access_token": house.simulator.issue_access_token(), "refresh_token": "next", "expires_in": 3600}
        fresh = reply("200 OK", json.dumps(pair).encode())
        await judge(house, row, good=good)
        for _ in range(20):
            await house.get()  # nobody hammers
        assert len(endpoint.heard) == 1
        faulty = False
        house.clock.pass_(TOKEN_LIFE)
        seen = await house.get()
        assert seen.status == (503 if row.dead else 200)
        assert len(endpoint.heard) == (1 if row.dead else 2)


# What is wrong before a byte of the form has left


TLS_ROWS = {
    "an unknown authority": ("unable to get local issuer certificate", "see upstream.ca_file"),
    "another's name": ("IP address mismatch", "check token_url and upstream.url"),
    "an expired certificate": ("certificate has expired", "check this machine's clock, then the certificate"),
}


@asynccontextmanager
async def tls_endpoint(authority: trustme.CA, name: str, *, expired: bool = False) -> AsyncIterator[str]:
    """Run a TLS server whose certificate is for `name`; nothing it hears can be a request."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    past = datetime.now(UTC) - timedelta(days=1)
    authority.issue_cert(name, not_after=past if expired else None).configure_cert(context)
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, ssl.SSLError):
            heard.append(await reader.read())
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/token"
    assert not any(heard)


@BOTH
@pytest.mark.parametrize("name", TLS_ROWS)
async def test_a_certificate_that_is_not_trusted_costs_no_token(
    oauth_house: HouseMaker, tmp_path: Path, name: str, *, good: bool
) -> None:
    authority, other = trustme.CA(), trustme.CA()
    (authority if name != "an unknown authority" else other).cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    host = "127.0.0.2" if name == "another's name" else "127.0.0.1"
    async with tls_endpoint(authority, host, expired=name == "an expired certificate") as url:
        trusting = {"upstream": {"ca_file": str(tmp_path / "ca.pem")}}
        house = await oauth_house(trusting, seed_life=TOKEN_LIFE, token_url=url)
        flaw, cure = TLS_ROWS[name]
        row = Row(hang, "tls_error", f"TLS failed ({flaw}", pause=30)
        await judge(house, row, good=good)
        assert house.ear.heard(f"); {cure}")


@BOTH
async def test_a_refused_connection_costs_no_token(
    oauth_house: HouseMaker, unused_tcp_port: int, *, good: bool
) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}/token"
    house = await oauth_house(seed_life=TOKEN_LIFE, token_url=url)
    await judge(house, Row(hang, "no_connection", "no connection"), good=good)
    assert (await house.store().load()).intent is None


@BOTH
async def test_a_name_that_cant_be_resolved_costs_no_token(oauth_house: HouseMaker, *, good: bool) -> None:
    house = await oauth_house(seed_life=TOKEN_LIFE, token_url="https://api.pandadoc.invalid/token")
    await judge(house, Row(hang, "dns_error", "its name can't be resolved"), good=good)
    assert (await house.store().load()).intent is None
