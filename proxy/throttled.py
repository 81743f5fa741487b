"""How long a 429 says to wait: its Retry-After, else the number in its sentence, else a guess. Pure.

PandaDoc documents `Request was throttled.` and no field; in the field the sentence goes on with
`Expected available in 13 seconds.`
"""

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

UNSAID: Final = 10.0
"""Seconds where a 429 says nothing: a sixth of PandaDoc's window."""

LEAST: Final = 1.0
"""Seconds. No sentence says fewer."""

LONGEST: Final = 300.0
"""Seconds. No window of PandaDoc's is longer than a minute; what says more is not believed, nor ignored."""

SENTENCE: Final = re.compile(rb"\bin ([0-9]{1,9})(?:\.[0-9]+)? ?s(?:ec|\b)", re.IGNORECASE)


def wait(retry_after: bytes | None, body: bytes | None, now: float) -> float:
    """Return seconds; the least that a `body` may say while that is still to come (None).

    `now` is wall-clock seconds since 1970, for a Retry-After that is a date (RFC 9110 §10.2.3).
    """
    said = None if retry_after is None else after(retry_after, now)
    if said is None:
        said = LEAST if body is None else sentence(body)
    if said is None:
        said = UNSAID
    return min(LONGEST, max(LEAST, said))


def sentence(body: bytes) -> float | None:
    """Read the number in its sentence: seconds, or None where it has none."""
    found = SENTENCE.search(body)
    return float(found[1]) if found else None


def after(value: bytes, now: float) -> float | None:
    """Read a Retry-After (RFC 9110 §10.2.3) as seconds from `now`; None where it says nothing usable."""
    text = value.decode("latin-1").strip()
    if text.isdecimal():
        return float(text[:12])
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:  # as asctime writes it, which is GMT (§5.6.7)
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, moment.timestamp() - now)
