"""The tree as a dry run, for people: what would listen, and what would be sent where. Secrets are masked. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.config.addresses import TcpBind
from proxy.config.sections import ApiKeyCredential, FileStore, MemoryStore, OAuth2Credential, Redis, RedisStore
from proxy.config.units import duration_text, rate_text, size_text
from proxy.policy.profiles import profiles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.config.sections import Client, Config, Credential, Listener, Policy, SharedStore, Upstream

_EXAMPLE = "/public/v1/documents"
_REFUSED = (
    "what a browser marks as coming from a page; CONNECT, TRACE, WebSocket upgrades",
    "/oauth2/**, which would hand out the grant",
)


def describe(config: Config) -> str:
    """Say in lines what a start with this configuration would do."""
    return "\n".join(_lines(config))


def _lines(config: Config) -> Iterator[str]:
    yield f"Configuration: {config.source or 'defaults and the environment, no file'}"
    for listener in config.listeners:
        yield ""
        yield from _listener(listener, config)
    for name in sorted(config.credentials.keys() - _lent(config)):
        yield f"Credential {name} is lent by no listener"
    yield ""
    yield from _upstream(config.upstream)
    yield f"Admin: {config.admin.bind if config.admin else 'off'}"
    if config.admin and config.admin.quit:
        yield "  POST /quit, from this machine, ends the proxy"
    yield from _budgets(config)
    yield _limits(config)
    yield "Refused"
    yield from (f"  {refused}" for refused in _REFUSED)
    yield from (f"  {pattern}, which hands out credentials" for pattern in config.policy.credential_operations)
    yield from _policy(config.policy, "Policy")
    if config.warnings:
        yield "Warnings"
        yield from (f"  {warning}" for warning in config.warnings)


def _lent(config: Config) -> set[str]:
    lent: set[str] = set()
    for listener in config.listeners:
        own = (listener.lends(client) for client in listener.clients.values())
        lent.update(own if listener.clients else (listener.credential,))
    return lent


def _listener(listener: Listener, config: Config) -> Iterator[str]:
    whom = "to clients by their keys" if listener.clients else f"credential {listener.credential}"
    yield f"Listener {listener.bind} lends {whom}"
    yield f"  {_example(listener, config.upstream)}"
    if not listener.clients:
        yield from (f"  {line}" for line in _credential(config.credentials[listener.credential]))
    for name, client in listener.clients.items():
        yield from (f"  {line}" for line in _client(name, client, listener.lends(client), config))
    yield f"  Host may be {_hosts(listener)}"
    if listener.token_endpoint == "placeholder":  # noqa: S105 - a choice, no secret
        yield "  POST /oauth2/access_token is answered here, with a token that opens nothing"
    if listener.cookies == "drop":
        yield "  Cookies are dropped, both ways"
    if listener.tls is not None:
        yield f"  TLS with certificate {listener.tls.cert} and key {listener.tls.key}"
        if listener.tls.client_ca is not None:
            yield f"  Callers must show a certificate that one of {listener.tls.client_ca} has issued"
    if not isinstance(listener.bind, TcpBind):
        owner = listener.owner or "whoever runs the proxy"
        yield f"  The socket's mode is {listener.permissions:04o}, its owner {owner}"
    if listener.health is not None:
        yield f"  GET {listener.health} is answered here, not forwarded"


def _client(name: str, client: Client, credential: str, config: Config) -> Iterator[str]:
    yield f"Client {name}, with its key from {client.key.describe()}, is lent credential {credential}"
    yield from (f"  {line}" for line in _credential(config.credentials[credential]))
    if client.max_requests is not None:
        yield f"  {client.max_requests} requests in flight at most"
    if client.priority == "batch":
        yield "  It goes last where a rate budget makes requests wait"
    yield from (f"  {line}" for line in _policy(client.policy, "Policy besides the one of all"))


def _policy(policy: Policy, title: str) -> Iterator[str]:
    """Say what a policy says; one that says nothing is not mentioned."""
    if not (policy.profiles or policy.rules or policy.otherwise == "deny"):
        return
    yield f"{title}{', of which what it refuses passes and is counted' if policy.mode == 'warn' else ''}"
    yield from (f"  profile {name}: {profiles()[name].about}" for name in policy.profiles)
    yield from (f"  {rule}" for rule in policy.rules)
    if policy.rules or policy.otherwise == "deny":
        yield f"  otherwise: {policy.otherwise}"


def _example(listener: Listener, upstream: Upstream) -> str:
    scheme = "http" if listener.tls is None else "https"
    own = f"{scheme}://{listener.bind.from_here}" if isinstance(listener.bind, TcpBind) else f"{listener.bind} "
    return f"GET {own}{_EXAMPLE} → GET {upstream.url}{_EXAMPLE}"


def _credential(credential: Credential) -> Iterator[str]:
    if isinstance(credential, ApiKeyCredential):
        yield f"Authorization: API-Key *** (from {credential.api_key.describe()})"
    else:
        yield "Authorization: Bearer *** (refreshed here)"
        yield from (f"  {line}" for line in _grant(credential))


def _grant(credential: OAuth2Credential) -> Iterator[str]:
    seed = credential.refresh_token
    yield f"client id from {credential.client_id.describe()}, secret from {credential.client_secret.describe()}"
    yield f"first refresh token from {seed.describe()}" if seed else "no refresh token: the store must have one"
    if credential.access_token is not None:
        yield f"first access token from {credential.access_token.describe()}"
    yield f"refreshed at POST {credential.token_url}, {_ahead(credential.refresh_before)}"
    if credential.proxy is not None:
        yield f"there through the proxy {credential.proxy}"
    if credential.max_age is not None:
        yield f"and {duration_text(credential.max_age)} after the last refresh at the latest"
    if credential.unknown_outcome == "stop":
        yield "not tried again by itself after a redeem whose outcome is unknown"
    yield f"kept in {_store(credential)}"
    yield f"new consents: pandadoc-proxy login, at {credential.authorize_url}, back to {credential.redirect_uri}"
    yield f"probed with GET {credential.probe}" if credential.probe else "not probed"


def _ahead(seconds: float | None) -> str:
    return "well before it expires" if seconds is None else f"{duration_text(seconds)} before it expires"


def _store(credential: OAuth2Credential) -> str:
    store = credential.store
    if isinstance(store, FileStore):
        return f"file {store.path or '(the default one, in the XDG state folder)'}"
    if isinstance(store, MemoryStore):
        return "memory, lost when the process ends"
    alone = "nothing is refreshed" if store.when_unreachable == "wait" else "each replica refreshes by itself"
    return f"{store_text(store)}, shared by all replicas; while it can't be reached, {alone}"


def store_text(store: SharedStore) -> str:
    """Say where replicas share a grant, for people."""
    if isinstance(store, RedisStore):
        return _redis_text(store)
    where = f" of namespace {store.namespace}" if store.namespace else ""
    return f"Secret {store.secret}{where}, with Lease {store.lease or store.secret}"


def _redis_text(redis: Redis) -> str:
    how = " as a cluster" if redis.cluster else f", by Sentinel for {redis.sentinel}" if redis.sentinel else ""
    return f"Redis at the URL from {redis.url.describe()}{how}, prefix {redis.prefix}"


def _hosts(listener: Listener) -> str:
    if "*" in listener.allowed_hosts:
        return "any name"
    return ", ".join(("a loopback name", *sorted(listener.allowed_hosts)))


def _upstream(upstream: Upstream) -> Iterator[str]:
    yield f"Upstream {upstream.url}"
    yield f"  proxy: {upstream.proxy or 'none'}"
    yield f"  certificates: the system's{f' and {upstream.ca_file}' if upstream.ca_file else ''}"


def _budgets(config: Config) -> Iterator[str]:
    """Say what each credential may spend; one that is not counted is not mentioned."""
    settings = config.rate_budget
    counted = {name: rates for name in sorted(config.credentials) if (rates := settings.of(name))}
    for name, rates in counted.items():
        told = ", ".join(f"{of} {rate_text(rate) if rate else 'as PandaDoc says'}" for of, rate in rates.items())
        yield f"Rate budget of credential {name}: {told}"
    if counted and settings.redis is not None:
        share = f"{settings.share} of it" if settings.share else "as many parts as there were replicas, one each"
        yield f"  Shared by all replicas through {_redis_text(settings.redis)}; while that can't be reached, {share}"
    if counted:
        yield f"  Beyond it a request waits {duration_text(settings.max_wait)} at most, then gets 429"
        if settings.prefer_wait:
            yield f"  Prefer: wait=N is heeded, up to {duration_text(settings.prefer_wait)}"


def _limits(config: Config) -> str:
    kept, largest = size_text(config.replay.max_body), size_text(config.limits.max_body)
    return f"Bodies: up to {kept} are kept for one replay after a 401, {largest} at most pass"
