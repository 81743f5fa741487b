"""The documented bodies."""

import json

import pytest

from proxy.simulator.answers import Answer, documented, validation_error

V1 = "/public/v1/documents/a/download"


@pytest.mark.parametrize(
    ("status", "payload"),
    [
        (401, {"type": "authentication_error", "detail": "Authentication credentials were not provided."}),
        (404, {"type": "request_error", "detail": "Not found"}),
        (429, {"type": "throttled", "detail": "Request was throttled."}),
    ],
)
def test_an_error_says_what_pandadoc_documents(status: int, payload: object) -> None:
    answer = documented(status, V1)
    assert (answer.status, json.loads(answer.body)) == (status, payload)


@pytest.mark.parametrize("status", [400, 403, 405, 409, 413, 423])
def test_every_documented_error_is_json(status: int) -> None:
    answer = documented(status, V1)
    assert answer.status == status
    assert ("Content-Type", "application/json") in answer.headers
    assert isinstance(json.loads(answer.body), dict)


@pytest.mark.parametrize(("status", "error"), [(400, "invalid_grant"), (401, "invalid_client")])
def test_the_token_endpoint_has_errors_of_its_own(status: int, error: str) -> None:
    assert json.loads(documented(status, "/oauth2/access_token").body) == {"error": error}


def test_a_5xx_is_a_page_of_the_cdn_in_front_and_no_json() -> None:
    answer = documented(502, V1)
    assert answer.headers == (("Content-Type", "text/html"),)
    assert b"<html>" in answer.body


def test_a_status_that_nobody_documented_has_no_body() -> None:
    assert documented(418, V1) == Answer(418)


@pytest.mark.parametrize("path", [V1, "/public/beta/documents/a/summary"])
def test_a_202_says_when_to_come_again_and_nothing_else(path: str) -> None:
    """The contract requires it wherever it declares a 202."""
    assert documented(202, path) == Answer(202, (("Retry-After", "5"),))


@pytest.mark.parametrize("path", ["/public/beta/documents/search", "/public/v2/logs"])
@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "bad_request"), (401, "unauthorized"), (403, "forbidden"), (404, "not_found"), (429, "too_many_requests")],
)
def test_beta_and_v2_have_errors_of_their_own(path: str, status: int, code: str) -> None:
    assert json.loads(documented(status, path).body) == {"code": code, "details": []}
    assert "code" not in json.loads(documented(status, "/public/v2").body)


def test_a_validation_error_names_its_fields() -> None:
    payload = {"type": "validation_error", "detail": {"count": ["A valid integer is required."]}}
    assert json.loads(validation_error(count="A valid integer is required.").body) == payload


def test_the_repr_shows_no_header_and_no_body() -> None:
    answer = Answer(302, (("Location", "http://a/?code=SECRET"),), b'{"access_token": "SECRET"}')
    assert repr(answer) == "<Answer 302>"
