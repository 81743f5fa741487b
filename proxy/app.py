"""The proxy as a running thing: it binds its listeners, serves, drains and ends.

Never here: what the parts are made of (compose).
"""

import asyncio
import logging
import os
import socket
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from aiohttp import web

from proxy import __version__
from proxy.admin import Probes
from proxy.clock import Clock, SystemClock
from proxy.compose import Snapshot, build
from proxy.compose_credentials import longest_redeem
from proxy.config import Config, Listener, TcpBind, UnixBind
from proxy.credential.source import CredentialSource
from proxy.forward.connection import ConnectionLimits
from proxy.forward.handler import Handler, Lane
from proxy.forward.places import InFlight
from proxy.forward.server import Server
from proxy.keyring import Keyring
from proxy.open_files import AcceptFaults
from proxy.signals import Signals
from proxy.tasks import Tasks

log = logging.getLogger(__name__)

BACKLOG: Final = 1024
"""Connections the kernel may hold for us; a burst of a thousand must not be turned away."""

ACCEPTED_AT_ONCE: Final = 64
"""Connections that are taken in one round of the loop, before any finds out whether there is room for it."""

LOOK_EVERY: Final = 2.0
"""Seconds between two looks behind the traffic: a new login, secret or clock is noticed this soon, and an idle
proxy refreshes what is stale."""

CUT_OFF: Final = 1.0
"""Seconds that answers get to leave, and a refresh to be stored, once drain is over."""


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
        self._servers: list[Server] = []
        self._runners: list[web.BaseRunner] = []  # one for each server, and the admin port's
        self.urls: list[str] = []  # where the listeners answer, in the configuration's order
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
                server = self._server(Handler(partial(self._lane, number), self._in_flight, self._clock.monotonic))
                runner = await _bound(web.ServerRunner(server, shutdown_timeout=CUT_OFF), listener.bind)
                self._servers.append(server)
                self._runners.append(runner)
                self.urls.append(_url(runner, listener.bind))
            if self._config.admin is not None:
                probes = self._server(Probes(lambda: self._serving, lambda: self.ready))
                admin = await _bound(web.ServerRunner(probes, shutdown_timeout=CUT_OFF), self._config.admin.bind)
                self._runners.append(admin)
                self.admin_url = _url(admin, self._config.admin.bind)
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
        await asyncio.gather(*looks)

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
        await asyncio.gather(*(server.shutdown(CUT_OFF) for server in self._servers))
        # A sent redeem that is cut off is a lost grant: it has its own time.
        await self._tasks.drain(longest_redeem(self._config) + CUT_OFF)
        if self._snapshot is not None:
            self._snapshot.tally.tell()
        await self.stop()
        log.info("drained")

    async def stop(self) -> None:
        """End now: whatever is still in flight is cut off. Does nothing the second time."""
        self._serving = False
        for server in self._servers:
            server.cut()
        for runner in self._runners:
            await runner.cleanup()
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
        for runner in self._runners[: len(self._servers)]:
            for site in tuple(runner.sites):
                await site.stop()
        await asyncio.sleep(0)  # what was accepted in this round of the loop begins before idle connections close
        for server in self._servers:
            server.leave()

    def _server(self, handler: Handler | Probes) -> Server:
        limits = self._config.limits
        return Server(
            handler,
            ConnectionLimits(limits.header_timeout, limits.max_head, limits.max_headers, limits.max_connections),
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


async def _bound(runner: web.BaseRunner, bind: TcpBind | UnixBind) -> web.BaseRunner:
    """Set `runner` up at an address. Raises OSError that names it; the runner is cleaned up then."""
    await runner.setup()
    try:
        site = _site(runner, bind)
        await site.start()
        _deepen(site)
    except OSError as fault:
        await runner.cleanup()
        reason = os.strerror(fault.errno) if fault.errno else str(fault)
        raise OSError(f"{bind}: {reason}. Choose another address, or free this one.") from fault
    return runner


def _site(runner: web.BaseRunner, bind: TcpBind | UnixBind) -> web.BaseSite:
    if isinstance(bind, UnixBind):
        return web.UnixSite(runner, bind.path, backlog=ACCEPTED_AT_ONCE)
    return web.TCPSite(runner, bind.host, bind.port, backlog=ACCEPTED_AT_ONCE)


def _deepen(site: web.BaseSite) -> None:
    """Have the kernel hold more connections than are accepted at once: asyncio has one number for both."""
    assert isinstance(site._server, asyncio.Server)  # noqa: S101, SLF001 - it is started, and says so nowhere else
    for listening in site._server.sockets:  # noqa: SLF001 - the same
        with socket.socket(fileno=os.dup(listening.fileno())) as same:
            same.listen(BACKLOG)


def _url(runner: web.BaseRunner, bind: TcpBind | UnixBind) -> str:
    """Tell where a bound runner answers; for port 0, with the port that was had."""
    if isinstance(bind, UnixBind):
        return str(bind)
    return f"http://{TcpBind(bind.host, runner.addresses[0][1])}"
