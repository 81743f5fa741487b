"""One large body, up and down, as fast as it goes: plain sockets and no client library's cost."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from typing import Final

from bench.origin import LARGE, LARGE_BYTES, UPLOAD
from bench.running import Failed

TIMEOUT_SECONDS: Final = 120.0
CHUNK_BYTES: Final = 256 * 1024
BODY: Final = bytes(LARGE_BYTES)


def upload(port: int) -> float:
    """Return the seconds until it is answered. The origin says how much of it came: all, or it counts for nothing."""
    with _connected(port) as connection:
        begun = time.perf_counter()
        connection.request("POST", UPLOAD, body=BODY)
        answer = connection.getresponse()
        answer.read()
        seconds = time.perf_counter() - begun
    came = int(answer.headers.get("X-Request-Length", "0"))
    if came < LARGE_BYTES:
        raise Failed(f"{answer.status} to an upload of which {came} bytes came")
    return seconds


def download(port: int) -> float:
    """Return the seconds until its last byte."""
    chunk = bytearray(CHUNK_BYTES)
    with _connected(port) as connection:
        begun = time.perf_counter()
        connection.request("GET", LARGE)
        answer, came = connection.getresponse(), 0
        while read := answer.readinto(chunk):
            came += read
        seconds = time.perf_counter() - begun
    if came != LARGE_BYTES:
        raise Failed(f"{answer.status} to a download of which {came} bytes came")
    return seconds


TRANSFERS: Final = {"upload": upload, "download": download}


@contextmanager
def _connected(port: int) -> Iterator[HTTPConnection]:
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        connection.connect()
        yield connection
    except (OSError, HTTPException) as error:
        raise Failed(f"broke off a large body: {error}") from error
    finally:
        connection.close()
