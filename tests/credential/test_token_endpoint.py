"""One call to the token endpoint, against raw bytes: what is sent, and what each fault proves (law 6)."""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator
from urllib.parse import parse_qsl

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from rig import TurnedClock, until
from wire import Script, Stage, answering, upstream
from yarl import URL

from proxy.credential.token_endpoint import Client, TokenEndpoint
from proxy.credential.token_reply import Cause, NotRedeemed, Outcome, Redeemed, Unknown
from proxy.outbound import credential_session
from proxy.secrets import Secret

CLIENT = Client(Secret("an id & more"), Secret("s+cret="))
PAIR = b'{"access_token": "aaaa", "refresh_token": "rrrr", "expires_in": 5}'
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(PAIR), PAIR)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with credential_session(ssl.create_default_context()) as made:
        yield made


def endpoint(
    session: aiohttp.ClientSession,
    url: str,
    scope: str | None = None,
    seconds: float = 5.0,
    proxy: str | None = None,
) -> TokenEndpoint:
    return TokenEndpoint(
        session,
        URL(url) / "oauth2/access_token",
        clock=TurnedClock(),
        scope=scope,
        redeem_timeout=seconds,
        connect_timeout=5.0,
        proxy=URL(proxy) if proxy else None,
    )


async def redeem(session: aiohttp.ClientSession, script: Script, seconds: float = 5.0) -> Outcome:
    async with upstream(script) as up:
        return await endpoint(session, up.url, seconds=seconds).redeem(Secret("old"), CLIENT)


@pytest.mark.parametrize("scope", [None, "read+write"])
async def test_the_form_is_pandadocs(session: aiohttp.ClientSession, scope: str | None) -> None:
    async with upstream(answering(GOOD)) as up:
        outcome = await endpoint(session, up.url, scope).redeem(Secret("old"), CLIENT)
        assert isinstance(outcome, Redeemed)
        sent = up.heard[0]
        assert sent.start == b"POST /oauth2/access_token HTTP/1.1"
        assert sent.values(b"content-type") == [b"application/x-www-form-urlencoded"]
        assert sent.values(b"accept-encoding") == [b"identity"]
        assert not sent.values(b"authorization")
        expected = {"client_id": "an id & more", "client_secret": "s+cret=", "refresh_token": "old"}
        assert dict(parse_qsl(sent.body.decode())) == {
            "grant_type": "refresh_token",
            **expected,
            **({"scope": scope} if scope else {}),
        }
        if scope:
            assert b"scope=read%2Bwrite" in sent.body  # literal, as PandaDoc's SDKs send it


async def test_a_refused_connection_proves_that_nothing_was_redeemed(
    session: aiohttp.ClientSession, unused_tcp_port: int
) -> None:
    outcome = await endpoint(session, f"http://127.0.0.1:{unused_tcp_port}").redeem(Secret("old"), CLIENT)
    assert isinstance(outcome, NotRedeemed)


async def hang_up(stage: Stage) -> None:
    await stage.head()
    stage.writer.close()


async def hang_at_the_head(stage: Stage) -> None:
    await stage.head()
    await stage.reader.read()


async def say_nothing(stage: Stage) -> None:
    await stage.reader.read(1)
    await stage.reader.read()


async def reset_at_once(stage: Stage) -> None:
    stage.reset()


UNREACHED = {
    "the proxy hangs": (hang_at_the_head, True),
    "the proxy hangs up": (hang_up, True),
    "the proxy resets": (reset_at_once, True),
    "the proxy speaks no HTTP": (answering(b"SSH-2.0\r\n\r\n"), True),
    "TLS hangs": (say_nothing, False),
    "TLS is reset": (reset_at_once, False),
}


@pytest.mark.parametrize(("script", "proxied"), UNREACHED.values(), ids=UNREACHED)
async def test_what_fails_before_there_is_a_connection_proves_that_nothing_was_redeemed(
    session: aiohttp.ClientSession,
    script: Script,
    proxied: bool,  # noqa: FBT001 - a column
) -> None:
    """Not a byte of the form has left (law 6)."""
    async with upstream(script) as up:
        url = "https://api.pandadoc.test" if proxied else up.url.replace("http:", "https:")
        target = endpoint(session, url, seconds=0.3, proxy=up.url if proxied else None)
        outcome = await target.redeem(Secret("old"), CLIENT)
        assert isinstance(outcome, NotRedeemed)
        assert outcome.cause == "no_connection"
        assert ("through the HTTP proxy" in outcome.detail) == proxied
        assert all(message.start.startswith(b"CONNECT ") for message in up.heard)


class SilentResolver(AbstractResolver):
    """One that is not reached."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        del host, port, family
        await asyncio.Event().wait()
        return []

    async def close(self) -> None:
        pass


async def test_a_name_whose_resolver_hangs_proves_that_nothing_was_redeemed(session: aiohttp.ClientSession) -> None:
    assert isinstance(session.connector, aiohttp.TCPConnector)
    session.connector._resolver = SilentResolver()  # noqa: SLF001 - the session is otherwise the proxy's own
    outcome = await endpoint(session, "http://api.pandadoc.test", seconds=0.1).redeem(Secret("old"), CLIENT)
    assert outcome == NotRedeemed(Cause.NO_CONNECTION, "no connection (TimeoutError)")


async def test_a_session_that_tells_of_no_connections_proves_nothing() -> None:
    """A fault is then taken for the worse."""
    async with aiohttp.ClientSession() as plain, upstream(say_nothing) as up:
        target = endpoint(plain, up.url.replace("http:", "https:"), seconds=0.2)
        assert isinstance(await target.redeem(Secret("old"), CLIENT), Unknown)


async def test_redeems_of_many_credentials_wait_for_no_connection_of_each_other(session: aiohttp.ClientSession) -> None:
    async with upstream(hang) as up:
        target = endpoint(session, up.url, seconds=1.0)
        redeems = [asyncio.create_task(target.redeem(Secret(f"old-{number}"), CLIENT)) for number in range(30)]
        await until(lambda: len(up.heard) == len(redeems))
        assert {outcome.cause for outcome in await asyncio.gather(*redeems)} == {"timeout"}  # type: ignore[union-attr]


async def answer_and_stall(stage: Stage) -> None:
    """Answer, and let the whole process stand still until the time limit is over: so does a paused container."""
    await stage.request()
    await stage.say(GOOD)
    time.sleep(0.8)  # noqa: ASYNC251 - that the loop stands still is the point


async def test_an_answer_that_came_in_time_is_read_though_the_process_stood_still(
    session: aiohttp.ClientSession,
) -> None:
    """It may be the only copy of a grant, and when the process goes on, its timers are due as well."""
    assert isinstance(await redeem(session, answer_and_stall, seconds=0.5), Redeemed)


async def reset(stage: Stage) -> None:
    await stage.request()
    stage.reset()


async def hang(stage: Stage) -> None:
    await stage.request()
    await stage.reader.read()


async def drip(stage: Stage) -> None:
    await stage.request()
    await stage.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    await stage.reader.read()


async def cut_short(stage: Stage) -> None:
    await stage.request()
    await stage.say(GOOD[:-5])


def chunked(body: bytes, end: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s%s" % (len(body), body, end)


def saying(reply: bytes, *, hang: bool = False) -> Script:
    """Say `reply`, and close the connection or keep silent."""

    async def script(stage: Stage) -> None:
        await stage.request()
        await stage.say(reply)
        if hang:
            await stage.reader.read()

    return script


TOO_LONG = GOOD.replace(b"Length: %d" % len(PAIR), b"Length: %d" % (len(PAIR) + 2))
BROKEN_BEHIND = {
    "no last chunk": saying(chunked(PAIR, b"\r\n")),
    "no end of a chunk": saying(chunked(PAIR, b"")),
    "a last chunk that never comes": saying(chunked(PAIR, b"\r\n"), hang=True),
    "a length that is too large": saying(TOO_LONG),
    "a length that is too large, and silence": saying(TOO_LONG, hang=True),
}


@pytest.mark.parametrize("script", BROKEN_BEHIND.values(), ids=BROKEN_BEHIND)
async def test_a_whole_pair_is_taken_whatever_breaks_behind_it(session: aiohttp.ClientSession, script: Script) -> None:
    """The old refresh token is spent by then; only the framing is not whole (law 4)."""
    outcome = await redeem(session, script, seconds=0.3)
    assert isinstance(outcome, Redeemed)
    assert outcome.refresh_token == Secret("rrrr")


@pytest.mark.parametrize("whole", range(len(PAIR)))
async def test_half_a_pair_is_never_taken(session: aiohttp.ClientSession, whole: int) -> None:
    """Wherever it breaks, in a token too: what is cut is no JSON."""
    assert isinstance(await redeem(session, saying(chunked(PAIR[:whole], b""))), Unknown)


UNKNOWN = {
    "reset": reset,
    "hang": hang,
    "drip": drip,
    "cut short": cut_short,
    "garbage": answering(b"SSH-2.0\r\n\r\n"),
    "ten megabytes": answering(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n" + b" " * 10_000_000),
    "a redirect": answering(b"HTTP/1.1 307 X\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"),
    "gzip, unasked": answering(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nzzzz"),
}


@pytest.mark.parametrize("script", UNKNOWN.values(), ids=UNKNOWN)
async def test_after_the_request_was_sent_a_fault_leaves_the_outcome_unknown(
    session: aiohttp.ClientSession, script: Script
) -> None:
    async with upstream(script) as up:
        outcome = await endpoint(session, up.url, seconds=0.3).redeem(Secret("old"), CLIENT)
        assert isinstance(outcome, Unknown)
        assert len(up.heard) == 1  # sent once; no redirect followed, nothing retried


async def test_each_redeem_goes_out_on_a_connection_of_its_own(session: aiohttp.ClientSession) -> None:
    """On a kept one, which the other side may just be closing, the outcome would be unknown."""
    async with upstream(answering(GOOD)) as up:
        target = endpoint(session, up.url)
        for token in ("one", "two"):
            assert isinstance(await target.redeem(Secret(token), CLIENT), Redeemed)
        assert up.connections == 2
