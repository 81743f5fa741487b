"""What must hold between values, and what is allowed but worth a warning. Pure.

A finding names the path to mend and the other paths it rests on: where one of those is faulty itself, the
reader's stand-in was judged, and the finding is dropped.
"""

from __future__ import annotations

import re
from itertools import combinations, product
from posixpath import normpath
from typing import TYPE_CHECKING

import msgspec

from proxy.budget.rates import ALL
from proxy.config.addresses import TcpBind, may_be_proxied
from proxy.config.faults import join, shown, suggestion
from proxy.config.sections import (
    CREDENTIAL_OPERATIONS,
    ApiKeyCredential,
    Client,
    FileStore,
    KubernetesStore,
    MemoryStore,
    OAuth2Credential,
    RateBudget,
    Redis,
    RedisStore,
)
from proxy.hosts import is_wildcard
from proxy.policy.pattern import Pattern
from proxy.secrets import SHORTEST_CLIENT_KEY, flaw_of_api_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from proxy.config.addresses import UnixBind
    from proxy.config.sections import Config, Listener, Policy
    from proxy.policy.policy import Rule
    from proxy.secrets import Secret


EVERYTHING = Pattern.parse("/**")

_APPS_PATH = re.compile(r"/public(/(v[0-9]+|beta))?$")


class Finding(msgspec.Struct, frozen=True):
    path: str
    message: str
    rests_on: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()  # it rests on everything in these, as where entries are counted or stores compared


def faults(config: Config) -> Iterator[Finding]:
    """Yield what stops the start."""
    for rule in _FAULTS:
        yield from rule(config)


def warnings(config: Config) -> Iterator[Finding]:
    """Yield what is said at every start."""
    for rule in _WARNINGS:
        yield from rule(config)


def _some_listener(config: Config) -> Iterator[Finding]:
    if not config.listeners:
        yield Finding("listeners", "an empty list would serve nobody: name one, or leave the key out")


def _known_credentials(config: Config) -> Iterator[Finding]:
    for path, credential in lent(config):
        if credential not in config.credentials:
            near = suggestion(credential, config.credentials)
            yield Finding(f"{path}.credential", f"no credential has this name{near}", ("credentials",))


def _lends_its_own(listener: Listener) -> bool:
    """Whether anybody is lent the listener's credential: it need not exist where every client names another."""
    return not listener.clients or any(client.credential is None for _, client in _whole(listener.clients))


def _keys_of_their_own(config: Config) -> Iterator[Finding]:
    """Find client keys that tell nobody apart. Files are judged when they are read: they may come later."""
    for path, listener in _listeners(config):
        holders: dict[Secret, str] = {}
        for name, client in _whole(listener.clients):
            if client.key.kind == "file":
                continue
            key, where = client.key.read(), f"{join(f'{path}.clients', name)}.key"
            if len(key.reveal()) < SHORTEST_CLIENT_KEY:
                advice = "such as `openssl rand -hex 20` makes"
                yield Finding(where, f"a client's key has {SHORTEST_CLIENT_KEY} characters at least, {advice}")
            elif holders.setdefault(key, name) != name:
                yield Finding(where, f"is the key of client {shown(holders[key])} too: give each its own")


def _api_keys_alone(config: Config) -> Iterator[Finding]:
    """Find API keys that can't be lent. Files are judged when they are read."""
    for name, item in config.credentials.items():
        if isinstance(item, ApiKeyCredential) and item.api_key.kind != "file":
            flaw = flaw_of_api_key(item.api_key.read())
            if flaw:
                yield Finding(f"{join('credentials', name)}.api_key", f"{item.api_key.describe()} {flaw}")


def _budgets_of_known_credentials(config: Config) -> Iterator[Finding]:
    for name in config.rate_budget.credentials:
        if name not in config.credentials:
            near = suggestion(name, config.credentials)
            path = join("rate_budget.credentials", name)
            yield Finding(path, f"no credential has this name{near}", ("credentials",))


def _shares_that_leave_something(config: Config) -> Iterator[Finding]:
    budget, names = config.rate_budget, (*config.credentials, *config.rate_budget.credentials)
    rates = {name: rate for each in names for name, rate in budget.alone(each).items()}
    left_nothing = next((name for name, rate in rates.items() if rate is not None and rate.most == 0), None)
    if left_nothing is not None:
        key = "rate_budget.sandbox" if left_nothing == ALL else f"rate_budget.rates.{left_nothing}"
        message = f"leaves this process nothing of {key}: let fewer processes have larger shares"
        yield Finding("rate_budget.share", message, (key, "rate_budget.numbers", "rate_budget.credentials"))


def _rules_that_matter(config: Config) -> Iterator[Finding]:
    for path, policy in _policies(config):
        never_asked = dict(_never_asked(policy.rules))
        for number, never in never_asked.items():
            yield Finding(f"{path}.rules.{number}", f"is never asked, for {never}", whole=(f"{path}.rules",))
        if not never_asked and policy.otherwise == "allow" and policy.rules and policy.rules[-1].allows:
            message = "changes nothing, for what fits no rule is allowed: write `otherwise: deny` beside the rules"
            last = f"{path}.rules.{len(policy.rules) - 1}"
            yield Finding(last, f"{message}, or take it out", (f"{path}.otherwise",), (f"{path}.rules",))


def _never_asked(rules: Sequence[Rule]) -> Iterator[tuple[int, str]]:
    """Yield the numbers of rules that change nothing where they stand, each with why and what to do."""
    for number, rule in enumerate(rules):
        if number and rules[number - 1].pattern.covers(EVERYTHING):
            yield number, f"`{rules[number - 1]}` before it fits every request: put that last"
            return
        first = next((each for each in rules[:number] if each.pattern.covers(rule.pattern)), rule)
        if first.allows != rule.allows:  # where both say the same, the later one does no harm
            cure = "put that behind it, or take this one out"
            yield number, f"`{first}` before it fits every request that this one does: {cure}"


def _one_socket_each(config: Config) -> Iterator[Finding]:
    for (earlier, one), (later, other) in combinations(_binds(config), 2):
        if _overlap(one, other):
            yield Finding(later, f"{other} is taken by {earlier} already", (earlier,))


def _loopback_or_anyone(config: Config) -> Iterator[Finding]:
    for path, listener in _listeners(config):
        if _is_exposed(listener) and not listener.anyone and not _knows_callers(listener):
            risk = f"{listener.bind} is open to other machines, and whoever reaches it may use the credential"
            cure = "bind 127.0.0.1, name its clients, ask for certificates (tls.client_ca), or say `anyone: true`"
            rests_on = (f"{path}.{key}" for key in ("anyone", "clients", "tls.cert", "tls.key", "tls.client_ca"))
            yield Finding(f"{path}.bind", f"{risk}: {cure}", tuple(rests_on))


def _anyone_or_clients(config: Config) -> Iterator[Finding]:
    for path, listener in _listeners(config):
        if listener.anyone and listener.clients:
            message = "contradicts clients, of whom each must present its key: take one of the two out"
            yield Finding(f"{path}.anyone", message, (f"{path}.clients",))


def _tls_over_tcp(config: Config) -> Iterator[Finding]:
    for path, listener in _listeners(config):
        if listener.tls is not None and not isinstance(listener.bind, TcpBind):
            message = "is for host:port alone: a unix socket has its mode and owner to say who may connect"
            yield Finding(f"{path}.tls", message, (f"{path}.bind",))


def _sockets_have_owners(config: Config) -> Iterator[Finding]:
    for path, listener in _listeners(config):
        for key in ("mode", "owner"):
            if isinstance(listener.bind, TcpBind) and getattr(listener, key) is not None:
                message = "is for a unix socket alone: leave it out, or bind unix:/path.sock"
                yield Finding(f"{path}.{key}", message, (f"{path}.bind",))


def _replay_fits(config: Config) -> Iterator[Finding]:
    if config.replay.max_body > config.replay.max_total:
        message = "must not be larger than replay.max_total, in which all kept bodies find room"
        yield Finding("replay.max_body", message, ("replay.max_total",))


def _no_loop(config: Config) -> Iterator[Finding]:
    url = config.upstream.url
    target = TcpBind(url.host or "", url.port or 0)
    for path, bind in _binds(config):
        if target.is_loopback and _overlap(target, bind):
            yield Finding("upstream.url", f"this is the proxy's own address ({path})", (path,))


def _proxy_for_https(config: Config) -> Iterator[Finding]:
    """Refuse a proxy that nothing would go through: completion leaves it at the upstream only then."""
    if config.upstream.proxy is not None and not may_be_proxied(config.upstream.url):
        message = "is for https to other machines, and neither upstream.url nor a token_url is that: write null"
        yield Finding("upstream.proxy", message, ("upstream.url",), ("credentials",))


def _one_grant_a_store(config: Config) -> Iterator[Finding]:
    stores = [(name, item.store) for name, item in config.credentials.items() if isinstance(item, OAuth2Credential)]
    for (earlier, one), (later, other) in combinations(stores, 2):
        if isinstance(one, FileStore) and one == other and one.path is not None:
            message = f"credential {shown(earlier)} keeps its grant in the same file: name another"
            yield Finding(f"{join('credentials', later)}.oauth2.store.file", message)
        if isinstance(one, KubernetesStore) and isinstance(other, KubernetesStore) and one.secret == other.secret:
            paths = [f"{join('credentials', each)}.oauth2.store.kubernetes" for each in (later, earlier)]
            flaw = _of_one_name(one, other)
            if flaw is not None:
                rests_on = tuple(f"{path}.namespace" for path in paths)
                yield Finding(f"{paths[0]}.secret", f"credential {shown(earlier)} {flaw}", rests_on)


def _of_one_name(one: KubernetesStore, other: KubernetesStore) -> str | None:
    """Tell what is wrong with two Secrets of one name; None: they are in two namespaces."""
    if one.namespace == other.namespace:
        return "keeps its grant in the same Secret: name another"
    if None in {one.namespace, other.namespace}:  # only the cluster knows it
        return "may keep its grant in the same Secret: name another, or the namespace of both"
    return None


def _one_kind_of_redis(config: Config) -> Iterator[Finding]:
    for path, redis in every_redis(config):
        if redis.cluster and redis.sentinel is not None:
            message = "is not for a cluster, which finds its masters by itself: take one of the two out"
            yield Finding(f"{path}.sentinel", message, (f"{path}.cluster",))


def every_redis(config: Config) -> Iterator[tuple[str, Redis]]:
    """Yield every Redis that is to be used, with its path."""
    for name, item in config.credentials.items():
        if isinstance(item, OAuth2Credential) and isinstance(item.store, RedisStore):
            yield f"{join('credentials', name)}.oauth2.store.redis", item.store
    if config.rate_budget.redis is not None:
        yield "rate_budget.redis", config.rate_budget.redis


def _whole_seeds(config: Config) -> Iterator[Finding]:
    for name, item in config.credentials.items():
        path = f"{join('credentials', name)}.oauth2"
        if not isinstance(item, OAuth2Credential):
            continue
        if item.access_token is not None and (item.expires_at is None or item.refresh_token is None):
            message = "needs expires_at, its expiry, and refresh_token, which it came with"
            yield Finding(f"{path}.access_token", message, (f"{path}.expires_at", f"{path}.refresh_token"))
        if item.expires_at is not None and item.access_token is None:
            yield Finding(
                f"{path}.expires_at", "is the expiry of access_token: set that too", (f"{path}.access_token",)
            )


def _exposed_listeners(config: Config) -> Iterator[Finding]:
    for path, listener in _listeners(config):
        if _is_exposed(listener) and listener.anyone and not _knows_callers(listener):
            yield Finding(f"{path}.anyone", f"whoever reaches {listener.bind} may use the credential")


def _paths_that_apps_send(config: Config) -> Iterator[Finding]:
    if _APPS_PATH.search(config.upstream.url.path):
        message = "it ends in a path that apps send too, and PandaDoc answers 404 to that twice over: leave it out"
        yield Finding("upstream.url", message)


def _unchecked_hosts(config: Config) -> Iterator[Finding]:
    for path, listener in _listeners(config):
        if "*" in listener.allowed_hosts:
            message = 'with "*" any Host passes: a web page can reach the listener by DNS rebinding'
            yield Finding(f"{path}.allowed_hosts", message)


def _keys_in_the_clear(config: Config) -> Iterator[Finding]:
    for path, listener in _listeners(config):
        if _is_exposed(listener) and listener.clients and listener.tls is None:
            message = f"clients send their keys to {listener.bind} in plain http, where others may read them: set tls"
            yield Finding(f"{path}.clients", message)


def _policies_that_refuse_everything(config: Config) -> Iterator[Finding]:
    for path, policy in _policies(config):
        if policy.otherwise == "deny" and not any(rule.allows for rule in policy.rules):
            message = "with `deny` and no rule that allows anything, every request is refused"
            yield Finding(f"{path}.otherwise", message)


def _lenient_policies(config: Config) -> Iterator[Finding]:
    for path, policy in _policies(config):
        if policy.mode == "warn":
            yield Finding(f"{path}.mode", "what this policy would refuse passes, and is counted")


def _open_credential_operations(config: Config) -> Iterator[Finding]:
    closed = config.policy.credential_operations
    left_out = [str(each) for each in CREDENTIAL_OPERATIONS if not any(one.covers(each) for one in closed)]
    if left_out:
        message = f"apps can be handed credentials of their own, for these pass: {', '.join(left_out)}"
        yield Finding("policy.credential_operations", message)


def _budgets_of_nobody(config: Config) -> Iterator[Finding]:
    """Find what is set for budgets that nobody has; they may be switched off for a while, by `numbers: none`."""
    budget, usual = config.rate_budget, RateBudget()
    numbers = {budget.credentials.get(name, budget.numbers) for name in config.credentials}
    keys = ("rates", "sandbox", "redis", "share", "max_wait", "prefer_wait")
    given = [key for key in keys if getattr(budget, key) != getattr(usual, key)]
    if given and numbers <= {"none"}:
        cure = "say `numbers: auto`, or sandbox, here or for some credentials"
        yield Finding("rate_budget", f"nothing is counted, so these are of no effect: {', '.join(given)}; {cure}")
        return
    for key, kind in (("rates", "auto"), ("sandbox", "sandbox")):
        if key in given and kind not in numbers:
            message = f"is of no effect: it is for credentials with `numbers: {kind}`, and none has that"
            yield Finding(f"rate_budget.{key}", message)


def _lost_grants(config: Config) -> Iterator[Finding]:
    for name, item in config.credentials.items():
        if isinstance(item, OAuth2Credential) and isinstance(item.store, MemoryStore):
            message = "the grant is lost when this process ends: a refresh token may serve only once"
            yield Finding(f"{join('credentials', name)}.oauth2.store", message)


_FAULTS: tuple[Callable[[Config], Iterator[Finding]], ...] = (
    _some_listener,
    _known_credentials,
    _one_socket_each,
    _keys_of_their_own,
    _api_keys_alone,
    _budgets_of_known_credentials,
    _shares_that_leave_something,
    _loopback_or_anyone,
    _anyone_or_clients,
    _rules_that_matter,
    _tls_over_tcp,
    _sockets_have_owners,
    _replay_fits,
    _no_loop,
    _proxy_for_https,
    _one_grant_a_store,
    _one_kind_of_redis,
    _whole_seeds,
)
_WARNINGS: tuple[Callable[[Config], Iterator[Finding]], ...] = (
    _paths_that_apps_send,
    _exposed_listeners,
    _unchecked_hosts,
    _keys_in_the_clear,
    _lenient_policies,
    _policies_that_refuse_everything,
    _open_credential_operations,
    _budgets_of_nobody,
    _lost_grants,
)


def _listeners(config: Config) -> Iterator[tuple[str, Listener]]:
    return ((f"listeners.{index}", listener) for index, listener in enumerate(config.listeners))


def clients(config: Config) -> Iterator[tuple[str, Client]]:
    """Yield every listener's clients, with their paths."""
    for path, listener in _listeners(config):
        for name, client in _whole(listener.clients):
            yield join(f"{path}.clients", name), client


def lent(config: Config) -> Iterator[tuple[str, str]]:
    """Yield the name of each credential that is lent, with the path of the listener or client that says so."""
    yield from ((path, listener.credential) for path, listener in _listeners(config) if _lends_its_own(listener))
    yield from ((path, client.credential) for path, client in clients(config) if client.credential is not None)


def _whole(clients: Mapping[str, Client]) -> Iterator[tuple[str, Client]]:
    """Leave out what the reader could not read; its faults are known."""
    return ((name, client) for name, client in clients.items() if isinstance(client, Client))  # type: ignore[redundant-expr]


def _policies(config: Config) -> Iterator[tuple[str, Policy]]:
    yield "policy", config.policy
    for path, client in clients(config):
        yield f"{path}.policy", client.policy


def _binds(config: Config) -> Iterator[tuple[str, TcpBind | UnixBind]]:
    for path, listener in _listeners(config):
        yield f"{path}.bind", listener.bind
    if config.admin is not None:
        yield "admin.bind", config.admin.bind


def _is_exposed(listener: Listener) -> bool:
    return isinstance(listener.bind, TcpBind) and not listener.bind.is_loopback


def _knows_callers(listener: Listener) -> bool:
    """Whether a caller must show who it is."""
    return bool(listener.clients) or (listener.tls is not None and listener.tls.client_ca is not None)


def _overlap(one: TcpBind | UnixBind, other: TcpBind | UnixBind) -> bool:
    """Whether the second of two sockets could not be bound; port 0 is a free one each time."""
    if not isinstance(one, TcpBind) or not isinstance(other, TcpBind):
        return _spelled(one) == _spelled(other)
    return one.port == other.port != 0 and any(
        _same_address(a, b) for a, b in product(_addresses(one.host), _addresses(other.host))
    )


def _spelled(bind: TcpBind | UnixBind) -> TcpBind | str:
    """Spell a path in one way; two slashes at its start, which POSIX sets apart, are one to Linux."""
    return bind if isinstance(bind, TcpBind) else normpath(f"//{bind.path}")


def _addresses(host: str) -> tuple[str, ...]:
    return ("127.0.0.1", "::1") if host.rstrip(".") == "localhost" else (host,)


def _same_address(one: str, other: str) -> bool:
    """Compare, knowing that a wildcard takes all of its family and no more (asyncio sets IPV6_V6ONLY)."""
    of_one_family = (":" in one) == (":" in other)
    return one == other or (of_one_family and (is_wildcard(one) or is_wildcard(other)))
