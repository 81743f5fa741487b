"""The one refresh: what happens in which order, before a real simulator and beside other processes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from msgspec.structs import replace
from rig import TurnedClock, assert_silent, until
from yarl import URL

from proxy.credential.credential import Credential
from proxy.credential.file_store import FileStore, Place
from proxy.credential.grant_keeper import GrantKeeper
from proxy.credential.grant_secrets import GrantSecrets
from proxy.credential.ledger import SEEDED, Grant, Intent, Ledger, Lineage, begun, consented, renewed
from proxy.credential.oauth2 import RefreshingCredential
from proxy.credential.policy import Policy
from proxy.credential.probe import Probed
from proxy.credential.refresh import Because, Refresher
from proxy.credential.refusals import Refusals
from proxy.credential.store import MemoryStore, Release, Store, StoreError, unshared
from proxy.credential.token_endpoint import TokenEndpoint, owner_of
from proxy.errors import CredentialUnavailable, OperatorError
from proxy.secret_reader import SecretReader
from proxy.secrets import Secret, SecretReference
from proxy.simulator import Fault, Simulator
from proxy.tasks import Tasks

TOKEN_PATH = "/oauth2/access_token"


class ScriptedStore(MemoryStore):
    """A store whose writes wait for a gate and fail while it is full, and whose lease others may have."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.writing = asyncio.Event()
        self.full = False
        self.unreadable = False
        self.fault: Exception | None = None
        self.lease_is_taken = False
        self.slow: list[asyncio.Event] = []  # what reads to come wait for, one each

    async def load(self) -> Ledger:
        if self.slow:
            await self.slow.pop().wait()
        if self.unreadable:
            raise StoreError("The disk is gone.")
        return await super().load()

    async def update(self, change: Callable[[Ledger], Ledger | None], *, room: bool = False) -> Ledger | None:
        self.writing.set()
        await self.gate.wait()
        if self.full:
            raise StoreError("The disk is full.")
        return await super().update(change, room=room)

    async def lease(self, seconds: float) -> Release:
        del seconds
        if self.fault is not None:
            raise self.fault
        return None if self.lease_is_taken else unshared  # type: ignore[return-value] # as a file's

    async def change(self, change: Callable[[Ledger], Ledger | None]) -> Ledger:
        """Change it as another process does."""
        await MemoryStore.update(self, change)
        return await self.load()

    @property
    def kept(self) -> Ledger:
        return self._ledger


@dataclass
class Town:
    """A simulator, a store and a clock, on which refreshers are built as processes are started."""

    simulator: Simulator
    session: aiohttp.ClientSession
    clock: TurnedClock
    store: ScriptedStore = field(default_factory=ScriptedStore)
    tasks: Tasks = field(default_factory=Tasks)
    environ: dict[str, str] = field(default_factory=dict)
    traced: list[tuple[str, str, str]] = field(default_factory=list)  # each refresh: of what, why, how it ended

    def __post_init__(self) -> None:
        self.environ |= {"ID": self.simulator.client_id, "SECRET": self.simulator.client_secret}
        self.environ["SEED"] = self.simulator.issue_refresh_token()

    def refresher(
        self, policy: Policy | None = None, store: Store | None = None, *, seeded_for: float | None = None
    ) -> Refresher:
        """Start a process; `seeded_for`: its configuration has an access token too, good for so many seconds."""
        references = {name: SecretReference.env(name, self.environ) for name in ("ID", "SECRET", "SEED", "ACCESS")}
        secrets = GrantSecrets(
            SecretReader(),
            references["ID"],
            references["SECRET"],
            references["SEED"],
            references["ACCESS"] if seeded_for is not None else None,
            self.clock.wall() + seeded_for if seeded_for is not None else None,
        )
        keeper = GrantKeeper(
            "default",
            store=store or self.store,
            seed=secrets.seed,
            clock=self.clock,
            jitter=lambda: 0.0,
            tasks=self.tasks,
        )
        return Refresher(
            "default",
            secrets=secrets,
            endpoint=TokenEndpoint(
                self.session,
                URL(self.simulator.url) / TOKEN_PATH[1:],
                clock=self.clock,
                scope=None,
                redeem_timeout=5,
                connect_timeout=5,
                proxy=None,
            ),
            keeper=keeper,
            policy=policy or Policy(),
            clock=self.clock,
            jitter=lambda: 0.0,
            tasks=self.tasks,
            trace=self.trace,
        )

    @contextmanager
    def trace(self, name: str, cause: str) -> Iterator[Callable[[str], None]]:
        yield lambda result: self.traced.append((name, cause, result))

    @property
    def redeems(self) -> int:
        return len(self.simulator.token_calls())

    def login(self) -> Grant:
        """Return the grant of a consent that was just given."""
        token = SecretReference.literal(self.simulator.issue_refresh_token(), "the consent").read()
        return Grant(0, Lineage("login", token.fingerprint(), self.clock.wall()), token)


@pytest.fixture
async def town(caplog: pytest.LogCaptureFixture) -> AsyncIterator[Town]:
    caplog.set_level("DEBUG", "proxy")
    clock = TurnedClock()
    async with Simulator(clock=clock.wall) as simulator, aiohttp.ClientSession() as session:
        town = Town(simulator, session, clock)
        yield town
        town.store.gate.set()
        await town.tasks.drain(1)
        assert_silent(set(simulator.minted), [caplog.text])


async def refreshed(ours: Refresher, *, refused: int | None = None) -> Refresher:
    """Refresh once, to the end."""
    refresh = ours.start(because=Because.BY_HAND, refused=refused)
    assert refresh is not None
    await refresh
    return ours


def lent(ours: Refresher) -> str | None:
    return ours.credential.authorization if ours.credential else None


def generation(ours: Refresher) -> int | None:
    return ours.credential.generation if ours.credential else None


def told(ours: Refresher) -> str:
    """Return what is wrong, in the proxy's words."""
    return ours.trouble.detail if ours.trouble else ""


def no_answer(times: int = 1) -> Fault:
    return Fault(path=TOKEN_PATH, reset=True, times=times)


# The order of a refresh


async def test_the_pair_is_stored_before_its_access_token_is_lent(town: Town) -> None:
    """A crash between the two must not leave an app with a token whose successor nobody has (law 4)."""
    ours, answering = town.refresher(), asyncio.Event()
    town.simulator.faults.add(Fault(path=TOKEN_PATH, gate=answering))
    refresh = ours.start(because=Because.BY_HAND)
    assert refresh is not None
    await until(lambda: town.redeems == 1)
    town.store.gate.clear()
    town.store.writing.clear()
    answering.set()
    await town.store.writing.wait()
    assert lent(ours) is None
    assert not refresh.done()
    town.store.gate.set()
    await refresh
    assert town.store.kept.grant is not None
    assert town.store.kept.grant.access_token is not None
    assert lent(ours) == f"Bearer {town.store.kept.grant.access_token.reveal()}"


async def test_a_look_that_a_refresh_has_overtaken_lends_nothing_that_is_not_stored(town: Town) -> None:
    """It began before, and reads for long: what is in memory by then is the refresh's to lend, once (laws 2 and 4)."""
    ours, answering, read = await refreshed(town.refresher()), asyncio.Event(), asyncio.Event()
    town.store.slow.append(read)
    looking = asyncio.create_task(ours.look())
    await until(lambda: not town.store.slow)
    town.simulator.faults.add(Fault(path=TOKEN_PATH, gate=answering))
    refresh = ours.start(because=Because.BY_HAND, refused=1)
    assert refresh is not None
    await until(lambda: town.redeems == 2)
    town.store.gate.clear()
    town.store.writing.clear()
    answering.set()
    await town.store.writing.wait()
    read.set()
    await looking
    assert generation(ours) == 1
    town.store.gate.set()
    await refresh
    assert generation(ours) == 2


async def test_a_look_that_the_end_cuts_off_begins_no_refresh(town: Town) -> None:
    """Behind a drain nobody would wait for it: a sent redeem that is cut off is a lost grant (law 1)."""
    ours, read = await refreshed(town.refresher()), asyncio.Event()
    town.store.slow.append(read)
    looking = town.tasks.start(ours.look(), "look")
    await until(lambda: not town.store.slow)
    town.clock.pass_(31535999 - 60)
    await town.tasks.drain(1)
    assert looking.cancelled()
    assert ours.in_flight is None


async def test_a_refresh_that_is_due_is_begun_though_the_store_can_not_be_seen(town: Town) -> None:
    ours = await refreshed(town.refresher())
    town.clock.pass_(31535999 - 60)
    town.store.unreadable = True
    with pytest.raises(StoreError):
        await ours.look()
    assert ours.in_flight is not None
    await ours.in_flight


async def test_the_intent_is_stored_before_anything_is_sent_and_ends_with_the_pair(town: Town) -> None:
    ours, answering = town.refresher(), asyncio.Event()
    town.simulator.faults.add(Fault(path=TOKEN_PATH, gate=answering))
    refresh = ours.start(because=Because.BY_HAND)
    assert refresh is not None
    await until(lambda: town.redeems == 1)
    while_it_is_sent = town.store.kept
    assert while_it_is_sent.intent is not None
    assert while_it_is_sent.grant is None
    answering.set()
    await refresh
    assert town.store.kept.intent is None
    assert town.store.kept.last is not None
    assert town.store.kept.last.result == "refreshed"


async def test_a_pair_that_could_not_be_stored_is_lent_and_stored_later(
    town: Town, caplog: pytest.LogCaptureFixture
) -> None:
    ours, answering = town.refresher(), asyncio.Event()
    town.simulator.faults.add(Fault(path=TOKEN_PATH, gate=answering))
    refresh = ours.start(because=Because.BY_HAND)
    assert refresh is not None
    await until(lambda: town.redeems == 1)
    town.store.full = True
    answering.set()
    await refresh
    assert generation(ours) == 1
    assert town.store.kept.grant is None
    assert "generation 1 is NOT stored" in caplog.text
    town.store.full = False
    await town.tasks.drain(5)
    assert town.store.kept.grant is not None


async def test_who_looks_on_is_told_why_and_how_each_refresh_ended(town: Town) -> None:
    """Also of those in which nothing was redeemed, which nobody counts."""
    ours = await refreshed(town.refresher())
    await refreshed(ours)
    await refreshed(town.refresher())
    town.simulator.faults.add(Fault(path=TOKEN_PATH, status=400, body=b'{"error": "invalid_grant"}'))
    for _ in range(2):
        await refreshed(ours, refused=generation(ours))
        town.clock.pass_(3600)
    results = [result for _, _, result in town.traced]
    assert results == ["refreshed", "needless", "adopted", "invalid_grant", "unavailable"]
    assert {(name, cause) for name, cause, _ in town.traced} == {("default", "by_hand")}


async def test_a_person_who_is_given_anothers_pair_is_told_that_the_new_seed_waits(town: Town) -> None:
    first = await refreshed(town.refresher())
    assert await first.passed_over() is None
    town.environ["SEED"], town.store.lease_is_taken = town.simulator.issue_refresh_token(), True
    person = town.refresher()
    asked = asyncio.create_task(person.by_hand(str))
    await until(lambda: person.in_flight is not None)
    newer = town.store.kept.grant
    assert newer is not None
    newer = replace(newer, generation=2, access_token=Secret(town.simulator.issue_access_token()))
    await town.store.change(lambda kept: replace(kept, grant=newer))
    assert await asked is None
    assert "was not redeemed: another process has refreshed" in (await person.passed_over() or "")
    town.store.lease_is_taken = False
    again = town.refresher()
    assert (await again.by_hand(str), await again.passed_over()) == (None, None)
    assert town.redeems == 2


# What the store has decides


async def test_a_stored_token_that_is_good_is_lent_without_a_redeem(town: Town) -> None:
    first = await refreshed(town.refresher())
    after_a_restart = await refreshed(town.refresher())
    assert lent(after_a_restart) == lent(first)
    assert town.redeems == 1


async def test_two_processes_with_one_file_cost_one_redeem(town: Town, tmp_path: Path) -> None:
    """However many start at once: the others adopt what the first one stored."""
    place = Place(tmp_path / "grant.json", owner_of(town.simulator.url + TOKEN_PATH, Secret(town.environ["ID"])))
    stores = [FileStore(lambda: place) for _ in range(4)]
    several = await asyncio.gather(*(refreshed(town.refresher(store=store)) for store in stores))
    assert len({lent(each) for each in several}) == 1
    assert lent(several[0]) is not None
    assert town.redeems == 1


async def test_a_process_that_waits_for_the_lease_takes_what_its_holder_stored(town: Town) -> None:
    town.store.lease_is_taken = True
    ours = town.refresher()
    refresh = ours.start(because=Because.BY_HAND)
    assert refresh is not None
    seed = await ours.keeper.new_lineage()
    assert seed is not None
    theirs = replace(seed, generation=1, access_token=town.login().refresh_token, expires_at=9e9)
    await town.store.change(lambda kept: renewed(kept, theirs, kept.seeds, Refusals(), None))
    await refresh
    assert generation(ours) == 1
    assert town.redeems == 0


async def test_a_lease_that_is_held_beyond_any_redeem_is_not_waited_for(
    town: Town, caplog: pytest.LogCaptureFixture
) -> None:
    """Its holder is stopped, or the lock's server has forgotten that it died."""
    town.store.lease_is_taken = True
    ours = town.refresher()
    refresh = ours.start(because=Because.BY_HAND)
    assert refresh is not None
    await asyncio.sleep(0)
    town.clock.pass_(60)
    await refresh
    assert generation(ours) == 1
    assert "another process holds the refresh for too long; going on" in caplog.text


async def test_a_process_that_ends_does_not_go_on_waiting_for_a_lease(town: Town) -> None:
    town.store.lease_is_taken = True
    ours = town.refresher()
    ours.start(because=Because.BY_HAND)
    await town.tasks.drain(5)
    assert town.redeems == 0
    assert isinstance(ours.trouble, CredentialUnavailable)
    assert "this one is ending" in ours.trouble.detail


async def test_a_refusal_without_the_lease_is_believed_only_after_its_holder_had_time_to_store(town: Town) -> None:
    """He has redeemed the same token a moment before, and is writing (law 6)."""
    ours = await refreshed(town.refresher())
    stored = town.store.kept.grant
    assert stored is not None
    theirs = replace(town.login(), generation=2, lineage=stored.lineage)
    theirs = replace(theirs, access_token=theirs.refresh_token, expires_at=9e9)
    town.simulator.revoke_grants()
    town.store.lease_is_taken = True
    refresh = ours.start(because=Because.BY_HAND, refused=1)
    assert refresh is not None
    await asyncio.sleep(0)
    town.clock.pass_(60)
    await until(lambda: town.redeems == 2)
    await town.store.change(lambda kept: renewed(kept, theirs, kept.seeds, Refusals(), None))
    await refresh
    assert generation(ours) == 2
    assert ours.trouble is None


async def test_a_login_is_lent_under_a_later_number_than_pairs_that_were_never_stored(town: Town) -> None:
    """A request that went up with one of them may still come back with a 401 (law 2)."""
    ours = await refreshed(town.refresher())
    town.store.full = True
    await refreshed(ours, refused=1)
    await refreshed(ours, refused=2)
    assert generation(ours) == 3
    consent = replace(town.login(), access_token=town.login().refresh_token, expires_at=9e9)
    stored = await town.store.change(lambda kept: consented(kept, consent, 1.0))
    assert stored.generation == 2
    await refreshed(ours, refused=3)
    assert generation(ours) == 4
    town.store.full = False
    await refreshed(ours, refused=4)
    assert generation(ours) == town.store.kept.generation == 5
    assert town.store.kept.grant is not None
    assert town.store.kept.grant.lineage == consent.lineage


async def test_a_pair_that_another_process_refreshed_since_a_login_is_never_written_over(town: Town) -> None:
    ours = await refreshed(town.refresher())
    town.store.full = True
    for refused in (1, 2, 3):
        await refreshed(ours, refused=refused)
    town.store.full = False
    await town.store.change(lambda kept: consented(kept, town.login(), 1.0))
    await ours.look()
    await refreshed(town.refresher())  # another process
    theirs = town.store.kept.grant
    await town.tasks.drain(5)
    assert town.store.kept.grant == theirs
    await refreshed(ours, refused=4)
    assert ours.trouble is None
    assert town.store.kept.grant == theirs
    assert theirs is not None
    assert theirs.access_token is not None
    assert lent(ours) == f"Bearer {theirs.access_token.reveal()}"


# Seeds


async def test_a_seed_with_an_access_token_is_lent_without_a_redeem(town: Town) -> None:
    """So that the first start need not kill a token that others still use."""
    town.environ["ACCESS"] = town.simulator.issue_refresh_token()
    ours = await refreshed(town.refresher(seeded_for=1000.0))
    assert lent(ours) == f"Bearer {town.environ['ACCESS']}"
    assert town.redeems == 0
    assert town.store.kept.last is not None
    assert town.store.kept.last.result == SEEDED
    await refreshed(ours, refused=1)
    assert generation(ours) == 2
    assert town.redeems == 1


async def test_a_seed_with_an_access_token_that_has_expired_is_redeemed(town: Town) -> None:
    town.environ["ACCESS"] = town.simulator.issue_refresh_token()
    ours = await refreshed(town.refresher(seeded_for=0.0))
    assert generation(ours) == 1
    assert town.redeems == 1


async def test_a_seed_is_never_redeemed_into_memory(town: Town) -> None:
    """A refresh token that was never redeemed is not spent where its successor can't be stored: it keeps."""
    town.store.full = True
    ours = await refreshed(town.refresher())
    assert town.redeems == 0
    assert isinstance(ours.trouble, OperatorError)
    assert "The disk is full." in ours.trouble.detail
    assert ours.results == {"store_unavailable": 1}
    town.clock.pass_(3)
    await refreshed(ours)
    assert ours.failures == 1  # nothing was tried
    town.store.full = False
    town.clock.pass_(3)
    await refreshed(ours)
    assert generation(ours) == 1


async def test_a_login_while_a_seed_is_on_its_way_is_what_is_lent(town: Town) -> None:
    ours, answering = town.refresher(), asyncio.Event()
    town.simulator.faults.add(Fault(path=TOKEN_PATH, gate=answering, times=1))
    refresh = ours.start(because=Because.BY_HAND)
    assert refresh is not None
    await until(lambda: town.redeems == 1)
    consent = replace(town.login(), access_token=town.login().refresh_token, expires_at=9e9)
    await town.store.change(lambda kept: consented(kept, consent, 1.0))
    answering.set()
    await refresh
    assert consent.access_token is not None
    assert lent(ours) == f"Bearer {consent.access_token.reveal()}"
    assert town.store.kept.grant is not None
    assert town.store.kept.grant.lineage == consent.lineage


# A store that can't be written


async def test_nothing_is_redeemed_while_the_token_is_good_and_the_store_is_full(town: Town) -> None:
    ours = await refreshed(town.refresher(Policy(max_age=100)))
    town.store.full = True
    town.clock.pass_(200)
    await refreshed(ours)
    assert town.redeems == 1
    assert generation(ours) == 1
    await refreshed(ours, refused=1)  # now it is refused, and no pause keeps us
    assert town.redeems == 2
    assert generation(ours) == 2


async def test_a_command_that_ends_at_once_redeems_nothing_into_its_memory(town: Town) -> None:
    await refreshed(town.refresher())
    town.store.full = True
    by_hand = await refreshed(town.refresher(Policy(goes_on=False)))
    await refreshed(by_hand, refused=1)
    assert town.redeems == 1
    assert by_hand.trouble is not None
    assert "The disk is full." in by_hand.trouble.detail


async def test_a_look_that_saw_nothing_is_not_taken_for_sight(town: Town, caplog: pytest.LogCaptureFixture) -> None:
    """During a refresh nobody looks: an alert that waits for minutes would begin anew, and the log say it again."""
    ours, answering = await refreshed(town.refresher()), asyncio.Event()
    lending = RefreshingCredential(ours, probe=None, wait=5, clock=town.clock, tasks=town.tasks)
    town.store.unreadable = True
    await lending.look()
    town.simulator.faults.add(Fault(path=TOKEN_PATH, gate=answering, status=503, times=1))
    refresh = ours.start(because=Because.BY_HAND, refused=1)
    assert refresh is not None
    await until(lambda: town.redeems == 2)
    await lending.look()
    assert lending.blind
    answering.set()
    await refresh
    await lending.look()
    assert lending.blind
    assert caplog.text.count("credential default: The disk is gone.") == 1
    town.store.unreadable = False
    await lending.look()
    assert not lending.blind


# An outcome that nobody knows


async def test_a_lost_reply_leaves_its_minute_and_the_token_is_tried_again(town: Town) -> None:
    ours = await refreshed(town.refresher())
    town.simulator.faults.add(no_answer())
    before = town.clock.wall()
    await refreshed(ours, refused=1)
    stored = town.store.kept
    assert stored.intent is not None
    assert stored.intent.at >= before
    assert stored.last is not None
    assert stored.last.result == "connection_lost"
    town.clock.pass_(5)
    await refreshed(ours, refused=1)
    assert generation(ours) == 2
    assert town.store.kept.intent is None


async def test_a_token_that_may_be_spent_is_not_tried_again_where_that_is_to_stop(town: Town) -> None:
    """Also not by the process that comes after a crash: the intent is in the store."""
    policy = Policy(retry_unknown=False)
    await refreshed(town.refresher(policy))
    stored = town.store.kept.grant
    assert stored is not None
    await town.store.change(lambda kept: begun(kept, stored, kept.seeds, 1_795_618_920.0))
    ours = await refreshed(town.refresher(policy))
    await refreshed(ours, refused=1)
    assert town.redeems == 1
    assert isinstance(ours.trouble, OperatorError)
    assert "2026-11-25 15:02 UTC" in ours.trouble.detail
    by_hand = await refreshed(town.refresher())
    await refreshed(by_hand, refused=1)
    assert generation(by_hand) == 2
    town.clock.pass_(5)
    await refreshed(ours, refused=1)
    assert generation(ours) == 2
    assert told(ours) == ""


async def test_a_failed_refresh_writes_down_when_the_token_was_refused(town: Town) -> None:
    """Else nobody but the proxy knows that a token is worth nothing which is good by its date."""
    ours = await refreshed(town.refresher())
    town.simulator.faults.add(Fault(path=TOKEN_PATH, status=429, times=3))
    at = town.clock.wall()
    for because, expected in [(Because.BY_HAND, 0.0), (Because.REFUSED, at + 300), (Because.BY_HAND, at + 300)]:
        refresh = ours.start(because=because, refused=1)
        assert refresh is not None
        await refresh
        last = town.store.kept.last
        assert last is not None
        assert last.result == "throttled"
        assert last.refused_at == pytest.approx(expected, abs=5.0)
        town.clock.pass_(300)
    await refreshed(ours, refused=1)
    assert town.store.kept.last is not None
    assert town.store.kept.last.refused_at == 0.0


async def test_a_token_that_a_person_has_tried_in_vain_is_not_advised_to_be_tried_once_more(town: Town) -> None:
    """`token refresh` is another process, and has written down what it was told."""
    ours = await refreshed(town.refresher(Policy(retry_unknown=False)))
    town.simulator.faults.add(no_answer())
    await refreshed(ours, refused=1)
    assert "(unknown_outcome: stop)" in told(ours)
    town.simulator.revoke_grants()
    await refreshed(await refreshed(town.refresher()), refused=1)
    assert town.redeems == 3
    town.clock.pass_(5)
    await refreshed(ours, refused=1)
    assert town.redeems == 3
    assert "(invalid_grant): it was used elsewhere or revoked. A redeem that began at" in told(ours)


async def test_a_redeem_on_its_way_is_kept_though_another_store_has_numbered_its_grant_anew(town: Town) -> None:
    """Its pair is the living one, whatever number the grant that it was begun with has by now."""
    ours = await refreshed(town.refresher())
    another, gate = ScriptedStore(), asyncio.Event()
    former = town.store.kept
    assert former.grant is not None
    await another.change(lambda _: replace(former, grant=replace(former.grant, generation=9)))  # type: ignore[type-var]
    await town.store.change(lambda kept: consented(kept, town.login(), 1.0))
    await ours.look()
    town.simulator.faults.add(Fault(path=TOKEN_PATH, gate=gate, times=1))
    refresh = ours.start(because=Because.BY_HAND, refused=2)
    assert refresh is not None
    await until(lambda: town.redeems == 2)
    ours.keeper.move(another, by="")
    await until(lambda: ours.keeper.stored)
    assert ours.keeper.ledger.generation == 10
    gate.set()
    await refresh
    assert another.kept.grant == ours.keeper.ledger.grant
    assert another.kept.generation == generation(ours) == 11
    town.clock.pass_(5)
    await refreshed(ours, refused=11)
    assert generation(ours) == 12


async def test_a_seed_that_another_process_is_redeeming_is_not_given_up(
    town: Town, caplog: pytest.LogCaptureFixture
) -> None:
    """Its intent is no lost reply while that may still come: what it proves is to be heard first."""
    policy, gate = Policy(retry_unknown=False), asyncio.Event()
    one, two = await refreshed(town.refresher(policy)), await refreshed(town.refresher(policy))
    town.environ["SEED"] = town.simulator.issue_refresh_token()
    town.simulator.faults.add(Fault(path=TOKEN_PATH, gate=gate, status=429, times=1))
    await one.look()
    await until(lambda: town.redeems == 2)
    town.store.lease_is_taken = True
    await two.look()
    assert not two.seed_waits
    assert "is not tried again" not in caplog.text
    gate.set()
    await until(lambda: one.in_flight is None)
    town.store.lease_is_taken = False
    town.clock.pass_(5)
    await two.look()
    await until(lambda: two.in_flight is None)
    assert generation(two) == 2


async def test_a_seed_whose_redeem_another_process_did_not_survive_is_given_up_and_told(
    town: Town, caplog: pytest.LogCaptureFixture
) -> None:
    ours = await refreshed(town.refresher(Policy(retry_unknown=False)))
    town.environ["SEED"] = town.simulator.issue_refresh_token()
    seed = Secret(town.environ["SEED"]).fingerprint()
    now = town.clock.wall()
    await town.store.change(lambda kept: replace(kept, intent=Intent(seed, now)))
    town.clock.pass_(9)
    await ours.look()
    assert "is not tried again" not in caplog.text
    town.clock.pass_(2)
    await ours.look()
    assert "is not tried again (unknown_outcome: stop)" in caplog.text
    assert town.redeems == 1


async def test_a_seed_that_is_given_up_beside_a_dead_grant_does_not_say_that_this_goes_on(
    town: Town, caplog: pytest.LogCaptureFixture
) -> None:
    ours = await refreshed(town.refresher(Policy(retry_unknown=False)))
    town.simulator.revoke_grants()
    await refreshed(ours, refused=1)
    town.environ["SEED"] = town.simulator.issue_refresh_token()
    town.simulator.faults.add(no_answer())
    for _ in range(2):
        town.clock.pass_(60)
        await ours.look()
        await until(lambda: ours.in_flight is None)
    assert town.redeems == 3
    assert "(unknown_outcome: stop); nor is the stored grant." in caplog.text
    assert "the stored grant goes on" not in caplog.text


async def test_a_refused_grant_is_not_sent_again_and_names_the_reply_that_was_lost(town: Town) -> None:
    ours = await refreshed(town.refresher())
    town.simulator.faults.add(no_answer())
    await refreshed(ours, refused=1)
    town.simulator.revoke_grants()
    for _ in range(3):
        town.clock.pass_(60)
        await refreshed(ours, refused=1)
    assert town.redeems == 3
    assert isinstance(ours.trouble, OperatorError)
    assert "never had its answer stored" in ours.trouble.detail
    await town.store.change(lambda kept: consented(kept, town.login(), 1.0))
    town.clock.pass_(60)
    await refreshed(ours, refused=1)
    assert told(ours) == ""
    assert generation(ours) == 3


async def test_a_proof_that_nothing_was_redeemed_leaves_no_doubt(town: Town) -> None:
    ours = await refreshed(town.refresher())
    town.simulator.faults.add(Fault(path=TOKEN_PATH, status=429, times=1))
    await refreshed(ours, refused=1)
    assert town.store.kept.intent is None
    assert town.store.kept.last is not None
    assert town.store.kept.last.result == "throttled"


async def test_a_fault_of_ours_is_told_and_not_tried_again_at_once(
    town: Town, caplog: pytest.LogCaptureFixture
) -> None:
    town.store.fault = ZeroDivisionError()
    ours = await refreshed(town.refresher())
    assert "a fault of ours in the refresh of credential default" in caplog.text
    assert isinstance(ours.trouble, CredentialUnavailable)
    assert ours.start(because=Because.BY_HAND) is None


async def test_a_token_becomes_stale_at_its_largest_age(town: Town) -> None:
    ours = await refreshed(town.refresher(Policy(max_age=100.0)))
    assert ours.credential is not None
    await ours.look()
    assert ours.in_flight is None
    town.clock.pass_(101)
    await ours.look()
    await until(lambda: ours.in_flight is None)
    assert generation(ours) == 2


async def test_what_is_shown_has_no_token_in_it(town: Town) -> None:
    ours = await refreshed(town.refresher())
    assert_silent({*town.simulator.minted, town.environ["SEED"]}, [repr(ours), repr(ours.keeper.ledger)])
    assert "generation=1" in repr(ours)


# Probes


async def test_a_probes_result_is_never_taken_for_another_generations(town: Town) -> None:
    """A revoked token's REFUSED must not condemn its fresh successor (law 3)."""
    gate, asked = asyncio.Event(), list[int]()

    async def probe(credential: Credential) -> Probed:
        asked.append(credential.generation)
        if credential.generation == 1:
            await gate.wait()
        return Probed.REFUSED if credential.generation == 1 else Probed.ACCEPTED

    lending = RefreshingCredential(town.refresher(), probe=probe, wait=5, clock=TurnedClock(), tasks=town.tasks)
    ask = lending._ask  # noqa: SLF001 - the law is about this very step
    old, new = (asyncio.create_task(ask(probe, Credential("Bearer x", generation))) for generation in (1, 2))
    await asyncio.sleep(0)
    gate.set()
    assert await old is Probed.REFUSED
    assert await new is Probed.ACCEPTED
    assert asked == [1, 2]


async def test_a_probe_that_fails_for_a_fault_of_ours_is_not_asked_again_at_once(
    town: Town, caplog: pytest.LogCaptureFixture
) -> None:
    asked = list[int]()

    async def probe(credential: Credential) -> Probed:
        asked.append(credential.generation)
        raise UnicodeError("label too long")

    lending = RefreshingCredential(town.refresher(), probe=probe, wait=5, clock=TurnedClock(), tasks=town.tasks)
    assert await lending._ask(probe, Credential("Bearer x", 1)) is Probed.UNCLEAR  # noqa: SLF001 - the same
    assert asked == [1]
    assert "a fault of ours in probe default" in caplog.text


@pytest.mark.parametrize("goes_on", [True, False])
async def test_a_healing_asks_by_the_probe_of_the_configuration_that_came_meanwhile(
    town: Town,
    caplog: pytest.LogCaptureFixture,
    goes_on: bool,  # noqa: FBT001 - a column
) -> None:
    """The former one's connections are closed by then, and the cool-down would be spent though the token is good."""
    ours, answering, retired = await refreshed(town.refresher()), asyncio.Event(), False

    async def former(credential: Credential) -> Probed:
        del credential
        if retired:
            raise RuntimeError("Session is closed")
        return Probed.REFUSED

    async def latter(credential: Credential) -> Probed:
        del credential
        return Probed.ACCEPTED

    lending = RefreshingCredential(ours, probe=former, wait=5, clock=town.clock, tasks=town.tasks)
    ours.keeper.keep_refusals(Refusals(until=town.clock.wall() + 1800, length=1800))
    town.simulator.faults.add(Fault(path=TOKEN_PATH, gate=answering))
    healing = lending._heal(await lending.current())  # noqa: SLF001 - the same
    assert healing is not None
    await until(lambda: town.redeems == 2)
    lending.reconfigure(probe=latter if goes_on else None, wait=5)
    retired = True
    answering.set()
    await healing
    assert generation(ours) == 2
    assert ours.keeper.refusals.cooling(town.clock.wall()) is not goes_on
    assert not ours.keeper.refusals.spent
    assert "a fault of ours" not in caplog.text
