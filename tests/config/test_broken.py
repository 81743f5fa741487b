"""Every case of broken.txt: what an operator reads for each broken file and environment, to the letter."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from proxy.config import BadConfig, Config, load

Faults = Callable[[str, Mapping[str, str]], list[str]]


class Case(NamedTuple):
    name: str
    text: str
    environ: dict[str, str]
    faults: list[str]


def _cases() -> list[Case]:
    told = Path(__file__).with_name("broken.txt").read_text(encoding="utf-8")
    return [_case(part) for part in told.split("\n=== ")[1:]]


def _case(part: str) -> Case:
    name, _, rest = part.partition("\n")
    given, _, faults = rest.partition("--- faults\n")
    text, has_environ, environ = given.partition("--- with\n")
    lines = environ.splitlines() if has_environ else ["PANDADOC_API_KEY=k"]
    pairs = (line.partition("=") for line in lines)
    return Case(name, text, {key: value for key, _, value in pairs}, faults.strip().splitlines())


CASES = _cases()


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_broken_configuration_is_told_in_full(case: Case, faults: Faults) -> None:
    assert faults(case.text, case.environ) == case.faults


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_reload_is_told_the_same(
    case: Case, folder: Path, loaded: Callable[[str, Mapping[str, str]], Config]
) -> None:
    served = loaded("", {"PANDADOC_API_KEY": "k"})
    (folder / "config.yaml").write_text(case.text, encoding="utf-8")
    with pytest.raises(BadConfig) as raised:
        load(environ=case.environ, earlier=served)
    assert str(raised.value).splitlines() == case.faults


def test_the_table_is_read_whole() -> None:
    assert len(CASES) >= 90
    assert all(case.faults for case in CASES)


def test_a_control_character_is_told_with_its_line(faults: Faults) -> None:
    flaw = "config.yaml:2: YAML does not allow a control character that stands here"
    assert faults("log: {}\n# \x07\n", {}) == [flaw]


def test_endless_nesting_ends_at_a_bound(faults: Faults) -> None:
    assert faults("log: " + "[" * 5000, {}) == ["config.yaml:1: nested deeper than 20 levels"]


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        ("limits: {max_requests: ENDLESS}", "limits.max_requests: expected a whole number from 1 to 1000000"),
        ("rate_budget: {rates: {list: ENDLESS/1m}}", "rate_budget.rates.list: expected a number and a time"),
        ("rate_budget: {share: 1/ENDLESS}", "rate_budget.share: expected a part of the whole"),
    ],
)
def test_an_endless_number_is_told_as_any_other_that_is_too_large(text: str, flaw: str, faults: Faults) -> None:
    (told,) = faults(text.replace("ENDLESS", "9" * 5000), {"PANDADOC_API_KEY": "k"})
    assert told.startswith(f"config.yaml:1: {flaw}")


@pytest.mark.parametrize("length", [300_000, 2_000_000])
def test_a_file_of_a_wrong_kind_is_not_read_to_its_end(length: int, faults: Faults) -> None:
    assert faults("#" * length, {}) == ["config.yaml:1: larger than 256KiB: is this the right file?"]


def test_a_line_break_inside_a_variable_is_told(faults: Faults) -> None:
    [fault] = faults("", {"PANDADOC_API_KEY": "a\nb"})
    assert fault == (
        "PANDADOC_API_KEY: credentials.default.api_key: $PANDADOC_API_KEY holds a line break or a NUL inside:"
        " the secret must be one line, alone"
    )
