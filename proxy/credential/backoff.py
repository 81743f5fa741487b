"""When to try again after a failure. Pure."""

from typing import Final

FIRST: Final = 1.0
LONGEST: Final = 30.0
"""Seconds. A token endpoint that is back is found within half a minute, and not hammered before."""

LONGEST_ASKED: Final = 300.0
"""Seconds: no Retry-After keeps us from trying for longer."""

DEAD_LOOK: Final = 2.0
"""Seconds between two looks for a new secret or a new stored grant while the grant is dead. No network."""


def pause(failures: int, jitter: float, retry_after: float | None = None) -> float:
    """Seconds to wait after the `failures`-th failure in a row (1, 2, …).

    `jitter` in [0, 1) spreads replicas over the upper half of the pause. A Retry-After is a floor.
    """
    longest = min(LONGEST, FIRST * 2.0 ** min(failures - 1, 10))
    ours = longest * (0.5 + jitter / 2)
    return max(ours, min(retry_after or 0.0, LONGEST_ASKED))
