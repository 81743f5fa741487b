"""The alert rules as Prometheus itself reads them: promtool checks them and lets time pass."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

RULES: Final = Path(__file__).parents[2] / "deploy" / "observability" / "prometheus-rules.yaml"
CASES: Final = Path(__file__).with_name("alerts.yaml")


def promtool(*argv: str | Path) -> str:
    program = shutil.which("promtool")
    if program is None:
        pytest.fail("promtool is not installed: it comes with Debian's package `prometheus`")
    ended = subprocess.run([program, *argv], capture_output=True, text=True, check=False)  # noqa: S603 - our own files
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_prometheus_takes_the_rules() -> None:
    assert "18 rules found" in promtool("check", "rules", RULES)


@pytest.mark.timeout(300)  # thirteen seconds of computing
def test_every_alert_fires_when_it_should_and_only_then(tmp_path: Path) -> None:
    """A rule file stands beside its tests: promtool looks for it from there."""
    for file in (RULES, CASES):
        shutil.copy(file, tmp_path)
    assert "SUCCESS" in promtool("test", "rules", tmp_path / CASES.name)
