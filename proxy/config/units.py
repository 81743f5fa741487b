"""Durations, moments and sizes as people write them. Pure."""

from __future__ import annotations

import re
from datetime import datetime

from proxy.budget.rates import Rate

# The digits are bounded, for int() refuses endless ones in words of its own.
_SECONDS_SINCE_1970 = re.compile(r"\d{9,11}(?:\.\d{1,6})?", re.ASCII)
_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)(ms|s|m|h|d)", re.ASCII)
_RATE = re.compile(r"(\d{1,15})/(.*)", re.ASCII)
_SIZE = re.compile(r"(\d{1,15})([a-z]*)", re.ASCII | re.IGNORECASE)

# Largest first, for writing. Milliseconds are divided: 250 / 1000 is exact where 250 * 0.001 may not be.
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_BYTES = {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10, "GB": 10**9, "MB": 10**6, "KB": 10**3, "B": 1}
_BYTES_FOLDED = {"": 1} | {unit.lower(): factor for unit, factor in _BYTES.items()}

LONGEST = 366 * 86400.0  # a year's token is the longest thing here; far larger numbers overflow timers
MOST = 1_000_000  # requests
LARGEST = 2**40  # 1 TiB: far above any memory a sidecar has, far below what a C integer holds


def duration(text: str) -> float:
    """Read `5s`, `250ms`, `2m`, `1.5h` or `7d`, in seconds. Zero needs no unit."""
    if text == "0":
        return 0.0
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("expected a duration with its unit, such as 250ms, 5s, 2m, 1h or 7d")
    seconds = float(match[1]) / 1000 if match[2] == "ms" else float(match[1]) * _SECONDS[match[2]]
    if seconds > LONGEST:
        raise ValueError("a duration of more than 366d makes no sense here")
    return seconds


def positive_duration(text: str) -> float:
    """Read a duration that can't be zero."""
    seconds = duration(text)
    if seconds == 0:
        raise ValueError("must be longer than zero")
    return seconds


def moment(text: str) -> float:
    """Read `2027-11-25T15:02:00Z` (RFC 3339, with its offset), or seconds since 1970."""
    complaint = "expected a moment such as 2027-11-25T15:02:00Z, or seconds since 1970"
    if _SECONDS_SINCE_1970.fullmatch(text):
        return float(text)
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(complaint) from None
    if read.tzinfo is None:
        raise ValueError(f"{complaint}: the offset is missing, such as Z for UTC")
    return read.timestamp()


def size(text: str) -> int:
    """Read `64KiB`, `1MiB`, `500KB` or a bare number, in bytes; letter case is free."""
    match = _SIZE.fullmatch(text)
    factor = _BYTES_FOLDED.get(match[2].lower()) if match else None
    if match is None or factor is None:
        raise ValueError("expected a size, such as 64KiB, 8MiB, 500KB or a number of bytes")
    count = int(match[1]) * factor
    if count > LARGEST:
        raise ValueError("a size of more than 1024GiB makes no sense here")
    return count


def positive_size(text: str) -> int:
    """Read a size that can't be zero."""
    count = size(text)
    if count == 0:
        raise ValueError("must be larger than zero")
    return count


def rate(text: str) -> Rate:
    """Read `600/1m`: so many in any such time."""
    match = _RATE.fullmatch(text)
    if match is None or not 0 < int(match[1]) <= MOST:
        raise ValueError("expected a number and a time, such as 600/1m")
    return Rate(int(match[1]), positive_duration(match[2]))


def rate_text(value: Rate) -> str:
    """Write a rate so that `rate` reads the same."""
    return f"{value.most}/{duration_text(value.seconds)}"


def duration_text(seconds: float) -> str:
    """Write seconds so that `duration` reads the same (to the millisecond)."""
    for unit, factor in _SECONDS.items():
        if seconds and seconds % factor == 0:
            return f"{seconds / factor:.0f}{unit}"
    return f"{seconds * 1000:.0f}ms" if seconds else "0s"


def size_text(count: int) -> str:
    """Write bytes so that `size` reads the same."""
    for unit, factor in _BYTES.items():
        if count and count % factor == 0:
            return f"{count // factor}{unit}"
    return "0B"
