"""The composition root: a Config becomes a frozen Snapshot of parts. Opens no socket and sends nothing.

A request takes the snapshot's lane for its listener and keeps it to its end, so that a reload can
put another snapshot in its place.
"""

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from yarl import URL

from proxy import outbound
from proxy.clock import Clock
from proxy.config import (
    ApiKeyCredential,
    BadConfig,
    Config,
    Credential,
    Fault,
    FileStore,
    Listener,
    OAuth2Credential,
    TcpBind,
)
from proxy.credential.api_key import ApiKey
from proxy.credential.file_store import FileStore as GrantFile
from proxy.credential.file_store import default_path
from proxy.credential.grant_keeper import GrantKeeper
from proxy.credential.oauth2 import RefreshingCredential
from proxy.credential.probe import UpstreamProbe
from proxy.credential.refresh import GrantSecrets, Refresher
from proxy.credential.source import CredentialSource
from proxy.credential.store import MemoryStore, Store
from proxy.credential.token_endpoint import TokenEndpoint
from proxy.forward.body import BodyLimits, KeptBytes
from proxy.forward.guard import Gate
from proxy.forward.handler import Lane
from proxy.forward.headers import Origin
from proxy.forward.session_upstream import SessionUpstream
from proxy.hosts import is_wildcard
from proxy.secrets import SecretUnavailable
from proxy.tasks import Tasks


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The parts that one configuration made."""

    lanes: tuple[Lane, ...]  # as config.listeners
    sessions: tuple[aiohttp.ClientSession, ...]

    async def close(self) -> None:
        for session in self.sessions:
            await session.close()


def build(config: Config, *, state_home: Path, clock: Clock, tasks: Tasks, ready: Callable[[], bool]) -> Snapshot:
    """Make the parts. Needs a running loop, for the sessions; connects to nothing."""
    context = outbound.trust(config.upstream)
    parts = _Parts(config, state_home, clock, tasks, outbound.credential_session(config.upstream, context))
    forwarding = outbound.forwarding_sessions(config.upstream, context)
    upstream = SessionUpstream(
        *forwarding,
        config.upstream.url.origin(),
        response_timeout=config.upstream.response_timeout,
        idle_timeout=config.upstream.idle_timeout,
        proxy=config.upstream.proxy,
    )
    sources = {name: parts.source(name, credential) for name, credential in config.credentials.items()}
    kept_bytes = KeptBytes(config.replay.max_total)
    lanes = tuple(
        Lane(
            gate=_gate(listener, config),
            source=sources[listener.credential],
            upstream=upstream,
            origin=_origin(config),
            body_limits=BodyLimits(config.limits.max_body, config.replay.max_body, config.upstream.idle_timeout),
            kept_bytes=kept_bytes,
            max_requests=config.limits.max_requests,
            health=listener.health,
            ready=ready,
        )
        for listener in config.listeners
    )
    return Snapshot(lanes, (parts.session, *forwarding))


@dataclass(frozen=True, slots=True)
class _Parts:
    """What every credential source is made from."""

    config: Config
    state_home: Path
    clock: Clock
    tasks: Tasks
    session: aiohttp.ClientSession

    def source(self, name: str, credential: Credential) -> CredentialSource:
        if isinstance(credential, ApiKeyCredential):
            return ApiKey(name, credential.api_key)
        secrets = GrantSecrets(credential.client_id, credential.client_secret, credential.refresh_token)
        keeper = GrantKeeper(
            name, store=self._store(credential), seed=secrets.seed, jitter=random.random, tasks=self.tasks
        )
        refresher = Refresher(
            name,
            secrets=secrets,
            endpoint=self._endpoint(credential),
            keeper=keeper,
            refresh_before=credential.refresh_before,
            clock=self.clock,
            jitter=random.random,
            tasks=self.tasks,
        )
        return RefreshingCredential(
            refresher, probe=self._probe(credential), wait=credential.wait, clock=self.clock, tasks=self.tasks
        )

    def _endpoint(self, credential: OAuth2Credential) -> TokenEndpoint:
        return TokenEndpoint(
            self.session,
            credential.token_url,
            clock=self.clock,
            scope=credential.scope,
            redeem_timeout=credential.redeem_timeout,
            connect_timeout=self.config.upstream.connect_timeout,
            proxy=self.config.upstream.proxy,
        )

    def _probe(self, credential: OAuth2Credential) -> UpstreamProbe | None:
        if credential.probe is None:
            return None
        url = URL(f"{self.config.upstream.url}".rstrip("/") + credential.probe, encoded=True)
        return UpstreamProbe(self.session, url, proxy=self.config.upstream.proxy)

    def _store(self, credential: OAuth2Credential) -> Store:
        if not isinstance(credential.store, FileStore):
            return MemoryStore()
        return GrantFile(lambda: _place(credential, self.state_home))


def _place(credential: OAuth2Credential, state_home: Path) -> Path:
    """Tell where a credential's grant is kept. Raises SecretUnavailable while its client's id can't be read."""
    if isinstance(credential.store, FileStore) and credential.store.path is not None:
        return credential.store.path
    return default_path(state_home, str(credential.token_url), credential.client_id.read())


def refuse_shared_stores(config: Config, state_home: Path) -> None:
    """Raise BadConfig where two credentials would keep their grants in one file and spend each other's tokens."""
    owners: dict[Path, str] = {}
    for name, credential in config.credentials.items():
        if not isinstance(credential, OAuth2Credential) or not isinstance(credential.store, FileStore):
            continue
        with suppress(SecretUnavailable):  # told when it is needed
            owner = owners.setdefault(_place(credential, state_home), name)
            if owner != name:
                raise BadConfig(
                    Fault(
                        str(config.source or "environment"),
                        f"credentials.{name}.oauth2.store",
                        f"credential {owner} keeps its grant in the same file: give each a file of its own,"
                        f" such as store: {{file: {name}.json}}",
                    )
                )


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
