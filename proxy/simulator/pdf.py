"""Bytes that pass for a PDF: any size, the same every time, never held whole."""

import hashlib
from collections.abc import Iterator

from msgspec import Struct

CHUNK_BYTES = 64 * 1024


class Pdf(Struct, frozen=True):
    """The download of one document."""

    document_id: str
    size: int

    def chunks(self) -> Iterator[bytes]:
        return pdf_bytes(self.document_id, self.size)


def pdf_bytes(document_id: str, size: int) -> Iterator[bytes]:
    """Yield the download of a document in chunks of at most 64 KiB.

    Each chunk carries its offset, so that one that is lost, doubled or swapped changes the digest;
    the rest holds every byte value, so that a codec in the way would be noticed.
    """
    filler = hashlib.shake_256(document_id.encode("utf-8", "surrogateescape")).digest(CHUNK_BYTES)
    for offset in range(0, size, CHUNK_BYTES):
        stamp = b"%%PDF-1.7 %06x\n" % (offset // CHUNK_BYTES)
        yield (stamp + filler[len(stamp) :])[: size - offset]


def pdf_sha256(document_id: str, size: int) -> str:
    digest = hashlib.sha256()
    for chunk in pdf_bytes(document_id, size):
        digest.update(chunk)
    return digest.hexdigest()
