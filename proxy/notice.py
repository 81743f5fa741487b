"""A warning that is said once for as long as it holds, and again when it comes back."""

import logging


class Notice:
    """What was said last; `say` alone changes it."""

    def __init__(self, log: logging.Logger, level: int = logging.WARNING) -> None:
        self._log = log
        self._level = level
        self._said = ""

    def __repr__(self) -> str:
        return f"<Notice {self._said!r}>"

    def say(self, text: str) -> None:
        """Warn of `text`, unless that is what was said last; "" is the end of it."""
        if text and text != self._said:
            self._log.log(self._level, "%s", text)
        self._said = text
