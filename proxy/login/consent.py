"""The address where a person consents, and what may come back from there. Pure.

RFC 6749 §4.1.1 and §4.1.2; PandaDoc returns `state`, though it does not document that, and knows no PKCE.
"""

import re
from hmac import compare_digest
from typing import Final
from urllib.parse import parse_qs, quote, urlencode

from yarl import URL

from proxy.secrets import Secret

SCOPE: Final = "read+write"
"""What PandaDoc's documentation asks for, to the letter."""

CODE: Final = re.compile(r"[\x21-\x7e]{4,2048}")
ADDRESS: Final = re.compile(
    r"[a-z]+://|[\w.-]+:\d+/|\[|(?:localhost|(?:[\w-]{1,63}\.)+(?:[a-z]{2,24}|\d{1,3}))(?:/|$)", re.IGNORECASE
)
"""What an address begins with, as browsers show it: some leave the scheme out."""

PASTED: Final = re.compile(r"\x1b\[20[01]~")
"""What a terminal that was left in bracketed paste puts around it (xterm's Control Sequences, mode 2004)."""

AROUND: Final = "\"'<>().,;"
"""What mails and sentences have around an address, and no code has."""

ERROR: Final = re.compile(r"[a-z_]{1,40}")
"""An OAuth error as it may be shown: the address it stands in is whoever's."""


class NotACode(ValueError):
    """What came back is no code of this login; says why, and what to do. Waiting goes on."""


class Declined(Exception):
    """PandaDoc says that there will be no code; says why."""


def consent_address(authorize_url: URL, client_id: str, redirect_uri: str, scope: str | None, state: str) -> str:
    """Return the address to open in a browser."""
    fields = {"client_id": client_id, "redirect_uri": redirect_uri, "response_type": "code", "state": state}
    query = f"{urlencode(fields, quote_via=quote)}&scope={quote(scope or SCOPE, safe='+')}"
    return f"{authorize_url}{'&' if authorize_url.raw_query_string else '?'}{query}"


def is_answer(query: str, state: str) -> bool:
    """Tell whether the query with which a browser came is this login's: all else is somebody else's."""
    return _same(_fields(query).get("state", ""), state)


def read_callback(query: str) -> Secret:
    """Take the code from a query that is this login's. Raises NotACode or Declined."""
    return _code(_fields(query))


def read_pasted(text: str, state: str | None) -> Secret:
    """Take the code from what a person pasted: the code, or the whole address. Raises NotACode or Declined.

    `state` is None for a consent that another run has asked for.
    """
    text = _bared(text)
    if not any(mark in text for mark in ("?", "code=", "error=", "state=")):
        return _code({} if ADDRESS.match(text) else {"code": text})
    fields = _query(text)
    if state is not None and not _same(fields.get("state", state), state):
        raise NotACode("This address belongs to another login: its `state` is another. Open the address shown above.")
    return _code(fields)


def has_state(text: str, state: str) -> bool:
    """Tell whether what a person pasted has this login's `state`: else it may be anything, half an address too."""
    return _same(_query(_bared(text)).get("state", ""), state)


def _bared(text: str) -> str:
    return PASTED.sub("", text).strip().strip(AROUND)


def _query(address: str) -> dict[str, str]:
    return _fields(address.partition("#")[0].rpartition("?")[2])


def _same(one: str, other: str) -> bool:
    return compare_digest(one.encode(), other.encode())


def _fields(query: str) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(query, errors="replace").items()}


def _code(fields: dict[str, str]) -> Secret:
    error = fields.get("error")
    if error == "access_denied":
        raise Declined("The consent was declined.")
    if error is not None:
        shown = error if ERROR.fullmatch(error) else "an error that can't be shown"
        raise Declined(f"PandaDoc answered {shown}. Check client_id, redirect_uri and scope of this credential.")
    code = fields.get("code", "")
    if not CODE.fullmatch(code):
        raise NotACode(
            "There is no code in this. Paste the whole address of the page on which the browser ended, which has"
            " ?code= in it, or the code alone."
        )
    return Secret(code)
