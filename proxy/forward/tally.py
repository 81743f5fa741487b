"""What the guard has refused, would have refused, and dropped: counted, and told at the end."""

import logging
from collections import Counter

log = logging.getLogger(__name__)


class Tally:
    """Counts by what happened; the texts are the configuration's rules and our own. `count` alone changes it."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"<Tally {self.counts.total()}>"

    def count(self, what: str, number: int = 1) -> None:
        self.counts[what] += number

    def tell(self) -> None:
        """Write one line for each thing that happened."""
        for what, number in self.counts.most_common():
            log.info("%d %s", number, what)
