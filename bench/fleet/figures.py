"""What the simulation has found, in one file: bench/fleet/results.json."""

import msgspec


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One run: a scenario, an engine, a size of the fleet. Times are seconds."""

    size: int
    redeemed: int
    refused: int
    unavailable: int  # redeems that the token endpoint did not take
    minted_after: float | None  # when the token that all have in the end was minted, from the event on; None: before
    adopted_p50: float  # and from then until a replica lends it
    adopted_max: float
    requests: int
    met_401: int  # requests whose first attempt was answered 401
    relayed_401: int
    unavailable_503: int
    mean: float  # calls to the engine in a second
    peak: int  # calls in the busiest second
    each: float  # calls of each replica until all have had the token for some seconds
    conflicts: int
    calls: dict[str, int]


class Results(msgspec.Struct, frozen=True):
    """All of one run of all scenarios."""

    date: str
    versions: str
    seed: int
    played: dict[str, dict[str, list[Figures]]]  # by scenario and engine, the smallest fleet first

    def of(self, scenario: str, engine: str, size: int) -> Figures:
        return next(figures for figures in self.played[scenario][engine] if figures.size == size)

    @property
    def sizes(self) -> list[int]:
        return [figures.size for figures in next(iter(next(iter(self.played.values())).values()))]


def read(text: str) -> Results:
    return msgspec.json.decode(text, type=Results)


def written(results: Results) -> str:
    """Return it as JSON, a line for each figure, so that a change of it can be read."""
    return msgspec.json.format(msgspec.json.encode(results), indent=1).decode() + "\n"
