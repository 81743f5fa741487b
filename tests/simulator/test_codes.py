"""What a code is good for: without a socket, and at the token endpoint when consent has issued it."""

import pytest
from aiohttp import ClientError, ClientSession
from yarl import URL

from proxy.simulator import Fault, Simulator
from proxy.simulator.codes import Codes

_INVALID_GRANT = (400, {"error": "invalid_grant"})
_HERE, _ELSEWHERE = "http://127.0.0.1:8400/callback", "http://127.0.0.1:8400/callback/"


def _codes(now: list[float]) -> Codes:
    return Codes(lambda: now[0])


def test_a_code_is_spent_once() -> None:
    codes = _codes([0.0])
    codes.add("c0de")
    assert [codes.spend("c0de", None), codes.spend("c0de", None)] == [True, False]


def test_a_code_that_was_never_issued_is_good_for_nothing() -> None:
    assert not _codes([0.0]).spend("c0de", None)


@pytest.mark.parametrize(("age_s", "good"), [(0.0, True), (599.999, True), (600.0, False), (1e9, False)])
def test_a_code_is_good_for_ten_minutes(age_s: float, *, good: bool) -> None:
    now = [1_000_000.0]
    codes = _codes(now)
    codes.add("c0de")
    now[0] += age_s
    assert len(codes) == good
    assert codes.spend("c0de", None) is good


@pytest.mark.parametrize(
    ("bound_to", "redirect_uri", "good"),
    [
        (_HERE, _HERE, True),
        (_HERE, _ELSEWHERE, False),
        (_HERE, _HERE.upper(), False),
        (_HERE, None, True),
        (_HERE, "", True),
        (None, _HERE, True),
        (None, None, True),
    ],
)
def test_a_bound_code_is_refused_with_another_redirect_uri_and_taken_with_none(
    bound_to: str | None, redirect_uri: str | None, *, good: bool
) -> None:
    codes = _codes([0.0])
    codes.add("c0de", bound_to)
    assert codes.spend("c0de", redirect_uri) is good


def test_a_refusal_does_not_use_a_code_up() -> None:
    codes = _codes([0.0])
    codes.add("c0de", _HERE)
    assert [codes.spend("c0de", _ELSEWHERE), codes.spend("c0de", _HERE)] == [False, True]


def test_the_repr_counts_the_good_and_shows_none() -> None:
    codes = _codes([0.0])
    codes.add("c0de", _HERE)
    assert repr(codes) == "<Codes 1>"


async def test_a_code_of_consent_is_refused_with_another_redirect_uri(
    simulator: Simulator, client: ClientSession
) -> None:
    code = await _consent(client)
    assert await _exchange(simulator, client, code, redirect_uri=_ELSEWHERE) == _INVALID_GRANT
    assert (await _exchange(simulator, client, code, redirect_uri=_HERE))[0] == 200
    assert await _exchange(simulator, client, code, redirect_uri=_HERE) == _INVALID_GRANT


async def test_a_code_of_consent_is_taken_without_a_redirect_uri(simulator: Simulator, client: ClientSession) -> None:
    assert (await _exchange(simulator, client, await _consent(client)))[0] == 200


async def test_a_code_that_was_issued_in_python_is_bound_to_no_redirect_uri(
    simulator: Simulator, client: ClientSession
) -> None:
    assert (await _exchange(simulator, client, simulator.issue_code(), redirect_uri="http://any/"))[0] == 200


async def test_a_code_is_dead_after_ten_minutes_of_the_clock_that_was_passed_in() -> None:
    now = [1_000_000.0]
    async with Simulator(clock=lambda: now[0]) as simulator, ClientSession(simulator.url) as client:
        early, late = await _consent(client), await _consent(client)
        now[0] += 599
        assert (await _exchange(simulator, client, early))[0] == 200
        now[0] += 1
        assert await _exchange(simulator, client, late) == _INVALID_GRANT


async def test_revoked_grants_take_a_code_of_consent_with_them(simulator: Simulator, client: ClientSession) -> None:
    code = await _consent(client)
    simulator.revoke_grants()
    assert await _exchange(simulator, client, code) == _INVALID_GRANT


async def test_a_lost_reply_has_spent_the_code_all_the_same(simulator: Simulator, client: ClientSession) -> None:
    code = await _consent(client)
    simulator.lose_token_replies(1)
    with pytest.raises(ClientError):
        await _exchange(simulator, client, code)
    assert await _exchange(simulator, client, code) == _INVALID_GRANT


async def test_a_fault_instead_of_the_exchange_spends_no_code(simulator: Simulator, client: ClientSession) -> None:
    code = await _consent(client)
    simulator.faults.add(Fault("POST", "/oauth2/access_token", 400, times=1))
    assert await _exchange(simulator, client, code) == _INVALID_GRANT
    assert (await _exchange(simulator, client, code))[0] == 200


async def test_the_tokens_of_a_code_live_and_expire_like_those_of_a_refresh() -> None:
    now = [1_000_000.0]
    async with Simulator(clock=lambda: now[0], expires_in=60) as simulator, ClientSession(simulator.url) as client:
        assert (await _exchange(simulator, client, await _consent(client)))[1]["expires_in"] == 60
        assert simulator.state()["access_tokens"] == 1
        now[0] += 60
        assert simulator.state()["access_tokens"] == 0


async def _consent(client: ClientSession) -> str:
    """Allow; return the code that would arrive at the redirect URI."""
    query = {"client_id": "simulator-client", "redirect_uri": _HERE, "response_type": "code"}
    url = URL("/oauth2/authorize").with_query(query)
    async with client.post(url, data={"decision": "allow"}, allow_redirects=False) as response:
        return URL(response.headers["Location"]).query["code"]


async def _exchange(
    simulator: Simulator, client: ClientSession, code: str, **more: str
) -> tuple[int, dict[str, object]]:
    form = {"grant_type": "authorization_code", "code": code, **more}
    secrets = {"client_id": simulator.client_id, "client_secret": simulator.client_secret}
    async with client.post("/oauth2/access_token", data=secrets | form) as response:
        return response.status, await response.json()
