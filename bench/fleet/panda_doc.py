"""PandaDoc, as far as a grant sees it: refresh tokens that rotate, and a redeem that kills the access token before it.

What is judged when: a redeem in the middle of the time that it takes, a request when it arrives.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Final

from bench.fleet.fate import REDEEMED, SENT, Fate
from proxy.credential.credential import YEAR, Credential
from proxy.credential.probe import Probed
from proxy.credential.token_endpoint import Client
from proxy.credential.token_reply import Cause, NotRedeemed, Outcome, Redeemed, Refused, Unknown
from proxy.secrets import Secret

OWNER: Final = "0123456789abcdef"
"""Whose grant it is: that of the only client there is."""

SPREAD: Final = 0.4
"""Of the logarithm of a latency."""

ONE_WAY: Final = 0.03
"""Seconds that a request is on its way to the API."""

UNANSWERED_AFTER: Final = 5.0
"""Seconds after which it is seen that a reply is lost: the connection is reset."""


@dataclass(frozen=True, slots=True)
class Pair:
    """What a redeem brings."""

    refresh_token: str
    access_token: str
    minted_at: float  # the loop's time
    parent: str  # the refresh token that it was redeemed with; none at a consent


class PandaDoc:
    """Knows the living pair.

    What changes: `_alive`, the living refresh token, and `accepted`, the living access token, by `_mint`, `revoke`
    and `kill`; `minted`, which grows; `answers`, how often a redeem ended how; the story sets `latency` (seconds
    that a redeem takes, in the middle), `lost` (replies to come that will not arrive), `down` and
    `refuses_all`.
    """

    def __init__(self, random: Random, now: asyncio.AbstractEventLoop) -> None:
        self._random = random
        self._time = now.time
        self._alive = ""
        self.accepted = ""
        self.minted: dict[str, Pair] = {}  # by access token
        self.answers: Counter[str] = Counter()
        self.latency = 0.4
        self.lost = 0
        self.down = False
        self.refuses_all = False

    def __repr__(self) -> str:
        return f"<PandaDoc {len(self.minted)} minted, {dict(self.answers)}>"

    @property
    def alive(self) -> str:
        """The only refresh token that can be redeemed; none after `kill`."""
        return self._alive

    def consent(self) -> Pair:
        """Mint a first pair, as somebody agrees; the one before it dies."""
        return self._mint("")

    def revoke(self, pair: Pair | None = None) -> None:
        """Refuse the access token from now on; or that of `pair`, if it is still the one that lives."""
        if pair is None or pair.access_token == self.accepted:
            self.accepted = ""

    def kill(self) -> None:
        """Refuse all there is, as when the user is removed."""
        self._alive = self.accepted = ""

    async def redeem(self, refresh_token: Secret, fate: Fate) -> Outcome:
        await fate.comes_to(SENT)
        half = self._random.lognormvariate(0.0, SPREAD) * self.latency / 2
        await asyncio.sleep(half)
        if self.down:
            self.answers["unavailable"] += 1
            return NotRedeemed(Cause.NO_CONNECTION, "no connection")
        outcome = self._judged(refresh_token.reveal())
        await fate.comes_to(REDEEMED)
        await asyncio.sleep(half)
        if self.lost and isinstance(outcome, Redeemed):
            self.lost -= 1
            await asyncio.sleep(UNANSWERED_AFTER)
            return Unknown(Cause.CONNECTION_LOST, "the connection broke before the answer")
        return outcome

    def _judged(self, refresh_token: str) -> Outcome:
        if refresh_token != self._alive:
            self.answers["refused"] += 1
            return Refused("invalid_grant")
        self.answers["redeemed"] += 1
        pair = self._mint(refresh_token)
        return Redeemed(Secret(pair.refresh_token), Secret(pair.access_token), YEAR, lifetime_guessed=False, fault=None)

    def _mint(self, parent: str) -> Pair:
        number = len(self.minted) + 1
        pair = Pair(f"refresh-{number}", f"access-{number}", self._time(), parent)
        self.minted[pair.access_token] = pair
        self._alive, self.accepted = pair.refresh_token, pair.access_token
        return pair

    async def accepts(self, credential: Credential) -> bool:
        """Answer a request that was sent with `credential`: whether its status is 200, or 401."""
        await asyncio.sleep(ONE_WAY)
        return credential.authorization == f"Bearer {self.accepted}" and not self.refuses_all

    async def probe(self, credential: Credential) -> Probed:
        return Probed.ACCEPTED if await self.accepts(credential) else Probed.REFUSED


class Endpoint:
    """One replica's way to the token endpoint."""

    redeem_timeout = 60.0
    scope = None

    def __init__(self, panda_doc: PandaDoc, fate: Fate) -> None:
        self._panda_doc = panda_doc
        self._fate = fate

    def owner(self, client: Client) -> str:
        del client  # there is one
        return OWNER

    async def redeem(self, refresh_token: Secret, client: Client) -> Outcome:
        del client  # the same
        try:
            async with asyncio.timeout(self.redeem_timeout):
                return await self._panda_doc.redeem(refresh_token, self._fate)
        except TimeoutError:
            return Unknown(Cause.TIMEOUT, "no answer in time")
