"""How an answer's body ends, and what no answer may say of it. Pure; RFC 9112 §6.

llhttp refuses the rest by itself: a Content-Length that is repeated, no number, or beside a Transfer-Encoding.
"""

from typing import Final

from proxy.errors import UpstreamError
from proxy.forward.headers import Section

BODILESS: Final = frozenset({204, 304})
"""Answers that end with their head, whatever it says (RFC 9112 §6.3)."""

FINAL: Final = range(200, 600)
"""The classes of final answers (RFC 9110 §15)."""

SPOKEN: Final = frozenset({"1.0", "1.1"})


class Malformed(UpstreamError):
    """What came is not an HTTP/1.1 answer."""

    error = "http_protocol_error"

    def __init__(self, what: str) -> None:
        super().__init__(f"The upstream's answer is not valid HTTP: {what}. Check that upstream.url is PandaDoc's API.")


def ends_with_connection(status: int, version: str, section: Section, *, bodiless: bool) -> bool:
    """Tell whether only the connection's end ends the body. Raises Malformed.

    `bodiless` is for the answer to a HEAD.
    """
    if version not in SPOKEN:
        raise Malformed("it speaks another version")
    if status not in FINAL:
        raise Malformed("its status is none")
    names = section.names
    if b"transfer-encoding" in names:
        codings = [coding.lower() for coding in section.values(b"transfer-encoding")]
        if version == "1.0" or codings != [b"chunked"]:
            raise Malformed("its only transfer coding may be chunked, and none in HTTP/1.0")
        return False
    return not (b"content-length" in names or bodiless or status in BODILESS)
