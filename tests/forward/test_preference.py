"""`Prefer: wait` among what else callers prefer (RFC 7240)."""

import pytest

from proxy.forward.headers import Fields
from proxy.forward.preference import wait, with_what_can_be_read, without_wait


@pytest.mark.parametrize(
    ("values", "seconds", "left"),
    [
        ([b"wait=30"], 30, []),
        ([b"Wait = 30"], 30, []),
        ([b'wait="30"'], 30, []),
        ([b"respond-async, wait=10"], 10, [b"respond-async"]),
        ([b"wait=10;x=1, handling=lenient"], 10, [b"handling=lenient"]),
        ([b"return=minimal", b"wait=5"], 5, [b"return=minimal"]),
        ([b"wait=5, wait=9"], 5, []),
        ([b'x="a, wait=7", wait=2'], 2, [b'x="a, wait=7"']),
        ([b'x="a, wait=7"'], None, [b'x="a, wait=7"']),
        ([b"wait=soon"], None, [b"wait=soon"]),
        ([b"wait"], None, [b"wait"]),
        ([b"waiting=3"], None, [b"waiting=3"]),
        ([b"wait=-1"], None, [b"wait=-1"]),
        ([b"return=minimal ,  foo"], None, [b"return=minimal ,  foo"]),
        ([b'wait=2, x="a, wait=7'], 2, [b'x="a, wait=7']),
        ([b'x="a, wait=7'], None, [b'x="a, wait=7']),
        ([b'x="a\\", wait=7'], None, [b'x="a\\", wait=7']),
        ([b""], None, []),
        ([], None, []),
    ],
)
def test_the_first_wait_counts_and_what_else_is_preferred_stays(
    values: list[bytes], seconds: int | None, left: list[bytes]
) -> None:
    fields: Fields = ((b"Accept", b"*/*"), *((b"Prefer", value) for value in values))
    assert wait(fields) == seconds
    assert [value for name, value in without_wait(fields) if name == b"Prefer"] == left
    assert without_wait(fields)[0] == (b"Accept", b"*/*")


def test_a_string_without_an_end_costs_no_more_than_its_length() -> None:
    """At its square, this one would take longer than a test may: hours."""
    value = b'"' + b'\\"' * 500_000
    assert wait(((b"Prefer", value),)) is None
    assert without_wait(((b"Prefer", value),)) == ((b"Prefer", value),)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (b"gzip", b"gzip"),
        (b"br;q=1.0, X-GZIP ; q=0.5,*;q=0.1", b"X-GZIP ; q=0.5"),
        (b"zstd, *", b"identity"),
        (b"identity;q=0, gzip", b"identity;q=0, gzip"),
        (b"", b"identity"),
    ],
)
def test_no_coding_is_accepted_that_can_not_be_read(value: bytes, told: bytes) -> None:
    fields = ((b"Accept", b"*/*"), (b"Accept-Encoding", value))
    assert with_what_can_be_read(fields) == ((b"Accept", b"*/*"), (b"Accept-Encoding", told))
