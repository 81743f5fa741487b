"""Which fault is played for which request."""

from typing import Any

import pytest

from proxy.simulator import Fault, Faults


@pytest.mark.parametrize(
    ("glob", "path", "matches"),
    [
        ("/**", "/", True),
        ("/**", "/public/v1/documents", True),
        ("/public/**", "/public/v1/documents/a", True),
        ("/public/**", "/oauth2/access_token", False),
        ("/public/v1/*", "/public/v1/documents", True),
        ("/public/v1/*", "/public/v1/documents/a", False),
        ("/public/*/documents/*/send", "/public/v1/documents/a/send", True),
        ("/**/send", "/public/v1/documents/a/send", True),
        ("/a.b", "/axb", False),
        ("/a%2Fb", "/a%2Fb", True),
        ("/a/b", "/a%2Fb", False),
    ],
)
def test_a_star_stays_within_a_segment_and_two_cross_slashes(glob: str, path: str, *, matches: bool) -> None:
    faults = Faults()
    faults.add(Fault(path=glob, status=500))
    assert (faults.take("GET", path) is not None) is matches


def test_a_fault_for_one_method_leaves_the_others_alone() -> None:
    faults = Faults()
    faults.add(Fault(method="post", status=500))
    assert faults.take("GET", "/") is None
    assert faults.take("POST", "/") is not None


def test_a_fault_is_played_as_often_as_it_says_and_then_the_next_one() -> None:
    faults = Faults()
    first, second = Fault(status=500, times=2), Fault(status=429, times=1)
    faults.add(first)
    faults.add(second)
    assert [faults.take("GET", "/") for _ in range(4)] == [first, first, second, None]
    assert faults.armed() == ()


def test_a_fault_without_a_number_is_played_until_it_is_cleared() -> None:
    faults = Faults()
    faults.add(Fault(status=500))
    assert all(faults.take("GET", "/") for _ in range(100))
    faults.clear()
    assert faults.take("GET", "/") is None


def test_a_content_type_of_ones_own_replaces_the_documented_one() -> None:
    fault = Fault(status=401, body=b"<p>", headers=(("content-type", "text/html"), ("Retry-After", "3")))
    answer = fault.answer("/public/v1/documents")
    assert answer is not None
    assert answer.headers == (("content-type", "text/html"), ("Retry-After", "3"))
    assert answer.body == b"<p>"


def test_a_fault_on_the_token_endpoint_speaks_oauth() -> None:
    answer = Fault(status=400).answer("/oauth2/access_token")
    assert answer is not None
    assert answer.body == b'{"error": "invalid_grant"}'


@pytest.mark.parametrize("status", [0, 100, 199, 600])
def test_a_status_that_cannot_end_an_exchange_is_refused(status: int) -> None:
    with pytest.raises(ValueError, match=str(status)):
        Fault(status=status)


@pytest.mark.parametrize("path", ["/a?", "/public/v1/documents?upload", "*?", "", "public/**", "?"])
def test_a_path_that_no_request_can_have_is_refused_and_told(path: str) -> None:
    with pytest.raises(ValueError, match="leave out the" if "?" in path else "must begin with / or"):
        Fault(path=path, status=500)


@pytest.mark.parametrize("answer", [{"body": b""}, {"headers": (("X-A", "1"),)}])
@pytest.mark.parametrize("else_", [{}, {"delay": 1.0}, {"early": True}])
def test_a_body_or_headers_for_no_answer_of_its_own_are_refused(answer: dict[str, Any], else_: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="name one"):
        Fault(**answer, **else_)


def test_negative_times_and_delays_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        Fault(delay=-1)
    with pytest.raises(ValueError, match="negative"):
        Fault(times=-1)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("", "x", "is no name of a header"),
        ("Retry After", "1", "is no name of a header"),
        ("Retry-After:", "1", "is no name of a header"),
        ("X-\u00c9", "1", "is no name of a header"),
        ("X-A\n", "1", "is no name of a header"),
        ("transfer-Encoding", "chunked", "Transfer-Encoding can't be sent"),
        ("X-A", "1\n", "the header X-A has a control character"),
        ("X-A", "1\r\nX-B: 2", "the header X-A has a control character"),
        ("X-A", "\0", "the header X-A has a control character"),
        ("X-A", "\x7f", "the header X-A has a control character"),
        ("Content-Length", "abc", "Content-Length must be a number"),
        ("content-length", "", "Content-Length must be a number"),
        ("Content-Length", "7, 7", "Content-Length must be a number"),
        ("Content-Length", "\u0667", "Content-Length must be a number"),
        ("Content-Length", "9" * 5000, "Content-Length must be a number"),
    ],
)
def test_a_header_that_cannot_be_sent_is_refused(name: str, value: str, reason: str) -> None:
    """It would cut every answer, or spoil its head, and the journal would call it answered."""
    with pytest.raises(ValueError, match=reason):
        Fault(status=200, headers=(("X-Good", "1"), (name, value)))


def test_a_header_that_is_odd_but_can_be_sent_is_taken() -> None:
    odd = (("X-A", ""), ("x!#$%&'*+-.^_`|~9", "\t\u2603"), ("Content-Length", "99"), ("X-A", "2"))
    assert Fault(status=200, headers=odd).headers == odd
