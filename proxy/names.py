"""Names, looked up: each in a thread of its own, which nobody waits for.

getaddrinfo(3) blocks for half a minute and more where no name server answers. The threads that a loop has for it are
joined at the end, libuv's too, and a process that has drained would linger on; and where many names share a thread,
one that hangs holds the others up. Whoever asks the loop to connect is served from here too (event_loop.py).
"""

import asyncio
import errno
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

from aiohttp.abc import AbstractResolver, ResolveResult

AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]
"""What getaddrinfo(3) says of an address."""

HEAD_START: Final = 0.25
"""Seconds that the first address has before the next is tried as well (RFC 8305 §5)."""

SCOPE: Final = 3
"""Where an IPv6 address has its interface (RFC 4007): without it, a link-local one leads nowhere."""

Found = asyncio.Future[Sequence[AddressInfo]]


def look_up(host: str | None, port: int | None, *, family: int = 0, flags: int = 0) -> Found:
    """Look up where a stream to a host begins. Raises OSError if no thread is to be had."""
    loop = asyncio.get_running_loop()
    found: Found = loop.create_future()
    ask = partial(socket.getaddrinfo, host, port, family=family, type=socket.SOCK_STREAM, flags=flags)
    thread = threading.Thread(target=_ask, args=(ask, found, loop), name="look a name up", daemon=True)
    try:
        thread.start()
    except RuntimeError as fault:
        raise OSError(errno.ENOMEM, str(fault)) from fault
    return found


def scoped(address: tuple[Any, ...]) -> str:
    """Write an address of getaddrinfo(3) so that its interface is in it, too."""
    return f"{address[0]}%{address[SCOPE]}" if len(address) > SCOPE and address[SCOPE] else address[0]


class Resolver(AbstractResolver):
    """For aiohttp's client."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a host. Raises OSError."""
        return [
            ResolveResult(
                hostname=host,
                host=scoped(address),
                port=address[1],
                family=found,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found, _, protocol, _, address in await look_up(host, port, family=family, flags=socket.AI_ADDRCONFIG)
        ]

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""


def _ask(ask: Callable[[], Sequence[AddressInfo]], found: Found, loop: asyncio.AbstractEventLoop) -> None:
    """Ask, in a thread; tell the loop, unless that has ended meanwhile."""
    try:
        settle = partial(found.set_result, ask())
    except Exception as fault:  # noqa: BLE001 - it is whoever asked who must see it, whatever it is
        settle = partial(found.set_exception, fault)
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(_unless_done, found, settle)


def _unless_done(found: Found, settle: Callable[[], None]) -> None:
    if not found.done():
        settle()
