"""Replies of the token endpoint that are odd and bring a pair: its refresh token is never lost (laws 4, 7 and 8)."""

import gzip
import json
import zlib

import pytest
from conftest import HouseMaker
from rig import House
from wire import Stage, upstream

from proxy.credential.oauth2 import State
from proxy.simulator import Fault

HOUR = 3600


async def played(house: House, more: bytes, headers: tuple[tuple[str, str], ...] = (), coding: str = "") -> str:
    """Have the next redeem answered with a good pair and `more`; return the pair's refresh token."""
    access, successor = house.simulator.issue_access_token(), house.simulator.issue_refresh_token()
    body = b'{"access_token": "%s", "refresh_token": "%s", %s}' % (access.encode(), successor.encode(), more)
    if coding:
        headers = (*headers, ("Content-Encoding", coding))
        body = gzip.compress(body) if coding == "gzip" else zlib.compress(body)
    fault = Fault(path="/oauth2/access_token", status=200, body=body, headers=headers, times=1)
    house.simulator.faults.add(fault)
    return successor


async def kept(house: House) -> str:
    """Return the refresh token that is stored."""
    grant = (await house.store().load()).grant
    assert grant is not None
    return grant.refresh_token.reveal()


LIVES = {
    "7200": 7200,
    "7200.5": 7200.5,
    '"7200"': 7200,
    '" 7.2e3 "': 7200,
    "31535999": 31535999,
    "1e300": HOUR,
    "1e999": HOUR,
    "9" * 5000: HOUR,
    "-1": HOUR,
    "0": HOUR,
    "-0.0": HOUR,
    '"-7200"': HOUR,
    "NaN": HOUR,
    "-Infinity": HOUR,
    '"NaN"': HOUR,
    '""': HOUR,
    "true": HOUR,
    "null": HOUR,
    "{}": HOUR,
}


@pytest.mark.parametrize("written", LIVES, ids=lambda written: written[:9])
async def test_whatever_the_lifetime_the_pair_is_kept_and_lent(oauth_house: HouseMaker, written: str) -> None:
    """Nonsense is an hour, and is logged once."""
    house = await oauth_house()
    successor = await played(house, b'"expires_in": ' + written.encode())
    before = house.clock.wall()
    assert (await house.get()).status == 200
    assert await kept(house) == successor
    assert house.credential.state is State.FRESH
    assert house.refresher.results == {"refreshed": 1}
    lent = house.refresher.credential
    assert lent is not None
    assert before <= lent.expires_at - LIVES[written] <= house.clock.wall()
    odd = [line for line in house.ear.lines if "expires_in was missing or odd" in line]
    assert len(odd) == (1 if LIVES[written] == HOUR else 0)


ODD = {
    "a number beyond all reason": b'"id": ' + b"9" * 5000,
    "a byte that is not UTF-8": b'"scope": "caf\xe9"',
    "a line break in a text": b'"scope": "read\nwrite"',
    "a scope that was never asked for": b'"scope": "everything"',
    "the same name twice": b'"scope": "a", "scope": "b"',
}


@pytest.mark.parametrize("name", ODD)
async def test_what_stands_beside_a_pair_never_costs_it(oauth_house: HouseMaker, name: str) -> None:
    """The old refresh token is spent by then: whoever throws the reply away has lost the grant (law 4)."""
    house = await oauth_house()
    successor = await played(house, b'"expires_in": 7200, ' + ODD[name])
    assert (await house.get()).status == 200
    assert await kept(house) == successor


@pytest.mark.parametrize("coding", ["gzip", "deflate", "GZIP", "x-gzip"])
async def test_a_reply_that_comes_compressed_unasked_is_read(oauth_house: HouseMaker, coding: str) -> None:
    """A content delivery network does so, and the pair inside is the only one there is (RFC 9110 §12.5.3)."""
    house = await oauth_house()
    successor = await played(house, b'"expires_in": 7200', coding=coding)
    assert (await house.get()).status == 200
    assert await kept(house) == successor


FRAMINGS = {
    "a connection closed before the last chunk": (b"Transfer-Encoding: chunked\r\n\r\n%x\r\n", b"\r\n"),
    "a length that is too large": (b"Content-Length: 1%03d\r\n\r\n", b""),
}


@pytest.mark.parametrize("name", FRAMINGS)
async def test_a_pair_is_kept_though_its_framing_breaks_behind_it(oauth_house: HouseMaker, name: str) -> None:
    before, behind = FRAMINGS[name]

    async def script(stage: Stage) -> None:
        await stage.request()
        await stage.say(b"HTTP/1.1 200 OK\r\n" + before % len(pair) + pair + behind)

    async with upstream(script) as endpoint:
        house = await oauth_house(token_url=f"{endpoint.url}/token")
        access, successor = house.simulator.issue_access_token(), house.simulator.issue_refresh_token()
        pair = json.dumps({"access_token": access, "refresh_token": successor, "expires_in": HOUR}).encode()
        assert (await house.get()).status == 200
        assert await kept(house) == successor
        assert house.refresher.results == {"refreshed": 1}
        assert len(endpoint.heard) == 1


@pytest.mark.parametrize("kind", ["text/html", "application/json; charset=utf-8", "text/plain", ""])
async def test_the_media_type_of_a_reply_decides_nothing(oauth_house: HouseMaker, kind: str) -> None:
    house = await oauth_house()
    successor = await played(house, b'"expires_in": 7200', (("Content-Type", kind),))
    assert (await house.get()).status == 200
    assert await kept(house) == successor


@pytest.mark.parametrize("good", [False, True], ids=["expired", "stale"])
async def test_a_refresh_token_without_an_access_token_is_kept_and_tried_in_its_turn(
    oauth_house: HouseMaker, *, good: bool
) -> None:
    house = await oauth_house(seed_life=HOUR)
    assert (await house.get()).status == 200
    successor = house.simulator.issue_refresh_token()
    body = b'{"refresh_token": "%s"}' % successor.encode()
    house.simulator.faults.add(Fault(path="/oauth2/access_token", status=200, body=body, times=1))
    house.clock.pass_(HOUR * 0.95 if good else HOUR + 1)
    seen = await house.get()
    await house.settle()
    assert seen.status == (200 if good else 503)
    assert house.credential.state is (State.STALE if good else State.EXPIRED)
    assert house.refresher.results == {"no_access_token": 1}
    ledger = await house.store().load()
    assert ledger.last is not None
    assert ledger.last.result == "no_access_token"
    assert ledger.intent is None
    assert await kept(house) == successor
    if not good:
        assert "Retry-After" in seen.headers
        assert "answered 200 with no usable access_token" in seen.json["detail"]
    house.clock.pass_(31)
    assert (await house.get()).status == 200
    await house.settle()
    assert house.simulator.token_calls()[-1].form["refresh_token"] == successor
    assert house.refresher.results == {"no_access_token": 1, "refreshed": 1}


async def test_tokens_that_have_expired_when_they_come_are_kept_and_asked_for_with_growing_pauses(
    oauth_house: HouseMaker,
) -> None:
    """Each request would redeem one, and rotate; the pair must be kept, for the one before it is spent."""
    house = await oauth_house(simulator={"expires_in": 1})
    house.simulator.faults.add(Fault(path="/oauth2/access_token", delay=1.1))
    asked = []
    for second in range(20):
        before = len(house.redeemed())
        seen = await house.get()
        assert seen.status == 503
        assert "The new access token had expired when it came" in seen.json["detail"]
        assert "Retry-After" in seen.headers
        if len(house.redeemed()) > before:
            asked.append(second)
            assert (await house.store().load()).generation == len(asked)
        house.clock.pass_(1)
    assert 3 <= len(asked) <= 5
    house.simulator.faults.clear()
    house.simulator.expires_in = HOUR
    house.clock.pass_(HOUR)
    assert (await house.get()).status == 200
