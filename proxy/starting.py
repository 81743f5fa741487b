"""SIGTERM until a loop takes over (signals.py): as PID 1 a process without a handler never gets the signal.

Imports next to nothing, for it comes before all else, and what comes takes most of a start to load.
"""

import os
import signal
from types import FrameType


def leave_while_starting() -> None:
    """Exit 0 on SIGTERM. SIGHUP, which asks for what is about to happen anyway, does not end the process."""
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _leave(_number: int, _frame: FrameType | None) -> None:
    os._exit(0)  # nothing is bound, sent or stored yet
