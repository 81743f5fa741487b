"""How the proxy's log lines look: text for people, JSON lines for machines, a secret for nobody.

No code logs a secret; the redacting formatter is the net below the rope.
"""

import logging
import re
import sys
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, TextIO

import msgspec

from proxy.config import Log
from proxy.log_lines import Lines
from proxy.utf8 import encodable

_SCHEME: Final = "(bearer|api-key|basic)"
_REST: Final = r"[^\s\"',]+"
ANYWHERE: Final = re.compile(rf"\b{_SCHEME}[\s:\"',]+{_REST}", re.IGNORECASE)
CREDENTIALS: Final = re.compile(rf"(?<![\w/.-]){_SCHEME}(?:\s+[\"',]*|:){_REST}", re.IGNORECASE)
"""But not where a file's path ends: many keep their key at .../api-key, and what is wrong with it is to be read. Nor
behind `credential api-key: `, for a credential may have such a name."""

FORM_SECRETS: Final = re.compile(r"(?i)(access_token|refresh_token|client_secret)(=|:|[\"']\s*:\s*[\"'])[^\s\"'&,}]+")

LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def suspicious(text: str) -> bool:
    """Tell whether there may be something to blot out; at a tenth of what looking properly costs."""
    folded = text.lower()
    return (
        "bearer" in folded
        or "api-key" in folded
        or "basic" in folded
        or "_token" in folded
        or "client_secret" in folded
    )


def redact(text: str, credentials: re.Pattern[str] = CREDENTIALS) -> str:
    """Blot out whatever looks like a credential."""
    if not suspicious(text):
        return text
    return FORM_SECRETS.sub(r"\1\2***", credentials.sub(r"\1 ***", text))


class Record(logging.LogRecord):
    """A record with fields, for what is logged with each request. It costs a quarter of logging's own.

    It has what formatters ask for; what nobody can know without looking for it is blank.
    """

    def __init__(self, name: str, level: int, message: str, fields: dict[str, Any]) -> None:
        self.name, self.msg, self.args = name, message, ()
        self.levelno, self.levelname = level, logging.getLevelName(level)
        self.created = time.time()
        self.msecs = self.created % 1 * 1000
        self.pathname = self.filename = self.module = self.funcName = ""
        self.lineno, self.relativeCreated = 0, 0.0
        self.exc_info = self.exc_text = self.stack_info = None
        self.thread = self.threadName = self.process = self.processName = None
        self.fields = fields


class TextFormatter(logging.Formatter):
    """One line for people: time, level, message, then the fields as key=value."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        line = f"{moment} {record.levelname.lower():<8} {_message(self, record)}"
        fields = " ".join(f"{key}={value}" for key, value in _fields(record).items() if key not in IN_THE_MESSAGE)
        return redact(f"{line}  {fields}" if fields else line)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (RFC 3339), level, logger, message, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        document = {
            "time": f"{_second(int(record.created))}.{int(record.msecs):03d}+00:00",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(self, record),
            **_fields(record),
        }
        try:
            line = msgspec.json.encode(document).decode()
        except UnicodeEncodeError:
            document = {key: encodable(value) if isinstance(value, str) else value for key, value in document.items()}
            line = msgspec.json.encode(document).decode()
        if suspicious(line):
            line = msgspec.json.encode({key: _redacted(value) for key, value in document.items()}).decode()
        return line


@lru_cache(2)
def _second(since_1970: int) -> str:
    return datetime.fromtimestamp(since_1970, UTC).strftime("%Y-%m-%dT%H:%M:%S")


IN_THE_MESSAGE: Final = frozenset({"method", "path", "status"})
"""Fields of an access line that its message says already."""


def set_up(settings: Log, stream: TextIO | None = None) -> Lines:
    """Send every log line of the process to `stream` (standard error if None) in the configured form.

    Lines that go there already go on: to let those that wait leave would wait for whoever reads them.
    """
    stream = sys.stderr if stream is None else stream
    text = settings.format == "text" or (settings.format == "auto" and stream.isatty())
    root = logging.getLogger()
    earlier = [each for each in root.handlers if isinstance(each, Lines)]
    handler = next((each for each in earlier if each.stream is stream), None) or Lines(stream)
    handler.setFormatter(TextFormatter() if text else JsonFormatter())
    # What no line shows is not looked up for each (see "Optimization" in the logging HOWTO).
    logging._srcfile = None  # noqa: SLF001 - documented there
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    for each in earlier:
        if each is not handler:
            each.close()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)  # libraries: their warnings only, for they log what they hold
    level = LEVELS[settings.level]
    logging.getLogger("proxy").setLevel(level)
    logging.getLogger("proxy.access").setLevel(level if settings.access else max(level, logging.WARNING))
    return handler


def dropped() -> int:
    """Return how many lines have found no room on their way out."""
    return sum(handler.dropped for handler in logging.getLogger().handlers if isinstance(handler, Lines))


def _redacted(value: object) -> object:
    return redact(value) if isinstance(value, str) else value


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return getattr(record, "fields", {})


def _message(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    message = record.getMessage()
    if record.exc_info:
        message = f"{message}\n{formatter.formatException(record.exc_info)}"
    return message
