"""What one request wants from the upstream, whatever the number of attempts."""

from msgspec import Struct

from proxy.credential.credential import Credential
from proxy.credential.source import CredentialSource
from proxy.errors import ProxyError
from proxy.forward.body import Body
from proxy.forward.exchange import Exchange
from proxy.forward.headers import Head, to_upstream
from proxy.forward.upstream import Answer, Attempt, Upstream


class Errand(Struct, frozen=True):
    """One request on its way, and who carries it."""

    head: Head
    target: str  # with the upstream's path prefix
    body: Body | None
    source: CredentialSource
    upstream: Upstream
    via: bytes
    cookies: bool
    exchange: Exchange

    @property
    def repeatable(self) -> bool:
        """Whether the same bytes can be sent again."""
        return self.body is None or self.body.replayable

    async def attempt(self, credential: Credential, *, replay: bool = False) -> Answer:
        """Send it once. A replay of which nothing was sent leaves no mark: what is told is the first attempt's."""
        exchange = self.exchange
        lines = to_upstream(self.head, credential.authorization, self.via, cookies=self.cookies)
        exchange.asked()
        sent = True
        try:
            return await self.upstream.send(Attempt(self.head.method, self.target, lines, self.body, replay))
        except ProxyError as fault:
            sent = not (replay and fault.unsent)
            raise
        finally:
            exchange.answered()
            if sent:
                exchange.lent(self.source.name, credential, replayed=replay)
