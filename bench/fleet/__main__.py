"""A fleet on a virtual clock, with the proxy's own coordination code: `make fleet`, `python -m bench.fleet --help`."""

import os
import platform
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from bench.fleet.engines import KubernetesLike, Profile, RedisLike
from bench.fleet.figures import Figures, Results, read, written
from bench.fleet.fleet import run
from bench.fleet.plot import drawn
from bench.fleet.report import page
from bench.fleet.scenarios import SCENARIOS
from proxy import __version__

ENGINES: Final[dict[str, Profile]] = {"redis": RedisLike, "kubernetes": KubernetesLike}
SIZES: Final = (1, 3, 10, 30, 100, 300, 1000)
BY_NAME: Final = {scenario.name: scenario for scenario in SCENARIOS}
TITLES: Final = {scenario.name: scenario.title for scenario in SCENARIOS}
HERE: Final = Path(__file__).parent
DOCS: Final = HERE.parents[1] / "docs"


def played(name: str, engine: str, size: int, seed: int) -> Figures:
    return run(BY_NAME[name], ENGINES[engine], size, seed)


def play_all(names: tuple[str, ...], sizes: tuple[int, ...], seed: int) -> Iterator[tuple[str, str, Figures]]:
    """Play each scenario with each engine and size, on all CPUs, small fleets first; yield in order what was found."""
    runs = [(name, engine, size) for name in names for engine in ENGINES for size in sizes]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        found = {pool.submit(played, *each, seed): each for each in sorted(runs, key=lambda each: each[2])}
        figures: dict[tuple[str, str, int], Figures] = {}
        for number, done in enumerate(as_completed(found), 1):
            figures[found[done]] = done.result()
            click.echo(f"{number} of {len(runs)}: {found[done]}", err=True)
    for name, engine, size in runs:
        yield name, engine, figures[name, engine, size]


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(BY_NAME)))
@click.option("--sizes", "-n", multiple=True, type=int, default=SIZES, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--date", default=datetime.now(UTC).date().isoformat(), help="What the page is to say; today.")
@click.option("--page", "rewrite", is_flag=True, help="Play nothing: write the page of the last results anew.")
def main(names: tuple[str, ...], sizes: tuple[int, ...], seed: int, date: str, *, rewrite: bool) -> None:
    """Play all scenarios and write the page and the plot; or play some, by name or size, and print what was found."""
    if rewrite:
        publish(read((HERE / "results.json").read_text(encoding="utf-8")))
        return
    versions = f"pandadoc-proxy {__version__}, Python {platform.python_version()}"
    results = Results(date, versions, seed, {})
    for name, engine, figures in play_all(names or tuple(BY_NAME), sizes, seed):
        results.played.setdefault(name, {}).setdefault(engine, []).append(figures)
        if names or sizes != SIZES:
            click.echo(f"{name}, {engine}: {figures}")
    if not names and sizes == SIZES:
        publish(results)


def publish(results: Results) -> None:
    (HERE / "results.json").write_text(written(results), encoding="utf-8")
    (DOCS / "fleet-simulation.md").write_text(page(results, TITLES), encoding="utf-8")
    (DOCS / "fleet.svg").write_text(drawn(results, TITLES), encoding="utf-8")


if __name__ == "__main__":
    main()
