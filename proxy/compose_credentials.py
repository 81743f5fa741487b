"""The composition of credentials: the server lends them, the commands `login` and `token` look after them."""

import asyncio
import os
import random
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import aiohttp
from msgspec import Struct, field
from msgspec.structs import replace
from yarl import URL

from proxy import outbound, succession
from proxy.clock import Clock, SystemClock
from proxy.compose_engine import engine
from proxy.config import (
    MEMBER,
    ApiKeyCredential,
    Config,
    Credential,
    FileStore,
    MemoryStore,
    OAuth2Credential,
    Redis,
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
from proxy.credential.ledger import Ledger
from proxy.credential.oauth2 import RefreshingCredential
from proxy.credential.policy import Policy
from proxy.credential.probe import UpstreamProbe
from proxy.credential.redis_address import BadAddress, parse
from proxy.credential.refresh import Refresher, Trace
from proxy.credential.shared_store import SharedStore as SharedGrant
from proxy.credential.source import CredentialSource
from proxy.credential.store import MemoryStore as GrantInMemory
from proxy.credential.store import Store
from proxy.credential.token_endpoint import TokenEndpoint, owner_of
from proxy.disk import within
from proxy.secret_reader import SecretReader
from proxy.secrets import Secret, SecretReference, SecretUnavailable
from proxy.tasks import Tasks
from proxy.utf8 import encodable

T = TypeVar("T")

REPLICA: Final = f"{socket.gethostname()}-{random.randbytes(3).hex()}"  # noqa: S311 - a name, no secret
"""This process among its replicas: in a pod, its name and a bit more."""

LOOK: Final = 0.2
"""Seconds to find out which file a path leads to, or whether a seed is spent: a disk may hang, and a start, or at a
reload all requests, wait for it."""

LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})
"""One server, under three names; other addresses of this machine may be others'."""

LAST_WORK: Final = 45.0
"""Seconds that a command gives a pair to be stored, after its redeem."""


class CredentialParts(Struct, frozen=True):
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
        if isinstance(before, OAuth2Credential) and before.store != credential.store:
            keeper = grant.refresher.keeper
            store = self._moved(keeper.store, credential)
            if succession.place(before) != succession.place(credential):
                keeper.move(store, by=self.replica(credential))
        secrets, endpoint = self.secrets(credential), self.endpoint(credential)
        policy = self.policy(credential, by_hand=False)
        grant.refresher.reconfigure(
            name, secrets=secrets, endpoint=endpoint, policy=policy, several=self._several_grants
        )
        grant.reconfigure(probe=self.probe(credential), wait=credential.wait)

    def _moved(self, store: Store, credential: OAuth2Credential) -> Store:
        """Return the way to where a grant is to be kept from now on, given the one there was."""
        if isinstance(store, SharedGrant) and isinstance(credential.store, SharedStore):
            store.move(engine(credential.store, store.owner, self.reader))
            return store
        return self.store(credential)

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
            several=self._several_grants,
        )

    @property
    def _several_grants(self) -> bool:
        return sum(isinstance(each, OAuth2Credential) for each in self.config.credentials.values()) > 1

    def policy(self, credential: OAuth2Credential, *, by_hand: bool) -> Policy:
        shared = isinstance(credential.store, SharedStore)
        return Policy(
            refresh_before=credential.refresh_before,
            max_age=credential.max_age,
            retry_unknown=by_hand or credential.unknown_outcome == "retry",
            goes_on=not by_hand,
            alone=not isinstance(credential.store, SharedStore)
            or credential.store.when_unreachable == "refresh_anyway",
            one_clock=not shared,
            late=random.random() if shared else 0.0,  # noqa: S311 - spreads load
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
            return encodable(str(place(credential, self.state_home).path))
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
            return GrantFile(partial(self._place, credential))
        if not isinstance(credential.store, SharedStore):
            return GrantInMemory()

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

    def _place(self, credential: OAuth2Credential) -> Place:
        """Tell where a grant is kept; that another's is too may only show once every client's id can be read.

        Raises SecretUnavailable.
        """
        found, same = place(credential, self.state_home), _path(credential, self.state_home)
        for name, other in self.config.credentials.items():
            if other is not credential and _path(other, self.state_home) == same:
                raise SecretUnavailable(f"credential {name} keeps its grant in the same file: give each one of its own")
        return found

    async def owner(self, credential: OAuth2Credential) -> str:
        """Name whose grant it is; that another's is in the same record may only show now, as with a file.

        Raises SecretUnavailable.
        """
        whose = owner_of(str(credential.token_url), await self.reader.read(credential.client_id))
        if (record := await self._record(credential)) is not None:
            for name, other in self.config.credentials.items():
                if other is not credential and await self._record(other) == record:
                    cure = "give each a prefix of its own"
                    raise SecretUnavailable(f"credential {name} keeps its grant in the same place: {cure}")
        return whose

    async def _record(self, credential: Credential) -> object | None:
        """Return what names a grant's record in a Redis; None: it is in none, or the name of it can't be told yet."""
        if not isinstance(credential, OAuth2Credential) or not isinstance(credential.store, RedisStore):
            return None
        with suppress(SecretUnavailable):
            url, client_id = [await self.reader.read(each) for each in (credential.store.url, credential.client_id)]
            return (
                _server(credential.store, url),
                credential.store.prefix,
                owner_of(str(credential.token_url), client_id),
            )
        return None

    async def finish(self, work: Coroutine[Any, Any, T], name: str, say: Callable[[str], object]) -> T:
        """Do for a person what must not be cut off, and return how it ended; one who leaves meanwhile is told so."""
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


def begins_spent(credential: Credential, ledger: Ledger, state_home: Path) -> bool:
    """Tell whether one would begin with a refresh token that `ledger` knows as spent, for there is nothing else.

    Not where that can't be told within LOOK. `ledger` has a grant, or its first redeem is on its way.
    """

    def look() -> bool:
        if not isinstance(credential, OAuth2Credential) or credential.refresh_token is None:
            return False
        with suppress(SecretUnavailable):
            seed, grant = credential.refresh_token.read(), ledger.grant
            begun = seed.fingerprint() in ledger.seeds and not (grant and grant.refresh_token == seed)
            kept = isinstance(credential.store, FileStore) and os.path.lexists(place(credential, state_home).path)
            return (grant is None or begun or ledger.doubt(seed) is not None) and not kept
        return False

    return within(LOOK, look, otherwise=False)


async def read_out(credentials: Iterable[Credential], reader: SecretReader) -> dict[SecretReference, SecretReference]:
    """Read by what a grant is known: its client's id, and the refresh token that it begins with.

    Return each as if it were written out, so that those which are alike are equal wherever they stand. What can't be
    read now is left out: it is known by where it is to be read.
    """
    grants = [each for each in credentials if isinstance(each, OAuth2Credential)]
    wanted = {each.client_id for each in grants} | {each.refresh_token for each in grants if each.refresh_token}
    read = {}

    async def note(reference: SecretReference) -> None:
        with suppress(SecretUnavailable):
            read[reference] = SecretReference.literal((await reader.read(reference)).reveal(), "")

    await asyncio.gather(*map(note, wanted))
    return read


def written_out(credential: Credential, read: Mapping[SecretReference, SecretReference]) -> Credential:
    """Return a credential with what was `read` in the place of where that stands."""
    if not isinstance(credential, OAuth2Credential):
        return credential
    client_id, seed = credential.client_id, credential.refresh_token
    return replace(credential, client_id=read.get(client_id, client_id), refresh_token=seed and read.get(seed, seed))


def shared_stores(config: Config, state_home: Path) -> Iterator[Finding]:
    """Find where two credentials would have one grant, and spend each other's tokens."""
    owners: dict[object, str] = {}
    for name, credential in config.credentials.items():
        if isinstance(credential, OAuth2Credential):
            where, key, flaw = _whereabouts(credential, state_home, name)
            owner = owners.setdefault(where, name)
            if owner != name:
                paths = tuple(f"{join('credentials', each)}.oauth2" for each in (name, owner))
                compared = (f"{path}.{each}" for path in paths for each in ("store", "token_url", "refresh_token"))
                yield Finding(
                    f"{paths[0]}.{key}", f"credential {shown(owner)} {flaw}", ("upstream.url",), tuple(compared)
                )


def _whereabouts(credential: OAuth2Credential, state_home: Path, name: str) -> tuple[object, str, str]:
    """Tell where a grant is kept, in a form that can be compared; where else to keep it: by which key, and how."""
    store = credential.store
    whose = credential.token_url, _known(credential.client_id)
    same_place = "keeps its grant in the same place: give each"
    if isinstance(store, FileStore):
        cure = f"{same_place} a file of its own, such as store: {{file: {name}.json}}"
        return _path(credential, state_home) or whose, "store", cure
    if isinstance(store, RedisStore):
        cure = f"{same_place} a prefix of its own, such as prefix: pandadoc-proxy-{name}"
        url = _known(store.url)
        return (_server(store, url) if isinstance(url, Secret) else url, store.prefix, whose), "store", cure
    if isinstance(store, MemoryStore) and credential.refresh_token is not None:
        cure = "begins with the same refresh token, and only one of them can redeem it: give each its own"
        return (whose, _known(credential.refresh_token)), "refresh_token", cure
    return name, "", ""  # two in one Secret are told when the configuration is read


def _path(credential: Credential, state_home: Path) -> Path | None:
    """Return the file that a grant is kept in, by the name that all others lead to; as it is written, if a disk hangs.

    None: it is in none, or the name of it can't be told yet.
    """
    if not isinstance(credential, OAuth2Credential) or not isinstance(credential.store, FileStore):
        return None
    with suppress(SecretUnavailable):
        path = credential.store.path or place(credential, state_home).path
        return within(LOOK, lambda: Path(os.path.realpath(path)), path)
    return None


def _server(store: Redis, url: Secret) -> object:
    """Tell where in which Redis a URL leads, whoever goes there, in a form that can be compared."""
    try:
        address = parse(url, sentinel=store.sentinel is not None, cluster=store.cluster)
    except BadAddress:
        return url
    hosts = {("localhost" if host in LOCAL else host.lower(), port) for host, port in address.hosts}
    return frozenset(hosts), address.path, address.database, store.sentinel


def _known(reference: SecretReference) -> Secret | SecretReference:
    """Return what a secret is; where that can't be read yet, where it will be: who reads it there gets the same."""
    with suppress(SecretUnavailable):
        return reference.read()
    return reference
