"""A disk that hangs: no request waits for it, no grant is lost to it (laws 1 and 4).

The credential is the proxy's own, but for its disk: here that has less patience, and hangs when it is told to.
"""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import pytest
from conftest import HouseMaker
from rig import House, until

from proxy.compose_credentials import CredentialParts, place
from proxy.config import Config, OAuth2Credential
from proxy.credential.file_store import FileStore
from proxy.credential.oauth2 import RefreshingCredential, State
from proxy.credential.store import Store
from proxy.disk import Disk
from proxy.errors import OperatorError
from proxy.tasks import Tasks

HOUR = 3600
PATIENCE = 0.5


class PartsOn(CredentialParts, frozen=True, kw_only=True):
    """The proxy's parts, on a store that a test has made."""

    kept: Store

    def store(self, credential: OAuth2Credential) -> Store:
        del credential
        return self.kept


@dataclass(frozen=True)
class Hanging:
    """A credential, and the gate at which its disk waits until it is set."""

    credential: RefreshingCredential
    disk: Disk
    gate: threading.Event

    def hang(self) -> None:
        self.disk.soon(self.gate.wait)


@asynccontextmanager
async def on_a_disk_that_hangs(house: House) -> AsyncIterator[Hanging]:
    """Make the house's credential anew."""
    config, tasks, disk, gate = house.config(), Tasks(), Disk(PATIENCE), threading.Event()
    oauth2 = _oauth2(config)
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        parts = PartsOn(
            config=config,
            state_home=house.folder,
            clock=house.clock,
            tasks=tasks,
            session=session,
            kept=FileStore(lambda: place(oauth2, house.folder), disk=disk),
        )
        credential = parts.source("default")
        assert isinstance(credential, RefreshingCredential)
        try:
            yield Hanging(credential, disk, gate)
        finally:
            gate.set()
            await tasks.drain(5)


def _oauth2(config: Config) -> OAuth2Credential:
    oauth2 = config.credentials["default"]
    assert isinstance(oauth2, OAuth2Credential)
    return oauth2


async def test_a_good_token_is_lent_at_once_though_the_disk_hangs(oauth_house: HouseMaker) -> None:
    """Neither a refresh behind the traffic nor a look makes anybody wait, and nothing is redeemed."""
    house = await oauth_house(simulator={"expires_in": HOUR})
    async with on_a_disk_that_hangs(house) as ours:
        await ours.credential.current()
        ours.hang()
        house.clock.pass_(HOUR * 0.95)
        looking = asyncio.create_task(ours.credential.look())
        for _ in range(50):
            lent = asyncio.create_task(ours.credential.current())
            await asyncio.sleep(0)
            assert lent.done()
            assert lent.result().generation == 1
        await looking
        await until(lambda: house.ear.heard("ERROR", f"no answer within {PATIENCE:g} s (does the disk hang?)"))
        assert ours.credential.state is State.DEAD
        assert len(house.simulator.token_calls()) == 1


async def test_with_a_hung_disk_an_expired_token_is_renewed_in_memory_and_stored_when_it_is_well(
    oauth_house: HouseMaker,
) -> None:
    house = await oauth_house(simulator={"expires_in": HOUR})
    async with on_a_disk_that_hangs(house) as ours:
        await ours.credential.current()
        ours.hang()
        house.clock.pass_(HOUR + 1)
        assert (await ours.credential.current()).generation == 2
        assert ours.credential.state is State.FRESH
        assert house.ear.heard("CRITICAL", "generation 2 is NOT stored", "does the disk hang?")
        ours.gate.set()
        await until(lambda: house.ear.heard("generation 2 is stored now"))
    ledger = await house.store().load()
    assert ledger.generation == 2
    assert ledger.intent is None
    assert (await house.get()).status == 200
    assert len(house.simulator.token_calls()) == 2


@pytest.mark.parametrize("seed_life", [None, HOUR], ids=["alone", "with an access token"])
async def test_a_disk_that_hangs_at_the_start_costs_no_seed(oauth_house: HouseMaker, seed_life: int | None) -> None:
    """The store may have a newer grant; and a refresh token that was never redeemed keeps."""
    house = await oauth_house(seed_life=seed_life)
    async with on_a_disk_that_hangs(house) as ours:
        ours.hang()
        with pytest.raises(OperatorError, match="does the disk hang"):
            await ours.credential.current()
        assert not house.simulator.token_calls()
        ours.gate.set()
        house.clock.pass_(3)
        assert (await ours.credential.current()).generation == 1
    assert (await house.store().load()).generation == 1
    assert len(house.simulator.token_calls()) == (0 if seed_life else 1)
