"""May this request come in? Pure: a head goes in; what to forward comes out, or a refusal.

Safe by default (law 19): the Host must be ours, and no browser may say that a page sent it. What
RFC 9110 and 9112 ask a gateway to refuse is refused here too, before any byte goes up. Never here: who
asks (clients), and what may be asked for (policy).
"""

import re
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Final

from msgspec import Struct

from proxy.errors import (
    CallerError,
    HeadTooLarge,
    LoopDetected,
    MethodRefused,
    Misdirected,
    Refused,
)
from proxy.forward.headers import Head
from proxy.hosts import is_loopback, is_wildcard
from proxy.policy.paths import behind, readings

TARGET: Final = re.compile(r"/[\x21\x22\x24-\x5b\x5d-\x7e]*")
"""Origin-form without what no URI may hold: controls, spaces, raw non-ASCII, backslash, a fragment."""

HOST: Final = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]+)(?::(?P<port>[0-9]{0,5}))?")
"""RFC 9110 §7.2: uri-host and an optional port; never userinfo."""

LENGTH: Final = re.compile(rb"[0-9]{1,20}")
"""RFC 9110 §8.6, and as many digits as 64 bits have: Python refuses to read thousands, be they zeros."""

SPOKEN: Final = frozenset({(1, 0), (1, 1)})
"""The versions of HTTP that are taken."""

RTSP: Final = frozenset(
    {"DESCRIBE", "ANNOUNCE", "SETUP", "PLAY", "PAUSE", "TEARDOWN", "REDIRECT", "RECORD", "FLUSH"}
    | {"GET_PARAMETER", "SET_PARAMETER", "SOURCE"}
)
"""Methods of RTSP alone and, the last one, of ICE. The parser takes them, too, and does not tell the protocol."""

NOT_FORWARDED: Final = RTSP | {"CONNECT", "TRACE"}

FRAMING: Final = frozenset({b"transfer-encoding", b"content-length", b"expect"})
"""Fields that tell how a body comes."""

LONGEST_HOST: Final = 255 + len(":65535")
"""Characters; no name is longer (RFC 1035 §2.3.4)."""

REMEMBERED: Final = 64
"""Hosts; nearly all callers name the same one. With limits.max_head each, they cost 4 MiB at worst."""

PAGE_MARKS: Final = frozenset({b"origin", b"sec-purpose", b"service-worker-navigation-preload"})
"""Fields that a browser sends only where a page has a part in it.

The last two may come with Sec-Fetch-Site: none. Chromium sends it with what a page's speculation rules load ahead
(Sec-Purpose), and with a typed address whose answer goes to a service worker first.
"""

SENDER: Final = PAGE_MARKS | {b"via", b"sec-fetch-site"}
"""Fields that tell who has sent a request."""

NOT_OURS: Final = (
    "The Host header names neither a loopback name nor one of this listener's allowed_hosts."
    " Write 127.0.0.1 in the app, or add the name it uses to listeners[].allowed_hosts."
)

NO_TUNNEL: Final = (
    "CONNECT asks for a tunnel, and this is no forward proxy. Make its address the app's base URL,"
    " and take it out of the app's HTTPS_PROXY."
)
NO_ECHO: Final = "TRACE is not forwarded: it would hand the credential back."
"""What those are told whose method is HTTP's, and nothing that credentials are lent to."""

BORROWING_SITES: Final = frozenset({b"none"})
SHOWN_SITES: Final = frozenset({b"none", b"same-origin"})
"""What Sec-Fetch-Site may say, where it says anything: to borrow a credential, and to look at a page of ours."""


class Gate(Struct, frozen=True, eq=False):
    """Who may come in through one listener."""

    allowed_hosts: frozenset[str] = frozenset()  # lower case; "*" lets any pass
    bound_to: str | None = None  # the literal address of the listener, where it is a real one
    prefix: str = ""  # the upstream's path prefix, which stands before the target
    via: bytes = b"1.1 pandadoc-proxy"  # what we add to Via: who has it there has been here
    max_head: int = 64 * 1024
    max_headers: int = 128
    shows: bool = False  # a page of ours, which may ask for itself again
    not_ours: str = NOT_OURS  # what those are told who name another host


class Admitted(Struct, frozen=True):
    """A request that may go on: its target in origin-form, byte for byte, and the Host it named."""

    target: str
    host: bytes


def admit(head: Head, gate: Gate) -> Admitted:
    """Let a request in, or raise a CallerError that says why not."""
    _check_size(head, gate)
    if head.method in NOT_FORWARDED:
        _refuse_method(head)
    host = head.found.get(gate)
    if host is None:
        host = _check_fields(head, gate)
        head.found.clear()  # a gate that a reload has replaced is not asked again
        head.found[gate] = host
    return Admitted(_origin_form(head.target, gate), host)


def readings_of(target: str, gate: Gate) -> frozenset[str]:
    """Return every reading of a target's path, as PandaDoc or a server on the way may see it; see policy.paths.

    Raises CallerError. It may cost some milliseconds, which are for clients that are known.
    """
    return behind(gate.prefix, readings(gate.prefix + target.partition("?")[0], gate.prefix))


@lru_cache(REMEMBERED)
def names_us(host: str, gate: Gate) -> bool:
    """Tell whether a Host (or an authority) is a loopback name, the bound address, or an allowed one. Any port."""
    if len(host) > LONGEST_HOST:
        return False
    match = HOST.fullmatch(host)
    if match is None:
        return False
    name = _as_configured(match["name"])
    if name is None or is_wildcard(name):  # a browser's way round every other check
        return False
    return "*" in gate.allowed_hosts or name in gate.allowed_hosts or name == gate.bound_to or is_loopback(name)


def _as_configured(name: str) -> str | None:
    """Write a host as the configuration has it; None where brackets hold no address of IPv6 (RFC 3986 §3.2.2)."""
    if not name.startswith("["):
        return name.lower().rstrip(".")
    try:
        return str(IPv6Address(name[1:-1]))
    except ValueError:
        return None


def _check_size(head: Head, gate: Gate) -> None:
    if len(head.fields) > gate.max_headers:
        raise HeadTooLarge(f"The request has more than {gate.max_headers} header fields (limits.max_headers).")
    if len(head.target) + head.size + 4 * len(head.fields) > gate.max_head:
        raise HeadTooLarge(f"The request's head is larger than {gate.max_head} bytes (limits.max_head).")


def _refuse_method(head: Head) -> None:
    if head.method in RTSP:
        raise CallerError(f"{head.method} is no method of HTTP.")
    raise MethodRefused(NO_TUNNEL if head.method == "CONNECT" else NO_ECHO)


def _check_fields(head: Head, gate: Gate) -> bytes:
    """Check all but method and target, and return the Host."""
    if head.version not in SPOKEN:
        raise CallerError("The proxy speaks HTTP/1.1 and HTTP/1.0.")
    if b"upgrade" in head.names and b"websocket" in _protocols(head):
        raise Refused("PandaDoc has no WebSockets; the upgrade is refused.", error="http_upgrade_failed")
    if not FRAMING.isdisjoint(head.names):
        _check_framing(head)
    host = _check_host(head, gate)
    if not SENDER.isdisjoint(head.names):
        _check_loop(head, gate)
        _check_page(head, gate)
    return host


def _protocols(head: Head) -> set[bytes]:
    """Return the names of the protocols that Upgrade offers: a list, each with or without a version (RFC 9110 §7.8)."""
    offers = (offer for value in head.values(b"upgrade") for offer in value.split(b","))
    return {offer.partition(b"/")[0].strip().lower() for offer in offers}


def _check_framing(head: Head) -> None:
    codings = head.values(b"transfer-encoding")
    if codings and head.version == (1, 0):  # RFC 9112 §6.1: faulty framing
        raise CallerError("HTTP/1.0 knows no Transfer-Encoding.")
    if codings and [coding.strip().lower() for coding in codings] != [b"chunked"]:
        raise CallerError("The only transfer coding the proxy takes is chunked.")
    if any(LENGTH.fullmatch(length) is None for length in head.values(b"content-length")):
        raise CallerError("A Content-Length is a number of twenty digits at most.")
    expectations = {value.lower() for value in head.values(b"expect")}
    if expectations - {b"100-continue"}:
        raise CallerError("The only expectation the proxy knows is 100-continue.")


def _check_host(head: Head, gate: Gate) -> bytes:
    hosts = head.values(b"host")
    if len(hosts) != 1:
        raise CallerError("A request needs exactly one Host header.")
    host = hosts[0]
    if not names_us(host.decode("latin-1"), gate):
        raise Misdirected(gate.not_ours)
    return host


def _check_loop(head: Head, gate: Gate) -> None:
    """Refuse what we have sent ourselves (RFC 9110 §7.6.3)."""
    if any(gate.via in value for value in head.values(b"via")):
        raise LoopDetected


def _check_page(head: Head, gate: Gate) -> None:
    """Refuse what a browser marks as sent by a page (Fetch §3.2, Fetch Metadata §2.2); no CORS is ever granted."""
    fine = SHOWN_SITES if gate.shows and _fills_a_tab(head) else BORROWING_SITES
    sites = {site.strip().lower() for site in head.values(b"sec-fetch-site")}
    if not PAGE_MARKS.isdisjoint(head.names) or not sites <= fine:
        raise Refused(
            "A web page has a part in this request (Origin, Sec-Fetch-Site, Sec-Purpose or"
            " Service-Worker-Navigation-Preload says so); pages may not borrow credentials."
        )


def _fills_a_tab(head: Head) -> bool:
    """Tell whether the answer is for a person alone: not for a frame, nor for a worker that hands on what it reads."""
    marks = [head.values(name) for name in (b"sec-fetch-mode", b"sec-fetch-dest")]
    return marks == [[b"navigate"], [b"document"]]


def _origin_form(target: str, gate: Gate) -> str:
    """Return the target as origin-form. Absolute-form is taken when it names us (RFC 9112 §3.2.2)."""
    scheme, separator, rest = ("", "", "") if target.startswith("/") else target.partition("://")
    if separator and scheme.lower() in {"http", "https"}:
        authority, slash, path = rest.partition("/")
        if not names_us(authority, gate):
            raise Misdirected("The request's absolute target names another host; the proxy forwards to PandaDoc only.")
        target = slash + path
    if TARGET.fullmatch(target) is None:
        raise CallerError(
            "The request's target must begin with / and hold only visible ASCII,"
            " without a backslash or #. Percent-encode the rest."
        )
    return target
