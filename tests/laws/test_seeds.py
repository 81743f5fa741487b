"""What is configured beside a store: seeds, the client's secret, an API key; also while the proxy runs.

A seed never seen begins a new lineage and wins; one that was seen says nothing any more.
"""

from itertools import permutations
from pathlib import Path

import pytest
from conftest import HouseMaker
from rig import House

from proxy.secrets import Secret
from proxy.simulator import Fault

HOUR = 3600
TOKENS = "/oauth2/access_token"
INVALID = "holds a line break or a NUL inside: the secret must be one line, alone"


async def begin_with(house: House, seed: str) -> None:
    """Start anew with `seed`, and let what that begins end."""
    house.environ = {**house.environ, "REFRESH_TOKEN": seed}
    await house.restart()
    await house.look()
    assert (await house.get()).status == 200


def mount(folder: Path, name: str, content: str) -> None:
    """Publish a secret as the kubelet does: a new folder, and a `..data` link that is swapped in one step."""
    fresh = folder / f"..{len(list(folder.iterdir()))}"
    fresh.mkdir()
    (fresh / name).write_text(content)
    (folder / "..data_tmp").symlink_to(fresh.name)
    (folder / "..data_tmp").replace(folder / "..data")
    if not (folder / name).exists():
        (folder / name).symlink_to(Path("..data") / name)


async def test_a_seed_fills_an_empty_store_and_is_remembered(oauth_house: HouseMaker) -> None:
    house = await oauth_house()
    await house.look()
    ledger = await house.store().load()
    seed = Secret(house.environ["REFRESH_TOKEN"])
    assert ledger.seeds == (seed.fingerprint(),)
    assert ledger.grant is not None
    assert ledger.grant.lineage.fingerprint == seed.fingerprint()
    assert ledger.grant.lineage.origin == "refresh_token"
    assert ledger.grant.refresh_token != seed
    assert (await house.get()).status == 200


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
async def test_each_seed_wins_once_in_whatever_order_they_come_back(
    oauth_house: HouseMaker, order: tuple[int, ...]
) -> None:
    """An old manifest that is applied again must not bring a spent token back."""
    house = await oauth_house()
    seeds = [house.environ["REFRESH_TOKEN"], *(house.simulator.issue_refresh_token() for _ in range(2))]
    for seed in seeds:
        await begin_with(house, seed)
    assert house.redeemed() == seeds
    house.simulator.revoke_access_tokens()
    assert (await house.get()).status == 200  # rotated away, all three
    for number in order * 2:
        await begin_with(house, seeds[number])
    assert len(house.redeemed()) == 4
    assert house.ear.fields[-1]["generation"] == 4
    house.simulator.revoke_access_tokens()
    assert (await house.get()).status == 200
    assert house.redeemed()[-1] not in seeds


async def test_another_client_keeps_its_grant_in_another_file(oauth_house: HouseMaker, tmp_path: Path) -> None:
    """By default: where no file is named."""
    house = await oauth_house()
    house.settings["credentials"]["default"]["oauth2"]["store"] = None
    await house.restart()
    assert (await house.get()).status == 200
    ours = dict(house.environ)
    house.environ = {**ours, "CLIENT_ID": "another"}
    await house.restart()
    assert "invalid_client" in (await house.get()).json["detail"]  # nothing of ours was lent
    house.environ = ours
    await house.restart()
    assert (await house.get()).status == 200
    assert house.redeemed() == [ours["REFRESH_TOKEN"]] * 2
    assert len(list((tmp_path / "state/pandadoc-proxy").glob("grant-*.json"))) == 2


@pytest.mark.parametrize("other", ["client", "token endpoint"])
async def test_a_named_file_of_another_client_or_token_endpoint_is_refused(
    oauth_house: HouseMaker, tmp_path: Path, other: str
) -> None:
    """Its tokens would be sent where they do not belong."""
    house = await oauth_house()
    assert (await house.get()).status == 200
    before = (tmp_path / "grant.json").read_bytes()
    if other == "client":
        house.environ = {**house.environ, "CLIENT_ID": "another"}
    else:
        elsewhere = house.simulator.url.replace("127.0.0.1", "localhost") + "/oauth2/access_token"
        house.settings["credentials"]["default"]["oauth2"]["token_url"] = elsewhere
    await house.restart()
    await house.look()
    seen = await house.get()
    assert seen.status == 503
    assert "belongs to another OAuth client or token endpoint; it is left as it is" in seen.json["detail"]
    assert "Retry-After" not in seen.headers
    assert len(house.redeemed()) == 1
    assert (tmp_path / "grant.json").read_bytes() == before


RESTART = "has changed since this proxy began, which keeps the grant under the earlier one: restart the proxy"


@pytest.mark.parametrize("named", [True, False])
async def test_a_clients_id_that_is_corrected_while_we_run_takes_a_restart_and_costs_no_grant(
    oauth_house: HouseMaker, tmp_path: Path, *, named: bool
) -> None:
    """What would be redeemed with it would be kept as the mistyped client's, where the next start does not look."""
    house = await oauth_house()
    oauth2 = house.settings["credentials"]["default"]["oauth2"]
    oauth2 |= {"client_id": {"file": str(tmp_path / "id")}} | ({} if named else {"store": None})
    (tmp_path / "id").write_text("mistyped")
    await house.restart()
    assert "invalid_client" in (await house.get()).json["detail"]
    (tmp_path / "id").write_text(house.simulator.client_id)
    house.clock.pass_(3)
    seen = await house.get()
    assert seen.status == 503
    assert f"the client's id (file {tmp_path / 'id'}) {RESTART}" in seen.json["detail"]
    for _ in range(2):
        await house.restart()
        assert (await house.get()).status == 200
    assert [call.status for call in house.simulator.token_calls()] == [400, 200]


@pytest.mark.parametrize("content", [None, ""], ids=["gone", "empty"])
async def test_a_clients_secret_that_can_not_be_read_is_told_long_before_a_refresh_needs_it(
    oauth_house: HouseMaker, tmp_path: Path, content: str | None
) -> None:
    house = await oauth_house()
    path = tmp_path / "secret"
    house.settings["credentials"]["default"]["oauth2"]["client_secret"] = {"file": str(path)}
    path.write_text(house.simulator.client_secret)
    await house.restart()
    assert (await house.get()).status == 200
    path.unlink()
    if content is not None:
        path.write_text(content)
    seen = [house.credential.blind]
    await house.look()
    seen.append(house.credential.blind)
    assert house.ear.heard("WARNING", f"{path}", "does not exist" if content is None else "is empty")
    assert (await house.get()).status == 200
    await house.log_in()  # what others store is taken all the same
    await house.look()
    assert house.refresher.keeper.ledger.generation == 2
    path.write_text(house.simulator.client_secret)
    await house.look()
    assert [*seen, house.credential.blind] == [False, True, False]
    assert house.credential.status().health == "healthy"


async def test_a_login_of_a_client_whose_id_was_corrected_is_found_by_the_restart_that_we_ask_for(
    oauth_house: HouseMaker, tmp_path: Path
) -> None:
    house = await oauth_house()
    oauth2 = house.settings["credentials"]["default"]["oauth2"]
    oauth2 |= {"client_id": {"file": str(tmp_path / "id")}, "store": None, "refresh_token": None}
    (tmp_path / "id").write_text("mistyped")
    await house.restart()
    assert "has no refresh token" in (await house.get()).json["detail"]
    (tmp_path / "id").write_text(house.simulator.client_id)
    await house.log_in()
    house.clock.pass_(3)
    await house.look()
    assert RESTART in (await house.get()).json["detail"]
    await house.restart()
    assert (await house.get()).status == 200
    assert not house.redeemed()


async def test_another_client_and_its_seed_wait_unspent_for_a_restart_while_the_old_token_is_lent(
    oauth_house: HouseMaker, tmp_path: Path
) -> None:
    house = await oauth_house()
    house.settings["credentials"]["default"]["oauth2"] |= {
        "store": None,
        "client_id": {"file": str(tmp_path / "id")},
        "refresh_token": {"file": str(tmp_path / "seed")},
    }
    (tmp_path / "id").write_text(house.simulator.client_id)
    (tmp_path / "seed").write_text(house.environ["REFRESH_TOKEN"])
    await house.restart()
    assert (await house.get()).status == 200
    (tmp_path / "seed").write_text(house.simulator.issue_refresh_token())
    (tmp_path / "id").write_text("another")
    for _ in range(3):
        house.clock.pass_(3)
        await house.look()
        assert (await house.get()).status == 200
    status = house.credential.status()
    assert status.health == "dead"
    assert RESTART in status.advice
    assert len(house.redeemed()) == 1
    (tmp_path / "id").write_text(house.simulator.client_id)  # it was a mistake
    house.clock.pass_(3)
    await house.look()
    assert house.credential.status().health == "healthy"
    assert len(house.redeemed()) == 2


# An access token beside the seed


async def test_a_seeds_access_token_is_lent_first_and_refreshed_in_its_time(oauth_house: HouseMaker) -> None:
    """Redeeming at once would kill a token that others use."""
    house = await oauth_house(seed_life=HOUR)
    await house.look()
    assert (await house.get()).status == 200
    await house.restart()
    assert (await house.get()).status == 200
    assert not house.redeemed()
    assert house.simulator.api_calls()[-1].authorization == (f"Bearer {house.environ['ACCESS_TOKEN']}",)
    house.clock.pass_(HOUR * 0.95)
    await house.look()
    assert house.redeemed() == [house.environ["REFRESH_TOKEN"]]
    assert (await house.get()).status == 200
    assert house.ear.fields[-1]["generation"] == 2


async def test_a_seeds_access_token_that_is_refused_is_replaced_at_once(oauth_house: HouseMaker) -> None:
    house = await oauth_house(seed_life=HOUR)
    house.simulator.revoke_access_tokens()
    assert (await house.get()).status == 200
    assert house.redeemed() == [house.environ["REFRESH_TOKEN"]]


@pytest.mark.parametrize("life", [-HOUR, 0])
async def test_a_seeds_access_token_that_has_expired_is_ignored(oauth_house: HouseMaker, life: int) -> None:
    house = await oauth_house(seed_life=life)
    assert (await house.get()).status == 200
    assert house.redeemed() == [house.environ["REFRESH_TOKEN"]]
    assert [call.status for call in house.simulator.api_calls()] == [200]


async def test_a_seed_with_an_access_token_takes_no_living_grants_place_before_it_has_proven_itself(
    oauth_house: HouseMaker,
) -> None:
    """Both are mistyped, perhaps; what they would write over is the only copy of what can still be refreshed."""
    house = await oauth_house()
    assert (await house.get()).status == 200
    oauth2 = house.settings["credentials"]["default"]["oauth2"]
    oauth2 |= {"access_token": "${ACCESS_TOKEN}", "expires_at": str(int(house.clock.wall() + HOUR))}
    house.environ = {**house.environ, "REFRESH_TOKEN": "mistyped", "ACCESS_TOKEN": "mistyped-too"}
    await house.restart()
    await house.look()
    assert house.ear.heard("ERROR", "refuses the configured refresh token", "the stored grant goes on")
    assert (await house.get()).status == 200
    house.simulator.revoke_access_tokens()
    assert (await house.get()).status == 200
    assert house.redeemed().count("mistyped") == 1


async def test_a_good_seed_with_an_access_token_replaces_a_stored_grant_by_a_redeem(oauth_house: HouseMaker) -> None:
    house = await oauth_house()
    assert (await house.get()).status == 200
    oauth2 = house.settings["credentials"]["default"]["oauth2"]
    oauth2 |= {"access_token": "${ACCESS_TOKEN}", "expires_at": str(int(house.clock.wall() + HOUR))}
    seed = house.simulator.issue_refresh_token()
    await begin_with(house, seed)
    assert house.redeemed()[1:] == [seed]
    assert house.simulator.api_calls()[-1].authorization != (f"Bearer {house.environ['ACCESS_TOKEN']}",)
    assert house.ear.fields[-1]["generation"] == 2


# A seed that gets no verdict, beside a grant that lives


NO_VERDICT = {
    "a server's error": Fault(path=TOKENS, status=500, times=1),
    "a page": Fault(path=TOKENS, status=403, body=b"<html>", headers=(("Content-Type", "text/html"),), times=1),
    "an error nobody knows": Fault(path=TOKENS, status=400, body=b'{"error": "oops"}', times=1),
    "a lost connection": Fault(path=TOKENS, reset=True, times=1),
}


@pytest.mark.parametrize("fault", NO_VERDICT.values(), ids=NO_VERDICT)
async def test_a_seed_that_gets_no_verdict_does_not_keep_an_expired_token_from_being_refreshed(
    oauth_house: HouseMaker, fault: Fault
) -> None:
    house = await oauth_house(simulator={"expires_in": HOUR})
    assert (await house.get()).status == 200
    seed = house.simulator.issue_refresh_token()
    house.environ = {**house.environ, "REFRESH_TOKEN": seed}
    await house.restart()
    for number in range(1, 4):
        house.simulator.faults.add(fault)
        house.clock.pass_(61)
        await house.look()
        assert house.redeemed()[1:] == [seed] * number
        assert (await house.get()).status == 200
    house.clock.pass_(HOUR)
    assert (await house.get()).status == 200
    assert len(house.redeemed()) == 5
    assert house.redeemed()[4] != seed
    await house.look()
    assert house.redeemed()[5:] == [seed]  # its turn comes again, when nobody waits
    assert (await house.get()).status == 200
    assert house.credential.status().health == "healthy"


@pytest.mark.parametrize("later", [0, 61])
async def test_a_401_just_after_a_seeds_failure_or_during_it_is_healed_by_the_stored_grant(
    oauth_house: HouseMaker, later: float
) -> None:
    """The pause is the seed's."""
    house = await oauth_house()
    assert (await house.get()).status == 200
    house.environ = {**house.environ, "REFRESH_TOKEN": house.simulator.issue_refresh_token()}
    await house.restart()
    house.simulator.faults.add(NO_VERDICT["a server's error"])
    await house.look()
    house.simulator.revoke_access_tokens()
    house.clock.pass_(later)
    if later:
        house.simulator.faults.add(NO_VERDICT["a server's error"])
    assert (await house.get()).status == 200
    assert [call.status for call in house.simulator.token_calls()] == [200, *[500] * (2 if later else 1), 200]


async def test_told_to_stop_a_seed_in_doubt_is_passed_over_while_the_stored_grant_lives(
    oauth_house: HouseMaker,
) -> None:
    house = await oauth_house(unknown_outcome="stop")
    assert (await house.get()).status == 200
    seed = house.simulator.issue_refresh_token()
    house.environ = {**house.environ, "REFRESH_TOKEN": seed}
    await house.restart()
    house.simulator.faults.add(Fault(path=TOKENS, status=503, times=1))
    for _ in range(2):
        for _ in range(3):
            await house.look()
            assert (await house.get()).status == 200
            assert house.credential.state.value == "fresh"
            house.clock.pass_(61)
        assert house.redeemed()[1:] == [seed]
        await house.restart()  # the doubt is in the store
    await house.look()
    said = [
        line
        for line in house.ear.lines
        if "is not tried again (unknown_outcome: stop); the stored grant goes on" in line
    ]
    assert [line.split(" ", 1)[0] for line in said] == ["ERROR"] * 3  # once for each start
    house.simulator.revoke_access_tokens()
    assert (await house.get()).status == 200
    for _ in range(3):
        house.clock.pass_(61)
        await house.look()
    assert house.redeemed().count(seed) == 1
    assert len(house.redeemed()) == 3
    house.settings["credentials"]["default"]["oauth2"]["unknown_outcome"] = "retry"
    await begin_with(house, seed)
    assert house.redeemed()[3:] == [seed]


# Files that change while we run


async def test_a_seed_that_arrives_by_a_swapped_link_wins_within_a_look(
    oauth_house: HouseMaker, tmp_path: Path
) -> None:
    """As Kubernetes publishes it, and with the newline that editors leave."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    house = await oauth_house(refresh_token={"file": str(folder / "seed")})
    seeds = [house.simulator.issue_refresh_token() for _ in range(3)]
    for number, seed in enumerate(seeds, 1):
        mount(folder, "seed", seed + ("\n", "\r\n", "")[number % 3])
        await house.look()
        assert house.redeemed() == seeds[:number]
        assert (await house.get()).status == 200
        assert house.ear.fields[-1]["generation"] == number


@pytest.mark.parametrize("breaks", ["first\nsecond", "first\rsecond", "first\n\n"])
async def test_a_seed_of_two_lines_is_refused_and_says_so(oauth_house: HouseMaker, tmp_path: Path, breaks: str) -> None:
    """With an empty store, to the callers; beside a grant that lives, in the log, once."""
    path = tmp_path / "seed"
    path.write_text(breaks)
    house = await oauth_house(refresh_token={"file": str(path)})
    seen = await house.get()
    assert seen.status == 503
    assert f"file {path} {INVALID}" in seen.json["detail"]
    path.write_text(house.environ["REFRESH_TOKEN"])
    house.clock.pass_(3)
    assert (await house.get()).status == 200
    known = len(house.ear.lines)
    path.write_text(breaks)
    for _ in range(5):
        await house.look()
    said = [line for line in house.ear.lines[known:] if INVALID in line]
    assert len(said) == 1
    assert said[0].startswith("WARNING")
    assert (await house.get()).status == 200


async def test_a_corrected_client_secret_is_noticed_though_nothing_is_due(
    oauth_house: HouseMaker, tmp_path: Path
) -> None:
    """A 401 that needed no refresh after all has shown that the client is unknown; the token is good."""
    path = tmp_path / "secret"
    house = await oauth_house(client_secret={"file": str(path)})
    path.write_text(house.simulator.client_secret)
    await house.get()
    path.write_text("mistyped")
    house.simulator.faults.add(Fault(path="/public/v1/documents", status=401, times=1))
    assert (await house.get("/public/v1/documents")).status == 401
    states = [house.credential.state.value]
    await house.look()
    states.append(house.credential.state.value)
    path.write_text(house.simulator.client_secret)
    await house.look()
    states.append(house.credential.state.value)
    assert states == ["dead", "dead", "fresh"]
    assert len(house.redeemed()) == 2


@pytest.mark.parametrize("age", [0, HOUR * 0.95, HOUR + 1], ids=["at the start", "stale", "expired"])
async def test_a_client_secret_that_is_corrected_heals_within_a_look(
    oauth_house: HouseMaker, tmp_path: Path, age: float
) -> None:
    path = tmp_path / "secret"
    path.write_text("mistyped")
    house = await oauth_house(client_secret={"file": str(path)}, seed_life=HOUR if age else -1)
    await house.look()
    house.clock.pass_(age)
    await house.look()
    assert house.credential.state.value == "dead"
    for _ in range(5):
        house.clock.pass_(3)
        await house.look()
        await house.get()
    assert len(house.redeemed()) == 1  # not hammered
    path.write_text(house.simulator.client_secret + "\n")
    house.clock.pass_(3)
    await house.look()
    assert house.credential.state.value == "fresh"
    assert len(house.redeemed()) == 2
    assert (await house.get()).status == 200


async def test_an_api_key_that_is_swapped_is_lent_without_a_401(api_key_house: HouseMaker, tmp_path: Path) -> None:
    path = tmp_path / "key"
    house = await api_key_house({"credentials": {"default": {"api_key": {"file": str(path)}}}})
    keys = [house.simulator.issue_api_key() for _ in range(2)]
    path.write_text(keys[0])
    assert (await house.get()).status == 200
    (tmp_path / "new").write_text(keys[1] + "\n")
    (tmp_path / "new").replace(path)
    await house.proxy.look()
    assert (await house.get()).status == 200
    assert [call.authorization for call in house.simulator.api_calls()] == [(f"API-Key {key}",) for key in keys]
    path.write_text("two\nlines")
    for _ in range(3):
        await house.proxy.look()
    assert len([line for line in house.ear.lines if INVALID in line]) == 1
    assert (await house.get()).status == 200


async def test_an_upload_that_is_not_kept_goes_out_with_the_key_that_its_file_has_now(
    api_key_house: HouseMaker, tmp_path: Path
) -> None:
    """It can't be replayed; the look that would find the new key may be two seconds off."""
    path = tmp_path / "key"
    settings = {"credentials": {"default": {"api_key": {"file": str(path)}}}, "replay": {"max_body": "64KiB"}}
    house = await api_key_house(settings)
    path.write_text(house.simulator.issue_api_key())
    assert (await house.get()).status == 200
    house.simulator.revoke_api_keys()
    path.write_text(house.simulator.issue_api_key())
    large = b'{"name": "%s"}' % (b"x" * 300_000)
    for _ in range(2):
        seen = await house.ask("POST", "/public/v1/documents", data=large, headers={"Content-Type": "application/json"})
        assert seen.status == 201
        path.unlink(missing_ok=True)  # a file that is away is no reason to send nothing
