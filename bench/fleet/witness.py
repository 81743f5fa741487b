"""Who looks on: what was measured, and whether anything happened that must not."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Final, NamedTuple

from bench.fleet.engines import Ground
from bench.fleet.figures import Figures
from bench.fleet.panda_doc import OWNER, Pair, PandaDoc
from bench.fleet.replica import Answered, Broken, Replica
from proxy.credential.record import decode

SAMPLE: Final = 0.05
"""Seconds between two looks at who lends what."""

AFTERWARDS: Final = 5.0
"""Seconds after the last replica has the new token that still count for its refresh."""

UNAUTHORIZED: Final = 401
LEAST_OF_OURS: Final = 500
"""Of the statuses that the proxy answers itself."""


class Span(NamedTuple):
    """What is counted: from `begin` to `end`, by the loop's time; at `event` it happens."""

    begin: float
    event: float
    end: float


class Witness:
    """Sees what a fleet does.

    What changes: `_lent`, since when which replica lends what, by `look_on`; `_answers`, by `answered`; `_newest`, when
    the newest stored pair was minted, by `changed`; `broken`, all that must not be, by whoever sees it.
    """

    def __init__(self, panda_doc: PandaDoc, ground: Ground, alive: Callable[[], list[Replica]]) -> None:
        self.broken: list[str] = []
        self._panda_doc = panda_doc
        self._ground = ground
        self._alive = alive
        self._lent: dict[str, tuple[str, float]] = {}
        self._answers: Counter[Answered] = Counter()
        self._newest = 0.0

    def __repr__(self) -> str:
        return f"<Witness of {len(self._lent)} replicas, {len(self.broken)} faults>"

    def changed(self, content: bytes) -> None:
        """See that no pair is written over by an older one."""
        grant = decode(content, OWNER).grant if content else None
        if grant is None or grant.access_token is None:
            return
        minted_at = self._panda_doc.minted[grant.access_token.reveal()].minted_at
        if minted_at < self._newest:
            self.broken.append(f"a stored pair was lost: {grant} was written over it")
        self._newest = minted_at

    def answered(self, answer: Answered) -> None:
        self._answers[answer] += 1

    async def look_on(self) -> None:
        """Note who lends what, and since when."""
        while True:
            now = asyncio.get_running_loop().time()
            for replica in self._alive():
                if self._lent.get(replica.who, ("", 0.0))[0] != (lends := replica.lends):
                    self._lent[replica.who] = lends, now
            await asyncio.sleep(SAMPLE)

    def judge(self) -> None:
        """Raise Broken where the fleet is not on one generation that lives, or something was seen that must not be."""
        if self.broken:
            raise Broken(f"{len(self.broken)} times, first: {self.broken[0]}")
        parents = Counter(pair.parent for pair in self._panda_doc.minted.values() if pair.parent)
        if any(times > 1 for times in parents.values()):
            raise Broken("a refresh token was redeemed twice")
        grant = decode(self._ground.content, OWNER).grant
        if grant is None or grant.refresh_token.reveal() != self._panda_doc.alive:
            raise Broken("what is stored is not the pair that lives")
        for replica in self._alive():
            if replica.lends != self._panda_doc.accepted:
                raise Broken(f"{replica.who} is not on the fleet's generation: {replica.source}")

    def figures(self, first: Pair, size: int, span: Span) -> Figures:
        """Return what was found in `span`; `first` is the pair that there was before anything happened."""
        calls, redeems, answers = self._ground.calls, self._panda_doc.answers, self._answers
        newest = self._panda_doc.minted[self._panda_doc.accepted]
        adopted, settled = [0.0], span.end
        if newest is not first:
            adopted = sorted(max(0.0, self._lent[replica.who][1] - newest.minted_at) for replica in self._alive())
            settled = min(span.end, newest.minted_at + adopted[-1] + AFTERWARDS)
        return Figures(
            size=size,
            redeemed=redeems["redeemed"],
            refused=redeems["refused"],
            unavailable=redeems["unavailable"],
            minted_after=None if newest is first else round(newest.minted_at - span.event, 2),
            adopted_p50=round(median(adopted), 2),
            adopted_max=round(adopted[-1], 2),
            requests=answers.total(),
            met_401=sum(number for answer, number in answers.items() if answer.refused_first),
            relayed_401=sum(number for answer, number in answers.items() if answer.status == UNAUTHORIZED),
            unavailable_503=sum(number for answer, number in answers.items() if answer.status >= LEAST_OF_OURS),
            mean=round(calls.total(span.begin, span.end) / (span.end - span.begin), 2),
            peak=calls.peak(span.begin, span.end),
            each=round(calls.total(span.begin, settled) / size, 2),
            conflicts=self._ground.conflicts,
            calls=calls.kinds(span.begin, span.end),
        )


class _Ear(logging.Handler):
    """Hears of the proxy's own faults; what else a thousand replicas say is nobody's."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._faults = faults

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self._faults.append(f"{record.getMessage()}: {record.exc_info[1]!r}")


@contextmanager
def listening(faults: list[str]) -> Iterator[None]:
    """Add to `faults` what the proxy logs as a fault of its own; let it print nothing."""
    log, ear = logging.getLogger("proxy"), _Ear(faults)
    before = log.level, log.propagate
    log.setLevel(logging.ERROR)
    log.propagate = False
    log.addHandler(ear)
    try:
        yield
    finally:
        log.removeHandler(ear)
        log.level, log.propagate = before
