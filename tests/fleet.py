"""A fleet in one process: replicas with a credential each, on one engine's record and one simulator.

Each has tasks, a store and a refresher of its own, as a pod has; what they share is the record alone.
"""

import asyncio
from dataclasses import dataclass, field

import aiohttp
from engines import MemoryEngine, Record
from rig import TurnedClock, until
from yarl import URL

from proxy.credential import ledger
from proxy.credential.credential import Credential
from proxy.credential.grant_keeper import GrantKeeper
from proxy.credential.grant_secrets import GrantSecrets
from proxy.credential.ledger import Grant, Ledger, Lineage
from proxy.credential.oauth2 import RefreshingCredential
from proxy.credential.policy import Policy
from proxy.credential.refresh import Refresher
from proxy.credential.shared_store import SharedStore
from proxy.credential.token_endpoint import TokenEndpoint
from proxy.errors import ProxyError
from proxy.secret_reader import SecretReader
from proxy.secrets import Secret, SecretReference
from proxy.simulator import Simulator
from proxy.tasks import Tasks

REDEEM_TIMEOUT = 5.0


@dataclass(frozen=True)
class Replica:
    """One pod's proxy, as far as its credential goes."""

    name: str
    credential: RefreshingCredential
    refresher: Refresher
    store: SharedStore
    engine: MemoryEngine
    tasks: Tasks

    @property
    def generation(self) -> int:
        lent = self.refresher.credential
        return lent.generation if lent else 0

    @property
    def trouble(self) -> str:
        return self.refresher.trouble.detail if self.refresher.trouble else ""

    @property
    def outrun(self) -> int:
        """How many redeems of it another replica's came before."""
        return self.refresher.results["outrun"]

    async def end(self) -> None:
        await self.tasks.drain(1)
        await self.credential.close()


@dataclass
class Fleet:
    """Replicas, the record that they share, and PandaDoc. `replicas` grows in `join`."""

    simulator: Simulator
    session: aiohttp.ClientSession
    clock: TurnedClock = field(default_factory=TurnedClock)
    record: Record = field(default_factory=Record)
    replicas: list[Replica] = field(default_factory=list)
    policy: Policy = field(default_factory=lambda: Policy(alone=False))
    wait: float = 5.0

    def __post_init__(self) -> None:
        self.environ = {
            "ID": self.simulator.client_id,
            "SECRET": self.simulator.client_secret,
            "SEED": self.simulator.issue_refresh_token(),
        }

    def join(self, number: int = 1) -> list[Replica]:
        """Start so many replicas more."""
        joined = [self._replica(f"pod-{len(self.replicas) + index}") for index in range(number)]
        self.replicas += joined
        return joined

    def _replica(self, name: str) -> Replica:
        references = {each: SecretReference.env(each, self.environ) for each in ("ID", "SECRET", "SEED")}
        secrets = GrantSecrets(SecretReader(), references["ID"], references["SECRET"], references["SEED"])
        endpoint = TokenEndpoint(
            self.session,
            URL(self.simulator.url) / "oauth2/access_token",
            clock=self.clock,
            scope=None,
            redeem_timeout=REDEEM_TIMEOUT,
            connect_timeout=5,
            proxy=None,
        )
        tasks = Tasks()

        async def owner() -> str:
            return endpoint.owner(await secrets.client())

        engine = MemoryEngine(self.record, self.clock.monotonic)
        store = SharedStore(
            engine,
            owner,
            who=name,
            clock=self.clock,
            jitter=lambda: 0.0,
            tasks=tasks,
        )
        keeper = GrantKeeper(
            "default", store=store, seed=secrets.seed, clock=self.clock, jitter=lambda: 0.0, tasks=tasks, by=name
        )
        refresher = Refresher(
            "default",
            secrets=secrets,
            endpoint=endpoint,
            keeper=keeper,
            policy=self.policy,
            clock=self.clock,
            jitter=lambda: 0.0,
            tasks=tasks,
        )
        credential = RefreshingCredential(refresher, probe=None, wait=self.wait, clock=self.clock, tasks=tasks)
        return Replica(name, credential, refresher, store, engine, tasks)

    async def look(self) -> None:
        """Have all of them look behind the traffic."""
        await asyncio.gather(*(each.credential.look() for each in self.replicas))

    async def ask(self, replica: Replica) -> int:
        """Send a request through a replica, replayed as the handler would; return the status, 503 for the proxy's."""
        source = replica.credential
        try:
            lent = await source.current()
            status = await self._send(lent)
            if status < 400:
                source.accepted(lent)
            elif isinstance(newer := await source.replacement(lent), Credential):
                status = await self._send(newer)
                source.replayed(newer, refused=status == 401)
        except ProxyError as fault:
            return fault.status
        return status

    async def load(self, each: int = 5) -> set[int]:
        """Send so many requests through every replica at once; return their statuses."""
        return set(await asyncio.gather(*(self.ask(replica) for replica in self.replicas for _ in range(each))))

    async def lends(self) -> None:
        """Send requests until all of them are answered well, however short callers wait."""
        for _ in range(40):
            if await self.load(1) == {200}:
                return
        raise AssertionError("they never lend")

    async def settle(self) -> None:
        """Let the refreshes in flight end."""
        await until(lambda: not any(each.refresher.in_flight for each in self.replicas))

    async def _send(self, credential: Credential) -> int:
        headers = {"Authorization": credential.authorization}
        async with self.session.get(f"{self.simulator.url}/public/v1/members/current", headers=headers) as answer:
            return answer.status

    @property
    def generations(self) -> set[int]:
        return {each.generation for each in self.replicas}

    @property
    def redeems(self) -> list[int]:
        """The statuses of all redeems, in order."""
        return [call.status for call in self.simulator.token_calls()]

    async def kept(self) -> Ledger:
        return await self.join()[0].store.load()

    async def log_in(self) -> None:
        """Store a new consent's pair, as the command does, from another machine."""
        access, refresh = self.simulator.issue_access_token(), Secret(self.simulator.issue_refresh_token())
        now = self.clock.wall()
        grant = Grant(0, Lineage("login", refresh.fingerprint(), now), refresh, Secret(access), now, now + 3600)
        store = self._replica("laptop").store
        await store.update(lambda kept: ledger.consented(kept, grant, now, by="laptop"))
