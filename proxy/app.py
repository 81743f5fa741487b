"""The proxy as a running thing: it binds its listeners, serves, drains and ends.

Never here: what the parts are made of (compose).
"""

import asyncio
import logging
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from proxy import __version__
from proxy.admin import Probes
from proxy.binding import CUT_OFF, Binding
from proxy.certificates import ServerCertificate
from proxy.clock import Clock, SystemClock
from proxy.compose import Snapshot, build
from proxy.compose_credentials import longest_redeem
from proxy.config import Config, Listener
from proxy.credential.source import CredentialSource
from proxy.disk import Disk
from proxy.forward.connection import ConnectionLimits
from proxy.forward.handler import Handler, Lane
from proxy.forward.places import InFlight
from proxy.forward.server import Server
from proxy.keyring import Keyring
from proxy.open_files import AcceptFaults
from proxy.signals import Signals
from proxy.tasks import Tasks

log = logging.getLogger(__name__)

LOOK_EVERY: Final = 2.0
"""Seconds between two looks behind the traffic: a new login, secret or clock is noticed this soon, and an idle
proxy refreshes what is stale."""


class Proxy:
    """The running proxy.

    What changes: `_serving` and `_draining`, by `start`, `drain` and `stop`; the rest is set by `start` alone.
    """

    def __init__(self, config: Config, *, state_home: Path, clock: Clock | None = None, watch: bool = True) -> None:
        """Without `watch` it is up to others to call `look`."""
        self._config = config
        self._watches = watch
        self._state_home = state_home
        self._clock = clock or SystemClock()
        self._tasks = Tasks()
        self._in_flight = InFlight()
        self._snapshot: Snapshot | None = None
        self._listeners: list[Binding] = []  # in the configuration's order
        self._admin: Binding | None = None
        self._disk = Disk()  # for certificates
        self._certificates: list[tuple[ServerCertificate, Server]] = []  # of the listeners that speak TLS
        self.urls: list[str] = []  # where the listeners answer
        self.admin_url: str | None = None
        self._serving = False
        self._draining = False

    def __repr__(self) -> str:
        return f"<Proxy serving={self._serving} draining={self._draining} {self._in_flight}>"

    @property
    def ready(self) -> bool:
        return self._serving and not self._draining

    async def start(self) -> None:
        """Bind and serve. Raises OSError if an address can't be had; nothing is left bound then."""
        self._snapshot = build(
            self._config,
            state_home=self._state_home,
            clock=self._clock,
            tasks=self._tasks,
            ready=lambda: self.ready,
        )
        for keyring in self._snapshot.keyrings:  # a key that is replaced in our first second must be known as the old
            await _look("the clients' keys", keyring)
        try:
            for number, listener in enumerate(self._config.listeners):
                handler = Handler(partial(self._lane, number), self._in_flight, self._clock.monotonic)
                certificate = await self._certificate(listener)
                server = self._server(handler, certificate)
                if certificate is not None:
                    self._certificates.append((certificate, server))
                self._listeners.append(Binding.of(listener, server))
                await self._listeners[-1].start()
                self.urls.append(self._listeners[-1].url)
            if self._config.admin is not None:
                probes = self._server(Probes(lambda: self._serving, lambda: self.ready))
                self._admin = Binding(probes, self._config.admin.bind)
                await self._admin.start()
                self.admin_url = self._admin.url
        except OSError:
            await self.stop()
            raise
        self._serving = True
        self._announce()
        if self._watches:
            self._tasks.start(self._watch(), "watch")

    async def look(self) -> None:
        """Look behind the traffic, once: what was stored or changed by others, and what is due."""
        assert self._snapshot is not None  # noqa: S101 - `start` has set it
        looks = [_look(f"credential {source.name}", source) for source in self._snapshot.sources]
        looks += [_look("the clients' keys", keyring) for keyring in self._snapshot.keyrings]
        await asyncio.gather(*looks, *(_look_at(*each) for each in self._certificates))

    async def drain(self) -> None:
        """Become unready, accept for `shutdown.grace` more, finish what is in flight, end (law 17)."""
        settings = self._config.shutdown
        self._draining = True
        await asyncio.sleep(settings.grace)
        log.info("draining: %d requests in flight, %g s at most", self._in_flight.count, settings.drain)
        await self._stop_accepting()
        with suppress(TimeoutError):
            async with asyncio.timeout(settings.drain):
                await self._in_flight.none()
        await asyncio.gather(*(listener.server.shutdown(CUT_OFF) for listener in self._listeners))
        # A sent redeem that is cut off is a lost grant: it has its own time.
        await self._tasks.drain(longest_redeem(self._config) + CUT_OFF)
        if self._snapshot is not None:
            self._snapshot.tally.tell()
        await self.stop()
        log.info("drained")

    async def stop(self) -> None:
        """End now: whatever is still in flight is cut off. Does nothing the second time."""
        self._serving = False
        for listener in self._listeners:
            listener.server.cut()
        for binding in (*self._listeners, *([self._admin] if self._admin else [])):
            await binding.stop()
        await self._tasks.drain(CUT_OFF)
        if self._snapshot is not None:
            await self._snapshot.close()

    async def _watch(self) -> None:
        await self.look()
        while not await self._tasks.pause(LOOK_EVERY):
            await self.look()

    def _lane(self, number: int) -> Lane:
        """Return the parts that serve a listener now; a request keeps what it got."""
        assert self._snapshot is not None  # noqa: S101 - nothing listens before `start` has set it
        return self._snapshot.lanes[number]

    async def _stop_accepting(self) -> None:
        for listener in self._listeners:
            await listener.stop_accepting()
        await asyncio.sleep(0)  # what was accepted in this round of the loop begins before idle connections close
        for listener in self._listeners:
            listener.server.leave()

    async def _certificate(self, listener: Listener) -> ServerCertificate | None:
        if listener.tls is None:
            return None
        certificate = ServerCertificate(str(listener.bind), listener.tls, self._disk)
        await certificate.start()
        return certificate

    def _server(self, handler: Handler | Probes, certificate: ServerCertificate | None = None) -> Server:
        limits = self._config.limits
        return Server(
            handler,
            ConnectionLimits(limits.header_timeout, limits.max_head, limits.max_headers, limits.max_connections),
            tls=None if certificate is None else certificate.context,
        )

    def _announce(self) -> None:
        for warning in self._config.warnings:
            log.warning("%s", warning)
        for url, listener in zip(self.urls, self._config.listeners, strict=True):
            log.info("%s lends %s for %s", url, _lent(listener), self._config.upstream.url)
        if self.admin_url is not None:
            log.info("%s answers probes", self.admin_url)
        log.info("pandadoc-proxy %s is ready", __version__)


async def serve(config: Config, state_home: Path) -> int:
    """Run a proxy until it is told to end; return the exit code. Raises OSError if an address can't be had."""
    signals = Signals()
    asyncio.get_running_loop().set_exception_handler(AcceptFaults())
    proxy = Proxy(config, state_home=state_home)
    await proxy.start()
    try:
        await signals.first()
        await proxy.drain()
    finally:
        await proxy.stop()
    return 0


def _lent(listener: Listener) -> str:
    if not listener.clients:
        return f"credential {listener.credential}"
    pairs = (f"{name} {client.credential or listener.credential}" for name, client in listener.clients.items())
    return f"to clients by their keys ({', '.join(pairs)})"


async def _look(what: str, at: CredentialSource | Keyring) -> None:
    try:
        await at.look()
    except Exception:  # the next look may do better, and the others go on
        log.exception("a fault of ours while looking after %s", what)


async def _look_at(certificate: ServerCertificate, server: Server) -> None:
    if await certificate.look():
        server.retire()
