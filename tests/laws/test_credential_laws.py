"""The laws of the credential, each by its sentence, through the whole proxy and a real simulator."""

import asyncio
import io
import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import HouseMaker
from rig import until

from proxy.credential import backoff, grant_keeper
from proxy.credential.advice import moment
from proxy.simulator import Fault

ME = "/public/v1/members/current"
EVERYTHING = "/public/**"


async def test_the_very_first_request_costs_one_refresh_and_a_wait(oauth_house: HouseMaker) -> None:
    """Nothing is stored and nothing was asked for before: a cold start must just work."""
    house = await oauth_house()
    assert (await house.get()).status == 200
    assert len(house.simulator.token_calls()) == 1


# Law 1


@pytest.mark.parametrize("stored", [True, False], ids=["in a file", "in memory"])
async def test_a_thousand_requests_at_the_moment_of_expiry_cost_one_refresh(
    oauth_house: HouseMaker, tmp_path: Path, *, stored: bool
) -> None:
    """At most one refresh is in flight per credential, whatever the number of callers, and without a lease too."""
    store = {"file": str(tmp_path / "grant.json")} if stored else {"memory": True}
    house = await oauth_house(simulator={"expires_in": 3600}, store=store)
    await house.get()
    house.clock.pass_(3601)
    seen = await house.many(1000)
    assert [answer.status for answer in seen] == [200] * 1000
    assert len(house.simulator.token_calls()) == 2


async def test_the_first_caller_hanging_up_during_the_refresh_changes_nothing_for_the_others(
    oauth_house: HouseMaker,
) -> None:
    """The refresh is its own task, shielded from whoever asked first."""
    house = await oauth_house()
    gate = asyncio.Event()
    house.simulator.faults.add(Fault(path="/oauth2/access_token", gate=gate, times=1))
    first = asyncio.create_task(house.get())
    await house.simulator.until(lambda: len(house.simulator.token_calls()) == 1)
    others = asyncio.create_task(house.many(20))
    first.cancel()
    await until(lambda: any(fields["status"] == 499 for fields in house.ear.fields))
    gate.set()
    assert [answer.status for answer in await others] == [200] * 20
    assert len(house.simulator.token_calls()) == 1


async def test_callers_wait_as_long_as_they_were_told_and_the_redeem_goes_on(oauth_house: HouseMaker) -> None:
    """A sent redeem that is cut off is a lost grant; a caller that waits for ever is a hung app."""
    house = await oauth_house(wait="50ms")
    gate = asyncio.Event()
    house.simulator.faults.add(Fault(path="/oauth2/access_token", gate=gate, times=1))
    seen = await house.get()
    assert seen.status == 503
    assert seen.headers["Retry-After"] == "1"
    assert seen.headers["Proxy-Status"].startswith("pandadoc-proxy; error=")
    gate.set()
    await until(lambda: house.ear.heard("refreshed because"))
    assert (await house.get()).status == 200
    assert len(house.simulator.token_calls()) == 1


NO_ENDPOINT = pytest.mark.parametrize("fault", [{"status": 503}, {"hang": True}], ids=["failing", "hanging"])
"""What a token endpoint may do while nothing else helps."""


@NO_ENDPOINT
async def test_a_caller_whose_401_asked_for_a_refresh_that_fails_or_outlasts_wait_gets_503(
    oauth_house: HouseMaker, fault: Mapping[str, Any]
) -> None:
    """Of a 401 an app would believe that it has lost its access; it may come again, and is served once that is over."""
    house = await oauth_house(seed_life=3600, wait="300ms")
    await house.look()  # storing the seed may take longer
    await house.get()
    house.simulator.revoke_access_tokens()
    house.simulator.faults.add(Fault(path="/oauth2/access_token", **fault))
    for _ in range(3):
        seen = await house.get()
        assert seen.status == 503
        assert seen.json["type"] == "credential_unavailable"
        assert 1 <= int(seen.headers["Retry-After"]) <= 10
        assert "refreshed" in house.ear.fields[-1]["fault"]
    assert bool(house.refresher.in_flight) == fault.get("hang", False)  # the redeem itself goes on
    assert len(house.simulator.token_calls()) == 1


async def test_a_caller_whose_401_met_a_slow_refresh_is_served_when_it_comes_again(oauth_house: HouseMaker) -> None:
    house = await oauth_house(seed_life=3600, wait="50ms")
    await house.look()  # storing the seed may take longer
    assert (await house.get()).status == 200
    gate = asyncio.Event()
    house.simulator.faults.add(Fault(path="/oauth2/access_token", gate=gate, times=1))
    house.simulator.revoke_access_tokens()
    assert (await house.get()).status == 503
    gate.set()
    await house.settle()
    assert (await house.get()).status == 200
    assert len(house.simulator.token_calls()) == 1


@NO_ENDPOINT
async def test_what_a_good_token_may_not_do_stays_a_401_though_no_refresh_comes_of_it(
    oauth_house: HouseMaker, fault: Mapping[str, Any]
) -> None:
    """A probe shows that the token is good, where there is time to ask: PandaDoc's 401 is its last word."""
    house = await oauth_house(seed_life=3600, wait="1s")
    await house.look()
    await house.get()
    house.simulator.faults.add(Fault(path="/public/v1/forbidden", status=401))
    house.simulator.faults.add(Fault(path="/oauth2/access_token", **fault))
    assert (await house.get("/public/v1/forbidden")).status == (503 if "hang" in fault else 401)
    assert ("a probe shows that the token is good" in house.ear.fields[-1]["fault"]) == ("hang" not in fault)


@NO_ENDPOINT
async def test_in_a_cool_down_a_401_is_relayed_whatever_the_token_endpoint_does(
    oauth_house: HouseMaker, fault: Mapping[str, Any]
) -> None:
    house = await oauth_house({"replay": {"max_body": "1KiB"}}, seed_life=3600, wait="1s")
    await house.look()
    house.simulator.faults.add(Fault(path=EVERYTHING, status=401, times=2))
    assert (await house.get()).status == 401
    assert house.ear.fields[-1]["fault"] == "PandaDoc's 401 is relayed: a newer credential was refused too"
    house.simulator.revoke_access_tokens()
    house.simulator.faults.add(Fault(path="/oauth2/access_token", **fault))
    assert (await house.get()).status == 401
    assert "cool-down" in house.ear.fields[-1]["fault"]
    assert (await house.ask("POST", "/public/v1/nowhere", data=io.BytesIO(b"x" * 100_000))).status == 401
    assert "was not kept" in house.ear.fields[-1]["fault"]


# Law 2


async def test_a_401_for_a_generation_that_was_replaced_meanwhile_is_replayed_without_a_refresh(
    oauth_house: HouseMaker,
) -> None:
    """A late 401 never throws a newer token away."""
    house = await oauth_house()
    await house.get()
    gate = asyncio.Event()
    house.simulator.faults.add(Fault(path="/public/v1/slow", gate=gate, times=1))
    late = asyncio.create_task(house.get("/public/v1/slow"))  # judged with generation 1, after it is dead
    await house.simulator.until(lambda: house.simulator.api_calls()[-1].target == "/public/v1/slow")
    house.simulator.revoke_access_tokens()
    assert (await house.get()).status == 200  # heals: generation 2
    assert len(house.simulator.token_calls()) == 2
    gate.set()
    assert (await late).status == 404  # the slow path does not exist; its replay was let in
    assert len(house.simulator.token_calls()) == 2
    assert [call.status for call in house.simulator.api_calls() if call.target.endswith("slow")] == [401, 404]


async def test_generations_never_go_back_across_restarts(oauth_house: HouseMaker) -> None:
    house = await oauth_house()
    for _ in range(3):
        house.simulator.revoke_access_tokens()
        await house.get()
    generation = house.ear.fields[-1]["generation"]
    assert generation >= 3
    await house.restart()
    await house.get()
    assert house.ear.fields[-1]["generation"] == generation
    house.simulator.revoke_access_tokens()
    await house.get()
    assert house.ear.fields[-1]["generation"] == generation + 1


# Law 3


async def test_the_very_first_token_refused_is_replaced_at_once_and_the_request_replayed(
    oauth_house: HouseMaker,
) -> None:
    """However young the token: nobody may be told to come back in thirty seconds."""
    house = await oauth_house()
    house.simulator.faults.add(Fault(path=EVERYTHING, status=401, times=1))
    assert (await house.get()).status == 200
    assert len(house.simulator.token_calls()) == 2
    assert [call.status for call in house.simulator.api_calls()] == [401, 200]


async def test_a_revocation_under_200_requests_in_flight_costs_one_refresh(oauth_house: HouseMaker) -> None:
    """Each request takes at most two attempts, all end well, and a replay is the same bytes (law 11)."""
    house = await oauth_house()
    await house.get()
    house.simulator.revoke_access_tokens()
    bodies = [b"%d " % number * 2000 for number in range(200)]
    answers = await asyncio.gather(*(house.ask("POST", f"/public/v1/echo/{n}", data=b) for n, b in enumerate(bodies)))
    assert {answer.status for answer in answers} == {404}  # let in; there is no such operation
    assert len(house.simulator.token_calls()) == 2
    for number, body in enumerate(bodies):
        sent = [call for call in house.simulator.api_calls() if call.target == f"/public/v1/echo/{number}"]
        assert len(sent) <= 2
        assert {call.body for call in sent} == {body}
        assert sent[-1].status == 404


async def test_an_upstream_that_says_401_to_everything_costs_three_refreshes_at_most(oauth_house: HouseMaker) -> None:
    """A 401 storm must not become a refresh storm, and every 401 is the upstream's (law 14)."""
    house = await oauth_house()
    house.simulator.faults.add(Fault(path=EVERYTHING, status=401))
    for _ in range(10):
        seen = await house.many(100)
        assert {answer.status for answer in seen} == {401}
        assert not any("Proxy-Status" in answer.headers for answer in seen)
    assert len(house.simulator.token_calls()) <= 3


async def test_once_a_refresh_in_a_cool_down_has_not_helped_nothing_is_asked_until_it_ends(
    oauth_house: HouseMaker,
) -> None:
    """Neither the token endpoint nor, by probes, PandaDoc: a 401 is relayed at once."""
    house = await oauth_house()
    house.simulator.faults.add(Fault(path=EVERYTHING, status=401))
    for _ in range(2):
        assert (await house.get("/public/v1/documents")).status == 401
    tokens = len(house.simulator.token_calls())
    probes = len([call for call in house.simulator.api_calls() if call.target == ME])
    assert (tokens, probes) == (3, 2)
    for _ in range(3):
        house.clock.pass_(6)
        assert (await house.get("/public/v1/documents")).status == 401
        assert "cool-down" in house.ear.fields[-1]["fault"]
    assert len(house.simulator.token_calls()) == tokens
    assert len([call for call in house.simulator.api_calls() if call.target == ME]) == probes


async def test_a_real_revocation_heals_within_seconds_of_an_upstream_that_said_401_to_everything(
    oauth_house: HouseMaker,
) -> None:
    house = await oauth_house()
    house.simulator.faults.add(Fault(path=EVERYTHING, status=401))
    await house.many(100)
    house.simulator.faults.clear()
    assert (await house.get()).status == 200
    house.simulator.revoke_access_tokens()
    house.clock.pass_(5.1)  # a probe's result holds for five seconds
    assert (await house.get()).status == 200


async def test_one_path_that_is_401_for_ever_costs_three_refreshes_at_most(oauth_house: HouseMaker) -> None:
    """PandaDoc says 401 to some things a valid credential may not do."""
    house = await oauth_house()
    house.simulator.faults.add(Fault(path="/public/v1/forbidden", status=401))
    for _ in range(10):
        good, bad = await asyncio.gather(house.many(50), house.many(50, "/public/v1/forbidden"))
        assert {answer.status for answer in good} == {200}
        assert {answer.status for answer in bad} == {401}
    assert len(house.simulator.token_calls()) <= 3
    house.clock.pass_(5.1)
    house.simulator.revoke_access_tokens()
    assert (await house.get()).status == 200
    assert len(house.simulator.token_calls()) <= 4


async def test_uploads_to_a_path_that_is_401_for_ever_cost_no_refresh_each(oauth_house: HouseMaker) -> None:
    """They can't be replayed, so nothing would ever show that refreshing does not help: a probe does."""
    house = await oauth_house({"replay": {"max_body": "1KiB"}})
    house.simulator.faults.add(Fault(method="POST", status=401, path="/public/v1/documents"))
    await house.get()
    for _ in range(10):
        assert (await house.ask("POST", "/public/v1/documents", data=b"x" * 5000)).status == 401
        house.clock.pass_(10)
    assert len(house.simulator.token_calls()) == 1


async def test_a_probes_own_path_that_is_401_for_ever_costs_a_bounded_number_of_refreshes(
    oauth_house: HouseMaker,
) -> None:
    """Every good answer beside it says that the token is fine, every probe that it is not."""
    house = await oauth_house()
    await house.get("/public/v1/documents")
    house.simulator.faults.add(Fault(path=ME, status=401))
    for _ in range(20):
        assert (await house.get()).status == 401
        assert (await house.get("/public/v1/documents")).status == 200
    assert len(house.simulator.token_calls()) <= 4


async def test_a_replay_that_is_throttled_or_fails_shows_nothing_of_the_token(oauth_house: HouseMaker) -> None:
    """A 429 or a 5xx comes before any judgement: it must not end a cool-down."""
    house = await oauth_house()
    await house.get()
    for status in (429, 503) * 5:
        house.simulator.faults.add(Fault(path="/public/v1/documents", status=401, times=1))
        house.simulator.faults.add(Fault(path="/public/v1/documents", status=status, times=1))
        await house.get("/public/v1/documents")
    assert len(house.simulator.token_calls()) <= 3


async def test_a_stale_token_that_is_refused_is_refreshed_though_the_store_is_broken(
    oauth_house: HouseMaker, tmp_path: Path
) -> None:
    """Behind the traffic a refresh waits for the store; a 401 does not."""
    house = await oauth_house(simulator={"expires_in": 3600})
    await house.get()
    house.clock.pass_(3500)
    (tmp_path / "grant.json").write_text("somebody else's")
    await house.get()
    await until(lambda: house.ear.heard("ERROR", "left as it is"))
    house.simulator.revoke_access_tokens()
    assert (await house.get()).status == 200


async def test_a_cool_down_doubles_while_refreshing_does_not_help(oauth_house: HouseMaker) -> None:
    """One path that is 401 for ever costs a refresh at 0 s, 30 s, 90 s, 210 s …, never one a request."""
    house = await oauth_house()
    house.simulator.faults.add(Fault(path="/public/v1/forbidden", status=401))
    await house.get()
    refreshed = []
    for second in range(0, 300, 5):
        before = len(house.simulator.token_calls())
        await house.get("/public/v1/forbidden")
        if len(house.simulator.token_calls()) > before:
            refreshed.append(second)
        house.clock.pass_(5)
    assert refreshed == [0, 30, 90, 210]


async def test_a_cool_down_outlives_a_restart(oauth_house: HouseMaker) -> None:
    house = await oauth_house()
    house.simulator.faults.add(Fault(path="/public/v1/forbidden", status=401))
    await house.get("/public/v1/forbidden")
    assert len(house.simulator.token_calls()) == 2
    for _ in range(3):
        await house.restart()
        assert (await house.get("/public/v1/forbidden")).status == 401
    assert len(house.simulator.token_calls()) == 2


async def test_without_a_probe_a_401_in_a_cool_down_is_relayed(oauth_house: HouseMaker) -> None:
    house = await oauth_house(probe=None)
    house.simulator.faults.add(Fault(path=EVERYTHING, status=401))
    assert {answer.status for answer in await house.many(50)} == {401}
    assert len(house.simulator.token_calls()) == 2


# Law 4


async def test_the_pair_is_in_a_file_that_only_its_owner_may_read(oauth_house: HouseMaker, tmp_path: Path) -> None:
    house = await oauth_house()
    await house.get()
    stored = (tmp_path / "grant.json").read_text()
    assert house.simulator.api_calls()[0].authorization[0].removeprefix("Bearer ") in stored
    assert (tmp_path / "grant.json").stat().st_mode & 0o777 == 0o600


async def test_a_store_that_cant_be_written_is_found_out_before_the_redeem(
    oauth_house: HouseMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the token is good nothing is redeemed; once it has expired, into memory, and shouted about."""
    monkeypatch.setattr(grant_keeper, "LAST_PAUSE", 0.01)  # the last ten tries, when it ends
    readable_only = tmp_path / ("g" * 250)  # a name so long that no new file's name fits beside it
    house = await oauth_house(simulator={"expires_in": 3600}, store={"file": str(tmp_path / "grant.json")})
    assert (await house.get()).status == 200
    (tmp_path / "grant.json").rename(readable_only)
    house.settings["credentials"]["default"]["oauth2"]["store"] = {"file": str(readable_only)}
    await house.restart()
    assert (await house.get()).status == 200
    house.clock.pass_(3500)
    assert {answer.status for answer in await house.many(20)} == {200}
    await until(lambda: house.ear.heard("ERROR", "can't be locked: File name too long"))
    assert len(house.simulator.token_calls()) == 1
    house.clock.pass_(101)
    assert (await house.get()).status == 200
    assert len(house.simulator.token_calls()) == 2
    assert house.ear.heard("CRITICAL", "refreshing into memory only")
    assert house.ear.heard("CRITICAL", "generation 2 is NOT stored")
    await house.proxy.drain()
    assert house.ear.heard("CRITICAL", "generation 2 was NEVER stored")


async def test_a_refresh_token_that_was_never_redeemed_is_not_spent_into_a_store_that_cant_be_written(
    oauth_house: HouseMaker, tmp_path: Path
) -> None:
    """The commonest mistake of a first deployment must not cost a person's consent."""
    house = await oauth_house(store={"file": str(tmp_path / ("g" * 250))})
    seen = await house.get()
    assert seen.status == 503
    assert "can't be written" in seen.json["detail"]
    assert not house.simulator.token_calls()
    house.settings["credentials"]["default"]["oauth2"]["store"] = {"file": str(tmp_path / "grant.json")}
    await house.restart()
    assert (await house.get()).status == 200


async def test_a_pair_that_could_not_be_stored_is_stored_as_soon_as_that_is_possible(
    oauth_house: HouseMaker, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.write_text("a file where the store's folder should be")
    seeded = {"file": str(folder / "grant.json")}
    house = await oauth_house(store=seeded)
    assert (await house.get()).status == 503  # unreadable: it may hold a newer grant, so nothing is redeemed
    folder.unlink()
    house.clock.pass_(3)
    assert (await house.get()).status == 200
    stored = folder / "grant.json"
    assert stored.exists()
    shutil.rmtree(folder)
    folder.write_text("again")
    house.simulator.revoke_access_tokens()
    assert (await house.get()).status == 200  # what memory has must do, for the old token is refused
    assert house.ear.heard("CRITICAL", "generation 2 is NOT stored")
    assert not stored.exists()
    folder.unlink()
    await until(stored.exists)


async def test_a_pair_that_is_only_in_memory_is_stored_at_the_last_moment(
    oauth_house: HouseMaker, tmp_path: Path
) -> None:
    """SIGTERM comes in the middle of the pause between two tries, and the disk is well again."""
    folder = tmp_path / "folder"
    house = await oauth_house(store={"file": str(folder / "grant.json")})
    await house.get()
    shutil.rmtree(folder)
    folder.write_text("a file where the store's folder should be")
    house.simulator.revoke_access_tokens()
    assert (await house.get()).status == 200
    folder.unlink()
    await house.restart()
    assert (await house.get()).status == 200
    assert house.ear.fields[-1]["generation"] == 2
    assert len(house.simulator.token_calls()) == 2


async def test_a_refresh_token_in_a_200_is_stored_before_the_rest_is_judged(
    oauth_house: HouseMaker, tmp_path: Path
) -> None:
    """The reply has no access token: what it has is kept, and tried in its turn."""
    house = await oauth_house()
    successor = house.simulator.issue_refresh_token()
    reply = b'{"refresh_token": "%s", "expires_in": 3600}' % successor.encode()
    house.simulator.faults.add(Fault(path="/oauth2/access_token", status=200, body=reply, times=1))
    seen = await house.get()
    assert seen.status == 503
    assert "no usable access_token" in seen.json["detail"]
    assert successor in (tmp_path / "grant.json").read_text()
    house.clock.pass_(2)
    assert (await house.get()).status == 200
    assert house.simulator.token_calls()[-1].form["refresh_token"] == successor


async def test_a_file_that_is_not_ours_is_never_overwritten(oauth_house: HouseMaker, tmp_path: Path) -> None:
    house = await oauth_house()
    await house.get()
    (tmp_path / "grant.json").write_text("somebody else's")
    house.simulator.revoke_access_tokens()
    assert (await house.get()).status == 200
    assert house.ear.heard("CRITICAL", "NOT stored", "left as it is")
    assert (tmp_path / "grant.json").read_text() == "somebody else's"


# Laws 5 and 6


async def test_a_token_endpoint_that_is_down_while_the_token_is_good_goes_unnoticed(oauth_house: HouseMaker) -> None:
    house = await oauth_house(simulator={"expires_in": 3600})
    await house.get()
    house.clock.pass_(3500)
    house.simulator.faults.add(Fault(path="/oauth2/access_token", status=503))
    assert {answer.status for answer in await house.many(50)} == {200}
    await until(lambda: house.ear.heard("can't be refreshed yet"))


async def test_an_expired_token_is_never_lent_and_the_503_says_when_to_come_back(oauth_house: HouseMaker) -> None:
    """No 401 of our own (law 14), and it heals by itself."""
    house = await oauth_house(simulator={"expires_in": 3600})
    await house.get()
    house.clock.pass_(3601)
    house.simulator.faults.add(Fault(path="/oauth2/access_token", status=503))
    began = time.monotonic()
    seen = await house.get()
    assert seen.status == 503
    assert seen.headers["Content-Type"] == "application/problem+json"
    assert 1 <= int(seen.headers["Retry-After"]) <= 10
    assert seen.headers["Proxy-Status"] == "pandadoc-proxy; error=proxy_internal_response"
    assert seen.json["type"] == "credential_unavailable"
    calls = len(house.simulator.token_calls())
    await house.many(50)
    pauses = int((time.monotonic() - began) / (backoff.FIRST / 2))  # that may be over: none, but on a slow machine
    assert len(house.simulator.token_calls()) - calls <= pauses  # backing off: nobody hammers
    house.simulator.faults.clear()
    house.clock.pass_(31)
    assert (await house.get()).status == 200
    assert len(house.simulator.api_calls()) == 2


async def test_a_retry_after_is_ten_seconds_at_most_however_long_the_token_endpoint_asks_for(
    oauth_house: HouseMaker,
) -> None:
    """SDKs sleep on it (law 14). The endpoint itself is left alone for as long as it has asked for."""
    house = await oauth_house()
    said = b'{"type": "throttled", "detail": "Request was throttled. Expected available in 45 seconds."}'
    house.simulator.faults.add(Fault(path="/oauth2/access_token", status=429, body=said, times=1))
    for _ in range(4):
        seen = await house.get()
        assert (seen.status, seen.headers["Retry-After"]) == (503, "10")
        house.clock.pass_(8)
    assert len(house.simulator.token_calls()) == 1
    house.clock.pass_(14)
    assert (await house.get()).status == 200


async def test_a_start_with_an_expired_token_while_the_endpoint_is_down_heals_without_another(
    oauth_house: HouseMaker,
) -> None:
    """It lives, says when to come back, and recovers by itself, whether anybody asks or not."""
    house = await oauth_house(simulator={"expires_in": 3600})
    await house.get()
    house.clock.pass_(3601)
    house.simulator.faults.add(Fault(path="/oauth2/access_token", status=503))
    await house.restart()
    seen = await house.get()
    assert seen.status == 503
    assert "Retry-After" in seen.headers
    assert (await house.get("/healthz")).status == 200
    house.simulator.faults.clear()
    house.clock.pass_(31)
    await house.look()
    assert len(house.simulator.api_calls()) == 1
    assert (await house.get()).status == 200
    assert [call.status for call in house.simulator.token_calls()] == [200, 503, 200]


async def test_a_dead_grant_is_not_hammered_and_says_what_to_do(oauth_house: HouseMaker) -> None:
    """No Retry-After: SDKs would sleep on it for nothing (law 14)."""
    house = await oauth_house(simulator={"expires_in": 3600})
    await house.get()
    house.simulator.revoke_grants()
    house.clock.pass_(3601)
    seen = await house.get()
    assert seen.status == 503
    assert "Retry-After" not in seen.headers
    assert seen.json["type"] == "credential_dead"
    assert "invalid_grant" in seen.json["detail"]
    assert "refresh_token" in seen.json["detail"]
    for _ in range(20):
        house.clock.pass_(3)
        assert (await house.get()).status == 503
    assert len(house.simulator.token_calls()) == 2


async def test_a_dead_grant_still_lends_its_good_token(oauth_house: HouseMaker) -> None:
    house = await oauth_house(simulator={"expires_in": 3600}, refresh_before="30m")
    await house.get()
    lent = house.simulator.api_calls()[-1].authorization
    house.simulator.faults.add(Fault(path="/oauth2/access_token", status=400, body=b'{"error": "invalid_grant"}'))
    house.clock.pass_(1900)
    assert (await house.get()).status == 200
    await until(lambda: house.ear.heard("ERROR", "invalid_grant"))
    assert (await house.get()).status == 200
    assert house.simulator.api_calls()[-1].authorization == lent


async def test_a_stored_token_that_is_good_is_lent_whatever_a_new_seed_turns_out_to_be(
    oauth_house: HouseMaker,
) -> None:
    """A mistyped seed, or a token endpoint that is down at the restart, must not cost a year of life."""
    house = await oauth_house()
    await house.get()
    house.environ = {**house.environ, "REFRESH_TOKEN": "mistyped"}
    house.simulator.faults.add(Fault(path="/oauth2/access_token", status=503, times=1))
    await house.restart()
    assert (await house.get()).status == 200
    assert house.ear.fields[-1]["generation"] == 1
    assert (await house.get()).status == 200  # the seed is tried behind it: 503
    await house.settle()
    assert len(house.simulator.token_calls()) == 2
    house.clock.pass_(60)
    assert (await house.get()).status == 200  # and again: invalid_grant
    await until(lambda: house.ear.heard("ERROR", "invalid_grant"))
    house.clock.pass_(60)
    house.simulator.revoke_access_tokens()
    assert (await house.get()).status == 200  # the stored grant's own refresh token lives
    assert house.ear.fields[-1]["generation"] == 2


async def test_a_dead_seed_beside_a_living_grant_costs_nobody_an_answer(oauth_house: HouseMaker) -> None:
    house = await oauth_house()
    await house.get()
    house.environ = {**house.environ, "REFRESH_TOKEN": "not-a-refresh-token"}
    await house.restart()
    for _ in range(4):
        house.simulator.revoke_access_tokens()
        assert (await house.get()).status == 200
        house.clock.pass_(60)
    assert [call.status for call in house.simulator.token_calls()] == [200, 400, 200, 200, 200, 200]


async def test_a_seeds_file_may_be_deleted_once_it_was_redeemed(oauth_house: HouseMaker, tmp_path: Path) -> None:
    seed = tmp_path / "seed"
    house = await oauth_house(refresh_token={"file": str(seed)})
    seed.write_text(house.environ["REFRESH_TOKEN"])
    assert (await house.get()).status == 200
    seed.unlink()
    await house.restart()
    assert (await house.get()).status == 200
    house.simulator.revoke_access_tokens()
    assert (await house.get()).status == 200


async def test_a_reply_with_a_refresh_token_alone_makes_no_refused_token_new(oauth_house: HouseMaker) -> None:
    """The old access token beside a newer refresh token is nothing to replay with."""
    house = await oauth_house()
    await house.get()
    house.simulator.revoke_access_tokens()
    successor = house.simulator.issue_refresh_token()
    reply = b'{"refresh_token": "%s"}' % successor.encode()
    house.simulator.faults.add(Fault(path="/oauth2/access_token", status=200, body=reply, times=1))
    assert (await house.get()).status == 503
    house.clock.pass_(3)
    assert (await house.get()).status == 200


async def test_a_dead_grant_says_so_whatever_else_was_in_the_way_meanwhile(
    oauth_house: HouseMaker, tmp_path: Path
) -> None:
    """No Retry-After from an older trouble, no text about a file that is back (law 14)."""
    secret = tmp_path / "secret"
    house = await oauth_house(client_secret={"file": str(secret)})
    secret.write_text(house.simulator.client_secret)
    house.simulator.revoke_grants()
    assert "invalid_grant" in (await house.get()).json["detail"]
    secret.unlink()
    house.clock.pass_(3)
    assert "does not exist" in (await house.get()).json["detail"]
    secret.write_text(house.simulator.client_secret)
    house.clock.pass_(3)
    seen = await house.get()
    assert "invalid_grant" in seen.json["detail"]
    assert "Retry-After" not in seen.headers
    assert len(house.simulator.token_calls()) == 1


async def test_an_empty_200_costs_nothing_but_a_pause(oauth_house: HouseMaker) -> None:
    house = await oauth_house(simulator={"expires_in": 3600})
    await house.get()
    house.clock.pass_(3500)
    house.simulator.faults.add(Fault(path="/oauth2/access_token", status=200, body=b'{"message": "maintenance"}'))
    await house.get()
    await until(lambda: house.ear.heard("no usable access_token and no refresh_token"))
    await house.restart()
    assert (await house.get()).status == 200
    assert house.ear.fields[-1]["generation"] == 1


async def test_before_invalid_grant_is_believed_the_store_is_read_again(
    oauth_house: HouseMaker, tmp_path: Path
) -> None:
    """Somebody who knows no lock has redeemed our token and stored the pair, while our redeem was on its way."""
    house = await oauth_house()
    await house.get()
    gate = asyncio.Event()
    house.simulator.faults.add(Fault(path="/oauth2/access_token", gate=gate, times=1))
    house.simulator.revoke_access_tokens()
    slow = asyncio.create_task(house.get())
    await house.simulator.until(lambda: len(house.simulator.token_calls()) == 2)
    record = json.loads((tmp_path / "grant.json").read_text())
    form = {
        "grant_type": "refresh_token",
        "client_id": house.simulator.client_id,
        "client_secret": house.simulator.client_secret,
        "refresh_token": record["refresh_token"],
    }
    async with house.client.post(f"{house.simulator.url}/oauth2/access_token", data=form) as answer:
        pair = await answer.json()
    changes = {name: pair[name] for name in ("access_token", "refresh_token")}
    (tmp_path / "grant.json").write_text(json.dumps({**record, **changes, "generation": 2}))
    gate.set()
    assert (await slow).status == 200
    assert [call.status for call in house.simulator.token_calls()] == [200, 400, 200]
    assert not house.ear.heard("ERROR")


async def test_a_trouble_that_lasts_is_logged_once(oauth_house: HouseMaker) -> None:
    house = await oauth_house(simulator={"expires_in": 3600})
    await house.get()
    house.simulator.revoke_grants()
    house.clock.pass_(3601)
    for _ in range(20):
        await house.get()
        house.clock.pass_(3)
    assert len([line for line in house.ear.lines if line.startswith("ERROR")]) == 1


async def test_a_lost_reply_is_tried_again_and_then_named(oauth_house: HouseMaker) -> None:
    """The outcome is unknown: the stored token is tried; its invalid_grant says when a reply was lost."""
    house = await oauth_house()
    house.simulator.lose_token_replies()
    began = house.clock.wall()
    assert (await house.get()).status == 503
    house.clock.pass_(120)
    seen = await house.get()
    assert seen.status == 503
    assert f"A redeem that began at {moment(began)} never had its answer stored" in seen.json["detail"]
    assert "Run `pandadoc-proxy login`" in seen.json["detail"]


async def test_a_lost_reply_without_rotation_heals_by_itself(oauth_house: HouseMaker) -> None:
    house = await oauth_house(simulator={"rotate": False})
    house.simulator.lose_token_replies()
    assert (await house.get()).status == 503
    house.clock.pass_(60)
    assert (await house.get()).status == 200


async def test_a_new_seed_begins_a_new_lineage_and_wins(oauth_house: HouseMaker) -> None:
    """The operator's way out of a dead grant, until there is a login."""
    house = await oauth_house()
    await house.get()
    house.simulator.revoke_grants()
    house.simulator.revoke_access_tokens()
    seen = await house.get()
    assert seen.status == 503
    assert "invalid_grant" in seen.json["detail"]
    house.environ = {**house.environ, "REFRESH_TOKEN": house.simulator.issue_refresh_token()}
    await house.restart()
    assert (await house.get()).status == 200
    assert house.ear.fields[-1]["generation"] == 2


async def test_a_seed_that_was_seen_is_ignored_after_it_was_rotated_away(oauth_house: HouseMaker) -> None:
    house = await oauth_house()
    await house.get()
    house.simulator.revoke_access_tokens()
    await house.get()
    await house.restart()
    assert (await house.get()).status == 200
    house.simulator.revoke_access_tokens()
    assert (await house.get()).status == 200


# Laws 7 and 8


@pytest.mark.parametrize("expires_in", [None, -1, 0, 10**12, True, "soon", [3600]], ids=repr)
async def test_a_lifetime_that_is_missing_or_nonsense_is_an_hour(oauth_house: HouseMaker, expires_in: object) -> None:
    house = await oauth_house(simulator={"expires_in": expires_in})
    await house.get()
    assert house.ear.heard("expires_in was missing or odd")
    house.simulator.faults.add(Fault(path="/oauth2/access_token", status=503))
    house.clock.pass_(3590)
    assert (await house.get()).status == 200
    house.clock.pass_(20)
    assert (await house.get()).status == 503


async def test_a_year_long_token_is_lent_for_a_year_and_refreshed_a_week_ahead(oauth_house: HouseMaker) -> None:
    house = await oauth_house(simulator={"expires_in": 31535999})
    await house.get()
    house.clock.pass_(31535999 - 8 * 86400)
    await house.get()
    assert len(house.simulator.token_calls()) == 1
    house.clock.pass_(2 * 86400)
    await house.get()
    await until(lambda: len(house.simulator.token_calls()) == 2)


async def test_no_token_is_lost_to_a_clock_step(oauth_house: HouseMaker) -> None:
    """The cache is a view: what it forgets when the clock runs ahead, it finds again when it comes back."""
    house = await oauth_house(simulator={"expires_in": 36000})
    await house.get()
    lent = house.simulator.api_calls()[-1].authorization
    house.simulator.faults.add(Fault(path="/oauth2/access_token", status=503))
    house.clock.step(86400)
    assert (await house.get()).status == 503
    house.clock.step(-86400)
    assert (await house.get()).status == 200
    assert house.simulator.api_calls()[-1].authorization == lent
    house.clock.step(-86400)
    assert (await house.get()).status == 200


async def test_a_token_minted_while_the_clock_was_ahead_is_refreshed_once_that_is_put_right(
    oauth_house: HouseMaker,
) -> None:
    """Its end seems to be later than it is, by a day. It is lent meanwhile, as all that is stale."""
    house = await oauth_house(simulator={"expires_in": 36000})
    house.clock.step(86400)
    await house.get()
    calls = len(house.simulator.token_calls())
    house.clock.step(-86400)
    await house.look()
    await until(lambda: len(house.simulator.token_calls()) == calls + 1)
    assert (await house.get()).status == 200
    await house.look()
    assert len(house.simulator.token_calls()) == calls + 1
    house.clock.pass_(36000 - 3600)
    await house.look()
    await until(lambda: len(house.simulator.token_calls()) == calls + 2)


async def test_a_reply_without_a_refresh_token_keeps_the_old_one(oauth_house: HouseMaker) -> None:
    house = await oauth_house()
    reply = b'{"access_token": "' + b"a" * 40 + b'", "expires_in": 3600}'
    house.simulator.faults.add(Fault(path="/oauth2/access_token", status=200, body=reply, times=1))
    await house.get()  # the simulator knows no such token: a 401, a refresh with the token that was kept, a replay
    assert [call.status for call in house.simulator.api_calls()] == [401, 200]
    first, second = house.simulator.token_calls()
    assert first.body == second.body
