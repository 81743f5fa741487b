"""An address that is listened at, and the server behind it."""

import os
import socket
from typing import Any, Final

from aiohttp import web

from proxy import unix_socket
from proxy.config import Listener, TcpBind, UnixBind
from proxy.config.sockets import PRIVATE, Owner
from proxy.forward.server import Server
from proxy.unix_socket import UnixSocket

BACKLOG: Final = 1024
"""Connections the kernel may hold for us; a burst of a thousand must not be turned away."""

ACCEPTED_AT_ONCE: Final = 64
"""Connections that are taken in one round of the loop, before any finds out whether there is room for it."""

CUT_OFF: Final = 1.0
"""Seconds that answers get to leave when all is over."""


class Binding:
    """One address and its server.

    `_socket`, of a unix one, and `_where` are set by `start`; `_mode` and `_owner` change by `hand_over`.
    """

    def __init__(
        self, server: Server, bind: TcpBind | UnixBind, *, mode: int = PRIVATE, owner: Owner | None = None
    ) -> None:
        self.server = server
        self._bind = bind
        self._where = bind
        self._mode = mode
        self._owner = owner or Owner()
        self._runner = web.ServerRunner(server, shutdown_timeout=CUT_OFF)
        self._socket: UnixSocket | None = None

    @classmethod
    def of(cls, listener: Listener, server: Server) -> "Binding":
        """Bind as a listener's section says."""
        mode = PRIVATE if listener.mode is None else listener.mode
        return cls(server, listener.bind, mode=mode, owner=listener.owner)

    def __repr__(self) -> str:
        return f"<Binding {self.url}>"

    @property
    def url(self) -> str:
        """Where it answers; for port 0, once it is started, with the port that was had."""
        if isinstance(self._where, UnixBind):
            return str(self._where)
        return f"{'https' if self.server.is_tls else 'http'}://{self._where}"

    async def start(self) -> None:
        """Listen. Raises OSError that names the address and says what to do; nothing is bound then."""
        await self._runner.setup()
        try:
            if isinstance(self._bind, UnixBind):
                await self._listen_at_path(self._bind)
            else:
                await self._listen_at_port(self._bind)
        except OSError:
            await self.stop()
            raise

    async def hand_over(self, mode: int, owner: Owner | None) -> None:
        """Give a unix socket another mode and owner. Raises OSError that says what to do."""
        owner = owner or Owner()
        if self._socket is not None and (mode, owner) != (self._mode, self._owner):
            self._socket.hand_over(mode, unix_socket.owner_ids(owner.user, owner.group))
            self._mode, self._owner = mode, owner

    async def stop_accepting(self) -> None:
        """Take no new connection; who is connected is served."""
        if self._socket is not None:
            self._socket.remove()
        for site in tuple(self._runner.sites):
            await site.stop()

    async def stop(self) -> None:
        """Close whatever is left. Does nothing the second time."""
        await self.stop_accepting()
        await self._runner.cleanup()
        if self._socket is not None:
            self._socket.socket.close()

    async def _listen_at_path(self, bind: UnixBind) -> None:
        ids = unix_socket.owner_ids(self._owner.user, self._owner.group)
        self._socket = unix_socket.listen(bind.path, self._mode, ids)
        await self._serve(web.SockSite(self._runner, self._socket.socket, backlog=ACCEPTED_AT_ONCE))

    async def _listen_at_port(self, bind: TcpBind) -> None:
        try:
            await self._serve(web.TCPSite(self._runner, bind.host, bind.port, backlog=ACCEPTED_AT_ONCE))
        except OSError as fault:
            reason = os.strerror(fault.errno) if fault.errno else str(fault)
            raise OSError(f"{bind}: {reason}. Choose another address, or free this one.") from fault
        self._where = TcpBind(bind.host, self._runner.addresses[0][1])

    async def _serve(self, site: web.BaseSite) -> None:
        """Start a site, and have the kernel hold more than is accepted at once: asyncio has one number for both."""
        await site.start()
        server: Any = site._server  # noqa: SLF001 - each loop has a kind of its own, and nothing else shows its sockets
        for listening in server.sockets:
            with socket.socket(fileno=os.dup(listening.fileno())) as same:
                same.listen(BACKLOG)
