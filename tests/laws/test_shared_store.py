"""Several proxies on one store, and a lease that another process holds (laws 1 and 2).

They share a folder and a grant, as replicas do; each has tasks, locks and a disk of its own.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from conftest import HouseMaker
from rig import House, until

from proxy.app import Proxy
from proxy.credential.oauth2 import RefreshingCredential, State
from proxy.credential.store import Release

HOUR = 3600
ME = "/public/v1/members/current"


@asynccontextmanager
async def fleet(house: House, size: int) -> AsyncIterator[list[Proxy]]:
    """Run `size` proxies on the house's store, its own among them."""
    async with AsyncExitStack() as stack:
        proxies = [house.proxy]
        for _ in range(size - 1):
            proxy = Proxy(house.config(), state_home=house.folder / "state", clock=house.clock, watch=False)
            await proxy.start()
            stack.push_async_callback(proxy.drain)
            proxies.append(proxy)
        yield proxies


def credential(proxy: Proxy) -> RefreshingCredential:
    assert proxy._snapshot is not None  # noqa: SLF001 - nothing else shows what a credential knows
    source = proxy._snapshot.sources["default"]  # noqa: SLF001 - the same
    assert isinstance(source, RefreshingCredential)
    return source


def generations(proxies: list[Proxy]) -> set[int]:
    """Return which generations they lend."""
    lent = [credential(proxy)._refresher.credential for proxy in proxies]  # noqa: SLF001 - the same
    return {each.generation if each else 0 for each in lent}


async def load(house: House, proxies: list[Proxy], each: int = 50) -> set[int]:
    """Have every proxy asked at once; return the statuses."""

    async def one(proxy: Proxy) -> int:
        async with house.client.get(proxy.urls[0] + ME) as answer:
            return answer.status

    return set(await asyncio.gather(*(one(proxy) for proxy in proxies for _ in range(each))))


@pytest.mark.parametrize("size", [2, 8])
async def test_proxies_that_share_a_store_start_with_one_redeem(oauth_house: HouseMaker, size: int) -> None:
    house = await oauth_house()
    async with fleet(house, size) as proxies:
        assert await load(house, proxies) == {200}
        assert len(house.simulator.token_calls()) == 1
        assert generations(proxies) == {1}


@pytest.mark.parametrize("size", [2, 8])
async def test_a_token_that_expires_under_load_costs_one_redeem_in_all(oauth_house: HouseMaker, size: int) -> None:
    house = await oauth_house(simulator={"expires_in": HOUR})
    async with fleet(house, size) as proxies:
        assert await load(house, proxies) == {200}
        for generation in (2, 3, 4):
            house.clock.pass_(HOUR + 1)
            assert await load(house, proxies) == {200}
            assert len(house.simulator.token_calls()) == generation
            assert generations(proxies) == {generation}


@pytest.mark.parametrize("size", [2, 8])
async def test_a_token_that_is_revoked_under_load_costs_one_redeem_in_all(oauth_house: HouseMaker, size: int) -> None:
    """Each proxy meets its 401s by itself, and finds what another has stored."""
    house = await oauth_house()
    async with fleet(house, size) as proxies:
        assert await load(house, proxies) == {200}
        for generation in (2, 3, 4):
            house.simulator.revoke_access_tokens()
            assert await load(house, proxies) == {200}
            assert len(house.simulator.token_calls()) == generation
            assert generations(proxies) == {generation}


@pytest.mark.parametrize("size", [2, 8])
async def test_a_token_that_becomes_stale_costs_idle_proxies_one_redeem_in_all(
    oauth_house: HouseMaker, size: int
) -> None:
    house = await oauth_house(simulator={"expires_in": HOUR})
    async with fleet(house, size) as proxies:
        assert await load(house, proxies) == {200}
        house.clock.pass_(HOUR * 0.95)
        await asyncio.gather(*(proxy.look() for proxy in proxies))
        await until(lambda: generations(proxies) == {2})
        assert len(house.simulator.token_calls()) == 2
        assert await load(house, proxies) == {200}


async def test_a_grant_that_is_refused_to_one_is_refused_to_all(oauth_house: HouseMaker) -> None:
    """Nobody redeems for the others, so each has to hear it once."""
    house = await oauth_house(simulator={"expires_in": HOUR})
    async with fleet(house, 4) as proxies:
        assert await load(house, proxies) == {200}
        house.simulator.revoke_grants()
        house.clock.pass_(HOUR + 1)
        assert await load(house, proxies) == {503}
        house.clock.pass_(HOUR)
        assert await load(house, proxies) == {503}
        assert len(house.simulator.token_calls()) <= 5
        assert {credential(proxy).state for proxy in proxies} == {State.DEAD}


# A lease that another process holds


async def held(house: House) -> Release:
    """Take the lease as another process does, as soon as the proxy's last refresh has given it back."""
    store = house.store()
    while (lease := await store.lease(60)) is None:
        pass
    return lease


async def test_while_another_process_has_the_lease_it_is_waited_for(oauth_house: HouseMaker) -> None:
    """A good token is lent meanwhile; then the wait is over, and what the other has stored is taken."""
    house = await oauth_house(simulator={"expires_in": HOUR})
    await house.get()
    lease = await held(house)
    house.clock.pass_(HOUR * 0.95)
    assert {answer.status for answer in await house.many(20)} == {200}
    await house.proxy.look()
    assert house.refresher.in_flight is not None
    assert len(house.simulator.token_calls()) == 1
    lease()
    await house.settle()
    assert len(house.simulator.token_calls()) == 2


async def test_a_lease_that_is_never_given_back_is_waited_for_as_long_as_a_redeem_may_take(
    oauth_house: HouseMaker,
) -> None:
    """Its holder is stopped, not dead: the kernel would have freed it."""
    house = await oauth_house(simulator={"expires_in": HOUR}, redeem_timeout="60s", wait="50ms")
    await house.get()
    lease = await held(house)
    house.clock.pass_(HOUR + 1)
    seen = await house.get()
    assert seen.status == 503
    assert "is being refreshed" in seen.json["detail"]
    house.clock.pass_(69)
    assert (await house.get()).status == 503
    assert len(house.simulator.token_calls()) == 1
    house.clock.pass_(2)
    await house.settle()
    assert (await house.get()).status == 200
    assert house.ear.heard("WARNING", "holds the refresh for too long; going on")
    lease()


async def test_a_file_with_a_login_from_elsewhere_is_taken_over_and_not_written_over(
    oauth_house: HouseMaker, tmp_path: Path
) -> None:
    """Somebody has logged in on his laptop and copied the file over the server's."""
    house = await oauth_house()
    await house.get()
    house.settings["credentials"]["default"]["oauth2"]["store"] = {"file": str(tmp_path / "laptop.json")}
    consented = await house.log_in()
    (tmp_path / "laptop.json").replace(tmp_path / "grant.json")
    await house.look()
    house.settings["credentials"]["default"]["oauth2"]["store"] = {"file": str(tmp_path / "grant.json")}
    kept = (await house.store().load()).grant
    assert kept is not None
    assert kept.refresh_token == consented
    assert (await house.get()).status == 200
    assert house.ear.fields[-1]["generation"] == 2
