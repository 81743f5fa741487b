"""The pages for operators: what they quote is what the program says, and their links lead somewhere."""

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from proxy.credential.token_reply import Cause
from proxy.errors import ProxyError
from proxy.forward.dialler import WORDS

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "deploy" / "README.md"])
TROUBLE: Final = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")


@cache
def said() -> str:
    """Return every text in the package's code, one a line."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "proxy").rglob("*.py")]
    nodes = (node for tree in trees for node in ast.walk(tree))
    return "\n".join(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


def quoted() -> list[str]:
    """Return what the first column quotes, in whole phrases, but for what apps say themselves."""
    rows = re.findall(r"(?m)^\| (.*?) \| ", TROUBLE.partition("## The app says")[0])
    phrases = [part.strip() for row in rows for quote in re.findall(r"`([^`]+)`", row) for part in quote.split("…")]
    return [phrase for phrase in phrases if " " in phrase]


@pytest.mark.parametrize("phrase", quoted())
def test_what_the_page_quotes_the_program_says(phrase: str) -> None:
    assert phrase in said()


def test_the_page_quotes_enough_to_be_found_by() -> None:
    assert len(quoted()) > 20


RUNBOOK: Final = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def alert(name: str) -> str:
    return RUNBOOK.partition(f"### {name}\n")[2].partition("\n##")[0]


def kinds(error: type[ProxyError] = ProxyError) -> Iterator[type[ProxyError]]:
    yield error
    for each in error.__subclasses__():
        yield from kinds(each)


def words() -> list[str]:
    """Return the words that `error=` in Proxy-Status may have: of classes, of single errors, of the dialler."""
    ours = [path for path in (ROOT / "proxy").rglob("*.py") if "simulator" not in path.parts]
    single = [word for path in ours for word in re.findall(r'\berror="(\w+)"', path.read_text(encoding="utf-8"))]
    return sorted({kind.error for kind in kinds()} | set(single) | {word for _, word, _ in WORDS})


CALLERS: Final = {"http_request_denied", "http_request_error", "http_upgrade_failed"}
"""Words of our own 4xx."""


@pytest.mark.parametrize("word", words())
def test_every_word_in_proxy_status_stands_in_the_page(word: str) -> None:
    assert f"`{word}`" in TROUBLE


@pytest.mark.parametrize("word", sorted(set(words()) - CALLERS))
def test_every_word_of_our_own_5xx_stands_in_the_cure_of_its_alert(word: str) -> None:
    named = re.findall(r"`([a-z_]+\*?)`", alert("PandaDocProxyFailing").partition("**Cure.**")[2])
    assert any(fnmatchcase(word, each) for each in named)


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_of_a_failing_refresh_stands_in_the_cure_of_its_alert(cause: Cause) -> None:
    assert f"`{cause}`" in alert("PandaDocProxyRefreshFailing").partition("**Cure.**")[2]


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_every_link_leads_to_a_file(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_readme_leads_to_every_page() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in (ROOT / "docs").glob("*.md") if f"](docs/{page.name})" not in readme] == []


def test_nothing_is_installed_by_a_name_that_is_on_no_index() -> None:
    """Somebody else may take it one day."""
    text = "\n".join((said(), *(page.read_text(encoding="utf-8") for page in PAGES)))
    assert re.findall(r"pip install \S*pandadoc-proxy|pandadoc-proxy\[", text) == []


LIFE: Final = RUNBOOK.partition("## Life in a pod")[2]
FAULTS: Final = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
SHOWING: Final = LIFE.partition("\n## ")[0] + FAULTS
SHOWN: Final = [
    (file, words)
    for file, names in re.findall(r"((?:[a-z]+/)?test_[a-z_]+):\s(`[^|;)]+`)", SHOWING)
    for words in re.findall(r"`([^`]+)`", names)
]


@pytest.mark.parametrize(("file", "words"), SHOWN, ids=[words for _, words in SHOWN])
def test_what_the_pages_say_of_faults_is_shown_by_a_test_that_exists(file: str, words: str) -> None:
    tests = re.findall(r"def (test_\w+)", (ROOT / "tests" / f"{file}.py").read_text(encoding="utf-8"))
    assert [name for name in tests if words.replace(" ", "_") in name]


def test_every_row_of_the_pages_on_faults_names_a_test() -> None:
    rows = re.findall(r"(?m)^\|(?! *\|? (?:what|fault)|---)(.*)\|$", SHOWING)
    assert len(rows) > 40
    assert [row for row in rows if not re.search(r"\btest_[a-z_]+: `", row)] == []


RULES: Final = re.findall(r"(?m)^\| ([RM]\d+) \|(.*)\|$", (ROOT / "docs" / "http.md").read_text(encoding="utf-8"))


def test_every_rule_of_http_has_its_row() -> None:
    asked = [f"R{number}" for number in range(1, 31)] + [f"M{number}" for number in range(1, 11)]
    assert [number for number, _ in RULES] == asked


@pytest.mark.parametrize("row", [row for _, row in RULES], ids=[number for number, _ in RULES])
def test_every_rule_of_http_is_shown_by_tests_that_exist(row: str) -> None:
    shown = re.findall(r"([a-z_/]+)::(test_\w+)", row)
    assert shown
    files = {file: (ROOT / "tests" / f"{file}.py").read_text(encoding="utf-8") for file, _ in shown}
    assert [test for file, test in shown if f"def {test}(" not in files[file]] == []


def test_every_fault_of_the_upstream_and_of_callers_has_its_row() -> None:
    rows = re.findall(r"(?m)^\| ([UC]\d+) ", FAULTS)
    assert rows == [f"U{number}" for number in range(1, 22)] + [f"C{number}" for number in range(1, 9)]
