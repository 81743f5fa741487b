"""What the simulator received.

An entry is a small mutable record: it is appended when a request's head arrives and filled in as the
request goes on, so that a test may hold it and watch. Only the exchange changes it. Its repr shows no
header value, no query and no body, for those carry credentials.
"""

import hashlib
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

TOKEN_PATH = "/oauth2/access_token"  # noqa: S105 - a path, not a password
AUTHORIZE_PATH = "/oauth2/authorize"
CONTROL_PATH = "/_simulator"
KEPT_BYTES = 64 * 1024


class Form(dict[str, str]):
    """A form's fields; the repr has their names only."""

    def __repr__(self) -> str:
        return f"Form({', '.join(self)})"


@dataclass(slots=True, eq=False, repr=False)
class Received:
    """One request, as it came."""

    method: str
    target: str  # path and query, byte for byte
    headers: tuple[tuple[bytes, bytes], ...]
    body_size: int = 0  # so far
    body_sha256: str = ""  # once the body has been read to its end
    body: bytes | None = None  # the same; kept up to 64 KiB
    form: Form = field(default_factory=Form)  # at the token endpoint and the consent page only
    status: int = 0  # 0 while unanswered, and for ever when the connection was cut instead

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def authorization(self) -> tuple[str, ...]:
        """Every Authorization value, in order."""
        return tuple(value.decode("latin-1") for name, value in self.headers if name.lower() == b"authorization")

    def header(self, name: bytes) -> bytes:
        """Return the first value of a field, or nothing."""
        return next((value for each, value in self.headers if each.lower() == name), b"")

    def parse_form(self) -> Form:
        """Take the kept body as a form; of a field that comes twice the last counts, as in Django."""
        pairs = parse_qsl((self.body or b"").decode("utf-8", "replace"), keep_blank_values=True)
        self.form = Form(pairs)
        return self.form

    def __repr__(self) -> str:
        return f"<Received {self.method} {self.path} {self.body_size} bytes, answered {self.status}>"


class BodyTally:
    """Counts, hashes and, up to 64 KiB, keeps a body that streams past.

    It changes, and the entry's size with it, at every chunk; the reader of the body feeds it.
    """

    def __init__(self, received: Received) -> None:
        self._received = received
        self._digest = hashlib.sha256()
        self._kept = bytearray()

    def feed(self, chunk: bytes) -> None:
        self._received.body_size += len(chunk)
        self._digest.update(chunk)
        if self._received.body_size <= KEPT_BYTES:
            self._kept += chunk
        else:
            self._kept.clear()

    def close(self) -> None:
        """Write down that the body has come to its end."""
        self._received.body_sha256 = self._digest.hexdigest()
        if self._received.body_size <= KEPT_BYTES:
            self._received.body = bytes(self._kept)

    def __repr__(self) -> str:
        return f"<BodyTally of {self._received!r}>"
