"""How an answer's body ends, as a table."""

import pytest

from proxy.errors import UpstreamError
from proxy.forward.framing import Malformed, ends_with_connection
from proxy.forward.headers import Fields, Section

LENGTH = ((b"content-LENGTH", b"2"),)
CHUNKED = ((b"Transfer-Encoding", b"Chunked"),)

ENDS = [
    (200, "1.1", (), False, True),
    (200, "1.0", (), False, True),
    (200, "1.1", LENGTH, False, False),
    (200, "1.1", CHUNKED, False, False),
    (200, "1.1", (), True, False),  # the answer to a HEAD
    (204, "1.1", (), False, False),
    (304, "1.1", LENGTH, False, False),
    (599, "1.1", (), False, True),
]

MALFORMED = {
    "another version": (200, "2.0", LENGTH),
    "an old version": (200, "0.9", LENGTH),
    "no such class": (600, "1.1", LENGTH),
    "below all classes": (99, "1.1", LENGTH),
    "a coding we don't know": (200, "1.1", ((b"Transfer-Encoding", b"gzip"),)),
    "a coding before chunked": (200, "1.1", ((b"Transfer-Encoding", b"gzip, chunked"),)),
    "chunked twice": (200, "1.1", CHUNKED * 2),
    "chunked in HTTP/1.0": (200, "1.0", CHUNKED),
}


@pytest.mark.parametrize(("status", "version", "fields", "bodiless", "ends"), ENDS)
def test_only_the_connections_end_ends_a_body_without_framing(
    status: int, version: str, fields: Fields, *, bodiless: bool, ends: bool
) -> None:
    """RFC 9112 §6.3."""
    assert ends_with_connection(status, version, Section(fields), bodiless=bodiless) is ends


@pytest.mark.parametrize(("status", "version", "fields"), MALFORMED.values(), ids=MALFORMED)
def test_what_no_answer_may_say_is_an_upstreams_fault(status: int, version: str, fields: Fields) -> None:
    with pytest.raises(Malformed, match="not valid HTTP") as told:
        ends_with_connection(status, version, Section(fields), bodiless=False)
    assert isinstance(told.value, UpstreamError)
    assert (told.value.status, told.value.error) == (502, "http_protocol_error")
