"""The documented bodies."""

import json

import pytest

from proxy.simulator.answers import Answer, documented, validation_error


@pytest.mark.parametrize(
    ("status", "payload"),
    [
        (401, {"type": "authentication_error", "detail": "Authentication credentials were not provided."}),
        (404, {"type": "request_error", "detail": "Not found"}),
        (429, {"type": "throttled", "detail": "Request was throttled."}),
    ],
)
def test_an_error_says_what_pandadoc_documents(status: int, payload: object) -> None:
    answer = documented(status)
    assert (answer.status, json.loads(answer.body)) == (status, payload)


@pytest.mark.parametrize("status", [400, 403, 405, 409, 413, 423])
def test_every_documented_error_is_json(status: int) -> None:
    answer = documented(status)
    assert answer.status == status
    assert ("Content-Type", "application/json") in answer.headers
    assert isinstance(json.loads(answer.body), dict)


@pytest.mark.parametrize(("status", "error"), [(400, "invalid_grant"), (401, "invalid_client")])
def test_the_token_endpoint_has_errors_of_its_own(status: int, error: str) -> None:
    assert json.loads(documented(status, token_endpoint=True).body) == {"error": error}


def test_a_5xx_is_a_page_of_the_cdn_in_front_and_no_json() -> None:
    answer = documented(502)
    assert answer.headers == (("Content-Type", "text/html"),)
    assert b"<html>" in answer.body


def test_a_status_that_nobody_documented_has_no_body() -> None:
    assert documented(202).body == b""


def test_a_validation_error_names_its_fields() -> None:
    payload = {"type": "validation_error", "detail": {"count": ["A valid integer is required."]}}
    assert json.loads(validation_error(count="A valid integer is required.").body) == payload


def test_the_repr_shows_no_header_and_no_body() -> None:
    answer = Answer(302, (("Location", "http://a/?code=SECRET"),), b'{"access_token": "SECRET"}')
    assert repr(answer) == "<Answer 302>"
