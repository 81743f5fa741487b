"""What of a head crosses the proxy, and how it is changed. Pure; names and values are raw bytes.

Sources: RFC 9110 §7.6.1 (Connection and the hop-by-hop fields), §10.2.2 (Location);
RFC 9112 §6 (framing, which each side decides for itself).
"""

import re
from collections.abc import Hashable, Iterable
from functools import lru_cache
from typing import Any, Final

Fields = tuple[tuple[bytes, bytes], ...]

HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)

PROXY_KEY: Final = b"x-proxy-key"
"""Where a client may present its key to us, besides Authorization."""

NOT_FROM_CALLER: Final = HOP_BY_HOP | {
    PROXY_KEY,
    b"authorization",  # law 9: ours alone goes up
    b"content-length",  # set anew with the body
    b"expect",  # answered here (RFC 9110 §10.1.1)
    b"host",  # the upstream's own
    b"forwarded",  # what stands between the app and the proxy is nobody's business
    b"x-forwarded",
    b"x-http-method",  # some servers take the method from here, behind the policy's back
    b"x-http-method-override",
    b"x-method-override",
    b"x-original-url",  # and some edges the path
    b"x-real-ip",
    b"x-rewrite-url",
}

FORWARDED: Final = b"x-forwarded-"
"""How the other fields begin that `Forwarded` was made from (RFC 7239 §1). Some name a host, a path or a method."""

NOT_TO_CALLER: Final = HOP_BY_HOP | {
    b"alt-svc",  # would lead the caller past the proxy (RFC 7838)
    b"nel",  # the reports would be about localhost
    b"report-to",
    b"strict-transport-security",  # would make the caller refuse http://localhost (RFC 6797)
}
"""What an upstream says to whoever reached it at its own name; the caller has reached us."""

PERMISSION: Final = b"access-control-"
"""How the fields begin by which a page is let in (Fetch §3.2, Private Network Access): none is, whoever says so."""

COOKIES: Final = frozenset({b"cookie", b"cookie2", b"set-cookie", b"set-cookie2"})
"""RFC 6265, and its predecessor's. They pass unless a listener is told to drop them."""

NOT_FROM_CALLER_NOR_COOKIES: Final = NOT_FROM_CALLER | COOKIES
NOT_TO_CALLER_NOR_COOKIES: Final = NOT_TO_CALLER | COOKIES

KEEP_ALIVE: Final = b"keep-alive"
TIMEOUT: Final = re.compile(rb"timeout=([0-9]{1,6})", re.IGNORECASE)
"""RFC 2068 §19.7.1.1, as servers write it today: `timeout=5, max=100`."""

MAX_FORWARDS: Final = b"max-forwards"
COUNT: Final = re.compile(rb"[0-9]{1,9}")
"""What is longer is as good as no limit."""

REMEMBERED: Final = 64
"""Names of fields, and what Connection says; nearly all messages have the same ones."""

LONGEST_REMEMBERED: Final = 64
"""Bytes. What is longer is judged anew each time, so that nobody fills the memory with it."""

SHORT: Final = 4096
"""Bytes of a head that each of a listener's connections may keep."""

A_FIELD: Final = 128
"""Bytes that a field costs besides its own, or more."""

SHORTEST_SECRET: Final = 16
"""Bytes. A shorter credential may stand in a field by chance; PandaDoc's have forty."""

END_TO_END: Final = frozenset(
    {
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"cookie",
        b"date",
        b"host",
    }
)
"""Fields that no Connection header can nominate away: dropping one would change the message.

Date we would have to add again (RFC 9110 §6.6.1).
"""


class Section:
    """A head's fields as they came; never changed."""

    __slots__ = ("fields", "names")

    def __init__(self, fields: Fields) -> None:
        names = {}
        for name, value in fields:
            names[name.lower()] = value
        self.fields = fields
        self.names = names  # in lower case, each with its last value

    def values(self, name: bytes) -> list[bytes]:
        """Return every value of the field `name` (lower case), in order."""
        if name not in self.names:
            return []
        return values(self.fields, name) if len(self.names) < len(self.fields) else [self.names[name]]

    def connection(self) -> bytes:
        """Return what all Connection fields say, as one list (RFC 9110 §7.6.1)."""
        return b",".join(self.values(b"connection"))


class Head(Section):
    """A request's head as it came; never changed.

    `found` is what others have found of its fields and version alone, by what they judged them by: an app says the same
    of itself with each request, and is not judged anew for it.
    """

    __slots__ = ("found", "method", "size", "target", "version")

    size: int
    found: dict[Hashable, Any]

    def __init__(
        self, method: str, target: str, version: tuple[int, int], fields: Fields, before: "Head | None" = None
    ) -> None:
        """`before`: a head of the same caller, which may have said the same."""
        self.method = method
        self.target = target
        self.version = version
        if before is not None and before.fields == fields and before.version == version:
            self.fields, self.names, self.size, self.found = before.fields, before.names, before.size, before.found
        else:
            super().__init__(fields)
            self.size, self.found = size_of(fields), {}

    def is_short(self) -> bool:
        """Tell whether it may be kept for the next one on its connection, which may be idle for long."""
        return len(self.target) + self.size + A_FIELD * len(self.fields) <= SHORT

    def __repr__(self) -> str:
        return f"<Head {self.method} {len(self.fields)} fields>"


class AnswerHead(Section):
    """What an answer says before its body; never changed."""

    __slots__ = ("reason", "status")

    def __init__(self, status: int, reason: bytes, fields: Fields) -> None:
        super().__init__(fields)
        self.status = status
        self.reason = reason

    def __repr__(self) -> str:
        return f"<AnswerHead {self.status} {len(self.fields)} fields>"


def size_of(fields: Fields) -> int:
    """Count the bytes of names and values."""
    size = 0
    for name, value in fields:
        size += len(name) + len(value)
    return size


def canonical(name: bytes) -> bytes:
    """Fold a field name as the laxest reader might: case and underscores say nothing (CGI reads `_` as `-`)."""
    return name.lower().replace(b"_", b"-")


class _Crossing(dict[bytes, bool]):
    """Whether a field crosses, by its name as it came: judged once, then remembered."""

    def __init__(self, dropped: frozenset[bytes], beginning: bytes, connection: bytes) -> None:
        """Drop what is called so and what begins so, in canonical names.

        So is what Connection declares hop-by-hop (RFC 9110 §7.6.1), but for what never is.
        """
        super().__init__()
        self._dropped = dropped | (frozenset(canonical(name.strip()) for name in connection.split(b",")) - END_TO_END)
        self._beginning = beginning

    def __missing__(self, name: bytes) -> bool:
        folded = canonical(name)
        crosses = folded not in self._dropped and not folded.startswith(self._beginning)
        if len(name) <= LONGEST_REMEMBERED:
            if len(self) >= REMEMBERED:
                self.clear()
            self[name] = crosses
        return crosses


_remembered = lru_cache(REMEMBERED)(_Crossing)


def _crossing(dropped: frozenset[bytes], beginning: bytes, section: Section) -> _Crossing:
    connection = section.connection()
    found = _remembered if len(connection) <= LONGEST_REMEMBERED else _Crossing
    return found(dropped, beginning, connection)


def forwards_left(head: Head) -> int | None:
    """Return how often an OPTIONS may yet be forwarded, None where it does not say (RFC 9110 §7.6.2)."""
    if head.method != "OPTIONS":
        return None
    said = head.values(MAX_FORWARDS)
    return int(said[0]) if len(said) == 1 and COUNT.fullmatch(said[0]) else None


def closes(section: Section) -> bool:
    """Tell whether Connection says that this message is the last one (RFC 9112 §9.6)."""
    return b"close" in [option.strip() for option in section.connection().lower().split(b",")]


def kept_for(section: Section) -> int | None:
    """Return for how many seconds the sender keeps its connection, None where it does not say, or not clearly."""
    if KEEP_ALIVE not in section.names:
        return None
    options = b",".join(section.values(KEEP_ALIVE)).split(b",")
    said = [match for option in options if (match := TIMEOUT.fullmatch(option.strip()))]
    return int(said[0][1]) if len(said) == 1 else None


def to_upstream(head: Head, authorization: str, via: bytes, *, cookies: bool = True) -> bytes:
    """Write the caller's fields that cross, in order, then our Via and the one Authorization: ours (law 9)."""
    left = forwards_left(head)
    key = (via, cookies, left)
    lines = head.found.get(key)
    if lines is None:
        crosses = _crossing(NOT_FROM_CALLER if cookies else NOT_FROM_CALLER_NOR_COOKIES, FORWARDED, head)
        fields = [field for field in head.fields if crosses[field[0]]]
        if left is not None:
            fields = [(name, b"%d" % (left - 1) if name.lower() == MAX_FORWARDS else value) for name, value in fields]
        lines = head.found[key] = written([*fields, (b"Via", via)])
    return b"%bAuthorization: %b\r\n" % (lines, authorization.encode("ascii"))


def to_caller(section: Section, origin: "Origin", here: bytes, *, cookies: bool = True) -> Fields:
    """Return the upstream's fields that cross, with a Location on its own origin turned to ours (law 15)."""
    crosses = _crossing(NOT_TO_CALLER if cookies else NOT_TO_CALLER_NOR_COOKIES, PERMISSION, section)
    fields = tuple([field for field in section.fields if crosses[field[0]]])
    return _located_here(fields, origin, here) if b"location" in section.names else fields


def _located_here(fields: Fields, origin: "Origin", here: bytes) -> Fields:
    return tuple(
        (name, origin.as_seen_here(value, here) if name.lower() == b"location" else value) for name, value in fields
    )


def written(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Write fields as they stand in a head (RFC 9112 §5)."""
    return b"\r\n".join([*map(b": ".join, fields), b""])


def tells(text: bytes, authorization: str) -> bool:
    """Tell whether the credential stands in a text."""
    secret = authorization.rpartition(" ")[2].encode("ascii")
    return len(secret) >= SHORTEST_SECRET and text.find(secret) >= 0  # `in` tries it as a number first


def without_credential(head: AnswerHead, fields: Fields, authorization: str) -> tuple[AnswerHead, int]:
    """Return a head of what does not hold the credential that was lent, and how many fields and reason phrases did.

    An upstream, or a debugging proxy on the way, may echo what it was sent; the caller must not learn it.
    """
    secret = authorization.rpartition(" ")[2].encode("ascii")
    kept = tuple(field for field in fields if secret not in field[0] and secret not in field[1])
    told = secret in head.reason
    return AnswerHead(head.status, b"" if told else head.reason, kept), len(fields) - len(kept) + told


PORTS: Final = {b"http": b":80", b"https": b":443"}
"""The ports that a URL need not name (RFC 9110 §4.2.1, §4.2.2)."""

ELSEWHERE: Final = re.compile(rb"/\t*[/\\]")
"""How a reference to another host begins (RFC 3986 §4.2), also for those who read as the URL standard does."""


class Origin:
    """The upstream's origin and path prefix, as bytes that stand at a Location's beginning."""

    def __init__(self, origin: str, prefix: str) -> None:
        self.prefix = prefix
        self._origin = origin.encode("ascii")
        self._prefix = prefix.encode("ascii")
        scheme, _, authority = self._origin.partition(b"://")
        port = b"" if re.search(rb":\d+\Z", authority) else PORTS[scheme]
        bare = (self._origin, b"//" + authority)
        self._stems = (*bare, *(stem + port for stem in bare)) if port else bare

    def __repr__(self) -> str:
        return f"<Origin {self._origin.decode()}{self.prefix}>"

    def as_seen_here(self, location: bytes, here: bytes) -> bytes:
        """Rewrite a Location on this origin to `here` (`http://` and the caller's Host); leave others alone."""
        for stem in self._stems:
            if _begins(location, stem):
                return here + self._without_prefix(location[len(stem) :])
        if self._prefix and location.startswith(b"/") and not location.startswith(b"//"):
            left = self._without_prefix(location)
            return here + left if left != location and ELSEWHERE.match(left) else left
        return location

    def _without_prefix(self, target: bytes) -> bytes:
        if self._prefix and _begins(target, self._prefix):
            left = target[len(self._prefix) :]
            return left if left.startswith(b"/") else b"/" + left
        return target


def _begins(text: bytes, stem: bytes) -> bool:
    """Tell whether `text` is `stem`, or `stem` with a path, query or fragment behind it."""
    return text[: len(stem)].lower() == stem.lower() and text[len(stem) : len(stem) + 1] in (
        b"",
        b"/",
        b"?",
        b"#",
    )


def values(fields: Fields, name: bytes) -> list[bytes]:
    """Return every value of the field `name` (lower case), in order."""
    return [value for field, value in fields if field.lower() == name]
