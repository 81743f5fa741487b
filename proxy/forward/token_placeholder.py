"""A stand-in for PandaDoc's token endpoint, for apps that insist on fetching a token. It holds nothing to steal.

An app sends its client's key as `client_secret` and is handed that key as its access token, which it then
presents like any client; where nobody is asked for a key, every secret will do and the token is a constant.
No state: the same answer after a restart. The shapes are PandaDoc's (POST /oauth2/access_token; RFC 6749 §5).
"""

import asyncio
from typing import Final
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web_response

from proxy.errors import NAME, RequestTimeout
from proxy.forward.body import Body, BodyLimits
from proxy.forward.clients import Anyone, Named
from proxy.forward.headers import Fields, values

LARGEST: Final = 64 * 1024
PATIENCE: Final = 10.0
"""Bytes and seconds for a form, all of it: whoever sends one need not have a key."""

LIMITS: Final = BodyLimits(LARGEST, LARGEST, PATIENCE, whose="for a token request's form")

GRANTS: Final = frozenset({"authorization_code", "refresh_token"})
"""PandaDoc's grant types."""

TOKEN: Final = "lent-by-pandadoc-proxy"  # noqa: S105 - it opens nothing
"""What an app is handed where no key is asked for, and as every refresh token."""

YEAR: Final = 31535999
"""Seconds an access token lives, as PandaDoc says; presenting a key that has changed is refused earlier."""

ERROR: Final = "http_request_denied"
"""The word in Proxy-Status of a refusal (RFC 9209 §2.3.11)."""

FORM: Final = b"application/x-www-form-urlencoded"


async def answer(fields: Fields, body: Body | None, clients: Anyone | Named) -> tuple[web_response.Response, str, str]:
    """Answer a token request; return, besides, the client's name and the error's word, each where there is one.

    Raises BodyTooLarge, RequestTimeout and CallerError.
    """
    form = await _form(fields, body)
    if form is None or "grant_type" not in form:
        return _refused("invalid_request")
    if form["grant_type"] not in GRANTS:
        return _refused("unsupported_grant_type")
    if isinstance(clients, Anyone):
        return _granted(TOKEN), "", ""
    key = form.get("client_secret", "")
    client = await clients.holder(key.encode())
    return _refused("invalid_client") if client is None else (_granted(key), client.name, "")


async def _form(fields: Fields, body: Body | None) -> dict[str, str] | None:
    """Read the form; None for what is not one, or says a thing twice (RFC 6749 §3.2)."""
    types = [value.partition(b";")[0].strip().lower() for value in values(fields, b"content-type")]
    if body is None or types != [FORM]:
        return None
    try:
        async with asyncio.timeout(PATIENCE):
            text = b"".join([chunk async for chunk in body.chunks()])
    except (TimeoutError, RequestTimeout):
        raise RequestTimeout(f"A token request's form has {PATIENCE:g} s to arrive.") from None
    try:
        pairs = parse_qsl(text.decode(), keep_blank_values=True, errors="strict", max_num_fields=32)
    except ValueError:
        return None
    return dict(pairs) if len({name for name, _ in pairs}) == len(pairs) else None


def _granted(access_token: str) -> web_response.Response:
    document = {
        "access_token": access_token,
        "token_type": "Bearer",
        "expires_in": YEAR,
        "scope": "read+write",
        "refresh_token": TOKEN,
    }
    return _answer(200, document, {})


def _refused(word: str) -> tuple[web_response.Response, str, str]:
    return _answer(400, {"error": word}, {"Proxy-Status": f"{NAME}; error={ERROR}"}), "", word


def _answer(status: int, document: dict[str, object], headers: dict[str, str]) -> web_response.Response:
    return web_response.Response(
        status=status,
        body=msgspec.json.encode(document),
        content_type="application/json",
        headers={"Cache-Control": "no-store", "Pragma": "no-cache", **headers},
    )
