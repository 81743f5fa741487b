"""What systemd is told, where it has started us with Type=notify or notify-reload (sd_notify(3)).

Without $NOTIFY_SOCKET nobody is told anything, and it costs nothing.
"""

import logging
import os
import socket
import time
from typing import Final

log = logging.getLogger(__name__)

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
ALIVE: Final = "WATCHDOG=1"


def reloading() -> str:
    """Say that a reload begins now; READY ends it."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"


def tell(state: str) -> None:
    """Send one message to the service manager, if there is one. A lost one is logged: the service goes on."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # the abstract namespace of unix(7)
        address = f"\0{address[1:]}"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(state.encode(), address)
    except OSError as fault:
        log.warning("the service manager can't be told %s: %s", state.partition("\n")[0], fault)
