"""The composition root: what the parts need of each other, start, and drain."""

import asyncio
import errno
import re
import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import aiohttp
import pytest
import yaml
from conftest import HouseMaker
from rig import House, ground, oauth, until
from wire import OK, Stage, caller, converse, upstream

from proxy.app import Proxy
from proxy.clock import SystemClock
from proxy.compose_credentials import CredentialParts, shared_stores
from proxy.config import BadConfig, Config, OAuth2Credential, load
from proxy.credential import grant_keeper
from proxy.listening import Address
from proxy.secrets import SecretUnavailable
from proxy.simulator import Fault, Simulator
from proxy.tasks import Tasks

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
OAUTH = "oauth2: {client_id: {env: ID}, client_secret: {env: SECRET}, refresh_token: {env: SEED}"
ENVIRON = {"ID": "one-client", "SECRET": "its-secret", "SEED": "a-seed"}

OLD, NEW = "an-old-key-of-an-app-0123456789abcdef", "a-new-key-of-an-app-0123456789abcdef"


def written(folder: Path, text: str) -> Path:
    (folder / "config.yaml").write_text(text)
    return folder / "config.yaml"


def put_together(folder: Path, text: str, environ: Mapping[str, str]) -> Config:
    """Load a configuration as a command does, which looks at its stores too."""
    return load(written(folder, text), environ=environ, checks=[partial(shared_stores, state_home=folder)])


def test_two_credentials_of_one_client_need_a_store_each(tmp_path: Path) -> None:
    """By default both would be named after the client, and spend each other's refresh tokens."""
    both = f"credentials:\n  default: {{{OAUTH}}}}}\n  other: {{{OAUTH}}}}}\n"
    with pytest.raises(BadConfig, match=r"config.yaml:3: credentials\.other\.oauth2\.store: credential default keeps"):
        put_together(tmp_path, both, ENVIRON)
    put_together(tmp_path, both.replace("}}\n  other", ", store: {file: ./own.json}}}\n  other"), ENVIRON)


@pytest.mark.parametrize("faulty", ["store: {redis: {url: }}", "store: {sql: x}", "token_url: nowhere"])
def test_what_can_not_be_read_is_not_taken_for_the_same_store(tmp_path: Path, faulty: str) -> None:
    both = f"credentials:\n  default: {{{OAUTH}, {faulty}}}}}\n  other: {{{OAUTH}}}}}\n"
    with pytest.raises(BadConfig) as bad:
        put_together(tmp_path, both, ENVIRON)
    assert [fault.place for fault in bad.value.faults] == [f"{tmp_path}/config.yaml:2"]


@pytest.mark.parametrize("store", ["null", "{redis: {url: {file: ./url}}}"])
def test_two_credentials_of_a_client_whose_id_is_still_to_come_need_a_store_each(tmp_path: Path, store: str) -> None:
    """They would have one when it is there, and it is too late then to end."""
    oauth = f"oauth2: {{client_id: {{file: ./id}}, client_secret: {{env: SECRET}}, store: {store}}}"
    both = f"credentials:\n  default: {{{oauth}}}\n  other: {{{oauth}}}\n"
    with pytest.raises(BadConfig, match=r"credentials\.other\.oauth2\.store: credential default keeps"):
        put_together(tmp_path, both, ENVIRON)
    put_together(tmp_path, both.replace("file: ./id", "file: ./other", 1), ENVIRON)


def with_stores(folder: Path, *stores: str) -> Config:
    lines = (f"  c{number}: {{{OAUTH}, store: {store}}}}}\n" for number, store in enumerate(stores))
    listener = "listeners: [{bind: '127.0.0.1:0', credential: c0}]\n"
    return put_together(folder, f"{listener}credentials:\n{''.join(lines)}", ENVIRON)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("{redis: {url: 'redis://cache'}}", "{redis: {url: 'redis://cache:6379/0'}}"),
        ("{redis: {url: 'redis://cache'}}", "{redis: {url: 'rediss://:password@CACHE'}}"),
        ("{redis: {url: 'redis://localhost'}}", "{redis: {url: 'redis://[::1]'}}"),
        ("{redis: {url: 'unix:///run/s'}}", "{redis: {url: 'unix://u:p@/run/s?db=0'}}"),
        ("{redis: {url: 'redis://a,b', cluster: true}}", "{redis: {url: 'redis://b,a', cluster: true}}"),
        ("{file: state/a.json}", "{file: ./state/../state/a.json}"),
        ("{file: state/a.json}", "{file: linked/a.json}"),
    ],
)
def test_one_place_written_in_two_ways_is_one(tmp_path: Path, one: str, other: str) -> None:
    (tmp_path / "linked").symlink_to("state")
    with pytest.raises(
        BadConfig, match=r"config.yaml:4: credentials\.c1\.oauth2\.store: credential c0 keeps its grant"
    ):
        with_stores(tmp_path, one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("{redis: {url: 'redis://cache'}}", "{redis: {url: 'redis://cache/1'}}"),
        ("{redis: {url: 'redis://cache'}}", "{redis: {url: 'redis://cache:6380'}}"),
        ("{redis: {url: 'redis://s', sentinel: one}}", "{redis: {url: 'redis://s', sentinel: other}}"),
        ("{file: state/a.json}", "{file: a.json}"),
    ],
)
def test_two_places_are_two(tmp_path: Path, one: str, other: str) -> None:
    with_stores(tmp_path, one, other)


def test_a_url_that_cant_be_used_is_not_compared(tmp_path: Path) -> None:
    """Whoever reads it says so."""
    with_stores(tmp_path, "{redis: {url: 'http://cache'}}", "{redis: {url: 'http://cache/0'}}")


async def test_a_file_that_comes_to_be_anothers_is_not_used(tmp_path: Path) -> None:
    """A volume may be mounted, and a link made, after the start."""
    config = with_stores(tmp_path, "{file: state/a.json}", "{file: linked/a.json}")
    (tmp_path / "linked").symlink_to("state")
    async with aiohttp.ClientSession() as session:
        parts = CredentialParts(config, tmp_path, SystemClock(), Tasks(), session)
        for credential in config.credentials.values():
            assert isinstance(credential, OAuth2Credential)
            with pytest.raises(SecretUnavailable, match=r"keeps its grant in the same file: give each one of its own"):
                await parts.store(credential).load()


async def test_two_clients_that_turn_out_to_be_one_never_share_a_grant(oauth_house: HouseMaker) -> None:
    """Only when both ids can be read does it show, and then the proxy runs."""
    late = {"oauth2": {"store": None, "client_id": {"file": "./late"}}}
    house = await oauth_house({"credentials": {"default": late}})
    (alice,) = house.settings["credentials"].values()
    house.environ = {**house.environ, "REFRESH_TOKEN_OF_BOB": house.simulator.issue_refresh_token()}
    bob = {"oauth2": {**alice["oauth2"], "client_id": "${CLIENT_ID}", "refresh_token": "${REFRESH_TOKEN_OF_BOB}"}}
    house.settings = {
        **house.settings,
        "credentials": {"default": alice, "bob": bob},
        "listeners": [{"bind": "127.0.0.1:0", "credential": name} for name in ("default", "bob")],
    }
    assert not list(shared_stores(house.config(), house.folder / "state"))
    await house.restart()
    await house.look()
    assert house.redeemed() == [house.environ["REFRESH_TOKEN_OF_BOB"]]
    (house.folder / "late").write_text(house.environ["CLIENT_ID"])
    house.clock.pass_(60)
    await house.look()
    seen = await house.get()
    assert seen.status == 503
    assert "credential bob keeps its grant in the same file" in seen.json["detail"]
    assert len(house.redeemed()) == 1


async def test_two_clients_that_turn_out_to_be_one_never_share_a_record_in_redis(tmp_path: Path) -> None:
    """Each app would be lent the other's token. Who is there first goes on."""
    oauth = "client_secret: {env: SECRET}, store: {redis: {url: 'redis://127.0.0.1:1'}}"
    both = "".join(f"  {name}: {{oauth2: {{client_id: {{file: ./{name}}}, {oauth}}}}}\n" for name in ("alice", "bob"))
    both = both.replace("127.0.0.1:1", "127.0.0.1:1/0", 1)
    config = put_together(
        tmp_path, f"credentials:\n{both}listeners:\n- {{bind: '127.0.0.1:0', credential: bob}}\n", ENVIRON
    )
    alice, bob = (each for each in config.credentials.values() if isinstance(each, OAuth2Credential))
    async with aiohttp.ClientSession() as session:
        parts = CredentialParts(config, tmp_path, SystemClock(), Tasks(), session)
        (tmp_path / "bob").write_text("one-client")
        owner = await parts.owner(bob)
        (tmp_path / "alice").write_text("another-client")
        assert await parts.owner(alice) != owner
        (tmp_path / "alice").write_text("one-client")
        with pytest.raises(
            SecretUnavailable, match="credential bob keeps its grant in the same place: give each a prefix"
        ):
            await parts.owner(alice)


def test_two_credentials_in_memory_need_a_refresh_token_each(tmp_path: Path) -> None:
    oauth = f"{OAUTH}, store: {{memory: true}}}}"
    both = f"credentials:\n  default: {{{oauth}}}\n  other: {{{oauth}}}\n"
    another = both.replace("env: SEED", "env: ANOTHER", 1)
    put_together(tmp_path, another, ENVIRON | {"ANOTHER": "another-seed"})
    for text, environ in ((both, ENVIRON), (another, ENVIRON | {"ANOTHER": ENVIRON["SEED"]})):
        with pytest.raises(BadConfig, match=r"credentials\.other\.oauth2\.refresh_token: credential default begins"):
            put_together(tmp_path, text, environ)


def test_a_missing_secret_file_does_not_keep_the_proxy_from_starting(tmp_path: Path) -> None:
    text = "credentials: {default: {oauth2: {client_id: {file: ./id}, client_secret: {file: ./secret}}}}"
    put_together(tmp_path, text, {})


async def test_a_secrets_file_that_arrives_later_is_found(api_key_house: HouseMaker, tmp_path: Path) -> None:
    key = tmp_path / "key"
    house = await api_key_house({"credentials": {"default": {"api_key": {"file": str(key)}}}})
    seen = await house.get()
    assert seen.status == 503
    assert "Retry-After" not in seen.headers
    assert str(key) in seen.json["detail"]
    key.write_text(house.environ["KEY"] + "\n")
    assert (await house.get()).status == 200


async def test_oauth_without_any_refresh_token_starts_and_says_what_to_do(oauth_house: HouseMaker) -> None:
    house = await oauth_house(refresh_token=None)
    seen = await house.get()
    assert seen.status == 503
    assert seen.json["type"] == "credential_dead"
    assert "credentials.default.oauth2.refresh_token" in seen.json["detail"]
    assert (await house.get("/healthz")).status == 200


async def test_two_listeners_that_meet_at_a_path_are_blamed_on_nobody_else(
    api_key_house: HouseMaker, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    path, other = f"unix:{tmp_path}/a.sock", f"unix:{tmp_path}/link/a.sock"
    twice = f"The configuration has it twice, for {path} is the same: choose another path for one of the two."
    house = await api_key_house()
    house.settings = {**house.settings, "listeners": [{"bind": path}, {"bind": other}]}
    with pytest.raises(OSError, match=rf"^{other}: the address is in use\. {re.escape(twice)}$"):
        await Proxy(house.config(), state_home=house.folder).start()
    assert not (tmp_path / "a.sock").exists()


async def test_two_listeners_that_meet_at_an_address_are_blamed_on_nobody_else(
    api_key_house: HouseMaker, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is a name, and what that stands for only the resolver knows."""

    async def resolved(_host: str, _port: int) -> list[Address]:
        return [(socket.AF_INET, ("127.0.0.1", 0))]

    house = await api_key_house()
    monkeypatch.setattr("proxy.binding.addresses_of", resolved)
    binds = [f"127.0.0.1:{unused_tcp_port}", f"app.example:{unused_tcp_port}"]
    house.settings = {**house.settings, "listeners": [{"bind": each, "anyone": True} for each in binds]}
    with pytest.raises(OSError, match=rf"^{binds[1]}: .* twice, for {binds[0]} is the same: choose another port"):
        await Proxy(house.config(), state_home=house.folder).start()


async def test_a_listener_of_the_other_family_is_not_blamed(api_key_house: HouseMaker, unused_tcp_port: int) -> None:
    house = await api_key_house()
    binds = [f"0.0.0.0:{unused_tcp_port}", f"[::1]:{unused_tcp_port}"]
    house.settings = {**house.settings, "listeners": [{"bind": each, "anyone": True} for each in binds]}
    with (
        socket.create_server(("::1", unused_tcp_port), family=socket.AF_INET6),
        pytest.raises(OSError, match=r"^\[::1\]:\d+: .*Choose another address, or free this one"),
    ):
        await Proxy(house.config(), state_home=house.folder).start()


async def test_an_address_in_use_leaves_nothing_bound(api_key_house: HouseMaker, unused_tcp_port: int) -> None:
    house = await api_key_house()
    listeners = [{"bind": f"127.0.0.1:{unused_tcp_port}"}, {"bind": f"127.0.0.1:{house.port}"}]
    house.settings = {**house.settings, "listeners": listeners}
    second = Proxy(house.config(), state_home=house.folder)
    with pytest.raises(OSError, match=rf"127.0.0.1:{house.port}: .*in use"):
        await second.start()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", unused_tcp_port)


async def test_a_port_that_takes_a_privilege_is_told_as_such(
    api_key_house: HouseMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To free it, or another address, would not help."""

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    house = await api_key_house()
    house.settings = {**house.settings, "listeners": [{"bind": "127.0.0.1:443"}]}
    monkeypatch.setattr(socket, "create_server", refused)
    with pytest.raises(OSError, match=r"^127\.0\.0\.1:443: Permission denied\. Ports below 1024 take root, CAP_NET"):
        await Proxy(house.config(), state_home=house.folder).start()


async def test_a_unix_socket_serves_too(api_key_house: HouseMaker, tmp_path: Path) -> None:
    house = await api_key_house({"listeners": [{"bind": f"unix:{tmp_path}/proxy.sock"}]})
    connector = aiohttp.UnixConnector(str(tmp_path / "proxy.sock"))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get("http://localhost/public/v1/x") as seen,
    ):
        assert seen.status == 404
    assert house.proxy.urls == [f"unix:{tmp_path}/proxy.sock"]


async def test_draining_finishes_what_is_in_flight_and_takes_nothing_new(api_key_house: HouseMaker) -> None:
    async def script(stage: Stage) -> None:
        while True:
            await stage.request()
            await stage.upstream.cue.wait()
            await stage.say(OK)

    async with upstream(script) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        async with caller(house.port) as busy, caller(house.port) as idle:
            await idle.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            await idle.answer()
            await busy.send(GET)
            await until(lambda: len(up.heard) == 1)
            draining = asyncio.create_task(house.proxy.drain())
            assert await idle.closed() == b""
            assert not house.proxy.ready
            with pytest.raises(ConnectionRefusedError):
                await converse(house.port, GET)
            async with house.client.get(f"{house.proxy.admin_url}/readyz") as ready:
                assert ready.status == 503
            async with house.client.get(f"{house.proxy.admin_url}/livez") as alive:
                assert alive.status == 200
            up.cue.set()
            seen = await busy.answer()
            assert seen.body == b"ok"
            assert seen.values(b"connection") == [b"close"]
            await busy.closed()
            await draining


async def test_draining_ends_even_if_a_request_does_not(api_key_house: HouseMaker) -> None:
    house = await api_key_house({"shutdown": {"drain": "200ms"}})
    house.simulator.faults.add(Fault(hang=True))
    async with caller(house.port) as line:
        await line.send(GET)
        await house.simulator.until(lambda: len(house.simulator.journal) == 1)
        async with asyncio.timeout(10):
            await house.proxy.drain()
        assert await line.closed() == b""


async def test_draining_lets_a_running_redeem_end_and_stores_it(oauth_house: HouseMaker, tmp_path: Path) -> None:
    """A redeem that is cut off is a lost grant."""
    house = await oauth_house()
    house.simulator.faults.add(Fault(path="/oauth2/access_token", delay=0.5, times=1))
    async with caller(house.port) as line:
        await line.send(GET)
        await house.simulator.until(lambda: len(house.simulator.token_calls()) == 1)
    await house.proxy.drain()
    assert '"generation": 1' in (tmp_path / "grant.json").read_text()


async def test_an_api_key_that_is_refused_is_read_again_and_the_request_replayed(
    api_key_house: HouseMaker, tmp_path: Path
) -> None:
    """Kubernetes rotates a mounted secret while we run."""
    key = tmp_path / "key"
    house = await api_key_house({"credentials": {"default": {"api_key": {"file": str(key)}}}})
    key.write_text(house.environ["KEY"])
    assert (await house.get()).status == 200
    house.simulator.revoke_api_keys()
    assert (await house.get()).status == 401
    assert len(house.simulator.api_calls()) == 2  # the key is the same: there is nothing to replay with
    key.write_text(house.simulator.issue_api_key())
    assert (await house.ask("POST", "/public/v1/nowhere", data=b"body")).status == 404
    assert [call.status for call in house.simulator.api_calls()][2:] == [401, 404]


async def lending_from_a_file(api_key_house: HouseMaker, folder: Path) -> tuple[House, Path]:
    """Have a house whose key is in a file and was lent, and whose larger uploads are not kept."""
    key = folder / "key"
    small = {"replay": {"max_body": "1KiB"}}
    house = await api_key_house({"credentials": {"default": {"api_key": {"file": str(key)}}}, **small})
    key.write_text(house.environ["KEY"])
    await house.get()
    return house, key


async def test_a_key_refused_under_an_upload_that_was_not_kept_is_read_again_by_the_next_request(
    api_key_house: HouseMaker, tmp_path: Path
) -> None:
    house, key = await lending_from_a_file(api_key_house, tmp_path)
    house.simulator.revoke_api_keys()
    assert (await house.ask("POST", "/public/v1/nowhere", data=b"x" * 5000)).status == 401
    key.write_text(house.simulator.issue_api_key())
    assert (await house.get("/public/v1/nowhere")).status == 404
    assert [call.status for call in house.simulator.api_calls()][-2:] == [401, 404]  # not found out by another 401


async def test_a_key_refused_under_such_an_upload_is_lent_on_while_its_file_is_away(
    api_key_house: HouseMaker, tmp_path: Path
) -> None:
    """One operation that a key may not call must not cost all the others, because files are swapped just now."""
    house, key = await lending_from_a_file(api_key_house, tmp_path)
    key.unlink()
    house.simulator.faults.add(Fault(path="/public/v1/documents", status=401, times=1))
    assert (await house.ask("POST", "/public/v1/documents", data=b"x" * 5000)).status == 401
    assert [(await house.get()).status for _ in range(2)] == [200, 200]
    async with house.client.get(f"{house.proxy.admin_url}/status") as answer:
        (told,) = (await answer.json())["credentials"]
    assert told["health"] == "failing"
    assert "does not exist" in told["advice"]


async def test_a_key_refused_under_such_an_upload_is_told_in_the_status_the_log_and_the_access_line(
    api_key_house: HouseMaker, tmp_path: Path
) -> None:
    """There may be no other requests than uploads."""
    house, _ = await lending_from_a_file(api_key_house, tmp_path)
    house.simulator.revoke_api_keys()
    assert (await house.ask("POST", "/public/v1/documents", data=b"x" * 5000)).status == 401
    await until(lambda: house.ear.heard("POST /public/v1/documents 401", "the request's body was not kept"))
    assert house.ear.heard("WARNING", "PandaDoc refused the API key")
    async with house.client.get(f"{house.proxy.admin_url}/status") as answer:
        (told,) = (await answer.json())["credentials"]
    assert (told["health"], told["state"]) == ("failing", "refused")


async def test_draining_does_not_wait_for_ever_for_a_store_that_stays_unwritable(
    oauth_house: HouseMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten tries, in which one that fails for a moment is well again; a redeem on its way would have more."""
    monkeypatch.setattr(grant_keeper, "LAST_PAUSE", 0.01)
    house = await oauth_house()
    await house.get()
    (tmp_path / "grant.json").write_text("somebody else's")
    house.simulator.revoke_access_tokens()
    assert (await house.get()).status == 200
    assert house.ear.heard("CRITICAL", "NOT stored")
    async with asyncio.timeout(10):
        await house.proxy.drain()
    assert sum("is still not stored" in line for line in house.ear.lines) >= grant_keeper.LAST_TRIES
    assert house.ear.heard("CRITICAL", "NEVER stored")


async def test_draining_waits_for_a_slow_callers_last_byte(api_key_house: HouseMaker) -> None:
    """An answer that is only in our buffer has not been given."""
    size = 20_000_000

    async def script(stage: Stage) -> None:
        await stage.request()
        await stage.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)

    async with upstream(script) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        async with caller(house.port) as line:
            await line.send(GET)
            head = await line.reader.readuntil(b"\r\n\r\n")
            draining = asyncio.create_task(house.proxy.drain())
            read = 0
            while piece := await line.reader.read(2**18):
                read += len(piece)
                await asyncio.sleep(0)
            assert b"200" in head
            assert read == size
            await draining


async def test_each_listener_lends_its_own_credential(api_key_house: HouseMaker) -> None:
    house = await api_key_house()
    other = house.simulator.issue_api_key()
    house.environ = {**house.environ, "OTHER": other}
    house.settings = {
        **house.settings,
        "listeners": [{"bind": "127.0.0.1:0"}, {"bind": "127.0.0.1:0", "credential": "other"}],
        "credentials": {"default": {"api_key": "${KEY}"}, "other": {"api_key": "${OTHER}"}},
    }
    await house.restart()
    for url in house.proxy.urls:
        async with house.client.get(f"{url}/public/v1/members/current") as answer:
            assert answer.status == 200
    lent = [call.authorization[0] for call in house.simulator.api_calls()]
    assert lent == [f"API-Key {house.environ['KEY']}", f"API-Key {other}"]


async def test_the_admin_port_echoes_nothing_and_knows_three_paths(api_key_house: HouseMaker) -> None:
    house = await api_key_house()
    assert house.proxy.admin_url is not None
    port = int(house.proxy.admin_url.rpartition(":")[2])
    house.secrets.add("sup3rs3cret")
    malformed = b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Api-Key: sup3rs3cret\x01\x00\r\n\r\n"
    seen = await converse(port, malformed)
    assert seen.start == b"HTTP/1.1 400 Bad Request"
    assert b"sup3rs3cret" not in seen.body
    cases = {
        b"GET /livez": b"200",
        b"HEAD /readyz": b"200",
        b"GET /startupz": b"200",
        b"GET /nowhere": b"404",
        b"POST /livez": b"405",
    }
    for asked, status in cases.items():
        answer = await converse(
            port, asked + b" HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n", bodiless=asked.startswith(b"HEAD")
        )
        assert answer.start.split()[1] == status
        assert answer.values(b"server") == [b"pandadoc-proxy"]


async def test_a_key_written_with_its_scheme_is_told_and_healed_by_the_next_request(
    api_key_house: HouseMaker, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    house = await api_key_house({"credentials": {"default": {"api_key": {"file": str(key)}}}})
    key.write_text(f"API-Key {house.environ['KEY']}")
    seen = await house.get()
    assert seen.status == 503
    assert "give the key alone" in seen.json["detail"]
    key.write_text(house.environ["KEY"])
    assert (await house.get()).status == 200


async def test_a_pair_that_is_only_in_memory_is_stored_even_when_the_end_is_at_once(
    oauth_house: HouseMaker, tmp_path: Path
) -> None:
    """A second signal ends everything that can be begun again; this can't."""
    folder = tmp_path / "folder"
    house = await oauth_house(store={"file": str(folder / "grant.json")})
    await house.get()
    folder.rename(tmp_path / "aside")
    folder.write_text("a file where the store's folder should be")
    house.simulator.revoke_access_tokens()
    assert (await house.get()).status == 200
    folder.unlink()
    (tmp_path / "aside").rename(folder)
    await house.proxy.stop()
    assert '"generation": 2' in (folder / "grant.json").read_text()


async def test_a_look_that_hangs_holds_up_no_other(tmp_path: Path, stack: AsyncExitStack) -> None:
    """A cluster's login program has a minute; a client's key is another matter."""
    simulator = Simulator()
    await simulator.start()
    stack.push_async_callback(simulator.stop)
    program, kubeconfig, key = tmp_path / "program", tmp_path / "kubeconfig", tmp_path / "key"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/hangs\nexec sleep 600\n")
    program.chmod(0o755)
    login = {"apiVersion": "client.authentication.k8s.io/v1", "command": str(program), "interactiveMode": "Never"}
    cluster = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "clusters": [{"name": "here", "cluster": {"server": "http://127.0.0.1:9"}}],
        "users": [{"name": "me", "user": {"exec": login}}],
    }
    kubeconfig.write_text(yaml.safe_dump(cluster))
    key.write_text(OLD)
    store = {"kubernetes": {"secret": "grant", "namespace": "shop", "kubeconfig": str(kubeconfig)}}
    settings, environ = oauth(simulator, store)
    settings["credentials"]["other"] = {"api_key": {"env": "OTHER"}}
    app = {"key": {"file": str(key)}, "overlap": "0s"}
    settings["listeners"] = [{"bind": "127.0.0.1:0", "credential": "other", "clients": {"app": app}}]
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(ground(simulator) | settings))
    proxy = Proxy(load(config, environ=environ | {"OTHER": simulator.issue_api_key()}), state_home=tmp_path)
    await proxy.start()
    stack.push_async_callback(proxy.stop)
    await until((tmp_path / "hangs").exists)
    async with aiohttp.ClientSession(headers={"X-Proxy-Key": OLD}) as client:

        async def status() -> int:
            async with client.get(f"{proxy.urls[0]}/public/v1/members/current") as answer:
                return answer.status

        assert await status() == 200
        key.write_text(NEW)
        async with asyncio.timeout(20):
            while await status() == 200:  # noqa: ASYNC110 - the proxy tells nobody
                await asyncio.sleep(0.1)
