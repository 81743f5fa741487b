"""The composition root: a Config becomes a frozen Snapshot of parts. Opens no socket and sends nothing.

A request takes the snapshot's lane for its listener and keeps it to its end, so that a reload can
put another snapshot in its place.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
from msgspec import Struct
from msgspec.structs import replace

from proxy import outbound
from proxy.clock import Clock
from proxy.compose_budget import BudgetParts, Budgets, Meters
from proxy.compose_credentials import CredentialParts, begins_spent, read_out, written_out
from proxy.compose_policy import gate_of, policy_of_all, policy_of_client
from proxy.config import BadConfig, Config, Credential, Fault, Listener, OAuth2Credential, UnixBind
from proxy.config import Client as ClientSection
from proxy.config import Upstream as UpstreamSection
from proxy.credential.ledger import Ledger
from proxy.credential.oauth2 import RefreshingCredential
from proxy.credential.source import CredentialSource
from proxy.credential.token_endpoint import owner_of
from proxy.forward.body import BodyLimits, KeptBytes
from proxy.forward.burst import Burst
from proxy.forward.clients import Anyone, Client, Named
from proxy.forward.handler import Lane
from proxy.forward.headers import Origin
from proxy.forward.http_upstream import HttpUpstream
from proxy.forward.places import InFlight, Places
from proxy.forward.tally import Tally
from proxy.forward.upstream import Upstream
from proxy.forward.upstream_pool import Counts, UpstreamPool
from proxy.keyring import ClientKey, Keyring
from proxy.outbound import Trust
from proxy.policy.policy import Policy
from proxy.policy.profiles import read_operations
from proxy.secret_reader import SecretReader
from proxy.succession import Named as NamedCredential
from proxy.succession import left_behind, losses, same_grant, successors
from proxy.tasks import Tasks

if TYPE_CHECKING:
    from proxy.spans import Spans


Rooms = Mapping[str | None, Places]  # a listener's: its clients' by their names, and its own
Known = Callable[[Credential], Credential]  # writes out what a grant is known by, where that can be read


class Ways(Struct, frozen=True, eq=False):
    """What leads out of the machine. It stays for as long as the section `upstream` and those who are trusted do."""

    trust: Trust
    pool: UpstreamPool
    upstream: Upstream  # on the pool
    session: aiohttp.ClientSession  # for credentials
    burst: Burst  # of what leaves on the pool, and of what goes back

    async def close(self) -> None:
        self.pool.close()
        await self.session.close()


class Snapshot(Struct, frozen=True, eq=False):
    """The parts that one configuration made."""

    config: Config
    lanes: Mapping[str, Lane]  # by address, as config.listeners and in their order
    sources: Mapping[str, CredentialSource]
    keyrings: Mapping[str, Keyring]  # by address, of the listeners that have clients
    ways: Ways
    places: Mapping[str, Rooms]  # by address
    kept_bytes: KeptBytes
    tally: Tally
    budgets: Budgets
    in_flight: InFlight  # requests that have begun on this snapshot
    settings: tuple[Callable[[], None], ...]  # for what goes on from an earlier one

    def held(self, name: str) -> Ledger | None:
        """Return the ledger of a credential that has a grant, or may get its first one of these moments."""
        source = self.sources[name]
        if not isinstance(source, RefreshingCredential):
            return None
        ledger = source.refresher.keeper.ledger
        return ledger if ledger.grant is not None or source.refresher.in_flight is not None else None

    def commit(self) -> None:
        """Give what goes on its new settings: this snapshot is served from now on."""
        for change in self.settings:
            change()

    async def close(self, *, but: "Iterable[Snapshot]" = ()) -> None:
        """Close what leads out, but for what other snapshots go on with."""
        others = tuple(but)
        if all(other.ways is not self.ways for other in others):
            await self.ways.close()
        going_on = {source for other in others for source in other.sources.values()}
        for source in self.sources.values():
            if isinstance(source, RefreshingCredential) and source not in going_on:
                await source.close()
        spent = {budget for other in others for budget in other.budgets.values()}
        for budget in set(self.budgets.values()) - spent:
            await budget.close()


class Surroundings(Struct, frozen=True):
    """What stays through every reload."""

    state_home: Path
    clock: Clock
    tasks: Tasks
    reader: SecretReader
    ready: Callable[[], bool]
    via: bytes  # names this process, and nothing else of it
    spans: "Spans | None" = None  # none: nobody traces


async def build(
    config: Config,
    around: Surroundings,
    trust: Trust,
    earlier: Snapshot | None = None,
    retired: Sequence[Snapshot] = (),
) -> Snapshot:
    """Make the parts. Connects to nothing; reads, at a reload, by what grants are known again.

    What an `earlier` snapshot has that must outlive a reload goes on: credentials, what is counted, and the pool where
    it may. So does a credential of the `retired` ones, by age, whose newest pair nobody else has; their listeners may
    still be open. Raises BadConfig where one can't, OSError where a file of this package can't be read.
    """
    known = await _known(config, earlier, retired, around.reader)
    going_on = _going_on(config, earlier, around.state_home, known)
    if any(map(config.rate_budget.of, config.credentials)):
        read_operations()  # not at a request: that would wait for the disk, and all others with it
    if earlier is not None and (earlier.config.upstream, earlier.ways.trust) == (config.upstream, trust):
        ways = earlier.ways
    else:
        counts = None if earlier is None else earlier.ways.pool.counts
        ways = _ways(config.upstream, trust, around.spans, counts)
    trace = None if around.spans is None else around.spans.refresh
    parts = CredentialParts(config, around.state_home, around.clock, around.tasks, ways.session, around.reader, trace)
    waiting = _waiting(retired, earlier, known)
    sources, changes = _sources(config, parts, earlier, going_on, waiting, known=known)
    kept_bytes = KeptBytes(config.replay.max_total) if earlier is None else earlier.kept_bytes
    changes.append(partial(kept_bytes.resize, config.replay.max_total))
    taken = {name for each in retired for name in each.lanes}
    named = list(zip(_names(config, earlier, going_on, taken), config.listeners, strict=True))
    places = _places(named, config, earlier, changes)
    tally = Tally() if earlier is None else earlier.tally
    budgets, resizes = BudgetParts(config, around.clock, around.tasks, around.reader).all(earlier, going_on)
    meters = Meters(budgets, config.rate_budget, around.clock)
    in_flight = InFlight()
    keyrings = {name: _keyring(name, listener, parts, earlier) for name, listener in named if listener.clients}
    lanes = {
        name: Lane(
            gate=replace(gate_of(listener, config), via=around.via),
            clients=_clients(listener, config, sources, meters, keyrings.get(name), rooms=places[name]),
            placeholder=listener.token_endpoint == "placeholder",  # noqa: S105 - a choice, no secret
            upstream=ways.upstream,
            origin=_origin(config),
            body_limits=BodyLimits(config.limits.max_body, config.replay.max_body, config.upstream.idle_timeout),
            kept_bytes=kept_bytes,
            places=places[name][None],
            cookies=listener.cookies == "pass",
            health=listener.health,
            tally=tally,
            in_flight=in_flight,
            ready=around.ready,
            burst=ways.burst,
            scheme=b"http" if listener.tls is None else b"https",
        )
        for name, listener in named
    }
    settings = (*changes, *resizes)
    return Snapshot(config, lanes, sources, keyrings, ways, places, kept_bytes, tally, budgets, in_flight, settings)


async def _known(config: Config, earlier: Snapshot | None, retired: Iterable[Snapshot], reader: SecretReader) -> Known:
    """Return what writes a credential out, so that it is known again however its client's id is written.

    One whose id has changed under the grant that is lent tells nothing of that, and stays as it is written.
    """
    snapshots = () if earlier is None else (*retired, earlier)
    if not snapshots:
        return lambda credential: credential
    configs = [config, *(each.config for each in snapshots)]
    read = await read_out((each for one in configs for each in one.credentials.values()), reader)
    for snapshot in snapshots:
        for name, source in snapshot.sources.items():
            credential = snapshot.config.credentials[name]
            if isinstance(source, RefreshingCredential) and isinstance(credential, OAuth2Credential):
                whose = source.refresher.keeper.store.whose
                client_id = read.get(credential.client_id)
                if client_id and whose not in {"", owner_of(str(credential.token_url), client_id.read())}:
                    del read[credential.client_id]
    return partial(written_out, read=read)


def _going_on(config: Config, earlier: Snapshot | None, state_home: Path, known: Known) -> Mapping[str, str]:
    """Tell what those were called before that go on. Raises BadConfig where a grant that is lent would be lost."""
    if earlier is None:
        return {}
    before, after = ({name: known(each) for name, each in one.credentials.items()} for one in (earlier.config, config))
    found = successors(before, after)
    place = str(config.source or "environment")
    faults = [Fault(place, key, flaw) for name, key, flaw in losses(before, after, found) if earlier.held(name)]
    for former, name, flaw in left_behind(before, after, found):
        ledger = earlier.held(former)
        if ledger is not None and begins_spent(after[name], ledger, state_home):
            faults.append(Fault(place, f"credentials.{name}.oauth2.store", flaw))
    if faults:
        raise BadConfig(*faults)
    return found


def _names(config: Config, earlier: Snapshot | None, going_on: Mapping[str, str], taken: Collection[str]) -> list[str]:
    """Name the listeners by where they are bound; of several on "any free port", the later ones with a number.

    Of several, one goes on as a former one only if it lends the same: its apps know it by the port that it has.
    """
    left = {} if earlier is None else dict(zip(earlier.lanes, earlier.config.listeners, strict=True))
    used, names = {*taken, *left}, []
    counts = Counter(listener.bind for listener in left.values()), Counter(each.bind for each in config.listeners)
    for listener in config.listeners:
        one = all(each[listener.bind] <= 1 for each in counts)
        lent = {client: _former(name, going_on) for client, name in _lent(listener).items()}
        there = (name for name, each in left.items() if each.bind == listener.bind and (one or _lent(each) == lent))
        name = next(there, None) or _fresh(listener, used)
        left.pop(name, None)
        used.add(name)
        names.append(name)
    return names


def _lent(listener: Listener) -> dict[str, str]:
    """Return the credential that each client is lent; "": whoever reaches it."""
    return {name: listener.lends(each) for name, each in listener.clients.items()} or {"": listener.credential}


def _former(name: str, going_on: Mapping[str, str]) -> str:
    """Return what a credential was called before; one that is new in the place of another, as that; "": neither."""
    return going_on.get(name, "" if name in going_on.values() else name)


def _fresh(listener: Listener, used: Collection[str]) -> str:
    bind = listener.bind
    if isinstance(bind, UnixBind) or bind.port:
        return str(bind)
    return next(name for n in count(1) if (name := str(bind) if n == 1 else f"{bind} ({n})") not in used)


def _ways(settings: UpstreamSection, trust: Trust, spans: "Spans | None", counts: Counts | None) -> Ways:
    pool, origin = outbound.forwarding_pool(settings, trust.context, counts), settings.url.origin()
    timeouts = {"response_timeout": settings.response_timeout, "idle_timeout": settings.idle_timeout}
    burst = Burst(lambda: pool.busy)
    upstream = HttpUpstream(pool, origin, burst, **timeouts)
    traced = upstream if spans is None else spans.upstream(upstream, origin)
    return Ways(trust, pool, traced, outbound.credential_session(trust.context), burst)


def _waiting(
    retired: Iterable[Snapshot], earlier: Snapshot | None, known: Known
) -> dict[CredentialSource, NamedCredential]:
    """Return what was taken out while its newest pair is not stored, or on its way; as it was configured last."""
    found: dict[CredentialSource, NamedCredential] = {}
    for snapshot in retired:
        for name, source in snapshot.sources.items():
            if earlier is None or source in earlier.sources.values() or not isinstance(source, RefreshingCredential):
                continue
            if source.refresher.in_flight is not None or not source.stored:
                found[source] = name, known(snapshot.config.credentials[name])
    return found


def _sources(
    config: Config,
    parts: CredentialParts,
    earlier: Snapshot | None,
    going_on: Mapping[str, str],
    waiting: dict[CredentialSource, NamedCredential],
    *,
    known: Known,
) -> tuple[dict[str, CredentialSource], list[Callable[[], None]]]:
    """Make what lends each credential; one that is the same grant or key goes on, whatever else has changed.

    What comes back that is `waiting` still does, too: another could only begin with the pair before.
    """
    sources: dict[str, CredentialSource] = {}
    changes: list[Callable[[], None]] = []
    for name, credential in config.credentials.items():
        before = None
        if earlier is not None and name in going_on:
            sources[name] = earlier.sources[going_on[name]]
            before = earlier.config.credentials[going_on[name]]
        elif back := [each for each, was in waiting.items() if same_grant(was, (name, known(credential)))]:
            sources[name] = back[0]
            _, before = waiting.pop(back[0])
        else:
            sources[name] = parts.source(name)
        if isinstance(credential, OAuth2Credential) and isinstance(grant := sources[name], RefreshingCredential):
            changes.append(partial(parts.reconfigure, grant, name, credential, before))
    return sources, changes


def _places(
    named: Iterable[tuple[str, Listener]], config: Config, earlier: Snapshot | None, changes: list[Callable[[], None]]
) -> dict[str, Rooms]:
    """Make each listener's and each client's; one that there was counts on, with its new limit once that is taken."""
    places: dict[str, Rooms] = {}
    for name, listener in named:
        limits: dict[str | None, tuple[int | None, str]] = {None: (config.limits.max_requests, "limits.max_requests")}
        for client, section in listener.clients.items():
            limits[client] = section.max_requests, f"max_requests of client {client}"
        known = {} if earlier is None else earlier.places.get(name, {})
        places[name] = {of: known.get(of) or Places(*limit) for of, limit in limits.items()}
        changes += [partial(places[name][of].resize, limit) for of, (limit, _) in limits.items()]
    return places


def _keyring(name: str, listener: Listener, parts: CredentialParts, earlier: Snapshot | None) -> Keyring:
    keys = {client: ClientKey(section.key, section.overlap) for client, section in listener.clients.items()}
    before = earlier.keyrings.get(name) if earlier is not None else None
    if before is not None and before.keys == keys:
        return before
    return Keyring(keys, parts.reader, parts.clock.monotonic, before)


def _clients(
    listener: Listener,
    config: Config,
    sources: Mapping[str, CredentialSource],
    meters: Meters,
    keyring: Keyring | None,
    *,
    rooms: Rooms,
) -> Anyone | Named:
    def made(name: str, client: ClientSection | None, policy: Policy, room: Places) -> Client:
        credential = listener.credential if client is None else listener.lends(client)
        return Client(name, sources[credential], policy, room, meters.of(credential, client))

    whole = policy_of_all(config)
    if keyring is None:
        return Anyone(made("", None, whole, Places(None, "")))
    clients = {
        name: made(name, client, whole + policy_of_client(client, name), rooms[name])
        for name, client in listener.clients.items()
    }
    return Named(clients, keyring)


def _origin(config: Config) -> Origin:
    url = config.upstream.url
    return Origin(str(url.origin()), url.raw_path.rstrip("/"))
