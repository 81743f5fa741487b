"""A shared budget in a running proxy: how it goes on without its Redis, and by what replicas know their user."""

import asyncio
from pathlib import Path
from typing import Any, Final

import pytest
from conftest import HouseMaker, merge
from rig import House, until

from proxy.budget.budget import Standing
from proxy.clock import SystemClock
from proxy.compose_budget import BudgetParts
from proxy.config import load
from proxy.policy import profiles
from proxy.secret_reader import SecretReader
from proxy.secrets import Secret, SecretReference
from proxy.tasks import Tasks

LIST: Final = "/public/v1/documents"
NOBODY: Final = {"url": "redis://127.0.0.1:1"}


class Journal(SecretReader):
    """Remembers what was read, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    async def read(self, reference: SecretReference) -> Secret:
        self.names.append(reference.name)
        return await super().read(reference)


def budget(**more: Any) -> dict[str, Any]:
    return {"rate_budget": {"numbers": "auto", "rates": {"list": "8/30s"}, "max_wait": "0s", **more}}


def standing(house: House) -> Standing:
    assert house.proxy._snapshot is not None  # noqa: SLF001 - /status rounds
    return house.proxy._snapshot.budgets["default"].standing("list")  # noqa: SLF001 - the same


async def told(house: House) -> tuple[Any, str, str]:
    """Return what /status says of the rate, the line of the metrics, and the page."""
    async with house.client.get(f"{house.proxy.admin_url}/status") as answer:
        (rate,) = [each for each in (await answer.json())["rate_budgets"] if each["rate"] == "list"]
    async with house.client.get(f"{house.proxy.admin_url}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    async with house.client.get(f"{house.proxy.admin_url}/") as answer:
        page = await answer.text()
    return rate, next((line for line in lines if "budget_shared{" in line), ""), page


async def test_without_redis_requests_go_by_the_share_and_everybody_is_told(
    api_key_house: HouseMaker, caplog: pytest.LogCaptureFixture
) -> None:
    house = await api_key_house(budget(redis=NOBODY, share="1/4"))
    await until(lambda: "Each replica keeps to its share, here 1/4." in caplog.text)
    statuses = [(await house.get(LIST)).status for _ in range(3)]
    assert statuses == [200, 200, 429]
    rate, line, page = await told(house)
    assert (rate["shared"], rate["most"], rate["left"]) == (False, 2, 0)
    assert line == 'pandadoc_proxy_rate_budget_shared{credential="default"} 0.0'
    assert "this replica&#x27;s share, while Redis can&#x27;t be reached" in page
    await asyncio.sleep(1.5)  # it is tried in the meantime
    assert caplog.text.count("keeps to its share") == 1


async def test_a_budget_of_ones_own_says_nothing_of_sharing(api_key_house: HouseMaker) -> None:
    house = await api_key_house(budget(share="1/4"))
    rate, line, page = await told(house)
    assert (rate["shared"], rate["most"], line) == (None, 2, "")
    assert "Redis" not in page


async def test_operations_are_read_when_a_budget_is_made_and_by_no_request(
    api_key_house: HouseMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request would hold up all others while the disk hangs, and fail where no file may be opened any more."""
    profiles._tree.cache_clear()  # noqa: SLF001 - as in a process that has just begun
    profiles.operations.cache_clear()
    read, held = [], profiles._held  # noqa: SLF001 - the one place that reads

    def reads(name: str) -> bytes:
        read.append(name)
        return held(name)

    monkeypatch.setattr(profiles, "_held", reads)
    house = await api_key_house()
    assert (await house.get(LIST)).status == 200
    assert not read
    house.settings = merge(house.settings, budget())
    await house.proxy.reload(house.config())
    assert read == ["operations.json"]
    assert (await house.get(LIST)).status == 200
    assert read == ["operations.json"]


async def test_a_reload_begins_and_ends_to_share(api_key_house: HouseMaker) -> None:
    house = await api_key_house(budget())
    house.settings = merge(house.settings, budget(redis=NOBODY))
    await house.proxy.reload(house.config())
    assert (await house.get(LIST)).status == 200
    rate, line, _ = await told(house)
    assert (rate["shared"], rate["left"]) == (False, 7)
    house.settings = merge(house.settings, budget(redis=NOBODY, share="1/2"))
    await house.proxy.reload(house.config())
    assert (await told(house))[1] == line, "it goes on"
    house.settings = merge(house.settings, budget(redis=None))
    await house.proxy.reload(house.config())
    assert (await told(house))[1] == ""


@pytest.mark.parametrize("redis", [NOBODY, None])
async def test_whoever_waits_on_a_budget_of_before_leaves_when_all_are_switched_off(
    api_key_house: HouseMaker, redis: dict[str, str] | None
) -> None:
    house = await api_key_house(budget(max_wait="60s", redis=redis, share="1/2"))
    if redis:
        await until(lambda: standing(house).shared is False)
    await house.many(4, LIST)
    waiting = [asyncio.create_task(house.get(LIST)) for _ in range(3)]
    await until(lambda: standing(house).waiting == 3)
    for settings in (budget(redis=None if redis else NOBODY), {"rate_budget": {"numbers": "none"}}):
        house.settings = merge(house.settings, settings)
        await house.proxy.reload(house.config())
    async with asyncio.timeout(10):
        assert [(await each).status for each in waiting] == [200] * 3


async def test_replicas_know_their_user_by_what_tells_nobody_the_key(tmp_path: Path) -> None:
    text = """\
credentials:
  one: {api_key: {env: ONE}}
  same: {api_key: {env: SAME}}
  other: {api_key: {env: OTHER}}
  grant: {oauth2: {client_id: {env: ID}, client_secret: {env: ONE}, store: {memory: true}}}
  absent: {oauth2: {client_id: {file: ./absent}, client_secret: {env: ONE}, store: {memory: true}}}
"""
    (tmp_path / "config.yaml").write_text(text + "listeners: [{bind: 127.0.0.1:0, credential: one}]\n")
    environ = {"ONE": "a-key-of-theirs", "SAME": "a-key-of-theirs", "OTHER": "another-key", "ID": "a-client"}
    config = load(tmp_path / "config.yaml", environ=environ)
    parts = BudgetParts(config, SystemClock(), Tasks(), SecretReader())
    users = {name: await parts.user(name) for name in config.credentials if name != "absent"}
    assert users["one"] == users["same"]
    assert len(set(users.values())) == 3
    assert not [secret for secret in environ.values() for user in users.values() if secret in user]


async def test_other_grants_are_read_only_where_they_may_be_of_the_same_client(tmp_path: Path) -> None:
    """Each budget is named every two seconds, and one disk that hangs would hold up all of them."""
    text = """\
credentials:
  one: {oauth2: {client_id: {env: ONE}, client_secret: {env: SECRET}, store: {memory: true}}}
  twin: {oauth2: {client_id: {env: ONE}, client_secret: {env: SECRET}, store: {memory: true}}}
  other: {oauth2: {client_id: {env: OTHER}, client_secret: {env: SECRET}, store: {memory: true}}}
  elsewhere:
    oauth2:
      client_id: {file: ./absent}
      client_secret: {env: SECRET}
      token_url: https://elsewhere.example/token
      store: {memory: true}
listeners: [{bind: 127.0.0.1:0, credential: one}]
"""
    (tmp_path / "config.yaml").write_text(text)
    config = load(tmp_path / "config.yaml", environ={"ONE": "a-client", "OTHER": "another", "SECRET": "a-secret"})
    reader = Journal()
    parts = BudgetParts(config, SystemClock(), Tasks(), reader)
    assert await parts.user("one") != await parts.user("twin")
    assert reader.names == ["ONE", "ONE"]
    reader.names.clear()
    await parts.user("other")
    assert reader.names == ["OTHER", "ONE", "ONE"]


async def test_a_reload_that_adds_another_grant_of_the_same_client_has_both_known_by_their_names(
    oauth_house: HouseMaker,
) -> None:
    """They may be of two users. A replica that starts with that configuration must share with one that goes on."""
    house = await oauth_house(budget(redis=NOBODY))
    assert house.proxy._snapshot is not None  # noqa: SLF001 - nothing else shows it but a Redis
    kept = house.proxy._snapshot.budgets["default"]  # noqa: SLF001 - the same
    ledger: Any = kept._ledger  # type: ignore[attr-defined]  # noqa: SLF001 - the same
    alone = await ledger._user()  # noqa: SLF001 - the same
    oauth2 = house.settings["credentials"]["default"]["oauth2"] | {"store": {"memory": True}}
    house.settings = merge(house.settings, {"credentials": {"another": {"oauth2": oauth2}}})
    await house.proxy.reload(house.config())
    assert house.proxy._snapshot.budgets["default"] is kept  # noqa: SLF001 - the same
    parts = BudgetParts(house.config(), SystemClock(), Tasks(), SecretReader())
    users = [await ledger._user(), await parts.user("another")]  # noqa: SLF001 - the same
    assert users[0] == await parts.user("default")
    assert len({alone, *users}) == 3
