"""The alert rules as Prometheus itself reads them: promtool checks them and lets time pass."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

RULES: Final = Path(__file__).parents[2] / "deploy" / "observability" / "prometheus-rules.yaml"
CASES: Final = ("alerts.yaml", "alerts_of_days.yaml")
DASHBOARD: Final = json.loads(RULES.with_name("grafana-dashboard.json").read_text())
PANELS: Final = {panel["title"]: panel for panel in DASHBOARD["panels"] if panel["type"] != "row"}


def promtool(*argv: str | Path) -> str:
    program = shutil.which("promtool")
    if program is None:
        pytest.fail("promtool is not installed: it comes with Debian's package `prometheus`")
    ended = subprocess.run([program, *argv], capture_output=True, text=True, check=False)  # noqa: S603 - our own files
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_prometheus_takes_the_rules() -> None:
    assert "19 rules found" in promtool("check", "rules", RULES)


@pytest.mark.parametrize("cases", CASES)
def test_every_alert_fires_when_it_should_and_only_then(tmp_path: Path, cases: str) -> None:
    """A rule file stands beside its tests: promtool looks for it from there."""
    for file in (RULES, Path(__file__).with_name(cases)):
        shutil.copy(file, tmp_path)
    assert "SUCCESS" in promtool("test", "rules", tmp_path / cases)


def expressions(panel: str) -> list[str]:
    """Return what a panel asks Prometheus for, of every job and instance."""
    asked = [target["expr"] for target in PANELS[panel]["targets"]]
    return [each.replace("$job", ".*").replace("$instance", ".*") for each in asked]


def shows(folder: Path, series: dict[str, str], at: dict[str, dict[str, dict[str, float]]]) -> None:
    """Have promtool say what `expression`s are at each time, by label; each series has a value a minute."""
    tests: list[dict[str, Any]] = [
        {"expr": expression, "eval_time": time, "exp_samples": [{"labels": of, "value": to} for of, to in told.items()]}
        for time, expected in at.items()
        for expression, told in expected.items()
    ]
    given = [{"series": name, "values": values} for name, values in series.items()]
    (folder / "none.yaml").write_text("groups: []")
    case = {"interval": "1m", "input_series": given, "promql_expr_test": tests}
    (folder / "case.yaml").write_text(yaml.safe_dump({"rule_files": ["none.yaml"], "tests": [case]}))
    assert "SUCCESS" in promtool("test", "rules", folder / "case.yaml")


def test_what_happens_once_is_shown_for_an_hour(tmp_path: Path) -> None:
    """Its series begins with it, at 1: it has not increased in Prometheus' eyes. A scrape that failed begins none."""
    refused, would_be = expressions("Refused by the policy")
    (refreshes,) = expressions("Refreshes")
    (replays,) = expressions("Replays after a 401")
    own, broken = expressions("The proxy's own answers")
    born = "_x29 1x120"
    series = {
        'pandadoc_proxy_policy_refusals_total{rule="r"}': "_x29 40x120",
        'pandadoc_proxy_policy_warnings_total{rule="r"}': born,
        'pandadoc_proxy_refreshes_total{credential="c",cause="stale",result="invalid_grant"}': born,
        'pandadoc_proxy_refreshes_total{credential="c",cause="stale",result="refreshed",instance="long"}': "0+1x150",
        'pandadoc_proxy_replays_total{credential="c",reason="unauthorized"}': born,
        'pandadoc_proxy_own_answers_total{listener="a",client="",status="5xx",error="dns_error"}': born,
        'pandadoc_proxy_own_answers_total{listener="b",client="",status="5xx",error="dns_error"}': "70x19 stale 70x150",
        'pandadoc_proxy_unfinished_answers_total{listener="a",client=""}': born,
    }
    refreshed = '{credential="c",cause="stale",result="refreshed"}'

    def told(once: float, forty: float) -> dict[str, dict[str, float]]:
        failed = '{credential="c",cause="stale",result="invalid_grant"}'
        return {
            refused: {'{rule="r"}': forty},
            would_be: {'{rule="r"}': once},
            refreshes: {failed: once, refreshed: 60},
            replays: {'{credential="c",reason="unauthorized"}': once},
            own: {'{status="5xx",error="dns_error"}': once},
            broken: {"{}": once},
        }

    shows(tmp_path, series, {"80m": told(1, 40), "110m": told(0, 0)})


def test_what_replicas_share_is_shown_once_and_what_each_has_is_added_up(tmp_path: Path) -> None:
    left, limit = expressions("Left of each rate")
    series = {
        f'pandadoc_proxy_rate_budget_{what}{{instance="{instance}",credential="{credential}"{rate}}}': f"{value}x9"
        for credential, instances in {"shared": {"a": 59, "b": 60}, "apart": {"a": 30, "b": 20}}.items()
        for instance, value in instances.items()
        for what, rate, value in (
            ("left", ',rate="all"', value),
            ("limit", ',rate="all"', 60),
            *([("shared", "", 1)] if credential == "shared" else []),
        )
    }
    shared, apart = ('{credential="shared",rate="all"}', '{credential="apart",rate="all"}')
    shows(tmp_path, series, {"5m": {left: {shared: 60, apart: 50}, limit: {shared: 60, apart: 120}}})
