"""The commands. Exit codes: 0 done or drained, 2 bad configuration or usage, 1 anything else that went wrong.

A command imports what it needs and no more: a health check runs every few seconds, and a process
that starts must hear SIGTERM before it has loaded a server.

Never here: what a command does beyond reading its options and turning its end into an exit code.
"""
# ruff: noqa: PLC0415 - the reason stands above

import os
import sys
from collections.abc import Callable, Coroutine
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from proxy import __version__
from proxy.terminal import complain, empty, make_ready, put_out, tell

if TYPE_CHECKING:
    from proxy.compose_credentials import CredentialParts
    from proxy.config import Config, OAuth2Credential, Ports

config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help="The YAML file. Otherwise $PANDADOC_PROXY_CONFIG, ./config.yaml, /etc/pandadoc-proxy/config.yaml, or none.",
)


class _Commands(click.Group):
    """All of them. Where the machine refuses what one needs, and it has nothing to say of that itself, it ends here."""

    def main(self, *arguments: Any, **more: Any) -> Any:
        make_ready()
        try:
            return super().main(*arguments, **more)
        except OSError as fault:
            complain(f"can't go on: {fault}")
            empty(sys.stdout)  # it may be what takes nothing: help and version are written there
            sys.exit(1)


@click.group(cls=_Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pandadoc-proxy")
@config_option
@click.pass_context
def main(context: click.Context, config_path: Path | None) -> None:
    """Lend PandaDoc credentials to apps that have none: point them at localhost. Without a command: run."""
    if context.invoked_subcommand is None:
        context.invoke(run, config_path=config_path)
    elif config_path is not None:
        raise click.UsageError(_behind(context.invoked_subcommand, config_path))


def _behind(name: str, path: Path) -> str:
    """Say where --config goes with this command, if it takes any."""
    command = main.commands[name]
    whole = [f"{name} {each}" for each in command.commands] if isinstance(command, click.Group) else [name]
    if whole == [name] and all(each.name != "config_path" for each in command.params):
        return f"{name} takes no configuration"
    return f"write --config behind the command: {' or '.join(f'{each} --config {path}' for each in whole)}"


@main.command()
@config_option
def run(config_path: Path | None) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal ends at once. SIGHUP reads the configuration again."""
    from proxy import starting

    starting.begin()  # as __main__ did, unless it is called otherwise
    from proxy import logs, open_files

    config = _composable(config_path)
    from proxy.serve import serve

    logs.set_up(config.log)
    open_files.make_room(config)
    _finish(serve(config, _state_home(), lambda earlier: _read(config_path, earlier)))


@main.command()
@config_option
@click.option("--request", metavar="'METHOD /PATH'", help="Tell what would become of it; exit 1: nobody may send it.")
@click.option("--client", metavar="NAME", help="With --request: as this client.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of the configuration instead, for editors.")
def check(config_path: Path | None, request: str | None, client: str | None, *, schema: bool) -> None:
    """Tell every fault of the configuration, or what would be sent where. Sends nothing."""
    if schema:
        if request is not None or client is not None:
            raise click.UsageError("--schema goes without --request and --client")
        _print_schema()
        return
    from proxy import event_loop

    config = _composable(config_path)
    try:
        event_loop.choice()
    except ValueError as bad:
        _refuse(bad)
    clients = sorted({name for listener in config.listeners for name in listener.clients})
    if client is not None and (request is None or client not in clients):
        raise click.UsageError(
            f"--client goes with --request, and names one of: {', '.join(clients) or '(no clients)'}"
        )
    if request is None:
        from proxy.config import describe

        tell(describe(config))
        return
    from proxy.explain import explain
    from proxy.methods import is_parsed

    method, _, target = request.strip().partition(" ")
    if not target or not method.isupper():
        raise click.UsageError("--request takes a method in capitals and a path, as in 'POST /public/v1/documents'")
    if not is_parsed(method):
        raise click.UsageError(f"{method} is no method that is taken: it is answered with 400, whoever asks")
    if not is_parsed(method, target := target.strip()):
        tell(f"{method} {target}\nEach listener: 400, whoever asks\n  The request is not valid HTTP/1.1.")
        sys.exit(1)
    explained = explain(config, method, target, client)
    tell("\n".join(explained.lines))
    sys.exit(0 if explained.passes else 1)


def _print_schema() -> None:
    """Need no configuration: it is asked for while one is being written."""
    import json

    from proxy.config.schema import meanings, schema

    try:
        put_out(json.dumps(schema(meanings()), indent=2, ensure_ascii=False))
    except OSError as fault:
        complain(f"the schema can't be written: {fault.strerror}")
        sys.exit(1)


@main.command()
@config_option
def healthcheck(config_path: Path | None) -> None:
    """Ask the running proxy whether it takes requests; for images and entrypoints. Exit 0: it does."""
    from proxy.healthcheck import Unhealthy, ask

    try:
        ask(_ports(config_path))
    except Unhealthy as fault:
        complain(f"unhealthy: {fault}")
        sys.exit(1)


def _duration(_context: click.Context, _parameter: click.Parameter, text: str) -> float:
    from proxy.config.units import duration

    try:
        return duration(text)
    except ValueError as fault:
        raise click.BadParameter(str(fault)) from None


def _finite(_context: click.Context, _parameter: click.Parameter, seconds: float) -> float:
    """Refuse what a range lets through: nan is below none and above none, and no timer runs for inf."""
    if not isfinite(seconds):
        raise click.BadParameter("must be finite")
    return seconds


@main.command()
@config_option
@click.option("--timeout", callback=_duration, default="30s", show_default=True, help="How long: 500ms, 30s, 2m.")
def wait(config_path: Path | None, timeout: float) -> None:
    """Wait until the proxy takes requests; for entrypoints of apps. Exit 0: it does; 1: not in time."""
    from proxy.healthcheck import Unhealthy
    from proxy.healthcheck import wait as wait_for

    try:
        wait_for(_ports(config_path), timeout)
    except Unhealthy as fault:
        complain(str(fault))
        sys.exit(1)


credential_option = click.option(
    "--credential", "name", metavar="NAME", help="Which one, where the configuration has several OAuth credentials."
)


@main.command()
@config_option
@credential_option
@click.option("--code", help="The code, or the address it came in, from a consent given already; '-' reads a line.")
@click.option("--browser/--no-browser", default=None, help="Open one, or not. Otherwise: where there seems to be one.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    callback=_finite,
    default=600,
    show_default=True,
    help="Seconds to wait for the consent.",
)
def login(
    config_path: Path | None, name: str | None, code: str | None, *, browser: bool | None, timeout: float
) -> None:
    """Begin a grant: a person consents in a browser, here or elsewhere. A running proxy takes it over by itself."""
    from proxy.login.command import Options, log_in
    from proxy.secrets import Secret

    given = sys.stdin.buffer.readline().decode("utf-8-sig", "replace") if code == "-" else code
    options = Options(Secret(given) if given is not None else None, browser, timeout)
    _by_hand(config_path, name, lambda parts, name, credential: log_in(parts, name, credential, options))


@main.group()
def token() -> None:
    """Look at the stored grants, or refresh one."""


@token.command()
@config_option
@credential_option
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def status(config_path: Path | None, name: str | None, *, as_json: bool) -> None:
    """Tell each credential's health as its store has it. Exit 0: all are healthy."""
    from proxy.token_command import show_status

    config = _composable(config_path)
    if name is not None and name not in config.credentials:
        raise click.UsageError(_no_such(name, list(config.credentials)))
    names = [name] if name is not None else list(config.credentials)
    _finish(show_status(config, _state_home(), names, as_json=as_json))


@token.command()
@config_option
@credential_option
@click.option("--dry-run", is_flag=True, help="Prove store, network and client, and redeem nothing.")
def refresh(config_path: Path | None, name: str | None, *, dry_run: bool) -> None:
    """Refresh a grant now, beside a running proxy: it takes the new token over by itself."""
    from proxy.token_command import refresh_now, rehearse

    _by_hand(config_path, name, rehearse if dry_run else refresh_now)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=8090, show_default=True, help="0 takes a free one.")
@click.option(
    "--expires-in",
    type=click.IntRange(min=1),
    default=31535999,
    show_default=True,
    help="Seconds an access token lives.",
)
@click.option("--rotate/--no-rotate", default=True, show_default=True, help="Whether a refresh token is single-use.")
@click.option(
    "--rate-limits",
    type=click.Choice(["off", "production", "sandbox"]),
    default="off",
    show_default=True,
    help="Whether requests beyond PandaDoc's numbers are answered 429.",
)
@click.option(
    "--rate-window",
    type=click.FloatRange(min=0, min_open=True),
    callback=_finite,
    default=60.0,
    show_default=True,
    help="Seconds in which they are counted.",
)
def simulator(host: str, port: int, expires_in: int, *, rotate: bool, rate_limits: str, rate_window: float) -> None:
    """Run a PandaDoc stand-in for your own tests and CI; GET /_simulator tells its switches, docs/simulator.md more."""
    from proxy.simulator.command import simulate

    serving = simulate(
        host,
        port,
        expires_in,
        rotate=rotate,
        until=_signalled,
        rate_limits=rate_limits,
        rate_window=rate_window,
    )
    _finish(serving)


@main.command()
@click.option("--once", is_flag=True, help="Check each step, and exit 0 or 1 instead of staying up.")
def demo(*, once: bool) -> None:
    """Tell the proxy's story on the simulator: no account needed."""
    from proxy.demo import play

    _finish(play(once=once, until=_signalled))


def _ports(path: Path | None) -> "Ports":
    from proxy.config import BadConfig, ports

    try:
        return ports(path, environ=os.environ)
    except BadConfig as bad:
        _refuse(bad)


def _composable(path: Path | None) -> "Config":
    from proxy import starting

    starting.load_aiohttp()
    from proxy.config import BadConfig

    try:
        return _read(path)
    except BadConfig as bad:
        _refuse(bad)


def _read(path: Path | None, earlier: "Config | None" = None) -> "Config":
    """Read the configuration and look at what only shows when the parts are put together. Raises BadConfig."""
    from functools import partial

    from proxy.compose_credentials import shared_stores
    from proxy.compose_engine import unusable_engines
    from proxy.config import load

    checks = (unusable_engines, partial(shared_stores, state_home=_state_home()))
    return load(path, environ=dict(os.environ), earlier=earlier, checks=checks)


def _by_hand(
    path: Path | None,
    name: str | None,
    work: "Callable[[CredentialParts, str, OAuth2Credential], Coroutine[Any, Any, int]]",
) -> NoReturn:
    """Do something with one OAuth credential, for a person."""
    import logging

    from proxy import logs
    from proxy.compose_credentials import for_a_person
    from proxy.config import OAuth2Credential
    from proxy.signals import end_by_cancelling

    config = _composable(path)
    grants = {each: item for each, item in config.credentials.items() if isinstance(item, OAuth2Credential)}
    if name is None and len(grants) == 1:
        (name,) = grants
    if name is None or name not in grants:
        raise click.UsageError(_no_such(name, list(grants), is_key=name in config.credentials))
    logs.set_up(config.log)
    logging.getLogger("proxy").setLevel(logging.CRITICAL)  # what is wrong is the command's to say, once
    chosen, credential = name, grants[name]

    async def run() -> int:
        end_by_cancelling()
        async with for_a_person(config, _state_home()) as parts:
            return await work(parts, chosen, credential)

    _finish(run())


def _no_such(name: str | None, names: list[str], *, is_key: bool = False) -> str:
    if not names:
        return "the configuration has no OAuth credential"
    flaw = f"{name} is an API key; " if is_key else "there is no such credential; " if name else ""
    return f"{flaw}choose one with --credential: {', '.join(names)}"


def _refuse(bad: Exception) -> NoReturn:
    complain(str(bad))
    sys.exit(2)


def _finish(work: Coroutine[Any, Any, int]) -> NoReturn:
    """Run `work` to its exit code."""
    import asyncio

    from proxy import event_loop

    try:
        loop_factory = event_loop.factory()
    except ValueError as bad:
        work.close()
        _refuse(bad)
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            code = runner.run(work)
    except (asyncio.CancelledError, KeyboardInterrupt):  # the second signal; Ctrl-C where nobody catches it
        code = 1
    sys.exit(code)


async def _signalled() -> None:
    from proxy.signals import Signals

    await Signals().first()


def _state_home() -> Path:
    """Return the folder for state that outlives the process (XDG Base Directory); /var/lib for users without a home."""
    configured = Path(os.environ.get("XDG_STATE_HOME", ""))
    if configured.is_absolute():
        return configured
    try:
        return Path.home() / ".local" / "state"
    except RuntimeError:
        return Path("/var/lib")
