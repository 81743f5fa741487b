"""The composition of credentials: the server lends them, the commands `login` and `token` look after them."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiohttp
from yarl import URL

from proxy import outbound
from proxy.clock import Clock, SystemClock
from proxy.compose_engine import engine
from proxy.config import (
    MEMBER,
    ApiKeyCredential,
    Config,
    Credential,
    FileStore,
    KubernetesStore,
    OAuth2Credential,
    RedisStore,
    SharedStore,
)
from proxy.config.describe import store_text
from proxy.config.faults import join, shown
from proxy.config.rules import Finding
from proxy.credential.api_key import ApiKey
from proxy.credential.file_store import FileStore as GrantFile
from proxy.credential.file_store import Place, default_path
from proxy.credential.grant_keeper import GrantKeeper
from proxy.credential.grant_secrets import GrantSecrets
from proxy.credential.oauth2 import RefreshingCredential
from proxy.credential.policy import Policy
from proxy.credential.probe import UpstreamProbe
from proxy.credential.refresh import Refresher, Trace
from proxy.credential.shared_store import SharedStore as SharedGrant
from proxy.credential.source import CredentialSource
from proxy.credential.store import MemoryStore, Store
from proxy.credential.token_endpoint import TokenEndpoint, owner_of
from proxy.secret_reader import SecretReader
from proxy.secrets import SecretUnavailable
from proxy.tasks import Tasks

REPLICA: Final = f"{socket.gethostname()}-{random.randbytes(3).hex()}"  # noqa: S311 - a name, no secret
"""This process among its replicas: in a pod, its name and a bit more."""

LAST_WORK: Final = 45.0
"""Seconds that a command gives a pair to be stored, after its redeem."""


@dataclass(frozen=True, slots=True)
class CredentialParts:
    """What every credential is made from."""

    config: Config
    state_home: Path
    clock: Clock
    tasks: Tasks
    session: aiohttp.ClientSession
    reader: SecretReader = field(default_factory=SecretReader)
    trace: Trace | None = None  # of refreshes
    opened: list[Store] = field(default_factory=list)  # the stores that were made; grows in `store` alone

    def source(self, name: str) -> CredentialSource:
        """Make what lends the credential of that name."""
        credential = self.config.credentials[name]
        if isinstance(credential, ApiKeyCredential):
            return ApiKey(name, credential.api_key, self.reader)
        return RefreshingCredential(
            self.refresher(name, credential),
            probe=self.probe(credential),
            wait=credential.wait,
            clock=self.clock,
            tasks=self.tasks,
        )

    def reconfigure(
        self, grant: RefreshingCredential, name: str, credential: OAuth2Credential, before: Credential | None
    ) -> None:
        """Have a credential that lends already go on with other settings than those `before`."""
        store = grant.refresher.keeper.store
        moved = isinstance(before, OAuth2Credential) and before.store != credential.store
        if moved and isinstance(store, SharedGrant) and isinstance(credential.store, SharedStore):
            store.move(engine(credential.store, store.owner, self.reader))
        secrets, endpoint = self.secrets(credential), self.endpoint(credential)
        policy = self.policy(credential, by_hand=False)
        grant.refresher.reconfigure(name, secrets=secrets, endpoint=endpoint, policy=policy)
        grant.reconfigure(probe=self.probe(credential), wait=credential.wait)

    def refresher(self, name: str, credential: OAuth2Credential, *, by_hand: bool = False) -> Refresher:
        """Make what refreshes a grant; `by_hand`: once, for a person, in a process that ends."""
        secrets = self.secrets(credential)
        keeper = GrantKeeper(
            name,
            store=self.store(credential),
            seed=secrets.seed,
            clock=self.clock,
            jitter=random.random,
            tasks=self.tasks,
            by=self.replica(credential),
        )
        return Refresher(
            name,
            secrets=secrets,
            endpoint=self.endpoint(credential),
            keeper=keeper,
            policy=self.policy(credential, by_hand=by_hand),
            clock=self.clock,
            jitter=random.random,
            tasks=self.tasks,
            trace=self.trace,
        )

    def policy(self, credential: OAuth2Credential, *, by_hand: bool) -> Policy:
        return Policy(
            refresh_before=credential.refresh_before,
            max_age=credential.max_age,
            retry_unknown=by_hand or credential.unknown_outcome == "retry",
            goes_on=not by_hand,
            alone=not isinstance(credential.store, SharedStore)
            or credential.store.when_unreachable == "refresh_anyway",
            late=random.random() if isinstance(credential.store, SharedStore) else 0.0,  # noqa: S311 - spreads load
        )

    def secrets(self, credential: OAuth2Credential) -> GrantSecrets:
        return GrantSecrets(
            self.reader,
            credential.client_id,
            credential.client_secret,
            credential.refresh_token,
            credential.access_token,
            credential.expires_at,
        )

    def endpoint(self, credential: OAuth2Credential) -> TokenEndpoint:
        return TokenEndpoint(
            self.session,
            credential.token_url,
            clock=self.clock,
            scope=credential.scope,
            redeem_timeout=credential.redeem_timeout,
            connect_timeout=self.config.upstream.connect_timeout,
            proxy=None if credential.proxy is None else credential.proxy.url,
        )

    def probe(self, credential: OAuth2Credential) -> UpstreamProbe | None:
        return None if credential.probe is None else self.prober(credential)

    def prober(self, credential: OAuth2Credential) -> UpstreamProbe:
        """Make what a person asks with, also where the server is told not to."""
        url = URL(f"{self.config.upstream.url}".rstrip("/") + (credential.probe or MEMBER), encoded=True)
        proxy = self.config.upstream.proxy
        return UpstreamProbe(self.session, url, proxy=None if proxy is None else proxy.url)

    def store_text(self, credential: OAuth2Credential) -> str:
        """Say where a grant is kept, for people."""
        if isinstance(credential.store, SharedStore):
            return store_text(credential.store)
        if not isinstance(credential.store, FileStore):
            return "memory"
        try:
            return str(place(credential, self.state_home).path)
        except SecretUnavailable:
            return "a file named after the client's id, which can't be read"

    def takes_over(self, credential: OAuth2Credential) -> str:
        """Say who will see what was stored, for people."""
        store = self.store_text(credential)
        return f"Kept in {store}. A running proxy on this store takes it over within a few seconds."

    def store(self, credential: OAuth2Credential) -> Store:
        """Make the way to where a grant is kept; whoever made the parts closes it."""
        store = self._store(credential)
        self.opened.append(store)
        return store

    def _store(self, credential: OAuth2Credential) -> Store:
        if isinstance(credential.store, FileStore):
            return GrantFile(lambda: place(credential, self.state_home))
        if not isinstance(credential.store, SharedStore):
            return MemoryStore()

        async def owner() -> str:
            return await shared.owner()

        shared = SharedGrant(
            engine(credential.store, owner, self.reader),
            partial(self.owner, credential),
            who=self.replica(credential),
            clock=self.clock,
            jitter=random.random,
            tasks=self.tasks,
        )
        return shared

    async def owner(self, credential: OAuth2Credential) -> str:
        """Name whose grant it is. Raises SecretUnavailable."""
        return owner_of(str(credential.token_url), await self.reader.read(credential.client_id))

    async def finish(self, work: Coroutine[Any, Any, int], name: str, say: Callable[[str], object]) -> int:
        """Do for a person what must not be cut off, and return its exit code; one who leaves meanwhile is told so."""
        begun = self.tasks.start(work, name, finish=True)
        try:
            await asyncio.wait({begun})
        except asyncio.CancelledError:
            say("Interrupted: what was begun is finished first. Once more, and it is lost.")
            raise
        return begun.result()

    def replica(self, credential: OAuth2Credential) -> str:
        """Name this process to those who share the grant, if there may be any."""
        return REPLICA if isinstance(credential.store, SharedStore) else ""


def identity(name: str, credential: Credential) -> tuple[object, ...]:
    """Tell by what a credential is the same one after a reload: what else is said of it are settings.

    Two objects for one grant would spend each other's refresh tokens.
    """
    if isinstance(credential, ApiKeyCredential):
        return (name, credential.api_key)
    store: object = credential.store
    if isinstance(store, RedisStore):  # where the record lies; how it is reached is a setting
        store = ("redis", store.url, store.prefix)
    elif isinstance(store, KubernetesStore):
        store = ("kubernetes", store.secret, store.namespace)
    return (credential.token_url, credential.client_id, store)


@asynccontextmanager
async def for_a_person(config: Config, state_home: Path) -> AsyncIterator[CredentialParts]:
    """Make the parts for a command that ends; what it began, and must be finished, is finished."""
    tasks = Tasks()
    session = outbound.credential_session(outbound.trust(config.upstream).context)
    parts = CredentialParts(config, state_home, SystemClock(), tasks, session)
    try:
        yield parts
    finally:
        await tasks.drain(longest_redeem(config) + LAST_WORK)
        for store in parts.opened:
            await store.close()
        await session.close()


def longest_redeem(config: Config) -> float:
    """Seconds that a redeem may take, which must not be cut off once it is sent."""
    oauth = (each for each in config.credentials.values() if isinstance(each, OAuth2Credential))
    return max((each.redeem_timeout for each in oauth), default=0.0)


def place(credential: OAuth2Credential, state_home: Path) -> Place:
    """Tell where a credential's grant is kept. Raises SecretUnavailable while its client's id can't be read."""
    owner = owner_of(str(credential.token_url), credential.client_id.read())
    chosen = credential.store.path if isinstance(credential.store, FileStore) else None
    return Place(chosen or default_path(state_home, owner), owner)


def shared_stores(config: Config, state_home: Path) -> Iterator[Finding]:
    """Find where two credentials would keep their grants in one file and spend each other's tokens."""
    owners: dict[object, str] = {}
    for name, credential in config.credentials.items():
        if not isinstance(credential, OAuth2Credential):
            continue
        with suppress(SecretUnavailable):  # told when it is needed
            where, cure = _whereabouts(credential, state_home, name)
            owner = owners.setdefault(where, name)
            if owner != name:
                paths = tuple(f"{join('credentials', each)}.oauth2" for each in (name, owner))
                compared = (f"{path}.{key}" for path in paths for key in ("store", "token_url"))
                message = f"credential {shown(owner)} keeps its grant in the same place: {cure}"
                yield Finding(f"{paths[0]}.store", message, ("upstream.url",), tuple(compared))


def _whereabouts(credential: OAuth2Credential, state_home: Path, name: str) -> tuple[object, str]:
    """Tell where a grant is kept, in a form that can be compared, and how to keep it elsewhere."""
    store = credential.store
    if isinstance(store, FileStore):
        return place(credential, state_home).path, f"give each a file of its own, such as store: {{file: {name}.json}}"
    if isinstance(store, RedisStore):
        owner = owner_of(str(credential.token_url), credential.client_id.read())
        return (store.url, store.prefix, owner), f"give each a prefix of its own, such as prefix: pandadoc-proxy-{name}"
    return name, ""  # two in one Secret are told when the configuration is read
