"""Bytes that pass for a PDF."""

import hashlib

import pytest

from proxy.simulator import pdf_bytes, pdf_sha256


@pytest.mark.parametrize("size", [0, 1, 5, 16, 65535, 65536, 65537, 1_000_003])
def test_a_download_has_exactly_the_size_that_was_asked_for(size: int) -> None:
    content = b"".join(pdf_bytes("a", size))
    assert len(content) == size
    assert content.startswith(b"%PDF-"[:size])
    assert hashlib.sha256(content).hexdigest() == pdf_sha256("a", size)


def test_a_download_is_the_same_every_time_and_another_for_every_document() -> None:
    assert pdf_sha256("a", 100_000) == pdf_sha256("a", 100_000)
    assert pdf_sha256("a", 100_000) != pdf_sha256("b", 100_000)


def test_no_two_chunks_are_alike_so_that_a_lost_or_swapped_one_is_noticed() -> None:
    chunks = list(pdf_bytes("a", 1024 * 1024))
    assert len(set(chunks)) == len(chunks) == 16
    assert all(set(chunk) == set(range(256)) for chunk in chunks)
