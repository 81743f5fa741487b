"""A PandaDoc outage and a dead grant as a pod, an operator and Prometheus see them: ready, told, and alerted.

What a real process exports is given to promtool, which judges by the shipped rules what fires.
"""

import json
import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from aiohttp import ClientSession
from commands.process import MEMBER, Machine, Process, poll, status_of
from prometheus_client import parser
from torture.test_alerts import RULES, promtool
from yarl import URL

pytestmark = pytest.mark.timeout(180)

READY_PROBES: Final = ("livez", "startupz", "readyz")
SOON: Final = 2
"""Seconds that the token lives which has expired in the outage."""

ASKED: Final = 5
"""Requests between two scrapes."""

PREFIX: Final = "pandadoc_proxy_"

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@dataclass(frozen=True)
class Watched:
    """A process that somebody watches: a kubelet, an operator, a Prometheus."""

    process: Process
    app: ClientSession
    url: str
    admin: str

    @classmethod
    async def begin(cls, machine: Machine, app: ClientSession) -> "Watched":
        process = await machine.start(env=machine.with_grant())
        return cls(process, app, await process.url(), await process.admin_url())

    async def ask(self) -> int:
        return await status_of(self.app, self.url + MEMBER)

    async def probes(self) -> set[int]:
        return {await status_of(self.app, f"{self.admin}/{probe}") for probe in READY_PROBES}

    async def credential(self) -> dict[str, Any]:
        """Return what /status says of the one credential."""
        async with self.app.get(f"{self.admin}/status") as answer:
            document = json.loads(await answer.text())
        assert document["ready"] is True
        (credential,) = document["credentials"]
        return dict(credential)

    async def scraped(self) -> Samples:
        """Scrape; moments are told from now on, for promtool's clock begins at 0."""
        async with self.app.get(f"{self.admin}/metrics") as answer:
            families = list(parser.text_string_to_metric_families(await answer.text()))
        now = time.time()
        return {
            (each.name, tuple(each.labels.items())): each.value - now * each.name.endswith("_timestamp_seconds")
            for family in families
            for each in family.samples
            if each.name.startswith(PREFIX) and not each.name.endswith("_created")
        }

    async def assert_fires(self, folder: Path, *alerts: str) -> None:
        """Say which alerts fire where all stays as it is, and each minute brings what a few requests bring now."""
        before = await self.scraped()
        for _ in range(ASKED):
            await self.ask()
        after = await self.scraped()
        series = [_series(name, labels, before.get((name, labels), 0), now) for (name, labels), now in after.items()]
        _assert_fires(folder, series, alerts)


def _series(name: str, labels: tuple[tuple[str, str], ...], before: float, now: float) -> dict[str, str]:
    counts = name.endswith(("_total", "_count", "_sum", "_bucket"))
    matchers = ", ".join(f"{label}={json.dumps(value)}" for label, value in labels)
    return {"series": f"{name}{{{matchers}}}", "values": f"{before:f}+{now - before:f}x60" if counts else f"{now:f}x60"}


def _assert_fires(folder: Path, series: list[dict[str, str]], alerts: tuple[str, ...]) -> None:
    """Have promtool judge by the rules, as it would after half an hour."""
    samples = [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in alerts]
    firing = 'count by (alertname) (ALERTS{alertstate="firing"})'
    test = {
        "interval": "1m",
        "input_series": series,
        "promql_expr_test": [{"expr": firing, "eval_time": "30m", "exp_samples": samples}],
    }
    shutil.copy(RULES, folder)
    file = folder / "seen.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [RULES.name], "evaluation_interval": "1m", "tests": [test]}))
    assert "SUCCESS" in promtool("test", "rules", file)


async def until_answered(watched: Watched, status: int) -> None:
    async def answered() -> bool:
        return await watched.ask() == status

    await poll(answered, 30)


async def test_an_outage_leaves_the_pod_ready_and_is_told_and_alerted_until_it_is_over(
    machine: Machine, app: ClientSession, tmp_path: Path
) -> None:
    """Neither the API nor the token endpoint is there any more, and the token expires meanwhile."""
    machine.simulator.expires_in = SOON
    watched = await Watched.begin(machine, app)
    assert await watched.ask() == 200
    await watched.assert_fires(tmp_path)
    await machine.simulator.stop()

    await until_answered(watched, 503)
    await poll(_failed(watched, 3), 30)
    assert await watched.probes() == {200}
    told = await watched.credential()
    assert (told["health"], told["state"]) == ("failing", "expired")
    assert told["last_result"] == "no_connection"
    seen = await watched.scraped()
    assert seen[f"{PREFIX}ready", ()] == 1
    assert seen[_state("expired")] == 1
    assert seen[_state("dead")] == 0
    await watched.assert_fires(
        tmp_path,
        "PandaDocProxyTokenExpiresSoon",
        "PandaDocProxyRefreshFailing",
        "PandaDocProxyErrorRatio",
        "PandaDocProxyFailing",
    )

    machine.simulator.expires_in = 31535999
    await machine.simulator.start(port=URL(machine.simulator.url).port or 0)
    await until_answered(watched, 200)
    assert (await watched.credential())["health"] == "healthy"
    await watched.assert_fires(tmp_path)


async def test_a_dead_grant_leaves_the_pod_ready_and_is_told_and_alerted(
    machine: Machine, app: ClientSession, tmp_path: Path
) -> None:
    watched = await Watched.begin(machine, app)
    assert await watched.ask() == 200
    machine.simulator.revoke_grants()
    machine.simulator.revoke_access_tokens()

    assert await watched.ask() == 503
    assert await watched.probes() == {200}
    told = await watched.credential()
    assert (told["health"], told["state"], told["last_result"]) == ("dead", "dead", "invalid_grant")
    assert "pandadoc-proxy login" in told["advice"]
    seen = await watched.scraped()
    assert seen[f"{PREFIX}ready", ()] == 1
    assert seen[_state("dead")] == 1
    await watched.assert_fires(
        tmp_path,
        "PandaDocProxyCredentialDead",
        "PandaDocProxyErrorRatio",
        "PandaDocProxyFailing",
    )


def _state(state: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    return f"{PREFIX}credential_state", (("credential", "default"), ("state", state))


def _failed(watched: Watched, times: int) -> Callable[[], Awaitable[bool]]:
    """Make a question: have so many refreshes failed in a row, each begun by somebody who asks?"""

    async def failed() -> bool:
        await watched.ask()
        seen = await watched.scraped()
        return seen[f"{PREFIX}credential_refresh_failures", (("credential", "default"),)] >= times

    return failed
