"""Who lives and who dies, without a socket."""

import json
import re

import pytest

from proxy.simulator.answers import Answer
from proxy.simulator.grants import Grants

_CLIENT = {"client_id": "id", "client_secret": "secret"}


def _grants(now: list[float], *, expires_in: object = 60, rotate: bool = True) -> Grants:
    return Grants(clock=lambda: now[0], client_id="id", client_secret="secret", expires_in=expires_in, rotate=rotate)


def _refresh(grants: Grants, refresh_token: str) -> Answer:
    return grants.redeem({**_CLIENT, "grant_type": "refresh_token", "refresh_token": refresh_token})


def _tokens(answer: Answer) -> tuple[str, str]:
    assert answer.status == 200
    payload = json.loads(answer.body)
    return payload["access_token"], payload["refresh_token"]


def _is_live(grants: Grants, access_token: str) -> bool:
    return grants.refusal("/public/v1/documents", (f"Bearer {access_token}",)) is None


def test_a_refresh_answers_every_field_that_pandadoc_documents() -> None:
    grants = _grants([0.0], expires_in=31535999)
    answer = _refresh(grants, grants.issue_refresh_token())
    payload = json.loads(answer.body)
    assert payload.keys() == {"access_token", "token_type", "expires_in", "scope", "refresh_token"}
    assert (payload["token_type"], payload["expires_in"], payload["scope"]) == (
        "Bearer",
        31535999,
        "read+write",
    )
    assert re.fullmatch("[0-9a-f]{40}", payload["access_token"])
    assert re.fullmatch("[0-9a-f]{40}", payload["refresh_token"])
    assert ("Cache-Control", "no-store") in answer.headers


def test_a_used_refresh_token_is_answered_with_invalid_grant() -> None:
    grants = _grants([0.0])
    refresh_token = grants.issue_refresh_token()
    _refresh(grants, refresh_token)
    again = _refresh(grants, refresh_token)
    assert (again.status, json.loads(again.body)) == (400, {"error": "invalid_grant"})


def test_the_refresh_tokens_that_live_are_told() -> None:
    """Whether a grant is lost is PandaDoc's to say: a proxy may only have a token that is no good."""
    grants = _grants([0.0])
    first = grants.issue_refresh_token()
    assert grants.refresh_tokens == {first}
    _, second = _tokens(_refresh(grants, first))
    assert grants.refresh_tokens == {second}


def test_a_reused_refresh_token_does_not_kill_its_successor() -> None:
    grants = _grants([0.0])
    first = grants.issue_refresh_token()
    _, second = _tokens(_refresh(grants, first))
    _refresh(grants, first)
    assert _refresh(grants, second).status == 200


def test_a_refresh_kills_the_old_access_token_of_its_own_grant_only() -> None:
    grants = _grants([0.0])
    other = grants.issue_access_token()
    old, refresh_token = _tokens(_refresh(grants, grants.issue_refresh_token()))
    assert _is_live(grants, old)
    new, _ = _tokens(_refresh(grants, refresh_token))
    assert [_is_live(grants, token) for token in (old, new, other)] == [False, True, True]


def test_without_rotation_the_refresh_token_stays_and_the_old_access_token_dies_all_the_same() -> None:
    grants = _grants([0.0], rotate=False)
    refresh_token = grants.issue_refresh_token()
    old, same = _tokens(_refresh(grants, refresh_token))
    new, _ = _tokens(_refresh(grants, same))
    assert same == refresh_token
    assert [_is_live(grants, token) for token in (old, new)] == [False, True]


def test_a_code_is_good_once() -> None:
    grants = _grants([0.0])
    form = {**_CLIENT, "grant_type": "authorization_code", "code": grants.issue_code()}
    access_token, refresh_token = _tokens(grants.redeem(form))
    assert _is_live(grants, access_token)
    assert json.loads(grants.redeem(form).body) == {"error": "invalid_grant"}
    assert _refresh(grants, refresh_token).status == 200


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({}, "invalid_client"),
        ({**_CLIENT, "client_secret": "wrong", "grant_type": "refresh_token"}, "invalid_client"),
        ({**_CLIENT}, "invalid_request"),
        ({**_CLIENT, "grant_type": "client_credentials"}, "unsupported_grant_type"),
        ({**_CLIENT, "grant_type": "refresh_token"}, "invalid_request"),
        ({**_CLIENT, "grant_type": "authorization_code", "code": ""}, "invalid_request"),
        ({**_CLIENT, "grant_type": "refresh_token", "refresh_token": "unknown"}, "invalid_grant"),
        ({**_CLIENT, "grant_type": "authorization_code", "code": "unknown"}, "invalid_grant"),
    ],
)
def test_a_bad_token_request_is_a_400_with_the_error_in_oauths_words(form: dict[str, str], error: str) -> None:
    answer = _grants([0.0]).redeem(form)
    assert (answer.status, json.loads(answer.body)) == (400, {"error": error})


@pytest.mark.parametrize(
    ("expires_in", "lifetime"),
    [
        (60, 60),
        (0.5, 0.5),
        (0, 3600),
        (-1, 3600),
        ("60", 60),
        ("0.5", 0.5),
        ("-1", 3600),
        ("soon", 3600),
        ("nan", 3600),
        ("1e999", 3600),
        (None, 3600),
        (True, 3600),
        ([], 3600),
    ],
)
def test_expires_in_is_sent_as_it_is_and_lived_by_only_if_it_is_a_positive_number_or_says_one(
    expires_in: object, lifetime: float
) -> None:
    now = [1000.0]
    grants = _grants(now, expires_in=expires_in)
    answer = _refresh(grants, grants.issue_refresh_token())
    access_token, _ = _tokens(answer)
    assert json.loads(answer.body)["expires_in"] == expires_in
    now[0] += lifetime - 0.001
    assert _is_live(grants, access_token)
    now[0] += 0.001
    assert not _is_live(grants, access_token)


def test_an_expires_in_beyond_any_clock_is_sent_as_it_is_and_never_reached() -> None:
    now = [1000.0]
    grants = _grants(now, expires_in=10**400)
    answer = _refresh(grants, grants.issue_refresh_token())
    access_token, _ = _tokens(answer)
    assert json.loads(answer.body)["expires_in"] == 10**400
    now[0] = 1e300
    assert _is_live(grants, access_token)


def test_revoked_access_tokens_are_dead_and_their_refresh_token_lives_on() -> None:
    grants = _grants([0.0])
    access_token, refresh_token = _tokens(_refresh(grants, grants.issue_refresh_token()))
    grants.revoke_access_tokens()
    assert not _is_live(grants, access_token)
    assert _refresh(grants, refresh_token).status == 200


def test_an_expired_access_token_stays_dead_when_the_clock_steps_back() -> None:
    now = [1000.0]
    grants = _grants(now)
    access_token, refresh_token = _tokens(_refresh(grants, grants.issue_refresh_token()))
    grants.expire_access_tokens()
    now[0] = 0.0
    assert not _is_live(grants, access_token)
    assert _refresh(grants, refresh_token).status == 200


def test_revoked_grants_take_codes_refresh_tokens_and_access_tokens_with_them() -> None:
    grants = _grants([0.0])
    code = grants.issue_code()
    access_token, refresh_token = _tokens(_refresh(grants, grants.issue_refresh_token()))
    grants.revoke_grants()
    assert not _is_live(grants, access_token)
    assert json.loads(_refresh(grants, refresh_token).body) == {"error": "invalid_grant"}
    form = {**_CLIENT, "grant_type": "authorization_code", "code": code}
    assert json.loads(grants.redeem(form).body) == {"error": "invalid_grant"}


def test_an_api_key_lives_until_it_is_revoked() -> None:
    grants = _grants([0.0])
    key = (f"API-Key {grants.issue_api_key()}",)
    assert grants.refusal("/public/v1/documents", key) is None
    grants.revoke_api_keys()
    refusal = grants.refusal("/public/v1/documents", key)
    assert refusal is not None
    assert json.loads(refusal.body) == {"type": "authentication_error", "detail": "Invalid key."}


@pytest.mark.parametrize("scheme", ["", "Bearer", "Bearer ", "API-Key", "Basic", "Bearer,"])
def test_what_is_no_credential_is_answered_as_if_there_were_none(scheme: str) -> None:
    grants = _grants([0.0])
    refusal = grants.refusal("/public/v1/documents", (scheme,))
    assert refusal is not None
    assert json.loads(refusal.body)["detail"] == "Authentication credentials were not provided."


def test_two_authorization_lines_are_as_bad_as_none() -> None:
    grants = _grants([0.0])
    line = f"Bearer {grants.issue_access_token()}"
    assert grants.refusal("/public/v1/documents", (line,)) is None
    assert grants.refusal("/public/v1/documents", (line, line)) is not None


@pytest.mark.parametrize("path", ["/public/beta/documents/search", "/public/v2/logs"])
def test_the_newer_operations_say_401_in_their_own_words(path: str) -> None:
    refusal = _grants([0.0]).refusal(path, ())
    assert refusal is not None
    assert (refusal.status, json.loads(refusal.body)) == (401, {"code": "unauthorized", "details": []})


def test_the_repr_holds_no_credential() -> None:
    grants = _grants([0.0])
    issued = [grants.issue_code(), grants.issue_refresh_token(), grants.issue_api_key(), "secret"]
    assert not any(value in repr(grants) for value in issued)
