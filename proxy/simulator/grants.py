"""Clients, refresh tokens, access tokens and API keys: who lives and who dies.

The rules are those that PandaDoc's endpoint shares with django-oauth2-provider: a code and a refresh
token are good once, a refresh kills the grant's old access token at once, a refresh token never
expires by time. No HTTP here, and no clock but the one passed in.
"""

import math
import secrets
import sys
from collections.abc import Callable, Mapping

from proxy.simulator.answers import (
    UNAUTHENTICATED,
    Answer,
    authentication_error,
    documented,
    json_answer,
    speaks_v2,
)
from proxy.simulator.codes import Codes

_DEFAULT_LIFETIME_S = 3600.0
_NO_STORE = (("Cache-Control", "no-store"), ("Pragma", "no-cache"))  # RFC 6749 section 5.1


class Grants:
    """Every credential the simulator has issued.

    The mutable state is the fields below and the two switches. Redeeming changes it, and so may
    whoever holds the simulator.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        client_id: str,
        client_secret: str,
        expires_in: object,
        rotate: bool,
    ) -> None:
        self._clock = clock
        self._client = (client_id, client_secret)
        self.expires_in = expires_in
        self.rotate = rotate
        self._codes = Codes(clock)
        self._access_token_of: dict[str, str | None] = {}  # by refresh token: one entry is one grant
        self._expires_at: dict[str, float] = {}  # by access token
        self._api_keys: set[str] = set()
        self._redeemed = 0
        self.minted: set[str] = set()  # every credential ever issued, dead or alive: what no log may show

    def issue_code(self, redirect_uri: str | None = None) -> str:
        """Return a code, bound to the redirect URI it is sent to, if any."""
        code = self._mint()
        self._codes.add(code, redirect_uri)
        return code

    def issue_refresh_token(self) -> str:
        """Add a grant that has no access token yet."""
        refresh_token = self._mint()
        self._access_token_of[refresh_token] = None
        return refresh_token

    def issue_access_token(self) -> str:
        """Add a grant, and return its access token."""
        return self._renew(self.issue_refresh_token())[0]

    def issue_api_key(self) -> str:
        key = self._mint()
        self._api_keys.add(key)
        return key

    def revoke_access_tokens(self) -> None:
        self._expires_at.clear()

    def expire_access_tokens(self) -> None:
        """Let the time of every access token have passed, wherever the clock may go."""
        self._expires_at = dict.fromkeys(self._expires_at, -math.inf)

    def revoke_grants(self) -> None:
        self._codes.clear()
        self._access_token_of.clear()
        self._expires_at.clear()

    def revoke_api_keys(self) -> None:
        self._api_keys.clear()

    def refusal(self, path: str, authorization: tuple[str, ...]) -> Answer | None:
        """Judge a request's Authorization values: None is a live credential, else the 401.

        Two values are as bad as none: PandaDoc would see them joined by a comma.
        """
        problem = self._problem(authorization)
        if problem is not None and speaks_v2(path):
            return documented(401, path)
        return problem

    def redeem(self, form: Mapping[str, str]) -> Answer:
        """Answer a token request, RFC 6749 sections 4.1.3 and 6; the client is judged first."""
        if (form.get("client_id"), form.get("client_secret")) != self._client:
            return _refuse("invalid_client")
        match form.get("grant_type"):
            case "authorization_code":
                return self._redeem_code(form.get("code"), form.get("redirect_uri"))
            case "refresh_token":
                return self._redeem_refresh_token(form.get("refresh_token"))
            case None:
                return _refuse("invalid_request")
            case _:
                return _refuse("unsupported_grant_type")

    @property
    def refresh_tokens(self) -> frozenset[str]:
        return frozenset(self._access_token_of)

    def state(self) -> dict[str, object]:
        """Count what is alive; values are never told."""
        now = self._clock()
        return {
            "access_tokens": sum(now < expires_at for expires_at in self._expires_at.values()),
            "grants": len(self._access_token_of),
            "codes": len(self._codes),
            "api_keys": len(self._api_keys),
            "redeemed": self._redeemed,
            "rotate": self.rotate,
            "expires_in": self.expires_in,
        }

    def _problem(self, authorization: tuple[str, ...]) -> Answer | None:
        scheme, _, value = authorization[0].strip().partition(" ") if len(authorization) == 1 else ("", "", "")
        match scheme.lower():
            case "bearer" if value:
                # PandaDoc's words for a dead access token are unknown; nobody may depend on these.
                return None if self._is_live(value) else authentication_error("Invalid token.")
            case "api-key" if value:
                return None if value in self._api_keys else authentication_error("Invalid key.")
            case _:
                return UNAUTHENTICATED

    def _is_live(self, access_token: str) -> bool:
        return self._clock() < self._expires_at.get(access_token, -math.inf)

    def _redeem_code(self, code: str | None, redirect_uri: str | None) -> Answer:
        if not code:
            return _refuse("invalid_request")
        if not self._codes.spend(code, redirect_uri):
            return _refuse("invalid_grant")
        return self._reply(self.issue_refresh_token())

    def _redeem_refresh_token(self, refresh_token: str | None) -> Answer:
        if not refresh_token:
            return _refuse("invalid_request")
        if refresh_token not in self._access_token_of:
            return _refuse("invalid_grant")
        return self._reply(refresh_token)

    def _reply(self, refresh_token: str) -> Answer:
        access_token, refresh_token = self._renew(refresh_token)
        self._redeemed += 1
        payload = {
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": self.expires_in,
            "scope": "read+write",
            "refresh_token": refresh_token,
        }
        return json_answer(200, payload, *_NO_STORE)

    def _renew(self, refresh_token: str) -> tuple[str, str]:
        """Give a grant a new access token, and a new refresh token if they rotate; the old ones die."""
        dead = self._access_token_of.pop(refresh_token)
        if dead is not None:
            self._expires_at.pop(dead, None)
        if self.rotate:
            refresh_token = self._mint()
        access_token = self._mint()
        self._access_token_of[refresh_token] = access_token
        self._expires_at[access_token] = self._clock() + self._lifetime_s()
        return access_token, refresh_token

    def _lifetime_s(self) -> float:
        match self.expires_in:
            case bool():
                return _DEFAULT_LIFETIME_S
            case int() | float() as seconds if seconds > 0:
                return float(min(seconds, sys.float_info.max))  # a whole number may be larger
            case str() as text:
                return _read(text)
            case _:
                return _DEFAULT_LIFETIME_S

    def _mint(self) -> str:
        value = secrets.token_hex(20)
        self.minted.add(value)
        return value

    def __repr__(self) -> str:
        return f"<Grants {self.state()}>"


def _read(text: str) -> float:
    """Read a lifetime as the proxy does (law 7): a numeric string counts as its number, any other is nonsense."""
    try:
        seconds = float(text)
    except ValueError:
        return _DEFAULT_LIFETIME_S
    return seconds if 0 < seconds < math.inf else _DEFAULT_LIFETIME_S


def _refuse(error: str) -> Answer:
    return json_answer(400, {"error": error}, *_NO_STORE)
