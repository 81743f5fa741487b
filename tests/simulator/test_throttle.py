"""PandaDoc's limits as the simulator enforces them."""

import json

import aiohttp
import pytest

from proxy.policy import profiles
from proxy.simulator import Simulator
from proxy.simulator.throttle import ALL, PRODUCTION, SANDBOX, Throttle, named


class Hand:
    """A clock that a test turns."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_window_slides_and_what_is_refused_counts_for_nothing() -> None:
    clock = Hand()
    throttle = Throttle(clock, {"list": 2}, 60)
    assert throttle.refusal("GET", "/public/v1/documents") is None
    clock.now += 30
    assert throttle.refusal("GET", "/public/v1/documents/abc") is None
    for wait in (30, 29):
        refusal = throttle.refusal("DELETE", "/public/v1/documents/abc")
        assert refusal is not None
        assert refusal.status == 429
        assert [name for name, _ in refusal.headers] == ["Content-Type"]
        detail = f"Request was throttled. Expected available in {wait} seconds."
        assert json.loads(refusal.body) == {"type": "throttled", "detail": detail}
        clock.now += 1
    clock.now += 28
    assert throttle.refusal("GET", "/public/v1/documents") is None
    assert throttle.refusal("GET", "/public/v1/documents") is not None


def test_the_last_second_is_told_in_the_singular() -> None:
    clock = Hand()
    throttle = Throttle(clock, {ALL: 1}, 60)
    assert throttle.refusal("GET", "/x") is None
    clock.now += 59.5
    refusal = throttle.refusal("PUT", "/y")
    assert refusal is not None
    assert b"in 1 second." in refusal.body


def test_without_a_limit_everything_is_granted() -> None:
    throttle = Throttle(Hand(), PRODUCTION, 60)
    assert all(throttle.refusal("GET", "/public/v1/members/current") is None for _ in range(5000))
    assert "off" in repr(Throttle(Hand(), None, 60))


@pytest.mark.parametrize(
    ("method", "target", "name"),
    [
        ("POST", "/public/v1/documents", "create"),
        ("POST", "/public/v1/documents?upload", "create_upload"),
        ("POST", "/public/v1/documents?upload-markdown", "create_upload"),
        ("POST", "/public/v1/documents?editor_ver=ev1&upload", "create_upload"),
        ("POST", "/public/v1/documents?upload=&editor_ver=ev1", "create_upload"),
        ("POST", "/public/v1/documents?uploaded=1", "create"),
        ("POST", "/public/v1/documents?editor_ver=upload", "create"),
        ("HEAD", "/public/v1/documents", "list"),
        ("GET", "/public/v1/documents/a", "list"),
        ("DELETE", "/public/v1/documents/a", "list"),
        ("GET", "/public/v1/documents/a/details", "details"),
        ("GET", "/public/v1/documents/a/download?x", "download"),
        ("POST", "/public/v1/documents/a/send", "send"),
        ("GET", "/public/v1/members/current", ""),
    ],
)
def test_each_operation_has_its_class(method: str, target: str, name: str) -> None:
    assert named(method, target) == name


@pytest.mark.parametrize("query", ["upload", "upload-markdown", "a=b&upload", "uploaded", "a=upload", "upload=1&a", ""])
def test_an_upload_is_to_it_what_it_is_to_the_proxy(query: str) -> None:
    path = "/public/v1/documents"
    counted = named("POST", f"{path}?{query}")
    operation = profiles.named("POST", path, query)
    assert operation is not None
    assert counted == operation.rate


async def test_it_is_switched_over_http_and_spares_whoever_has_no_credential() -> None:
    async with Simulator() as simulator, aiohttp.ClientSession(simulator.url) as app:
        good = {"Authorization": f"API-Key {simulator.issue_api_key()}"}

        async def ask(**headers: str) -> int:
            async with app.get("/public/v1/documents", headers=headers) as answer:
                return answer.status

        async with app.post("/_simulator/settings", json={"rate_limits": {"list": 1}, "rate_window": 30}) as answer:
            state = await answer.json()
        assert (state["rate_limits"], state["rate_window"]) == ({"list": 1}, 30)
        assert [await ask(), await ask(**good), await ask(**good), await ask()] == [401, 200, 429, 401]
        async with app.post("/_simulator/settings", json={"rate_limits": None}) as answer:
            assert (await answer.json())["rate_limits"] == {}
        assert await ask(**good) == 200
        for wrong in ({"rate_limits": {"list": 0}}, {"rate_window": 0}):
            async with app.post("/_simulator/settings", json=wrong) as answer:
                assert answer.status == 400


async def test_a_class_that_is_none_is_refused_by_its_name_and_every_other_is_taken() -> None:
    """A mistyped one would limit nothing, and the test that threw the switch would pass."""
    async with Simulator() as simulator, aiohttp.ClientSession(simulator.url) as app:
        async with app.post("/_simulator/settings", json={"rate_limits": {"list": 1, "detail": 1}}) as answer:
            assert answer.status == 400
            assert "'detail'" in await answer.text()
        for limits in (PRODUCTION, SANDBOX):
            async with app.post("/_simulator/settings", json={"rate_limits": dict(limits)}) as answer:
                assert (await answer.json())["rate_limits"] == limits
