"""An address that is listened at, and the server behind it."""

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from typing import Any, Final

from proxy import unix_socket
from proxy.acceptor import Acceptor
from proxy.config import TcpBind, UnixBind
from proxy.config.sockets import PRIVATE, Owner
from proxy.forward.server import Server
from proxy.hosts import is_wildcard
from proxy.names import look_up
from proxy.tasks import Tasks
from proxy.unix_socket import UnixSocket

ABSENT: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""What bind(2) and socket(2) say of an address that this machine does not have: ::1, where IPv6 is off."""

Address = tuple[socket.AddressFamily, tuple[Any, ...]]
"""A family, and what bind(2) takes there: of IPv6, the interface too."""

LOOK_UP: Final = 5.0
"""Seconds in which the name of an address must be found: a reload waits for it, and what else has changed with it."""

CUT_OFF: Final = 1.0
"""Seconds that answers get to leave when all is over."""


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

    async def look_up(self) -> None:
        """Find out where its name is. Raises OSError that says what to do."""
        if isinstance(self._bind, TcpBind):
            self._addresses = await addresses_of(self._bind)

    def bind(self, beside: Iterable["Binding"] = ()) -> None:
        """Have the address: who comes waits. Raises OSError that names it and says what to do; nothing is bound then.

        `beside`: what this process listens at already, and may be in the way.
        """
        bind = self._bind
        self._waiting = self._at_path(bind) if isinstance(bind, UnixBind) else self._at_port(bind, beside)

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
        """Tell whether it and one of these can't both be bound. (All addresses are every one.)"""
        if not isinstance(self.where, TcpBind) or self.where.port != port:
            return False
        mine, others = ({str(address[0]) for _, address in each} for each in (self._addresses, addresses))
        return not mine.isdisjoint(others) or any(map(is_wildcard, mine | others))

    def _take_back(self, before: tuple[int, Owner], had: tuple[int, tuple[int, int]]) -> None:
        if self._socket is not None:
            self._socket.hand_over(*had)
            self._mode, self._owner = before

    def _at_path(self, bind: UnixBind) -> list[socket.socket]:
        ids = unix_socket.owner_ids(self._owner.user, self._owner.group)
        self._socket = unix_socket.listen(bind.path, self._mode, ids)
        return [self._socket.socket]

    def _at_port(self, bind: TcpBind, beside: Iterable["Binding"]) -> list[socket.socket]:
        try:
            sockets = sockets_at(self._addresses, bind.port)
        except OSError as fault:
            reason = os.strerror(fault.errno) if fault.errno and fault.errno > 0 else fault.strerror or str(fault)
            own = next((each.where for each in beside if each.meets(self._addresses, bind.port)), None)
            cure = "Choose another address, or free this one."
            if own is not None and fault.errno == errno.EADDRINUSE:  # it must go on until all of the new is there
                cure = f"This proxy itself listens at {own}: restart it, or choose another port."
            raise OSError(f"{bind}: {reason}. {cure}") from fault
        self.where = TcpBind(bind.host, sockets[0].getsockname()[1])
        return sockets


async def addresses_of(bind: TcpBind) -> list[Address]:
    """Look up where a name is. Raises OSError that says what to do."""
    try:
        async with asyncio.timeout(LOOK_UP):
            found = await look_up(bind.host, bind.port, flags=socket.AI_PASSIVE)
    except OSError as fault:  # a TimeoutError is one, and has no text
        reason = fault.strerror or f"no answer within {LOOK_UP:g} s"
        cure = "Check the name and this machine's DNS, or write an address"
        raise OSError(f"{bind}: the name can't be resolved: {reason}. {cure}.") from fault
    return list(dict.fromkeys((socket.AddressFamily(family), address) for family, _, _, _, address in found))


def sockets_at(addresses: Iterable[Address], port: int) -> list[socket.socket]:
    """Bind to every address of a host that this machine has; on "any free port", to the same one on each.

    Raises OSError if it has none of them, or one can't be had; nothing is bound then.
    """
    sockets: list[socket.socket] = []
    absent = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    with ExitStack() as bound:
        for family, address in addresses:
            try:
                one = socket.create_server((address[0], port, *address[2:]), family=family)
            except OSError as fault:
                if fault.errno not in ABSENT:
                    raise
                absent = fault
                continue
            sockets.append(bound.enter_context(one))
            port = one.getsockname()[1]
        if not sockets:
            raise absent
        bound.pop_all()
    return sockets
