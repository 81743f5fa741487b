"""A fleet in a scenario: it is set up, something happens to it, and it is looked at until it is over."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from random import Random
from statistics import median
from typing import Final

from bench.fleet.calls import Calls
from bench.fleet.engines import Ground, Profile
from bench.fleet.fate import Doom, Step
from bench.fleet.figures import Figures
from bench.fleet.panda_doc import Pair, PandaDoc
from bench.fleet.replica import LOOK_EVERY, SKEW, Answered, Broken, Replica
from bench.fleet.virtual import EPOCH, VirtualLoop
from proxy.credential.credential import YEAR, stale_lead
from proxy.credential.ledger import Grant, Ledger, Lineage, consented
from proxy.credential.record import decode, encode
from proxy.secrets import Secret

CALM: Final = 20.0
"""Seconds before anything happens: all have started, and every watch is open."""

BURST: Final = 10
"""Times the rate of requests, for as long before and after the event as replicas' clocks differ."""

AHEAD: Final = 5.0
"""Seconds before an event from which on all is counted: a replica whose clock is fast is ahead of it."""

SAMPLE: Final = 0.02
"""Seconds between two looks at who lends what."""

AFTERWARDS: Final = 5.0
"""Seconds after the last replica has the new token that still count for its refresh."""

OWNER: Final = "0123456789abcdef"

UNAUTHORIZED: Final = 401
LEAST_OF_OURS: Final = 500
"""Of the statuses that the proxy answers itself."""


@dataclass(frozen=True)
class Scenario:
    """What happens to a fleet. Times are seconds from CALM on, when the `story` begins."""

    name: str
    title: str
    story: "Callable[[Fleet], Coroutine[None, None, None]]"
    seconds: float = 60.0
    rate: float = 1.0  # requests per second and replica, while it is looked at
    doom: Step | None = None
    stale: bool = False  # whether the token gets stale at 0
    expires: bool = False  # whether nobody refreshes ahead, and it expires at 0
    empty: bool = False  # whether there is only a configured refresh token, and all start at 0


class Fleet:
    """The replicas, with what they stand on.

    What changes: `replicas`, by `join`; `_lent`, since when which replica lends what, by `_sample`; `_answers`,
    by `_request`.
    """

    def __init__(self, scenario: Scenario, engine: Profile, size: int, seed: int) -> None:
        self.scenario = scenario
        self.size = size
        self.loop = asyncio.get_running_loop()
        self.random = Random(f"{seed} {scenario.name} {engine.__name__} {size}")
        self.panda_doc = PandaDoc(Random(self.random.random()), self.loop)
        self.calls = Calls(self.loop.time)
        self.ground = Ground(engine.pace, Random(self.random.random()), self.loop, self.calls)
        self.doom = Doom(scenario.doom)
        self.replicas: list[Replica] = []
        self.first = self.panda_doc.consent()
        self.engine = engine
        self._lent: dict[str, tuple[str, float]] = {}
        self._answers: Counter[Answered] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Fleet of {self.size} in {self.scenario.name}>"

    @property
    def alive(self) -> list[Replica]:
        return [replica for replica in self.replicas if not replica.fate.dead]

    def join(self) -> None:
        """Start one more replica."""
        replica = Replica(
            f"replica-{len(self.replicas)}",
            ground=self.ground,
            engine=self.engine,
            panda_doc=self.panda_doc,
            random=Random(self.random.random()),
            doom=self.doom,
            seed=self.first.refresh_token if self.scenario.empty else None,
            refresh_before=0.0 if self.scenario.expires else None,
        )
        self.replicas.append(replica)
        self.start(replica.live())

    def start(self, work: Coroutine[None, None, None]) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            raise fault

    def log_in(self) -> None:
        """Have a person agree, whose pair is written over whatever there is, at once."""
        self._store(self.panda_doc.consent(), self.loop.time())

    def _store(self, pair: Pair, obtained_at: float) -> None:
        """Write a consent's pair. `obtained_at`: the loop's time."""
        refresh_token, wall = Secret(pair.refresh_token), EPOCH + obtained_at
        lineage = Lineage("login", refresh_token.fingerprint(), wall)
        grant = Grant(0, lineage, refresh_token, Secret(pair.access_token), wall, wall + YEAR)
        kept = decode(self.ground.content, OWNER) if self.ground.content else Ledger()
        self.ground.change(encode(consented(kept, grant, wall), OWNER))

    async def run(self) -> Figures:
        scenario = self.scenario
        if not scenario.empty:
            life = YEAR if scenario.expires else YEAR - stale_lead(YEAR, None) if scenario.stale else 3600.0
            self._store(self.first, CALM - life)
            for _ in range(self.size):
                self.loop.call_later(self.random.uniform(0, LOOK_EVERY), self.join)
        await asyncio.sleep(CALM - AHEAD)
        self.start(self._traffic())
        self.start(self._sample())
        await asyncio.sleep(AHEAD)
        for _ in range(self.size if scenario.empty else 0):
            self.join()
        if scenario.expires:
            self.panda_doc.revoke(self.first)
        self.start(scenario.story(self))
        await asyncio.sleep(scenario.seconds)
        self._hold_to_the_laws()
        return self._figures()

    # While it runs

    async def _traffic(self) -> None:
        """Send requests to replicas, as if by chance."""
        while True:
            often = BURST if abs(self.loop.time() - CALM) < SKEW else 1
            await asyncio.sleep(self.random.expovariate(self.scenario.rate * self.size * often))
            if alive := self.alive:
                self.start(self._request(self.random.choice(alive)))

    async def _request(self, replica: Replica) -> None:
        answered = await replica.ask()
        self._answers[answered] += 1

    async def _sample(self) -> None:
        while True:
            now = self.loop.time()
            for replica in self.replicas:
                if self._lent.get(replica.who, ("", 0.0))[0] != (lends := replica.lends):
                    self._lent[replica.who] = lends, now
            await asyncio.sleep(SAMPLE)

    # In the end

    def _hold_to_the_laws(self) -> None:
        """Raise Broken where the fleet is not on one generation that lives, or a stored pair was lost."""
        parents = Counter(pair.parent for pair in self.panda_doc.minted.values() if pair.parent)
        if any(times > 1 for times in parents.values()):
            raise Broken("a refresh token was redeemed twice")
        grant = decode(self.ground.content, OWNER).grant
        if grant is None or grant.refresh_token.reveal() != self.panda_doc.alive:
            raise Broken("what is stored is not the pair that lives")
        for replica in self.alive:
            if replica.lends != self.panda_doc.accepted:
                raise Broken(f"{replica.who} is not on the fleet's generation: {replica.source}")

    def _figures(self) -> Figures:
        newest = self.panda_doc.minted[self.panda_doc.accepted]
        adopted = sorted(max(0.0, self._lent[replica.who][1] - newest.minted_at) for replica in self.alive)
        begin, end, answers = CALM - AHEAD, CALM + self.scenario.seconds, self._answers
        settled = min(end, newest.minted_at + adopted[-1] + AFTERWARDS)
        return Figures(
            size=self.size,
            redeemed=self.panda_doc.answers["redeemed"],
            refused=self.panda_doc.answers["refused"],
            unavailable=self.panda_doc.answers["unavailable"],
            minted_after=newest.minted_at - CALM,
            adopted_p50=median(adopted),
            adopted_max=adopted[-1],
            requests=answers.total(),
            met_401=sum(number for answer, number in answers.items() if answer.refused_first),
            relayed_401=sum(number for answer, number in answers.items() if answer.status == UNAUTHORIZED),
            unavailable_503=sum(number for answer, number in answers.items() if answer.status >= LEAST_OF_OURS),
            idle=self.calls.total(begin, end) / (end - begin),
            peak=self.calls.peak(begin, end),
            each=self.calls.total(begin, settled) / self.size,
            conflicts=self.ground.conflicts,
            calls=self.calls.kinds(begin, end),
        )


def run(scenario: Scenario, engine: Profile, size: int, seed: int) -> Figures:
    """Play a scenario through; the same seed gives the same figures."""

    async def play() -> Figures:
        return await Fleet(scenario, engine, size, seed).run()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(play())
