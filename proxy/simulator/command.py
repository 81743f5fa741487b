"""`pandadoc-proxy simulator`: the stand-in as a process of its own."""

from collections.abc import Awaitable, Callable

from proxy.simulator.server import Simulator
from proxy.simulator.throttle import PRODUCTION, SANDBOX, WINDOW_S
from proxy.terminal import complain, tell

RATE_LIMITS = {"off": None, "production": PRODUCTION, "sandbox": SANDBOX}


async def simulate(
    host: str,
    port: int,
    expires_in: int,
    *,
    rotate: bool,
    until: Callable[[], Awaitable[object]],
    rate_limits: str = "off",
    rate_window: float = WINDOW_S,
) -> int:
    """Serve until `until` returns. Tells what an app, or a proxy, needs to talk to it; returns the exit code."""
    simulator = Simulator(
        expires_in=expires_in, rotate=rotate, rate_limits=RATE_LIMITS[rate_limits], rate_window=rate_window
    )
    try:
        await simulator.start(host, port)
    except OSError as fault:
        complain(f"can't start: {fault}")
        return 1
    try:
        tell(_welcome(simulator))
        await until()
    finally:
        await simulator.stop()
    return 0


def _welcome(simulator: Simulator) -> str:
    return f"""\
a PandaDoc stand-in at {simulator.url}

  PANDADOC_PROXY__UPSTREAM__URL={simulator.url}
  PANDADOC_API_KEY={simulator.issue_api_key()}
or
  PANDADOC_CLIENT_ID={simulator.client_id}
  PANDADOC_CLIENT_SECRET={simulator.client_secret}
  PANDADOC_REFRESH_TOKEN={simulator.issue_refresh_token()}

consent page: {simulator.url}/oauth2/authorize
switches: GET {simulator.url}/_simulator tells them; docs/simulator.md has examples
"""
