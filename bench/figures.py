"""What a run has found, and what is worked out from it: medians, and ratios round by round."""

from collections.abc import Sequence
from statistics import median

import msgspec


class Measured(msgspec.Struct, frozen=True):
    """A peer's figures: for each round, each figure by its name, such as `c32.cpu_us`."""

    version: str
    rounds: tuple[dict[str, float], ...]


class Results(msgspec.Struct, frozen=True):
    """All of one run; bench/results.json."""

    date: str
    machine: str
    seconds: int
    """How long each work lasted."""
    peers: dict[str, Measured]
    missing: dict[str, str]
    """Peers that could not be had, or did not do the work, and why."""

    def all_of(self, peer: str, figure: str) -> Sequence[float]:
        """Return the figure of every round; none where the peer is missing."""
        return [measured[figure] for measured in self.peers[peer].rounds] if peer in self.peers else []

    def median_of(self, peer: str, figure: str) -> float | None:
        return median(found) if (found := self.all_of(peer, figure)) else None

    def ratio_of(self, peer: str, figure: str, other: str, others: str = "") -> float | None:
        """Return the median of the ratios in each round: what slows the machine for a while slows both.

        `others` is the other's figure, if not the same.
        """
        both = zip(self.all_of(peer, figure), self.all_of(other, others or figure), strict=False)
        ratios = [one / two for one, two in both if two]
        return median(ratios) if ratios else None


def read(text: str) -> Results:
    return msgspec.json.decode(text, type=Results)


def written(results: Results) -> str:
    """Return it as JSON, a line for each figure, so that a change of it can be read."""
    return msgspec.json.format(msgspec.json.encode(results), indent=1).decode() + "\n"
