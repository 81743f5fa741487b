"""One case of the differential: a request, the origin's answer to it, and where their bytes are split. And any case."""

import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from hypothesis import strategies as st
from torture.spoken import Fields

AUTHORITY: Final = b"@ORIGIN@"
"""Stands for the origin's authority, wherever it listens."""

CREDENTIAL: Final = "the-key-that-is-lent-to-every-case"
CLOSED: Final = b"close"


@dataclass(frozen=True)
class Content:
    """A body and its framing; the bytes are random, and the same for the same size."""

    framing: str = "none"  # or "length", "chunked", "close"
    size: int = 0
    chunks: tuple[int, ...] = ()  # sizes of the first chunks; the rest is one
    extension: bytes = b""
    trailers: Fields = ()

    @property
    def body(self) -> bytes:
        return random.Random(self.size).randbytes(self.size)  # noqa: S311 - for variety, not for secrecy

    @property
    def fields(self) -> Fields:
        if self.framing == "length":
            return ((b"Content-Length", b"%d" % self.size),)
        return ((b"Transfer-Encoding", b"chunked"),) if self.framing == "chunked" else ()

    @property
    def raw(self) -> bytes:
        if self.framing != "chunked":
            return self.body
        rest, written = self.body, b""
        for size in (*self.chunks, len(rest)):
            chunk, rest = rest[:size], rest[size:]
            if chunk:
                written += b"%x%b\r\n%b\r\n" % (len(chunk), self.extension, chunk)
        return written + b"0%b\r\n" % self.extension + lines(self.trailers) + b"\r\n"


@dataclass(frozen=True)
class Request:
    """What the caller sends."""

    method: bytes = b"GET"
    target: bytes = b"/"
    version: bytes = b"1.1"
    fields: Fields = ()
    content: Content = Content()
    expects: str = ""  # "waits" for the 100 before the body, or "sends" all at once

    @property
    def head(self) -> bytes:
        expecting = ((b"Expect", b"100-continue"),) if self.expects else ()
        fields = ((b"Host", b"localhost"), *self.fields, *self.content.fields, *expecting)
        return b"%b %b HTTP/%b\r\n%b\r\n" % (self.method, self.target, self.version, lines(fields))


@dataclass(frozen=True)
class Answer:
    """What the origin says to it."""

    status: bytes = b"200 OK"
    version: bytes = b"1.1"
    fields: Fields = ()
    content: Content = Content("length")
    interims: tuple[tuple[bytes, Fields], ...] = ()
    cut: int = 0  # bytes that are missing at the end

    def raw(self, method: bytes) -> bytes:
        """Write it as the answer to a request of this method."""
        interims = b"".join(b"HTTP/1.1 %b\r\n%b\r\n" % (status, lines(fields)) for status, fields in self.interims)
        head = b"HTTP/%b %b\r\n%b\r\n" % (self.version, self.status, lines((*self.fields, *self.content.fields)))
        whole = interims + head + (b"" if method == b"HEAD" or self.is_empty else self.content.raw)
        return whole[: max(1, len(whole) - self.cut)]

    @property
    def is_empty(self) -> bool:
        return self.status[:3] in {b"204", b"304"}

    def closes(self, method: bytes) -> bool:
        """Whether the origin closes its connection behind it, which it has said unless the answer is cut."""
        options = list(nominations(self.fields))
        kept = CLOSED not in options and (self.version == b"1.1" or b"keep-alive" in options)
        return self.cut > 0 or (self.content.framing == "close" and method != b"HEAD") or not kept


@dataclass(frozen=True)
class Case:
    """One request and its answer; the splits are offsets at which a segment ends."""

    request: Request = Request()
    answer: Answer = Answer()
    request_splits: tuple[int, ...] = ()
    answer_splits: tuple[int, ...] = ()
    pipelined: bool = False  # whether another request comes right behind this one


def lines(fields: Fields) -> bytes:
    return b"".join(b"%b: %b\r\n" % field for field in fields)


def nominations(fields: Fields) -> Iterator[bytes]:
    """Yield what Connection nominates, in lower case."""
    for name, value in fields:
        if name.lower() == b"connection":
            yield from (option.strip().lower() for option in value.split(b","))


def split(raw: bytes, places: Iterable[int]) -> list[bytes]:
    """Cut bytes into segments."""
    edges = sorted({0, len(raw), *(place for place in places if place < len(raw))})
    return [raw[start:end] for start, end in pairwise(edges)]


# Any case.

METHODS: Final = (b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"HEAD", b"OPTIONS")
PIECES: Final = (
    b'public v1 documents abc / / // ? = & + : @ ;v=1 .. . %2F %2f %20 %C3%A9 %2e %25 %00 %zz % {id} | " < ~ ^'
).split()
RARE_PIECES: Final = [b"#", b"\\"]
TOKEN: Final = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
TEXT: Final = bytes([*range(0x20, 0x7F), *range(0x80, 0x100), 0x09])

ASKED: Final = (
    b"Accept accept-encoding User-Agent Content-Type Content-Encoding Cookie If-None-Match If-Modified-Since if-range "
    b"Range Cache-Control X-Request-Id Idempotency-Key X-One traceparent Referer Authorization authorization "
    b"Keep-Alive TE Trailer Upgrade Proxy-Connection Proxy-Authorization X-Forwarded-For X_Forwarded_Host Forwarded "
    b"X-Two X-Real-IP X-HTTP-Method-Override X-Original-URL X-Proxy-Key Proxy_Authorization Content_Length Via via "
    b"X-Accel-Buffering DNT Date Max-Forwards"
).split()
TOLD: Final = (
    b"Content-Type content-type Date Server Location location Last-Modified ETag Set-Cookie set-cookie Cache-Control "
    b"Expires Vary Retry-After WWW-Authenticate X-One Content-Encoding Content-Disposition Accept-Ranges Content-Range "
    b"Link Keep-Alive X-Two Upgrade Trailer Proxy-Authenticate Proxy-Connection Strict-Transport-Security Alt-Svc NEL "
    b"Report-To Access-Control-Allow-Origin Via Age Warning X_Under Refresh Status P3P TE"
).split()
LOCATIONS: Final = (
    *(b"http://@ORIGIN@/a?b", b"http://@ORIGIN@", b"http://@ORIGIN@.example/", b"//@ORIGIN@/a", b"/a", b"a"),
    *(b"https://@ORIGIN@/", b"http://other.example/@ORIGIN@", b"HTTP://@ORIGIN@/A", b"http://@ORIGIN@?x"),
)
OPTIONS: Final = (b"keep-alive", CLOSED, b"X-One", b"x-two", b"Content-Type", b"TE", b"upgrade", b"", b"Cookie", b"DNT")
STATUSES: Final = (
    *(b"200 OK", b"201 Created", b"202 Accepted", b"204 No Content", b"206 Partial Content", b"301 Moved Permanently"),
    *(b"302 Found", b"304 Not Modified", b"307 Temporary Redirect", b"400 Bad Request", b"401 Unauthorized", b"403 No"),
    *(b"404 Not Found", b"409 Conflict", b"412 Precondition Failed", b"416 Range Not Satisfiable", b"429 Slow down"),
    *(b"500 Oh", b"502 Bad Gateway", b"503 Later", b"504 Gateway Timeout", b"299 ", b"599 caf\xe9 (reason)"),
)
INTERIMS: Final = ((b"103 Early Hints", ((b"Link", b"</a>"),)), (b"100 Continue", ()))


def drawn(alphabet: bytes, least: int, most: int) -> st.SearchStrategy[bytes]:
    return st.lists(st.sampled_from(alphabet), min_size=least, max_size=most).map(bytes)


VALUES: Final = st.one_of(
    st.sampled_from((b"", b"a", b"a, b", b'W/"x"', b"text/html; charset=utf-8", b"caf\xc3\xa9", b"x" * 3000)),
    drawn(TEXT, 0, 20).map(lambda value: value.strip(b" \t")),
)
PADDING: Final = st.sampled_from((b"", b"", b"", b"", b" ", b"   ", b"\t"))


@st.composite
def fields(draw: st.DrawFn, known: list[bytes], *more: st.SearchStrategy[tuple[bytes, bytes]]) -> Fields:
    """Draw a message's fields, but for those that frame it."""
    name = st.one_of(st.sampled_from(known), st.sampled_from(known), drawn(TOKEN, 1, 12))
    value = st.tuples(PADDING, VALUES, PADDING).map(b"".join)
    options = st.lists(st.sampled_from(OPTIONS), min_size=1, max_size=3).map(b", ".join)
    connection = st.tuples(st.sampled_from((b"Connection", b"connection")), options)
    any_field = st.one_of(st.tuples(name, value), st.tuples(name, value), connection, *more)
    found: Fields = ()
    for pair in draw(st.lists(any_field, max_size=6)):
        if pair[0].lower() not in SINGLETONS or pair[0].lower() not in {other.lower() for other, _ in found}:
            found += (pair,)
    return found


SINGLETONS: Final = frozenset(
    {b"content-type", b"user-agent", b"range", b"if-range", b"if-none-match", b"if-modified-since", b"date", b"server"}
    | {b"location", b"last-modified", b"etag", b"age", b"expires", b"retry-after", b"max-forwards"}
)
"""Fields of one value (RFC 9110 §5.3): whoever sends them twice gets what each proxy makes of it."""

SIZES: Final = st.one_of(
    *(st.integers(0, 40), st.integers(0, 2000)),
    *(st.integers(0, 102_400), st.sampled_from((65_535, 65_536, 65_537, 102_400))),
)


@st.composite
def contents(draw: st.DrawFn, *framings: str) -> Content:
    framing = draw(st.sampled_from(framings))
    if framing == "none":
        return Content()
    size = draw(SIZES)
    if framing != "chunked":
        return Content(framing, size)
    chunks = draw(st.lists(st.integers(1, 300), max_size=5))
    extension = draw(st.sampled_from((b"", b"", b";a", b";a=b", b';a="b c";d')))
    trailers = draw(st.sampled_from(((), (), ((b"X-Sum", b"1"),), ((b"X-Sum", b"1"), (b"Authorization", b"x")))))
    return Content(framing, size, tuple(chunks), extension, trailers)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    pieces = st.sampled_from(PIECES * 10 + RARE_PIECES)
    version = draw(st.sampled_from((b"1.1", b"1.1", b"1.1", b"1.1", b"1.0")))
    content = draw(contents("none", "length", *(("chunked",) if version == b"1.1" else ())))
    expects = draw(st.sampled_from(("", "", "", "waits", "sends"))) if content.size and version == b"1.1" else ""
    return Request(
        draw(st.sampled_from(METHODS)),
        b"/" + draw(st.lists(pieces, max_size=8).map(b"".join)),
        version,
        draw(fields(ASKED)),
        content,
        expects,
    )


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    status, version = draw(st.sampled_from(STATUSES)), draw(st.sampled_from((b"1.1", b"1.1", b"1.1", b"1.1", b"1.0")))
    location = st.tuples(st.sampled_from((b"Location", b"location")), st.sampled_from(LOCATIONS))
    echo = st.just((b"X-Echo", b"API-Key " + CREDENTIAL.encode()))
    if status.startswith(b"204"):
        content = Content()
    elif status.startswith(b"304"):
        content = draw(contents("none", "length"))
    else:
        content = draw(contents("length", "close", *(("chunked",) if version == b"1.1" else ())))
    interims = draw(st.lists(st.sampled_from(INTERIMS), max_size=2))
    cut = draw(st.sampled_from((0, 0, 0, 0, 0, 1, 5, 40))) if content.framing != "close" else 0
    return Answer(status, version, draw(fields(TOLD, location, echo)), content, tuple(interims), cut)


SPLITS: Final = st.lists(st.one_of(st.integers(1, 300), st.integers(1, 110_000)), max_size=4).map(tuple)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    request = draw(requests())
    pipelined = draw(st.sampled_from((False, False, True))) and not _is_last(request) and request.expects != "waits"
    return Case(request, draw(answers()), draw(SPLITS), draw(SPLITS), pipelined)


def _is_last(request: Request) -> bool:
    """Tell whether a connection may end with it: it says so, offers to upgrade, or may be refused."""
    upgrades = any(name.lower() == b"upgrade" for name, _ in request.fields)
    refused = re.search(rb"[#\\%]", request.target) is not None
    return request.version == b"1.0" or CLOSED in nominations(request.fields) or upgrades or refused
