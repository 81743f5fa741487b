"""So many requests in so long, and PandaDoc's numbers. Pure."""

from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Final

from msgspec import Struct


class Rate(Struct, frozen=True):
    """At most `most` requests in any `seconds`."""

    most: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.most} in {self.seconds:g} s"

    def shared(self, share: Fraction) -> "Rate":
        """Return one process's part, rounded down; 0 where nothing is left of it."""
        return Rate(int(self.most * share), self.seconds)


MINUTE: Final = 60.0
ALL: Final = "all"
"""The one rate of a budget that does not tell requests apart."""

OTHER: Final = "other"
"""What no number is known for."""

AUTO: Final[Mapping[str, Rate | None]] = MappingProxyType(
    {
        "create": Rate(500, MINUTE),
        "create_upload": Rate(300, MINUTE),
        "send": Rate(400, MINUTE),
        "details": Rate(600, MINUTE),
        "template_details": Rate(300, MINUTE),
        "list": Rate(2000, MINUTE),
        "download": Rate(100, MINUTE),
        "download_protected": Rate(300, MINUTE),
        OTHER: None,
    }
)
"""By PandaDoc's page on rate limits, for one user; None: it gives no number, and its 429s alone tell."""

SANDBOX: Final = Rate(10, MINUTE)
"""The same page: a sandbox key has these for whatever it asks."""
