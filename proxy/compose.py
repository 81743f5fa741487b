"""The composition root: a Config becomes a frozen Snapshot of parts. Opens no socket and sends nothing.

A request takes the snapshot's lane for its listener and keeps it to its end, so that a reload can
put another snapshot in its place.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from proxy import outbound
from proxy.clock import Clock
from proxy.compose_credentials import CredentialParts
from proxy.compose_policy import policy_of_all, policy_of_client
from proxy.config import Config, Listener, TcpBind
from proxy.credential.source import CredentialSource
from proxy.forward.body import BodyLimits, KeptBytes
from proxy.forward.clients import Anyone, Client, Named
from proxy.forward.guard import Gate
from proxy.forward.handler import Lane
from proxy.forward.headers import Origin
from proxy.forward.places import Places
from proxy.forward.session_upstream import SessionUpstream
from proxy.forward.tally import Tally
from proxy.hosts import is_wildcard
from proxy.keyring import ClientKey, Keyring
from proxy.tasks import Tasks


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The parts that one configuration made."""

    lanes: tuple[Lane, ...]  # as config.listeners
    sources: tuple[CredentialSource, ...]
    keyrings: tuple[Keyring, ...]
    sessions: tuple[aiohttp.ClientSession, ...]
    tally: Tally

    async def close(self) -> None:
        for session in self.sessions:
            await session.close()


def build(config: Config, *, state_home: Path, clock: Clock, tasks: Tasks, ready: Callable[[], bool]) -> Snapshot:
    """Make the parts. Needs a running loop, for the sessions; connects to nothing."""
    context = outbound.trust(config.upstream)
    parts = CredentialParts(config, state_home, clock, tasks, outbound.credential_session(context))
    forwarding = outbound.forwarding_sessions(config.upstream, context)
    upstream = SessionUpstream(
        *forwarding,
        config.upstream.url.origin(),
        response_timeout=config.upstream.response_timeout,
        idle_timeout=config.upstream.idle_timeout,
        proxy=config.upstream.proxy,
    )
    sources = {name: parts.source(name) for name in config.credentials}
    kept_bytes, tally = KeptBytes(config.replay.max_total), Tally()
    keyrings = {number: _keyring(each, parts) for number, each in enumerate(config.listeners) if each.clients}
    lanes = tuple(
        Lane(
            gate=_gate(listener, config),
            clients=_clients(listener, config, sources, keyrings.get(number)),
            placeholder=listener.token_endpoint == "placeholder",  # noqa: S105 - a choice, no secret
            upstream=upstream,
            origin=_origin(config),
            body_limits=BodyLimits(config.limits.max_body, config.replay.max_body, config.upstream.idle_timeout),
            kept_bytes=kept_bytes,
            places=Places(config.limits.max_requests, "limits.max_requests"),
            cookies=listener.cookies == "pass",
            health=listener.health,
            tally=tally,
            ready=ready,
            scheme=b"http" if listener.tls is None else b"https",
        )
        for number, listener in enumerate(config.listeners)
    )
    sessions = (parts.session, *forwarding)
    return Snapshot(lanes, tuple(sources.values()), tuple(keyrings.values()), sessions, tally)


def _keyring(listener: Listener, parts: CredentialParts) -> Keyring:
    keys = {name: ClientKey(client.key, client.overlap) for name, client in listener.clients.items()}
    return Keyring(keys, parts.reader, parts.clock.monotonic)


def _clients(
    listener: Listener, config: Config, sources: Mapping[str, CredentialSource], keyring: Keyring | None
) -> Anyone | Named:
    whole = policy_of_all(config)
    if keyring is None:
        return Anyone(Client("", sources[listener.credential], whole, Places(None, "")))
    clients = {
        name: Client(
            name,
            sources[client.credential or listener.credential],
            whole + policy_of_client(client, name),
            Places(client.max_requests, f"max_requests of client {name}"),
        )
        for name, client in listener.clients.items()
    }
    return Named(clients, keyring)


def _gate(listener: Listener, config: Config) -> Gate:
    bind = listener.bind
    return Gate(
        allowed_hosts=listener.allowed_hosts,
        bound_to=bind.host if isinstance(bind, TcpBind) and not is_wildcard(bind.host) else None,
        prefix=_origin(config).prefix,
        max_head=config.limits.max_head,
        max_headers=config.limits.max_headers,
    )


def _origin(config: Config) -> Origin:
    url = config.upstream.url
    return Origin(str(url.origin()), url.raw_path.rstrip("/"))
