"""Numbers and lengths of time, for people. Pure."""

from typing import Final

from proxy.credential.advice import span

MOMENT: Final = 2.0
"""Seconds: what is not older has happened just now."""


def many(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def ago(seconds: float) -> str:
    return "just now" if seconds < MOMENT else f"{span(seconds)} ago"


def time(seconds: float) -> str:
    """Write how long something took to two digits: more of them would claim what the buckets don't know."""
    rounded = float(f"{seconds:.2g}")
    return f"{rounded:g} s" if rounded >= 1 else f"{rounded * 1000:g} ms"
