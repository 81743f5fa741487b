"""Which rate a request is counted by."""

import pytest

from proxy.budget.calls import UNKNOWN, Call, call
from proxy.budget.rates import AUTO, OTHER
from proxy.policy.paths import readings
from proxy.policy.profiles import operations


@pytest.mark.parametrize(
    ("method", "target", "rate"),
    [
        ("GET", "/public/v1/documents", "list"),
        ("GET", "/public/v1/documents?count=5", "list"),
        ("HEAD", "/public/v1/documents/abc", "list"),
        ("DELETE", "/public/v1/documents/abc", "list"),
        ("PATCH", "/public/v1/documents/abc", OTHER),
        ("GET", "/public/v1/documents/folders", OTHER),
        ("POST", "/public/v1/documents", "create"),
        ("POST", "/public/v1/documents?upload", "create_upload"),
        ("POST", "/public/v1/documents?editor_ver=ev2&upload=", "create_upload"),
        ("POST", "/public/v1/documents?upload-markdown", "create_upload"),
        ("POST", "/public/v1/documents?uploads", "create"),
        ("GET", "/public/v1/documents/abc/details", "details"),
        ("GET", "//public//v1/documents/abc/%64etails/", "details"),
        ("GET", "/public/v1/documents/linked-objects/details", "details"),
        ("GET", "/public/v1/documents/linked-objects/nothing", OTHER),
        ("GET", "/public/v1/templates/abc/details", "template_details"),
        ("POST", "/public/v1/documents/abc/send", "send"),
        ("GET", "/public/v1/documents/abc/send", OTHER),
        ("GET", "/public/v1/documents/abc/download?watermark_text=x", "download"),
        ("GET", "/public/v1/documents/abc/download-protected", "download_protected"),
        ("GET", "/public/v1/documents/abc/x/y/z", OTHER),
        ("GET", "/public/v9/anything", OTHER),
        ("GET", "/public/v1", OTHER),
        ("GET", "/", OTHER),
    ],
)
def test_each_request_is_counted_by_its_operation(method: str, target: str, rate: str) -> None:
    path, _, query = target.partition("?")
    assert call(method, readings(path), query).rate == rate


def test_a_request_that_can_be_read_in_several_ways_is_counted_by_the_one_that_has_a_rate() -> None:
    assert call("GET", ["/public/v1/logs", "/public/v1/documents/a/details"], "").rate == "details"
    assert call("GET", [], "") == UNKNOWN


@pytest.mark.parametrize(
    ("method", "ways", "counted"),
    [
        ("GET", ["/public/v1/documents/a", "/public/v1/documents/a/details"], Call("list", (200,))),
        ("GET", ["/public/v1/documents/a/fields", "/public/v1/contacts"], Call(OTHER, (409,))),
        ("GET", ["/public/v1/documents/a/fields", "/public/v1/documents/a/b"], Call(OTHER, (409,))),
    ],
)
def test_of_several_ways_to_read_a_path_it_is_always_the_same_that_counts(
    method: str, ways: list[str], counted: Call
) -> None:
    """Sets have no order: it was another one in each process."""
    assert call(method, ways, "") == call(method, reversed(ways), "") == counted


def test_every_rate_of_the_operations_has_its_number() -> None:
    assert {operation.rate for operation in operations()} == set(AUTO)


def test_answers_that_may_be_not_ready_are_those_that_the_contract_declares() -> None:
    assert call("POST", ["/public/v1/documents/a/send"], "") == Call("send", (409,))
    assert call("GET", ["/public/v1/documents/a/download"], "") == Call("download", (202, 409))
    assert call("GET", ["/public/v1/documents/a"], "") == Call("list", (200,))
    assert call("GET", ["/public/v1/members/current"], "") == Call(OTHER, ())
