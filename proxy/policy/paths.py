"""How a path may be read: by PandaDoc's code, and by every server on the way to it. Pure.

Servers disagree on percent-encoded slashes, doubled slashes, dot segments, path parameters and more
(RFC 3986 §6.2 allows most of it), and on the order in which they look at them. A rule that looked at one reading
could be walked around in another, so a path is all of its readings: whatever comes of taking the steps that
servers are known to take, any of them, in any order.
"""

import re
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Final
from urllib.parse import unquote

from proxy.errors import CallerError

PLAIN: Final = re.compile(r"(?:/+[A-Za-z0-9_~-][A-Za-z0-9_~!$&'()*+,=:@-]*)+/*")
"""A path that everybody reads alike, but for doubled slashes: no code, no dot, no parameter."""

AUTHORITY: Final = r"//+[^/]+"
"""What a parser of URL references takes for the authority of `//host/path` (RFC 3986 §4.2), and drops."""

LEFT: Final = r"/(?:v[0-9]+|beta)(?:/|\Z)"
"""What it leaves of `//public/v1/…`, which an honest base URL makes that ends in a slash: nobody's."""

WORK: Final = 24 * 1024
"""Characters that all forms of one path may have together: some milliseconds' work. Honest ones have a thousand."""

FORM: Final = 256
"""Characters that a form counts for besides its own: so many are looked through in the time that all steps take for a
short one. Honest paths have thirty forms at most."""

DECODINGS: Final = 4
"""How often a path may be decoded until it is stable; honest ones are after one."""

REMEMBERED: Final = 4
"""Prefixes; a configuration has one, and a reload may bring another."""

OVERLONG: Final = re.compile("(?:[\xc0\xc1]|(?:\xe0|\xf0\x80|\xf8\x80\x80|\xfc\x80\x80\x80)[\x80\x81])[\x80-\xbf]")
"""ASCII in UTF-8 that is longer than need be: forbidden (RFC 3629 §3), and decoded by some all the same."""

BLANKS: Final = (
    r"(?:[\0-\x20\x7f\s\ufeff]|\xc2[\x80-\xa0]|\xe1\x9a\x80"
    r"|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80|\xef\xbb\xbf)++"
)
"""Control characters and what is white space to Unicode or JavaScript (ECMA-262 §12.2), in UTF-8 too: one run whole."""

BLANK_TO_URLS: Final = "".join(map(chr, range(0x21)))
"""What the URL standard takes from an address' end, and Java's `trim`."""

CODE: Final = re.compile(r"%([0-9A-Fa-f]{2})")

CODE_OF_FOUR: Final = re.compile(r"%[uU]([0-9A-Fa-f]{4})")
"""What `escape` of JavaScript writes (ECMA-262 §B.2.1.1); Windows' HTTP server reads it, and what is built on it."""


def readings(path: str, prefix: str = "") -> frozenset[str]:
    """Return every reading of a raw path (without its query), each as `/a/b`; the root is "".

    `prefix` is the upstream's path prefix, with which the path begins. Raises CallerError where there are too many
    readings, or decoding finds no end.
    """
    plain, doubled = PLAIN.fullmatch(path) is not None, "//" in path
    if plain and not doubled:
        return frozenset({path.removesuffix("/")})
    authority = _authority(prefix)
    if plain and authority.match(path) is None:
        return frozenset({_joined(path)})
    if _decoded(DECODINGS, path) != _decoded(DECODINGS - 1, path):
        raise CallerError("The request's path is percent-encoded more often than any honest one.")
    steps: tuple[Callable[[str], str], ...] = (*STEPS, partial(authority.sub, r"\1"))
    found, unread, work = {path}, [path], 0
    while unread:
        one = unread.pop()
        work += FORM + len(one)
        if work > WORK:
            raise CallerError("The request's path can be read in more ways than any honest one.")
        new = {step(one) for step in steps} - found
        found |= new
        unread += new
    joined = frozenset(map(_joined, found))
    if re.match(f"{_gateway(prefix)}//+public{LEFT}", path) is None:
        return joined
    return frozenset(one for one in joined if re.match(_gateway(prefix) + LEFT, one) is None)


def behind(prefix: str, found: frozenset[str]) -> frozenset[str]:
    """Return what PandaDoc sees of readings that begin with the upstream's path prefix.

    Its paths begin with /public; what stands before that is a gateway's. Of `/gateway/public/v1` it sees
    `/public/v1`, of `/gateway/pandadoc` nothing. Raises CallerError where a path leads out of the prefix.
    """
    if not prefix:
        return found
    if not all(reading == prefix or reading.startswith(f"{prefix}/") for reading in found):
        raise CallerError("The request's path leads out of the path prefix of upstream.url.")
    return frozenset(reading[len(_hidden(prefix)) :] for reading in found)


def _hidden(prefix: str) -> str:
    segments = prefix.split("/")
    return "/".join(segments[: segments.index("public")]) if "public" in segments else prefix


def _gateway(prefix: str) -> str:
    """Match what a gateway takes away, as it may be written."""
    return "".join(f"/+{re.escape(segment)}" for segment in _hidden(prefix).split("/")[1:])


@lru_cache(REMEMBERED)
def _authority(prefix: str) -> re.Pattern[str]:
    """Match an authority in the beginning of a path, or of what a gateway passes on: what stands behind its part."""
    return re.compile(rf"\A({_gateway(prefix)}){AUTHORITY}")


def _decoded(times: int, path: str) -> str:
    for _ in range(times):
        path = unquote(path, encoding="latin-1")
    return path


def _decoded_unreserved(path: str) -> str:
    """Decode what needs no code (RFC 3986 §6.2.2.2)."""

    def decoded(code: re.Match[str]) -> str:
        character = chr(int(code[1], 16))
        return character if character.isascii() and (character.isalnum() or character in "-._~") else code[0]

    return CODE.sub(decoded, path)


def _decoded_but_slashes(path: str) -> str:
    parts = re.split("(%2[fF])", path)
    return "".join(part if part.lower() == "%2f" else unquote(part, encoding="latin-1") for part in parts)


def _shortened(path: str) -> str:
    """Decode overlong UTF-8."""
    return OVERLONG.sub(lambda match: chr((ord(match[0][-2]) & 1) << 6 | ord(match[0][-1]) & 0x3F), path)


def _until(mark: str) -> Callable[[str], str]:
    return lambda path: path.partition(mark)[0]


def _resolved(path: str) -> str:
    """Resolve dot segments (RFC 3986 §5.2.4)."""
    if "/." not in path:
        return path
    resolved: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del resolved[max(1, len(resolved) - 1) :]  # the first is what stands before the first slash
        elif segment != ".":
            resolved.append(segment)
    return "/".join(resolved)


STEPS: Final[tuple[Callable[[str], str], ...]] = (
    partial(_decoded, 1),
    _decoded_unreserved,
    _decoded_but_slashes,
    partial(CODE_OF_FOUR.sub, lambda code: chr(int(code[1], 16))),
    _shortened,
    lambda path: path.replace("\\", "/"),
    _until("?"),  # by a second parser, once it is decoded
    _until("#"),
    _until("\0"),  # where a C string would end,
    _until(" "),  # a target in a request line,
    _until("\r"),  # or that line
    _until("\n"),
    partial(re.compile(r"[\t\r\n]").sub, ""),  # as the URL standard does
    lambda path: path.replace("\0", ""),
    partial(re.compile(r";[^/]*").sub, ""),  # path parameters (RFC 3986 §3.3)
    lambda path: path.rstrip(BLANK_TO_URLS),
    partial(re.compile(rf"((?<!/){BLANKS}(?!/|\Z))|{BLANKS}").sub, r"\1"),  # each run at an end of a word goes
    _resolved,
    partial(re.compile("/+").sub, "/"),
    partial(re.compile(r"(?<=[^/.])\.[^/.]+(?=/*\Z)").sub, ""),  # `send.json`: a format, to Rails and others
    partial(re.compile(r"(?<=[^/.])\.+(?=/|\Z)").sub, ""),  # as Windows ends a name
)
"""What a server may do to a path before it looks for what is there; and see AUTHORITY."""


def _joined(path: str) -> str:
    return "".join(f"/{segment}" for segment in path.split("/") if segment)
