"""The alert rules and the dashboard ask only for what a real proxy exports, and fire when they should."""

import json
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import yaml
from conftest import HouseMaker
from deploy.promql import COMPARISON, grouped, selectors, shown
from prometheus_client import parser
from rig import House
from tls import CertificateFolder
from wire import OK, Stage, upstream

from proxy.simulator import Fault

FOLDER: Final = Path(__file__).parents[2] / "deploy" / "observability"
RUNBOOK: Final = Path(__file__).parents[2] / "docs" / "operations.md"
TOKEN: Final = "/oauth2/access_token"

RULES: Final = yaml.safe_load((FOLDER / "prometheus-rules.yaml").read_text())["groups"][0]["rules"]
ALERTS: Final = {rule["alert"]: rule for rule in RULES}
DASHBOARD: Final = json.loads((FOLDER / "grafana-dashboard.json").read_text())
PANELS: Final = {panel["title"]: panel for panel in DASHBOARD["panels"] if panel["type"] != "row"}


@dataclass(frozen=True)
class Exported:
    """What one scrape held: each sample's name with the values that each of its labels had."""

    samples: tuple[tuple[str, dict[str, str], float], ...]

    @property
    def labels(self) -> dict[str, dict[str, set[str]]]:
        known: dict[str, dict[str, set[str]]] = {}
        for name, labels, _ in self.samples:
            values = known.setdefault(name, defaultdict(set))
            for label, value in labels.items():
                values[label].add(value)
        return known

    def holds(self, expression: str) -> bool:
        """Tell whether a plain comparison of a metric with a number holds for some series."""
        found = COMPARISON.fullmatch(expression)
        assert found is not None, expression
        (selector,) = selectors(found["selector"])
        values = [
            value
            for name, labels, value in self.samples
            if name == selector.name and dict(selector.equal).items() <= labels.items()
        ]
        number = float(found["number"])
        compare = {"==": float.__eq__, ">=": float.__ge__, ">": float.__gt__}[found["operator"]]
        return any(compare(value, number) for value in values)


async def exported(house: House) -> Exported:
    async with house.client.get(f"{house.proxy.admin_url}/metrics") as answer:
        families = parser.text_string_to_metric_families(await answer.text())
    return Exported(tuple((each.name, each.labels, each.value) for family in families for each in family.samples))


@pytest.fixture
async def lively(oauth_house: HouseMaker, tmp_path: Path) -> AsyncIterator[Exported]:
    """Scrape a proxy to which everything has happened that has a label."""

    async def script(stage: Stage) -> None:
        for answer in (
            b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n",
            OK,
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        ):
            await stage.request()
            await stage.say(answer)

    async with upstream(script) as up:
        certificates = CertificateFolder(tmp_path / "tls")
        certificates.renew()
        listeners = [{"bind": "127.0.0.1:0"}, {"bind": "127.0.0.1:0", "tls": certificates.files}]
        policy = {"mode": "warn", "profiles": ["read-only"]}
        shared = {"numbers": "auto", "redis": {"url": "redis://127.0.0.1:1"}}
        house = await oauth_house({"policy": policy, "listeners": listeners, "rate_budget": shared}, probe=None)
        await house.forward_to(up.url)
        assert (await house.ask("POST", "/replayed", data=b"x")).status == 200
        await house.get("/oauth2/access_token")
        with pytest.raises(aiohttp.ClientPayloadError):
            await house.get("/broken")
        yield await exported(house)


def asked() -> Iterator[tuple[str, str, str]]:
    """Yield where each expression stands, the expression, and the text that shows its labels."""
    for name, rule in ALERTS.items():
        yield name, rule["expr"], " ".join(rule["annotations"].values())
    for title, panel in PANELS.items():
        for target in panel["targets"]:
            yield title, target["expr"], target["legendFormat"]


async def test_every_metric_and_label_that_is_asked_for_is_one_that_is_exported(lively: Exported) -> None:
    known = lively.labels
    for where, expression, text in asked():
        wanted = list(selectors(expression))
        assert wanted, where
        for selector in wanted:
            assert selector.name in known, (where, selector.name)
            assert selector.labels <= known[selector.name].keys(), (where, selector)
        has = {label for selector in wanted for label in known[selector.name]}
        assert grouped(expression) <= has, where
        assert shown(text) - {"value"} <= has, where


async def test_every_state_that_is_asked_for_is_one_that_a_series_has(lively: Exported) -> None:
    """A matcher that is misspelt would never fire."""
    known = lively.labels
    for where, expression, _ in asked():
        for selector in selectors(expression):
            states = dict(selector.equal).get("state")
            assert states is None or states in known[selector.name]["state"], where


async def test_what_is_exported_is_shown_somewhere(lively: Exported) -> None:
    """A metric that nobody looks at costs every pod."""
    looked_at = {stem(selector.name) for _, expression, _ in asked() for selector in selectors(expression)}
    ours = {stem(name) for name in lively.labels if name.startswith("pandadoc_proxy_")}
    assert ours - looked_at <= {"pandadoc_proxy_ready", "pandadoc_proxy_credential_last_refresh_timestamp_seconds"}


async def test_what_happens_once_is_shown_though_its_series_begins_with_it(oauth_house: HouseMaker) -> None:
    quiet = (await exported(await oauth_house())).labels
    for title, panel in PANELS.items():
        for target in panel["targets"]:
            for counter in re.findall(r"increase\((\w+\{[^}]*\})", target["expr"]):
                known = counter.partition("{")[0] in quiet
                born = f"({counter} unless last_over_time({counter}[1h] offset 1h)) or increase({counter}[1h])"
                assert known or born in target["expr"], title


def stem(name: str) -> str:
    """Return what a histogram's and a counter's samples are called together."""
    return re.sub(r"_(bucket|count|sum|total|created)$", "", name)


async def test_the_runbook_lists_every_metric_and_no_other(lively: Exported) -> None:
    table = RUNBOOK.read_text()
    rows = {stem(name) for name in re.findall(r"^\| `(pandadoc_proxy_\w+)` \|", table, re.MULTILINE)}
    assert rows == {stem(name) for name in lively.labels if name.startswith("pandadoc_proxy_")}


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_its_page_in_the_runbook(alert: str) -> None:
    assert ALERTS[alert]["annotations"]["runbook"] == f"docs/operations.md#{alert.lower()}"
    page = RUNBOOK.read_text().partition(f"\n### {alert}\n")[2].partition("\n### ")[0]
    for part in ("**Means.**", "**Look.**", "**Cure.**"):
        assert part in page, part


async def test_a_dead_grant_makes_its_alert_true_and_a_healthy_one_does_not(oauth_house: HouseMaker) -> None:
    house = await oauth_house(seed_life=3600)
    dead = ALERTS["PandaDocProxyCredentialDead"]["expr"]
    await house.get()
    assert not (await exported(house)).holds(dead)
    house.simulator.faults.add(Fault(path=TOKEN, status=400, body=b'{"error": "invalid_grant"}'))
    house.clock.pass_(3500)
    await house.look()
    assert (await exported(house)).holds(dead)  # while its token is good, and every request is served
    assert (await house.get()).status == 200


async def test_a_login_ends_the_alert(oauth_house: HouseMaker) -> None:
    house = await oauth_house()
    dead = ALERTS["PandaDocProxyCredentialDead"]["expr"]
    house.simulator.faults.add(Fault(path=TOKEN, status=400, body=b'{"error": "invalid_grant"}', times=1))
    await house.look()
    assert (await exported(house)).holds(dead)
    await house.log_in()
    await house.look()
    assert not (await exported(house)).holds(dead)


async def test_a_pandadoc_outage_is_no_dead_grant(oauth_house: HouseMaker) -> None:
    house = await oauth_house()
    house.simulator.faults.add(Fault(path=TOKEN, status=503))
    for _ in range(3):
        await house.look()
        house.clock.pass_(600)
    seen = await exported(house)
    assert not seen.holds(ALERTS["PandaDocProxyCredentialDead"]["expr"])
    assert seen.holds(ALERTS["PandaDocProxyRefreshFailing"]["expr"])


async def test_tokens_that_cannot_be_stored_make_their_alert_true(oauth_house: HouseMaker) -> None:
    house = await oauth_house()
    await house.get()
    stored = ALERTS["PandaDocProxyTokensNotStored"]["expr"]
    assert not (await exported(house)).holds(stored)
    (house.folder / "grant.json").write_text("somebody else's")
    house.simulator.revoke_access_tokens()
    await house.get()
    assert (await exported(house)).holds(stored)


async def test_a_store_that_cannot_be_read_makes_its_alert_true_until_it_can(oauth_house: HouseMaker) -> None:
    """Nothing is due, so nothing else would show it."""
    house = await oauth_house()
    await house.get()
    unavailable = ALERTS["PandaDocProxyStoreUnavailable"]["expr"]
    store = house.folder / "grant.json"
    kept = store.read_bytes()
    for content, fires in ((kept, False), (b"somebody else's", True), (kept, False)):
        store.write_bytes(content)
        await house.look()
        seen = await exported(house)
        assert seen.holds(unavailable) is fires
        assert not seen.holds(ALERTS["PandaDocProxyCredentialDead"]["expr"])
    assert (await house.get()).status == 200


async def test_an_api_key_whose_file_cannot_be_read_makes_its_alert_true_until_it_can(
    api_key_house: HouseMaker, tmp_path: Path
) -> None:
    """The key that was read is lent on, so nothing else would show it."""
    key = tmp_path / "key"
    house = await api_key_house({"credentials": {"default": {"api_key": {"file": str(key)}}}})
    for away in (False, True, False):
        key.unlink(missing_ok=True)
        if not away:
            key.write_text(house.environ["KEY"])
        await house.look()
        assert (await exported(house)).holds(ALERTS["PandaDocProxyStoreUnavailable"]["expr"]) is away
    assert (await house.get()).status == 200


async def test_a_revoked_api_key_makes_its_alert_true(api_key_house: HouseMaker) -> None:
    house = await api_key_house()
    await house.get()
    refused = ALERTS["PandaDocProxyCredentialRefused"]["expr"]
    assert not (await exported(house)).holds(refused)
    house.simulator.revoke_api_keys()
    assert (await house.get()).status == 401
    assert (await exported(house)).holds(refused)


async def test_a_grant_whose_fresh_tokens_are_refused_makes_the_same_alert_true(oauth_house: HouseMaker) -> None:
    house = await oauth_house()
    house.simulator.faults.add(Fault(path="/public/**", status=401))
    for _ in range(3):
        await house.get()
        house.clock.pass_(6)
    assert (await exported(house)).holds(ALERTS["PandaDocProxyCredentialRefused"]["expr"])


def test_no_two_panels_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place: dict[str, Any] = panel["gridPos"]
        cells = {(place["x"] + dx, place["y"] + dy) for dx in range(place["w"]) for dy in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
