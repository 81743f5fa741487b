"""The composition root: a Config becomes a frozen Snapshot of parts, and the parts are started and stopped.

    build()   Config → Snapshot; opens no socket and sends nothing
    Proxy     binds the listeners, serves, drains, ends
    serve()   both, for as long as the process lives

A request takes the snapshot's lane for its listener and keeps it to its end, so that a reload can
put another snapshot in its place.
"""

import asyncio
import logging
import os
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import aiohttp
from aiohttp import web
from yarl import URL

from proxy import __version__, outbound
from proxy.admin import Probes
from proxy.clock import Clock, SystemClock
from proxy.config import (
    ApiKeyCredential,
    BadConfig,
    Config,
    Credential,
    Fault,
    FileStore,
    Listener,
    OAuth2Credential,
    TcpBind,
    UnixBind,
)
from proxy.credential.api_key import ApiKey
from proxy.credential.file_store import FileStore as GrantFile
from proxy.credential.file_store import default_path
from proxy.credential.grant_keeper import GrantKeeper
from proxy.credential.oauth2 import RefreshingCredential
from proxy.credential.probe import UpstreamProbe
from proxy.credential.refresh import GrantSecrets, Refresher
from proxy.credential.source import CredentialSource
from proxy.credential.store import MemoryStore, Store
from proxy.credential.token_endpoint import TokenEndpoint
from proxy.forward.body import BodyLimits, KeptBytes
from proxy.forward.guard import Gate
from proxy.forward.handler import Handler, InFlight, Lane
from proxy.forward.headers import Origin
from proxy.forward.server import Server
from proxy.forward.session_upstream import SessionUpstream
from proxy.hosts import is_wildcard
from proxy.secrets import SecretUnavailable
from proxy.signals import Signals
from proxy.tasks import Tasks

log = logging.getLogger(__name__)

BACKLOG: Final = 1024
"""Connections the kernel may hold for us; a burst of a thousand must not be turned away."""

CUT_OFF: Final = 1.0
"""Seconds that answers get to leave, and a refresh to be stored, once drain is over."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The parts that one configuration made."""

    lanes: tuple[Lane, ...]  # as config.listeners
    sessions: tuple[aiohttp.ClientSession, ...]

    async def close(self) -> None:
        for session in self.sessions:
            await session.close()


def build(config: Config, *, state_home: Path, clock: Clock, tasks: Tasks, ready: Callable[[], bool]) -> Snapshot:
    """Make the parts. Needs a running loop, for the sessions; connects to nothing."""
    context = outbound.trust(config.upstream)
    parts = _Parts(config, state_home, clock, tasks, outbound.credential_session(config.upstream, context))
    forwarding = outbound.forwarding_sessions(config.upstream, context)
    upstream = SessionUpstream(
        *forwarding,
        config.upstream.url.origin(),
        response_timeout=config.upstream.response_timeout,
        idle_timeout=config.upstream.idle_timeout,
        proxy=config.upstream.proxy,
    )
    sources = {name: parts.source(name, credential) for name, credential in config.credentials.items()}
    kept_bytes = KeptBytes(config.replay.max_total)
    lanes = tuple(
        Lane(
            gate=_gate(listener, config),
            source=sources[listener.credential],
            upstream=upstream,
            origin=_origin(config),
            body_limits=BodyLimits(config.limits.max_body, config.replay.max_body, config.upstream.idle_timeout),
            kept_bytes=kept_bytes,
            max_requests=config.limits.max_requests,
            health=listener.health,
            ready=ready,
        )
        for listener in config.listeners
    )
    return Snapshot(lanes, (parts.session, *forwarding))


@dataclass(frozen=True, slots=True)
class _Parts:
    """What every credential source is made from."""

    config: Config
    state_home: Path
    clock: Clock
    tasks: Tasks
    session: aiohttp.ClientSession

    def source(self, name: str, credential: Credential) -> CredentialSource:
        if isinstance(credential, ApiKeyCredential):
            return ApiKey(name, credential.api_key)
        secrets = GrantSecrets(credential.client_id, credential.client_secret, credential.refresh_token)
        keeper = GrantKeeper(
            name, store=self._store(credential), seed=secrets.seed, jitter=random.random, tasks=self.tasks
        )
        refresher = Refresher(
            name,
            secrets=secrets,
            endpoint=self._endpoint(credential),
            keeper=keeper,
            refresh_before=credential.refresh_before,
            clock=self.clock,
            jitter=random.random,
            tasks=self.tasks,
        )
        return RefreshingCredential(
            refresher, probe=self._probe(credential), wait=credential.wait, clock=self.clock, tasks=self.tasks
        )

    def _endpoint(self, credential: OAuth2Credential) -> TokenEndpoint:
        return TokenEndpoint(
            self.session,
            credential.token_url,
            clock=self.clock,
            scope=credential.scope,
            redeem_timeout=credential.redeem_timeout,
            connect_timeout=self.config.upstream.connect_timeout,
            proxy=self.config.upstream.proxy,
        )

    def _probe(self, credential: OAuth2Credential) -> UpstreamProbe | None:
        if credential.probe is None:
            return None
        url = URL(f"{self.config.upstream.url}".rstrip("/") + credential.probe, encoded=True)
        return UpstreamProbe(self.session, url, proxy=self.config.upstream.proxy)

    def _store(self, credential: OAuth2Credential) -> Store:
        if not isinstance(credential.store, FileStore):
            return MemoryStore()
        return GrantFile(lambda: _place(credential, self.state_home))


def _place(credential: OAuth2Credential, state_home: Path) -> Path:
    """Tell where a credential's grant is kept. Raises SecretUnavailable while its client's id can't be read."""
    if isinstance(credential.store, FileStore) and credential.store.path is not None:
        return credential.store.path
    return default_path(state_home, str(credential.token_url), credential.client_id.read())


def refuse_shared_stores(config: Config, state_home: Path) -> None:
    """Raise BadConfig where two credentials would keep their grants in one file and spend each other's tokens."""
    owners: dict[Path, str] = {}
    for name, credential in config.credentials.items():
        if not isinstance(credential, OAuth2Credential) or not isinstance(credential.store, FileStore):
            continue
        with suppress(SecretUnavailable):  # told when it is needed
            owner = owners.setdefault(_place(credential, state_home), name)
            if owner != name:
                raise BadConfig(
                    Fault(
                        str(config.source or "environment"),
                        f"credentials.{name}.oauth2.store",
                        f"credential {owner} keeps its grant in the same file: give each a file of its own,"
                        f" such as store: {{file: {name}.json}}",
                    )
                )


def _gate(listener: Listener, config: Config) -> Gate:
    bind = listener.bind
    return Gate(
        allowed_hosts=listener.allowed_hosts,
        bound_to=bind.host if isinstance(bind, TcpBind) and not is_wildcard(bind.host) else None,
        prefix=_origin(config).prefix,
        max_head=config.limits.max_head,
        max_headers=config.limits.max_headers,
    )


def _origin(config: Config) -> Origin:
    url = config.upstream.url
    return Origin(str(url.origin()), url.raw_path.rstrip("/"))


class Proxy:
    """The running proxy.

    What changes: `_serving` and `_draining`, by `start`, `drain` and `stop`; the rest is set by `start` alone.
    """

    def __init__(self, config: Config, *, state_home: Path, clock: Clock | None = None) -> None:
        self._config = config
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

    async def drain(self) -> None:
        """Become unready, accept for `shutdown.grace` more, finish what is in flight, end (law 17)."""
        settings = self._config.shutdown
        self._draining = True
        await asyncio.sleep(settings.grace)
        log.info("draining: %r, %g s at most", self._in_flight, settings.drain)
        await self._stop_accepting()
        with suppress(TimeoutError):
            async with asyncio.timeout(settings.drain):
                await self._in_flight.none()
        await asyncio.gather(*(server.shutdown(CUT_OFF) for server in self._servers))
        # A sent redeem that is cut off is a lost grant: it has its own time.
        await self._tasks.drain(_longest_redeem(self._config) + CUT_OFF)
        await self.stop()
        log.info("drained")

    async def stop(self) -> None:
        """End now: whatever is still in flight is cut off. Does nothing the second time."""
        self._serving = False
        for server in self._servers:
            server.cut()
        for runner in self._runners:
            await runner.cleanup()
        await self._tasks.drain(0)
        if self._snapshot is not None:
            await self._snapshot.close()

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
            header_timeout=limits.header_timeout,
            max_head=limits.max_head,
            max_headers=limits.max_headers,
        )

    def _announce(self) -> None:
        for warning in self._config.warnings:
            log.warning("%s", warning)
        for url, listener in zip(self.urls, self._config.listeners, strict=True):
            log.info("%s lends credential %s for %s", url, listener.credential, self._config.upstream.url)
        if self.admin_url is not None:
            log.info("%s answers probes", self.admin_url)
        log.info("pandadoc-proxy %s is ready", __version__)


async def serve(config: Config, state_home: Path) -> int:
    """Run a proxy until it is told to end; return the exit code. Raises OSError if an address can't be had."""
    signals = Signals()
    proxy = Proxy(config, state_home=state_home)
    await proxy.start()
    try:
        await signals.first()
        await proxy.drain()
    finally:
        await proxy.stop()
    return 0


async def _bound(runner: web.BaseRunner, bind: TcpBind | UnixBind) -> web.BaseRunner:
    """Set `runner` up at an address. Raises OSError that names it; the runner is cleaned up then."""
    await runner.setup()
    try:
        await _site(runner, bind).start()
    except OSError as fault:
        await runner.cleanup()
        reason = os.strerror(fault.errno) if fault.errno else str(fault)
        raise OSError(f"{bind}: {reason}. Choose another address, or free this one.") from fault
    return runner


def _site(runner: web.BaseRunner, bind: TcpBind | UnixBind) -> web.BaseSite:
    if isinstance(bind, UnixBind):
        return web.UnixSite(runner, bind.path, backlog=BACKLOG)
    return web.TCPSite(runner, bind.host, bind.port, backlog=BACKLOG)


def _longest_redeem(config: Config) -> float:
    oauth = (each for each in config.credentials.values() if isinstance(each, OAuth2Credential))
    return max((each.redeem_timeout for each in oauth), default=0.0)


def _url(runner: web.BaseRunner, bind: TcpBind | UnixBind) -> str:
    """Tell where a bound runner answers; for port 0, with the port that was had."""
    if isinstance(bind, UnixBind):
        return str(bind)
    return f"http://{TcpBind(bind.host, runner.addresses[0][1])}"
