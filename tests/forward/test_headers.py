"""What crosses, where no socket is needed to see it."""

import tracemalloc

import pytest

from proxy.forward.headers import (
    FORWARDED,
    NOT_FROM_CALLER,
    AnswerHead,
    Fields,
    Head,
    Origin,
    Section,
    _remembered,
    kept_for,
    to_caller,
    to_upstream,
)

HERE = Origin("https://api.pandadoc.com", "")
KEPT = (b"X-Kept", b"1")


def down(*fields: tuple[bytes, bytes]) -> Fields:
    return to_caller(AnswerHead(200, b"OK", fields), HERE, b"http://localhost")


def up(*fields: tuple[bytes, bytes], before: Head | None = None) -> Fields:
    lines = to_upstream(Head("GET", "/", (1, 1), fields, before), "API-Key x", b"1.1 us").splitlines()
    assert lines[-2:] == [b"Via: 1.1 us", b"Authorization: API-Key x"]
    return tuple((name, value) for name, _, value in (line.partition(b": ") for line in lines[:-2]))


def test_a_head_knows_its_names_its_values_and_its_size() -> None:
    head = Head("GET", "/", (1, 1), ((b"A", b"1"), (b"B", b"22"), (b"a", b"333")))
    assert set(head.names) == {b"a", b"b"}
    assert [head.values(name) for name in (b"a", b"b", b"c")] == [[b"1", b"333"], [b"22"], []]
    assert head.size == len("A1B22a333")
    assert Head("GET", "/", (1, 1), ((b"A", b"1"),)).values(b"a") == [b"1"]


def test_what_a_caller_says_again_crosses_as_it_did_or_as_it_is_sent_now() -> None:
    fields = ((b"Cookie", b"a=b"), (b"Max-Forwards", b"5"), KEPT)
    before = Head("GET", "/", (1, 1), fields)
    for _ in range(2):
        assert up(*fields, before=before) == fields
        again = Head("OPTIONS", "*", (1, 1), fields, before)
        lines = to_upstream(again, "Bearer y", b"1.1 other", cookies=False)
        assert lines == b"Max-Forwards: 4\r\nX-Kept: 1\r\nVia: 1.1 other\r\nAuthorization: Bearer y\r\n"
    assert up(KEPT, before=before) == (KEPT,)


def test_how_heads_look_shows_no_value() -> None:
    fields = ((b"Authorization", b"API-Key hush"), KEPT)
    assert repr(Head("GET", "/hush", (1, 1), fields)) == "<Head GET 2 fields>"
    assert repr(AnswerHead(401, b"hush", fields)) == "<AnswerHead 401 2 fields>"


def test_what_ends_here_ends_here_in_any_spelling_whether_or_not_connection_says_more() -> None:
    odd = ((b"keep_alive", b"5"), (b"Strict_Transport_Security", b"x"), (b"Access_Control-Allow_Origin", b"*"))
    for connection in ((), ((b"Connection", b"keep-alive"),), ((b"Connection", b"X-Gone, close"), (b"x_gone", b"1"))):
        assert down(*odd, *connection, KEPT) == (KEPT,)
        assert up((b"X_Forwarded_For", b"1"), (b"proxy_connection", b"x"), *connection, KEPT) == (KEPT,)


def test_what_the_message_means_cant_be_nominated_away() -> None:
    said = ((b"Content-Type", b"text/plain"), (b"Date", b"Fri, 27 Nov 2026 00:00:00 GMT"), (b"Cache-Control", b"x"))
    nominated = (b"Connection", b", ".join(name for name, _ in said))
    assert down(nominated, *said) == said


SAID = {
    "nothing": ((), None),
    "a time": ((b"timeout=5",), 5),
    "a time among others": ((b"max=100, Timeout=65",), 65),
    "in a field of its own": ((b"max=100", b"timeout=5"), 5),
    "no time at all": ((b"timeout=0",), 0),
    "only how many": ((b"max=100",), None),
    "two times": ((b"timeout=5, timeout=9",), None),
    "a fraction": ((b"timeout=5.5",), None),
    "a sign": ((b"timeout=-5",), None),
    "a text": ((b'timeout="5"',), None),
    "an age": ((b"timeout=1234567",), None),
    "no number": ((b"timeout=",), None),
}


@pytest.mark.parametrize(("said", "seconds"), SAID.values(), ids=SAID)
def test_for_how_long_a_connection_is_kept_is_said_clearly_or_not_at_all(
    said: tuple[bytes, ...], seconds: int | None
) -> None:
    assert kept_for(Section(tuple((b"Keep-Alive", each) for each in said))) == seconds


def test_names_that_nobody_uses_any_more_make_room() -> None:
    up(*((b"x-%d" % number, b"") for number in range(200)))
    up((b"Accept", b""))
    assert b"Accept" in _remembered(NOT_FROM_CALLER, FORWARDED, b"")


def test_what_is_remembered_of_names_is_bounded() -> None:
    """A caller may send other names each time, and have Connection say something else each time, too."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(100):
            names = [b"x-%d-%d-" % (number, each) + b"y" * (10 if each % 2 else 1000) for each in range(60)]
            options = b",".join(b"z%d-%d" % (number, each) for each in range(5 if number % 2 else 1000))
            up((b"Connection", options), *((name, b"") for name in names))
            up((b"Connection", b"close"), *((name, b"") for name in names))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 2 * 1024**2
