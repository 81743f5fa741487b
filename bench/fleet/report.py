"""The page that people read, from what was found: docs/fleet-simulation.md."""

from collections.abc import Mapping
from typing import Final

from bench.fleet.figures import Figures, Results
from bench.report import number, table

ENGINES: Final = {"redis": "Redis", "kubernetes": "the Kubernetes API"}
LARGEST: Final = 1000

MEANING: Final = {
    "idle": "nothing happens",
    "stale": "a refresh ahead of the expiry",
    "revoked": "401 everywhere at once",
    "cold": "all pods start in the same moment",
    "crash-lease": "the replica that refreshes is killed",
    "refusing": "no token endpoint for two minutes",
    "refusing-all": "PandaDoc says 401 to everything for five minutes",
}

HEAD: Final = """\
# A fleet, simulated

<!-- Made by `make fleet` from bench/fleet/results.json: a change belongs in bench/fleet/report.py. -->

{date}, {versions}, seed {seed}.

Up to 1,000 replicas that share one grant, on a virtual clock. What coordinates them is the proxy's own code: the
refresher, the grant's keeper, the shared store, the credential that requests ask. What is simulated is PandaDoc
(rotating refresh tokens, a redeem kills the access token before it, 0.4 s for a redeem), the engine (a millisecond for
a call to Redis, 5 to 15 for a request to the Kubernetes API, 1 and 20 until a change is told), and requests: ten a
second through each replica around the event, else one in four seconds or fewer, replayed after a 401 as the proxy does.
Replicas' clocks differ by up to two seconds. The same seed makes this page again, to the byte.

In each of the {runs} runs these held, or there would be no page: no refresh token was redeemed twice with success; no
stored pair was written over by an older one, and the stored pair is the living one in the end; nobody lent a token
that had expired; all replicas end on one generation.

![Calls to the engine, by the size of the fleet](fleet.svg)
"""

BOUND: Final = """\
## The bound

A refresh that ends within a second asks of each replica, at most: in Redis a `GET` when the intent is announced, one
when the pair is, and a script for the lease before and after the first of these; in Kubernetes a `get` of the Lease
twice, and a `patch` of it by whoever found it free in the same moment. While a refresh takes longer, or its holder has
died, a replica with requests tries the lease and reads, with pauses of 1, 2, 3, 4, and from then on 5 seconds, each
half as long or up to one and a half times. So at 1,000 replicas the busiest second of a refresh has some 4,000 calls to
Redis at most, and 2,000 requests to the API server. While the holder is dead it is a tenth of that: {crash_redis} calls
and {crash_kubernetes} requests a second, over the two minutes that **{crash_title}** is looked at.

All pods starting in the same moment is the most of what is to be expected: {cold_redis} calls in a second, and
{cold_kubernetes} requests to the API server. The most in any scenario is {most} calls to Redis, {most_each} for each
replica, in **{most_title}**.

A redeem costs PandaDoc one call for the whole fleet. So does a failure: what one replica is told counts for all, and so
does its pause. At 1,000 replicas an hour with a dead grant cost {dead} redeems; two minutes without a token endpoint,
{refusing}; five minutes in which PandaDoc said 401 to everything, {refusing_all}, with a cool-down that all share.
"""

NOT_SHOWN: Final = """\
## What this does not show

- What an engine takes under load: latencies here do not grow. A Redis answers some 100,000 commands a second; an API
  server's own priority and fairness may queue a burst, and answer 429, after which a replica rests for up to 5 s as
  it is told to.
- Networks that lose some packets, and clocks that step: the laws' tests have those.
- A holder that is killed in the middle of a refresh holds the lease for `redeem_timeout` and 5 s more: {crash_after} s
  without a new token, by far the longest wait here that no person has to end. With `redeem_timeout: 15s` it is 20 s.
  A pod that is told to end finishes its refresh first.
- That the reply with the only living pair dies with its holder (**… with the only pair**, **the reply is lost**): no
  coordination can mend that, and somebody must log in. Both are shown with a login after five minutes.
"""


def page(results: Results, titles: Mapping[str, str]) -> str:
    """Make the whole page; `titles` are the scenarios'."""
    runs = sum(len(sizes) for engines in results.played.values() for sizes in engines.values())
    head = HEAD.format(date=results.date, versions=results.versions, seed=results.seed, runs=runs)
    tables = [_all_of(engine, results, titles) for engine in ENGINES]
    sizes = [_by_size(engine, results, titles) for engine in ENGINES]
    crash_after = number(results.of("crash-lease", "redis", LARGEST).minted_after or 0.0)
    parts = [head, _meaning(results), _bound(results, titles), *tables, *sizes]
    return "\n".join([*parts, NOT_SHOWN.format(crash_after=crash_after)])


def _meaning(results: Results) -> str:
    """Show what a fleet means for the engine, at three sizes."""
    sizes = [size for size in (10, 100, LARGEST) if size in results.sizes]
    parts = ["## What a fleet means for its engine\n\nCalls in a second: on average, and in the busiest one.\n"]
    for engine, name in ENGINES.items():
        rows = [
            [what, *(_mean_and_peak(results.of(scenario, engine, size)) for size in sizes)]
            for scenario, what in MEANING.items()
        ]
        parts.append(table([_upper(name), *(f"{size:,} pods" for size in sizes)], rows))
    return "\n".join(parts)


def _mean_and_peak(figures: Figures) -> str:
    return f"{number(figures.mean)}, {figures.peak:,}"


def _bound(results: Results, titles: Mapping[str, str]) -> str:
    largest = {
        (scenario, engine): results.of(scenario, engine, LARGEST) for scenario in results.played for engine in ENGINES
    }
    (scenario, _), most = max(largest.items(), key=lambda item: item[1].peak)
    cold = {engine: largest["cold", engine].peak for engine in ENGINES}
    return BOUND.format(
        crash_redis=number(largest["crash-lease", "redis"].mean),
        crash_kubernetes=number(largest["crash-lease", "kubernetes"].mean),
        crash_title=titles["crash-lease"],
        cold_redis=f"{cold['redis']:,}",
        cold_kubernetes=f"{cold['kubernetes']:,}",
        most=f"{most.peak:,}",
        most_each=f"{most.peak / LARGEST:.1f}",
        most_title=titles[scenario],
        dead=max(largest["dead", engine].refused for engine in ENGINES),
        refusing=max(largest["refusing", engine].unavailable for engine in ENGINES),
        refusing_all=max(largest["refusing-all", engine].redeemed for engine in ENGINES),
    )


def _all_of(engine: str, results: Results, titles: Mapping[str, str]) -> str:
    heads = [
        "",
        "redeems",
        "refused",
        "failed",
        "minted after s",
        "all have it: p50 s",
        "max s",
        "requests",
        "met a 401",
        "401 relayed",
        "503",
        "busiest second",
        "calls each",
        "conflicts",
    ]
    rows = [[titles[scenario], *_row(results.of(scenario, engine, LARGEST))] for scenario in results.played]
    about = (
        "**Minted after**: from the event until the token that all have in the end was minted; before it where a"
        " replica's\nclock is fast. **All have it**: from then on, in steps of 0.05 s. **Calls each**: of a replica,"
        " until five seconds after\nthe last one had it.\n"
    )
    return f"## 1,000 replicas and {ENGINES[engine]}\n\n{about}\n{table(heads, rows)}"


def _row(figures: Figures) -> list[str]:
    return [
        f"{figures.redeemed:,}",
        f"{figures.refused:,}",
        f"{figures.unavailable:,}",
        "–" if figures.minted_after is None else f"{figures.minted_after:,.1f}",
        f"{figures.adopted_p50:.2f}",
        f"{figures.adopted_max:.2f}",
        f"{figures.requests:,}",
        f"{figures.met_401:,}",
        f"{figures.relayed_401:,}",
        f"{figures.unavailable_503:,}",
        f"{figures.peak:,}",
        f"{figures.each:.1f}",
        f"{figures.conflicts:,}",
    ]


def _by_size(engine: str, results: Results, titles: Mapping[str, str]) -> str:
    rows = [
        [titles[scenario], *(_peak_and_last(results.of(scenario, engine, size)) for size in results.sizes)]
        for scenario in results.played
    ]
    about = "Calls in the busiest second; seconds from the new token until the last replica has it."
    heads = ["", *(f"{size:,}" for size in results.sizes)]
    return f"## By the size of the fleet: {ENGINES[engine]}\n\n{about}\n\n{table(heads, rows)}"


def _peak_and_last(figures: Figures) -> str:
    return f"{figures.peak:,}; {figures.adopted_max:.2f}"


def _upper(text: str) -> str:
    return text[0].upper() + text[1:]
