"""The page that people read, from what was found: bench/RESULTS.md."""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from bench.figures import Results
from bench.targets import ENVOY, TARGETS, Target


class Section(NamedTuple):
    """A table: a title, what it shows, and its columns, each by the figure's name."""

    title: str
    about: str
    figures: dict[str, str]


def _requests(title: str, about: str, work: str) -> Section:
    columns = {
        "CPU µs": "cpu_us",
        "requests/s": "rate",
        "p50 µs": "p50_us",
        "p99 µs": "p99_us",
        "busy %": "busy_percent",
    }
    return Section(title, about, {heading: f"{work}.{figure}" for heading, figure in columns.items()})


def _transfer(title: str, work: str) -> Section:
    columns = {"MB/s": "rate_mb", "CPU ms": "cpu_ms", "peak MiB": "peak_mib", "growth MiB": "growth_mib"}
    about = "Growth is what the peak is above the memory in use before it."
    return Section(title, about, {heading: f"{work}.{figure}" for heading, figure in columns.items()})


SECTIONS: Final = (
    _requests(
        "1 KiB, 32 connections",
        "Apps with some workers: the pool upstream is warm, and nothing queues for long.",
        "c32",
    ),
    _requests("1 KiB, 32 connections, with an access log", "A line for each request, to a file.", "logged"),
    _requests("1 KiB, one connection", "Nothing waits for anything else: p50 is what a hop costs a caller.", "c1"),
    _requests("1 KiB, 256 connections", "The proxy has 100 connections upstream and lets requests wait.", "c256"),
    _requests("POST of 16 KiB, 32 connections", "The origin reads the body before it answers.", "post"),
    Section(
        "Start and memory",
        "From exec to the first answer through the proxy; resident memory half a second later; the most with 256 "
        "connections.",
        {"ready ms": "start.ready_ms", "idle MiB": "start.idle_mib", "under load MiB": "c256.peak_mib"},
    ),
    _transfer("100 MiB up", "upload"),
    _transfer("100 MiB down", "download"),
)

NO_RATIO: Final = (".busy_percent", ".growth_mib")
"""Figures of which neither more nor less is better, or that are about nothing."""

HEAD: Final = """\
# What a request costs

<!-- Made by `make bench` from results.json: a change belongs there, or in bench/report.py. -->

{date}, {machine}.

Rounds: {rounds}, seconds for each work: {seconds}. In a round every peer in turn is started, alone, on a CPU of its
own; wrk and the origin have the rest. TLS to the origin, whose certificate is verified, and plain HTTP/1.1 to the
caller. Every peer lends the same credential; the origin answers 401 to any other. The configurations are in
[bench/peers](peers).

A cell has the median of the rounds, their least and most, and the ratio to Envoy's (the median of each round's ratio).
**CPU µs** is user and system time of all the peer's processes for each request, from the kernel's books. **Busy** is
the share of its CPU that a peer used: where it is well below 100 something else was the limit, wrk and the origin or
other work on the machine, and requests/s and latency tell of that.

![CPU per request, latency, memory](results.svg)
"""


def page(results: Results) -> str:
    """Make the whole page."""
    rounds = max((len(measured.rounds) for measured in results.peers.values()), default=0)
    head = HEAD.format(date=results.date, machine=results.machine, rounds=rounds, seconds=results.seconds)
    parts = [head, _targets(results), *(_section(section, results) for section in SECTIONS)]
    return "\n".join([*parts, _errors(results), _versions(results)])


def number(value: float) -> str:
    """Write it with three digits, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"  # noqa: PLR2004 - powers of ten


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _section(section: Section, results: Results) -> str:
    rows = [[peer, *(cell(results, peer, figure) for figure in section.figures.values())] for peer in results.peers]
    return f"## {section.title}\n\n{section.about}\n\n{table(['', *section.figures], rows)}"


def cell(results: Results, peer: str, figure: str) -> str:
    """Write a peer's figure: its median, range, and ratio to Envoy's."""
    every = results.all_of(peer, figure)
    ratio = None if figure.endswith(NO_RATIO) else results.ratio_of(peer, figure, ENVOY)
    middle = results.median_of(peer, figure)
    assert middle is not None
    spread = f" ({number(min(every))}–{number(max(every))})" if len(every) > 1 else ""
    return f"{number(middle)}{spread}" + ("" if ratio is None else f" {ratio:.2f}×")


def _targets(results: Results) -> str:
    rows = [[target.sentence, number(target.most), *_judged(target, results)] for target in TARGETS]
    return f"## Targets\n\n{table(['', 'at most', 'found', ''], rows)}"


def _judged(target: Target, results: Results) -> tuple[str, str]:
    found = target.found(results)
    if found is None:
        return "–", "not judged"
    return number(found), "met" if target.met(results) else "**missed**"


def _errors(results: Results) -> str:
    """Name every peer that failed requests: its figures count for little."""
    works = [figure for figure in next(iter(_figures(results)), {}) if figure.endswith(".errors")]
    wrong = [
        f"- {peer}, {work.removesuffix('.errors')}: {number(most)} in a round\n"
        for peer in results.peers
        for work in works
        if (most := max(results.all_of(peer, work)))
    ]
    return "## Errors\n\n" + ("".join(wrong) or "None: every request was answered as it should be.\n")


def _figures(results: Results) -> Iterable[dict[str, float]]:
    return (measured.rounds[0] for measured in results.peers.values())


def _versions(results: Results) -> str:
    rows = [[peer, measured.version] for peer, measured in results.peers.items()]
    rows += [[peer, f"missing: {why}"] for peer, why in results.missing.items()]
    return f"## Versions\n\n{table(['', ''], rows)}"
