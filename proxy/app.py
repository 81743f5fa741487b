"""The proxy as a running thing: it binds its listeners, serves, drains and ends.

Never here: what the parts are made of (compose).
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from proxy import __version__, outbound, pulse
from proxy.admin import Admin, Scrapes
from proxy.binding import CUT_OFF, Binding
from proxy.certificates import ServerCertificate
from proxy.clock import Clock, SystemClock
from proxy.compose import Snapshot, Surroundings, build
from proxy.compose_budget import free
from proxy.compose_credentials import longest_redeem
from proxy.condition import condition
from proxy.config import Config, Limits, Listener, TcpBind, UnixBind
from proxy.credential.oauth2 import RefreshingCredential
from proxy.disk import Disk
from proxy.errors import NAME
from proxy.forward.connection import ConnectionLimits
from proxy.forward.exchange import Exchange
from proxy.forward.handler import Handler, Lane
from proxy.forward.server import Server
from proxy.gauges import Gauges
from proxy.metrics import Metrics
from proxy.notice import Notice
from proxy.outbound import Trust
from proxy.page.document import html
from proxy.page.recent import Recent
from proxy.page.view import view
from proxy.secret_reader import SecretReader
from proxy.tasks import Tasks
from proxy.vitals import Port, Vitals

if TYPE_CHECKING:
    from proxy.spans import Spans

log = logging.getLogger(__name__)

LOOK_EVERY: Final = 2.0
"""Seconds between two looks behind the traffic: a new login, secret or clock is noticed this soon, and an idle
proxy refreshes what is stale."""

LAST_WORD: Final = 0.2
"""Seconds in which kept connections may still ask, and are told that they close. An app that asks all the time learns
it from an answer then, and not in the moment in which its next request is on the way."""

LAST_TURN: Final = 0.8
"""Of the time in which a drain lets requests end, what those have that wait for their turn in a rate budget. In the
rest they are answered, or told to come again."""

Look = Callable[[], Awaitable[object]]
"""Takes what others have changed, and begins what is due."""

LEAVE_EVERY: Final = 0.02
"""Seconds between two looks at connections that owe an answer."""


class Open(Struct, frozen=True):
    """A listener that is open."""

    binding: Binding
    certificate: ServerCertificate | None
    handler: Handler

    async def look(self) -> None:
        """Take a certificate that was renewed; after another `client_ca`, callers must show themselves anew."""
        if self.certificate is not None and await self.certificate.look():
            self.binding.server.retire()

    def admits_whom(self, former: "Open") -> bool:
        """Tell whether it lets in whom a former one did: by no TLS, or in the eyes of the same authorities."""
        mine, other = self.certificate, former.certificate
        return mine is None or (other is not None and mine.authorities == other.authorities)


class Proxy:
    """The running proxy.

    What changes: `_serving` and `_draining`, by `start`, `drain` and `stop`; `_snapshot`, `_open` and `_admin` by
    `_take`; `_retired`, snapshots whose last requests are not over, and `_leaving`, bindings that no configuration has
    any more and somebody may be connected to, by `_take` and `_retire`; `_longest_redeem`, seconds, by `_take`;
    `_taken_at` by `start` and `reload`; `refused`, what is wrong with a configuration that came after the one that is
    served, by whoever has read it (reloads). `_taking` is held while one configuration takes another's place.
    """

    def __init__(
        self,
        config: Config,
        *,
        state_home: Path,
        clock: Clock | None = None,
        watch: bool = True,
        end: Callable[[], object] = lambda: None,
        spans: "Spans | None" = None,
    ) -> None:
        """Without `watch` it is up to others to call `look`. `end` is called when /quit asks to drain.

        Without `spans` nobody traces.
        """
        self._first = config
        self._end = end
        self._watches = watch
        self._clock = clock or SystemClock()
        self._tasks = Tasks()
        self._spans = spans
        via = f"1.1 {NAME}-{secrets.token_hex(4)}".encode()
        self._around = Surroundings(
            state_home, self._clock, self._tasks, SecretReader(), lambda: self.ready, via, spans
        )
        self._snapshot: Snapshot | None = None
        self._retired: list[Snapshot] = []
        self._open: dict[str, Open] = {}  # by address, in the configuration's order
        self._admin: Binding | None = None
        self._leaving: list[Binding] = []
        self._longest_redeem = 0.0  # under any configuration so far: a redeem ends on what it began with
        self._disk = Disk()  # for certificates
        self._authorities = Disk()  # for `upstream.ca_file`: one that hangs keeps no certificate from being renewed
        self._notice = Notice(log)  # about `upstream.ca_file`
        self._taking = asyncio.Lock()
        self._metrics = Metrics()
        self._recent = Recent(self._clock.monotonic)
        self._began = self._clock.monotonic()
        self._taken_at = self._clock.wall()
        self.refused: tuple[str, ...] = ()
        self._serving = False
        self._draining = False

    def __repr__(self) -> str:
        return f"<Proxy serving={self._serving} draining={self._draining} in_flight={self._in_flight}>"

    @property
    def ready(self) -> bool:
        return self._serving and not self._draining

    @property
    def config(self) -> Config:
        """The configuration that is served now."""
        return self._first if self._snapshot is None else self._snapshot.config

    @property
    def urls(self) -> list[str]:
        """Where the listeners answer."""
        return [each.binding.url for each in self._open.values()]

    @property
    def admin_url(self) -> str | None:
        return None if self._admin is None else self._admin.url

    @property
    def _in_flight(self) -> int:
        return sum(each.in_flight.count for each in self._snapshots)

    @property
    def _snapshots(self) -> list[Snapshot]:
        return [*self._retired, *([self._snapshot] if self._snapshot else [])]

    @property
    def _bindings(self) -> list[Binding]:
        return [*(each.binding for each in self._open.values()), *([self._admin] if self._admin else [])]

    @property
    def _for_callers(self) -> list[Binding]:
        """What a drain parts from; the admin port of now answers to its end."""
        return [*(each.binding for each in self._open.values()), *self._leaving]

    async def start(self) -> None:
        """Bind and serve. Raises OSError if an address can't be had; nothing is left bound, whatever breaks it off."""
        try:
            await self._take(self._first, await self._trust(self._first))
        except BaseException:  # a signal that breaks it off, too: what is bound by then would stay so
            await self.stop()
            raise
        self._serving = True
        self._metrics.watch(Gauges(self._vitals))
        self._announce()
        log.info("pandadoc-proxy %s is ready", __version__)
        if self._watches:
            self._tasks.start(self._watch(), "watch")
            self._tasks.start(pulse.feel(self._tasks, self._metrics.late), "pulse")

    async def reload(self, config: Config) -> None:
        """Serve another configuration from now on: requests end on the one they began with.

        A listener on the same address keeps its socket, and a credential its grant. Raises OSError if an address
        can't be had, BadConfig if a grant would be lost; then nothing has changed.
        """
        async with self._taking:
            await self._take(config, await self._trust(config))
        self._taken_at = self._clock.wall()
        self._announce()
        log.info("the configuration is reloaded")

    async def look(self) -> None:
        """Look behind the traffic, once: what was stored or changed by others, and what is due."""
        await asyncio.gather(*(_look(what, look) for look, what in self._looks().items()))

    async def drain(self) -> None:
        """Become unready, accept for `shutdown.grace` more, finish what is in flight, end (law 17)."""
        settings = self.config.shutdown
        self._draining = True
        await asyncio.sleep(settings.grace)
        log.info("draining: %d requests in flight, %g s at most", self._in_flight, settings.drain)
        for budget in {budget for each in self._snapshots for budget in each.budgets.values()}:
            budget.end(settings.drain * LAST_TURN)
        opened = self._for_callers
        await _stop_accepting(opened)
        with suppress(TimeoutError):
            async with asyncio.timeout(settings.drain):
                await _leave(opened)
                await asyncio.gather(*(each.in_flight.none() for each in self._snapshots))
        await asyncio.gather(*(binding.server.shutdown(CUT_OFF) for binding in opened))
        # A sent redeem that is cut off is a lost grant: it has its own time.
        await self._tasks.drain(self._longest_redeem + CUT_OFF)
        self._now.tally.tell()
        if self._spans is not None:
            await self._spans.close()
        await self.stop()
        log.info("drained")

    async def stop(self) -> None:
        """End now: whatever is still in flight is cut off. Does nothing the second time."""
        self._serving = False
        for binding in self._for_callers:
            binding.server.cut()
        for binding in (*self._bindings, *self._leaving):
            await binding.stop()
        await self._tasks.drain(CUT_OFF)
        for snapshot in self._snapshots:
            await snapshot.close()

    @property
    def _now(self) -> Snapshot:
        assert self._snapshot is not None  # noqa: S101 - nothing is served before `start` has set it
        return self._snapshot

    def _looks(self) -> dict[Look, str]:
        """Name what there is to look after."""
        snapshot = self._now
        looks: dict[Look, str] = {source.look: f"credential {name}" for name, source in snapshot.sources.items()}
        looks |= {keyring.look: f"the clients' keys of {name}" for name, keyring in snapshot.keyrings.items()}
        looks |= {each.look: f"the certificate of {name}" for name, each in self._open.items()}
        if self.config.upstream.ca_file is not None:
            looks[self._look_at_authorities] = "upstream.ca_file"
        return looks

    async def _watch(self) -> None:
        """Look again and again; a look that hangs is waited for by nobody, and not begun beside itself."""
        under_way: dict[Look, asyncio.Task[None]] = {}
        while True:
            under_way = {look: task for look, task in under_way.items() if not task.done()}
            for look, what in self._looks().items():
                if look not in under_way:
                    under_way[look] = self._tasks.start(_look(what, look), f"look after {what}")
            if await self._tasks.pause(LOOK_EVERY):
                return

    async def _look_at_authorities(self) -> None:
        """Go on with what `upstream.ca_file` holds now, if that has changed: on new connections."""
        async with self._taking:
            try:
                fresh = await self._trust(self.config)
            except OSError as flaw:
                self._notice.say(f"upstream.ca_file: {flaw}; until then what was read before is trusted")
                return
            self._notice.say("")
            if fresh is not self._now.ways.trust and not self._draining:
                await self._take(self.config, fresh)
                log.info("upstream.ca_file has changed: new connections trust what it holds now")

    async def _trust(self, config: Config) -> Trust:
        """Read whom a configuration trusts; the same as now if that has not changed. Raises OSError."""
        known = None if self._snapshot is None else self._snapshot.ways.trust
        return await self._authorities.do(partial(outbound.trust, config.upstream, known))

    async def _take(self, config: Config, trust: Trust) -> None:
        """Put a configuration in the place of the one before, if there is one.

        Raises OSError if an address or a certificate can't be had, BadConfig if a grant would be lost; then nothing
        changes.
        """
        earlier = self._snapshot
        snapshot = await build(config, self._around, trust, earlier, self._retired)
        async with AsyncExitStack() as undo:
            undo.push_async_callback(lambda: snapshot.close(but=self._snapshots))
            opened, admin = await self._opened(snapshot, undo)
            for keyring in snapshot.keyrings.values():  # a key replaced in a moment must be known as the old one
                await _look("the clients' keys", keyring.look)
            undo.pop_all()
        gone = [each.binding for name, each in self._open.items() if name not in opened]
        gone += [self._admin] if self._admin is not None and self._admin is not admin else []
        snapshot.commit()
        self._longest_redeem = max(self._longest_redeem, longest_redeem(config))
        free((each.budgets for each in self._snapshots), snapshot.budgets)
        former = self._open
        self._open, self._admin, self._snapshot = opened, admin, snapshot
        for name, each in opened.items():
            each.binding.server.reconfigure(
                _limits(config.limits), None if each.certificate is None else each.certificate.context
            )
            if name in former and not each.admits_whom(former[name]):
                each.binding.server.retire()
            each.binding.accept()
        if admin is not None:
            admin.server.reconfigure(_limits(config.limits.of_admin), None)
            admin.accept()
        if earlier is not None:
            self._retired.append(earlier)
            self._leaving += gone
            self._tasks.start(self._retire(earlier, gone), "retire the configuration before")

    async def _opened(self, snapshot: Snapshot, undo: AsyncExitStack) -> tuple[dict[str, Open], Binding | None]:
        """Bind what a configuration wants and is not bound yet; nobody is let in there. Raises OSError.

        All that takes time and can fail comes before: who has come to an address that is given up has come in vain.
        """
        opened: dict[str, Open] = {}
        config = snapshot.config
        named = list(zip(snapshot.lanes, config.listeners, strict=True))
        for name, listener in named:
            certificate = await self._certificate(name, listener)
            known = self._open.get(name)
            opened[name] = (
                replace(known, certificate=certificate) if known else self._new(name, listener, certificate, config)
            )
        admin = self._admin
        if self._snapshot is None or _admin_bind(self._snapshot.config) != _admin_bind(config):
            admin = self._admin_binding(config)
        wanted = [*(each.binding for each in opened.values()), *([admin] if admin else [])]
        present = self._bindings
        fresh = [binding for binding in wanted if binding not in present]
        looked_up = await asyncio.gather(*(binding.look_up() for binding in fresh), return_exceptions=True)
        for fault in filter(None, looked_up):  # the first of them, every time
            raise fault
        for number, binding in enumerate(fresh):
            undo.push_async_callback(binding.stop)
            binding.bind([*present, *fresh[:number]])
        for name, listener in named:
            undo.callback(opened[name].binding.hand_over(listener.permissions, listener.owner))
        return opened, admin

    async def _retire(self, snapshot: Snapshot, gone: Sequence[Binding]) -> None:
        """Let what began on an earlier snapshot end, and close what it alone has used."""
        await _stop_accepting(gone)
        await _leave(gone)
        await snapshot.in_flight.none()
        for binding in gone:
            await binding.stop()
            self._leaving.remove(binding)
        grants = [source for source in snapshot.sources.values() if isinstance(source, RefreshingCredential)]
        for refresh in [grant.refresher.in_flight for grant in grants]:
            if refresh is not None:  # it goes through the sessions that are to be closed
                await asyncio.wait({refresh})
        later = self._snapshots[self._snapshots.index(snapshot) + 1 :]
        for grant in grants:
            if all(grant not in other.sources.values() for other in later):
                await grant.refresher.keeper.settled()  # a pair that is in its memory alone
        async with self._taking:  # a configuration that is being taken may go on with a grant of it
            self._retired.remove(snapshot)
            others = self._snapshots
        await snapshot.close(but=others)

    def _lane(self, name: str) -> Lane:
        """Return the parts that serve a listener now; a request keeps what it got.

        One whose listener is gone by now was accepted in time, and is served by what there was.
        """
        if self._snapshot is not None and name in self._snapshot.lanes:
            return self._snapshot.lanes[name]
        return next(each.lanes[name] for each in reversed(self._retired) if name in each.lanes)

    def _new(self, name: str, listener: Listener, certificate: ServerCertificate | None, config: Config) -> Open:
        trace = None if self._spans is None else self._spans.request
        handler = Handler(name, partial(self._lane, name), self._clock.monotonic, self._ended, trace)
        server = Server(handler, _limits(config.limits), tls=None if certificate is None else certificate.context)
        binding = Binding(server, listener.bind, self._tasks, mode=listener.permissions, owner=listener.owner)
        return Open(binding, certificate, handler)

    def _ended(self, exchange: Exchange) -> None:
        self._metrics.ended(exchange)
        self._recent.ended(exchange)

    def _admin_binding(self, config: Config) -> Binding | None:
        if config.admin is None:
            return None
        admin = Admin(
            {"/livez": lambda: True, "/startupz": lambda: self._serving, "/readyz": lambda: self.ready},
            metrics=Scrapes(self._metrics.page, self._clock.monotonic).page,
            status=partial(condition, self._vitals),
            page=lambda: html(view(self._vitals, self._recent, self._clock.wall)),
            end=lambda: self._end if self.config.admin is not None and self.config.admin.quit else None,
        )
        return Binding(Server(admin, _limits(config.limits.of_admin)), config.admin.bind, self._tasks)

    @property
    def _vitals(self) -> Vitals:
        return Vitals(
            snapshot=lambda: self._now,
            pools=lambda: {each.ways.pool for each in self._snapshots},
            ports=self._ports,
            in_flight=lambda: self._in_flight,
            ready=lambda: self.ready,
            uptime=lambda: self._clock.monotonic() - self._began,
            taken_at=lambda: self._taken_at,
            refused=lambda: self.refused,
        )

    def _ports(self) -> tuple[Port, ...]:
        return tuple(
            Port(each.binding.url, each.handler, each.binding.server, partial(self._lane, name), each.certificate)
            for name, each in self._open.items()
        )

    async def _certificate(self, name: str, listener: Listener) -> ServerCertificate | None:
        if listener.tls is None:
            return None
        known = self._open[name].certificate if name in self._open else None
        if known is not None and known.files == listener.tls:
            return known  # it knows what it has read, and tells of what changes
        certificate = ServerCertificate(str(listener.bind), listener.tls, self._disk)
        await certificate.start()
        return certificate

    def _announce(self) -> None:
        for warning in self.config.warnings:
            log.warning("%s", warning)
        for url, listener in zip(self.urls, self.config.listeners, strict=True):
            log.info("%s lends %s for %s", url, _lent(listener), self.config.upstream.url)
        if self.admin_url is not None:
            log.info("%s answers probes, /metrics and /status, and people at /", self.admin_url)


def _limits(limits: Limits) -> ConnectionLimits:
    return ConnectionLimits(limits.header_timeout, limits.max_head, limits.max_headers, limits.max_connections)


def _admin_bind(config: Config) -> TcpBind | UnixBind | None:
    return None if config.admin is None else config.admin.bind


async def _stop_accepting(bindings: Sequence[Binding]) -> None:
    await asyncio.gather(*(binding.stop_accepting() for binding in bindings))


async def _leave(bindings: Sequence[Binding]) -> None:
    """Part from callers: idle connections close, the others behind their answers (RFC 9112 §9.6)."""
    if bindings:
        await asyncio.sleep(LAST_WORD)
    owing = list(bindings)
    while owing := [binding for binding in owing if binding.server.leave()]:  # noqa: ASYNC110 - no one event tells it
        await asyncio.sleep(LEAVE_EVERY)


def _lent(listener: Listener) -> str:
    if not listener.clients:
        return f"credential {listener.credential}"
    pairs = (f"{name} {listener.lends(client)}" for name, client in listener.clients.items())
    return f"to clients by their keys ({', '.join(pairs)})"


async def _look(what: str, look: Look) -> None:
    try:
        await look()
    except Exception:  # the next look may do better, and the others go on
        log.exception("a fault of ours while looking after %s", what)
