"""An address that is listened at, and the server behind it."""

import errno
import socket
from collections.abc import Callable, Iterable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Final

from proxy import unix_socket
from proxy.acceptor import Acceptor
from proxy.config import TcpBind, UnixBind
from proxy.config.sockets import PRIVATE, Owner
from proxy.forward.server import Server
from proxy.hosts import is_wildcard
from proxy.listening import Address, addresses_of, reason, sockets_at
from proxy.tasks import Tasks
from proxy.unix_socket import InUse, UnixSocket

CUT_OFF: Final = 1.0
"""Seconds that answers get to leave when all is over."""

PRIVILEGED: Final = (
    "Ports below 1024 take root, CAP_NET_BIND_SERVICE, or a lower net.ipv4.ip_unprivileged_port_start:"
    " allow one of these, or choose a higher port."
)
"""What helps where bind(2) is not permitted."""


class Binding:
    """One address and its server.

    `_addresses` is set by `look_up`, but not of a unix one; `_waiting`, `where` and the `_socket` of a unix one by
    `bind`; `accept` makes `_acceptors` of `_waiting`; `_mode` and `_owner` change by `hand_over`. `stop_accepting`
    forgets `_socket` and `_waiting`.
    """

    def __init__(
        self, server: Server, bind: TcpBind | UnixBind, tasks: Tasks, *, mode: int = PRIVATE, owner: Owner | None = None
    ) -> None:
        self.server = server
        self._bind = bind
        self.where = bind
        self._tasks = tasks
        self._mode = mode
        self._owner = owner or Owner()
        self._waiting: list[socket.socket] = []
        self._acceptors: list[Acceptor] = []
        self._addresses: list[Address] = []
        self._socket: UnixSocket | None = None

    def __repr__(self) -> str:
        return f"<Binding {self.url}>"

    @property
    def url(self) -> str:
        """Where it answers; for port 0, once it is bound, with the port that was had."""
        if isinstance(self.where, UnixBind):
            return str(self.where)
        return f"{'https' if self.server.is_tls else 'http'}://{self.where}"

    @property
    def is_open(self) -> bool:
        """Whether callers were let in; before that, it is of the same configuration as what is bound beside it."""
        return bool(self._acceptors)

    async def look_up(self) -> None:
        """Find out where its name is. Raises OSError that says what to do."""
        if isinstance(self._bind, TcpBind):
            try:
                self._addresses = await addresses_of(self._bind.host, self._bind.port)
            except OSError as fault:
                raise OSError(f"{self._bind}: {fault}") from fault

    def bind(self, beside: Iterable["Binding"] = ()) -> None:
        """Have the address: who comes waits. Raises OSError that names it and says what to do; nothing is bound then.

        `beside`: what this process has bound already, and may be in the way.
        """
        bind = self._bind
        self._waiting = self._at_path(bind, beside) if isinstance(bind, UnixBind) else self._at_port(bind, beside)

    def accept(self) -> None:
        """Let callers in from now on. Does nothing the second time."""
        self._acceptors += [Acceptor(each, self.server, self._tasks) for each in self._waiting]
        self._waiting = []

    def hand_over(self, mode: int, owner: Owner | None) -> Callable[[], object]:
        """Give a unix socket another mode and owner; return what undoes it. Raises OSError that says what to do."""
        owner, before = owner or Owner(), (self._mode, self._owner)
        if self._socket is None or (mode, owner) == before:
            return lambda: None
        had = self._socket.hand_over(mode, unix_socket.owner_ids(owner.user, owner.group))
        self._mode, self._owner = mode, owner
        return partial(self._take_back, before, had)

    async def stop_accepting(self) -> None:
        """Take no new connection but those that wait already; who is connected is served."""
        if self._socket is not None:
            self._socket.remove()
            self._socket = None  # once it is closed, the file of another may have its number
        while self._waiting:
            self._waiting.pop().close()
        for acceptor in self._acceptors:
            await acceptor.stop()

    async def stop(self) -> None:
        """Close whatever is left. Does nothing the second time."""
        await self.stop_accepting()
        self.server.pre_shutdown()
        await self.server.shutdown(CUT_OFF)

    def meets(self, addresses: Iterable[Address], port: int) -> bool:
        """Tell whether it and one of these can't both be bound. (All addresses are every one of their family.)"""
        if not isinstance(self.where, TcpBind) or self.where.port != port:
            return False
        hosts = [[(family, str(address[0])) for family, address in each] for each in (self._addresses, addresses)]
        return any(
            one == other or (one[0] == other[0] and (is_wildcard(one[1]) or is_wildcard(other[1])))
            for one, other in product(*hosts)
        )

    def stands_at(self, path: Path) -> bool:
        """Tell whether the socket at a path, however that is spelled, is this one's."""
        return self._socket is not None and self._socket.is_at(path)

    def _take_back(self, before: tuple[int, Owner], had: tuple[int, tuple[int, int]]) -> None:
        if self._socket is not None:
            self._socket.hand_over(*had)
            self._mode, self._owner = before

    def _at_path(self, bind: UnixBind, beside: Iterable["Binding"]) -> list[socket.socket]:
        ids = unix_socket.owner_ids(self._owner.user, self._owner.group)
        try:
            self._socket = unix_socket.listen(bind.path, self._mode, ids)
        except InUse as fault:
            own = next((each for each in beside if each.stands_at(bind.path)), None)
            if own is None:
                raise
            raise OSError(f"{bind}: the address is in use. {_ours(own, 'path')}") from fault
        return [self._socket.socket]

    def _at_port(self, bind: TcpBind, beside: Iterable["Binding"]) -> list[socket.socket]:
        try:
            sockets = sockets_at(self._addresses, bind.port)
        except OSError as fault:
            own = next((each for each in beside if each.meets(self._addresses, bind.port)), None)
            cure = "Choose another address, or free this one."
            if own is not None and fault.errno == errno.EADDRINUSE:
                cure = _ours(own, "port")
            if fault.errno == errno.EACCES:
                cure = PRIVILEGED
            raise OSError(f"{bind}: {reason(fault)}. {cure}") from fault
        self.where = TcpBind(bind.host, sockets[0].getsockname()[1])
        return sockets


def _ours(own: Binding, what: str) -> str:
    if own.is_open:  # it must go on until all of the new is there
        return f"This proxy itself listens at {own.where}: restart it, or choose another {what}."
    return f"The configuration has it twice, for {own.where} is the same: choose another {what} for one of the two."
