"""What an entry keeps, and what it never prints."""

import hashlib

import pytest

from proxy.simulator import Received
from proxy.simulator.journal import BodyTally


def _received(*headers: tuple[bytes, bytes]) -> Received:
    return Received("POST", "/a%2Fb?token=SECRET", headers)


@pytest.mark.parametrize("size", [0, 1, 64 * 1024])
def test_a_body_up_to_64_kib_is_kept(size: int) -> None:
    received, content = _received(), b"x" * size
    tally = BodyTally(received)
    tally.feed(content[:10])
    tally.feed(content[10:])
    tally.close()
    assert (received.body_size, received.body) == (size, content)
    assert received.body_sha256 == hashlib.sha256(content).hexdigest()


def test_a_larger_body_is_only_counted_and_hashed() -> None:
    received, content = _received(), b"x" * (64 * 1024 + 1)
    tally = BodyTally(received)
    tally.feed(content)
    tally.close()
    assert (received.body_size, received.body) == (len(content), None)
    assert received.body_sha256 == hashlib.sha256(content).hexdigest()


def test_the_size_grows_while_the_body_comes_and_the_digest_waits_for_its_end() -> None:
    received = _received()
    BodyTally(received).feed(b"abc")
    assert (received.body_size, received.body_sha256, received.body) == (3, "", None)


def test_every_authorization_line_is_told_whatever_its_spelling() -> None:
    received = _received((b"authorization", b"Bearer a"), (b"X", b"y"), (b"AUTHORIZATION", b"API-Key b"))
    assert received.authorization == ("Bearer a", "API-Key b")


def test_no_repr_prints_a_header_a_query_a_body_or_a_form() -> None:
    received = _received((b"Authorization", b"Bearer SECRET"))
    tally = BodyTally(received)
    tally.feed(b"grant_type=refresh_token&refresh_token=SECRET")
    tally.close()
    received.parse_form()
    assert received.form == {"grant_type": "refresh_token", "refresh_token": "SECRET"}
    assert repr(received) == "<Received POST /a%2Fb 45 bytes, answered 0>"
    assert repr(received.form) == "Form(grant_type, refresh_token)"
    assert "SECRET" not in repr(tally)
