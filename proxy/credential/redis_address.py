"""A Redis URL: where to connect, and as whom. Pure.

    redis://USER:PASSWORD@HOST:6379/DB      rediss:// for TLS; without a user redis://:PASSWORD@HOST
    redis://HOST:26379,HOST:26379/DB        several hosts, of Sentinel or of a cluster
    unix://USER:PASSWORD@/PATH?db=DB

Written as redis-py and redis-cli take it; but options behind a "?" are refused, for some of those would switch
off what keeps a grant safe. Never here: a message with any part of the URL, for what looks like a host may be
half of a password.
"""

import re
from typing import Final
from urllib.parse import parse_qs, unquote

from msgspec import Struct

from proxy.secrets import Secret

PORT: Final = 6379
SENTINEL_PORT: Final = 26379

_URL: Final = re.compile(
    r"(?P<scheme>rediss?|unix)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?P<fragment>#.*)?",
    re.IGNORECASE | re.DOTALL,
)
"""RFC 3986, appendix B. `urlsplit` refuses an IPv6 address behind other hosts, in newer Pythons."""

_HOST: Final = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?")
_DATABASE: Final = re.compile(r"[0-9]{1,5}")

SHAPE: Final = "write it as redis://USER:PASSWORD@HOST:6379/0, rediss:// for TLS, or unix:///PATH"
ENCODED: Final = "characters such as / @ : # ? % in the password are written as %2F and so on"


class BadAddress(ValueError):
    """Not a URL that we can go to. The message says what to write instead, and holds nothing of it."""


class RedisAddress(Struct, frozen=True):
    """Where a Redis is: `hosts`, or the unix socket `path`."""

    hosts: tuple[tuple[str, int], ...]
    path: str
    tls: bool
    username: str | None
    password: Secret | None
    database: int

    def __str__(self) -> str:
        """Say it to people."""
        if self.path:
            return self.path
        host, port = self.hosts[0]
        first = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return first if len(self.hosts) == 1 else f"{first} and {len(self.hosts) - 1} more"


def parse(url: Secret, *, sentinel: bool = False, cluster: bool = False) -> RedisAddress:
    """Read the URL: of a server, of Sentinels or of a cluster's nodes. Raises BadAddress."""
    parts = _URL.fullmatch(url.reveal())
    if parts is None:
        raise BadAddress(SHAPE)
    if parts["fragment"]:
        raise BadAddress(f"it has a #: {ENCODED}")
    scheme, path = parts["scheme"].lower(), parts["path"]
    userinfo, _, hosts = parts["authority"].rpartition("@")
    local = scheme == "unix"
    if local and (sentinel or cluster):
        raise BadAddress("a unix socket is neither a Sentinel's nor a cluster's: name hosts")
    if local and (hosts or not path):
        raise BadAddress("a unix socket is written as unix:///PATH")
    username, password = _user(userinfo)
    database = _database(path, parts["query"] or "", local=local)
    if cluster and database:
        raise BadAddress("a cluster has database 0 alone: name no other")
    return RedisAddress(
        hosts=() if local else _hosts(hosts, SENTINEL_PORT if sentinel else PORT, several=sentinel or cluster),
        path=unquote(path) if local else "",
        tls=scheme == "rediss",
        username=username,
        password=password,
        database=database,
    )


def _user(userinfo: str) -> tuple[str | None, Secret | None]:
    username, colon, password = userinfo.partition(":")
    if userinfo and not (colon and password):
        raise BadAddress("it has a user without a password: a password alone is written as redis://:PASSWORD@HOST")
    return unquote(username) or None, Secret(unquote(password)) if password else None


def _hosts(text: str, port: int, *, several: bool) -> tuple[tuple[str, int], ...]:
    found = tuple(_host(each, port) for each in text.split(","))
    if len(found) > 1 and not several:
        raise BadAddress("it has several hosts: that needs sentinel: NAME or cluster: true")
    return found


def _host(text: str, port: int) -> tuple[str, int]:
    found = _HOST.fullmatch(text)
    if found is None or not 0 < int(found["port"] or port) < 2**16:
        raise BadAddress(f"it has no host, or no port, where those belong; {ENCODED}")
    return found["ipv6"] or found["name"], int(found["port"] or port)


def _database(path: str, query: str, *, local: bool) -> int:
    """Read the number: the path, or of a unix socket the only option there is."""
    number = path.removeprefix("/")
    if local:
        options = parse_qs(query, keep_blank_values=True)
        number = options.pop("db", [""])[-1]
        if options:
            raise BadAddress("it has options other than ?db=NUMBER: those are keys of the configuration, or not there")
    elif query:
        raise BadAddress(f"it has options behind a ?: those are keys of the configuration, or not there; {ENCODED}")
    if number and not _DATABASE.fullmatch(number):
        raise BadAddress(f"the database behind the host must be a number; {ENCODED}")
    return int(number or 0)
