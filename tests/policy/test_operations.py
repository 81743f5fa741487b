"""tools/operations.py: the data is what it makes, and it makes nothing that nobody has judged."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.policy.profiles import operations
from tools.operations import POLICY, REVIEW, Review, Unfit, made, parsed

ROOT = Path(__file__).parents[2]
CONTRACT = ROOT.parent / "shared" / "pandadoc-openapi.yaml"

SMALL = Review({"sends": {"sendLetter": "mails it"}, "deletes": {"burnLetter": "is gone"}, "reads": {}}, frozenset())
LETTERS: dict[str, Any] = {
    "paths": {
        "/v1/letters": {"get": {"operationId": "listLetters"}, "parameters": []},
        "/v1/letters/{id}/send": {"post": {"operationId": "sendLetter"}},
        "/v1/letters/{id}/send?fax": {"post": {"operationId": "faxLetter"}},
        "/v1/letters/{id}": {"delete": {"operationId": "burnLetter"}},
    }
}
JUDGED = Review({**SMALL.marks, "sends": {"sendLetter": "mails it", "faxLetter": "faxes it"}}, frozenset())

DECLARED: dict[int, Any] = {
    202: {"headers": {"Retry-After": {}}},
    409: {"content": {"properties": {"status": {}, "info_message": {}}}},
}
"""How a contract says that an operation's answer may not be ready."""


def contract_again() -> dict[str, Any]:
    """Make a contract of the data, with as much as the generator reads of one."""
    paths: dict[str, dict[str, Any]] = {}
    for each in reversed(operations()):
        path = f"{each.path}?{each.query}" if each.query else each.path
        answers = {str(status): DECLARED[status] for status in each.not_ready if status in DECLARED}
        paths.setdefault(path, {})[each.method.lower()] = {"operationId": each.id, "responses": answers}
    return {"openapi": "3.0.3", "paths": paths}


def held() -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in POLICY.glob("*.json")}


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / "operations.py"), *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)  # noqa: S603 - our own tool


@pytest.mark.skipif(not CONTRACT.exists(), reason="PandaDoc's contract is not beside this repository")
def test_the_data_is_what_the_generator_makes_of_the_contract() -> None:
    assert made(parsed(CONTRACT)) == held()


def test_the_data_is_what_the_generator_makes_of_its_own_operations() -> None:
    """Without the contract, too, nobody edits the files by hand, or judges anew and forgets to run the generator."""
    assert made(contract_again()) == held()


def test_every_operation_that_changes_something_was_judged_and_is_there() -> None:
    """And some GETs, for what they tell."""
    assert {each.id for each in operations() if each.method != "GET"} <= REVIEW.known
    assert {each.id for each in operations()} >= REVIEW.known


def test_a_get_that_tells_a_secret_must_be_judged_too() -> None:
    contract = contract_again()
    answer = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Told"}}}}
    contract["components"] = {"schemas": {"Told": {"type": "array", "items": {"properties": {"shared_key": {}}}}}}
    contract["paths"]["/public/v1/novelties"] = {"get": {"operationId": "novelty", "responses": {"200": answer}}}
    with pytest.raises(Unfit, match="novelty"):
        made(contract)


def test_an_operation_has_marks_or_is_known_to_need_none() -> None:
    assert not any(REVIEW.unmarked & marked.keys() for marked in REVIEW.marks.values())


def test_every_mark_has_its_reason() -> None:
    assert all(why for marked in REVIEW.marks.values() for why in marked.values())


def test_operations_come_one_a_line_and_sorted_with_their_flags_and_marks() -> None:
    assert made(LETTERS, JUDGED)["operations.json"].splitlines() == [
        "[",
        '  {"method": "GET", "path": "/v1/letters", "id": "listLetters"},',
        '  {"method": "DELETE", "path": "/v1/letters/{id}", "id": "burnLetter", "marks": ["deletes"]},',
        '  {"method": "POST", "path": "/v1/letters/{id}/send", "id": "sendLetter", "marks": ["sends"]},',
        '  {"method": "POST", "path": "/v1/letters/{id}/send", "id": "faxLetter", "query": "fax", "marks": ["sends"]}',
        "]",
    ]


@pytest.mark.parametrize(
    ("answers", "not_ready"),
    [
        ({"202": {"headers": {"Retry-After": {}}}}, [202]),
        ({202: {"headers": {"Retry-After": {}}}}, [202]),
        ({"202": {"description": "taken"}}, None),
        ({"409": {"$ref": "#/components/responses/Early"}}, [409]),
        ({"409": {"description": "no"}}, None),
        ({"200": {"headers": {"Retry-After": {}}}}, None),
    ],
)
def test_what_may_be_not_ready_is_what_the_contract_declares(answers: Any, not_ready: list[int] | None) -> None:
    early: dict[str, Any] = {
        "content": {"application/json": {"schema": {"properties": {"status": {}, "info_message": {}}}}}
    }
    contract = {
        "paths": {"/v1/letters": {"get": {"operationId": "listLetters", "responses": answers}}},
        "components": {"responses": {"Early": early}},
    }
    nothing = Review({"reads": {}, "sends": {}, "deletes": {}}, frozenset())
    (row,) = json.loads(made(contract, nothing)["operations.json"])
    assert row.get("not_ready") == not_ready


def test_an_operation_has_the_rate_that_it_was_given_and_one_that_vanished_stops_the_generator() -> None:
    rated = Review(JUDGED.marks, frozenset(), {"post": ("sendLetter",), "list": ("listLetters",)})
    rows = {row["id"]: row.get("rate") for row in json.loads(made(LETTERS, rated)["operations.json"])}
    assert rows == {"listLetters": "list", "burnLetter": None, "sendLetter": "post", "faxLetter": None}
    with pytest.raises(Unfit, match="readLetter is gone from the contract"):
        made(LETTERS, Review(JUDGED.marks, frozenset(), {"list": ("readLetter",)}))


def test_operations_that_differ_in_a_flag_share_a_rule() -> None:
    """Patterns never see the query; two equal rules would only puzzle whoever reads them."""
    assert made(LETTERS, JUDGED)["profiles.json"].count("deny POST /v1/letters/*/send") == 1


def test_a_new_operation_that_nobody_judged_stops_the_generator() -> None:
    with pytest.raises(Unfit, match=r"POST /v1/letters/\{id\}/send\?fax \(faxLetter\) was never looked at: read"):
        made(LETTERS, SMALL)


def test_an_operation_that_vanished_stops_the_generator() -> None:
    """It may have been renamed: its mark must not be lost in silence."""
    paths = {path: item for path, item in LETTERS["paths"].items() if not path.endswith("/send")}
    with pytest.raises(Unfit, match="sendLetter is gone from the contract: look what took its place"):
        made({"paths": paths}, JUDGED)


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(Unfit) as raised:
        made({"paths": {"/new": {"put": {"operationId": "new"}}, "/bare": {"get": {}}}}, SMALL)
    for part in ("PUT /new (new) was never", "GET /bare () has no", "sendLetter is gone", "burnLetter is gone"):
        assert part in raised.value.message


def test_two_operations_with_one_id_stop_the_generator() -> None:
    """A mark would fall on both."""
    twice = {"paths": {"/a": {"get": {"operationId": "same"}}, "/b": {"get": {"operationId": "same"}}}}
    with pytest.raises(Unfit, match=r"GET /b \(same\) has no operationId of its own"):
        made(twice, Review({}, frozenset()))


@pytest.mark.parametrize(
    "contract", [None, [], {}, {"paths": None}, {"paths": {"/": None}}, {"paths": {"/": {"get": 1}}}]
)
def test_what_is_no_contract_is_told_as_such(contract: object) -> None:
    with pytest.raises(Unfit, match="not an OpenAPI contract"):
        made(contract)


def test_what_is_no_yaml_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "contract.yaml").write_text("paths: [")
    with pytest.raises(Unfit, match=r"contract\.yaml is not YAML"):
        parsed(tmp_path / "contract.yaml")


def test_the_script_writes_what_would_change_and_check_only_tells(tmp_path: Path) -> None:
    """As people run it, in a folder of its own."""
    contract = tmp_path / "contract.yaml"
    contract.write_text(yaml.safe_dump(contract_again()))
    checked = run(contract, "--check", "--into", tmp_path)
    assert checked.returncode == 1
    assert "operations.json and profiles.json would change: run this again without --check" in checked.stderr
    assert not list(tmp_path.glob("*.json"))
    assert run(contract, "--into", tmp_path).returncode == 0
    assert {path.name: path.read_text(encoding="utf-8") for path in tmp_path.glob("*.json")} == held()
    assert run(contract, "--check", "--into", tmp_path).returncode == 0


def test_the_script_checks_the_proxys_own_data_unless_told_otherwise(tmp_path: Path) -> None:
    contract = tmp_path / "contract.yaml"
    contract.write_text(yaml.safe_dump(contract_again()))
    assert run(contract, "--check").returncode == 0
