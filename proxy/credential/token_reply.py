"""What an answer of the token endpoint means. Pure.

Sources: RFC 6749 §5.1 (a token), §5.2 (an error), §6 (refresh); PandaDoc's quirks: a lifetime of
31535999 s, `scope` that never compares equal, rotation undocumented. A reply is never logged and
no text of it leaves this module but tokens.
"""

import json
import re
import zlib
from collections.abc import Mapping
from enum import StrEnum
from math import isfinite
from typing import Final

from msgspec import Struct

from proxy import throttled
from proxy.secrets import Secret

REPLY_LIMIT: Final = 64 * 1024
"""Bytes of a token reply that are read, compressed or not; PandaDoc's has about two hundred."""

CODINGS: Final = frozenset({"gzip", "x-gzip", "deflate"})
"""Content codings (RFC 9110 §8.4.1) that are undone. Nobody asked for one, but a pair may be inside."""

DEFAULT_LIFETIME: Final = 3600.0
LONGEST_LIFETIME: Final = 10 * 366 * 86400.0
"""Seconds. A lifetime beyond ten years is taken for nonsense, and nonsense for an hour (law 7)."""

ACCESS_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,8192}")
"""What may stand in a header field as a token; RFC 6750 §2.1's b64token is narrower."""

REFRESH_TOKEN: Final = re.compile(r"[\x20-\x7e]{1,32768}")
"""RFC 6749 appendix A.17; it travels in a form, so a space is no harm."""

MEDIA_TYPE: Final = re.compile(r"[a-z]{1,20}/[a-z0-9.+-]{1,40}", re.IGNORECASE)
"""What is shown of a reply that can't be read: an HTML page is somebody else's."""

PERMANENT: Final = frozenset(
    {
        "access_denied",
        "invalid_client",
        "invalid_grant",
        "invalid_request",
        "invalid_scope",
        "unauthorized_client",
        "unsupported_grant_type",
    }
)
"""OAuth errors (RFC 6749 §5.2) that no waiting cures."""

JSON_SPACE: Final = " \t\r\n"
LENIENT: Final = json.JSONDecoder(strict=False, parse_int=float)

UNKNOWN_ERROR_PAUSE: Final = 60.0
"""Seconds between tries when the endpoint names an error nobody knows."""


class Cause(StrEnum):
    """What was wrong with a redeem, in one word: for counters and the ledger. OAuth errors are their own words."""

    DNS_ERROR = "dns_error"
    TLS_ERROR = "tls_error"
    NO_CONNECTION = "no_connection"
    PROXY_REFUSED = "proxy_refused"
    TIMEOUT = "timeout"
    CONNECTION_LOST = "connection_lost"
    THROTTLED = "throttled"
    UNKNOWN_OAUTH_ERROR = "unknown_oauth_error"
    SERVER_ERROR = "server_error"
    REDIRECT = "redirect"
    UNEXPECTED_STATUS = "unexpected_status"
    NOT_A_TOKEN_REPLY = "not_a_token_reply"  # noqa: S105 - a word, not a password
    REPLY_TOO_LARGE = "reply_too_large"
    NO_ACCESS_TOKEN = "no_access_token"  # noqa: S105 - the same


class Redeemed(Struct, frozen=True):
    """A 200 that names tokens. `refresh_token` is to be stored before the rest is judged (law 4)."""

    refresh_token: Secret | None
    access_token: Secret | None
    lifetime: float
    lifetime_guessed: bool
    fault: str | None  # why there is no access token
    successor_unusable: bool = False  # there is a refresh token, and it can't be kept


class Refused(Struct, frozen=True):
    """An OAuth error that no waiting cures; nothing was redeemed."""

    error: str

    @property
    def cause(self) -> str:
        return self.error


class NotRedeemed(Struct, frozen=True):
    """Proof that nothing was redeemed: no connection, a 429, an OAuth error that may pass. `detail` is for people."""

    cause: Cause
    detail: str
    retry_after: float | None = None


class Unknown(Struct, frozen=True):
    """The refresh token may have been redeemed, or not (law 6). `detail` is for people."""

    cause: Cause
    detail: str
    retry_after: float | None = None


Outcome = Redeemed | Refused | NotRedeemed | Unknown


def read_reply(status: int, headers: Mapping[str, str], body: bytes, now: float, asked: str) -> Outcome:
    """Tell what an answer means; `now` is the wall clock, for a Retry-After that is a date.

    `asked` is whose answer it is, for people: another server's, perhaps, than the one that was meant.
    """
    said = headers.get("Retry-After")
    retry_after = None if said is None else throttled.after(said.encode("ascii", "replace"), now)
    plain = _plain(body, headers.get("Content-Encoding"))
    document = _json_object(plain)
    if status == 200:  # noqa: PLR2004 - RFC 6749 §5.1: a token comes with 200 and nothing else
        return _no_tokens(headers) if document is None else _tokens(document)
    if status == 429:  # noqa: PLR2004 - RFC 6585 §4
        wait = throttled.sentence(plain) if retry_after is None else retry_after
        return NotRedeemed(Cause.THROTTLED, "too many requests (429)", wait)
    error = (document or {}).get("error")
    if not (400 <= status < 500 and isinstance(error, str)):  # noqa: PLR2004 - the class of client errors
        return Unknown(_cause_of(status), f"status {status} from {asked}", retry_after)
    if error in PERMANENT:
        return Refused(error)
    detail = f"an unknown OAuth error with status {status}"
    return NotRedeemed(Cause.UNKNOWN_OAUTH_ERROR, detail, max(retry_after or 0, UNKNOWN_ERROR_PAUSE))


def _cause_of(status: int) -> Cause:
    classes = {3: Cause.REDIRECT, 5: Cause.SERVER_ERROR}
    return classes.get(status // 100, Cause.UNEXPECTED_STATUS)


def _no_tokens(headers: Mapping[str, str]) -> Unknown:
    kind = MEDIA_TYPE.match(headers.get("Content-Type", ""))
    return Unknown(Cause.NOT_A_TOKEN_REPLY, f"a 200 that is no token reply ({kind[0] if kind else 'of no type'})")


def read_lifetime(value: object) -> float | None:
    """Read `expires_in` as seconds; None where it is missing or nonsense. A numeric string counts."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    return seconds if isfinite(seconds) and 0 < seconds <= LONGEST_LIFETIME else None


def _tokens(document: Mapping[str, object]) -> Redeemed | Unknown:
    lifetime = read_lifetime(document.get("expires_in"))
    access, fault = _access_token(document)
    successor = document.get("refresh_token")
    refresh = _token(successor, REFRESH_TOKEN)
    if access is None and successor is None:
        return Unknown(Cause.NOT_A_TOKEN_REPLY, f"a 200 with {fault} and no refresh_token")
    return Redeemed(
        refresh_token=refresh,
        access_token=access,
        lifetime=DEFAULT_LIFETIME if lifetime is None else lifetime,
        lifetime_guessed=lifetime is None,
        fault=fault,
        successor_unusable=refresh is None and successor is not None,
    )


def _access_token(document: Mapping[str, object]) -> tuple[Secret | None, str | None]:
    kind = document.get("token_type", "Bearer")
    if not isinstance(kind, str) or kind.lower() != "bearer":  # RFC 6749 §7.1: not ours to use
        return None, "a token_type that is not Bearer"
    if (token := _token(document.get("access_token"), ACCESS_TOKEN)) is None:
        return None, "no usable access_token"
    return token, None


def _token(value: object, form: re.Pattern[str]) -> Secret | None:
    return Secret(value) if isinstance(value, str) and form.fullmatch(value) else None


def _plain(body: bytes, coding: str | None) -> bytes:
    """Undo a content coding, up to REPLY_LIMIT: a bomb ends there, and is no JSON."""
    if coding is None or coding.strip().lower() not in CODINGS:
        return body
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, REPLY_LIMIT)  # 32: gzip or zlib, as it begins
    except zlib.error:
        return body


def _json_object(body: bytes) -> Mapping[str, object] | None:
    """Read leniently: by now the old refresh token is spent, and nothing odd may cost the new one (law 4).

    Odd bytes become U+FFFD, which no token has; a number of any length is a float; what stands behind the object is
    somebody else's.
    """
    try:
        text = body.decode(json.detect_encoding(body), "replace").lstrip(JSON_SPACE)
        document, _ = LENIENT.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
