"""The command `run`: a proxy from its start to its end."""

import os
from collections.abc import Callable
from pathlib import Path

from proxy import starting, tracing
from proxy.app import Proxy
from proxy.config import Config
from proxy.reloads import Reloads
from proxy.service_manager import READY, STOPPING, ServiceManager
from proxy.signals import Signals
from proxy.terminal import complain


async def serve(config: Config, state_home: Path, load: Callable[[Config], Config]) -> int:
    """Run a proxy until it is told to end; return the exit code, which is 1 if an address can't be had.

    `load` reads the configuration anew, given the one that is served; it raises BadConfig.
    """
    starting.loaded()
    signals = Signals()
    signals.reload_on_hangup()
    proxy = Proxy(config, state_home=state_home, end=signals.pretend, spans=tracing.begin(os.environ))
    try:
        async with signals.until_first():
            await proxy.start()
    except OSError as fault:
        complain(f"can't start: {fault}")
        return 1
    if not proxy.ready:  # it was broken off
        return 0
    manager = ServiceManager(os.environ)
    manager.tell(READY)
    try:
        await Reloads(proxy, load, manager).until_the_end(signals)
        manager.tell(STOPPING)
        await proxy.drain()
        manager.go_on()  # it may have been busy
    finally:
        await proxy.stop()
    return 0
