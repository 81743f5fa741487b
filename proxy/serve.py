"""The command `run`: a proxy from its start to its end."""

import os
from collections.abc import Callable
from pathlib import Path

from proxy import service_manager, tracing
from proxy.app import Proxy
from proxy.config import Config
from proxy.reloads import Reloads
from proxy.signals import Signals


async def serve(config: Config, state_home: Path, load: Callable[[Config], Config]) -> int:
    """Run a proxy until it is told to end; return the exit code. Raises OSError if an address can't be had.

    `load` reads the configuration anew, given the one that is served; it raises BadConfig.
    """
    signals = Signals()
    signals.reload_on_hangup()
    proxy = Proxy(config, state_home=state_home, end=signals.pretend, spans=tracing.begin(os.environ))
    await proxy.start()
    service_manager.tell(service_manager.READY)
    try:
        await Reloads(proxy, load).until_the_end(signals)
        service_manager.tell(service_manager.STOPPING)
        await proxy.drain()
    finally:
        await proxy.stop()
    return 0
