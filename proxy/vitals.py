"""What the running proxy is made of, for those who look at it: the gauges, /status and the page. They only read.

Never here: what a request, a credential or a listener does.
"""

from collections.abc import Callable, Iterable

from msgspec import Struct

from proxy.certificates import ServerCertificate
from proxy.compose import Snapshot
from proxy.forward.clients import Client, Named
from proxy.forward.handler import Handler, Lane
from proxy.forward.server import Server
from proxy.forward.upstream_pool import UpstreamPool


class Port(Struct, frozen=True):
    """A listener that is bound."""

    url: str  # where it answers
    handler: Handler
    server: Server
    lane: Callable[[], Lane]  # what serves it now
    certificate: ServerCertificate | None  # what it shows of itself, with TLS

    @property
    def name(self) -> str:
        """What it is called by its address in the configuration."""
        return self.handler.listener

    @property
    def certificate_expires_at(self) -> float | None:
        return None if self.certificate is None else self.certificate.expires_at

    @property
    def clients(self) -> tuple[Client, ...]:
        """The clients that are told apart by their keys; none where nobody is asked."""
        clients = self.lane().clients
        return tuple(clients.clients.values()) if isinstance(clients, Named) else ()

    @property
    def keyless(self) -> list[str]:
        """The names of clients whose key can't be read or used."""
        clients = self.lane().clients
        return clients.keyring.keyless if isinstance(clients, Named) else []


class Vitals(Struct, frozen=True):
    """The parts that are looked at."""

    snapshot: Callable[[], Snapshot]
    pools: Callable[[], Iterable[UpstreamPool]]  # this snapshot's, and those on which earlier requests end
    ports: Callable[[], tuple[Port, ...]]
    in_flight: Callable[[], int]  # requests, with those on listeners that a reload has taken away
    ready: Callable[[], bool]
    uptime: Callable[[], float]
    taken_at: Callable[[], float]  # when the configuration was, in seconds since 1970
    refused: Callable[[], tuple[str, ...]]  # what is wrong with a newer one, which is not taken

    @property
    def busy(self) -> int:
        """Connections to the upstream that carry a request."""
        return sum(pool.busy for pool in self.pools())

    @property
    def idle(self) -> int:
        """Connections to the upstream that are kept."""
        return sum(pool.idle for pool in self.pools())
