"""What an answer of the token endpoint means: tables, without a connection (laws 4, 6, 7, 8)."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.credential.token_reply import (
    DEFAULT_LIFETIME,
    LONGEST_LIFETIME,
    Cause,
    NotRedeemed,
    Outcome,
    Redeemed,
    Refused,
    Unknown,
    read_lifetime,
    read_reply,
)
from proxy.secrets import Secret

NOW = 1_790_000_000.0
ACCESS, REFRESH = "a" * 40, "r" * 40
ASKED = "https://api.example/oauth2/access_token"


def reply(status: int = 200, body: object = None, **headers: str) -> Outcome:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, content, NOW, ASKED)


def tokens(**changes: object) -> dict[str, object]:
    usual = {"access_token": ACCESS, "refresh_token": REFRESH, "token_type": "Bearer", "expires_in": 31535999}
    return {name: value for name, value in (usual | changes).items() if value != "absent"}


def test_pandadocs_reply_is_a_pair_with_a_year() -> None:
    assert reply(body=tokens(scope="read write read+write")) == Redeemed(
        Secret(REFRESH), Secret(ACCESS), 31535999.0, lifetime_guessed=False, fault=None
    )


def test_a_reply_without_a_refresh_token_has_none() -> None:
    outcome = reply(body=tokens(refresh_token="absent"))
    assert isinstance(outcome, Redeemed)
    assert outcome.refresh_token is None
    assert outcome.access_token == Secret(ACCESS)


UNUSABLE = {
    "no access token": tokens(access_token="absent"),
    "null": tokens(access_token=None),
    "a number": tokens(access_token=7),
    "empty": tokens(access_token=""),
    "a line break": tokens(access_token="a\r\nX-Evil: 1"),
    "a space": tokens(access_token="a b"),
    "non-ASCII": tokens(access_token="é" * 40),
    "endless": tokens(access_token="a" * 9000),
    "another type": tokens(token_type="mac"),
    "a type that is no text": tokens(token_type=3),
}


@pytest.mark.parametrize("behind", [b"<!-- served by edge-7 -->", b"\0\0", b"{}", b"\r\n\r\n}", b"\xff"])
@pytest.mark.parametrize("before", [b"", b" \r\n\t", b"\xef\xbb\xbf"])
def test_a_pair_is_kept_whatever_stands_behind_it(before: bytes, behind: bytes) -> None:
    """The old refresh token is spent by then (law 4)."""
    outcome = reply(body=before + json.dumps(tokens()).encode() + behind)
    assert isinstance(outcome, Redeemed)
    assert outcome.refresh_token == Secret("r" * 40)


@pytest.mark.parametrize("body", UNUSABLE.values(), ids=UNUSABLE)
def test_an_access_token_that_cant_be_sent_is_none_but_the_refresh_token_is_kept(body: object) -> None:
    """Any refresh token in a 200 is stored before the rest is judged (law 4)."""
    outcome = reply(body=body)
    assert isinstance(outcome, Redeemed)
    assert outcome.access_token is None
    assert outcome.fault
    assert outcome.refresh_token == Secret(REFRESH)


def test_a_200_without_any_token_leaves_the_outcome_unknown() -> None:
    """A maintenance page in JSON must not cost the token that is still good (law 5)."""
    assert isinstance(reply(body={"message": "maintenance"}), Unknown)
    assert isinstance(reply(body=tokens(access_token="absent", refresh_token="absent")), Unknown)


@pytest.mark.parametrize("successor", ["r" * 5000, "with a space", "!~"])
def test_a_refresh_token_may_be_longer_and_freer_than_an_access_token(successor: str) -> None:
    outcome = reply(body=tokens(refresh_token=successor))
    assert isinstance(outcome, Redeemed)
    assert outcome.refresh_token == Secret(successor)


@pytest.mark.parametrize("successor", ["", 7, "r" * 40_000, "line\nbreak", ["r"]], ids=str)
def test_a_refresh_token_that_cant_be_kept_is_marked(successor: object) -> None:
    outcome = reply(body=tokens(refresh_token=successor))
    assert isinstance(outcome, Redeemed)
    assert outcome.refresh_token is None
    assert outcome.successor_unusable


def test_a_type_may_be_missing_or_in_any_case() -> None:
    for kind in ("absent", "bearer", "BEARER"):
        outcome = reply(body=tokens(token_type=kind))
        assert isinstance(outcome, Redeemed)
        assert outcome.access_token is not None


@pytest.mark.parametrize(
    "body", [b"", b"<html>Sorry</html>", b"[]", b"null", b'"x"', b"{", b"\xff\xfe", b"[" * 100_000], ids=repr
)
def test_a_200_that_is_no_object_leaves_the_outcome_unknown(body: bytes) -> None:
    assert isinstance(reply(body=body), Unknown)


@pytest.mark.parametrize("error", ["invalid_grant", "invalid_client", "unauthorized_client", "unsupported_grant_type"])
@pytest.mark.parametrize("status", [400, 401, 403])
def test_an_oauth_error_that_no_waiting_cures_is_a_refusal(status: int, error: str) -> None:
    assert reply(status, {"error": error}) == Refused(error)


def test_an_oauth_error_nobody_knows_proves_that_nothing_was_redeemed_and_is_asked_again_slowly() -> None:
    outcome = reply(400, {"error": "on_strike"})
    assert isinstance(outcome, NotRedeemed)
    assert outcome.retry_after == 60
    assert "on_strike" not in f"{outcome.cause} {outcome.detail}"


@pytest.mark.parametrize("status", [201, 204, 301, 302, 307, 404, 408, 500, 502, 503, 504])
def test_everything_else_leaves_the_outcome_unknown(status: int) -> None:
    """Even a 4xx, if no OAuth error says that nothing happened."""
    outcome = reply(status, b"<html>")
    assert isinstance(outcome, Unknown)
    assert outcome.detail == f"status {status} from {ASKED}"
    assert isinstance(reply(status, {"error": 7}), Unknown)
    if not 400 <= status < 500:
        assert isinstance(reply(status, {"error": "invalid_grant"}), Unknown)


def test_a_429_proves_that_nothing_was_redeemed() -> None:
    assert reply(429, b"", Retry_After="13") == NotRedeemed(Cause.THROTTLED, "too many requests (429)", 13.0)
    assert reply(429, b"") == NotRedeemed(Cause.THROTTLED, "too many requests (429)", None)


def test_how_long_a_429_lasts_is_in_its_field_else_in_its_sentence() -> None:
    """PandaDoc documents no field; in the field the sentence has a number."""
    said = {"type": "throttled", "detail": "Request was throttled. Expected available in 45 seconds."}
    assert reply(429, said) == NotRedeemed(Cause.THROTTLED, "too many requests (429)", 45.0)
    assert reply(429, said, Retry_After="soon") == NotRedeemed(Cause.THROTTLED, "too many requests (429)", 45.0)
    assert reply(429, said, Retry_After="13") == NotRedeemed(Cause.THROTTLED, "too many requests (429)", 13.0)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (31535999, 31535999.0),
        ("3600", 3600.0),
        (3600.5, 3600.5),
        ("1e3", 1000.0),
        (None, None),
        (True, None),
        (0, None),
        (-5, None),
        ("-5", None),
        ("soon", None),
        ([], None),
        (float("nan"), None),
        (float("inf"), None),
        ("inf", None),
        (10**400, None),
        (LONGEST_LIFETIME + 1, None),
    ],
    ids=repr,
)
def test_a_lifetime_is_seconds_or_nothing(written: object, seconds: float | None) -> None:
    assert read_lifetime(written) == seconds


def test_nonsense_for_a_lifetime_means_an_hour_and_is_marked() -> None:
    outcome = reply(body=tokens(expires_in="absent"))
    assert isinstance(outcome, Redeemed)
    assert (outcome.lifetime, outcome.lifetime_guessed) == (DEFAULT_LIFETIME, True)


@given(st.integers(100, 599), st.binary(max_size=200), st.text(max_size=30))
def test_no_reply_whatever_raises(status: int, body: bytes, retry_after: str) -> None:
    outcome = read_reply(status, {"Retry-After": retry_after}, body, NOW, ASKED)
    assert isinstance(outcome, Redeemed | Refused | NotRedeemed | Unknown)


def test_no_outcome_shows_a_token() -> None:
    assert ACCESS not in repr(reply(body=tokens()))
    assert REFRESH not in repr(reply(body=tokens()))
