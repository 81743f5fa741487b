"""`pandadoc-proxy token status` and `token refresh`, beside a running proxy and without one."""

import asyncio
import json
import signal
import time
from pathlib import Path

import pytest
from aiohttp import ClientSession
from commands.process import MEMBER, PROXY, Machine, status_of
from rig import until
from wire import OK, answering, upstream

from proxy.simulator import Fault
from proxy.simulator.journal import TOKEN_PATH


async def seeded(machine: Machine, **oauth2: object) -> dict[str, str]:
    """Write a configuration with a seed; return the environment it needs."""
    more = "".join(f"\n      {key}: {value}" for key, value in oauth2.items())
    (machine.folder / "config.yaml").write_text(f"""\
listeners: [{{bind: "127.0.0.1:0"}}]
admin: null
upstream: {machine.simulator.url}
credentials:
  default:
    oauth2:
      client_id: {{env: PANDADOC_CLIENT_ID}}
      client_secret: {{env: PANDADOC_CLIENT_SECRET}}
      refresh_token: {{env: PANDADOC_REFRESH_TOKEN}}
      store: {{file: grant.json}}{more}
""")
    grant = machine.with_grant()
    return {name: grant[name] for name in grant if not name.startswith("PANDADOC_PROXY__")}


async def test_status_tells_people_and_scripts_the_same(machine: Machine) -> None:
    env = await seeded(machine)
    before = await machine.run("token", "status", env=env)
    assert before.code == 0
    assert before.out.startswith("default: healthy\n")
    assert "state              none" in before.out
    assert not machine.simulator.token_calls()  # looking redeems nothing
    assert (await machine.run("token", "refresh", env=env)).code == 0
    shown = await machine.run("token", "status", env=env)
    assert "generation         1" in shown.out
    assert "a configured refresh token (" in shown.out
    (document,) = json.loads((await machine.run("token", "status", "--json", env=env)).out)
    assert document["healthy"] is True
    assert (document["generation"], document["last_result"], document["state"]) == (1, "refreshed", "fresh")
    assert document["expires_at"].endswith("+00:00")
    assert 31535000 < document["expires_in"] < 31536000


async def test_status_of_every_credential_is_told_and_one_that_is_ill_shows_in_the_exit_code(
    machine: Machine, tmp_path: Path
) -> None:
    env = await seeded(machine)
    config = machine.folder / "config.yaml"
    config.write_text(config.read_text() + f"  key: {{api_key: {{file: {tmp_path}/key}}}}\n")
    seen = await machine.run("token", "status", env=env)
    assert seen.code == 1
    assert "default: healthy" in seen.out
    assert "key: dead" in seen.out
    assert "create or mount it" in seen.out
    (tmp_path / "key").write_text(f"API-Key {'k' * 40}")
    seen = await machine.run("token", "status", "--credential", "key", env=env)
    assert (seen.code, "give the key alone" in seen.out) == (1, True)
    (tmp_path / "key").write_text("k" * 40)
    assert (await machine.run("token", "status", "--credential", "key", env=env)).code == 0
    assert (await machine.run("token", "status", "--credential", "third", env=env)).code == 2


async def test_a_store_that_cant_be_read_is_told_and_left(machine: Machine) -> None:
    env = await seeded(machine)
    (machine.folder / "grant.json").write_text("garbage")
    for command in (("token", "status"), ("token", "refresh"), ("token", "refresh", "--dry-run")):
        ended = await machine.run(*command, env=env)
        assert ended.code == 1
        assert "left as it is" in ended.out + ended.err
    assert (machine.folder / "grant.json").read_text() == "garbage"
    assert not [call for call in machine.simulator.token_calls() if call.status == 200]


async def test_no_proxy_sees_a_token_call_to_this_machine(machine: Machine) -> None:
    """It goes there in plain http: the client's secret and the refresh token would be anybody's on the way."""
    async with upstream(answering(OK)) as corporate:
        env = machine.with_grant() | {
            "HTTPS_PROXY": corporate.url,
            "PANDADOC_PROXY__UPSTREAM__URL": "https://api.example",
            "PANDADOC_PROXY__CREDENTIALS__DEFAULT__OAUTH2__TOKEN_URL": machine.simulator.url + TOKEN_PATH,
            "PANDADOC_PROXY__CREDENTIALS__DEFAULT__OAUTH2__PROBE": "null",
        }
        assert (await machine.run("token", "refresh", env=env)).code == 0
        assert corporate.heard == []


async def test_a_token_call_to_elsewhere_goes_through_the_proxy(machine: Machine) -> None:
    async with upstream(answering(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")) as corporate:
        env = machine.with_grant() | {
            "HTTPS_PROXY": corporate.url,
            "PANDADOC_PROXY__CREDENTIALS__DEFAULT__OAUTH2__TOKEN_URL": "https://token.example/t",
        }
        ended = await machine.run("token", "refresh", env=env)
        assert (ended.code, "the HTTP proxy answered 407" in ended.err) == (1, True)
        assert {message.start for message in corporate.heard} == {b"CONNECT token.example:443 HTTP/1.1"}


async def test_a_refresh_beside_a_running_proxy_costs_nobody_a_request(machine: Machine, app: ClientSession) -> None:
    """The old token dies at the redeem; the proxy adopts the new one at its first 401, or sooner."""
    env = await seeded(machine)
    process = await machine.start(env=env)
    url = await process.url()
    assert await status_of(app, url + MEMBER) == 200
    ended = await machine.run("token", "refresh", env=env)
    assert ended.code == 0
    assert "Credential default is at generation 2; its access token is good until" in ended.out
    assert await status_of(app, url + MEMBER) == 200
    assert [line["generation"] for line in await process.accesses(2)] == [1, 2]
    assert [call.status for call in machine.simulator.token_calls()] == [200, 200]


async def test_a_refresh_that_took_the_configured_access_token_says_that_nothing_was_redeemed(machine: Machine) -> None:
    """Exit code 0 is no proof of it then."""
    env = await seeded(machine, access_token="{env: ACCESS_TOKEN}", expires_at=int(time.time()) + 3600)
    env["ACCESS_TOKEN"] = machine.simulator.issue_access_token()
    first, second = [await machine.run("token", "refresh", env=env) for _ in range(2)]
    assert (first.code, second.code) == (0, 0)
    unproven = "Nothing was redeemed: that is the configured access token"
    assert (unproven in first.out, unproven in second.out) == (True, False)
    assert len(machine.simulator.token_calls()) == 1


async def test_a_refresh_waits_for_the_one_that_is_running_and_takes_what_it_brought(
    machine: Machine, app: ClientSession
) -> None:
    """Through the same lock: one grant has one redeemer."""
    env = await seeded(machine)
    gate = asyncio.Event()
    machine.simulator.faults.add(Fault(path=TOKEN_PATH, gate=gate, times=1))
    process = await machine.start(env=env)
    await until(lambda: len(machine.simulator.token_calls()) == 1)
    by_hand = await machine.start("token", "refresh", env=env)
    status = await machine.run("token", "status", env=env)
    assert "unfinished redeem" in status.out
    await by_hand.said("another process is refreshing, and its pair will do")
    gate.set()
    assert await by_hand.ended() == 0
    assert len(machine.simulator.token_calls()) == 1
    assert await status_of(app, await process.url() + MEMBER) == 200


async def test_a_refused_refresh_says_which_command_heals_it(machine: Machine) -> None:
    env = await seeded(machine)
    await machine.run("token", "refresh", env=env)
    machine.simulator.revoke_grants()
    ended = await machine.run("token", "refresh", env=env)
    assert ended.code == 1
    assert "invalid_grant" in ended.err
    assert "Run `pandadoc-proxy login`" in ended.err
    status = await machine.run("token", "status", env=env)
    assert status.code == 1
    assert "default: dead" in status.out
    assert "Run `pandadoc-proxy login`" in status.out


async def test_a_grant_that_was_refused_before_is_as_dead_the_second_time(machine: Machine) -> None:
    """One machine's file has no replicas who may have spent it; what a lost reply may have done is told again."""
    env = await seeded(machine)
    await machine.run("token", "refresh", env=env)
    machine.simulator.lose_token_replies()
    lost = await machine.run("token", "refresh", env=env)
    assert "the connection broke before the answer" in lost.err
    for _ in range(2):
        ended = await machine.run("token", "refresh", env=env)
        assert ended.code == 1
        assert "it was used elsewhere or revoked. A redeem that began at" in ended.err
        assert "replica" not in ended.err


async def test_a_refresh_with_another_secret_kills_no_grant(machine: Machine) -> None:
    """A shell that has the wrong one proves nothing against the proxy beside it, which has the right one."""
    env = await seeded(machine)
    await machine.run("token", "refresh", env=env)
    ended = await machine.run("token", "refresh", env=env | {"PANDADOC_CLIENT_SECRET": "wrong-secret"})
    assert (ended.code, "invalid_client" in ended.err) == (1, True)
    status = await machine.run("token", "status", env=env)
    assert status.code == 1
    assert "default: failing\n" in status.out
    assert "(invalid_client)" in status.out
    assert (await machine.run("token", "refresh", env=env)).code == 0
    assert (await machine.run("token", "status", env=env)).code == 0


async def test_by_hand_a_token_in_doubt_is_tried_though_the_proxy_stops(machine: Machine) -> None:
    """`unknown_outcome: stop` waits for a person; this is one."""
    env = await seeded(machine, unknown_outcome="stop")
    machine.simulator.rotate = False
    machine.simulator.lose_token_replies()
    lost = await machine.run("token", "refresh", env=env)
    assert lost.code == 1
    assert "the connection broke before the answer" in lost.err
    process = await machine.start(env=env)
    await process.said("unknown_outcome: stop", "`pandadoc-proxy token refresh`")
    assert len(machine.simulator.token_calls()) == 1
    assert (await machine.run("token", "refresh", env=env)).code == 0


PROOFS = {
    "all is well": ({}, 0, ["can be read, written and locked", "knows the client", "accepts the stored access token"]),
    "a client nobody knows": (
        {"PANDADOC_CLIENT_SECRET": "wrong-secret"},
        1,
        ["FAIL Credential default: PandaDoc does not"],
    ),
}


@pytest.mark.parametrize(("changes", "code", "words"), PROOFS.values(), ids=PROOFS)
async def test_a_dry_run_proves_what_it_can_and_redeems_nothing(
    machine: Machine, changes: dict[str, str], code: int, words: list[str]
) -> None:
    env = await seeded(machine)
    await machine.run("token", "refresh", env=env)
    before = machine.simulator.state()["redeemed"]
    ended = await machine.run("token", "refresh", "--dry-run", env=env | changes)
    assert ended.code == code
    assert all(word in ended.out for word in words)
    assert "Nothing was redeemed." in ended.out
    assert machine.simulator.state()["redeemed"] == before
    assert "generation         1" in (await machine.run("token", "status", env=env)).out


async def test_a_dry_run_names_what_is_in_the_way(machine: Machine) -> None:
    env = await seeded(machine)
    await machine.run("token", "refresh", env=env)
    await machine.simulator.stop()
    ended = await machine.run("token", "refresh", "--dry-run", env=env)
    assert ended.code == 1
    assert "/oauth2/access_token: no connection" in ended.out
    assert "did not say whether it accepts" in ended.out


async def test_a_dry_run_promises_nothing_that_the_store_knows_to_be_false(machine: Machine) -> None:
    """Neither of a refused seed nor of a refused grant; of another seed the store knows nothing."""
    refused = "FAIL PandaDoc refuses the refresh token of credential default (invalid_grant)"
    env = await seeded(machine)
    for stored in (False, True):
        machine.simulator.revoke_access_tokens()
        machine.simulator.revoke_grants()
        await machine.run("token", "refresh", env=env)
        ended = await machine.run("token", "refresh", "--dry-run", env=env)
        assert (ended.code, refused in ended.out) == (1, True)
        assert ("FAIL PandaDoc refuses the stored access token\n" in ended.out) is stored
        env["PANDADOC_REFRESH_TOKEN"] = machine.simulator.issue_refresh_token()
        ended = await machine.run("token", "refresh", "--dry-run", env=env)
        assert "ok   a refresh token is there" in ended.out
        assert ("refuses the stored access token: a refresh would replace it" in ended.out) is stored
        assert (await machine.run("token", "refresh", env=env)).code == 0


async def test_a_pair_that_cant_be_stored_is_shouted_about_and_tried_until_it_is(machine: Machine) -> None:
    """The folder vanishes between the intent and the answer; the command does not end before the pair is safe."""
    env = await seeded(machine)
    config = machine.folder / "config.yaml"
    config.write_text(config.read_text().replace("{file: grant.json}", "{file: folder/grant.json}"))
    gate = asyncio.Event()
    machine.simulator.faults.add(Fault(path=TOKEN_PATH, gate=gate, times=1))
    by_hand = await machine.start("token", "refresh", env=env)
    await until(lambda: len(machine.simulator.token_calls()) == 1)
    folder = machine.folder / "folder"
    folder.rename(machine.folder / "elsewhere")
    folder.write_text("a file where the folder should be")
    gate.set()
    await by_hand.said("generation 1 is NOT stored")
    assert by_hand.running
    folder.unlink()
    assert await by_hand.ended() == 0
    assert '"generation": 1' in (folder / "grant.json").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
async def test_a_person_who_leaves_in_the_middle_of_a_redeem_loses_nothing(
    machine: Machine, number: signal.Signals
) -> None:
    """Ctrl-C, a terminal that goes away, or the end of the pod: the pair that is on its way is stored first, and told.

    Who is told nothing presses Ctrl-C again, and that does lose it.
    """
    env = await seeded(machine)
    gate = asyncio.Event()
    machine.simulator.faults.add(Fault(path=TOKEN_PATH, gate=gate, times=1))
    by_hand = await machine.start("token", "refresh", env=env)
    await by_hand.said("Waiting: PandaDoc has not answered yet")
    by_hand.signal(number)
    await by_hand.said("Interrupted: what was begun is finished first. Once more, and it is lost.")
    gate.set()
    assert await by_hand.ended() == 1
    assert by_hand.out[0].startswith("Credential default is at generation 1; its access token is good until")
    assert "generation         1" in (await machine.run("token", "status", env=env)).out
    assert len(machine.simulator.token_calls()) == 1


async def test_a_grant_in_memory_is_out_of_sight(machine: Machine) -> None:
    env = await seeded(machine)
    config = machine.folder / "config.yaml"
    config.write_text(config.read_text().replace("{file: grant.json}", "{memory: true}"))
    for command in (("token", "status"), ("token", "refresh"), ("token", "refresh", "--dry-run")):
        ended = await machine.run(*command, env=env)
        assert ended.code == 1
        assert "in the running proxy's memory, where nothing else can see it" in ended.out + ended.err


async def test_a_client_id_that_is_not_there_yet_is_told_without_a_traceback(machine: Machine) -> None:
    env = await seeded(machine)
    config = machine.folder / "config.yaml"
    config.write_text(
        config.read_text().replace("{env: PANDADOC_CLIENT_ID}", "{file: ./id}").replace("{file: grant.json}", "null")
    )
    for command in (("token", "status"), ("token", "refresh"), ("token", "refresh", "--dry-run")):
        ended = await machine.run(*command, env=env)
        assert ended.code == 1
        assert "create or mount it" in ended.out + ended.err


async def test_a_stale_seed_beside_a_healthy_grant_leaves_its_health_as_it_is(
    machine: Machine, app: ClientSession
) -> None:
    """A variable that nobody has removed: told once, and no reason to log in."""
    env = await seeded(machine)
    await machine.run("token", "refresh", env=env)
    process = await machine.start(env={**env, "PANDADOC_REFRESH_TOKEN": "stale-refresh-token"})
    assert await status_of(app, await process.url() + MEMBER) == 200
    await process.said("refuses the configured refresh token", "the stored grant goes on")
    status = await machine.run("token", "status", env={**env, "PANDADOC_REFRESH_TOKEN": "stale-refresh-token"})
    assert status.code == 0
    assert "default: healthy" in status.out


async def test_a_configured_refresh_token_that_is_refused_is_told_though_the_stored_grant_is_refreshed(
    machine: Machine,
) -> None:
    """Who moves a proxy to another user's grant must not believe that it is done."""
    env = await seeded(machine)
    await machine.run("token", "refresh", env=env)
    for generation in (2, 3):
        ended = await machine.run("token", "refresh", env={**env, "PANDADOC_REFRESH_TOKEN": "stale-refresh-token"})
        assert ended.code == 1
        assert ended.err == (
            "PandaDoc refuses the configured refresh token of credential default (invalid_grant); the stored grant goes"
            " on. Remove credentials.default.oauth2.refresh_token ($PANDADOC_REFRESH_TOKEN), or set a new one."
        )
        assert f"Credential default is at generation {generation}; its access token is good until" in ended.out
    assert (await machine.run("token", "refresh", env=env)).code == 0
    moved = {**env, "PANDADOC_REFRESH_TOKEN": machine.simulator.issue_refresh_token()}
    ended = await machine.run("token", "refresh", env=moved)
    assert (ended.code, ended.err) == (0, "")


async def test_a_configured_refresh_token_that_a_lost_reply_has_spent_is_told_by_the_command_that_is_advised(
    machine: Machine, app: ClientSession
) -> None:
    env = await seeded(machine, unknown_outcome="stop")
    await machine.run("token", "refresh", env=env)
    env["PANDADOC_REFRESH_TOKEN"] = machine.simulator.issue_refresh_token()
    machine.simulator.lose_token_replies()
    process = await machine.start(env=env)
    await process.said("is not tried again (unknown_outcome: stop)", "with `pandadoc-proxy token refresh`")
    machine.simulator.faults.add(Fault(path=TOKEN_PATH, status=503, times=1))
    ended = await machine.run("token", "refresh", env=env)
    assert (ended.code, "The token endpoint failed: " in ended.err) == (1, True)
    ended = await machine.run("token", "refresh", env=env)
    assert ended.code == 1
    assert "refuses the configured refresh token of credential default" in ended.err
    assert "A redeem that began at" in ended.err
    assert await status_of(app, await process.url() + MEMBER) == 200


async def test_a_configured_refresh_token_that_is_refused_is_told_beside_what_keeps_the_stored_one_from_being_tried(
    machine: Machine,
) -> None:
    env = await seeded(machine)
    await machine.run("token", "refresh", env=env)
    stale = {**env, "PANDADOC_REFRESH_TOKEN": "stale-refresh-token"}
    machine.simulator.faults.add(Fault(path=TOKEN_PATH, status=400, body=b'{"error": "invalid_grant"}', times=1))
    machine.simulator.faults.add(Fault(path=TOKEN_PATH, status=503, times=1))
    ended = await machine.run("token", "refresh", env=stale)
    assert ended.code == 1
    refused, failed = ended.err.splitlines()
    assert "refuses the configured refresh token of credential default" in refused
    assert "The token endpoint failed: " in failed
    machine.simulator.revoke_grants()
    ended = await machine.run("token", "refresh", env=stale)
    assert ended.code == 1
    assert "goes on" not in ended.err
    assert ended.err.count("invalid_grant") == 1


def redirected(how: str) -> tuple[str, ...]:
    return ("sh", "-c", f'exec "$@" {how}', "sh", *map(str, PROXY))


PIPED = ("bash", "-c", '"$@" | true; exit ${PIPESTATUS[0]}', "bash", *map(str, PROXY))
"""To somebody who reads nothing, and has left."""


async def test_a_refresh_that_succeeds_has_succeeded_though_its_words_can_not_be_written_there(
    machine: Machine,
) -> None:
    """The store's name has a letter that ASCII lacks."""
    env = machine.with_grant() | {"PYTHONIOENCODING": "ascii"}
    env |= {"PANDADOC_PROXY__CREDENTIALS__DEFAULT__OAUTH2__STORE__FILE": str(machine.home / "grant-\u0142.json")}
    ended = await machine.run("token", "refresh", env=env)
    assert (ended.code, ended.err) == (0, "")
    assert "grant-\\u0142.json" in ended.out


@pytest.mark.parametrize("how", [">/dev/full", ">&-", ">/dev/full 2>&1", ">/dev/full 2>&-", "<&-", "<&- >&- 2>&-"])
async def test_a_refresh_succeeds_though_nobody_can_be_told(machine: Machine, how: str) -> None:
    env = await seeded(machine)
    ended = await machine.run("token", "refresh", env=env, program=redirected(how))
    assert ended.code == 0
    if ">&-" not in how and "2>" not in how:
        said = (ended.out or ended.err).splitlines()
        assert [line.split(" ", 2)[0] for line in said] == ["Credential", "Kept"]
    assert (machine.folder / "grant.json").stat().st_size > 100
    assert len(machine.simulator.token_calls()) == 1


@pytest.mark.parametrize("how", [">/dev/full", ">/dev/full 2>&1", "| true"])
@pytest.mark.parametrize("command", [("status",), ("refresh", "--dry-run")])
async def test_a_healthy_grant_is_healthy_though_nobody_can_be_told(
    machine: Machine, command: tuple[str, ...], how: str
) -> None:
    """The exit code is what a script asks for; the table goes where people may see it."""
    env = await seeded(machine)
    ended = await machine.run("token", *command, env=env, program=redirected(how) if "|" not in how else PIPED)
    assert ended.code == 0
    if how == ">/dev/full":
        assert ended.err.startswith("default: healthy" if command == ("status",) else "ok   ")
        assert command == ("status",) or "Nothing was redeemed" in ended.err
        assert "No space left" not in ended.err


async def test_a_status_for_scripts_that_a_full_disk_does_not_take_is_told_as_not_written(machine: Machine) -> None:
    """A script would take what is cut off for the whole of it, or be told of the grant what is not so."""
    env = await seeded(machine)
    ended = await machine.run("token", "status", "--json", env=env, program=redirected(">/dev/full"))
    assert (ended.code, ended.err) == (1, "the status can't be written: No space left on device")


async def test_what_keeps_a_refresh_from_succeeding_shows_though_nobody_can_be_told(machine: Machine) -> None:
    env = await seeded(machine)
    machine.simulator.faults.add(Fault(path=TOKEN_PATH, status=400, body=b'{"error": "invalid_client"}'))
    ended = await machine.run("token", "refresh", env=env, program=redirected(">/dev/full 2>&1"))
    assert ended.code == 1
