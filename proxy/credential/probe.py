"""Does PandaDoc still accept this token? The cheapest question that proves it (laws 3 and 12)."""

from enum import Enum
from typing import Final, Protocol

import aiohttp
from yarl import URL

from proxy.credential.credential import Credential

TIMEOUT: Final = aiohttp.ClientTimeout(total=10)
"""Seconds. Requests wait for a probe, so it answers soon or does not count."""


class Probed(Enum):
    """What a probe has shown. UNCLEAR: the upstream did not say."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNCLEAR = "unclear"


class Probe(Protocol):
    """Asks the upstream about a credential; never raises for what the network does."""

    async def __call__(self, credential: Credential) -> Probed: ...


class UpstreamProbe:
    """Asks `GET /public/v1/members/current`, or what the operator chose. Holds nothing that changes."""

    def __init__(self, session: aiohttp.ClientSession, url: URL, *, proxy: URL | None) -> None:
        self._session = session
        self._url = url
        self._proxy = proxy

    async def __call__(self, credential: Credential) -> Probed:
        headers = {"Authorization": credential.authorization}
        try:
            async with self._session.get(
                self._url, headers=headers, allow_redirects=False, timeout=TIMEOUT, proxy=self._proxy
            ) as answer:
                return read_probe(answer.status)
        except (aiohttp.ClientError, OSError):  # a TimeoutError is an OSError
            return Probed.UNCLEAR


def read_probe(status: int) -> Probed:
    """Tell what a probe's status proves: only success and 401 prove anything."""
    if status == 401:  # noqa: PLR2004 - RFC 9110 §15.5.2
        return Probed.REFUSED
    return Probed.ACCEPTED if 200 <= status < 300 else Probed.UNCLEAR  # noqa: PLR2004 - the class of success
