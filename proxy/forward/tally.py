"""What the policy has refused, would have refused, and what was dropped of answers: counted, and told at the end."""

import logging
from collections import Counter

log = logging.getLogger(__name__)


class Tally:
    """Counts by rule; rules are the configuration's and our own. `objected` and `leaked` alone change it."""

    def __init__(self) -> None:
        self.refused: Counter[str] = Counter()
        self.would_refuse: Counter[str] = Counter()  # by a policy that only warns
        self.leaks = 0  # places in answers that held the credential

    def __repr__(self) -> str:
        return f"<Tally {self.refused.total()} refused, {self.would_refuse.total()} would be, {self.leaks} leaks>"

    def objected(self, rule: str, *, enforced: bool) -> None:
        (self.refused if enforced else self.would_refuse)[rule] += 1

    def leaked(self, places: int) -> None:
        self.leaks += places

    def tell(self) -> None:
        """Write one line for each thing that happened."""
        for what, counts in (("refused by", self.refused), ("would be refused by", self.would_refuse)):
            for rule, number in counts.most_common():
                log.info("%d %s %s", number, what, rule)
        if self.leaks:
            log.info("%d places in answers dropped, which held the credential", self.leaks)
