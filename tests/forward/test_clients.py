"""Named clients: who is asked for a key, what a key gets, and what it never does."""

import asyncio
import re
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from conftest import HouseMaker
from rig import House, ground, oauth, until
from wire import OK, answering, converse, on_cue, upstream

from proxy.forward.clients import presented
from proxy.simulator import Simulator

KEY: Final = "billing-0123456789abcdef"
OTHER_KEY: Final = "reports-0123456789abcdef"
GET: Final = b"GET /public/v1/documents HTTP/1.1\r\nHost: localhost\r\n%s\r\n"

EXAMPLE: Final = Path(__file__).parents[2] / "deploy" / "examples" / "three-clients.yaml"

PRESENTED: Final[dict[str, tuple[list[tuple[bytes, bytes]], list[bytes]]]] = {
    "nothing": ([], []),
    "as an API key": ([(b"Authorization", b"API-Key k")], [b"k"]),
    "as a bearer token": ([(b"authorization", b"bearer  k ")], [b"k"]),
    "in a header of our own": ([(b"X-Proxy-Key", b" k ")], [b"k"]),
    "with an underscore": ([(b"X_Proxy_Key", b"k")], [b"k"]),
    "an empty token, as SDKs send it, is nothing": ([(b"Authorization", b"Bearer")], []),
    "an empty token beside a key": ([(b"Authorization", b"Bearer "), (b"X-Proxy-Key", b"k")], [b"k"]),
    "another scheme is a wrong key": ([(b"Authorization", b"Basic k")], [b""]),
    "no scheme is a wrong key": ([(b"Authorization", b"k")], [b""]),
    "an empty header of our own is a wrong key": ([(b"X-Proxy-Key", b"")], [b""]),
    "twice": ([(b"Authorization", b"Bearer k"), (b"AUTHORIZATION", b"Bearer l")], [b"k", b"l"]),
    "in two places": ([(b"Authorization", b"Bearer k"), (b"X-Proxy-Key", b"k")], [b"k", b"k"]),
}


@pytest.mark.parametrize(("fields", "keys"), PRESENTED.values(), ids=PRESENTED)
def test_a_key_is_presented(fields: list[tuple[bytes, bytes]], keys: list[bytes]) -> None:
    assert presented(tuple(fields)) == keys


def one_client(**client: Any) -> dict[str, Any]:
    """Return settings for a listener whose only client is `billing`."""
    return {"listeners": [{"bind": "127.0.0.1:0", "clients": {"billing": {"key": {"value": KEY}, **client}}}]}


@pytest.mark.parametrize("line", [b"Authorization: API-Key %s", b"Authorization: Bearer %s", b"X-Proxy-Key: %s"])
async def test_a_client_is_lent_the_credential_and_its_key_stays_here(api_key_house: HouseMaker, line: bytes) -> None:
    async with upstream(answering(OK)) as up:
        house = await api_key_house({**one_client(), "upstream": {"url": up.url}})
        house.secrets.add(KEY)
        seen = await converse(house.port, GET % (line % KEY.encode() + b"\r\n"))
        assert seen.start == b"HTTP/1.1 200 OK"
        assert up.heard[0].values(b"authorization") == [f"API-Key {house.environ['KEY']}".encode()]
        assert KEY.encode() not in up.heard[0].head
        assert not up.heard[0].values(b"x-proxy-key")
        assert house.ear.heard("'client': 'billing'")


WRONG: Final = {
    "none": b"",
    "an unknown one": b"Authorization: Bearer nobody-0123456789abcdef\r\n",
    "one that is cut short": b"Authorization: Bearer billing-0123456789abcde\r\n",
    "two": b"Authorization: Bearer %(key)s\r\nX-Proxy-Key: %(key)s\r\n",
    "two of a kind": b"X-Proxy-Key: %(key)s\r\nx_proxy_key: %(key)s\r\n",
    "the wrong scheme": b"Authorization: Basic %(key)s\r\n",
    "the credential itself": b"Authorization: API-Key %(credential)s\r\n",
}


@pytest.mark.parametrize("line", [b"Authorization: %s\r\n", b"Authorization: Basic %s\r\n"])
async def test_a_key_without_its_scheme_is_told_to_have_one(api_key_house: HouseMaker, line: bytes) -> None:
    """As the Python SDK sends it where its configuration has the key alone."""
    house = await api_key_house(one_client())
    seen = await converse(house.port, GET % (line % KEY.encode()))
    assert seen.start.split()[1] == b"403"
    assert b"without its scheme, or is empty: write `Authorization: API-Key" in seen.body
    wrong = await converse(house.port, GET % b"Authorization: API-Key nobody-0123456789abcdef\r\n")
    assert b"without its scheme" not in wrong.body


@pytest.mark.parametrize("lines", WRONG.values(), ids=WRONG)
async def test_without_the_right_key_the_answer_is_a_403_that_says_whose_it_is(
    api_key_house: HouseMaker, lines: bytes
) -> None:
    """Never a 401, of which an app would blame its own credential; and nothing goes up."""
    async with upstream(answering(OK)) as up:
        house = await api_key_house({**one_client(), "upstream": {"url": up.url}})
        house.secrets.add(KEY)
        lines = lines.replace(b"%(key)s", KEY.encode()).replace(b"%(credential)s", house.environ["KEY"].encode())
        seen = await converse(house.port, GET % lines)
        assert seen.start == b"HTTP/1.1 403 Forbidden"
        assert seen.values(b"content-type") == [b"application/problem+json"]
        assert b"pandadoc-proxy" in seen.values(b"proxy-status")[0]
        assert b"pandadoc-proxy's, not PandaDoc's" in seen.body
        assert KEY.encode() not in seen.body
        assert not up.connections


async def test_a_listener_without_clients_drops_what_looks_like_a_key(api_key_house: HouseMaker) -> None:
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        house.secrets.add(KEY)
        await converse(house.port, GET % b"X-Proxy-Key: %s\r\nx_proxy_key: %s\r\n" % (KEY.encode(), KEY.encode()))
        assert KEY.encode() not in up.heard[0].head


async def test_health_needs_no_key(api_key_house: HouseMaker) -> None:
    house = await api_key_house(one_client())
    assert (await house.get("/healthz")).body == b"ok\n"


async def test_a_clients_requests_in_flight_are_limited_apart_from_the_others(api_key_house: HouseMaker) -> None:
    settings = one_client(max_requests=1)
    settings["listeners"][0]["clients"]["reports"] = {"key": {"value": OTHER_KEY}}
    async with upstream(on_cue) as up:
        house = await api_key_house({**settings, "upstream": {"url": up.url}})
        house.secrets |= {KEY, OTHER_KEY}
        first = asyncio.ensure_future(house.get(headers={"X-Proxy-Key": KEY}))
        await until(lambda: len(up.heard) == 1)
        second = await house.get(headers={"X-Proxy-Key": KEY})
        other = asyncio.ensure_future(house.get(headers={"X-Proxy-Key": OTHER_KEY}))
        await until(lambda: len(up.heard) == 2)
        up.cue.set()
        assert [(await first).status, second.status, (await other).status] == [200, 503, 200]
        assert second.headers["Retry-After"] == "1"
        assert "max_requests of client billing" in second.json["detail"]
        assert (await house.get(headers={"X-Proxy-Key": KEY})).status == 200


async def test_each_listeners_requests_in_flight_are_limited_apart_from_the_others(api_key_house: HouseMaker) -> None:
    async with upstream(on_cue) as up:
        two = [{"bind": "127.0.0.1:0"}, {"bind": "127.0.0.1:0"}]
        house = await api_key_house({"listeners": two, "limits": {"max_requests": 1}, "upstream": {"url": up.url}})
        first = asyncio.ensure_future(house.get())
        await until(lambda: len(up.heard) == 1)
        second = await house.get()
        other = asyncio.ensure_future(house.client.get(house.proxy.urls[1]))
        await until(lambda: len(up.heard) == 2)
        up.cue.set()
        assert [(await first).status, second.status, (await other).status] == [200, 503, 200]
        assert "limits.max_requests" in second.json["detail"]


async def test_an_empty_authorization_is_none(api_key_house: HouseMaker) -> None:
    """A client that has nothing to say there may present its key in the other place."""
    house = await api_key_house(one_client())
    beside = await converse(house.port, GET % (b"Authorization:\r\nX-Proxy-Key: %s\r\n" % KEY.encode()))
    assert beside.start.split()[1] == b"200"
    alone = await converse(house.port, GET % b"Authorization: \r\n")
    assert alone.start.split()[1] == b"403"
    assert b"none was presented" in alone.body


async def test_a_policy_refuses_with_the_rule_and_nothing_goes_up(api_key_house: HouseMaker) -> None:
    house = await api_key_house({"policy": {"rules": [{"deny": "POST /public/v1/documents/*/send"}]}})
    refused = await house.ask("POST", "/public/v1/documents/abc/send", json={})
    assert refused.status == 403
    assert "(policy: deny POST /public/v1/documents/*/send)" in refused.json["detail"]
    assert "can be read in more than one way" not in refused.json["detail"]
    assert "Whoever runs the proxy can change its rules." in refused.json["detail"]
    doubtful = await house.ask("POST", "/public/v1/documents/abc%2fsend", json={})
    assert doubtful.status == 403
    assert "can be read in more than one way" in doubtful.json["detail"]
    assert not house.simulator.api_calls()


async def test_a_policy_that_warns_lets_pass_and_counts_what_it_would_refuse(api_key_house: HouseMaker) -> None:
    """But not what hands out credentials: that stays closed in every mode."""
    house = await api_key_house({"policy": {"mode": "warn", "profiles": ["read-only"]}})
    for _ in range(3):
        assert (await house.ask("POST", "/public/v1/documents", json={"name": "x"})).status == 201
    assert (await house.get("/public/v1/documents")).status == 200
    assert (await house.ask("POST", "/public/v1/members/x/token")).status == 403
    await house.proxy.drain()
    assert house.ear.heard("'would_refuse': 'policy, profile read-only: otherwise: deny'")
    assert house.ear.heard("3 would be refused by policy, profile read-only: otherwise: deny")
    assert house.ear.heard("1 refused by policy.credential_operations: deny /public/*/members/*/token")


async def test_what_hands_out_credentials_can_be_opened_in_words(api_key_house: HouseMaker) -> None:
    house = await api_key_house({"policy": {"credential_operations": ["/public/*/workspaces/*/api-keys"]}})
    assert (await house.ask("POST", "/public/v1/members/x/token")).status == 404  # the simulator has no such path
    assert (await house.ask("POST", "/public/v1/workspaces/x/api-keys")).status == 403
    closed = await house.ask("POST", "/oauth2/access_token")
    assert closed.status == 403
    assert "change its rules" not in closed.json["detail"]
    assert "No rule opens it: " in closed.json["detail"]
    assert "`token_endpoint: placeholder`" in closed.json["detail"]
    assert house.ear.heard("apps can be handed credentials of their own")


async def test_cookies_cross_unless_they_are_dropped(api_key_house: HouseMaker) -> None:
    crumbs = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n"
    for choice, sent, received in (("pass", [b"a=1", b"b=2"], [b"a=1", b"b=2"]), ("drop", [], [])):
        async with upstream(answering(crumbs)) as up:
            listener = {"bind": "127.0.0.1:0", "cookies": choice}
            house = await api_key_house({"listeners": [listener], "upstream": {"url": up.url}})
            seen = await converse(house.port, GET % b"Cookie: a=1\r\nCookie: b=2\r\n")
            assert seen.values(b"set-cookie") == received
            assert up.heard[0].values(b"cookie") == sent


ROTATIONS: Final = 12
ASKING_AT_ONCE: Final = 4


@dataclass
class Three:
    """The example in deploy/ in a house of its own: as it stands, but for its paths and addresses."""

    house: House
    keys: dict[str, Path]
    over: bool = False

    async def ask(self, name: str, method: str, path: str) -> int:
        """Ask with the key that a client's file has at this moment, as an app that reads it each time."""
        body = {"json": {"name": "x"}} if method == "POST" else {}
        headers = {"Authorization": f"Bearer {self.keys[name].read_text()}"}
        return (await self.house.ask(method, f"{path}?{name}", headers=headers, **body)).status

    async def keep_asking(self, name: str, method: str) -> set[int]:
        statuses = set()
        while not self.over:
            statuses.add(await self.ask(name, method, "/public/v1/documents"))
        return statuses

    async def keep_changing(self) -> None:
        """Replace every key, over and over; now and then PandaDoc forgets its access tokens."""
        for number in range(1, ROTATIONS + 1):
            for name, path in self.keys.items():
                fresh = path.with_suffix(".new")
                fresh.write_text(key_of(name, number))
                fresh.replace(path)
            if number % 4 == 0:
                self.house.simulator.revoke_access_tokens()
            enough = len(self.house.simulator.journal) + 40
            await until(lambda enough=enough: len(self.house.simulator.journal) > enough)  # type: ignore[misc]
        self.over = True

    def lent(self, name: str) -> set[str]:
        """Return what PandaDoc was shown for a client's requests; of a bearer token, that it was one."""
        calls = (call for call in self.house.simulator.api_calls() if call.target.endswith(f"?{name}"))
        return {re.sub("Bearer .*", "Bearer", call.authorization[0]) for call in calls}


def key_of(name: str, number: int) -> str:
    return f"{name}-{number}-0123456789abcdef"


@pytest.fixture
async def three(stack: AsyncExitStack, tmp_path: Path) -> Three:
    simulator = Simulator(expires_in=3600)
    await simulator.start()
    example = yaml.safe_load(EXAMPLE.read_text())
    settings = {**example, **ground(simulator)}
    grant, environ = oauth(simulator, {"file": str(tmp_path / "archive.json")})
    settings["credentials"]["archive"] = grant["credentials"]["default"]
    clients = settings["listeners"][0]["clients"] = example["listeners"][0]["clients"]
    keys = {name: tmp_path / f"{name}-key" for name in clients}
    for name, client in clients.items():
        client["key"] = {"file": str(keys[name])}
        keys[name].write_text(key_of(name, 0))
    environ |= {"SALES_API_KEY": simulator.issue_api_key()}
    house = await stack.enter_async_context(House(simulator, tmp_path, settings, environ))
    house.secrets |= {key_of(name, turn) for name in keys for turn in range(ROTATIONS + 1)}
    return Three(house, keys)


async def test_each_of_three_clients_is_lent_its_own_while_keys_are_replaced_and_a_token_dies(three: Three) -> None:
    """Three apps, two workspaces, in under forty lines; not one request fails."""
    assert len(EXAMPLE.read_text().splitlines()) < 40
    doing = [("contracts", "POST"), ("drafts", "POST"), ("reports", "GET")] * ASKING_AT_ONCE
    asked = [three.keep_asking(name, method) for name, method in doing]
    *statuses, _ = await asyncio.gather(*asked, three.keep_changing())
    assert statuses == [{201}, {201}, {200}] * ASKING_AT_ONCE
    sales = {f"API-Key {three.house.environ['SALES_API_KEY']}"}
    assert [three.lent(name) for name in three.keys] == [sales, sales, {"Bearer"}]


async def test_each_of_three_clients_may_do_what_its_policy_says(three: Three) -> None:
    assert await three.ask("contracts", "POST", "/public/v1/documents/x/send") == 404
    assert await three.ask("contracts", "DELETE", "/public/v1/documents/x") == 403
    assert await three.ask("drafts", "POST", "/public/v1/documents/x/send") == 403
    assert await three.ask("drafts", "POST", "/public/v1/documents") == 201
    assert await three.ask("reports", "POST", "/public/v1/documents") == 403
    assert await three.ask("reports", "GET", "/public/v1/documents") == 200
    for name in three.keys:
        assert await three.ask(name, "GET", "/public/v1/webhook-subscriptions") == 403
