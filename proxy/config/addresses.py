"""Addresses, URLs and host names as people write them, and what they point at. Pure."""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress
from pathlib import Path

import msgspec
from yarl import URL

from proxy.errors import CallerError
from proxy.hosts import is_loopback, is_wildcard
from proxy.policy.paths import readings

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}\.?\Z){_LABEL}(?:\.{_LABEL})*\.?", re.IGNORECASE)
_TCP = re.compile(r"(?:\[([^\[\]]+)\]|([^:\[\]]+)):(\d{1,5})", re.ASCII)
_URL_TEXT = re.compile(r"[!-~]+")

# sun_path holds 108 bytes with its NUL (Linux unix(7)).
_LONGEST_SOCKET_PATH = 107

_BIND_FORMS = 'expected host:port such as 127.0.0.1:8080, "[::1]:8080" in quotes, or unix:/path.sock'


class TcpBind(msgspec.Struct, frozen=True):
    """A host and port to listen on. The host is an address or a name; port 0 takes any free one."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.host)

    @property
    def from_here(self) -> TcpBind:
        """Where this machine asks: a wildcard is bound to, and is no name that a request may carry."""
        return TcpBind("::1" if ":" in self.host else "127.0.0.1", self.port) if is_wildcard(self.host) else self

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class UnixBind(msgspec.Struct, frozen=True):
    """A unix socket to listen on."""

    path: Path

    def __str__(self) -> str:
        return f"unix:{self.path}"


class RedirectUri(msgspec.Struct, frozen=True):
    """Where a consent leads back to. It is compared as text (RFC 6749 §3.1.2.3), which a URL does not keep."""

    text: str

    @property
    def url(self) -> URL:
        return URL(self.text, encoded=True)

    def __str__(self) -> str:
        return self.text


class HttpProxy(msgspec.Struct, frozen=True):
    """A proxy to go through. Its URL may hold a password, which nothing here writes out."""

    url: URL
    variable: str = ""  # which names it, where the file does not

    def __str__(self) -> str:
        """Write it for people: whatever stands before its `@` is masked."""
        bare = self.url.with_user(None)
        masked = "//" if self.url.raw_authority == bare.raw_authority else "//***@"
        origin = f" (from ${self.variable})" if self.variable else ""
        return str(bare).replace("//", masked, 1) + origin

    __repr__ = __str__


def bind(text: str) -> TcpBind | UnixBind:
    """Read `host:port`, `[::1]:port` or `unix:/path`."""
    if text.startswith("unix:"):
        return _unix(text.removeprefix("unix:"))
    match = _TCP.fullmatch(text)
    if match is None:
        raise ValueError(_BIND_FORMS)
    if int(match[3]) > 65535:  # noqa: PLR2004 - the largest TCP port
        raise ValueError("the port is larger than 65535")
    return TcpBind(_bind_host(match[1], match[2]), int(match[3]))


def _unix(path: str) -> UnixBind:
    if not path.startswith("/") or not path.isprintable():
        raise ValueError("a unix socket needs an absolute path, such as unix:/run/pandadoc-proxy.sock")
    if len(path.encode()) > _LONGEST_SOCKET_PATH:
        raise ValueError(f"a unix socket's path can have {_LONGEST_SOCKET_PATH} bytes at most")
    return UnixBind(Path(path))


def _bind_host(bracketed: str | None, bare: str) -> str:
    if bracketed is not None:
        try:
            address = ipaddress.IPv6Address(bracketed)
        except ValueError:
            raise ValueError(_BIND_FORMS) from None
        if address.ipv4_mapped is not None:  # no socket of IPv6 alone can be bound there (ipv6(7), IPV6_V6ONLY)
            raise ValueError(f"is an IPv4 address: write {address.ipv4_mapped}:PORT")
        return str(address)
    if bare == "*":
        raise ValueError("write 0.0.0.0:PORT for every IPv4 address of this machine")
    return _host(bare, _BIND_FORMS)


def _host(text: str, complaint: str) -> str:
    """Accept an IPv4 address or a name; four numbers that are no address (127.0.0.300) are neither."""
    if text.replace(".", "").isdigit():
        try:
            return str(ipaddress.IPv4Address(text))
        except ValueError:
            raise ValueError(complaint) from None
    if not _HOST_NAME.fullmatch(text):
        raise ValueError(complaint)
    return text.lower()


def allowed_host(text: str) -> str:
    """Read one name that `Host` may carry: no scheme, no port, no path; lower-cased; or `*`."""
    complaint = "write the name alone, without scheme, port or path"
    if text == "*":
        return text
    if "%" in text:  # a zone means something on one machine alone, and no Host carries it (RFC 6874 §4)
        raise ValueError(f"{complaint}, and an address without its zone (%)")
    try:
        host = str(ipaddress.IPv6Address(text.removeprefix("[").removesuffix("]")))
    except ValueError:
        host = _host(text, complaint).rstrip(".")
    if is_wildcard(host):  # a browser's way round every other check
        raise ValueError("is what a browser calls every address, and never passes: write the names that callers use")
    return host


def api_url(text: str) -> URL:
    """Read a URL that credentials may be sent to: https, or http to this machine alone.

    Comes back without a trailing slash.
    """
    url = _url(text, ("https", "http"), "expected a URL such as https://api.pandadoc.com")
    if url.user is not None or url.password is not None:
        raise ValueError("a URL must not hold a user or password")
    if "?" in text or "#" in text:
        raise ValueError("a URL must not hold a query or fragment here")
    if url.scheme == "http" and not is_loopback(url.host or ""):
        raise ValueError("plain http would show the credential to the network: write https://")
    return url.with_path(url.raw_path.rstrip("/"), encoded=True)


def upstream_url(text: str) -> URL:
    """Read the URL of the API, or of a gateway before it: a path prefix can be read in one way alone.

    A policy judges paths behind it, in all their readings, and none of those may lead out of it.
    """
    url = api_url(text)
    prefix = url.raw_path.rstrip("/")
    with suppress(CallerError):
        if "%" not in text and readings(f"{prefix}/x", prefix) == {f"{prefix}/x"}:
            return url
    raise ValueError(
        "the path prefix can be read in several ways: write one without codes (%), ; and //, and without a dot at a"
        " name's end"
    )


def redirect_uri(text: str) -> RedirectUri:
    """Read the redirect URI as it is registered with PandaDoc."""
    url = _url(text, ("https", "http"), "expected a URL such as http://127.0.0.1:8089/callback")
    if "#" in text or url.user is not None or url.password is not None:
        raise ValueError("a redirect URI must not hold a fragment, user or password")
    return RedirectUri(text)


def http_proxy(text: str) -> HttpProxy:
    """Read a proxy's address; `proxy.corp:3128` means http, as in HTTPS_PROXY."""
    complaint = "expected a proxy such as http://proxy.corp:3128"
    url = _url(text if "://" in text else f"http://{text}", ("http", "https"), complaint)
    if "?" in text or "#" in text or url.raw_path.strip("/"):
        raise ValueError(complaint)
    return HttpProxy(url.with_path(""))


def may_be_proxied(url: URL) -> bool:
    """Tell whether a proxy may stand on the way: TLS keeps it from reading, and this machine is not where it is."""
    return url.scheme == "https" and not is_loopback(url.host or "")


def _url(text: str, schemes: tuple[str, ...], complaint: str) -> URL:
    if not _URL_TEXT.fullmatch(text):
        raise ValueError(complaint)
    try:
        url = URL(text)
    except ValueError:
        raise ValueError(complaint) from None  # yarl's own text would repeat the URL
    host = url.raw_host or ""
    if url.scheme not in schemes or not host or url.explicit_port == 0:
        raise ValueError(complaint)
    if ":" not in host:
        _host(host, complaint)
    return url
