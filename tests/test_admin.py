"""The admin port: what each peer may see, and who may end the proxy."""

import asyncio
import re
import socket
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from html import unescape
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from conftest import HouseMaker
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from rig import House, TurnedClock, until
from tls import LONG_AGO, CertificateFolder
from wire import caller, converse

from proxy.admin import SCRAPERS, Scrapes
from proxy.simulator import Fault

NEXT_CENTURY = datetime(2100, 1, 1, tzinfo=UTC)
YES = b"X-Pandadoc-Proxy-Quit: yes\r\n"


def admin_port(house: House) -> int:
    assert house.proxy.admin_url is not None
    return int(house.proxy.admin_url.rpartition(":")[2])


async def asked(house: House, start: bytes, *fields: bytes, host: bytes = b"localhost") -> tuple[int, bytes]:
    request = start + b" HTTP/1.1\r\nHost: " + host + b"\r\n" + b"".join(fields) + b"\r\n"
    answer = await converse(admin_port(house), request)
    house.said.append(answer.body.decode())
    return int(answer.start.split()[1]), answer.body


async def status_of(house: House) -> dict[str, Any]:
    async with house.client.get(f"{house.proxy.admin_url}/status") as answer:
        assert (answer.status, answer.content_type) == (200, "application/json")
        assert answer.headers["Cache-Control"] == "no-store"
        document: dict[str, Any] = await answer.json()
        house.said.append(await answer.text())
    return document


async def test_status_tells_a_healthy_grant_from_end_to_end(oauth_house: HouseMaker) -> None:
    house = await oauth_house()
    assert (await status_of(house))["credentials"][0]["health"] == "unknown"  # nobody has looked or asked yet
    await house.get()
    document = await status_of(house)
    (credential,) = document["credentials"]
    assert (credential["credential"], credential["kind"], credential["healthy"]) == ("default", "oauth2", True)
    assert (credential["state"], credential["generation"], credential["advice"]) == ("fresh", 1, "")
    assert (credential["last_result"], credential["store"]) == ("refreshed", str(house.folder / "grant.json"))
    assert f"kept in {house.folder / 'grant.json'}" in await page_of(house)
    assert credential["expires_at"].endswith("+00:00")
    assert 0 < credential["expires_in"] <= house.simulator.expires_in
    assert document["ready"] is True
    assert document["uptime_seconds"] >= 0
    assert document["upstream"] == {
        "connections_busy": 0,
        "connections_idle": 1,
        "connections_created": 1,
        "connections_reused": 0,
        "connections_most": 100,
        "resends": 0,
    }
    (listener,) = document["listeners"]
    assert (listener["url"], listener["clients"], listener["requests_in_flight"]) == (house.url, [], 0)


async def test_status_tells_what_to_do_about_a_dead_grant(oauth_house: HouseMaker) -> None:
    house = await oauth_house()
    house.simulator.faults.add(Fault(path="/oauth2/access_token", status=400, body=b'{"error": "invalid_grant"}'))
    assert (await house.get()).status == 503
    (credential,) = (await status_of(house))["credentials"]
    assert (credential["health"], credential["state"], credential["last_result"]) == ("dead", "dead", "invalid_grant")
    assert "pandadoc-proxy login" in credential["advice"]
    assert (await asked(house, b"GET /readyz"))[0] == 200


async def test_status_tells_a_refresh_that_fails_and_tokens_that_are_not_stored(oauth_house: HouseMaker) -> None:
    house = await oauth_house()
    await house.get()
    (house.folder / "grant.json").write_text("somebody else's")
    house.simulator.revoke_access_tokens()
    await house.get()
    (credential,) = (await status_of(house))["credentials"]
    assert (credential["health"], credential["state"], credential["generation"]) == ("failing", "fresh", 2)
    assert "only in memory" in credential["advice"]


async def test_status_tells_an_api_key_that_is_missing_then_fine_then_refused(api_key_house: HouseMaker) -> None:
    house = await api_key_house({"credentials": {"default": {"api_key": {"file": "./key"}}}})
    key = house.folder / "key"

    async def told() -> tuple[str, str]:
        (credential,) = (await status_of(house))["credentials"]
        return credential["health"], credential["state"]

    await house.look()
    assert await told() == ("dead", "dead")
    key.write_text(house.environ["KEY"])
    await house.look()
    assert await told() == ("healthy", "fresh")
    key.unlink()
    await house.look()
    assert await told() == ("failing", "fresh")  # the one that was read is lent
    key.write_text(house.environ["KEY"])
    house.simulator.revoke_api_keys()
    assert (await house.get()).status == 401
    assert await told() == ("failing", "refused")
    key.write_text(house.simulator.issue_api_key())
    assert (await house.get()).status == 200
    assert await told() == ("healthy", "fresh")


async def test_a_key_that_was_refused_once_is_well_when_pandadoc_takes_it_again(api_key_house: HouseMaker) -> None:
    """A 401 may be about one operation."""
    house = await api_key_house()
    house.simulator.faults.add(Fault(path="/public/v1/nowhere", status=401))
    assert (await house.get("/public/v1/nowhere")).status == 401
    assert (await status_of(house))["credentials"][0]["state"] == "refused"
    await house.get()
    assert (await status_of(house))["credentials"][0]["state"] == "fresh"


async def test_a_grant_is_told_as_refused_while_pandadoc_refuses_each_token_that_it_mints(
    oauth_house: HouseMaker,
) -> None:
    """To a probe, too: the member was removed, perhaps. A path that is not allowed is no such thing."""
    house = await oauth_house()

    async def told() -> tuple[str, str, str]:
        credential = (await status_of(house))["credentials"][0]
        return credential["health"], credential["state"], credential["advice"]

    async def asked(path: str, times: int) -> None:
        for _ in range(times):
            await house.get(path)
            house.clock.pass_(6)

    forbidden = Fault(path="/public/v1/forbidden", status=401)
    house.simulator.faults.add(forbidden)
    await asked("/public/v1/forbidden", 5)
    assert await told() == ("healthy", "fresh", "")
    house.simulator.faults.add(Fault(path="/public/**", status=401))
    house.clock.pass_(60)
    await asked("/public/v1/documents", 3)
    health, state, advice = await told()
    assert (health, state) == ("failing", "refused")
    assert "refuses each access token of credential default (401)" in advice
    assert "`pandadoc-proxy login`" in advice
    house.clock.pass_(3600)
    await asked("/public/v1/documents", 3)
    assert (await told())[:2] == ("failing", "refused")  # for as long as it lasts
    assert len([line for line in house.ear.lines if line.startswith("WARNING") and advice in line]) == 1
    house.simulator.faults.clear()
    house.simulator.faults.add(forbidden)
    assert (await house.get()).status == 200
    assert await told() == ("healthy", "fresh", "")


async def test_a_login_ends_what_was_said_of_the_tokens_before(oauth_house: HouseMaker) -> None:
    house = await oauth_house()
    house.simulator.faults.add(Fault(path="/public/**", status=401))
    for _ in range(3):
        await house.get()
        house.clock.pass_(6)
    assert (await status_of(house))["credentials"][0]["state"] == "refused"
    await house.log_in()
    await house.look()
    assert (await status_of(house))["credentials"][0]["state"] == "fresh"


async def test_status_names_clients_and_shows_no_key(api_key_house: HouseMaker) -> None:
    key = "billing-key-0123456789"
    clients = {"billing": {"key": {"value": key}}, "later": {"key": {"file": "./not-yet"}}}
    house = await api_key_house({"listeners": [{"bind": "127.0.0.1:0", "clients": clients}]})
    house.secrets.add(key)
    await house.look()
    ((billing, later),) = [listener["clients"] for listener in (await status_of(house))["listeners"]]
    assert billing == {"name": "billing", "credential": "default", "has_key": True, "requests_in_flight": 0}
    assert (later["name"], later["has_key"]) == ("later", False)


async def test_the_page_tells_of_clients_without_a_key_and_of_a_configuration_that_is_not_taken(
    api_key_house: HouseMaker,
) -> None:
    """Both have alerts: whoever opens the page for one must not read that all is well."""
    house = await api_key_house(
        {"listeners": [{"bind": "127.0.0.1:0", "clients": {"later": {"key": {"file": "./no"}}}}]}
    )
    await house.look()
    assert "Client later has no key pandadoc-proxy lends" in await page_of(house)
    house.proxy.refused = ("config.yaml:1: it is none",)
    assert "Client later has no key; the new configuration is not taken pandadoc-proxy" in await page_of(house)


async def test_a_renewed_certificates_end_is_told_within_a_look_and_a_plain_listener_has_none(
    api_key_house: HouseMaker, tmp_path: Path
) -> None:
    folder = CertificateFolder(tmp_path / "tls")
    folder.renew(LONG_AGO)
    listeners = [{"bind": "127.0.0.1:0"}, {"bind": "127.0.0.1:0", "tls": folder.files}]
    house = await api_key_house({"listeners": listeners})
    for end, told in ((None, "2020-01-01T00:00:00+00:00"), (NEXT_CENTURY, "2100-01-01T00:00:00+00:00")):
        if end is not None:
            folder.renew(end)
            await house.look()
        plain, tls = (await status_of(house))["listeners"]
        assert plain["certificate_expires_at"] is None
        assert tls["certificate_expires_at"] == told
        assert ("has an expired certificate" in await page_of(house)) is (end is None)


async def page_of(house: House) -> str:
    """Return the text of the page for people, without its markup."""
    status, body = await asked(house, b"GET /")
    assert status == 200
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body.decode().partition("</style>")[2])))


async def test_the_page_tells_people_how_it_is(oauth_house: HouseMaker) -> None:
    house = await oauth_house()
    assert "No trouble is known" in await page_of(house)
    await house.get()
    await house.get("/public/v1/nowhere")
    told = await page_of(house)
    assert "All is well" in told
    assert "default OAuth 2 grant Fresh 365 days left" in told
    assert "last refresh refreshed, just now since the start refreshed 1 time generation 1" in told
    assert "2 requests in the last minute" in told
    assert "1 answered 1 refused (4xx) 0 failed" in told
    assert "Nothing has been refused" in told  # a 404 of PandaDoc's is between it and the app


async def test_the_page_tells_of_refusals_and_errors_what_the_callers_were_told(oauth_house: HouseMaker) -> None:
    house = await oauth_house()
    house.simulator.faults.add(Fault(path="/oauth2/access_token", status=400, body=b'{"error": "invalid_grant"}'))
    dead, refused = await house.get(), await house.get("/a?q=a-query", headers={"Origin": "https://evil.example"})
    house.secrets.add("a-query")
    told = await page_of(house)
    assert "Credential default is dead" in told
    assert "Dead Nothing is lent" in told
    advice = " ".join(dead.json["detail"].replace("`", " ").split())
    assert told.count(advice) == 2  # on the card, and in the list
    assert f"403 http_request_denied just now {refused.json['detail']} GET /a at 127.0.0.1:0" in told


async def test_the_page_tells_that_most_requests_of_the_last_minute_fail(api_key_house: HouseMaker) -> None:
    """A key tells nothing of it: nobody has refused it."""
    house = await api_key_house()
    house.simulator.faults.add(Fault(reset=True, times=2))
    assert (await house.get()).status == 502
    house.clock.pass_(30)
    assert (await house.get()).status == 502
    told = await page_of(house)
    assert "2 requests failed in the last minute, and none was answered" in told
    assert "All is well" not in told
    assert (await house.get("/public/v1/nothing")).status == 404
    assert "2 requests failed in the last minute, and 1 was answered" in await page_of(house)
    house.clock.pass_(70)
    assert "All is well" in await page_of(house)


async def test_the_page_tells_that_the_store_cannot_be_read(oauth_house: HouseMaker) -> None:
    house = await oauth_house()
    await house.get()
    (house.folder / "grant.json").write_text("somebody else's")
    await house.look()
    told = await page_of(house)
    assert "Credential default is blind" in told
    assert "Blind Fresh, 365 days left" in told
    assert f"{house.folder / 'grant.json'}" in told


async def test_what_a_caller_puts_in_a_path_is_redacted_and_no_markup(api_key_house: HouseMaker) -> None:
    house = await api_key_house()
    house.secrets.add("in-a-path-by-mistake")
    start = b"GET /x;access_token=in-a-path-by-mistake/<script>"
    await converse(house.port, start + b" HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\n\r\n")
    house.ear.lines.clear()  # it hears lines before they are redacted
    _, body = await asked(house, b"GET /")
    assert b"GET /x;access_token=***" in body
    assert b"<script" not in body


async def test_the_page_is_for_one_person_and_for_now(api_key_house: HouseMaker) -> None:
    house = await api_key_house()
    for method in ("GET", "HEAD"):
        async with house.client.request(method, f"{house.proxy.admin_url}/") as answer:
            assert (answer.status, answer.content_type, answer.charset) == (200, "text/html", "utf-8")
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
            assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            assert answer.headers["X-Frame-Options"] == "DENY"
            assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
            assert int(answer.headers["Content-Length"]) > 5000
            assert len(await answer.read()) == (int(answer.headers["Content-Length"]) if method == "GET" else 0)


AGAIN = (b"Sec-Fetch-Site: same-origin\r\n", b"Sec-Fetch-Mode: navigate\r\n")


async def test_the_page_may_ask_for_itself_again(api_key_house: HouseMaker) -> None:
    house = await api_key_house()
    for where, dest, status in (
        (b"/", b"document", 200),
        (b"/", b"iframe", 403),
        (b"/", b"empty", 403),
        (b"/status", b"document", 403),
    ):
        assert (await asked(house, b"GET " + where, *AGAIN, b"Sec-Fetch-Dest: " + dest + b"\r\n"))[0] == status


async def test_a_draining_proxy_says_so_on_its_page(api_key_house: HouseMaker) -> None:
    house = await api_key_house({"shutdown": {"grace": "5s"}})
    draining = asyncio.create_task(house.proxy.drain())
    await until(lambda: not house.proxy.ready)
    assert "No requests are taken" in await page_of(house)
    draining.cancel()
    await asyncio.wait({draining})


@pytest.mark.parametrize(
    "fields",
    [
        b"Origin: https://evil.example\r\n",
        b"Sec-Fetch-Site: cross-site\r\n",
        b"Sec-Fetch-Site: same-site\r\n",
        b"Sec-Purpose: prefetch\r\n",
    ],
)
@pytest.mark.parametrize("start", [b"GET /", b"GET /status", b"POST /quit"])
async def test_no_page_reads_the_status_or_ends_the_proxy(
    api_key_house: HouseMaker, start: bytes, fields: bytes
) -> None:
    house = await api_key_house({"admin": {"quit": True}})
    assert (await asked(house, start, YES, fields))[0] == 403
    assert house.proxy.ready


@pytest.mark.parametrize("start", [b"GET /", b"GET /status", b"POST /quit"])
async def test_a_rebound_name_gets_nothing(api_key_house: HouseMaker, start: bytes) -> None:
    """DNS rebinding: the browser says no more than a Host that is not ours."""
    house = await api_key_house({"admin": {"quit": True}})
    status, body = await asked(house, start, YES, host=b"evil.example")
    assert status == 421
    assert b"Ask it at 127.0.0.1" in body
    assert b"allowed_hosts" not in body  # they are the listeners'
    assert (await asked(house, b"GET /metrics", host=b"10.0.0.1"))[0] == 200


async def test_scrapes_take_a_tenth_of_the_loops_time_and_the_first_waits_for_nobody() -> None:
    """Whoever reaches the port may scrape, and every request waits while metrics are written."""
    took, written, answered = 0.005, list[float](), list[str]()

    def write(accept: str) -> tuple[bytes, str]:
        written.append(time.monotonic())
        while time.monotonic() < written[-1] + took:
            pass
        if accept == "second":
            assert answered == ["first"]
        return b"", ""

    scrapes = Scrapes(write, time.monotonic)

    async def scrape(name: str) -> None:
        assert await scrapes.page(name) is not None
        answered.append(name)

    asking = [asyncio.ensure_future(scrape(name)) for name in ("first", "leaves", "second", "third")]
    await asyncio.sleep(0)
    asking[1].cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    assert answered == ["first", "second", "third"]
    assert repr(scrapes) == "<Scrapes 0 here>"
    pauses = [after - before for before, after in pairwise(written)]
    assert min(pauses) > 9 * took  # ten times; a loop's timer may come a moment early


class Stopped(Collector):
    """Has the process stand still during a scrape, as one that a debugger or a freezer stops."""

    def __init__(self, clock: TurnedClock) -> None:
        self._clock = clock

    def collect(self) -> Iterable[Metric]:
        self._clock.pass_(3600)
        return ()

    def describe(self) -> Iterable[Metric]:
        return ()


async def test_of_many_scrapers_some_wait_and_neither_probes_nor_the_end_for_them(
    api_key_house: HouseMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.admin.LONGEST_PAUSE", 600.0)
    house = await api_key_house()
    house.proxy._metrics.watch(Stopped(house.clock))  # noqa: SLF001 - nothing of ours takes long
    assert (await asked(house, b"GET /metrics"))[0] == 200
    scrapers = [asyncio.ensure_future(asked(house, b"GET /metrics")) for _ in range(SCRAPERS + 6)]
    await until(lambda: sum(each.done() for each in scrapers) == 6)
    assert {each.result()[0] for each in scrapers if each.done()} == {503}
    assert (await asked(house, b"GET /livez"))[0] == 200
    waiting = [each for each in scrapers if not each.done()]
    async with asyncio.timeout(20):
        await house.proxy.drain()
    await asyncio.wait(waiting)


async def test_a_preflight_gets_no_permission(api_key_house: HouseMaker) -> None:
    house = await api_key_house({"admin": {"quit": True}})
    ask = (b"Origin: https://evil.example\r\n", b"Access-Control-Request-Headers: x-pandadoc-proxy-quit\r\n")
    answer = await converse(
        admin_port(house), b"OPTIONS /quit HTTP/1.1\r\nHost: localhost\r\n" + b"".join(ask) + b"\r\n"
    )
    assert answer.start.split()[1] == b"405"
    assert not [name for name, _ in answer.fields if name.lower().startswith(b"access-control")]


async def test_other_machines_get_probes_and_metrics_only(api_key_house: HouseMaker) -> None:
    """The manifests bind the admin port to the pod's address, where every pod of the cluster may ask."""
    host = own_address()
    house = await api_key_house({"admin": {"bind": f"{host}:0", "quit": True}})
    async with aiohttp.ClientSession() as elsewhere:
        url = f"http://{host}:{admin_port(house)}"
        expected = {"/livez": 200, "/readyz": 200, "/metrics": 200, "/": 403, "/status": 403, "/nothing": 404}
        for path, status in expected.items():
            async with elsewhere.get(url + path, headers={"Host": "localhost"}) as answer:
                assert answer.status == status, path
        headers = {"Host": "localhost", "X-Pandadoc-Proxy-Quit": "yes"}
        async with elsewhere.post(f"{url}/quit", headers=headers) as answer:
            assert answer.status == 403
            assert "within the pod" in await answer.text()


def own_address() -> str:
    """Return an address of this machine that is not loopback, so that its peers are not either."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: UDP only looks the way up
        except OSError:
            pytest.skip("this machine has no address besides loopback")
        host: str = probe.getsockname()[0]
    return host


@pytest.mark.parametrize("host", [b"xn--a", b"xn--zz:80", b"localhost.xn--a"])
async def test_an_absolute_target_whose_host_can_not_be_decoded_is_answered(
    api_key_house: HouseMaker, host: bytes
) -> None:
    house = await api_key_house({})
    for path, status in {b"/livez": b"200", b"/status": b"421", b"/nothing": b"404"}.items():
        request = b"GET http://%b%b HTTP/1.1\r\nHost: localhost\r\n\r\n" % (host, path)
        async with asyncio.timeout(4):
            assert (await converse(admin_port(house), request)).start.split()[1] == status


async def test_a_unix_socket_is_this_machine(api_key_house: HouseMaker, tmp_path: Path) -> None:
    await api_key_house({"admin": {"bind": f"unix:{tmp_path}/admin.sock"}})
    connector = aiohttp.UnixConnector(f"{tmp_path}/admin.sock")
    async with aiohttp.ClientSession(connector=connector) as session, session.get("http://localhost/status") as answer:
        assert answer.status == 200


def with_a_head_of(size: int) -> bytes:
    return b"X: " + b"y" * size + b"\r\n"


async def test_a_head_may_not_be_as_large_as_a_listeners(api_key_house: HouseMaker) -> None:
    """Whoever reaches the pod reaches this port, and has nothing long to say."""
    house = await api_key_house()
    assert (await asked(house, b"GET /livez", with_a_head_of(16_000)))[0] == 200
    assert (await asked(house, b"GET /livez", with_a_head_of(17_000)))[0] == 431


async def test_there_is_room_for_fewer_connections_than_to_a_listener(api_key_house: HouseMaker) -> None:
    house = await api_key_house({"limits": {"header_timeout": "1h"}})
    async with AsyncExitStack() as crowd:
        first, *_ = [await crowd.enter_async_context(caller(admin_port(house))) for _ in range(257)]
        assert await first.closed() == b""
        assert (await asked(house, b"GET /livez"))[0] == 200


async def test_a_reload_reaches_the_limits(api_key_house: HouseMaker) -> None:
    house = await api_key_house()
    house.settings = {**house.settings, "limits": {"max_head": "8KiB", "header_timeout": "200ms"}}
    await house.proxy.reload(house.config())
    assert (await asked(house, b"GET /livez", with_a_head_of(9_000)))[0] == 431
    async with caller(admin_port(house)) as line:
        await line.send(b"GET /livez")
        assert (await line.answer()).start == b"HTTP/1.1 408 Request Timeout"


async def test_quit_is_off_unless_it_is_configured(api_key_house: HouseMaker) -> None:
    house = await api_key_house()
    status, body = await asked(house, b"POST /quit", YES)
    assert status == 403
    assert b"admin.quit" in body


async def test_a_reload_may_allow_quit_and_keeps_the_admin_ports_socket(
    api_key_house: HouseMaker, unused_tcp_port: int
) -> None:
    """The address is the same: to bind it anew would find it taken, by ourselves."""
    bind = f"127.0.0.1:{unused_tcp_port}"
    house = await api_key_house({"admin": {"bind": bind}})
    for allowed, status in ((True, 202), (False, 403)):
        house.settings = {**house.settings, "admin": {"bind": bind, "quit": allowed}}
        await house.proxy.reload(house.config())
        assert (await asked(house, b"POST /quit", YES))[0] == status


@pytest.mark.parametrize("field", [b"", b"X-Pandadoc-Proxy-Quit: no\r\n", YES + YES])
async def test_quit_needs_its_header_once(api_key_house: HouseMaker, field: bytes) -> None:
    house = await api_key_house({"admin": {"quit": True}})
    status, body = await asked(house, b"POST /quit", field)
    assert status == 403
    assert b"X-Pandadoc-Proxy-Quit: yes" in body


@pytest.mark.parametrize(
    ("start", "allow"),
    [
        (b"GET /quit", b"POST"),
        (b"POST /", b"GET, HEAD"),
        (b"POST /status", b"GET, HEAD"),
        (b"POST /metrics", b"GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_told_the_right_one(api_key_house: HouseMaker, start: bytes, allow: bytes) -> None:
    """A link or an image that points at /quit ends nothing."""
    house = await api_key_house({"admin": {"quit": True}})
    answer = await converse(admin_port(house), start + b" HTTP/1.1\r\nHost: localhost\r\n" + YES + b"\r\n")
    assert (answer.start.split()[1], answer.values(b"allow")) == (b"405", [allow])


async def test_who_has_left_meanwhile_is_nobodys_fault(api_key_house: HouseMaker) -> None:
    house = await api_key_house()
    async with caller(admin_port(house)) as line:
        await line.send(b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await asyncio.sleep(0)
    assert (await asked(house, b"GET /livez"))[0] == 200
    assert not house.ear.heard("ERROR")
