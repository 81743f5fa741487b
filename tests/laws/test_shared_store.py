"""Several proxies on one store, and a store that is broken, held or hung (laws 1, 2 and 4).

They share a folder and a grant, as replicas do; each has tasks, locks and a disk of its own.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from conftest import HouseMaker
from rig import House, until

from proxy.app import Proxy
from proxy.credential.oauth2 import RefreshingCredential, State

HOUR = 3600
TOKENS = "/oauth2/access_token"
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
    source = proxy._snapshot.sources[0]  # noqa: SLF001 - the same
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


async def test_while_another_process_has_the_lease_it_is_waited_for(oauth_house: HouseMaker) -> None:
    """A good token is lent meanwhile; then the wait is over, and what the other has stored is taken."""
    house = await oauth_house(simulator={"expires_in": HOUR})
    await house.get()
    lease = await house.store().lease()
    assert lease is not None
    house.clock.pass_(HOUR * 0.95)
    assert {answer.status for answer in await house.many(20)} == {200}
    await house.proxy.look()
    assert house.refresher.in_flight is not None
    assert len(house.simulator.token_calls()) == 1
    lease.release()
    await house.settle()
    assert len(house.simulator.token_calls()) == 2


async def test_a_lease_that_is_never_given_back_is_waited_for_as_long_as_a_redeem_may_take(
    oauth_house: HouseMaker,
) -> None:
    """Its holder is stopped, not dead: the kernel would have freed it."""
    house = await oauth_house(simulator={"expires_in": HOUR}, redeem_timeout="60s", wait="50ms")
    await house.get()
    lease = await house.store().lease()
    assert lease is not None
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
    lease.release()


# A store that is broken


def linked(path: Path) -> None:
    path.rename(path.with_name("g" * 250))
    path.symlink_to("g" * 250)


def corrupt(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def foreign(path: Path) -> None:
    path.write_text('{"format": "another program", "version": 1}')


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def from_the_future(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"version": 1', b'"version": 2'))


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "a symbolic link": (linked, "It is a symbolic link: name the file itself"),
    "corrupt": (corrupt, "is not a grant of pandadoc-proxy, or was damaged; it is left as it is"),
    "a directory": (directory, "Name a file in that folder"),
    "another program's": (foreign, "is not a grant of pandadoc-proxy; it is left as it is"),
    "empty": (emptied, "is empty; it is left as it is"),
    "a later version's": (from_the_future, "was written in format 2, and this version of pandadoc-proxy reads 1"),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_store_costs_no_token_and_no_answer(oauth_house: HouseMaker, tmp_path: Path, name: str) -> None:
    """While the token is good nothing is redeemed; afterwards into memory, and stored as soon as that goes."""
    broken, phrase = BROKEN[name]
    house = await oauth_house(simulator={"expires_in": HOUR})
    await house.get()
    path = tmp_path / "grant.json"
    broken(path)
    await house.look()
    assert house.ear.heard("WARNING", phrase)
    house.clock.pass_(HOUR * 0.95)
    for _ in range(3):
        assert {answer.status for answer in await house.many(20)} == {200}
        await house.look()
        house.clock.pass_(3)
    assert len(house.simulator.token_calls()) == 1
    assert house.refresher.results["store_unavailable"]
    assert house.credential.state is State.DEAD
    house.clock.pass_(HOUR)
    assert (await house.get()).status == 200
    assert house.ear.heard("CRITICAL", "generation 2 is NOT stored", phrase)
    house.clock.pass_(HOUR)
    assert (await house.get()).status == 200
    assert len(house.simulator.token_calls()) == 3
    path.rename(tmp_path / "moved away")
    await until(path.is_file)
    await house.restart()
    assert (await house.get()).status == 200
    assert len(house.simulator.token_calls()) == 3
    assert house.ear.fields[-1]["generation"] == 3


async def test_a_start_on_a_broken_store_redeems_nothing_and_says_so(oauth_house: HouseMaker, tmp_path: Path) -> None:
    """It may hold a newer grant than the seed, which may be spent."""
    house = await oauth_house()
    (tmp_path / "grant.json").write_text("damaged")
    seen = await house.get()
    assert seen.status == 503
    assert "is not a grant of pandadoc-proxy, or was damaged" in seen.json["detail"]
    assert "Restore a copy of it, or move it away" in seen.json["detail"]
    assert "Retry-After" not in seen.headers
    assert not house.simulator.token_calls()
    (tmp_path / "grant.json").unlink()
    house.clock.pass_(3)
    await house.look()
    assert (await house.get()).status == 200
