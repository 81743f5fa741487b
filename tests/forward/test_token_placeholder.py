"""The token endpoint's stand-in: PandaDoc's shapes, no secret, no state, and nothing goes up."""

import asyncio
from typing import Any, Final
from urllib.parse import urlencode

import pytest
from conftest import HouseMaker
from rig import House
from wire import caller, converse

from proxy.forward import token_placeholder

KEY: Final = "billing-0123456789abcdef"
PATH: Final = "/oauth2/access_token"
FORM: Final = {"grant_type": "authorization_code", "client_id": "anything", "client_secret": KEY, "code": "x"}


def settings(*, clients: bool = True, choice: str = "placeholder") -> dict[str, Any]:
    named = {"clients": {"billing": {"key": {"value": KEY}}}} if clients else {}
    return {"listeners": [{"bind": "127.0.0.1:0", "token_endpoint": choice, **named}]}


async def fetched(house: House, **form: str) -> tuple[int, dict[str, Any]]:
    seen = await house.ask("POST", PATH, data={**FORM, **form})
    assert seen.headers["Content-Type"] == "application/json"
    assert seen.headers["Cache-Control"] == "no-store"
    return seen.status, seen.json


@pytest.fixture
async def house(api_key_house: HouseMaker) -> House:
    house = await api_key_house(settings())
    house.secrets.add(KEY)
    return house


async def test_an_app_is_handed_its_own_key_in_pandadocs_shape(house: House) -> None:
    status, token = await fetched(house)
    assert status == 200
    assert token == {
        "access_token": KEY,
        "token_type": "Bearer",
        "expires_in": 31535999,
        "scope": "read+write",
        "refresh_token": "lent-by-pandadoc-proxy",
    }
    assert (await house.get(headers={"Authorization": f"Bearer {token['access_token']}"})).status == 200
    assert [call.authorization for call in house.simulator.api_calls()] == [(f"API-Key {house.environ['KEY']}",)]
    assert not house.simulator.token_calls()


async def test_a_refresh_is_answered_alike_and_by_a_proxy_that_has_just_started(house: House) -> None:
    """There is no state that a restart could lose."""
    _, first = await fetched(house)
    await house.restart()
    again = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"], "code": ""}
    assert await fetched(house, **again) == (200, first)


async def test_where_nobody_is_asked_for_a_key_the_token_is_a_constant(api_key_house: HouseMaker) -> None:
    house = await api_key_house(settings(clients=False))
    status, token = await fetched(house, client_secret="whatever the app was configured with")
    assert (status, token["access_token"]) == (200, "lent-by-pandadoc-proxy")
    assert (await house.get(headers={"Authorization": f"Bearer {token['access_token']}"})).status == 200


WRONG: Final[dict[str, tuple[dict[str, str], str]]] = {
    "an unknown key": ({"client_secret": "nobody-0123456789abcdef"}, "invalid_client"),
    "no key": ({"client_secret": ""}, "invalid_client"),
    "a key that is not ASCII": ({"client_secret": KEY + "é"}, "invalid_client"),
    "another grant": ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
    "an empty grant": ({"grant_type": ""}, "unsupported_grant_type"),
}


@pytest.mark.parametrize(("form", "error"), WRONG.values(), ids=WRONG)
async def test_what_is_wrong_is_told_in_pandadocs_words(house: House, form: dict[str, str], error: str) -> None:
    assert await fetched(house, **form) == (400, {"error": error})
    assert not house.simulator.journal


def raw(body: bytes, *lines: bytes, target: bytes = PATH.encode(), method: bytes = b"POST") -> bytes:
    head = (
        b"%s %s HTTP/1.1" % (method, target),
        b"Host: localhost",
        b"Content-Length: %d" % len(body),
        *lines,
    )
    return b"\r\n".join(head) + b"\r\n\r\n" + body


URLENCODED: Final = b"Content-Type: application/x-www-form-urlencoded"
GOOD: Final = urlencode(FORM).encode()
MALFORMED: Final = {
    "no content type": raw(GOOD),
    "JSON": raw(b"{}", b"Content-Type: application/json"),
    "no body": raw(b"", URLENCODED).replace(b"Content-Length: 0\r\n", b""),
    "an empty body": raw(b"", URLENCODED),
    "a field twice": raw(GOOD + b"&client_secret=" + KEY.encode(), URLENCODED),
    "no grant type": raw(b"client_secret=" + KEY.encode(), URLENCODED),
    "not UTF-8": raw(GOOD + b"&x=%ff", URLENCODED),
    "raw bytes that are not UTF-8": raw(GOOD + b"&x=\xff", URLENCODED),
    "more fields than any app has": raw(GOOD + b"".join(b"&a%d=" % number for number in range(40)), URLENCODED),
}


@pytest.mark.parametrize("request_bytes", MALFORMED.values(), ids=MALFORMED)
async def test_what_is_no_token_request_is_an_invalid_request(house: House, request_bytes: bytes) -> None:
    seen = await converse(house.port, request_bytes)
    assert seen.start == b"HTTP/1.1 400 Bad Request"
    assert seen.body == b'{"error":"invalid_request"}'
    assert seen.values(b"proxy-status") == [b"pandadoc-proxy; error=http_request_denied"]
    assert not house.simulator.journal


async def test_a_body_that_no_form_has_is_refused_by_its_size(house: House) -> None:
    seen = await converse(house.port, raw(b"x=" + b"y" * 70_000, URLENCODED))
    assert seen.start.startswith(b"HTTP/1.1 413 ")
    assert b"(for a token request's form)" in seen.body


async def test_a_form_that_trickles_is_given_up_as_a_whole(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sends one need not have a key; nor does it take the place of a request that has."""
    monkeypatch.setattr(token_placeholder, "PATIENCE", 0.2)
    async with caller(house.port) as line:
        await line.send(raw(GOOD, URLENCODED)[: -len(GOOD)])
        answer = asyncio.ensure_future(line.answer())
        for byte in GOOD:
            await line.send(bytes([byte]))
            if (await asyncio.wait({answer}, timeout=0.02))[0]:
                break
        assert (await answer).start.startswith(b"HTTP/1.1 408 ")


async def test_the_access_log_tells_whose_token_it_was_and_why_there_was_none(house: House) -> None:
    await fetched(house)
    await fetched(house, client_secret="nobody-0123456789abcdef")
    assert house.ear.heard("/oauth2/access_token 200", "'client': 'billing'")
    assert house.ear.heard("/oauth2/access_token 400", "the token request was refused: invalid_client")


async def test_a_php_app_is_answered_whatever_authorization_its_sdk_sends_along(house: House) -> None:
    """As PandaDoc's PHP SDK puts it on the wire: every parameter, and whatever header was configured."""
    body = GOOD + b"&scope=read%2Bwrite&refresh_token=refreshToken_example"
    lines = (
        b"User-Agent: OpenAPI-Generator/5.5.0/PHP",
        b"Accept: application/json",
        b"Authorization: API-Key YOUR_API_KEY",
        URLENCODED,
    )
    seen = await converse(house.port, raw(body, *lines))
    assert seen.start == b"HTTP/1.1 200 OK"
    assert b'"access_token":"%s"' % KEY.encode() in seen.body


async def test_a_double_slash_of_a_base_url_that_ends_in_one_is_no_matter(house: House) -> None:
    assert (await converse(house.port, raw(GOOD, URLENCODED, target=b"//oauth2/access_token"))).start.endswith(b"OK")


@pytest.mark.parametrize(
    ("method", "target"),
    [
        (b"GET", b"/oauth2/access_token"),
        (b"POST", b"/oauth2/authorize"),
        (b"POST", b"/oauth2%2faccess_token"),
        (b"POST", b"/OAuth2/access_token"),
        (b"POST", b"/oauth2/access_token;x"),
        (b"POST", b"/public/../oauth2/access_token"),
    ],
)
async def test_whatever_else_is_under_oauth2_stays_closed(house: House, method: bytes, target: bytes) -> None:
    seen = await converse(
        house.port, raw(GOOD, URLENCODED, b"X-Proxy-Key: " + KEY.encode(), method=method, target=target)
    )
    assert seen.start.startswith(b"HTTP/1.1 403 ")
    assert not house.simulator.journal


async def test_by_default_a_token_request_is_refused(api_key_house: HouseMaker) -> None:
    house = await api_key_house(settings(choice="refuse"))
    house.secrets.add(KEY)
    seen = await house.ask("POST", PATH, data=FORM, headers={"X-Proxy-Key": KEY})
    assert seen.status == 403
    assert not house.simulator.journal


async def test_a_page_cant_fetch_a_token_either(house: House) -> None:
    assert (await house.ask("POST", PATH, data=FORM, headers={"Origin": "https://evil.example"})).status == 403
