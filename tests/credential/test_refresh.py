"""The one refresh, with a store that the test holds open: what happens in which order."""

import asyncio
from dataclasses import dataclass, field

import aiohttp
import pytest
from rig import TurnedClock
from yarl import URL

from proxy.credential.credential import Credential
from proxy.credential.grant_keeper import GrantKeeper
from proxy.credential.oauth2 import RefreshingCredential
from proxy.credential.probe import Probed
from proxy.credential.refresh import GrantSecrets, Refresher
from proxy.credential.store import Grant, StoreError
from proxy.credential.token_endpoint import TokenEndpoint
from proxy.secrets import SecretReference
from proxy.simulator import Simulator
from proxy.tasks import Tasks


@dataclass
class GatedStore:
    """A store whose saves wait for a gate, and fail as often as they are told to."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    saving: asyncio.Event = field(default_factory=asyncio.Event)
    failures: int = 0
    kept: Grant | None = None

    def stored(self) -> bool:
        return self.kept is not None

    async def load(self) -> Grant | None:
        return self.kept

    async def save(self, grant: Grant) -> None:
        self.saving.set()
        await self.gate.wait()
        if self.failures:
            self.failures -= 1
            raise StoreError("The disk is full.")
        self.kept = grant

    async def prove_writable(self) -> None:
        return


def refresher(simulator: Simulator, session: aiohttp.ClientSession, store: GatedStore, tasks: Tasks) -> Refresher:
    environ = {"ID": simulator.client_id, "SECRET": simulator.client_secret, "SEED": simulator.issue_refresh_token()}
    clock = TurnedClock()
    secrets = GrantSecrets(*(SecretReference.env(name, environ) for name in ("ID", "SECRET", "SEED")))
    keeper = GrantKeeper("default", store=store, seed=secrets.seed, jitter=lambda: 0.0, tasks=tasks)
    return Refresher(
        "default",
        secrets=secrets,
        endpoint=TokenEndpoint(
            session,
            URL(simulator.url) / "oauth2/access_token",
            clock=clock,
            scope=None,
            redeem_timeout=5,
            connect_timeout=5,
            proxy=None,
        ),
        keeper=keeper,
        refresh_before=None,
        clock=clock,
        jitter=lambda: 0.0,
        tasks=tasks,
    )


def lent(ours: Refresher) -> str | None:
    return ours.credential.authorization if ours.credential else None


async def test_the_pair_is_stored_before_its_access_token_is_lent() -> None:
    """A crash between the two must not leave an app with a token whose successor nobody has (law 4)."""
    store, tasks = GatedStore(), Tasks()
    async with Simulator() as simulator, aiohttp.ClientSession() as session:
        ours = refresher(simulator, session, store, tasks)
        refresh = ours.start(because="the test wants it")
        assert refresh is not None
        await store.saving.wait()
        assert lent(ours) is None
        assert not refresh.done()
        store.gate.set()
        await refresh
        assert store.kept is not None
        assert store.kept.access_token is not None
        assert lent(ours) == f"Bearer {store.kept.access_token.reveal()}"
        await tasks.drain(1)


async def test_a_pair_that_could_not_be_stored_is_lent_and_stored_later(caplog: pytest.LogCaptureFixture) -> None:
    store, tasks = GatedStore(failures=2), Tasks()
    store.gate.set()
    async with Simulator() as simulator, aiohttp.ClientSession() as session:
        ours = refresher(simulator, session, store, tasks)
        refresh = ours.start(because="the test wants it")
        assert refresh is not None
        await refresh
        assert lent(ours) is not None
        assert not store.stored()
        async with asyncio.timeout(10):
            while not store.stored():  # noqa: ASYNC110 - the store has no word for it
                await asyncio.sleep(0.01)
        await tasks.drain(1)
    assert "generation 1 is NOT stored" in caplog.text
    assert "still not stored" in caplog.text


async def test_a_probes_result_is_never_taken_for_another_generations() -> None:
    """A revoked token's REFUSED must not condemn its fresh successor (law 3)."""
    gate, asked = asyncio.Event(), list[int]()

    async def probe(credential: Credential) -> Probed:
        asked.append(credential.generation)
        if credential.generation == 1:
            await gate.wait()
        return Probed.REFUSED if credential.generation == 1 else Probed.ACCEPTED

    tasks = Tasks()
    async with Simulator() as simulator, aiohttp.ClientSession() as session:
        ours = refresher(simulator, session, GatedStore(), tasks)
        lent = RefreshingCredential(ours, probe=probe, wait=5, clock=TurnedClock(), tasks=tasks)
        ask = lent._ask  # noqa: SLF001 - the law is about this very step
        old, new = (asyncio.create_task(ask(probe, Credential("Bearer x", generation))) for generation in (1, 2))
        await asyncio.sleep(0)
        gate.set()
        assert await old is Probed.REFUSED
        assert await new is Probed.ACCEPTED
        assert asked == [1, 2]
        await tasks.drain(1)
