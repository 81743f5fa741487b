"""The commands. Exit codes: 0 done or drained, 2 bad configuration or usage, 1 a fault of ours.

Never here: what a command does beyond reading its options and turning its end into an exit code.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, NoReturn

import click

from proxy import __version__, logs
from proxy.app import Proxy, refuse_shared_stores
from proxy.config import BadConfig, Config, Log, describe, load
from proxy.healthcheck import Unhealthy, ask

log = logging.getLogger("proxy")

config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help="The YAML file. Otherwise $PANDADOC_PROXY_CONFIG, ./config.yaml, /etc/pandadoc-proxy/config.yaml, or none.",
)


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pandadoc-proxy")
@click.pass_context
def main(context: click.Context) -> None:
    """Lend PandaDoc credentials to apps that have none: point them at localhost."""
    if context.invoked_subcommand is None:
        context.invoke(run)


@main.command()
@config_option
def run(config_path: Path | None) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal ends at once."""
    config = _configured(config_path)
    logs.set_up(config.log)
    _serve(_run(config))


@main.command()
@config_option
def check(config_path: Path | None) -> None:
    """Tell every fault of the configuration, or what would be sent where. Sends nothing."""
    click.echo(describe(_configured(config_path)))


@main.command()
@config_option
def healthcheck(config_path: Path | None) -> None:
    """Ask the running proxy whether it takes requests; for images and entrypoints. Exit 0: it does."""
    try:
        ask(_configured(config_path))
    except Unhealthy as fault:
        click.echo(f"unhealthy: {fault}", err=True)
        sys.exit(1)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8090, show_default=True, help="0 takes a free one.")
@click.option("--expires-in", default=31535999, show_default=True, help="Seconds an access token lives.")
@click.option("--rotate/--no-rotate", default=True, show_default=True, help="Whether a refresh token is single-use.")
def simulator(host: str, port: int, expires_in: int, *, rotate: bool) -> None:
    """Run a PandaDoc stand-in for your own tests and CI; its switches are under /_simulator/."""
    from proxy.simulator.command import simulate  # noqa: PLC0415 - what serves in production loads no simulator

    logs.set_up(Log())
    _serve(simulate(host, port, expires_in, rotate=rotate, until=_signalled))


@main.command()
@click.option("--once", is_flag=True, help="Check each step, and exit 0 or 1 instead of staying up.")
def demo(*, once: bool) -> None:
    """Tell the proxy's story on the simulator: no account needed."""
    from proxy.demo import tell  # noqa: PLC0415 - the same

    _serve(tell(once=once, until=_signalled))


def _configured(path: Path | None) -> Config:
    try:
        config = load(path, environ=os.environ)
        refuse_shared_stores(config, state_home())
    except BadConfig as bad:
        click.echo(str(bad), err=True)
        sys.exit(2)
    return config


def _serve(work: Coroutine[Any, Any, int]) -> NoReturn:
    """Run `work` to its exit code."""
    try:
        code = asyncio.run(work)
    except asyncio.CancelledError:  # the second signal
        code = 1
    except OSError as fault:
        click.echo(f"can't start: {fault.strerror or fault}", err=True)
        code = 1
    sys.exit(code)


async def _run(config: Config) -> int:
    proxy = Proxy(config, state_home=state_home())
    await proxy.start()
    await _signalled()
    await proxy.drain()
    return 0


async def _signalled() -> None:
    """Wait for the first SIGTERM or SIGINT; the second cancels whatever is still being done."""
    loop, first = asyncio.get_running_loop(), asyncio.Event()
    whole = asyncio.current_task()

    def caught() -> None:
        if first.is_set() and whole is not None:
            log.warning("a second signal: ending at once")
            whole.cancel()
        first.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, caught)
    await first.wait()


def state_home() -> Path:
    """Return the folder for state that outlives the process (XDG Base Directory)."""
    configured = os.environ.get("XDG_STATE_HOME", "")
    return Path(configured) if Path(configured).is_absolute() else Path.home() / ".local" / "state"
