"""The switches over HTTP, as a test in another language would throw them."""

import json
import re
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession

from proxy.simulator import Simulator

PAGE = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text(encoding="utf-8")


async def _ask(simulator: Simulator, method: str, path: str, payload: object = None) -> tuple[int, object]:
    """Call a control endpoint without any credential."""
    async with ClientSession(simulator.url) as session:
        body = None if payload is None else json.dumps(payload)
        async with session.request(method, f"/_simulator{path}", data=body) as response:
            return response.status, await response.json()


async def _switch(simulator: Simulator, path: str, payload: object = None) -> None:
    status, state = await _ask(simulator, "POST", path, payload)
    assert (status, state) == (200, simulator.state())


async def test_issued_credentials_open_the_api(simulator: Simulator) -> None:
    _, key = await _ask(simulator, "POST", "/api-keys")
    _, grant = await _ask(simulator, "POST", "/grants")
    _, code = await _ask(simulator, "POST", "/codes")
    assert isinstance(key, dict)
    assert isinstance(grant, dict)
    assert isinstance(code, dict)
    client = {"client_id": simulator.client_id, "client_secret": simulator.client_secret}
    forms = (
        {**client, "grant_type": "refresh_token", **grant},
        {**client, "grant_type": "authorization_code", **code},
    )
    async with ClientSession(simulator.url) as session:
        headers = {"Authorization": f"API-Key {key['api_key']}"}
        async with session.get("/public/v1/members/current", headers=headers) as response:
            assert response.status == 200
        for form in forms:
            async with session.post("/oauth2/access_token", data=form) as response:
                assert response.status == 200


async def test_expire_and_revoke_kill_access_tokens_and_leave_the_grant(simulator: Simulator) -> None:
    for path in ("/expire", "/revoke"):
        simulator.issue_access_token()
        await _switch(simulator, path)
        assert simulator.state()["access_tokens"] == 0
    assert simulator.state()["grants"] == 2


async def test_revoke_grants_and_revoke_api_keys_leave_nothing(simulator: Simulator) -> None:
    simulator.issue_access_token()
    simulator.issue_api_key()
    await _switch(simulator, "/revoke-grants")
    await _switch(simulator, "/revoke-api-keys")
    state = simulator.state()
    assert (state["grants"], state["access_tokens"], state["api_keys"]) == (0, 0, 0)


async def test_settings_change_what_is_named_and_nothing_else(simulator: Simulator) -> None:
    await _switch(simulator, "/settings", {"rotate": False})
    assert (simulator.rotate, simulator.expires_in) == (False, 31535999)
    await _switch(simulator, "/settings", {"expires_in": None})
    assert (simulator.rotate, simulator.expires_in) == (False, None)
    await _switch(simulator, "/settings", {"redirect_uri": "http://a/b", "echo_state": False})
    assert (simulator.redirect_uri, simulator.echo_state) == ("http://a/b", False)
    await _switch(simulator, "/settings", {"redirect_uri": None})
    assert (simulator.redirect_uri, simulator.echo_state) == (None, False)


@pytest.mark.parametrize(("payload", "times"), [(None, 1), ({"times": 3}, 3), ({"times": 0}, 0)])
async def test_token_replies_are_lost_once_or_as_often_as_told(
    simulator: Simulator, payload: object, times: int
) -> None:
    await _switch(simulator, "/lose-token-replies", payload)
    assert simulator.state()["token_replies_to_lose"] == times


async def test_faults_are_added_and_cleared_and_never_reach_the_switches(simulator: Simulator) -> None:
    await _switch(simulator, "/faults", {"status": 503, "path": "/**", "body": {"a": 1}, "headers": {"X-A": "b"}})
    async with ClientSession(simulator.url) as session, session.get("/anything") as response:
        assert (response.status, response.headers["X-A"]) == (503, "b")
        assert json.loads(await response.read()) == {"a": 1}
    await _ask(simulator, "DELETE", "/faults")
    assert simulator.faults.armed() == ()


async def test_a_faults_body_that_is_a_string_is_sent_as_it_is(simulator: Simulator) -> None:
    await _switch(simulator, "/faults", {"status": 502, "body": "<p>bad gateway</p>"})
    assert simulator.faults.armed()[0].body == b"<p>bad gateway</p>"


@pytest.mark.parametrize(
    ("fault", "content_type"),
    [
        ({"status": 200, "body": {"a": 1}}, "application/json"),
        ({"status": 502, "body": [1]}, "application/json"),
        ({"status": 502, "body": False}, "application/json"),
        ({"status": 401, "body": {"a": 1}, "headers": {"content-type": "text/plain"}}, "text/plain"),
        ({"status": 502, "body": "<p>"}, "text/html"),
        ({"status": 502}, "text/html"),
    ],
)
async def test_a_faults_body_that_is_no_string_is_called_json_unless_it_has_a_name(
    simulator: Simulator, fault: object, content_type: str
) -> None:
    await _switch(simulator, "/faults", fault)
    async with ClientSession(simulator.url) as session, session.get("/anything") as response:
        assert response.headers.getall("Content-Type") == [content_type]


async def test_the_journal_tells_what_came_and_masks_every_credential(simulator: Simulator) -> None:
    secret = simulator.issue_api_key()
    headers = {"Authorization": f"API-Key {secret}", "Cookie": f"session={secret}"}
    async with (
        ClientSession(simulator.url, headers=headers) as session,
        session.post("/a%2Fb?upload", data=secret.encode()) as response,
    ):
        assert response.status == 404
    _, entries = await _ask(simulator, "GET", "/journal")
    assert isinstance(entries, list)
    (entry,) = entries
    assert (entry["method"], entry["target"], entry["status"]) == ("POST", "/a%2Fb?upload", 404)
    assert (entry["body_size"], len(entry["body_sha256"])) == (40, 64)
    assert ["Authorization", "API-Key ***"] in entry["headers"]
    assert secret not in json.dumps(entries)


async def test_the_journal_can_be_forgotten_and_holds_no_control_calls(simulator: Simulator) -> None:
    async with ClientSession(simulator.url) as session, session.get("/a") as response:
        assert response.status == 401
    assert len(simulator.journal) == 1
    await _ask(simulator, "DELETE", "/journal")
    assert simulator.journal == []


ROW = re.compile(r"\| `(GET|POST|DELETE) (/_simulator/[a-z-]+)`")


async def switches(simulator: Simulator, path: str = "") -> list[dict[str, Any]]:
    status, listed = await _ask(simulator, "GET", path)
    assert status == 200
    return msgspec.convert(listed, list[dict[str, Any]])


async def test_whoever_asks_is_told_every_switch(simulator: Simulator) -> None:
    listed = await switches(simulator)
    assert listed == await switches(simulator, "/")
    assert all(switch["about"] for switch in listed)
    for switch in listed:
        assert (await _ask(simulator, switch["method"], switch["path"].removeprefix("/_simulator")))[0] == 200, switch
    assert not simulator.journal


async def test_the_page_tells_every_switch_and_all_that_it_takes(simulator: Simulator) -> None:
    listed = await switches(simulator)
    assert sorted(ROW.findall(PAGE)) == sorted((each["method"], each["path"]) for each in listed)
    taken = [name for switch in listed for name in switch["takes"]]
    assert {"times", "status", "delay", "rotate", "rate_limits"} <= set(taken)
    assert [name for name in taken if f"`{name}`" not in PAGE] == []


async def test_the_pages_examples_are_orders_that_make_sense(simulator: Simulator) -> None:
    orders = re.findall(r"curl -X POST \$SIMULATOR(/[a-z-]+) -d '([^']+)'", PAGE)
    assert {path for path, _ in orders} == {"/faults", "/settings", "/lose-token-replies"}
    for path, body in orders:
        await _switch(simulator, path, json.loads(body))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "x", 401),  # PandaDoc's, as far as anyone can tell
        ("POST", "/", 405),
        ("GET", "/expire", 405),
        ("PUT", "/faults", 405),
    ],
)
async def test_a_switch_that_is_none_is_told_apart_from_a_wrong_method(
    simulator: Simulator, method: str, path: str, status: int
) -> None:
    assert (await _ask(simulator, method, path))[0] == status


async def test_an_order_that_is_nested_too_deep_is_a_400_and_changes_nothing(simulator: Simulator) -> None:
    before = simulator.state()
    async with ClientSession(simulator.url) as session:
        for path, name, depth in (
            ("/faults", "body", 100_000),
            ("/settings", "expires_in", 100_000),
            ("/settings", "expires_in", 978),
            ("/settings", "expires_in", 101),
        ):
            deep = "[" * depth + "]" * depth
            async with session.post(f"/_simulator{path}", data=f'{{"{name}": {deep}}}') as response:
                assert response.status == 400
                assert (await response.json())["detail"] == "JSON is nested too deep"
    assert simulator.state() == before


@pytest.mark.parametrize(("before", "after"), [("[", "]"), ('{"a": [', "]}")])
async def test_what_a_token_reply_says_may_be_nested_a_hundred_deep(
    simulator: Simulator, before: str, after: str
) -> None:
    levels = 100 // len(after)
    value = before * levels + after * levels
    form = {
        "client_id": simulator.client_id,
        "client_secret": simulator.client_secret,
        "grant_type": "refresh_token",
        "refresh_token": simulator.issue_refresh_token(),
    }
    async with ClientSession(simulator.url) as session:
        async with session.post("/_simulator/settings", data=f'{{"expires_in": {value}}}') as response:
            assert response.status == 200
        async with session.post("/oauth2/access_token", data=form) as response:
            assert response.status == 200
            assert (await response.json())["expires_in"] == json.loads(value)


@pytest.mark.parametrize("path", ["/faults", "/settings", "/lose-token-replies", "/revoke", "/nothing"])
async def test_an_order_above_two_mebibytes_is_a_413_and_changes_nothing(simulator: Simulator, path: str) -> None:
    simulator.issue_access_token()
    before = simulator.state()
    async with ClientSession(simulator.url) as session:
        async with session.post(f"/_simulator{path}", data=BytesIO(b" " * (2 * 1024 * 1024 + 1))) as response:
            assert response.status == 413
            assert (await response.json())["detail"]
        async with session.post("/_simulator/settings", data=BytesIO(b"{}".ljust(2 * 1024 * 1024))) as response:
            assert response.status == 200
    assert simulator.state() == before


@pytest.mark.parametrize(
    ("path", "payload"),
    [
        ("/faults", {"stauts": 500}),
        ("/faults", {"status": 42}),
        ("/faults", {"delay": -1}),
        ("/faults", {"status": 200, "headers": {"Retry After": "1"}}),
        ("/faults", {"status": 200, "headers": {"X-A": "1\n"}}),
        ("/faults", {"status": 200, "headers": {"Content-Length": "abc"}}),
        ("/faults", {"status": 200, "headers": {"Transfer-Encoding": "chunked"}}),
        ("/faults", {"body": "x"}),
        ("/faults", {"headers": {"X-A": "1"}, "delay": 1}),
        ("/faults", {"body": "", "early": True}),
        ("/faults", {"path": "/public/v1/documents?upload", "status": 503}),
        ("/faults", {"path": "public/v1/documents", "status": 503}),
        ("/faults", {"path": "", "status": 503}),
        ("/faults", []),
        ("/settings", {"rotate": "no"}),
        ("/settings", {"echo_state": None}),
        ("/settings", {"rate_limits": {"all": 10, "list": 2}}),
        ("/settings", {"rotate": False, "expires_in": 1, "echo_state": False, "redirect_uri": "callback"}),
        ("/lose-token-replies", {"times": -1}),
        ("/lose-token-replies", {"times": "x"}),
    ],
)
async def test_an_order_that_makes_no_sense_is_a_400_and_changes_nothing(
    simulator: Simulator, path: str, payload: object
) -> None:
    before = simulator.state()
    status, answer = await _ask(simulator, "POST", path, payload)
    assert status == 400
    assert isinstance(answer, dict)
    assert answer["detail"]
    assert simulator.state() == before
