"""What a scraper sees: every number comes from a real request through a real proxy."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from conftest import HouseMaker
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics
from rig import House, until
from tls import LONG_AGO, CertificateFolder
from wire import OK, Stage, caller, converse, upstream

from proxy.config.sections import Shutdown
from proxy.forward.exchange import Exchange
from proxy.forward.headers import Head
from proxy.metrics import Metrics
from proxy.simulator import Fault

LISTENER = "127.0.0.1:0"
MEMBER = "/public/v1/members/current"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"

Sample = tuple[str, frozenset[tuple[str, str]]]


class Scrape:
    """One scrape, parsed by prometheus-client's own parser."""

    def __init__(self, text: str) -> None:
        families = parser.text_string_to_metric_families(text)
        self.samples: dict[Sample, float] = {}
        for sample in (sample for family in families for sample in family.samples):
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in self.samples, f"{key} is told twice"
            self.samples[key] = sample.value

    def value(self, name: str, /, **labels: str) -> float:
        """Return one sample; 0 where there is none, as for a scraper that adds up."""
        return self.samples.get((f"pandadoc_proxy_{name}", frozenset(labels.items())), 0)

    def labels(self, name: str) -> list[Mapping[str, str]]:
        return [dict(labels) for known, labels in self.samples if known == f"pandadoc_proxy_{name}"]


async def scraped(house: House) -> Scrape:
    async with house.client.get(f"{house.proxy.admin_url}/metrics") as answer:
        assert answer.status == 200
        text = await answer.text()
    house.said.append(text)  # no secret is in it, or the house says so when it closes
    return Scrape(text)


@pytest.mark.parametrize(
    "accept",
    ["text/plain;version=x", "application/openmetrics-text;version=1.x", "text/plain;version=1", "*/*;version=", ";,;"],
)
async def test_a_scraper_that_asks_for_an_odd_version_gets_the_plain_text(
    api_key_house: HouseMaker, accept: str
) -> None:
    """Whoever reaches the port may ask: it is no fault of ours."""
    house = await api_key_house()
    async with house.client.get(f"{house.proxy.admin_url}/metrics", headers={"Accept": accept}) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert Scrape(await answer.text()).value("ready") == 1
    assert not house.ear.heard("ERROR")


async def test_a_request_is_counted_by_listener_method_and_class_of_status(api_key_house: HouseMaker) -> None:
    house = await api_key_house()
    await house.get()
    await house.get("/public/v1/nowhere")
    await house.ask("POST", "/public/v1/nowhere", data=b"x" * 1000)
    seen = await scraped(house)
    whose = {"listener": LISTENER, "client": ""}
    assert seen.value("requests_total", **whose, method="GET", status="2xx") == 1
    assert seen.value("requests_total", **whose, method="GET", status="4xx") == 1
    assert seen.value("requests_total", **whose, method="POST", status="4xx") == 1
    assert seen.value("request_body_bytes_total", **whose) == 1000
    assert seen.value("response_body_bytes_total", **whose) > 0
    assert seen.value("request_duration_seconds_count", listener=LISTENER) == 3
    assert seen.value("upstream_duration_seconds_count", listener=LISTENER) == 3
    whole = seen.value("request_duration_seconds_sum", listener=LISTENER)
    assert 0 < seen.value("upstream_duration_seconds_sum", listener=LISTENER) <= whole
    assert seen.value("own_answers_total", **whose, status="4xx", error="http_request_error") == 0


async def test_a_health_check_is_nobodys_request(api_key_house: HouseMaker) -> None:
    house = await api_key_house()
    await house.get("/healthz")
    assert (await scraped(house)).labels("requests_total") == []


async def test_methods_that_pandadoc_does_not_know_share_one_label(api_key_house: HouseMaker) -> None:
    """Else whoever reaches the listener could make a scrape as large as they please."""
    house = await api_key_house()
    for method in ("PROPFIND", "REPORT", "MKCOL"):
        await house.ask(method, MEMBER)
    seen = await scraped(house)
    assert {labels["method"] for labels in seen.labels("requests_total")} == {"other"}
    assert repr(house.proxy._metrics) == "<Metrics 1 series>"  # noqa: SLF001 - memory shows nowhere else


async def test_what_a_caller_sends_is_in_no_label(api_key_house: HouseMaker) -> None:
    house = await api_key_house()
    house.secrets.add("made-up-by-the-caller")
    request = (
        b"GET /made-up-by-the-caller?made-up-by-the-caller HTTP/1.1\r\nHost: localhost\r\n"
        b"X-Request-Id: made-up-by-the-caller\r\nUser-Agent: made-up-by-the-caller\r\n\r\n"
    )
    await converse(house.port, request)
    house.ear.lines.clear()  # the path may be in the access log
    assert (await scraped(house)).labels("requests_total")


async def test_our_own_answers_are_told_by_their_word(api_key_house: HouseMaker) -> None:
    house = await api_key_house()
    await house.get(headers={"Origin": "https://evil.example"})
    house.simulator.faults.add(Fault(path=MEMBER, reset=True))
    assert (await house.get()).status == 502
    seen = await scraped(house)
    whose = {"listener": LISTENER, "client": ""}
    assert seen.value("own_answers_total", **whose, status="4xx", error="http_request_denied") == 1
    assert seen.value("own_answers_total", **whose, status="5xx", error="connection_terminated") == 1


async def test_a_client_is_told_by_its_name_and_never_by_its_key(api_key_house: HouseMaker) -> None:
    key = "billing-key-0123456789"
    clients = {"billing": {"key": {"value": key}}, "later": {"key": {"file": "./not-yet"}}}
    house = await api_key_house({"listeners": [{"bind": LISTENER, "clients": clients}]})
    house.secrets.add(key)
    await house.look()
    await house.get(headers={"X-Proxy-Key": key})
    await house.get(headers={"X-Proxy-Key": "somebody-elses-0123456789"})
    seen = await scraped(house)
    assert seen.value("requests_total", listener=LISTENER, client="billing", method="GET", status="2xx") == 1
    assert seen.value("requests_total", listener=LISTENER, client="", method="GET", status="4xx") == 1
    assert seen.value("clients_without_key", listener=LISTENER) == 1


async def test_a_refresh_and_a_replay_are_told_with_their_reasons(oauth_house: HouseMaker) -> None:
    house = await oauth_house()
    await house.get()
    first = await scraped(house)
    assert first.value("refreshes_total", credential="default", cause="needed", result="refreshed") == 1
    assert first.value("credential_generation", credential="default") == 1
    house.simulator.revoke_access_tokens()
    assert (await house.get()).status == 200
    seen = await scraped(house)
    assert seen.value("replays_total", credential="default", reason="unauthorized") == 1
    assert seen.value("refreshes_total", credential="default", cause="refused", result="refreshed") == 1
    assert seen.value("credential_generation", credential="default") == 2
    left = seen.value("credential_expiry_timestamp_seconds", credential="default") - house.clock.wall()
    assert left == pytest.approx(house.simulator.expires_in, abs=60)
    last = seen.value("credential_last_refresh_timestamp_seconds", credential="default")
    assert last == pytest.approx(house.clock.wall(), abs=60)


async def test_a_credential_is_in_one_state_at_a_time(oauth_house: HouseMaker) -> None:
    house = await oauth_house(seed_life=3600)
    states = []
    for seconds in (0, 3500, 3600):
        await house.get()
        house.clock.pass_(seconds)
        house.simulator.faults.add(Fault(path="/oauth2/access_token", status=503))
        seen = await scraped(house)
        told = {labels["state"]: seen.value("credential_state", **labels) for labels in seen.labels("credential_state")}
        assert sum(told.values()) == 1
        states += [state for state, value in told.items() if value]
    assert states == ["fresh", "stale", "expired"]


async def test_refreshes_that_fail_are_counted_until_one_does_not(oauth_house: HouseMaker) -> None:
    house = await oauth_house()
    fault = Fault(path="/oauth2/access_token", status=503, times=2)
    house.simulator.faults.add(fault)
    for failures in (1, 2, 0):
        await house.look()
        seen = await scraped(house)
        assert seen.value("credential_refresh_failures", credential="default") == failures
        house.clock.pass_(600)
    seen = await scraped(house)
    assert seen.value("refreshes_total", credential="default", cause="no_token", result="server_error") == 2


async def test_tokens_that_are_only_in_memory_are_told(oauth_house: HouseMaker) -> None:
    house = await oauth_house()
    await house.get()
    assert (await scraped(house)).value("credential_unstored", credential="default") == 0
    (house.folder / "grant.json").write_text("somebody else's")
    house.simulator.revoke_access_tokens()
    assert (await house.get()).status == 200
    assert (await scraped(house)).value("credential_unstored", credential="default") == 1


async def test_connections_are_told_on_both_sides(api_key_house: HouseMaker) -> None:
    async def script(stage: Stage) -> None:
        while True:
            await stage.request()
            await stage.upstream.cue.wait()
            await stage.say(OK)

    async with upstream(script) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        async with caller(house.port) as busy, caller(house.port):
            await busy.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await until(lambda: len(up.heard) == 1)
            seen = await scraped(house)
            assert seen.value("requests_in_flight", listener=LISTENER) == 1
            assert seen.value("caller_connections", listener=LISTENER) == 2
            assert seen.value("upstream_connections", state="busy") == 1
            up.cue.set()
            await busy.answer()
            await busy.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await busy.answer()
            seen = await scraped(house)
            assert seen.value("requests_in_flight", listener=LISTENER) == 0
            assert seen.value("upstream_connections", state="idle") == 1
            assert seen.value("upstream_connections_created_total") == 1
            assert seen.value("upstream_connections_reused_total") == 1


async def test_connections_that_found_no_place_or_gave_theirs_are_told(api_key_house: HouseMaker) -> None:
    async with upstream(lambda stage: stage.upstream.cue.wait()) as up:  # type: ignore[arg-type, return-value]  # it waits
        house = await api_key_house({"limits": {"max_connections": 1}, "upstream": {"url": up.url}})
        async with caller(house.port) as idle, caller(house.port) as busy:
            await idle.closed()
            await busy.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await until(lambda: up.connections == 1)
            assert b"503" in (await converse(house.port, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")).start
            seen = await scraped(house)
    assert seen.value("caller_connections_displaced_total", listener=LISTENER) == 1
    assert seen.value("caller_connections_refused_total", listener=LISTENER) == 1


async def test_what_the_policy_says_is_told_by_rule(api_key_house: HouseMaker) -> None:
    policy = {"mode": "warn", "profiles": ["read-only"]}
    house = await api_key_house({"policy": policy})
    await house.get("/public/v1/members/one/token")
    await house.ask("POST", "/public/v1/documents", json={})
    seen = await scraped(house)
    operation = "policy.credential_operations: deny /public/*/members/*/token"
    assert seen.value("policy_refusals_total", rule=operation) == 1
    assert seen.value("policy_warnings_total", rule="policy, profile read-only: otherwise: deny") == 1


async def test_an_echoed_credential_is_counted(api_key_house: HouseMaker) -> None:
    async def script(stage: Stage) -> None:
        request = await stage.request()
        (authorization,) = request.values(b"authorization")
        await stage.say(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Echo: %s\r\n\r\n" % authorization)

    async with upstream(script) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        await house.get()
        assert (await scraped(house)).value("credential_leaks_dropped_total") == 1


async def test_a_request_that_is_sent_once_more_on_a_fresh_connection_is_counted(api_key_house: HouseMaker) -> None:
    """The race for an idle connection: the upstream closes it just as we write on it."""

    async def script(stage: Stage) -> None:
        first = stage.upstream.connections == 1
        await stage.request()
        await stage.say(OK)
        await stage.request()
        if first:
            stage.reset()
        else:
            await stage.say(OK)

    async with upstream(script) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        for resends in (0, 1, 1):
            assert (await house.get()).status == 200
            assert (await scraped(house)).value("upstream_resends_total") == resends
        assert (await scraped(house)).value("upstream_connections_created_total") == 2


async def test_what_is_no_request_is_counted_apart(api_key_house: HouseMaker) -> None:
    house = await api_key_house({"limits": {"header_timeout": "50ms"}})
    assert (await converse(house.port, b"\x16\x03\x01 is TLS\r\n\r\n")).start.split()[1] == b"400"
    assert (await converse(house.port, b"GET / HTTP/1.1\r\nHost: lo")).start.split()[1] == b"408"
    seen = await scraped(house)
    assert seen.value("malformed_requests_total", listener=LISTENER) == 2
    assert seen.labels("requests_total") == []


async def test_two_listeners_on_any_free_port_are_told_apart(api_key_house: HouseMaker) -> None:
    """A sample that is told twice would spoil the whole scrape."""
    house = await api_key_house({"listeners": [{"bind": LISTENER}, {"bind": LISTENER}]})
    async with house.client.get(house.proxy.urls[1] + MEMBER) as answer:
        assert answer.status == 200
    seen = await scraped(house)
    assert [labels["listener"] for labels in seen.labels("requests_total")] == [f"{LISTENER} (2)"]
    assert len(seen.labels("caller_connections")) == 2


async def test_only_a_tls_listener_has_a_certificate_that_expires(api_key_house: HouseMaker, tmp_path: Path) -> None:
    folder = CertificateFolder(tmp_path / "tls")
    folder.renew(LONG_AGO)
    house = await api_key_house({"listeners": [{"bind": LISTENER}, {"bind": LISTENER, "tls": folder.files}]})
    name, tls = "listener_certificate_expiry_timestamp_seconds", f"{LISTENER} (2)"
    seen = await scraped(house)
    assert seen.labels(name) == [{"listener": tls}]
    assert seen.value(name, listener=tls) == LONG_AGO.timestamp()


async def test_counts_and_grants_outlive_a_reload(oauth_house: HouseMaker) -> None:
    """A counter that starts anew with each changed line would make every rate a guess."""
    house = await oauth_house({"policy": {"profiles": ["read-only"]}})
    await house.get()
    await house.ask("POST", "/public/v1/documents", json={})
    before = await scraped(house)
    await house.proxy.reload(msgspec.structs.replace(house.config(), shutdown=Shutdown(drain=5)))
    after = await scraped(house)
    ours = {key: value for key, value in before.samples.items() if key[0].startswith("pandadoc_proxy_")}
    passing = {
        "pandadoc_proxy_tasks",  # those come and go
        "pandadoc_proxy_config_last_reload_success_timestamp_seconds",  # this is the reload's
    }
    counts = {key: value for key, value in ours.items() if key[0] not in passing}
    assert {key: after.samples[key] for key in counts} == counts
    assert after.value("policy_refusals_total", rule="policy, profile read-only: otherwise: deny") == 1


async def test_a_listener_that_goes_leaves_its_counts_and_no_gauge(api_key_house: HouseMaker) -> None:
    house = await api_key_house({"listeners": [{"bind": LISTENER}, {"bind": LISTENER}]})
    async with house.client.get(house.proxy.urls[1] + MEMBER) as answer:
        assert answer.status == 200
    house.settings = {**house.settings, "listeners": [{"bind": LISTENER}]}
    await house.proxy.reload(house.config())
    seen = await scraped(house)
    assert [labels["listener"] for labels in seen.labels("requests_total")] == [f"{LISTENER} (2)"]
    assert [labels["listener"] for labels in seen.labels("caller_connections")] == [LISTENER]


async def test_a_scraper_gets_the_format_that_it_asks_for(api_key_house: HouseMaker) -> None:
    house = await api_key_house()
    await house.get()
    url = f"{house.proxy.admin_url}/metrics"
    async with house.client.get(url, headers={"Accept": OPENMETRICS}) as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
        text = await answer.text()
    families = openmetrics.text_string_to_metric_families(text)  # type: ignore[no-untyped-call]  # it has no hints
    names = {family.name for family in families}
    assert {"pandadoc_proxy_requests", "pandadoc_proxy_build", "process_resident_memory_bytes"} <= names
    async with house.client.get(url) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")


async def test_two_proxies_in_one_process_count_apart(api_key_house: HouseMaker, oauth_house: HouseMaker) -> None:
    """There is no registry of the process's."""
    one, other = await api_key_house(), await oauth_house()
    await one.get()
    assert (await scraped(one)).labels("requests_total")
    assert (await scraped(other)).labels("requests_total") == []


def exchange(**changes: Any) -> Exchange:
    made = Exchange(Head("GET", "/x", (1, 1), ()), lambda: 5.0, "here")
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def test_a_request_that_never_reached_pandadoc_has_no_upstream_time() -> None:
    """Zeros would make PandaDoc look fast while the proxy refuses everything."""
    metrics = Metrics()
    metrics.ended(exchange(status=403, error="http_request_denied"))
    metrics.ended(exchange(status=200, upstream_seconds=0.2))
    seen = Scrape(metrics.page("")[0].decode())
    assert seen.value("request_duration_seconds_count", listener="here") == 2
    assert seen.value("upstream_duration_seconds_count", listener="here") == 1
