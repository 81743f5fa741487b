"""A fleet in a scenario: it is set up, something happens to it, and it is looked at until it is over."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from random import Random
from typing import Final

from bench.fleet.calls import Calls
from bench.fleet.engines import Ground, Profile
from bench.fleet.fate import Doom, Step
from bench.fleet.figures import Figures
from bench.fleet.panda_doc import OWNER, Pair, PandaDoc
from bench.fleet.replica import LOOK_EVERY, SKEW, Broken, Replica
from bench.fleet.virtual import EPOCH, VirtualLoop
from bench.fleet.witness import Span, Witness, listening
from proxy.credential.credential import YEAR, stale_lead
from proxy.credential.ledger import Grant, Ledger, Lineage, consented
from proxy.credential.record import decode, encode
from proxy.secrets import Secret

CALM: Final = 20.0
"""Seconds before anything happens: all have started, and every watch is open."""

AHEAD: Final = 5.0
"""Seconds before an event from which on all is counted: a replica whose clock is fast is ahead of it."""

BURST: Final = 10.0
"""Requests per second and replica, for as long before and after the event as replicas' clocks are wrong."""


@dataclass(frozen=True)
class Scenario:
    """What happens to a fleet. Times are seconds from CALM on, when the `story` begins."""

    name: str
    title: str
    story: "Callable[[Fleet], Coroutine[None, None, None]]"
    seconds: float = 60.0
    rate: float = 0.25  # requests per second and replica, but for the BURST
    doom: Step | None = None
    stale: bool = False  # whether the token gets stale at 0
    expires: bool = False  # whether nobody refreshes ahead, and it expires at 0
    empty: bool = False  # whether there is only a configured refresh token, and all start at 0


class Fleet:
    """The replicas, with what they stand on. `replicas` grows in `join`; `_tasks` are what plays, by `start`."""

    def __init__(self, scenario: Scenario, engine: Profile, size: int, seed: int) -> None:
        self.scenario = scenario
        self.engine = engine
        self.size = size
        self.loop = asyncio.get_running_loop()
        self.random = Random(f"{seed} {scenario.name} {engine.__name__} {size}")
        self.panda_doc = PandaDoc(Random(self.random.random()), self.loop)
        self.ground = Ground(engine.pace, Random(self.random.random()), self.loop, Calls(self.loop.time))
        self.doom = Doom(scenario.doom)
        self.first = self.panda_doc.consent()
        self.replicas: list[Replica] = []
        self.witness = Witness(self.panda_doc, self.ground, lambda: self.alive)
        self.ground.changed = self.witness.changed
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
        self._start(replica.live())

    def log_in(self) -> None:
        """Have a person agree, whose pair is written over whatever there is, at once."""
        self._store(self.panda_doc.consent(), self.loop.time())

    async def run(self) -> Figures:
        """Play the scenario. Raises Broken where something was seen that must not be."""
        await self._begin()
        self._start(self.scenario.story(self))
        await asyncio.sleep(self.scenario.seconds)
        self.witness.judge()
        span = Span(CALM - AHEAD, CALM, CALM + self.scenario.seconds)
        return self.witness.figures(self.first, self.size, span)

    async def end(self) -> None:
        """End whatever still runs, and what that begins in turn."""
        while rest := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in rest:
                task.cancel()
            await asyncio.wait(rest)

    async def _begin(self) -> None:
        """Have all replicas lend the first token, and requests come; or have all start at once."""
        scenario = self.scenario
        if not scenario.empty:
            life = YEAR if scenario.expires else YEAR - stale_lead(YEAR, None) if scenario.stale else 3600.0
            self._store(self.first, CALM - life)
            for _ in range(self.size):
                self.loop.call_later(self.random.uniform(0, LOOK_EVERY), self.join)
        await asyncio.sleep(CALM - AHEAD)
        self._start(self._traffic())
        self._start(self.witness.look_on())
        await asyncio.sleep(AHEAD)
        for _ in range(self.size if scenario.empty else 0):
            self.join()
        if scenario.expires:
            self.panda_doc.revoke(self.first)

    def _store(self, pair: Pair, obtained_at: float) -> None:
        """Write a consent's pair. `obtained_at`: the loop's time."""
        refresh_token, wall = Secret(pair.refresh_token), EPOCH + obtained_at
        lineage = Lineage("login", refresh_token.fingerprint(), wall)
        grant = Grant(0, lineage, refresh_token, Secret(pair.access_token), wall, wall + YEAR)
        kept = decode(self.ground.content, OWNER) if self.ground.content else Ledger()
        self.ground.change(encode(consented(kept, grant, wall), OWNER))

    async def _traffic(self) -> None:
        """Send requests to replicas, as if by chance."""
        while True:
            rate = BURST if abs(self.loop.time() - CALM) < SKEW else self.scenario.rate
            await asyncio.sleep(self.random.expovariate(rate * self.size))
            if self.replicas:
                self._start(self._request(self.random.choice(self.replicas)))

    async def _request(self, replica: Replica) -> None:
        if not replica.fate.dead:
            self.witness.answered(await replica.ask())

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            self.witness.broken.append(repr(fault))


def run(scenario: Scenario, engine: Profile, size: int, seed: int) -> Figures:
    """Play a scenario through; the same seed gives the same figures. Raises Broken."""

    async def play() -> Figures:
        fleet = Fleet(scenario, engine, size, seed)
        with listening(fleet.witness.broken):
            try:
                return await fleet.run()
            except Broken as fault:
                raise Broken(f"{fleet} with {engine.name}: {fault}") from fault
            finally:
                await fleet.end()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(play())
