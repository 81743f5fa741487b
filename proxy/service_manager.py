"""What systemd is told, where it has started us with Type=notify or notify-reload (sd_notify(3)).

Without $NOTIFY_SOCKET nobody is told anything, and it costs nothing. Nobody waits for a manager that does not read:
what it has no room for is said again later.
"""

import logging
import os
import socket
import time
from collections import deque
from collections.abc import Mapping
from typing import Final

from proxy.notice import Notice

log = logging.getLogger(__name__)

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
ALIVE: Final = "WATCHDOG=1"

MOST_OWED: Final = 16
"""Messages that may wait for room: the last eight reloads."""


def reloading() -> str:
    """Say that a reload begins now; READY ends it."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"


class ServiceManager:
    """The service manager, if there is one. `_owed`, what it is yet to hear, grows in `tell` and shrinks in `_send`."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # An @ stands for the abstract namespace of unix(7).
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._watches = _watches(environ)
        self._owed: deque[str] = deque(maxlen=MOST_OWED)
        self._notice = Notice(log)

    def __repr__(self) -> str:
        return f"<ServiceManager at {self._address!r}, {len(self._owed)} owed>"

    def tell(self, state: str) -> None:
        """Send one message, if there is a manager. A lost one is logged: the service goes on."""
        if self._address:
            self._owed.append(state)
            self._send()

    def go_on(self) -> None:
        """Tell what is owed; otherwise that we are alive, if a watchdog wants to know. For each second."""
        if self._owed:
            self._send()
        elif self._watches:
            self.tell(ALIVE)

    def _send(self) -> None:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.settimeout(0)
                while self._owed:
                    channel.sendto(self._owed[0].encode(), self._address)
                    self._owed.popleft()
        except BlockingIOError:
            self._notice.say("the service manager does not read what it is told; it is told again")
        except OSError as fault:
            self._owed.clear()
            self._notice.say(f"the service manager can't be told anything: {fault}")
        else:
            self._notice.say("")


def _watches(environ: Mapping[str, str]) -> bool:
    """Tell whether there is a watchdog, and for this process (sd_watchdog_enabled(3))."""
    return bool(environ.get("WATCHDOG_USEC")) and environ.get("WATCHDOG_PID") in {None, str(os.getpid())}
