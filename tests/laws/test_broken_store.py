"""A store that is broken, lost or somebody else's: no token is lost to it, and its message says what to do (law 4)."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import HouseMaker
from rig import until

from proxy.credential.oauth2 import State
from proxy.simulator import Fault

HOUR = 3600


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


@pytest.mark.parametrize("copy", [None, "older"])
async def test_a_store_that_loses_the_grant_gets_it_back_from_memory(
    oauth_house: HouseMaker, tmp_path: Path, copy: str | None
) -> None:
    """A volume that was emptied, or restored from last night's backup: the next refresh may be a year away."""
    house = await oauth_house()
    await house.get()
    path = tmp_path / "grant.json"
    backup = path.read_bytes()
    house.simulator.revoke_access_tokens()
    await house.get()
    newest = await house.store().load()
    if copy:
        path.write_bytes(backup)
    else:
        path.unlink()
    await house.look()
    assert house.ear.heard("ERROR", "the store has lost generation 2")
    assert (await house.store().load()).grant == newest.grant
    await house.restart()
    assert (await house.get()).status == 200
    assert len(house.simulator.token_calls()) == 2


async def test_a_corrupt_store_that_is_moved_away_gets_the_grant_from_memory(
    oauth_house: HouseMaker, tmp_path: Path
) -> None:
    """Its message promises that."""
    house = await oauth_house()
    await house.get()
    (tmp_path / "grant.json").write_text("damaged")
    await house.look()
    assert house.ear.heard("a proxy that is lending has the newest grant in memory and writes it again")
    (tmp_path / "grant.json").rename(tmp_path / "moved away")
    await house.look()
    await house.restart()
    assert (await house.get()).status == 200
    assert len(house.simulator.token_calls()) == 1


@pytest.mark.parametrize("removed", [False, True])
async def test_a_store_that_fails_for_a_moment_while_the_proxy_ends_costs_no_grant(
    oauth_house: HouseMaker, tmp_path: Path, *, removed: bool
) -> None:
    """SIGTERM comes in a redeem, and its answer when the disk is full: the drain has time for more than one try.

    Also where nobody lends the grant any more: a reload has put an API key in its place.
    """
    house = await oauth_house(simulator={"expires_in": HOUR})
    await house.get()
    answered = asyncio.Event()
    house.simulator.faults.add(Fault(path="/oauth2/access_token", gate=answered, times=1))
    house.clock.pass_(HOUR * 0.97)
    await house.proxy.look()
    await until(lambda: len(house.redeemed()) == 2)
    if removed:
        lending = house.settings
        house.environ = {**house.environ, "API_KEY": house.simulator.issue_api_key()}
        house.settings = {**lending, "credentials": {"default": {"api_key": "${API_KEY}"}}}
        await house.proxy.reload(house.config())
        house.settings = lending
    draining = asyncio.create_task(house.proxy.drain())
    await until(lambda: house.ear.heard("draining"))
    slot = tmp_path / ".grant.json.new"
    slot.unlink()
    slot.mkdir()
    answered.set()
    await until(lambda: house.ear.heard("generation 2 is still not stored"))
    slot.rmdir()
    await draining
    assert house.ear.heard("generation 2 is stored now")
    await house.open()
    assert (await house.get()).status == 200
    assert len(house.redeemed()) == 2
