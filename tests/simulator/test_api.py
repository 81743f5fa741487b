"""Which operation a path names: compared byte for byte."""

import json
import re
from pathlib import Path

import pytest

from proxy.policy.profiles import operations
from proxy.simulator.api import Api, Call
from proxy.simulator.documents import Documents


def _api() -> tuple[Api, str]:
    documents = Documents(clock=lambda: 0.0, draft_after=0.0, draft_after_polls=None)
    return Api(documents, 1000), documents.create("Contract").id


ROW = re.compile(r"^\| `([A-Z]+ /public/[^`]+)` \|", re.MULTILINE)
PAGE = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text(encoding="utf-8")


def test_the_page_tells_every_operation_of_the_contract_that_is_answered_and_no_other() -> None:
    answered = set()
    for each in operations():
        api, document_id = _api()
        target = each.path.replace("{id}", document_id)
        if api.answer(Call(each.method, target, b'{"name": "x"}')).status not in {404, 405}:
            answered.add(f"{each.method} {each.path}")
    assert set(ROW.findall(PAGE)) == answered


@pytest.mark.parametrize(
    "target",
    [
        "",
        "/",
        "*",
        "//public/v1/documents",
        "/public/v1/documents/",
        "/public%2Fv1/documents",
        "/public/v1/../v1/documents",
        "/Public/v1/documents",
        "/public/v1/documents/unknown",
        "/public/v1/documents/unknown/send",
        "/public/v1/members",
        "http://api.pandadoc.com/public/v1/documents",
    ],
)
def test_a_path_that_is_not_exactly_an_operations_is_not_found(target: str) -> None:
    answer = _api()[0].answer(Call("GET", target))
    payload = {"type": "request_error", "detail": "Not found"}
    assert (answer.status, json.loads(answer.body)) == (404, payload)


def test_what_is_not_found_in_v2_is_said_as_there() -> None:
    answer = _api()[0].answer(Call("GET", "/public/v2/logs/a?x"))
    assert (answer.status, json.loads(answer.body)) == (404, {"code": "not_found", "details": []})


def test_a_document_has_no_resources_but_those_documented() -> None:
    api, document_id = _api()
    assert api.answer(Call("GET", f"/public/v1/documents/{document_id}/secrets")).status == 404
    assert api.answer(Call("GET", f"/public/v1/documents/{document_id}/details/more")).status == 404


def test_a_wrong_method_is_405_and_told_which_would_do() -> None:
    api, document_id = _api()
    answer = api.answer(Call("PUT", f"/public/v1/documents/{document_id}"))
    assert answer.status == 405
    assert ("Allow", "GET, DELETE") in answer.headers


def test_head_is_get() -> None:
    assert _api()[0].answer(Call("HEAD", "/public/v1/documents")).status == 200


def test_a_flag_in_the_query_changes_no_route() -> None:
    call = Call("POST", "/public/v1/documents?upload", b'{"name": "x"}')
    assert _api()[0].answer(call).status == 201


def test_the_current_member_has_the_fields_of_the_contract() -> None:
    member = json.loads(_api()[0].answer(Call("GET", "/public/v1/members/current")).body)
    assert {"user_id", "membership_id", "email", "workspace", "role", "is_active"} <= member.keys()


def test_a_download_has_the_usual_size_or_the_one_that_was_asked_for() -> None:
    api, document_id = _api()
    usual = api.answer(Call("GET", f"/public/v1/documents/{document_id}/download")).pdf
    asked = api.answer(Call("GET", f"/public/v1/documents/{document_id}/download?size=5")).pdf
    assert usual is not None
    assert asked is not None
    assert (usual.size, asked.size) == (1000, 5)
