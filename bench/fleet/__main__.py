"""A fleet on a virtual clock, with the proxy's own coordination code: `make fleet`, `python -m bench.fleet --help`."""

import logging
from typing import Final

import click

from bench.fleet.engines import KubernetesLike, Profile, RedisLike
from bench.fleet.fleet import run
from bench.fleet.scenarios import SCENARIOS

ENGINES: Final[dict[str, Profile]] = {"redis": RedisLike, "kubernetes": KubernetesLike}
SIZES: Final = (1, 3, 10, 30, 100, 300, 1000)
BY_NAME: Final = {scenario.name: scenario for scenario in SCENARIOS}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(BY_NAME)))
@click.option("--sizes", "-n", multiple=True, type=int, default=SIZES, show_default=True)
@click.option("--engine", "-e", "engines", multiple=True, type=click.Choice(list(ENGINES)), default=list(ENGINES))
@click.option("--seed", default=1, show_default=True)
def main(names: tuple[str, ...], sizes: tuple[int, ...], engines: tuple[str, ...], seed: int) -> None:
    """Play the scenarios, or some of them by NAME, and print what was found."""
    logging.disable(logging.CRITICAL)  # what a thousand replicas say
    for name in names or BY_NAME:
        for engine in engines:
            for size in sizes:
                click.echo(f"{name} {engine} {run(BY_NAME[name], ENGINES[engine], size, seed)}")


if __name__ == "__main__":
    main()
