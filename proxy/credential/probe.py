"""Does PandaDoc still accept this token? The cheapest question that proves it (laws 3 and 12)."""

import json
from enum import Enum
from typing import Final, Protocol

import aiohttp
from msgspec import Struct
from yarl import URL

from proxy.credential.advice import shown
from proxy.credential.credential import Credential
from proxy.credential.token_endpoint import read_at_most
from proxy.secrets import Secret

TIMEOUT: Final = aiohttp.ClientTimeout(total=10)
"""Seconds. Requests wait for a probe, so it answers soon or does not count."""


ANSWER_LIMIT: Final = 64 * 1024
"""Bytes of an answer that are read."""


class Probed(Enum):
    """What a probe has shown. UNCLEAR: the upstream did not say."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNCLEAR = "unclear"


class Probe(Protocol):
    """Asks the upstream about a credential; never raises for what the network does."""

    async def __call__(self, credential: Credential) -> Probed: ...


class Member(Struct, frozen=True):
    """As whom a credential acts, for people (PandaDoc's `GET /public/v1/members/current`)."""

    name: str
    email: str
    workspace: str

    def __str__(self) -> str:
        return f"{self.name} <{self.email}>" + (f", workspace {self.workspace}" if self.workspace else "")


class UpstreamProbe:
    """Asks `GET /public/v1/members/current`, or what the operator chose. Holds nothing that changes."""

    def __init__(self, session: aiohttp.ClientSession, url: URL, *, proxy: URL | None) -> None:
        self.url = url
        self._session = session
        self._proxy = proxy

    async def __call__(self, credential: Credential) -> Probed:
        probed, _ = await self._ask(credential.authorization, most=0)
        return probed

    async def member(self, access_token: Secret) -> tuple[Probed, Member | None]:
        """Ask as whom a token acts, too; None where the answer does not say."""
        probed, body = await self._ask(f"Bearer {access_token.reveal()}", most=ANSWER_LIMIT)
        return probed, read_member(body) if probed is Probed.ACCEPTED else None

    async def _ask(self, authorization: str, *, most: int) -> tuple[Probed, bytes]:
        headers = {"Authorization": authorization}
        try:
            async with self._session.get(
                self.url, headers=headers, allow_redirects=False, timeout=TIMEOUT, proxy=self._proxy
            ) as answer:
                body = await read_at_most(answer.content, most) if most else None
                return read_probe(answer.status), body or b""
        except (aiohttp.ClientError, OSError):  # a TimeoutError is an OSError
            return Probed.UNCLEAR, b""


def read_probe(status: int) -> Probed:
    """Tell what a probe's status proves: only success and 401 prove anything."""
    if status == 401:  # noqa: PLR2004 - RFC 9110 §15.5.2
        return Probed.REFUSED
    return Probed.ACCEPTED if 200 <= status < 300 else Probed.UNCLEAR  # noqa: PLR2004 - the class of success


def read_member(body: bytes) -> Member | None:
    """Take from an answer what people know each other by; None where there is no such thing."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or not isinstance(document.get("email"), str):
        return None
    first, last, email, workspace = (
        shown(value) if isinstance(value := document.get(key), str) else ""
        for key in ("first_name", "last_name", "email", "workspace_name")
    )
    return Member(f"{first} {last}".strip() or email, email, workspace)
