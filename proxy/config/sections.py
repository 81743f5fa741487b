"""The configuration as frozen structs, one per section, with the names of config.yaml.

This file is the documentation of keys, defaults and units: durations are seconds, sizes are bytes. A key
stands here only when its behaviour exists. `Reads` beside a type names the function that makes the written
text a value; the reader does the rest by the types. Never here: files, the environment, checks between values. Pure.
"""

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeAlias, get_args

import msgspec
from msgspec.structs import FieldInfo, fields
from yarl import URL

from proxy.budget.rates import ALL, AUTO, SANDBOX, Rate
from proxy.config import addresses, sockets, units
from proxy.config.addresses import TcpBind, UnixBind
from proxy.policy.pattern import Pattern
from proxy.policy.policy import Rule
from proxy.secrets import SecretReference


class Reads(msgspec.Struct, frozen=True):
    """How a scalar's text becomes a value; `parse` raises ValueError with what to write instead."""

    parse: Callable[[str], Any]
    null_is_default: bool = False


class NotAKey(msgspec.Struct, frozen=True):
    """Marks what is about the document and can't be written in it."""


def keys_of(section: type[msgspec.Struct]) -> list[FieldInfo]:
    """List the fields of a section that can be written; Config has some that can't."""
    return [field for field in fields(section) if NotAKey() not in get_args(field.type)]


def _absolute_path(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError('must begin with "/", or be null for none')
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise ValueError("must have printable ASCII characters without spaces")
    return text


def _refresh_before(text: str) -> float | None:
    if text == "auto":
        return None
    try:
        return units.positive_duration(text)
    except ValueError as error:
        raise ValueError(f"{error}; or auto") from None


def _max_age(text: str) -> float:
    seconds = units.positive_duration(text)
    if seconds < 60:  # noqa: PLR2004 - said in the message
        raise ValueError("must be 1m at least: each refresh kills the token before it")
    return seconds


def _key_prefix(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._:-]{1,64}", text):
        raise ValueError("has letters, digits, dots, colons, - and _, 64 at most")
    return text


def _kubernetes_name(text: str) -> str:
    """Take a DNS subdomain name (RFC 1123), as Kubernetes' objects have."""
    if len(text) > 253 or not re.fullmatch(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?", text):  # noqa: PLR2004 - Kubernetes' own
        raise ValueError("is no name of Kubernetes: small letters, digits, - and dots, 253 at most")
    return text


def _count(text: str) -> int:
    if not re.fullmatch(r"\d{1,15}", text, re.ASCII) or not 0 < int(text) <= 1_000_000:  # noqa: PLR2004 - said in the message
        raise ValueError("expected a whole number from 1 to 1000000")
    return int(text)


def _share(text: str) -> Fraction:
    match = re.fullmatch(r"(\d{1,15})/(\d{1,15})", text, re.ASCII)
    if match is None or not 0 < int(match[1]) <= int(match[2]) <= 1000:  # noqa: PLR2004 - said in the message
        raise ValueError("expected a part of the whole, such as 1/8; 1/1 is all of it, 1/1000 the least")
    return Fraction(int(match[1]), int(match[2]))


Bind: TypeAlias = Annotated[TcpBind | UnixBind, Reads(addresses.bind)]
HostName: TypeAlias = Annotated[str, Reads(addresses.allowed_host)]
UrlPath: TypeAlias = Annotated[str, Reads(_absolute_path)]  # wherever there is one, there may be none
ApiUrl: TypeAlias = Annotated[URL, Reads(addresses.upstream_url)]
TokenUrl: TypeAlias = Annotated[URL, Reads(addresses.api_url, null_is_default=True)]
HttpProxy: TypeAlias = Annotated[addresses.HttpProxy, Reads(addresses.http_proxy)]
Seconds: TypeAlias = Annotated[float, Reads(units.positive_duration)]
SecondsOrZero: TypeAlias = Annotated[float, Reads(units.duration)]
SecondsOrAuto: TypeAlias = Annotated[float | None, Reads(_refresh_before, null_is_default=True)]
Moment: TypeAlias = Annotated[float, Reads(units.moment)]
MaxAge: TypeAlias = Annotated[float, Reads(_max_age)]
RedirectUri: TypeAlias = Annotated[addresses.RedirectUri, Reads(addresses.redirect_uri)]
SocketMode: TypeAlias = Annotated[int, Reads(sockets.mode)]
SocketOwner: TypeAlias = Annotated[sockets.Owner, Reads(sockets.owner)]
Bytes: TypeAlias = Annotated[int, Reads(units.positive_size)]
BytesOrZero: TypeAlias = Annotated[int, Reads(units.size)]
KeyPrefix: TypeAlias = Annotated[str, Reads(_key_prefix)]
KubernetesName: TypeAlias = Annotated[str, Reads(_kubernetes_name)]
Count: TypeAlias = Annotated[int, Reads(_count)]
PerTime: TypeAlias = Annotated[Rate, Reads(units.rate)]
Share: TypeAlias = Annotated[Fraction, Reads(_share)]
RequestPattern: TypeAlias = Annotated[Pattern, Reads(Pattern.parse)]

MIB = 2**20

NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}"  # what a name of the operator's own may be

MEMBER = "/public/v1/members/current"  # the cheapest proof that a credential works

# What hands out a credential, in PandaDoc's contract; any method, for an override may name another.
CREDENTIAL_OPERATIONS = tuple(
    map(
        Pattern.parse,
        (
            "/public/*/logs/*",  # with the credential that a logged request was sent with
            "/public/*/members/*/token",
            "/public/*/webhook-subscriptions/*/shared-key",
            "/public/*/workspaces/*/api-keys",
        ),
    )
)


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A mapping in config.yaml."""


class Policy(Section, frozen=True, kw_only=True):
    mode: Literal["enforce", "warn"] = "enforce"  # warn: what would be refused passes, and is counted
    profiles: tuple[Literal["read-only", "no-send", "no-delete"], ...] = ()
    rules: tuple[Rule, ...] = ()  # the first that fits decides
    otherwise: Literal["allow", "deny"] = "allow"  # where none fits


class WholePolicy(Policy, frozen=True, kw_only=True):
    """The policy of all requests."""

    credential_operations: tuple[RequestPattern, ...] = CREDENTIAL_OPERATIONS  # refused, whatever the rules say


class Client(Section, frozen=True, kw_only=True):
    key: SecretReference
    overlap: SecondsOrZero = 120.0  # how long the key before is good for, after a new one was read
    credential: str | None = None  # None: the listener's
    policy: Policy = Policy()  # besides the one of all
    max_requests: Count | None = None  # in flight
    priority: Literal["interactive", "batch"] = "interactive"  # who goes first where a rate budget makes them wait


class Tls(Section, frozen=True, kw_only=True):
    cert: Path  # PEM: the listener's own certificate first, then its issuers'
    key: Path  # PEM, without a passphrase
    client_ca: Path | None = None  # PEM: callers must show a certificate that one of these has issued


class Listener(Section, frozen=True, kw_only=True):
    bind: Bind = TcpBind("127.0.0.1", 8080)
    credential: str = "default"  # a name under `credentials`
    allowed_hosts: frozenset[HostName] = frozenset()  # besides loopback names; lower case; "*" is any
    clients: Mapping[str, Client] = MappingProxyType({})  # none: whoever reaches the listener
    anyone: bool = False  # must be true for a bind that is not loopback, where nobody else is asked for a key
    token_endpoint: Literal["refuse", "placeholder"] = "refuse"  # noqa: S105 - what POST /oauth2/access_token gets
    cookies: Literal["pass", "drop"] = "pass"
    health: UrlPath | None = "/healthz"  # answered here; None forwards it
    tls: Tls | None = None  # None: plain HTTP
    mode: SocketMode | None = None  # of a unix socket; None: 0600
    owner: SocketOwner | None = None  # of a unix socket; None: whoever runs the proxy

    @property
    def permissions(self) -> int:
        """The mode that its unix socket has."""
        return sockets.PRIVATE if self.mode is None else self.mode

    def lends(self, client: Client) -> str:
        """Name the credential that a client of it is lent."""
        return client.credential or self.credential


class Admin(Section, frozen=True, kw_only=True):
    bind: Bind = TcpBind("127.0.0.1", 8081)
    quit: bool = False  # whether POST /quit ends the proxy


class Upstream(Section, frozen=True, kw_only=True):
    url: ApiUrl = URL("https://api.pandadoc.com")  # never ends in a slash; may have a path prefix
    connect_timeout: Seconds = 5.0
    response_timeout: Seconds = 120.0  # until the response head
    idle_timeout: Seconds = 60.0  # between two chunks, either way
    keepalive: Seconds = 15.0
    max_connections: Count = 100
    ca_file: Path | None = None
    proxy: HttpProxy | None = None  # once loaded: of `url` alone, and what the environment decided if the file did not


class ApiKeyCredential(Section, frozen=True, kw_only=True):
    api_key: SecretReference


class FileStore(msgspec.Struct, frozen=True):
    path: Path | None = None  # None: the default place in the XDG state folder, decided by the store


class MemoryStore(msgspec.Struct, frozen=True):
    """Keeps the grant for as long as the process lives."""


class Redis(Section, frozen=True, kw_only=True):
    """Where a Redis or a Valkey is, and what is ours in it."""

    url: SecretReference  # redis://, rediss:// or unix://, with user and password; of a Sentinel, where one is named
    sentinel: str | None = None  # the master's name
    cluster: bool = False
    prefix: KeyPrefix = "pandadoc-proxy"  # of every key and channel
    ca_file: Path | None = None  # PEM, besides the system's


class RedisStore(Redis, frozen=True, kw_only=True):
    when_unreachable: Literal["wait", "refresh_anyway"] = "wait"


class KubernetesStore(Section, frozen=True, kw_only=True):
    secret: KubernetesName  # the Secret that keeps the pair
    lease: KubernetesName | None = None  # the Lease; None: named like the Secret
    namespace: KubernetesName | None = None  # None: the pod's, or the kubeconfig's
    kubeconfig: Path | None = None  # None: the pod's own account; outside of one, KUBECONFIG or ~/.kube/config
    when_unreachable: Literal["wait", "refresh_anyway"] = "wait"


SharedStore: TypeAlias = RedisStore | KubernetesStore
Store: TypeAlias = FileStore | MemoryStore | RedisStore | KubernetesStore  # under their words; null is FileStore()


class OAuth2Credential(Section, frozen=True, kw_only=True):
    client_id: SecretReference
    client_secret: SecretReference
    refresh_token: SecretReference | None = None
    access_token: SecretReference | None = None  # with refresh_token and expires_at
    expires_at: Moment | None = None
    token_url: TokenUrl = URL("/oauth2/access_token")  # relative to upstream.url here; absolute once loaded
    proxy: Annotated[addresses.HttpProxy | None, NotAKey()] = None  # once loaded: of token_url
    authorize_url: TokenUrl = URL("/oauth2/authorize")  # the same: completion knows PandaDoc's own host for it
    redirect_uri: RedirectUri = addresses.RedirectUri("http://127.0.0.1:8089/callback")
    scope: str | None = None
    refresh_before: SecondsOrAuto = None  # None: auto
    max_age: MaxAge | None = None
    unknown_outcome: Literal["retry", "stop"] = "retry"
    wait: Seconds = 10.0  # how long callers wait for a refresh
    redeem_timeout: Seconds = 60.0
    probe: UrlPath | None = MEMBER
    store: Store = FileStore()


Credential: TypeAlias = ApiKeyCredential | OAuth2Credential  # under `api_key` or `oauth2`


class Rates(Section, frozen=True, kw_only=True):
    """PandaDoc's own numbers, by what it counts together. None: not counted, only paused by a 429."""

    create: PerTime | None = AUTO["create"]  # documents from templates
    create_upload: PerTime | None = AUTO["create_upload"]  # and from files
    send: PerTime | None = AUTO["send"]
    details: PerTime | None = AUTO["details"]
    template_details: PerTime | None = AUTO["template_details"]
    list: PerTime | None = AUTO["list"]  # documents listed, their status, and their end
    download: PerTime | None = AUTO["download"]
    download_protected: PerTime | None = AUTO["download_protected"]
    other: PerTime | None = AUTO["other"]


Numbers: TypeAlias = Literal["none", "auto", "sandbox"]


class RateBudget(Section, frozen=True, kw_only=True):
    numbers: Numbers = "none"  # sandbox: what a sandbox key may ask; none: nothing is counted
    credentials: Mapping[str, Numbers] = MappingProxyType({})  # other numbers for some, by name
    rates: Rates = Rates()  # for auto
    sandbox: PerTime = SANDBOX  # for sandbox
    redis: Redis | None = None  # by which replicas share each
    share: Share | None = None  # this process's part of each, with redis while that is away; None: all, or 1/replicas
    max_wait: SecondsOrZero = 65.0  # in line; a window, and the time that answers take
    prefer_wait: SecondsOrZero = 60.0  # the most that `Prefer: wait=N` is heeded for; 0: it is passed on

    def of(self, credential: str) -> Mapping[str, Rate | None]:
        """Return what may be spent on a credential, with redis by all replicas; nothing where it is not counted."""
        return self._whole(credential) if self.redis is not None else self.alone(credential)

    def alone(self, credential: str) -> Mapping[str, Rate | None]:
        """Return what this process may spend by itself."""
        share = self.share or Fraction(1)
        return {name: rate and rate.shared(share) for name, rate in self._whole(credential).items()}

    def _whole(self, credential: str) -> Mapping[str, Rate | None]:
        numbers = self.credentials.get(credential, self.numbers)
        if numbers == "none":
            return {}
        if numbers == "sandbox":
            return {ALL: self.sandbox}
        return {name: getattr(self.rates, name) for name in self.rates.__struct_fields__}


class Replay(Section, frozen=True, kw_only=True):
    max_body: BytesOrZero = 8 * MIB  # kept per request
    max_total: BytesOrZero = 64 * MIB  # kept for all requests


class Limits(Section, frozen=True, kw_only=True):
    max_body: Bytes = 110 * MIB
    max_requests: Count = 1000  # in flight
    max_connections: Count = 2048  # to each listener
    max_head: Bytes = 64 * 1024
    max_headers: Count = 128
    header_timeout: Seconds = 10.0

    @property
    def of_admin(self) -> "Limits":
        """What holds for the admin port, which a kubelet, some scrapers and people ask for little.

        Whoever reaches the pod reaches it, and half a head costs several times its size: as many and as large ones as
        listeners take would fill a small container (docs/listeners.md).
        """
        connections, head = min(self.max_connections, 256), min(self.max_head, 16 * 1024)
        return msgspec.structs.replace(self, max_connections=connections, max_head=head)


class Shutdown(Section, frozen=True, kw_only=True):
    grace: SecondsOrZero = 0.0
    drain: SecondsOrZero = 20.0


class Log(Section, frozen=True, kw_only=True):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "text", "json"] = "auto"  # auto: text on a terminal, JSON lines elsewhere
    access: bool = True


class Ports(Section, frozen=True, kw_only=True):
    """Where the proxy answers."""

    listeners: tuple[Listener, ...] = (Listener(),)
    admin: Admin | None = Admin()


class Config(Ports, frozen=True, kw_only=True):
    """The whole tree."""

    source: Annotated[Path | None, NotAKey()] = None  # the file it was read from, if there was one
    keyed: Annotated[bool, NotAKey()] = False  # whether that had any key
    warnings: Annotated[tuple[str, ...], NotAKey()] = ()  # worth a log line at every start
    upstream: Upstream = Upstream()
    credentials: Mapping[str, Credential]
    policy: WholePolicy = WholePolicy()
    rate_budget: RateBudget = RateBudget()
    replay: Replay = Replay()
    limits: Limits = Limits()
    shutdown: Shutdown = Shutdown()
    log: Log = Log()
