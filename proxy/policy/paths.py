"""How a path may be read: by PandaDoc's code, and by every server on the way to it. Pure.

Servers disagree on percent-encoded slashes, doubled slashes, dot segments, path parameters and more
(RFC 3986 §6.2 allows most of it). A rule that looked at one reading could be walked around in another, so
a path is all of its readings.
"""

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote

from proxy.errors import CallerError

PLAIN: Final = re.compile(r"(?:/+[A-Za-z0-9_~-][A-Za-z0-9_~.!$&'()*+,=:@-]*)+/*")
"""A path that everybody reads alike, but for doubled slashes: no code, no dot segment, no parameter."""

DECODINGS: Final = 4
"""How often a path is decoded in search of a stable form; honest ones are stable after one."""

OVERLONG: Final = re.compile("(?:[\xc0\xc1]|\xe0[\x80\x81]|\xf0\x80[\x80\x81])[\x80-\xbf]")
"""ASCII in UTF-8 that is longer than need be: forbidden (RFC 3629 §3), and decoded by some all the same."""


def readings(path: str) -> frozenset[str]:
    """Return every reading of a raw path (without its query), each as `/a/b`; the root is "".

    Raises CallerError where decoding finds no end.
    """
    if PLAIN.fullmatch(path) is not None:
        return frozenset({_joined(path.split("/")) if "//" in path or path[-1] == "/" else path})
    found: set[str] = set()
    for _ in range(DECODINGS):
        found.update(_read(path))
        decoded = unquote(path, encoding="latin-1")
        if decoded == path:
            return frozenset(found)
        path = decoded
    raise CallerError("The request's path is percent-encoded more often than any honest one.")


def seen(prefix: str) -> str:
    """Tell what PandaDoc sees of the upstream's path prefix: its paths begin with /public; before it stands a gateway.

    Of `/public/v1` that is all, of `/gateway/pandadoc` nothing.
    """
    _, public, rest = prefix.partition("/public")
    return public + rest if rest[:1] in {"", "/"} else ""


def _read(path: str) -> Iterator[str]:
    """Read one level of decoding: to the letter, and as laxly as is known of any server."""
    for text in {path, _lax(path), _lax(path.replace("\\", "/"))}:
        segments = text.split("/")
        yield _joined(segments)
        yield _joined(_resolved(segments))
        yield _joined(_resolved(filter(None, segments)))  # `//` was one slash before `..` was looked at


def _lax(path: str) -> str:
    """End a path where a second parser would see a query, a fragment or a C string's end; drop what it would drop."""
    path = OVERLONG.sub(lambda match: chr((ord(match[0][-2]) & 1) << 6 | ord(match[0][-1]) & 0x3F), path)
    path = re.split(r"[?#\0]", path, maxsplit=1)[0]
    path = re.sub(r"[\t\r\n]", "", path)
    return "/".join(segment.partition(";")[0].strip() for segment in path.split("/"))


def _resolved(segments: "list[str] | Iterator[str]") -> list[str]:
    """Resolve dot segments (RFC 3986 §5.2.4)."""
    resolved: list[str] = []
    for segment in segments:
        if segment == "..":
            del resolved[-1:]
        elif segment != ".":
            resolved.append(segment)
    return resolved


def _joined(segments: list[str]) -> str:
    return "".join(f"/{segment}" for segment in segments if segment)
