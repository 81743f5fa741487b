"""A grant that is dead, or may be: what it costs, what is said, and all the ways in which it heals (laws 5 and 6)."""

import asyncio
from pathlib import Path

import pytest
from conftest import HouseMaker
from rig import House, until

from proxy.credential.oauth2 import State
from proxy.simulator import Fault

HOUR = 3600
TOKENS = "/oauth2/access_token"
LOGIN = "Run `pandadoc-proxy login`"


async def dead(oauth_house: HouseMaker, **more: object) -> House:
    """Make a house whose token has expired and whose grant is refused."""
    house = await oauth_house(simulator={"expires_in": HOUR}, **more)
    await house.get()
    house.simulator.revoke_grants()
    house.clock.pass_(HOUR + 1)
    assert (await house.get()).status == 503
    assert house.credential.state is State.DEAD
    return house


async def heals(house: House) -> None:
    """Find that one look, and no request, has healed the grant."""
    house.clock.pass_(3)
    await house.look()
    assert house.credential.state is State.FRESH
    assert (await house.get()).status == 200


# What it costs, and what is said


async def test_a_dead_grant_costs_one_token_call_whatever_comes(oauth_house: HouseMaker) -> None:
    """Requests, looks and hours: the latch is keyed by what was sent, not by time."""
    house = await dead(oauth_house)
    calls = len(house.redeemed())
    for _ in range(10):
        answers = await house.many(50)
        assert {answer.status for answer in answers} == {503}
        house.clock.pass_(HOUR)
        await house.look()
    assert len(house.redeemed()) == calls
    assert len(house.simulator.api_calls()) == 1  # nothing was sent up without a token


async def test_a_dead_grant_that_is_looked_at_has_failed_once(oauth_house: HouseMaker) -> None:
    """Nothing is tried; thousands of failures in a row, a day later, would be no one's."""
    house = await dead(oauth_house)
    failures = house.credential.failures
    for _ in range(20):
        house.clock.pass_(3)
        await house.look()
        assert (await house.get()).status == 503
    assert house.credential.failures == failures == 1


async def test_a_dead_grants_answer_names_the_reason_and_the_command(oauth_house: HouseMaker) -> None:
    """No Retry-After: SDKs would sleep on it for nothing (law 14)."""
    house = await dead(oauth_house)
    seen = await house.get()
    assert seen.json["type"] == "credential_dead"
    assert "refuses the refresh token of credential default (invalid_grant)" in seen.json["detail"]
    assert LOGIN in seen.json["detail"]
    assert "never had its answer stored" not in seen.json["detail"]
    assert "Retry-After" not in seen.headers
    assert seen.headers["Proxy-Status"] == "pandadoc-proxy; error=proxy_configuration_error"


async def test_a_dead_grant_in_memory_is_healed_by_another_refresh_token_and_not_by_a_login(
    oauth_house: HouseMaker,
) -> None:
    house = await dead(oauth_house, store={"memory": True})
    detail = (await house.get()).json["detail"]
    assert LOGIN not in detail
    assert (
        "can't reach a grant in memory: set a new refresh token as credentials.default.oauth2.refresh_token" in detail
    )


async def test_a_good_access_token_is_lent_until_it_expires_though_its_grant_is_dead(oauth_house: HouseMaker) -> None:
    house = await oauth_house(simulator={"expires_in": HOUR})
    await house.get()
    house.simulator.faults.add(Fault(path=TOKENS, status=400))
    for minute in range(60):
        assert (await house.get()).status == 200, minute
        await house.look()
        house.clock.pass_(59.9)
    house.clock.pass_(10)
    seen = await house.get()
    assert seen.status == 503
    assert LOGIN in seen.json["detail"]
    assert len(house.redeemed()) == 2


# How it heals


async def test_a_token_that_pandadoc_has_killed_is_told_by_our_reason_not_by_its_401(oauth_house: HouseMaker) -> None:
    """The redeem whose reply was lost has killed it, a year before its time: an app would never learn why."""
    house = await oauth_house()
    await house.get()
    house.simulator.revoke_access_tokens()
    house.simulator.lose_token_replies()
    assert (await house.get("/public/v1/documents")).headers["Retry-After"]  # nothing is known yet
    house.clock.pass_(2)
    seen = await house.get("/public/v1/documents")
    assert seen.status == 503
    assert "never had its answer stored" in seen.json["detail"]
    assert LOGIN in seen.json["detail"]
    assert "Retry-After" not in seen.headers


async def test_a_token_that_pandadoc_has_killed_is_told_by_our_reason_in_a_cool_down_too(
    oauth_house: HouseMaker,
) -> None:
    house = await oauth_house()
    await house.get()
    house.simulator.faults.add(Fault(path="/public/**", status=401, times=2))
    assert (await house.get()).status == 401  # the cool-down begins
    house.simulator.revoke_access_tokens()
    house.simulator.revoke_grants()
    seen = await house.get()
    assert seen.status == 503
    assert seen.json["type"] == "credential_dead"
    assert LOGIN in seen.json["detail"]


async def test_without_a_probe_a_401_is_relayed_though_the_grant_is_dead_and_the_log_has_the_reason(
    oauth_house: HouseMaker,
) -> None:
    """Nothing shows that the token is dead too."""
    house = await oauth_house(probe=None)
    await house.get()
    house.simulator.revoke_access_tokens()
    house.simulator.revoke_grants()
    assert (await house.get()).status == 401
    assert house.ear.fields[-1]["fault"].startswith("PandaDoc's 401 is relayed: PandaDoc refuses the refresh token")


async def test_what_a_good_token_may_not_do_stays_a_401_though_its_grant_is_dead(oauth_house: HouseMaker) -> None:
    house = await oauth_house()
    await house.get()
    house.simulator.faults.add(Fault(path=TOKENS, status=400, body=b'{"error": "invalid_grant"}'))
    house.simulator.faults.add(Fault(path="/public/v1/forbidden", status=401))
    for _ in range(3):
        assert (await house.get("/public/v1/forbidden")).status == 401
        house.clock.pass_(6)
    assert house.credential.state is State.DEAD
    assert (await house.get()).status == 200


async def test_a_login_heals_a_dead_grant_without_a_redeem(oauth_house: HouseMaker) -> None:
    house = await dead(oauth_house)
    calls = len(house.redeemed())
    await house.log_in()
    await heals(house)
    assert len(house.redeemed()) == calls
    assert house.ear.fields[-1]["generation"] == 2
    house.simulator.revoke_access_tokens()
    assert (await house.get()).status == 200  # the new lineage refreshes itself


@pytest.mark.parametrize("first", [True, False], ids=["a seed's first", "a later one"])
async def test_a_login_that_comes_during_a_redeem_is_kept(oauth_house: HouseMaker, *, first: bool) -> None:
    """The pair of the older lineage comes home later: it must not win over what a person has just agreed to."""
    house = await oauth_house()
    if not first:
        await house.get()
    gate = asyncio.Event()
    house.simulator.faults.add(Fault(path=TOKENS, gate=gate, times=1))
    house.simulator.revoke_access_tokens()
    before = len(house.simulator.token_calls())
    slow = asyncio.create_task(house.get())
    await house.simulator.until(lambda: len(house.simulator.token_calls()) > before)
    consented = await house.log_in()
    gate.set()
    assert (await slow).status == 200
    await house.look()
    assert not house.ear.heard("ERROR")
    await house.restart()
    await house.look()
    kept = await house.store().load()
    assert kept.grant is not None
    assert kept.grant.refresh_token == consented
    assert len(house.simulator.token_calls()) == before + 1


async def test_a_login_is_kept_while_a_seeds_pair_waits_to_be_stored(oauth_house: HouseMaker, tmp_path: Path) -> None:
    """The disk went away in the middle of the redeem; when it is back, a person is faster than we are."""
    folder = tmp_path / "folder"
    house = await oauth_house(store={"file": str(folder / "grant.json")})
    gate = asyncio.Event()
    house.simulator.faults.add(Fault(path=TOKENS, gate=gate, times=1))
    slow = asyncio.create_task(house.get())
    await house.simulator.until(lambda: len(house.simulator.token_calls()) == 1)
    folder.rename(tmp_path / "aside")
    folder.write_text("a file where the store's folder should be")
    gate.set()
    assert (await slow).status == 200
    assert house.ear.heard("CRITICAL", "generation 1 is NOT stored")
    folder.unlink()
    (tmp_path / "aside").rename(folder)
    consented = await house.log_in()
    await until(lambda: house.ear.heard("is stored now"))
    kept = await house.store().load()
    assert kept.grant is not None
    assert kept.grant.refresh_token == consented


async def test_a_dead_seed_beside_a_grant_that_lives_is_no_trouble_of_the_grants(oauth_house: HouseMaker) -> None:
    """It is said once. The credential is well, and its state says so."""
    house = await oauth_house(simulator={"expires_in": HOUR})
    await house.get()
    house.environ = {**house.environ, "REFRESH_TOKEN": "mistyped"}
    await house.restart()
    for _ in range(10):
        await house.look()
        assert (await house.get()).status == 200
        house.clock.pass_(60)
    assert len([line for line in house.ear.lines if line.startswith("ERROR") and "invalid_grant" in line]) == 1
    assert house.credential.state.value == "fresh"
    assert len(house.redeemed()) == 2
    house.clock.pass_(HOUR * 0.8)
    await house.look()
    assert house.credential.state.value == "fresh"
    assert (await house.get()).status == 200
    assert house.ear.fields[-1]["generation"] == 2


async def test_a_new_seed_heals_a_dead_grant(oauth_house: HouseMaker, tmp_path: Path) -> None:
    path = tmp_path / "seed"
    house = await oauth_house(simulator={"expires_in": HOUR}, refresh_token={"file": str(path)})
    path.write_text(house.environ["REFRESH_TOKEN"])
    await house.get()
    house.simulator.revoke_grants()
    house.clock.pass_(HOUR + 1)
    assert "invalid_grant" in (await house.get()).json["detail"]
    path.write_text(house.simulator.issue_refresh_token())
    await heals(house)


async def test_a_new_client_secret_gives_a_dead_grant_another_try(oauth_house: HouseMaker, tmp_path: Path) -> None:
    """The client was replaced at PandaDoc: it refused the old one's grant, and might take it from the new one."""
    path = tmp_path / "secret"
    house = await oauth_house(simulator={"expires_in": HOUR}, client_secret={"file": str(path)})
    path.write_text(house.simulator.client_secret)
    await house.get()
    house.clock.pass_(HOUR + 1)
    path.write_text("rotated-away")
    assert "invalid_client" in (await house.get()).json["detail"]
    path.write_text(house.simulator.client_secret)
    await heals(house)


async def test_a_scope_that_is_corrected_in_a_reload_gives_a_dead_grant_another_try(oauth_house: HouseMaker) -> None:
    """As the message asks. A reload that changes nothing of what is sent asks nobody again."""
    house = await oauth_house(scope="read writ")
    house.simulator.faults.add(Fault(path=TOKENS, status=400, body=b'{"error": "invalid_scope"}'))
    assert "(invalid_scope)" in (await house.get()).json["detail"]
    house.simulator.faults.clear()
    oauth2 = house.settings["credentials"]["default"]["oauth2"]
    for scope, calls in (("read writ", 1), ("read+write", 2), ("read writ", 2)):
        oauth2 |= {"scope": scope, "wait": f"{calls + len(scope)}s"}
        await house.proxy.reload(house.config())
        for _ in range(2):
            house.clock.pass_(3)
            await house.look()
        assert len(house.redeemed()) == calls
    assert house.credential.state is State.FRESH
    assert (await house.get()).status == 200


async def test_what_was_refused_with_the_scope_of_before_a_reload_says_nothing_of_the_new_one(
    oauth_house: HouseMaker,
) -> None:
    house = await oauth_house(scope="read writ")
    gate = asyncio.Event()
    house.simulator.faults.add(Fault(path=TOKENS, status=400, body=b'{"error": "invalid_scope"}', gate=gate, times=1))
    waiting = asyncio.create_task(house.get())
    await house.simulator.until(lambda: len(house.redeemed()) == 1)
    house.settings["credentials"]["default"]["oauth2"]["scope"] = "read+write"
    await house.proxy.reload(house.config())
    gate.set()
    assert (await waiting).status == 200
    assert len(house.redeemed()) == 2


# What is told of it afterwards


MEMBER = "/public/v1/members/current"


async def test_a_refresh_that_failed_for_a_401_is_forgotten_once_pandadoc_takes_the_token_again(
    oauth_house: HouseMaker,
) -> None:
    """Nothing is due for a year; "It is tried again by itself" would be told, and alerted, all that time."""
    house = await oauth_house()
    assert (await house.get()).status == 200
    house.simulator.faults.add(Fault(path=MEMBER, status=401, body=b"{}"))
    house.simulator.faults.add(Fault(path=TOKENS, status=429, body=b"{}"))
    for _ in range(3):
        assert (await house.get()).status == 503
        await house.settle()
        house.clock.pass_(40)
    house.simulator.faults.clear()
    house.clock.pass_(HOUR)
    await house.look()
    assert house.credential.status().health == "failing"  # nobody knows that the token is any good
    assert house.credential.failures == 3
    assert (await house.get()).status == 200
    await house.look()
    assert house.credential.status().health == "healthy"
    assert house.credential.failures == 0
    assert len(house.redeemed()) == 4


async def test_a_token_that_is_taken_here_and_refused_there_does_not_end_the_backoff(oauth_house: HouseMaker) -> None:
    """Each success would have the endpoint asked again within a second."""
    house = await oauth_house()
    assert (await house.get()).status == 200
    house.simulator.faults.add(Fault(path="/public/v1/documents", status=401, body=b"{}"))
    house.simulator.faults.add(Fault(path=TOKENS, status=429, body=b"{}"))
    for _ in range(120):
        await house.get("/public/v1/documents")
        assert (await house.get()).status == 200
        await house.look()
        house.clock.pass_(1)
    assert house.credential.status().health == "failing"
    assert len(house.redeemed()) <= 12


async def test_a_clients_secret_that_was_mistyped_and_mended_leaves_no_failures_behind(
    oauth_house: HouseMaker, tmp_path: Path
) -> None:
    house = await oauth_house()
    house.settings["credentials"]["default"]["oauth2"]["client_secret"] = {"file": str(tmp_path / "secret")}
    (tmp_path / "secret").write_text(house.simulator.client_secret)
    await house.restart()
    assert (await house.get()).status == 200
    (tmp_path / "secret").write_text("mistyped")
    house.simulator.faults.add(Fault(path=MEMBER, status=401, body=b"{}"))
    assert (await house.get()).status == 503
    await house.look()
    assert house.credential.status().health == "dead"
    assert house.credential.failures
    (tmp_path / "secret").write_text(house.simulator.client_secret)
    house.simulator.faults.clear()
    house.clock.pass_(3)
    await house.look()
    assert house.credential.status().health == "healthy"
    assert house.credential.failures == 0


async def test_a_dead_grant_stays_told_while_its_access_token_is_still_taken(oauth_house: HouseMaker) -> None:
    house = await oauth_house()
    assert (await house.get()).status == 200
    house.simulator.revoke_grants()
    house.simulator.faults.add(Fault(path=MEMBER, status=401, body=b"{}", times=1))
    await house.get()
    await house.settle()
    for _ in range(3):
        house.clock.pass_(HOUR)
        await house.get()
        await house.look()
        assert house.credential.status().health == "dead"
        assert house.credential.failures
