"""The proxy beside others, all on the same work in one run: `make bench`, or `python -m bench --help`."""

import os
from collections.abc import Iterable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import Final

import click

from bench import origin
from bench.figures import Measured, Results, written
from bench.machine import described
from bench.peer import Missing, Peer, Place, installed
from bench.peers import client_session, envoy, haproxy, mitmproxy, nginx, pandadoc_proxy
from bench.plot import drawn
from bench.report import page
from bench.running import Failed, Running, free_port, listens
from bench.turn import Setting, take

PEERS: Final = (module.PEER for module in (pandadoc_proxy, envoy, nginx, haproxy, client_session, mitmproxy))
BY_NAME: Final = {peer.name: peer for peer in PEERS}
HERE: Final = Path(__file__).parent


def found(peers: Iterable[Peer]) -> tuple[dict[Peer, str], dict[str, str]]:
    """Return the versions of those that are here, and why others are missing."""
    versions, missing = {}, {}
    for peer in peers:
        try:
            versions[peer] = peer.version()
        except Missing as why:
            missing[peer.name] = str(why)
    return versions, missing


def run(peers: Iterable[Peer], setting: Setting, rounds: int) -> Results:
    """Let every peer take its turn in every round. One that fails leaves the run."""
    versions, missing = found(peers)
    figures: dict[Peer, list[dict[str, float]]] = {peer: [] for peer in versions}
    for turn in range(rounds):
        for peer in [peer for peer in figures if peer.name not in missing]:
            try:
                figures[peer].append(take(peer, setting))
            except Failed as why:
                missing[peer.name] = str(why)
            _tell(peer, turn, figures[peer], missing)
    peers_found = {
        peer.name: Measured(versions[peer], tuple(taken)) for peer, taken in figures.items() if peer.name not in missing
    }
    date = datetime.now(UTC).date().isoformat()
    return Results(date, described(), setting.seconds, peers_found, missing)


def _tell(peer: Peer, turn: int, taken: list[dict[str, float]], missing: dict[str, str]) -> None:
    what = missing.get(peer.name) or f"{taken[-1]['c32.cpu_us']:.1f} µs of CPU per request"
    click.echo(f"round {turn + 1}: {peer.name}: {what}", err=True)


def settle(stack: ExitStack, seconds: int) -> Setting:
    """Share out the CPUs, and start the origin. This process and wrk stay on the origin's CPUs."""
    *load, peer = sorted(os.sched_getaffinity(0))
    if not load:
        raise click.ClickException("one CPU is too few: the peer needs one, wrk and the origin another")
    os.sched_setaffinity(0, load)
    folder = Path(stack.enter_context(TemporaryDirectory()))
    port = free_port()
    credential = f"API-Key {token_hex(20)}"
    place = Place(folder, port, port, port, folder / "authority.pem", credential)
    origin.equip(place)
    stack.enter_context(Running(origin.command(place), folder, set(load))).until(lambda: listens(port))
    return Setting(place, {peer}, seconds)


def chosen(names: str, also: Iterable[Path]) -> list[Peer]:
    """Return the peers by these names, all without any, and the other checkouts."""
    wanted = [name.strip().lower() for name in names.split(",") if name.strip()]
    strange = [name for name in wanted if name not in {known.lower() for known in BY_NAME}]
    if strange:
        raise click.BadParameter(f"{', '.join(strange)}: the peers are {', '.join(BY_NAME)}")
    return [peer for name, peer in BY_NAME.items() if not wanted or name.lower() in wanted] + [
        pandadoc_proxy.peer(checkout.resolve()) for checkout in also
    ]


def publish(results: Results, folder: Path | None) -> None:
    """Write the page, the figures and the plot; without a folder show the page alone."""
    if folder is None:
        click.echo(page(results))
        return
    made = {"RESULTS.md": page(results), "results.json": written(results), "results.svg": drawn(results)}
    for name, text in made.items():
        (folder / name).write_text(text, encoding="utf-8")


@click.command()
@click.option("--peers", default="", help="Some of them, by name, with commas between.")
@click.option(
    "--also", multiple=True, type=click.Path(path_type=Path, exists=True), help="Another checkout of the proxy."
)
@click.option("--rounds", default=5, show_default=True)
@click.option("--seconds", default=3, show_default=True, help="How long each work lasts.")
@click.option("--quick", is_flag=True, help="One round of two seconds each: to see that it works, not to quote.")
@click.option("--out", type=click.Path(path_type=Path, exists=True), help="The folder to write to, whoever takes part.")
def main(peers: str, also: tuple[Path, ...], rounds: int, seconds: int, out: Path | None, *, quick: bool) -> None:
    """Measure, and write RESULTS.md, results.json and results.svg, or show the page where only some take part."""
    if os.geteuid() != 0:
        raise click.ClickException("root is needed: others' memory is reset to be measured")
    try:
        for program in ("nginx", "wrk"):
            installed(program)
        taking_part = chosen(peers, also)
    except Missing as why:
        raise click.ClickException(str(why)) from why
    rounds, seconds = (1, 2) if quick else (rounds, seconds)
    with ExitStack() as stack:
        results = run(taking_part, settle(stack, seconds), rounds)
    publish(results, out or (None if quick or peers else HERE))


if __name__ == "__main__":
    main()
