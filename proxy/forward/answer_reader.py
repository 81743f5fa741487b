"""The answers on one upstream connection, read by llhttp: bytes go in; a head, a body and an end come out.

llhttp judges the syntax, strictly. What it leaves to us is here: the answer to a HEAD has no body, a head
has a size, interim answers are passed over, and nothing may come unasked. No I/O.
"""

import re
from typing import Final

import httptools

from proxy.errors import UpstreamError
from proxy.forward.framing import Malformed, ends_with_connection
from proxy.forward.headers import AnswerHead, closes, size_of

CONTINUE: Final = 100
LEAST_FINAL: Final = 200
"""Below it an answer is only a beginning (RFC 9110 §15.2)."""

KNOWN_BODILESS: Final = frozenset({100, 102, 103})
"""The interim answers that end with their head to llhttp, too (RFC 9112 §6.3: all do)."""

OTHERS: Final = (b"R", b"I")
"""How RTSP/1.0 and ICE/1.0 begin, which to llhttp are as good as HTTP."""

CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
"""What no reason phrase holds (RFC 9112 §4); llhttp sees to line ends alone."""

LARGEST_HEAD: Final = 64 * 1024
"""Bytes. Also of what else may come between two pieces of a body: trailers, chunk extensions, interim answers."""

UNCOUNTED: Final = 2 * 1024
"""Bytes of a head that are neither names nor values. One that would pass in one piece passes in many."""

MOST_FIELDS: Final = 256
"""PandaDoc's heads stay below a tenth of both."""


class HeadOversized(UpstreamError):
    """An answer's head has no end in sight (RFC 9209 §2.3.15)."""

    error = "http_response_header_section_size"

    def __init__(self) -> None:
        super().__init__(f"The upstream's answer has a head of more than {LARGEST_HEAD} bytes or {MOST_FIELDS} fields.")


class AnswerReader:
    """Reads one answer after another.

    What changes: all of it, by `expect` for the next answer and by `feed` and what llhttp calls meanwhile.
    """

    def __init__(self) -> None:
        self.head: AnswerHead | None = None
        self.chunks: list[bytes] = []  # pieces of the body that nobody has taken yet
        self.complete = True  # nothing is asked for yet
        self.began = False  # whether any byte of the answer has come
        self.continued = False  # whether a 100 has
        self.reusable = True  # whether the connection may carry another request after this answer
        self.until_close = False  # whether only the connection's end ends the body
        self._fields: list[tuple[bytes, bytes]] = []
        self._reason = b""
        self._size = 0  # bytes of what is no body, since the last piece of one
        self._bodiless = False
        self._parser: httptools.HttpResponseParser | None = self._new_parser()

    def __repr__(self) -> str:
        status = None if self.head is None else self.head.status
        return f"<AnswerReader status={status} complete={self.complete} reusable={self.reusable}>"

    def expect(self, *, bodiless: bool) -> None:
        """Get ready for the answer to a request; `bodiless` if that is a HEAD."""
        if self._bodiless:  # llhttp still waits for the body that it takes for promised
            self._parser = self._new_parser()
        self.head, self.complete, self.began, self.continued = None, False, False, False
        self._size, self._bodiless = 0, bodiless

    def feed(self, data: bytes) -> None:
        """Take what the upstream says. Raises Malformed or HeadOversized."""
        if self.complete:
            self.reusable = False  # nobody asked: whose answer would it be?
            return
        assert self._parser is not None  # noqa: S101 - `close` is the end
        if not self.began:
            self.began = True
            if data.startswith(OTHERS):
                raise Malformed("it is another protocol's")
        self._size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise Malformed("it switches protocols unasked") from None
        except httptools.HttpParserError as fault:
            self.reusable = False
            if not self.complete:  # else it is what comes behind the answer that is wrong
                raise _ours(fault) from fault
        if self._size > LARGEST_HEAD + UNCOUNTED and not self.complete:
            raise HeadOversized

    def end(self) -> bool:
        """Take note that nothing more will come; tell whether that is an answer's proper end."""
        if self.until_close and self.head is not None:
            self.complete = True
        self.reusable = False
        return self.complete

    def close(self) -> None:
        """Let go of the parser, which holds on to us."""
        self._parser = None

    def _new_parser(self) -> httptools.HttpResponseParser:
        """Make a parser that reads on behind `close`, which may stand in an interim answer: what comes then is ours."""
        parser = httptools.HttpResponseParser(self)
        parser.set_dangerous_leniencies(lenient_keep_alive=True)
        return parser

    # What llhttp calls.

    def on_message_begin(self) -> None:
        if self.complete:
            raise Malformed("it comes unasked")  # `feed` sees that the answer before it is whole

    def on_status(self, reason: bytes) -> None:
        if reason != b"OK" and CONTROL.search(reason) is not None:
            raise Malformed("its reason phrase has a control character")
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.head is None:  # trailers are dropped (RFC 9110 §6.5.1)
            self._fields.append((name, value.rstrip(b" \t")))  # llhttp has stripped the other end

    def on_headers_complete(self) -> None:
        parser = self._parser
        assert parser is not None  # noqa: S101 - it is who calls
        status, fields, reason = parser.get_status_code(), tuple(self._fields), self._reason
        self._fields, self._reason = [], b""
        if CONTINUE <= status < LEAST_FINAL:
            if status not in KNOWN_BODILESS and any(map(_promises_body, fields)):
                raise Malformed("an interim answer has a body")  # it would stand before the final answer's
            self.continued = self.continued or status == CONTINUE
            return
        head = AnswerHead(status, reason, fields)
        if len(fields) > MOST_FIELDS or (self._size > LARGEST_HEAD and size_of(fields) > LARGEST_HEAD):
            raise HeadOversized
        self._size = 0
        version = parser.get_http_version()
        self.until_close = ends_with_connection(status, version, head, bodiless=self._bodiless)
        self.head = head
        # To llhttp, in HTTP/1.0 keep-alive outweighs close, which RFC 9112 §9.3 has the other way round.
        self.reusable = parser.should_keep_alive() and not (version == "1.0" and closes(head))
        self.complete = self._bodiless

    def on_body(self, data: bytes) -> None:
        if self.complete:
            raise Malformed("the answer to a HEAD has a body")
        self._size = 0
        self.chunks.append(data)

    def on_message_complete(self) -> None:
        if self.head is not None:
            self.complete = True


def _promises_body(field: tuple[bytes, bytes]) -> bool:
    """Tell whether llhttp takes it for the promise of a body."""
    name, value = field
    return name.lower() == b"transfer-encoding" or (name.lower() == b"content-length" and bool(value.strip(b"0")))


def _ours(fault: httptools.HttpParserError) -> UpstreamError:
    """Return what we have raised ourselves, in a call that llhttp has made, or else say that llhttp objects."""
    return fault.__context__ if isinstance(fault.__context__, UpstreamError) else Malformed("llhttp can't parse it")
