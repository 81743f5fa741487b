import pytest

from proxy.config import BadConfig, Fault
from proxy.config.faults import Findings, join, suggestion
from proxy.config.nodes import Place


def test_a_fault_is_one_line() -> None:
    assert str(Fault("config.yaml:12", "upstream.url", "is wrong")) == "config.yaml:12: upstream.url: is wrong"
    assert str(Fault("config.yaml:12", "", "is wrong")) == "config.yaml:12: is wrong"


def test_bad_config_says_every_fault() -> None:
    error = BadConfig(Fault("a:1", "x", "one"), Fault("a:2", "y", "two"))
    assert str(error) == "a:1: x: one\na:2: y: two"
    assert len(error.faults) == 2


def test_faults_come_by_line_and_the_environments_after_the_files() -> None:
    findings = Findings()
    for place in (Place("ZED"), Place("file", 10), Place("ALPHA"), Place("file", 9)):
        findings.add(place, "", "x")
    assert [fault.place for fault in findings.ordered()] == ["file:9", "file:10", "ALPHA", "ZED"]
    assert repr(findings) == "Findings(4)"


@pytest.mark.parametrize(
    ("path", "covered"),
    [("upstream", True), ("upstream.url", True), ("upstreams", False), ("log.level", False)],
)
def test_a_fault_covers_what_stands_below_it(path: str, covered: bool) -> None:  # noqa: FBT001 - a column
    findings = Findings()
    findings.add(Place("file", 1), "upstream", "x")
    findings.add(Place("file", 1), "", "x")
    assert findings.covers(path) is covered


@pytest.mark.parametrize("key", ["k" * 33, "a b", "ключ", "", "k\n"])
def test_a_key_that_could_be_anything_is_not_echoed(key: str) -> None:
    assert join("upstream", key) == "upstream.…"
    assert suggestion("zzz", [key]) == "; there are: …"


@pytest.mark.parametrize(
    ("word", "said"),
    [("on", "; there are: auto, none, sandbox"), ("non", "; did you mean none?"), ("Auto-", "; did you mean auto?")],
)
def test_a_word_of_two_letters_is_like_nothing(word: str, said: str) -> None:
    """`rate_budget: on` was answered with its opposite."""
    assert suggestion(word, ["none", "sandbox", "auto"]) == said
