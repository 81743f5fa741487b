"""One request for the access log and the metrics: one line, no query, no secret; of the fields X-Request-Id alone."""

import logging
import re
from collections.abc import Callable
from random import getrandbits
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_plus

from msgspec import Struct

from proxy.credential.credential import Credential
from proxy.forward.headers import Head
from proxy.logs import ANYWHERE, Record, redact

if TYPE_CHECKING:
    from proxy.forward.metered import Turn

log = logging.getLogger("proxy.access")

REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
PLAIN_PATH: Final = re.compile(r"/[A-Za-z0-9._~/-]*")
"""A path that is shown as it is, without a second look."""

USERINFO: Final = re.compile(r"(?:\A|(?<=//))[^/]*@|(?<=/)[^/:]*:[^/]*@")
"""What stands before a host: a password (RFC 9110 §4.2.4). Also in a path that holds a URL, or lacks its scheme."""

LEAST_SERIOUS: Final = 500
"""An answer of our own from here on is a warning, as one that broke off is: somebody besides the caller should know."""

PATH_SHOWN: Final = 512
"""Characters of a path that are logged."""

PATH_JUDGED: Final = 4 * PATH_SHOWN
"""Characters of one that is not plain that are looked at: a password's end may stand behind what is shown."""


def told(target: str) -> str:
    """Return a target's path as it may be shown: in ASCII, without a password or what looks like a credential.

    What is percent-encoded is judged as it reads once decoded, and shown so where something is blotted out.
    """
    path = target.partition("?")[0]
    if PLAIN_PATH.fullmatch(path) is None:
        path = redact(USERINFO.sub("", path[:PATH_JUDGED]))
        decoded = unquote_plus(path)
        blotted = redact(USERINFO.sub("", decoded), ANYWHERE)
        path = ascii(path if blotted == decoded else blotted)[1:-1]
    return path[:PATH_SHOWN]


class Exchange(Struct, eq=False):
    """One request and its answer; the handler fills it in as it goes, `tell` reads it once at the end."""

    head: Head
    now: Callable[[], float]
    listener: str
    method: str = ""
    started: float = 0.0  # by `now`
    status: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    upstream_seconds: float = 0.0
    credential: str = ""
    generation: int = 0
    replayed: bool = False
    client: str = ""
    would_refuse: str = ""  # what a policy that only warns says
    fault: str = ""
    error: str = ""  # of an answer of our own: its word in Proxy-Status
    unfinished: bool = False  # it broke off after its head
    delivered: bool = False  # its answer, which came whole, is with the kernel: who leaves then has not hung up
    turn: "Turn | None" = None  # its way through a rate budget, where there is one
    _asked: float = 0.0
    _path: str = ""
    _request_id: str = ""

    def __post_init__(self) -> None:
        """Start the clock."""
        self.method, self.started = self.head.method, self.now()

    @property
    def path(self) -> str:
        """Its path as it may be shown."""
        self._path = self._path or told(self.head.target)
        return self._path

    @property
    def request_id(self) -> str:
        """The caller's X-Request-Id where it is plain, else one that is made."""
        self._request_id = self._request_id or self._said_id() or f"{getrandbits(64):016x}"
        return self._request_id

    def _said_id(self) -> str:
        said = self.head.values(b"x-request-id")
        return said[0].decode() if said and REQUEST_ID.fullmatch(said[0]) is not None else ""

    def __repr__(self) -> str:
        return f"<Exchange {self.request_id} {self.method} {self.path} {self.status}>"

    def asked(self) -> None:
        """Note that an attempt goes out."""
        self._asked = self.now()

    def answered(self) -> None:
        """Note that its head has come back, or that it has failed."""
        self.upstream_seconds += self.now() - self._asked

    def lent(self, name: str, credential: Credential, *, replayed: bool) -> None:
        """Note what was lent for an attempt; `replayed`: on account of a 401."""
        self.credential, self.generation = name, credential.generation
        self.replayed = self.replayed or replayed

    def tell(self) -> None:
        """Write the access line."""
        serious = self.unfinished or (self.fault and self.status >= LEAST_SERIOUS)
        level = logging.WARNING if serious else logging.INFO
        if not log.isEnabledFor(level):
            return
        fields = {
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "ms": _tenths(self.now() - self.started),
            "upstream_ms": _tenths(self.upstream_seconds),
            "credential": self.credential,
            "generation": self.generation,
            "replayed": self.replayed,
            "request_id": self.request_id,
        }
        if self.client:
            fields["client"] = self.client
        if self.would_refuse:
            fields["would_refuse"] = self.would_refuse
        if self.fault:
            fields["fault"] = self.fault
        if self.turn is not None:
            fields["rate"] = self.turn.rate
            fields["waited_ms"] = _tenths(self.turn.waited)
            fields["throttled"] = self.turn.resends
        log.handle(Record(log.name, level, f"{self.method} {self.path} {self.status}", fields))


def _tenths(seconds: float) -> float:
    """Tell milliseconds to a tenth."""
    return int(seconds * 10_000 + 0.5) / 10
