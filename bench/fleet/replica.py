"""One replica: the proxy's own coordination code, and requests that go the way of proxy/forward/handler.py."""

import asyncio
from dataclasses import dataclass
from random import Random
from typing import Final

from bench.fleet.engines import Ground, Profile
from bench.fleet.fate import Doom, Fate
from bench.fleet.panda_doc import OWNER, Endpoint, PandaDoc
from bench.fleet.virtual import VirtualClock
from proxy.credential.credential import Credential
from proxy.credential.grant_keeper import GrantKeeper
from proxy.credential.grant_secrets import GrantSecrets
from proxy.credential.oauth2 import RefreshingCredential
from proxy.credential.policy import Policy
from proxy.credential.refresh import Refresher
from proxy.credential.shared_store import SharedStore
from proxy.errors import ProxyError
from proxy.secret_reader import SecretReader
from proxy.secrets import SecretReference
from proxy.tasks import Tasks

LOOK_EVERY: Final = 2.0
"""Seconds between two looks behind the traffic, as in proxy/app.py."""

SKEW: Final = 1.0
"""Seconds by which a replica's wall clock is wrong at most, either way."""

WAIT: Final = 10.0
"""Seconds that a request waits for a refresh: the default."""

CLIENT: Final = SecretReference.literal("the simulation's client", "bench/fleet")
READER: Final = SecretReader()


class Broken(AssertionError):
    """Something happened that must not: the run is void."""


@dataclass(frozen=True, slots=True)
class Answered:
    """How a request ended: its status, and whether it had met a 401 before."""

    status: int
    refused_first: bool = False


class Replica:
    """The parts of one, wired as proxy/compose_credentials.py does."""

    def __init__(
        self,
        who: str,
        *,
        ground: Ground,
        engine: Profile,
        panda_doc: PandaDoc,
        random: Random,
        doom: Doom,
        seed: str | None,
        refresh_before: float | None,
    ) -> None:
        """`seed`: the refresh token that is configured, if any. `refresh_before`: seconds; None: auto."""
        self.who = who
        self.fate = Fate(who, doom)
        self.tasks = Tasks()
        self._panda_doc = panda_doc
        self._clock = clock = VirtualClock(ground.loop, random.uniform(-SKEW, SKEW))
        jitter = random.random
        store = SharedStore(engine(ground, self.fate), _owner, who=who, clock=clock, jitter=jitter, tasks=self.tasks)
        token = None if seed is None else SecretReference.literal(seed, "bench/fleet")
        secrets = GrantSecrets(READER, CLIENT, CLIENT, token)
        keeper = GrantKeeper(
            "default", store=store, seed=secrets.seed, clock=clock, jitter=jitter, tasks=self.tasks, by=who
        )
        self.refresher = Refresher(
            "default",
            secrets=secrets,
            endpoint=Endpoint(panda_doc, self.fate),
            keeper=keeper,
            policy=Policy(refresh_before=refresh_before, alone=False, late=random.random()),
            clock=clock,
            jitter=jitter,
            tasks=self.tasks,
        )
        self.source = RefreshingCredential(
            self.refresher, probe=panda_doc.probe, wait=WAIT, clock=clock, tasks=self.tasks
        )

    def __repr__(self) -> str:
        return f"<Replica {self.who} {self.source}>"

    @property
    def lends(self) -> str:
        """The access token that it lends, if any."""
        lent = self.refresher.credential
        return lent.authorization.removeprefix("Bearer ") if lent is not None else ""

    async def live(self) -> None:
        """Look behind the traffic until the end."""
        while not self.fate.dead:
            await self.source.look()
            await asyncio.sleep(LOOK_EVERY)

    async def ask(self) -> Answered:
        """Send one request without a body through it."""
        try:
            lent = self._checked(await self.source.current())
            if await self._panda_doc.accepts(lent):
                self.source.accepted(lent)
                return Answered(200)
            newer = await self.source.replacement(lent)
        except ProxyError as fault:
            return Answered(fault.status)
        if isinstance(newer, str):
            return Answered(401, refused_first=True)
        accepted = await self._panda_doc.accepts(self._checked(newer))
        self.source.replayed(newer, refused=not accepted)
        return Answered(200 if accepted else 401, refused_first=True)

    def _checked(self, lent: Credential) -> Credential:
        if lent.expires_at <= self._clock.wall():
            raise Broken(f"{self.who} lends a token that has expired (law 5)")
        return lent


async def _owner() -> str:
    return OWNER
