"""Where a host can be listened at: the addresses of a name, and sockets bound to those that this machine has."""

import asyncio
import errno
import os
import socket
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any, Final

from proxy.names import look_up

ABSENT: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""What bind(2) and socket(2) say of an address that this machine does not have: ::1, where IPv6 is off."""

Address = tuple[socket.AddressFamily, tuple[Any, ...]]
"""A family, and what bind(2) takes there: of IPv6, the interface too."""

LOOK_UP: Final = 5.0
"""Seconds in which the name of an address must be found: a reload waits for it, and what else has changed with it."""


async def addresses_of(host: str, port: int) -> list[Address]:
    """Look up where a name is. Raises OSError that says what to do."""
    try:
        async with asyncio.timeout(LOOK_UP):
            found = await look_up(host, port, flags=socket.AI_PASSIVE)
    except OSError as fault:  # a TimeoutError is one, and has no text
        raise _unresolved(fault.strerror or f"no answer within {LOOK_UP:g} s") from fault
    except UnicodeError as fault:  # a label of more than 63 characters, or of none
        raise _unresolved("Name or service not known") from fault
    return list(dict.fromkeys((socket.AddressFamily(family), address) for family, _, _, _, address in found))


def _unresolved(reason: str) -> OSError:
    cure = "Check the name and this machine's DNS, or write an address"
    return OSError(f"the name can't be resolved: {reason}. {cure}.")


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


def reason(fault: OSError) -> str:
    """Say why an address can't be had, without the address, which Python adds to what the system says."""
    return os.strerror(fault.errno) if fault.errno and fault.errno > 0 else fault.strerror or str(fault)
