"""Another configuration while requests are served: what has begun is not lost, what lives is not made twice."""

import asyncio
import copy
import errno
import os
import re
import shutil
import socket
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme
import yaml
from commands.process import until_closed
from conftest import HouseMaker
from kubernetes_api import NAMESPACE, SECRET, KubernetesApi
from rig import House, until
from tls import CertificateFolder, trusting
from wire import OK, answering, caller, on_cue, upstream

from proxy.condition import condition
from proxy.config import BadConfig, Config, Log, load
from proxy.disk import Disk
from proxy.page.view import view
from proxy.reloads import TRY_AGAIN, Reloads
from proxy.service_manager import ALIVE, ServiceManager
from proxy.signals import Signals
from proxy.simulator import Fault
from proxy.simulator.journal import TOKEN_PATH

SHOP = {"X-Proxy-Key": "shop-0123456789abcdef"}
GET = b"GET /public/v1/members/current HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def reload(house: House, **changes: Any) -> None:
    house.settings = {**house.settings, **changes}
    await house.proxy.reload(house.config())


def _shop(most: int) -> dict[str, Any]:
    """Return settings for a listener with one client."""
    client = {"key": {"value": SHOP["X-Proxy-Key"]}, "max_requests": most}
    return {"listeners": [{"bind": "127.0.0.1:0", "clients": {"shop": client}}]}


@pytest.fixture
async def house(api_key_house: HouseMaker) -> House:
    return await api_key_house()


async def test_a_connection_outlives_a_reload_and_meets_the_new_policy(house: House) -> None:
    async with caller(house.port) as line:
        await line.send(GET)
        assert (await line.answer()).start == b"HTTP/1.1 200 OK"
        await reload(house, policy={"rules": [{"deny": "/public/v1/members/**"}]})
        await line.send(GET)
        assert (await line.answer()).start == b"HTTP/1.1 403 Forbidden"
    await reload(house, policy={})
    assert (await house.get()).status == 200


async def test_a_request_ends_on_the_configuration_that_it_began_with(api_key_house: HouseMaker) -> None:
    async with upstream(on_cue) as first, upstream(answering(OK)) as second:
        house = await api_key_house({"upstream": {"url": first.url}})
        begun = asyncio.ensure_future(house.get("/first"))
        await until(lambda: len(first.heard) == 1)
        await reload(house, upstream={"url": second.url})
        assert (await house.get("/second")).status == 200
        assert [message.start for message in second.heard] == [b"GET /second HTTP/1.1"]
        assert house.proxy._retired  # noqa: SLF001 - nothing else shows what is kept
        first.cue.set()
        assert (await begun).status == 200
        await until(lambda: not house.proxy._retired)  # noqa: SLF001 - the same


async def test_what_an_earlier_request_needs_outlives_the_reloads_after_it(api_key_house: HouseMaker) -> None:
    """Two snapshots share a pool; the older one ends first, and the pool is not its to close."""
    async with upstream(on_cue) as first, upstream(answering(OK)) as second:
        house = await api_key_house({"upstream": {"url": first.url}})
        await reload(house, policy={"rules": [{"deny": "/nothing"}]})
        await until(lambda: not house.proxy._retired)  # noqa: SLF001 - nothing else shows what is kept
        begun = [asyncio.ensure_future(house.get("/one"))]
        await until(lambda: len(first.heard) == 1)
        await reload(house, policy={"rules": [{"deny": "/nothing-else"}]})
        begun.append(asyncio.ensure_future(house.get("/two")))
        await until(lambda: len(first.heard) == 2)
        begun[0].cancel()
        await reload(house, upstream={"url": second.url})
        await until(lambda: len(house.proxy._retired) == 1)  # noqa: SLF001 - the same
        first.cue.set()
        assert (await begun[1]).status == 200


async def test_requests_in_flight_count_on_through_a_reload_and_the_new_limit_is_theirs_too(
    api_key_house: HouseMaker,
) -> None:
    """Else each reload, of the log's level too, would let in as many again."""
    async with upstream(on_cue) as up:
        house = await api_key_house({"upstream": {"url": up.url}, **_shop(1), "limits": {"max_requests": 3}})
        begun = [asyncio.ensure_future(house.get(headers=SHOP))]
        await until(lambda: len(up.heard) == 1)
        await reload(house, log={"level": "error"})
        assert "max_requests of client shop" in (await house.get(headers=SHOP)).json["detail"]
        assert condition(house.proxy._vitals)["listeners"][0]["clients"][0]["requests_in_flight"] == 1  # noqa: SLF001 - /status
        with pytest.raises(OSError, match="in use"):
            await reload(house, **_shop(3), admin={"bind": house.url.removeprefix("http://")})
        assert (await house.get(headers=SHOP)).status == 503  # what is not taken changes no limit
        await reload(house, **_shop(3), admin={"bind": "127.0.0.1:0"})
        begun.append(asyncio.ensure_future(house.get(headers=SHOP)))
        await until(lambda: len(up.heard) == 2)
        await reload(house, limits={"max_requests": 2})
        assert "limits.max_requests" in (await house.get(headers=SHOP)).json["detail"]
        up.cue.set()
        assert [seen.status for seen in await asyncio.gather(*begun)] == [200, 200]
        assert (await house.get(headers=SHOP)).status == 200


async def test_bytes_that_are_kept_count_on_when_there_may_be_more_or_fewer(api_key_house: HouseMaker) -> None:
    """Else they would be bounded by the old and the new limit together (law 12)."""
    async with upstream(on_cue) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        begun = asyncio.ensure_future(house.ask("POST", "/kept", data=b"x" * 1000))
        await until(lambda: len(up.heard) == 1)
        await reload(house, replay={"max_body": 1000, "max_total": 1500})
        assert condition(house.proxy._vitals)["replay_kept_bytes"] == 1000  # noqa: SLF001 - /status
        up.cue.set()
        assert (await begun).status == 200
        assert condition(house.proxy._vitals)["replay_kept_bytes"] == 0  # noqa: SLF001 - the same


async def test_connections_that_an_earlier_upstreams_requests_end_on_are_told_and_counts_go_on(
    api_key_house: HouseMaker,
) -> None:
    async with upstream(on_cue) as first, upstream(answering(OK)) as second:
        house = await api_key_house({"upstream": {"url": first.url}})
        begun = asyncio.ensure_future(house.get("/first"))
        await until(lambda: len(first.heard) == 1)
        await reload(house, upstream={"url": second.url, "max_connections": 7})
        assert (await house.get("/second")).status == 200
        told = {"connections_busy": 1, "connections_idle": 1, "connections_created": 2, "connections_most": 7}
        assert told.items() <= condition(house.proxy._vitals)["upstream"].items()  # noqa: SLF001 - /status
        first.cue.set()
        assert (await begun).status == 200
        told = {"connections_busy": 0, "connections_idle": 1, "connections_created": 2}
        await until(lambda: told.items() <= condition(house.proxy._vitals)["upstream"].items())  # noqa: SLF001 - the same


async def test_a_listener_comes_and_goes_with_its_requests(api_key_house: HouseMaker, unused_tcp_port: int) -> None:
    async with upstream(on_cue) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        await reload(house, listeners=[{"bind": "127.0.0.1:0"}, {"bind": f"127.0.0.1:{unused_tcp_port}"}])
        assert len(house.proxy.urls) == 2
        async with caller(unused_tcp_port) as line:
            await line.send(GET)
            await until(lambda: len(up.heard) == 1)
            await reload(house, listeners=[{"bind": "127.0.0.1:0"}])
            await until_closed(f"http://127.0.0.1:{unused_tcp_port}")
            proxy = house.proxy
            assert view(proxy._vitals, proxy._recent, house.clock.wall).in_flight == 1  # noqa: SLF001 - the page
            up.cue.set()
            assert (await line.answer()).start == b"HTTP/1.1 200 OK"


async def test_a_request_that_has_begun_on_a_listener_that_is_gone_is_waited_for_by_a_drain(
    house: House, unused_tcp_port: int
) -> None:
    """A reload moved it, and the process was told to end in the same minute."""
    async with caller(house.port) as line:
        await line.send(GET[:20])
        await reload(house, listeners=[{"bind": f"127.0.0.1:{unused_tcp_port}"}])
        draining = asyncio.ensure_future(house.proxy.drain())
        await until_closed(house.url)
        await asyncio.sleep(0.5)  # decides nothing: a drain that does not wait is over by then
        assert not draining.done()
        await line.send(GET[20:])
        assert (await line.answer()).start == b"HTTP/1.1 200 OK"
        await draining


@pytest.mark.parametrize("how", ["drain", "stop"])
async def test_a_request_on_a_listener_that_is_gone_is_cut_off_at_the_end_and_told_nothing_untrue(
    api_key_house: HouseMaker, unused_tcp_port: int, how: str
) -> None:
    """PandaDoc did nothing wrong: its connection must not be closed first."""
    async with upstream(on_cue) as up:
        house = await api_key_house({"upstream": {"url": up.url}, "shutdown": {"drain": "100ms"}})
        async with caller(house.port) as line:
            await line.send(GET)
            await until(lambda: len(up.heard) == 1)
            await reload(house, listeners=[{"bind": f"127.0.0.1:{unused_tcp_port}"}], policy={"profiles": ["no-send"]})
            async with asyncio.timeout(10):
                await (house.proxy.drain() if how == "drain" else house.proxy.stop())
            assert await line.closed() == b""


async def test_an_address_that_cant_be_had_changes_nothing(house: House) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listeners = [{"bind": "127.0.0.1:0"}, {"bind": f"127.0.0.1:{taken.getsockname()[1]}"}]
        with pytest.raises(OSError, match="in use"):
            await reload(house, listeners=listeners, policy={"rules": [{"deny": "/**"}]})
    assert len(house.proxy.urls) == 1
    assert (await house.get()).status == 200


@pytest.fixture
def name_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Say of `lost.example` that there is no such name, once the event is set."""
    answers, real = threading.Event(), socket.getaddrinfo

    def asked(host: str, *rest: Any, **more: Any) -> Any:
        if host == "lost.example":
            answers.wait()
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", asked)
    yield answers
    answers.set()


async def test_nobody_is_let_in_at_a_new_address_before_the_whole_configuration_is_taken(
    house: House, unused_tcp_port: int, name_server: threading.Event
) -> None:
    """It would be served as a configuration says that is not taken, and cut off."""
    new, lost = {"bind": f"127.0.0.1:{unused_tcp_port}"}, {"bind": "lost.example:1", "anyone": True}
    trying = asyncio.ensure_future(reload(house, listeners=[{"bind": "127.0.0.1:0"}, new, lost]))
    await until(lambda: any(each.name == "look a name up" for each in threading.enumerate()))
    for _ in range(20):
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", unused_tcp_port)
    name_server.set()
    with pytest.raises(OSError, match="can't be resolved"):
        await trying
    assert (await house.get()).status == 200


async def test_the_names_of_new_addresses_are_looked_up_together(house: House, name_server: threading.Event) -> None:
    """Where no name server answers, each would take its five seconds."""
    names = [{"bind": f"lost.example:{port}", "anyone": True} for port in (1, 2, 3)]
    trying = asyncio.ensure_future(reload(house, listeners=names))
    await until(lambda: sum(each.name == "look a name up" for each in threading.enumerate()) >= len(names))
    name_server.set()
    with pytest.raises(OSError, match=r"^lost\.example:1: the name can't be resolved: Name or.*\. Check the name and"):
        await trying


async def test_who_comes_to_a_new_address_while_another_is_refused_is_not_served(
    house: House, unused_tcp_port: int
) -> None:
    def ask() -> bytes:
        """From a thread, for as little as there is between one address and the next."""
        answer = b""
        while not over.is_set() and not answer:
            with suppress(OSError), socket.create_connection(("127.0.0.1", unused_tcp_port), timeout=5) as line:
                line.sendall(GET)
                answer = line.recv(100)
        return answer

    over = threading.Event()
    asking = asyncio.ensure_future(asyncio.to_thread(ask))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = [0, unused_tcp_port, taken.getsockname()[1]]
        for _ in range(50):
            with pytest.raises(OSError, match="in use"):
                await reload(house, listeners=[{"bind": f"127.0.0.1:{port}"} for port in ports])
            await asyncio.sleep(0)
    over.set()
    assert await asking == b""


async def test_a_key_that_cant_be_used_is_not_told_of_by_a_configuration_that_is_not_taken(house: House) -> None:
    """It is tried again and again, and would tell each time."""
    clients = {"app": {"key": {"file": str(house.folder / "short")}}}
    (house.folder / "short").write_text("short")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listeners = [{"bind": "127.0.0.1:0", "clients": clients}, {"bind": f"127.0.0.1:{taken.getsockname()[1]}"}]
        with pytest.raises(OSError, match="in use"):
            await reload(house, listeners=listeners)
        assert not house.ear.heard("The key of client app")
    await reload(house, listeners=listeners[:1])
    assert house.ear.heard("The key of client app is not taken")


@pytest.mark.parametrize("section", ["listeners", "admin"])
async def test_an_address_that_the_proxy_itself_is_in_the_way_of_takes_a_restart(house: House, section: str) -> None:
    """Its own socket goes on until the new one is there: of the port at one address and at all, only one can be had."""
    port = int((house.url if section == "listeners" else house.proxy.admin_url or "").rpartition(":")[2])
    with pytest.raises(OSError, match=rf"^0\.0\.0\.0:{port}: .*127\.0\.0\.1:{port}.*[Rr]estart"):
        await reload(house, listeners=[{"bind": f"0.0.0.0:{port}", "anyone": True}])
    assert (await house.get()).status == 200


@pytest.mark.parametrize("section", ["listeners", "admin"])
async def test_a_path_that_the_proxy_itself_is_in_the_way_of_takes_a_restart_too(
    api_key_house: HouseMaker, tmp_path: Path, section: str
) -> None:
    """Nobody is to look for another process; that the path is spelled otherwise changes nothing."""
    (tmp_path / "link").symlink_to(tmp_path)
    house = await api_key_house({"listeners": [{"bind": "127.0.0.1:0"}, {"bind": f"unix:{tmp_path}/a.sock"}]})
    other = {"bind": f"unix:{tmp_path}/link/a.sock"}
    ours = f"This proxy itself listens at unix:{tmp_path}/a.sock: restart it, or choose another path."
    with pytest.raises(OSError, match=rf"^unix:{tmp_path}/link/a.sock: the address is in use\. {re.escape(ours)}$"):
        await reload(house, **{section: [other] if section == "listeners" else other})
    assert (await house.get()).status == 200


async def test_a_path_at_which_another_listens_is_not_blamed_on_a_socket_of_ours(
    api_key_house: HouseMaker, tmp_path: Path
) -> None:
    house = await api_key_house({"listeners": [{"bind": "127.0.0.1:0"}, {"bind": f"unix:{tmp_path}/a.sock"}]})
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(f"{tmp_path}/b.sock")
        taken.listen(1)
        with pytest.raises(OSError, match="or end that process"):
            await reload(house, listeners=[{"bind": f"unix:{tmp_path}/b.sock"}])


async def test_a_name_for_an_address_that_the_proxy_listens_at_takes_a_restart_too(house: House) -> None:
    port = int(house.url.rpartition(":")[2])
    with pytest.raises(OSError, match=rf"^localhost:{port}: .* listens at 127\.0\.0\.1:{port}: restart it"):
        await reload(house, listeners=[{"bind": f"localhost:{port}"}])
    assert (await house.get()).status == 200


async def test_an_address_that_another_has_is_not_blamed_on_a_port_of_ours(house: House) -> None:
    port = int(house.url.rpartition(":")[2])
    with socket.create_server(("127.0.0.2", port)), pytest.raises(OSError, match=r"in use\. .*free this one"):
        await reload(house, listeners=[{"bind": "127.0.0.1:0"}, {"bind": f"127.0.0.2:{port}"}])
    assert (await house.get()).status == 200


async def test_a_grant_is_never_redeemed_twice_because_of_a_reload(oauth_house: HouseMaker) -> None:
    """The credential goes on as the same object, with its new settings."""
    house = await oauth_house()
    assert (await house.get()).status == 200
    credential = house.credential
    over = asyncio.Event()

    async def app() -> set[int]:
        statuses = set()
        while not over.is_set():
            statuses.add((await house.get()).status)
        return statuses

    apps = [asyncio.ensure_future(app()) for _ in range(4)]
    for turn in range(12):
        house.settings["credentials"]["default"]["oauth2"]["refresh_before"] = f"{turn + 1}m"
        if turn % 4 == 0:
            house.simulator.revoke_access_tokens()
        await reload(house, upstream={**house.settings["upstream"], "max_connections": 50 + turn})
        assert house.credential is credential
        enough = len(house.simulator.journal) + 10
        await until(lambda enough=enough: len(house.simulator.journal) > enough)  # type: ignore[misc]
    over.set()
    assert [await each for each in apps] == [{200}] * 4
    redeemed = house.redeemed()
    assert len(redeemed) == len(set(redeemed))
    await until(lambda: not house.proxy._retired)  # noqa: SLF001 - nothing else shows what is kept


async def test_tls_can_be_switched_on_at_the_same_address(
    house: House, tmp_path_factory: pytest.TempPathFactory
) -> None:
    certificates = CertificateFolder(tmp_path_factory.mktemp("tls"))
    certificates.renew()
    await reload(house, listeners=[{"bind": "127.0.0.1:0", "tls": certificates.files}])
    assert house.url.startswith("https://")
    async with house.client.get(f"{house.url}/public/v1/members/current", ssl=trusting(certificates.ca)) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("before", ["no TLS", "no authority", "another authority"])
async def test_no_connection_outlives_a_reload_to_a_listener_that_asks_its_callers_for_more(
    api_key_house: HouseMaker, tmp_path_factory: pytest.TempPathFactory, before: str
) -> None:
    """The request that it has is answered. A reload that asks for the same leaves it alone."""
    certificates, old, new = CertificateFolder(tmp_path_factory.mktemp("tls")), trustme.CA(), trustme.CA()
    certificates.renew()
    certificates.put(old=old.cert_pem.bytes(), new=new.cert_pem.bytes(), same=new.cert_pem.bytes())

    def listeners(client_ca: str) -> list[dict[str, Any]]:
        tls = certificates.files | ({"client_ca": str(certificates.path / client_ca)} if client_ca else {})
        return [{"bind": "127.0.0.1:0", "tls": tls}]

    plain = [{"bind": "127.0.0.1:0"}]
    earlier = {"no TLS": plain, "no authority": listeners(""), "another authority": listeners("old")}
    async with upstream(on_cue) as up:
        house = await api_key_house({"upstream": {"url": up.url}, "listeners": earlier[before]})
        context = None if before == "no TLS" else trusting(certificates.ca, old.issue_cert("app@example.com"))
        async with caller(house.port, context) as busy, caller(house.port, context) as idle:
            await busy.send(GET)
            await until(lambda: len(up.heard) == 1)
            await reload(house, listeners=listeners("new"))
            assert await idle.closed() == b""
            up.cue.set()
            assert (await busy.answer()).body == b"ok"
            assert await busy.closed() == b""
        async with caller(house.port, trusting(certificates.ca, new.issue_cert("app@example.com"))) as known:
            await reload(house, listeners=listeners("same"))
            await known.send(GET)
            assert (await known.answer()).body == b"ok"


async def test_the_admin_port_can_be_moved_and_closed(house: House) -> None:
    before = house.proxy.admin_url
    assert before is not None
    await reload(house, admin={"bind": "[::1]:0"})
    assert house.proxy.admin_url is not None
    assert house.proxy.admin_url.startswith("http://[::1]:")
    async with house.client.get(f"{house.proxy.admin_url}/readyz") as answer:
        assert answer.status == 200
    await reload(house, admin=None)
    assert house.proxy.admin_url is None


async def test_a_key_that_was_replaced_stays_good_for_its_overlap_through_a_reload(house: House) -> None:
    path = house.folder / "app-key"
    path.write_text("old-0123456789abcdef")
    clients = {"app": {"key": {"file": str(path)}}}
    house.secrets |= {"old-0123456789abcdef", "new-0123456789abcdef"}
    await reload(house, listeners=[{"bind": "127.0.0.1:0", "clients": clients}])
    path.write_text("new-0123456789abcdef")
    await house.look()
    await reload(house, policy={"profiles": ["no-delete"]})
    for key in ("old-0123456789abcdef", "new-0123456789abcdef"):
        assert (await house.get(headers={"X-Proxy-Key": key})).status == 200


async def test_another_client_changes_nothing_about_the_keys_that_are_known(house: House) -> None:
    """Not the one before, which is good for its overlap, and not the one whose file is gone."""
    names = ("app", "lost", "another")
    paths = {name: house.folder / f"{name}-key" for name in names}
    keys = {name: f"{name}-0123456789abcdef" for name in names}
    house.secrets |= {*keys.values(), "new-0123456789abcdef"}
    for name, path in paths.items():
        path.write_text(keys[name])
    clients = {name: {"key": {"file": str(path)}} for name, path in paths.items()}
    another = {"another": clients.pop("another")}
    await reload(house, listeners=[{"bind": "127.0.0.1:0", "clients": clients}])
    paths["app"].write_text("new-0123456789abcdef")
    paths["lost"].unlink()
    await reload(house, listeners=[{"bind": "127.0.0.1:0", "clients": clients | another}])
    for key in (*keys.values(), "new-0123456789abcdef"):
        assert (await house.get(headers={"X-Proxy-Key": key})).status == 200
    await reload(house, listeners=[{"bind": "127.0.0.1:0", "clients": another}])
    assert (await house.get(headers={"X-Proxy-Key": keys["lost"]})).status == 403
    app = {"app": {"key": {"file": str(paths["app"])}, "overlap": "0s"}}
    paths["app"].write_text(keys["app"])
    await reload(house, listeners=[{"bind": "127.0.0.1:0", "clients": app}])
    assert (await house.get(headers={"X-Proxy-Key": "new-0123456789abcdef"})).status == 403


async def test_a_credential_that_is_renamed_is_told_of_by_its_new_name(oauth_house: HouseMaker) -> None:
    house = await oauth_house(refresh_before="60d")
    await house.look()
    house.simulator.faults.add(Fault(path=TOKEN_PATH, status=503))
    (section,) = house.settings["credentials"].values()
    listeners = [{**each, "credential": "renamed"} for each in house.settings["listeners"]]
    await reload(house, credentials={"renamed": section}, listeners=listeners)
    house.clock.pass_(364 * 86400)
    await house.look()
    await house.look()
    assert house.ear.heard("CRITICAL", "credential renamed", "expires in")


async def test_what_is_told_of_one_grant_among_several_names_it(oauth_house: HouseMaker) -> None:
    """The commands ask for the name, from the reload on that brings another grant."""
    house = await oauth_house(simulator={"expires_in": 3600})
    assert (await house.get()).status == 200
    ((name, section),) = house.settings["credentials"].items()
    assert name == "default"
    another = copy.deepcopy(section)
    another["oauth2"] |= {"refresh_token": "${REFRESH_TOKEN_OF_ANOTHER}", "store": {"memory": True}}
    house.environ = {**house.environ, "REFRESH_TOKEN_OF_ANOTHER": house.simulator.issue_refresh_token()}
    (listener,) = house.settings["listeners"]
    listeners = [{**listener, "credential": name}]
    await reload(house, credentials={name: section, "another": another}, listeners=listeners)
    house.simulator.revoke_grants()
    house.clock.pass_(3601)
    assert "Run `pandadoc-proxy login --credential default`" in (await house.get()).json["detail"]


async def test_a_fault_of_ours_in_a_reload_ends_nothing(house: House) -> None:
    def load(_earlier: Config) -> Config:
        raise RuntimeError("a bug in the loader")

    await Reloads(house.proxy, load, ServiceManager({})).reload(asked=True)
    assert house.ear.heard("the new configuration is not taken")
    assert told_of_config(house)["refused"] == ["a fault of ours: the new configuration is not taken"]
    assert (await house.get()).status == 200


async def test_a_thread_that_is_not_to_be_had_for_a_reload_is_no_fault_of_ours(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is one is not tried again."""

    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    served = house.proxy.config
    reloads = Reloads(house.proxy, lambda _: msgspec.structs.replace(served, log=Log(access=False)), ServiceManager({}))
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refused)
        await reloads.reload(asked=True)
    (fault,) = told_of_config(house)["refused"]
    assert "no thread could be started" in fault
    await reloads.reload(asked=False, again=True)
    assert told_of_config(house)["refused"] == []


def told_of_config(house: House) -> dict[str, Any]:
    """Return what /status tells of the configuration."""
    told: dict[str, Any] = condition(house.proxy._vitals)["config"]  # noqa: SLF001 - /status, without a reply
    return told


@pytest.mark.parametrize("how", ["mended", "put back"])
async def test_a_configuration_that_is_not_taken_is_told_of_until_it_is_mended(house: House, how: str) -> None:
    path = house.folder / "config.yaml"
    before = path.read_text()
    taken_at = told_of_config(house)["taken_at"]
    reloads = Reloads(
        house.proxy, lambda earlier: load(path, environ=house.environ, earlier=earlier), ServiceManager({})
    )
    house.clock.pass_(60)
    path.write_text(before + "log: {level: hush}\npolicy: 7\n")
    await reloads.reload(asked=True)
    first, second = told_of_config(house)["refused"]
    assert ("log.level" in first, "policy" in second) == (True, True)
    assert await gauge(house, "config_last_reload_successful") == 0
    assert told_of_config(house)["taken_at"] == taken_at
    path.write_text(before + ("policy: {profiles: [no-delete]}\n" if how == "mended" else ""))
    await reloads.reload(asked=True)
    assert told_of_config(house)["refused"] == []
    assert await gauge(house, "config_last_reload_successful") == 1
    assert (told_of_config(house)["taken_at"] == taken_at) == (how == "put back")


async def gauge(house: House, name: str) -> float:
    async with house.client.get(f"{house.proxy.admin_url}/metrics") as answer:
        return float(re.findall(rf"(?m)^pandadoc_proxy_{name} (\S+)$", await answer.text())[0])


async def test_a_configuration_is_read_once_for_as_long_as_that_takes_and_meanwhile_the_manager_hears_that_we_live(
    house: House, tmp_path: Path
) -> None:
    """A large one on a tenth of a processor takes longer than any disk may."""
    changed = load(house.folder / "config.yaml", environ={**house.environ, "PANDADOC_PROXY__LOG__LEVEL": "debug"})
    whole, reads = threading.Event(), list[Config]()

    def slow(earlier: Config) -> Config:
        reads.append(earlier)
        whole.wait(30)
        return changed

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(0)
        manager = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "3000000"})
        reloading = asyncio.ensure_future(Reloads(house.proxy, slow, manager).reload(asked=True))
        heard = [await asyncio.get_running_loop().sock_recv(systemd, 100) for _ in range(3)]
    assert heard == [ALIVE.encode()] * 3
    await until(lambda: house.ear.heard("WARNING", "takes long: it is large"))
    assert (await house.get()).status == 200
    whole.set()
    await reloading
    assert house.proxy.config is changed
    assert len(reads) == 1


async def test_the_manager_hears_that_we_live_while_a_reload_waits_for_a_name(
    house: House, tmp_path: Path, name_server: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.reloads.LOOK_EVERY", 0.02)
    path = house.folder / "config.yaml"
    path.write_text(yaml.safe_dump({**house.settings, "listeners": [{"bind": "lost.example:1", "anyone": True}]}))
    changed = load(path, environ=house.environ)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(0)
        manager = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "3000000"})
        reloading = asyncio.ensure_future(Reloads(house.proxy, lambda _: changed, manager).reload(asked=True))
        await until(lambda: any(each.name == "look a name up" for each in threading.enumerate()))
        heard = [await asyncio.get_running_loop().sock_recv(systemd, 100) for _ in range(5)]
        name_server.set()
        await reloading
    assert heard == [ALIVE.encode()] * 5
    assert house.ear.heard("ERROR", "lost.example:1: the name can't be resolved")


class Looks(Signals):
    """What happens before each look at the file; `_steps` is used up by `end_within`, and then the end comes."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        super().__init__()
        self._steps = list(steps)

    async def end_within(self, _seconds: float) -> bool:
        if self._steps:
            self._steps.pop(0)()
            return False
        return True

    def asked_again(self) -> bool:
        return False


async def test_a_file_that_is_being_written_is_taken_when_it_is_whole(house: House) -> None:
    """Half of it may well be a configuration too, with a part of the policy or with none."""
    path = house.folder / "config.yaml"
    before, half = path.read_text(), yaml.safe_dump({**house.settings, "upstream": {"url": "http://127.0.0.1:1"}})
    whole = half + "policy: {profiles: [read-only]}\n"
    taken: list[Config] = []

    def write(text: str) -> None:
        path.write_text(text)
        taken.append(house.proxy.config)

    looks = Looks(*(partial(write, text) for text in (half, before, half, whole, whole, whole)))
    reloads = Reloads(
        house.proxy, lambda earlier: load(path, environ=house.environ, earlier=earlier), ServiceManager({})
    )
    await reloads.until_the_end(looks)
    assert [config.upstream.url.port == 1 for config in taken] == [False] * 5 + [True]
    assert house.proxy.config.policy.profiles == ("read-only",)
    assert sum("the configuration is reloaded" in line for line in house.ear.lines) == 1


@pytest.mark.parametrize(
    ("put", "why"),
    [
        (lambda path: path.mkdir(), "Is a directory"),
        (lambda path: path.symlink_to("/proc/self/mem"), "Input/output error"),  # to root, too
    ],
)
async def test_a_file_that_cant_be_read_any_more_is_told_until_it_can(
    house: House, put: Callable[[Path], object], why: str
) -> None:
    """It may hold a stricter policy, which whoever wrote it believes in force."""
    path, moved = house.folder / "config.yaml", house.folder / "moved.yaml"
    served, told = house.proxy.config, list[list[str]]()

    def look() -> None:
        told.append(told_of_config(house)["refused"])

    def away() -> None:
        path.rename(moved)
        put(path)

    def back() -> None:
        look()
        path.rename(house.folder / "put-there")
        moved.rename(path)

    looks = Looks(look, away, *[look] * 2 * TRY_AGAIN, back, *[look] * 3)
    reloads = Reloads(
        house.proxy, lambda earlier: load(path, environ=house.environ, earlier=earlier), ServiceManager({})
    )
    await reloads.until_the_end(looks)
    assert told[0] == told[-1] == []
    assert told[2:-3] == [[f"{path}: can't be read: {why}"]] * (2 * TRY_AGAIN)
    assert sum(why in line for line in house.ear.lines) == 1
    assert house.ear.heard("the configuration is what it was")
    assert house.proxy.config is served


async def test_a_process_without_a_file_left_blames_no_configuration(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = house.folder / "config.yaml"
    reloads = Reloads(
        house.proxy, lambda earlier: load(path, environ=house.environ, earlier=earlier), ServiceManager({})
    )

    def none_left(_path: Path) -> bytes:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    await reloads.until_the_end(
        Looks(lambda: monkeypatch.setattr("proxy.reloads._read", none_left), *[lambda: None] * 3)
    )
    assert told_of_config(house)["refused"] == []
    assert not house.ear.heard("not taken")


async def test_of_a_file_that_is_far_too_large_no_more_is_read_than_shows_it(house: House) -> None:
    """A log that was sent there by mistake, say, which memory has no room for."""
    path = house.folder / "config.yaml"
    reloads = Reloads(
        house.proxy, lambda earlier: load(path, environ=house.environ, earlier=earlier), ServiceManager({})
    )

    def grow() -> None:
        with path.open("r+b") as file:
            file.truncate(1 << 30)  # sparse

    tracemalloc.start()
    try:
        await reloads.until_the_end(Looks(grow, *[lambda: None] * 3))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 1 << 25
    assert "larger than 256KiB" in told_of_config(house)["refused"][0]


async def test_a_disk_that_hangs_for_a_moment_says_nothing_of_the_file(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, disk = house.folder / "config.yaml", Disk(limit=0.01)
    reloads = Reloads(
        house.proxy, lambda earlier: load(path, environ=house.environ, earlier=earlier), ServiceManager({})
    )
    monkeypatch.setattr(reloads, "_disk", disk)
    over = threading.Event()
    looks = Looks(lambda: disk.soon(lambda: over.wait(30)), lambda: None, lambda: None, over.set)
    await reloads.until_the_end(looks)
    assert told_of_config(house)["refused"] == []
    assert not house.ear.heard("not taken")


async def test_the_end_does_not_wait_for_a_configuration_that_is_being_tried(
    house: House, unused_tcp_port: int, name_server: threading.Event
) -> None:
    """A name takes seconds, and what was refused is tried again and again. It leaves nothing behind."""
    path, served = house.folder / "config.yaml", house.proxy.config
    listeners = [{"bind": f"127.0.0.1:{unused_tcp_port}"}, {"bind": "lost.example:1", "anyone": True}]
    path.write_text(yaml.safe_dump({**house.settings, "listeners": listeners}))
    reloads = Reloads(
        house.proxy, lambda earlier: load(path, environ=house.environ, earlier=earlier), ServiceManager({})
    )
    signals = Signals()
    ending = asyncio.ensure_future(reloads.until_the_end(signals))
    await until(lambda: any(each.name == "look a name up" for each in threading.enumerate()))
    signals.pretend()
    await asyncio.sleep(0)
    signals.pretend()  # once more, while it breaks off
    async with asyncio.timeout(2):
        await ending
    name_server.set()
    assert house.proxy.config is served
    assert (await house.get()).status == 200


async def test_what_was_refused_is_tried_again_without_a_change_and_told_when_that_is_another_fault(
    house: House, unused_tcp_port: int
) -> None:
    """A file that it names, or a port, may come later; and what is served meanwhile allows more."""
    path, ca_file = house.folder / "config.yaml", house.folder / "ca.pem"
    listeners = [{"bind": "127.0.0.1:0"}, {"bind": f"127.0.0.1:{unused_tcp_port}"}]
    upstream = {**house.settings["upstream"], "ca_file": str(ca_file)}
    changed = {**house.settings, "listeners": listeners, "upstream": upstream, "policy": {"profiles": ["read-only"]}}
    other = socket.create_server(("127.0.0.1", unused_tcp_port))
    tries = 0

    def counted(earlier: Config) -> Config:
        nonlocal tries
        tries += 1
        return load(path, environ=house.environ, earlier=earlier)

    looks = Looks(
        partial(path.write_text, yaml.safe_dump(changed)),
        *[lambda: None] * 4 * TRY_AGAIN,
        lambda: trustme.CA().cert_pem.write_to_path(ca_file),
        *[lambda: None] * 4 * TRY_AGAIN,
        other.close,
        *[lambda: None] * 4 * TRY_AGAIN,
    )
    with other:
        await Reloads(house.proxy, counted, ServiceManager({})).until_the_end(looks)
    assert house.proxy.config.policy.profiles == ("read-only",)
    refused = [line for line in house.ear.lines if "not taken" in line]
    assert ["ca.pem" in line for line in refused] == [True, False]
    assert tries in range(9, 13)  # none after it was taken
    assert len(house.proxy.urls) == 2


async def test_a_key_that_is_not_there_yet_takes_nothing_from_who_is_served(house: House) -> None:
    path, key = house.folder / "config.yaml", house.folder / "new"
    changed = {**house.settings, "credentials": {"default": {"api_key": {"file": str(key)}}}}
    served, tried = house.proxy.config, [lambda: None] * 2 * TRY_AGAIN
    reloads = Reloads(
        house.proxy, lambda earlier: load(path, environ=house.environ, earlier=earlier), ServiceManager({})
    )
    await reloads.until_the_end(Looks(partial(path.write_text, yaml.safe_dump(changed)), *tried))
    assert house.ear.heard("ERROR", "not taken", "create or mount it")
    assert house.proxy.config is served
    assert (await house.get()).status == 200
    house.secrets.add(new := house.simulator.issue_api_key())
    await reloads.until_the_end(Looks(partial(key.write_text, new), *tried))
    assert house.proxy.config is not served
    assert (await house.get()).status == 200


async def test_a_fault_that_is_still_there_after_a_change_is_told_again(house: House) -> None:
    """Whoever has changed the file, or asks, wants an answer."""
    path = house.folder / "config.yaml"
    bad = "upstrem: {}\n" + path.read_text()
    looks = Looks(*(partial(path.write_text, text) for text in [bad] * 4 + [f"{bad}\n"] * 4))
    reloads = Reloads(
        house.proxy, lambda earlier: load(path, environ=house.environ, earlier=earlier), ServiceManager({})
    )
    await reloads.until_the_end(looks)
    await reloads.reload(asked=True)
    assert sum("upstrem" in line for line in house.ear.lines) == 3


async def test_another_way_to_the_store_is_taken_by_the_grant_that_lends(
    oauth_house: HouseMaker, tmp_path: Path
) -> None:
    """It is the same record: a second object for it would not know of a pair that only the first one has."""
    (tmp_path / "kubernetes").mkdir()
    async with KubernetesApi(tmp_path / "kubernetes") as api:
        api.apply_manifests()
        ways = [api.kubeconfig() for _ in range(2)]
        store = {"kubernetes": {"secret": SECRET, "kubeconfig": str(ways[0][0])}}
        house = await oauth_house(store=store)
        house.secrets |= {token for _, token in ways}
        await house.proxy.look()
        assert (await house.get()).status == 200
        lends = house.credential
        settings = copy.deepcopy(dict(house.settings))
        settings["credentials"]["default"]["oauth2"]["store"]["kubernetes"]["kubeconfig"] = str(ways[1][0])
        ways[0][0].unlink()
        api.seen.clear()
        await reload(house, **settings)
        assert house.credential is lends
        house.simulator.revoke_access_tokens()
        assert (await house.get()).status == 200
        assert "watch" in " ".join(map(str, api.seen))
        assert len(house.simulator.token_calls()) == 2
        await house.proxy.drain()
        await house.open()
        assert (await house.get()).status == 200
        assert len(house.simulator.token_calls()) == 2


async def test_a_comment_above_a_client_id_in_plain_text_changes_nothing(oauth_house: HouseMaker) -> None:
    house = await oauth_house(store={"memory": True})
    path = house.folder / "config.yaml"
    path.write_text(path.read_text().replace("${CLIENT_ID}", house.environ["CLIENT_ID"]))
    await house.proxy.reload(load(path, environ=house.environ))
    await house.look()
    lends, served = house.credential, house.proxy.config
    path.write_text(f"# nothing but this\n{path.read_text()}")
    moved = load(path, environ=house.environ)
    assert msgspec.structs.replace(moved, warnings=served.warnings) == served
    await house.proxy.reload(moved)
    assert house.credential is lends


async def two_grants_in_memory(oauth_house: HouseMaker) -> House:
    """Open a house of two users of one client, which lends each behind a listener of its own."""
    house = await oauth_house(store={"memory": True})
    (alice,) = house.settings["credentials"].values()
    house.environ = {**house.environ, "REFRESH_TOKEN_OF_BOB": house.simulator.issue_refresh_token()}
    bob = {"oauth2": {**copy.deepcopy(alice["oauth2"]), "refresh_token": "${REFRESH_TOKEN_OF_BOB}"}}
    listeners = [{"bind": "127.0.0.1:0", "credential": name} for name in ("alice", "bob")]
    await reload(house, credentials={"alice": alice, "bob": bob}, listeners=listeners)
    await house.look()
    return house


async def lent(house: House) -> list[str]:
    """Return what goes to PandaDoc from a request at each listener."""
    before = len(house.simulator.journal)
    for url in house.proxy.urls:
        async with house.client.get(f"{url}/public/v1/members/current") as answer:
            assert answer.status == 200
    return [each.authorization[0] for each in house.simulator.journal[before:]]


async def test_two_grants_in_memory_are_each_lent_to_their_own_apps_after_a_reload(oauth_house: HouseMaker) -> None:
    house = await two_grants_in_memory(oauth_house)
    alices, bobs = await lent(house)
    assert alices != bobs
    await reload(house, policy={"profiles": ["no-delete"]})
    assert await lent(house) == [alices, bobs]
    alice, bob = house.settings["credentials"].values()
    urls = house.proxy.urls
    await reload(house, credentials={"alice": bob, "bob": alice})
    assert await lent(house) == [bobs, alices], "a grant goes where its refresh token goes"
    assert house.proxy.urls == urls[::-1], "and so do its apps"
    await reload(house, credentials={"bob": alice, "carol": bob}, listeners=house.settings["listeners"][1:])
    assert await lent(house) == [alices]
    assert len(house.redeemed()) == 2


async def test_a_grant_in_memory_goes_on_when_its_refresh_token_is_read_elsewhere(oauth_house: HouseMaker) -> None:
    house = await two_grants_in_memory(oauth_house)
    before = await lent(house)
    credentials = copy.deepcopy(house.settings["credentials"])
    (house.folder / "seed").write_text(house.environ["REFRESH_TOKEN"])
    credentials["alice"]["oauth2"]["refresh_token"] = {"file": "./seed"}
    await reload(house, credentials=credentials)
    assert await lent(house) == before


async def of_two_users(api_key_house: HouseMaker) -> tuple[House, dict[str, dict[str, str]]]:
    """Open a house that lends each of two API keys at a free port; return both listeners by what they lend."""
    house = await api_key_house()
    house.environ = {**house.environ, "KEY_OF_BOB": house.simulator.issue_api_key()}
    (alice,) = house.settings["credentials"].values()
    listeners = {name: {"bind": "127.0.0.1:0", "credential": name} for name in ("alice", "bob")}
    credentials = {"alice": alice, "bob": {"api_key": "${KEY_OF_BOB}"}}
    await reload(house, credentials=credentials, listeners=list(listeners.values()))
    return house, listeners


async def test_of_two_listeners_at_free_ports_each_keeps_its_own(api_key_house: HouseMaker) -> None:
    """Who was lent Alice's credential at a port must not find Bob's there."""
    house, listeners = await of_two_users(api_key_house)
    alices, bobs = house.proxy.urls
    keys = await lent(house)
    await reload(house, listeners=[listeners["bob"], listeners["alice"]])
    assert house.proxy.urls == [bobs, alices]
    assert await lent(house) == keys[::-1]
    await reload(house, listeners=[listeners["alice"]])
    assert house.proxy.urls == [alices]
    assert await lent(house) == keys[:1]


async def test_a_connection_to_a_listener_that_is_gone_is_lent_nothing_that_another_lends(
    api_key_house: HouseMaker,
) -> None:
    """A later one at any free port is another, though both are called by the same address."""
    house, listeners = await of_two_users(api_key_house)
    alices, bobs = house.proxy.urls
    keys = await lent(house)
    async with caller(int(alices.rpartition(":")[2])) as line:
        await line.send(GET[:20])
        for now in ["bob"], ["bob", "bob"]:
            await reload(house, listeners=[dict(listeners[name]) for name in now])
            assert house.proxy.urls[0] == bobs
        assert alices not in house.proxy.urls
        await line.send(GET[20:])
        assert (await line.answer()).start == b"HTTP/1.1 200 OK"
    assert house.simulator.journal[-1].authorization[0] == keys[0]


FILE = {"file": "./another.json"}
MEMORY = {"memory": True}


async def move(house: House, store: dict[str, Any], **more: Any) -> None:
    """Reload with the grant kept in another store."""
    credentials = copy.deepcopy(house.settings["credentials"])
    credentials["default"]["oauth2"] |= {"store": store, **more}
    await reload(house, credentials=credentials)


@pytest.mark.parametrize(("store", "another"), [(MEMORY, FILE), ({"file": "./grant.json"}, FILE), (FILE, MEMORY)])
async def test_a_grant_that_is_to_be_kept_elsewhere_goes_there_and_on(
    oauth_house: HouseMaker, store: dict[str, Any], another: dict[str, Any]
) -> None:
    """What it began with is spent, so that a store without it would be the end of it."""
    house = await oauth_house(store=store)
    await house.look()
    before = await lent(house)
    await move(house, another)
    assert await lent(house) == before
    await until(lambda: house.credential.stored)
    await house.look()
    assert house.credential.status().store == ("memory" if another is MEMORY else str(house.folder / "another.json"))
    house.simulator.revoke_access_tokens()
    assert (await house.get()).status == 200
    if another is FILE:
        assert (await house.store().load()).generation == 2
        await house.restart()
        await house.look()
        assert (await house.get()).status == 200
    assert len(house.redeemed()) == len(set(house.redeemed())) == 2


async def test_a_grant_that_somebody_has_put_where_another_is_to_be_kept_is_taken(oauth_house: HouseMaker) -> None:
    house = await oauth_house(store=MEMORY)
    await house.look()
    before = await lent(house)
    house.settings["credentials"]["default"]["oauth2"]["store"] = FILE
    await house.log_in()
    await house.proxy.reload(house.config())
    await until(lambda: house.credential.stored)
    await house.look()
    assert await lent(house) != before
    stored = (await house.store().load()).grant
    assert stored is not None
    assert stored.lineage.origin == "login"
    assert len(house.redeemed()) == 1


async def test_a_grant_that_cant_be_kept_elsewhere_is_lent_from_memory_until_it_can(oauth_house: HouseMaker) -> None:
    house = await oauth_house(store=MEMORY)
    await house.look()
    before = await lent(house)
    (house.folder / "taken").write_text("no folder")
    await move(house, {"file": "./taken/grant.json"})
    assert await lent(house) == before
    await until(lambda: house.ear.heard("ERROR", "generation 1 is still not stored"))
    assert not house.credential.stored
    (house.folder / "taken").unlink()
    await until(lambda: house.credential.stored)
    assert (await house.store().load()).generation == 1
    assert await lent(house) == before


async def test_a_refresh_that_is_on_its_way_while_the_store_is_moved_is_kept_in_the_new_one(
    oauth_house: HouseMaker,
) -> None:
    house = await oauth_house(store=MEMORY)
    await house.look()
    house.simulator.faults.add(Fault(path=TOKEN_PATH, delay=0.5))
    house.simulator.revoke_access_tokens()
    asked = asyncio.ensure_future(house.get())
    await until(lambda: len(house.redeemed()) == 2)
    await move(house, FILE)
    assert (await asked).status == 200
    await until(lambda: house.credential.stored)
    assert (await house.store().load()).generation == 2
    await house.restart()
    await house.look()
    assert (await house.get()).status == 200
    assert len(house.redeemed()) == 2


@pytest.mark.parametrize(
    "more", [{"client_id": {"file": "./id"}}, {"token_url": "http://127.0.0.1:1/oauth2/access_token"}]
)
async def test_a_grant_in_memory_is_not_ended_by_what_makes_another_of_it(
    oauth_house: HouseMaker, more: dict[str, Any]
) -> None:
    house = await oauth_house(store=MEMORY)
    await house.look()
    before = await lent(house)
    (house.folder / "id").write_text("another")
    with pytest.raises(
        BadConfig, match=r"credentials\.default\.oauth2\.client_id: the grant that is lent is in memory"
    ):
        await move(house, MEMORY, **more)
    assert await lent(house) == before


async def test_a_grant_in_memory_is_not_ended_while_its_first_redeem_is_on_its_way(oauth_house: HouseMaker) -> None:
    """What that brings is the only living pair: the configured refresh token is spent."""
    house = await oauth_house(store=MEMORY)
    gate = asyncio.Event()
    house.simulator.faults.add(Fault(path=TOKEN_PATH, gate=gate, times=1))
    asked = asyncio.ensure_future(house.get())
    await until(lambda: len(house.redeemed()) == 1)
    (house.folder / "id").write_text("another")
    with pytest.raises(
        BadConfig, match=r"credentials\.default\.oauth2\.client_id: the grant that is lent is in memory"
    ):
        await move(house, MEMORY, client_id={"file": "./id"})
    gate.set()
    assert (await asked).status == 200
    assert (await house.get()).status == 200
    assert len(house.redeemed()) == 1


async def rename(house: House, store: dict[str, Any], **more: Any) -> None:
    """Reload with the grant called by another name and kept in that store."""
    (oauth2,) = (copy.deepcopy(each["oauth2"]) for each in house.settings["credentials"].values())
    listeners = [{"bind": "127.0.0.1:0", "credential": "acme"}]
    await reload(house, listeners=listeners, credentials={"acme": {"oauth2": {**oauth2, "store": store, **more}}})


def written_otherwise(house: House, form: str, *keys: str) -> dict[str, Any]:
    """Return settings by which these keys of the grant are the same, written out or in a file, not in a variable."""
    found: dict[str, Any] = {}
    for key in keys:
        secret = house.environ[key.upper()]
        (house.folder / key).write_text(secret)
        found[key] = {"value": secret} if form == "value" else {"file": f"./{key}"}
    return found


@pytest.mark.parametrize("keys", [("client_id",), ("client_id", "refresh_token")])
@pytest.mark.parametrize("form", ["value", "file"])
@pytest.mark.parametrize(
    ("store", "another"), [(MEMORY, MEMORY), (MEMORY, FILE), ({"file": "./grant.json"}, FILE), (FILE, MEMORY)]
)
async def test_a_grant_goes_on_whose_client_is_the_same_but_written_another_way(
    oauth_house: HouseMaker, store: dict[str, Any], another: dict[str, Any], form: str, keys: tuple[str, ...]
) -> None:
    """It is the client's id that names it, wherever that stands."""
    house = await oauth_house(store=store)
    await house.look()
    before = await lent(house)
    await move(house, another, **written_otherwise(house, form, *keys))
    assert await lent(house) == before
    house.simulator.revoke_access_tokens()
    assert (await house.get()).status == 200
    assert len(house.redeemed()) == len(set(house.redeemed())) == 2


@pytest.mark.parametrize("keys", [("client_id",), ("refresh_token",), ("client_id", "refresh_token")])
async def test_a_grant_in_memory_is_renamed_while_what_it_is_known_by_is_written_another_way(
    oauth_house: HouseMaker, keys: tuple[str, ...]
) -> None:
    house = await oauth_house(store=MEMORY)
    await house.look()
    before = await lent(house)
    await rename(house, MEMORY, **written_otherwise(house, "value", *keys))
    assert await lent(house) == before
    assert len(house.redeemed()) == 1


@pytest.mark.parametrize("keys", [("client_id",), ("refresh_token",), ("client_id", "refresh_token")])
async def test_a_rename_that_moves_a_grant_and_writes_it_another_way_leaves_it_behind_no_more_than_another(
    oauth_house: HouseMaker, keys: tuple[str, ...]
) -> None:
    house = await oauth_house(store={"file": "./grant.json"})
    await house.look()
    before = await lent(house)
    with pytest.raises(BadConfig, match="the grant of credential default would stay behind"):
        await rename(house, FILE, **written_otherwise(house, "file", *keys))
    assert await lent(house) == before


async def test_a_clients_id_that_cant_be_read_is_known_by_where_it_stands(oauth_house: HouseMaker) -> None:
    house = await oauth_house(store=MEMORY)
    await house.look()
    before = await lent(house)
    with pytest.raises(BadConfig, match="the grant that is lent is in memory"):
        await move(house, MEMORY, client_id={"file": "./id"})
    assert await lent(house) == before


async def test_an_id_that_has_changed_under_a_grant_does_not_name_it(oauth_house: HouseMaker) -> None:
    """The grant is the former client's: what is configured for the new one begins anew, with its own refresh token."""
    house = await oauth_house(store=MEMORY)
    await move(house, {"file": "./grant.json"}, **written_otherwise(house, "file", "client_id"))
    await house.look()
    await until(lambda: house.credential.stored)
    before, credential = await lent(house), house.credential
    (house.folder / "client_id").write_text("another")
    await reload(house, log={"access": False})
    assert house.credential is credential
    assert await lent(house) == before
    await move(house, FILE, client_id={"value": "another"})
    assert house.credential is not credential


async def test_a_disk_that_hangs_holds_no_request_up_while_it_is_asked_whose_a_grant_is(
    oauth_house: HouseMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = await oauth_house(store=MEMORY)
    await house.look()
    before = await lent(house)
    (house.folder / "id").write_text(house.environ["CLIENT_ID"])
    asked, answers = threading.Event(), threading.Event()

    def hanging(path: Path) -> str:
        asked.set()
        answers.wait(30)
        return path.read_text()

    credentials = copy.deepcopy(house.settings["credentials"])
    credentials["default"]["oauth2"]["client_id"] = {"file": "./id"}
    house.settings = {**house.settings, "credentials": credentials}
    config = house.config()
    monkeypatch.setattr("proxy.secrets._read_file", hanging)
    reloading = asyncio.ensure_future(house.proxy.reload(config))
    await until(asked.is_set)
    assert await lent(house) == before
    assert not reloading.done()
    answers.set()
    await reloading
    assert await lent(house) == before


@pytest.mark.parametrize("another", [FILE, MEMORY])
async def test_a_grant_in_a_file_is_not_left_behind_by_a_rename_that_moves_it_too(
    oauth_house: HouseMaker, another: dict[str, Any]
) -> None:
    """The new one would begin with a refresh token that is spent. In two steps it goes along."""
    house = await oauth_house(store={"file": "./grant.json"})
    await house.look()
    before = await lent(house)
    was = house.settings
    told = r"credentials\.acme\.oauth2\.store: the grant of credential default would stay behind"
    with pytest.raises(BadConfig, match=told):
        await rename(house, another)
    house.settings = was
    await rename(house, {"file": "./grant.json"})
    await rename(house, another)
    assert await lent(house) == before
    house.simulator.revoke_access_tokens()
    assert (await house.get()).status == 200
    assert len(house.redeemed()) == len(set(house.redeemed())) == 2


async def test_a_grant_is_not_left_behind_while_its_first_redeem_is_on_its_way(oauth_house: HouseMaker) -> None:
    house = await oauth_house(store={"file": "./grant.json"})
    gate = asyncio.Event()
    house.simulator.faults.add(Fault(path=TOKEN_PATH, gate=gate, times=1))
    asked = asyncio.ensure_future(house.get())
    await until(lambda: len(house.redeemed()) == 1)
    with pytest.raises(BadConfig, match="would stay behind"):
        await rename(house, FILE)
    gate.set()
    assert (await asked).status == 200
    assert len(house.redeemed()) == 1


@pytest.mark.parametrize("what", ["a grant is there", "the refresh token is a new one"])
async def test_a_credential_that_has_what_to_begin_with_is_taken_in_the_place_of_one_that_is_gone(
    oauth_house: HouseMaker, what: str
) -> None:
    house = await oauth_house()
    (house.folder / "seed").write_text(house.environ["REFRESH_TOKEN"])
    await move(house, {"file": "./grant.json"}, refresh_token={"file": "./seed"})
    await house.look()
    before = await lent(house)
    if what == "a grant is there":
        shutil.copy(house.folder / "grant.json", house.folder / "another.json")
    else:
        (house.folder / "seed").write_text(house.simulator.issue_refresh_token())
    await rename(house, FILE)
    await house.look()
    assert (await lent(house) == before) is (what == "a grant is there")


async def test_an_access_token_whose_refresh_token_is_unspent_may_be_renamed_and_moved(
    oauth_house: HouseMaker,
) -> None:
    house = await oauth_house(store={"file": "./grant.json"}, seed_life=3600)
    await house.look()
    before = await lent(house)
    await rename(house, FILE)
    assert await lent(house) == before
    assert not house.redeemed()


def lock(house: House) -> Path:
    """Return the file without which nothing is written to `./grant.json`."""
    return house.folder / ".grant.json.lock"


async def without_a_writable_store(oauth_house: HouseMaker) -> House:
    house = await oauth_house(store={"file": "./grant.json"})
    house.environ = {**house.environ, "KEY": house.simulator.issue_api_key()}
    await house.look()
    lock(house).unlink()
    lock(house).mkdir()
    house.simulator.revoke_access_tokens()
    return house


async def take_out(house: House) -> dict[str, Any]:
    """Reload without the grant; return the settings with it."""
    was = dict(house.settings)
    listeners = [{"bind": "127.0.0.1:0", "credential": "key"}]
    await reload(house, listeners=listeners, credentials={"key": {"api_key": "${KEY}"}})
    return was


@pytest.mark.parametrize("on_its_way", [False, True], ids=["in memory alone", "on its way"])
async def test_a_credential_that_comes_back_before_its_pair_is_stored_goes_on(
    oauth_house: HouseMaker, *, on_its_way: bool
) -> None:
    """Another could only begin with the pair before, which is spent, and would write to the same store."""
    house = await without_a_writable_store(oauth_house)
    gate = asyncio.Event()
    house.simulator.faults.add(Fault(path=TOKEN_PATH, gate=gate, times=1))
    asked = asyncio.ensure_future(house.get())
    await until(lambda: len(house.redeemed()) == 2)
    if not on_its_way:
        gate.set()
        assert (await asked).status == 200
        assert not house.credential.stored
    lends = house.credential
    await reload(house, **await take_out(house))
    gate.set()
    assert (await asked).status == 200
    assert house.credential is lends
    assert (await house.get()).status == 200
    assert not lends.stored
    lock(house).rmdir()
    await until(lambda: lends.stored)
    await until(lambda: not house.proxy._retired)  # noqa: SLF001 - nothing else shows what is kept
    house.simulator.revoke_access_tokens()
    assert (await house.get()).status == 200
    await house.restart()
    await house.look()
    assert (await house.get()).status == 200
    assert len(house.redeemed()) == len(set(house.redeemed())) == 3


async def test_a_credential_that_comes_back_is_not_closed_while_its_configuration_is_being_taken(
    oauth_house: HouseMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pair is stored in that time, so that what had kept it for that alone may end."""
    house = await without_a_writable_store(oauth_house)
    assert (await house.get()).status == 200
    lends, closed = house.credential, asyncio.Event()
    was = await take_out(house)
    answers, real = threading.Event(), socket.getaddrinfo

    def asked(host: str, *rest: Any, **more: Any) -> Any:
        if host == "slow.example":
            answers.wait()
        return real("127.0.0.1" if host == "slow.example" else host, *rest, **more)

    async def close() -> None:
        closed.set()

    monkeypatch.setattr(lends, "close", close)
    monkeypatch.setattr(socket, "getaddrinfo", asked)
    slow = {"bind": "slow.example:0", "credential": "default", "anyone": True}
    taking = asyncio.ensure_future(reload(house, **was | {"listeners": [*was["listeners"], slow]}))
    await until(lambda: any(each.name == "look a name up" for each in threading.enumerate()))
    lock(house).rmdir()
    await until(lambda: lends.stored)
    for _ in range(20):
        await asyncio.sleep(0)
    answers.set()
    await taking
    await until(lambda: not house.proxy._retired)  # noqa: SLF001 - nothing else shows what is kept
    assert house.credential is lends
    assert not closed.is_set()
    assert (await house.get()).status == 200


async def test_a_grant_that_replicas_may_share_is_moved_to_what_they_share_and_nowhere_else(
    oauth_house: HouseMaker, tmp_path: Path
) -> None:
    """Each of them would have a copy of its own, and the first to refresh would end the others'."""
    (tmp_path / "kubernetes").mkdir()
    async with KubernetesApi(tmp_path / "kubernetes") as api:
        api.apply_manifests()
        kubeconfig, token = api.kubeconfig()
        store = {"kubernetes": {"secret": SECRET, "kubeconfig": str(kubeconfig)}}
        house = await oauth_house(store=MEMORY)
        house.secrets.add(token)
        await house.look()
        before = await lent(house)
        await move(house, store)
        await until(lambda: house.credential.stored)
        await house.restart()
        await house.look()
        assert await lent(house) == before
        lends = house.credential
        await move(house, {"kubernetes": {**store["kubernetes"], "namespace": NAMESPACE}})
        await until(lambda: house.credential.stored)
        assert house.credential is lends
        with pytest.raises(BadConfig, match=r"credentials\.default\.oauth2\.store: replicas may share"):
            await move(house, FILE)
        assert await lent(house) == before
        assert len(house.redeemed()) == 1
