"""One call to the token endpoint: `POST /oauth2/access_token` with a refresh token.

The form carries the client's credentials in its body, as PandaDoc documents. No redirect is
followed, at most 64 KiB are read, and neither form nor reply is ever logged.
"""

from dataclasses import dataclass
from typing import Final

import aiohttp
from yarl import URL

from proxy.clock import Clock
from proxy.credential.token_reply import NotRedeemed, Outcome, Unknown, read_reply
from proxy.secrets import Secret

REPLY_LIMIT: Final = 64 * 1024
"""Bytes of a token reply that are read; PandaDoc's has about two hundred."""


@dataclass(frozen=True, slots=True)
class Client:
    """The OAuth client's own credentials."""

    client_id: Secret
    client_secret: Secret


class TokenEndpoint:
    """Redeems refresh tokens, one call each. Holds nothing that changes."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: URL,
        *,
        clock: Clock,
        scope: str | None,
        redeem_timeout: float,
        connect_timeout: float,
        proxy: URL | None,
    ) -> None:
        self._session = session
        self.url = url
        self._clock = clock
        self._scope = scope
        self._proxy = proxy
        self._timeout = aiohttp.ClientTimeout(total=redeem_timeout, sock_connect=connect_timeout)

    async def redeem(self, refresh_token: Secret, client: Client) -> Outcome:
        """Redeem `refresh_token` once; never raises for what the network or the endpoint does."""
        try:
            return await self._post(self._form(refresh_token, client))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as fault:
            return NotRedeemed(f"no connection ({type(fault).__name__})")
        except (aiohttp.ClientError, OSError) as fault:  # a TimeoutError is an OSError
            return Unknown(f"no answer ({type(fault).__name__})")

    async def _post(self, form: dict[str, str]) -> Outcome:
        async with self._session.post(
            self.url, data=form, allow_redirects=False, timeout=self._timeout, proxy=self._proxy
        ) as answer:
            body = await _read_at_most(answer.content, REPLY_LIMIT)
            if body is None:
                return Unknown("a reply larger than 64 KiB")
            return read_reply(answer.status, answer.headers, body, self._clock.wall())

    def _form(self, refresh_token: Secret, client: Client) -> dict[str, str]:
        form = {
            "grant_type": "refresh_token",
            "client_id": client.client_id.reveal(),
            "client_secret": client.client_secret.reveal(),
            "refresh_token": refresh_token.reveal(),
        }
        return form if self._scope is None else {**form, "scope": self._scope}


async def _read_at_most(content: aiohttp.StreamReader, limit: int) -> bytes | None:
    """Read to the end, or None where that is beyond `limit` bytes."""
    read = bytearray()
    async for chunk in content.iter_any():
        read += chunk
        if len(read) > limit:
            return None
    return bytes(read)
