"""The event loop that everything runs on: uvloop's.

`PANDADOC_PROXY_EVENT_LOOP=asyncio` asks for asyncio's own instead, for whoever hunts a fault; the tests pass on both.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from aiohappyeyeballs import start_connection

from proxy.names import HEAD_START, AddressInfo, look_up, scoped

CHOICE: Final = "PANDADOC_PROXY_EVENT_LOOP"


def choice() -> str:
    """Return which one the environment asks for. Raises ValueError for an unknown one."""
    chosen = os.environ.get(CHOICE) or "uvloop"
    if chosen not in {"asyncio", "uvloop"}:
        raise ValueError(f"{CHOICE} is {chosen!r}: write uvloop or asyncio")
    return chosen


def factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes the loop that the environment asks for. Raises ValueError for an unknown choice."""
    base: type[asyncio.AbstractEventLoop] = asyncio.SelectorEventLoop
    if choice() == "uvloop":
        import uvloop  # noqa: PLC0415 - whoever wants the other need not load it

        base = uvloop.Loop
    return type(base.__name__, (_Connecting, base), {})


class _Connecting(asyncio.AbstractEventLoop):
    """Connects to names as all else here does, for a client that has the loop do it and no place to say how: redis-py.

    A loop's own look-up can't be left: it holds up the end of the process. And uvloop has one for each connection, to
    an address too; libuv starts four threads at the first, and aborts the process where it can't have them.
    """

    async def getaddrinfo(  # type: ignore[override]
        self,
        host: str | None,
        port: int | None,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002, ARG002 - asyncio's word; here all are streams
        proto: int = 0,  # noqa: ARG002 - the same
        flags: int = 0,
    ) -> Sequence[AddressInfo]:
        """Look up where a stream to a host begins; an address is one already. Raises OSError."""
        with suppress(socket.gaierror):  # it is a name
            return socket.getaddrinfo(
                host, port, family=family, type=socket.SOCK_STREAM, flags=flags | socket.AI_NUMERICHOST
            )
        return await look_up(host, port, family=family, flags=flags)

    async def create_connection(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], asyncio.Protocol],
        host: str | None = None,
        port: int | None = None,
        *,
        sock: socket.socket | None = None,
        server_hostname: str | None = None,
        **options: Any,
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        """Connect; what a loop could be told of the look-up is not heeded. Raises OSError."""
        if sock is not None or host is None:
            return await super().create_connection(
                protocol_factory, sock=sock, server_hostname=server_hostname, **options
            )
        found = [
            (family, kind, protocol, name, (scoped(address), *address[1:]))
            for family, kind, protocol, name, address in await look_up(host, port)
        ]
        connected = await start_connection(found, happy_eyeballs_delay=HEAD_START)
        if options.get("ssl") and server_hostname is None:
            server_hostname = host
        return await super().create_connection(
            protocol_factory, sock=connected, server_hostname=server_hostname, **options
        )
