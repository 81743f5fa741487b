"""Answers out of bytes: in any pieces, strictly, and never one that nobody asked for."""

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import UpstreamError
from proxy.forward.answer_reader import LARGEST_HEAD, MOST_FIELDS, AnswerReader, HeadOversized
from proxy.forward.framing import Malformed

LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Y:  caf\xe9 \r\n\r\npanda"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\npan\r\n2\r\nda\r\n0\r\nX-Trailer: t\r\n\r\n"
UNFRAMED = b"HTTP/1.1 200 OK\r\n\r\npanda"


@dataclass
class Read:
    status: int
    reason: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes
    complete: bool
    reusable: bool


def read(*pieces: bytes, bodiless: bool = False, reader: AnswerReader | None = None) -> Read:
    """Read one answer that comes in these pieces."""
    reader = reader or AnswerReader()
    reader.expect(bodiless=bodiless)
    for piece in pieces:
        reader.feed(piece)
    assert reader.head is not None
    body, reader.chunks = b"".join(reader.chunks), []
    return Read(reader.head.status, reader.head.reason, reader.head.fields, body, reader.complete, reader.reusable)


@given(st.sampled_from([LONG, CHUNKED]), st.sets(st.integers(1, 80)))
def test_an_answer_is_the_same_in_whatever_pieces_it_comes(raw: bytes, cuts: set[int]) -> None:
    edges = [0, *sorted(cut for cut in cuts if cut < len(raw)), len(raw)]
    pieces = [raw[start:end] for start, end in pairwise(edges)]
    assert read(*pieces) == read(raw)


def test_a_head_is_kept_as_it_came() -> None:
    seen = read(LONG)
    assert (seen.status, seen.reason) == (200, b"OK")
    assert seen.fields == ((b"Content-Length", b"5"), (b"X-Y", b"caf\xe9"))
    assert (seen.body, seen.complete, seen.reusable) == (b"panda", True, True)


@pytest.mark.parametrize("reason", [b"", b"OK", b"Not So\tBad", b"caf\xe9", "schön".encode()])
def test_a_reason_phrase_may_be_any_text(reason: bytes) -> None:
    assert read(LONG.replace(b"OK", reason)).reason == reason


def test_trailers_and_extensions_are_dropped() -> None:
    seen = read(CHUNKED)
    assert (seen.body, seen.complete, seen.reusable) == (b"panda", True, True)
    assert seen.fields == ((b"Transfer-Encoding", b"chunked"),)


def test_trailers_behind_the_answer_to_a_head_are_not_the_next_answers_fields() -> None:
    reader = AnswerReader()
    trailers = b"0\r\nSet-Cookie: of=another\r\nX: y\r\n"  # without an end
    read(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + trailers, bodiless=True, reader=reader)
    assert read(LONG, reader=reader).fields == read(LONG).fields


def test_interim_answers_are_passed_over() -> None:
    reader = AnswerReader()
    reader.expect(bodiless=False)
    reader.feed(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
    assert not reader.continued
    reader.feed(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert (reader.continued, reader.head) == (True, None)


def test_a_final_answer_has_nothing_of_the_interim_ones() -> None:
    seen = read(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + LONG)
    assert (seen.status, seen.reason) == (200, b"OK")
    assert [name for name, _ in seen.fields] == [b"Content-Length", b"X-Y"]


@pytest.mark.parametrize("status", [100, 102, 103, 104, 110, 199])
@pytest.mark.parametrize("fields", [b"", b"Content-Length: 0\r\n", b"Upgrade: x\r\nConnection: upgrade\r\n"])
def test_an_interim_answer_of_any_number_ends_with_its_head(status: int, fields: bytes) -> None:
    interim = b"HTTP/1.1 %d X\r\n%b\r\n" % (status, fields)
    assert read(interim + LONG) == read(interim, LONG) == read(LONG)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("start", [b"HTTP/1.1 100 C\r\nConnection: close", b"HTTP/1.0 100 C", b"HTTP/1.0 103 E"])
def test_no_interim_answer_is_the_last(start: bytes, *, apart: bool) -> None:
    """Whether the connection goes on is the final answer's word."""
    interim = start + b"\r\n\r\n"
    for last in (False, True):
        final = LONG.replace(b"X-Y", b"Connection: close\r\nX-Y") if last else LONG
        seen = read(interim, final) if apart else read(interim + final)
        assert (seen.status, seen.body, seen.complete, seen.reusable) == (200, b"panda", True, not last)


def test_the_answer_to_a_head_has_no_body_and_the_next_answer_has() -> None:
    reader = AnswerReader()
    promise = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
    for _ in range(2):
        seen = read(promise, bodiless=True, reader=reader)
        assert (seen.body, seen.complete, seen.reusable) == (b"", True, True)
    assert read(LONG, reader=reader).body == b"panda"


def test_a_body_behind_the_answer_to_a_head_spoils_the_connection_only() -> None:
    seen = read(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\npanda", bodiless=True)
    assert (seen.body, seen.complete, seen.reusable) == (b"", True, False)


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_some_answers_have_no_body_whatever_they_say(status: bytes) -> None:
    seen = read(b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\n")
    assert (seen.complete, seen.reusable) == (True, True)


def test_an_unframed_body_ends_with_the_connection() -> None:
    reader = AnswerReader()
    assert not read(UNFRAMED, reader=reader).complete
    assert reader.end()
    assert reader.complete
    assert not reader.reusable


@pytest.mark.parametrize("raw", [LONG[:-1], CHUNKED[:-1], CHUNKED[:60], LONG[:30], b"H", b""])
def test_an_answer_that_is_cut_off_is_never_taken_for_whole(raw: bytes) -> None:
    reader = AnswerReader()
    reader.expect(bodiless=False)
    reader.feed(raw)
    assert not reader.end()


@pytest.mark.parametrize("behind", [LONG, b"x", b"\r\nHTTP/1.1 ", b"HTTP/1.1 103 Early Hints\r\n\r\n"])
@pytest.mark.parametrize("apart", [True, False])
def test_whatever_comes_behind_an_answer_spoils_the_connection_and_not_the_answer(
    behind: bytes, *, apart: bool
) -> None:
    """Whose would it be? The next request's answer has not been asked for."""
    for whole in (LONG, LONG.replace(b"X-Y", b"Connection: close\r\nX-Y")):
        seen = read(whole, behind) if apart else read(whole + behind)
        assert (seen.body, seen.complete, seen.reusable) == (b"panda", True, False)


@pytest.mark.parametrize("fields", [b"Connection: close\r\n", b"Connection: Close, x\r\n"])
def test_a_connection_that_is_to_close_carries_no_other_request(fields: bytes) -> None:
    assert not read(b"HTTP/1.1 200 OK\r\n" + fields + b"Content-Length: 0\r\n\r\n").reusable


def test_http_1_0_keeps_a_connection_only_where_it_says_so() -> None:
    assert not read(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n").reusable
    assert read(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n").reusable


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_close_outweighs_keep_alive(version: bytes) -> None:
    """RFC 9112 §9.3; llhttp has it the other way round in HTTP/1.0."""
    head = b"HTTP/%b 200 OK\r\nConnection: keep-alive\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    assert not read(head % version).reusable


MALFORMED = {
    "garbage": b"garbage\r\n\r\n",
    "HTTP/0.9": b"<html></html>",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "RTSP": b"RTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "ICE": b"ICE/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "a NUL in the reason phrase": b"HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n",
    "a control character in the reason phrase": b"HTTP/1.1 200 OK\x7f\r\nContent-Length: 0\r\n\r\n",
    "a switch of protocols": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "a bare 101": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "a 101 with a length": b"HTTP/1.1 101 X\r\nContent-Length: 5\r\n\r\npanda" + LONG,
    "a 103 with a body": b"HTTP/1.1 103 X\r\nContent-Length: 5\r\n\r\npanda" + LONG,
    "a 104 with a body": b"HTTP/1.1 104 X\r\nContent-Length: 5\r\n\r\npanda" + LONG,
    "a 104 with an answer for a body": b"HTTP/1.1 104 X\r\ncontent-length: %d\r\n\r\n" % len(LONG) + LONG + LONG,
    "a 199 with chunks": b"HTTP/1.1 199 X\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\npanda\r\n0\r\n\r\n" + LONG,
    "a 199 with a body without an end": b"HTTP/1.1 199 X\r\ntransfer-encoding: gzip\r\n\r\n" + LONG,
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\npanda",
    "a list of lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\npanda",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
    "a signed length": b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
    "a length beyond 64 bits": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
    "a length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "chunks and a length": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
    "gzip, chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    "chunks in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "no chunk size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a negative chunk size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
    "a chunk size beyond 64 bits": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n",
    "a chunk longer than its size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\npanda\r\n",
    "a folded field": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
    "a space before the colon": b"HTTP/1.1 200 OK\r\nX : a\r\n\r\n",
    "a bare LF": b"HTTP/1.1 200 OK\nX: a\n\n",
    "a bare CR": b"HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n",
    "a NUL": b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
    "a control character": b"HTTP/1.1 200 OK\r\nX: a\x01b\r\n\r\n",
    "no name": b"HTTP/1.1 200 OK\r\n: a\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "a status of no class": b"HTTP/1.1 099 OK\r\n\r\n",
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_answer_is_refused(raw: bytes) -> None:
    with pytest.raises(Malformed):
        read(raw)


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_answer_is_refused_byte_by_byte(raw: bytes) -> None:
    with pytest.raises(Malformed):
        read(*(raw[at : at + 1] for at in range(len(raw))))


OVERSIZED = {
    "a field without an end": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 3 * LARGEST_HEAD,
    "a large head": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 3 * LARGEST_HEAD + b"\r\nContent-Length: 0\r\n\r\n",
    "many fields": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * (MOST_FIELDS + 1) + b"\r\n",
    "interim answers for ever": b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 5000,
    "trailers without an end": CHUNKED[:-2] + b"X: " + b"x" * 3 * LARGEST_HEAD,
    "an extension without an end": CHUNKED[:50] + b"2;" + b"x" * 3 * LARGEST_HEAD,
}


@pytest.mark.parametrize("raw", OVERSIZED.values(), ids=OVERSIZED)
@pytest.mark.parametrize("step", [1000, LARGEST_HEAD])
def test_nothing_but_a_body_is_endless(raw: bytes, step: int) -> None:
    with pytest.raises(UpstreamError) as told:
        read(*(raw[at : at + step] for at in range(0, len(raw), step)))
    assert isinstance(told.value, HeadOversized)
    assert told.value.error == "http_response_header_section_size"


LIMIT = LARGEST_HEAD - len(b"X" + b"Content-Length" + b"2")


@pytest.mark.parametrize(("size", "fits"), [(LIMIT - 100, True), (LIMIT, True), (LIMIT + 1, False)])
def test_a_large_head_is_judged_the_same_in_whatever_pieces_it_comes(size: int, *, fits: bool) -> None:
    head, body = b"HTTP/1.1 200 OK\r\nX: " + b"x" * size + b"\r\nContent-Length: 2\r\n\r\n", b"ok"
    slow = [*(head[at : at + 1000] for at in range(0, len(head), 1000)), body]
    for pieces in ([head + body], [head, body], [head[:-1], head[-1:], body], slow):
        if fits:
            assert read(*pieces).body == body
        else:
            with pytest.raises(HeadOversized):
                read(*pieces)


def test_what_comes_while_nothing_is_asked_spoils_the_connection() -> None:
    reader = AnswerReader()
    reader.feed(LONG)
    assert not reader.reusable
    assert reader.head is None
