"""The end of a token that can't be refreshed, announced louder as it comes near."""

import logging
from typing import Final

from proxy.credential.advice import span
from proxy.credential.credential import Credential, alarm

log = logging.getLogger(__name__)

LOUDNESS: Final = (logging.DEBUG, logging.WARNING, logging.ERROR, logging.CRITICAL)
"""How it is logged, by its alarm."""


class ExpiryAlarm:
    """Sounds once for each loudness of a generation. `_sounded` is the last of them; `sound` alone changes it."""

    def __init__(self) -> None:
        self._sounded = (0, 0)

    def __repr__(self) -> str:
        return f"<ExpiryAlarm {self._sounded}>"

    def sound(self, name: str, credential: Credential, *, lifetime: float, now: float, trouble: str) -> None:
        """Say how long `credential`, which lives `lifetime` seconds in all, has left, and what is in the way.

        `name` is what it is called now: a reload may call it something else.
        """
        left = credential.expires_at - now
        loudness = alarm(left, lifetime)
        if (credential.generation, loudness) > self._sounded:
            self._sounded = (credential.generation, loudness)
            text = "credential %s: its access token expires in %s, and no refresh has come through. %s"
            log.log(LOUDNESS[loudness], text, name, span(left), trouble)
