"""How long a 429 says to wait: its Retry-After, else the number in its sentence, else a guess. Pure.

PandaDoc documents `Request was throttled.` and no field; in the field the sentence goes on with
`Expected available in 13 seconds.`
"""

import re
from email.utils import parsedate_to_datetime
from typing import Final

UNSAID: Final = 10.0
"""Seconds where a 429 says nothing: a sixth of PandaDoc's window."""

LONGEST: Final = 300.0
"""Seconds. No window of PandaDoc's is longer than a minute; what says more is not believed, nor ignored."""

SECONDS: Final = re.compile(rb"[0-9]{1,9}")
SENTENCE: Final = re.compile(rb"\bin ([0-9]{1,9})(?:\.[0-9]+)? ?s(?:ec|\b)", re.IGNORECASE)


def wait(retry_after: bytes | None, body: bytes, now: float) -> float:
    """Return seconds. `now` is wall-clock seconds since 1970, for a Retry-After that is a date (RFC 9110 §10.2.3)."""
    said = None if retry_after is None else after(retry_after, now)
    if said is None:
        said = sentence(body)
    if said is None:
        said = UNSAID
    return min(LONGEST, max(1.0, said))


def sentence(body: bytes) -> float | None:
    """Read the number in its sentence: seconds, or None where it has none."""
    found = SENTENCE.search(body)
    return float(found[1]) if found else None


def after(value: bytes, now: float) -> float | None:
    """Read a Retry-After: seconds from now, or None where it makes no sense."""
    value = value.strip()
    if SECONDS.fullmatch(value):
        return float(value)
    try:
        return parsedate_to_datetime(value.decode("latin-1")).timestamp() - now
    except (ValueError, OverflowError):
        return None
