"""What holds until a process has loaded what it is made of: how it ends, and that no garbage is looked for.

SIGTERM until a loop takes over (signals.py): as PID 1 a process without a handler never gets the signal.

Imports next to nothing, for it comes before all else, and what comes takes most of a start to load.
"""

import gc
import os
import signal
from types import FrameType
from typing import Final

AUTHORITIES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""Where OpenSSL looks for the system's authorities, if it is told (openssl-env(7))."""


def begin() -> None:
    """Exit 0 on SIGTERM. SIGHUP, which asks for what is about to happen anyway, does not end the process.

    Look for no garbage until all is `loaded`: that would take a tenth of a start, and find next to none.
    """
    gc.disable()
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _leave(_number: int, _frame: FrameType | None) -> None:
    os._exit(0)  # nothing is bound, sent or stored yet


def load_aiohttp() -> None:
    """Load aiohttp without the system's authorities, which it would read at once, for a context of its own.

    That takes a tenth of a start and 0.8 MiB, for nothing: whatever connects is given a context of ours (trust.py).
    What forgot to would trust nobody.
    """
    kept = {name: os.environ[name] for name in AUTHORITIES if name in os.environ}
    os.environ.update(dict.fromkeys(AUTHORITIES, os.devnull))
    try:
        import aiohttp  # noqa: F401, PLC0415 - the reason stands above
    finally:
        for name in AUTHORITIES:
            del os.environ[name]
        os.environ.update(kept)


def loaded() -> None:
    """Never look for garbage in what is there by now: it stays, and all requests wait while it is looked through."""
    gc.freeze()
    gc.enable()
