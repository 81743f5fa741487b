"""What may be written down about a grant, by whom, over what (laws 2, 4 and 6)."""

from dataclasses import dataclass, field

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from proxy.credential import ledger
from proxy.credential.ledger import LOGIN, REFRESHED, Attempt, Grant, Intent, Ledger, Lineage
from proxy.credential.refusals import Refusals
from proxy.secrets import Secret

FIRST = Lineage("refresh_token", Secret("seed").fingerprint(), 10.0)
SECOND = Lineage("login", Secret("consent").fingerprint(), 20.0)
THIRD = Lineage("refresh_token", Secret("another seed").fingerprint(), 30.0)
DONE = Attempt(500.0, REFRESHED)
COOLING = Refusals(until=100.0, length=30.0)


def grant(generation: int, lineage: Lineage = FIRST, token: str = "") -> Grant:
    return Grant(
        generation, lineage, Secret(f"refresh-{token or generation}"), Secret(f"access-{token or generation}"), 0.0, 9e9
    )


def kept(
    newest: Grant,
    *,
    seeds: tuple[Lineage, ...] = (),
    intent: Intent | None = None,
    refusals: Refusals = Refusals(),  # noqa: B008 - frozen
) -> Ledger:
    """Return a ledger as a store has it: its grant's lineage is the last of `seeds`."""
    known = (*seeds, newest.lineage) if newest.lineage not in seeds else seeds
    return Ledger(newest, tuple(lineage.fingerprint for lineage in known), refusals, intent)


def intent_of(redeemed: Grant, at: float) -> Intent:
    return Intent(redeemed.refresh_token.fingerprint(), at)


KNOWN = tuple(lineage.fingerprint for lineage in (FIRST, SECOND, THIRD))

MAY_BE_WRITTEN = {
    "onto nothing": (Ledger(), grant(1), True),
    "the same again": (kept(grant(3)), grant(3), True),
    "the next of its lineage": (kept(grant(3)), grant(4), True),
    "an earlier one of its lineage": (kept(grant(3)), grant(2), False),
    "another of the same number": (kept(grant(3)), grant(3, token="other"), False),
    "a lineage never seen": (kept(grant(3)), grant(4, THIRD), True),
    "a lineage never seen, whatever its number": (kept(grant(9)), grant(1, THIRD), True),
    "a lineage that another has followed": (kept(grant(3, SECOND), seeds=(FIRST,)), grant(9), False),
}
"""What a store has, what somebody wants to write there, and whether he may."""


@pytest.mark.parametrize(("there", "wanted", "may"), MAY_BE_WRITTEN.values(), ids=MAY_BE_WRITTEN)
def test_what_has_moved_on_is_neither_redeemed_nor_written_over(
    there: Ledger,
    wanted: Grant,
    may: bool,  # noqa: FBT001 - a column
) -> None:
    assert (ledger.begun(there, wanted, KNOWN, 1.0) is not None) is may
    assert (ledger.renewed(there, wanted, KNOWN, Refusals(), DONE) is not None) is may


def test_a_lineage_that_nobody_has_heard_of_came_with_a_file_that_a_person_put_there() -> None:
    """A login elsewhere, copied over the store of a proxy that runs: it must not be written over."""
    there, ours = kept(grant(1, SECOND)), kept(grant(9))
    assert ledger.begun(there, grant(9), ours.seeds, 1.0) is None
    assert ledger.renewed(there, grant(9), ours.seeds, Refusals(), DONE) is None
    assert ledger.merged(ours, there).grant == grant(1, SECOND)


@pytest.mark.parametrize(
    ("obtained_at", "is_ours"), [(10.0, True), (19.0, True), (21.0, False)], ids=["older", "still older", "refreshed"]
)
def test_a_lineage_that_is_there_already_counts_as_known_unless_it_is_the_later_one(
    *, obtained_at: float, is_ours: bool
) -> None:
    ours, there = kept(grant(1, SECOND)), kept(replace(grant(7), obtained_at=obtained_at))
    known = ledger.arriving(ours, there)
    assert known == (replace(ours, seeds=(FIRST.fingerprint, SECOND.fingerprint)) if is_ours else ours)
    assert (ledger.merged(known, there).grant == ours.grant) is is_ours


def test_where_there_is_nothing_to_compare_nothing_is_known() -> None:
    for ours, there in ((Ledger(), kept(grant(1))), (kept(grant(1)), Ledger())):
        assert ledger.arriving(ours, there) == ours


def test_an_intent_changes_nothing_but_itself() -> None:
    there = Ledger(grant(3), ("a", FIRST.fingerprint), COOLING, last=DONE)
    assert ledger.begun(there, grant(3), KNOWN, 77.0) == replace(there, intent=intent_of(grant(3), 77.0))


def test_a_doubt_keeps_the_minute_in_which_it_began() -> None:
    """Whoever tries the same token again must not hide when a reply was lost first."""
    there = kept(grant(3), intent=intent_of(grant(3), 50.0))
    again = ledger.begun(there, grant(3), KNOWN, 99.0)
    assert again is not None
    assert again.intent == intent_of(grant(3), 50.0)


def test_a_doubt_is_about_one_token() -> None:
    there = kept(grant(3), intent=intent_of(grant(3), 50.0))
    assert there.doubt(Secret("refresh-3")) == there.intent
    assert there.doubt(Secret("refresh-4")) is None
    assert Ledger().doubt(Secret("refresh-4")) is None


OLDER = intent_of(grant(3), 5.0)
OTHERS = intent_of(grant(8), 6.0)


@pytest.mark.parametrize(
    ("noted", "before", "left"),
    [
        (intent_of(grant(3), 50.0), None, None),
        (intent_of(grant(3), 5.0), OLDER, OLDER),
        (OTHERS, None, OTHERS),  # of whoever has begun since
        (None, None, None),  # somebody's pair has come meanwhile
        (None, OLDER, None),
    ],
)
def test_a_redeem_that_is_proven_not_to_be_one_leaves_only_an_older_doubt(
    noted: Intent | None, before: Intent | None, left: Intent | None
) -> None:
    there = kept(grant(3), intent=noted)
    failed = Attempt(60.0, "throttled")
    assert ledger.refused(there, grant(3), before, failed) == replace(there, intent=left, last=failed)


def test_a_redeem_whose_end_nobody_knows_stays_written_down() -> None:
    there = kept(grant(3), intent=intent_of(grant(3), 50.0))
    failed = Attempt(60.0, "timeout")
    assert ledger.unresolved(there, grant(3), failed) == replace(there, last=failed)


def test_how_a_seeds_redeem_ended_is_not_said_of_the_grant_beside_it() -> None:
    """A stale seed must not make a healthy grant look dead for the rest of its year."""
    there = replace(kept(grant(3), intent=intent_of(grant(9, THIRD), 50.0)), last=DONE)
    refused = Attempt(60.0, "invalid_grant")
    assert ledger.refused(there, grant(9, THIRD), None, refused) == replace(there, intent=None)
    assert ledger.unresolved(there, grant(9, THIRD), refused) == there


def test_how_a_redeem_ended_is_not_said_of_the_pair_that_came_before_its_end() -> None:
    """A replica whose redeem was outrun must not make the living pair look dead to all others."""
    there = replace(kept(grant(4)), last=DONE)
    refused = Attempt(600.0, "invalid_grant")
    assert ledger.refused(there, grant(3), None, refused) == there
    assert ledger.unresolved(there, grant(3), refused) == there


def test_a_refusal_is_said_of_the_very_refresh_token_that_was_refused() -> None:
    refused = Attempt(60.0, "invalid_grant", fingerprint=grant(3).refresh_token.fingerprint())
    there = replace(kept(grant(3)), last=refused)
    assert there.refuses(grant(3).refresh_token)
    assert not there.refuses(grant(9, THIRD).refresh_token)
    assert not replace(there, last=replace(refused, result="timeout")).refuses(grant(3).refresh_token)
    assert not Ledger().refuses(grant(3).refresh_token)


def test_a_new_pair_ends_the_doubt_and_the_trial() -> None:
    there = kept(grant(3), intent=intent_of(grant(3), 50.0))
    after = ledger.renewed(there, grant(4), KNOWN, replace(COOLING, on_trial=4), DONE)
    assert after == Ledger(grant(4), (FIRST.fingerprint,), COOLING, None, DONE)


def test_a_pair_that_is_there_already_leaves_the_redeem_that_somebody_has_begun_with_it() -> None:
    """The write of it hung and came through after all; whoever tries again must not hide the other's intent."""
    there = kept(grant(3), intent=intent_of(grant(3), 50.0))
    assert ledger.renewed(there, grant(3), KNOWN, COOLING, DONE) == there


def test_a_pair_without_an_attempt_leaves_the_last_one() -> None:
    there = replace(kept(grant(3)), last=DONE)
    after = ledger.renewed(there, grant(4), KNOWN, Refusals(), None)
    assert after is not None
    assert after.last == DONE


def test_a_new_lineage_counts_on_from_what_is_there() -> None:
    after = ledger.renewed(kept(grant(7)), grant(1, THIRD), KNOWN, Refusals(), DONE)
    assert after is not None
    assert after.generation == 8
    assert after.seeds == (FIRST.fingerprint, THIRD.fingerprint)


def test_a_login_wins_over_whatever_there_is_as_the_next_generation() -> None:
    there = Ledger(grant(7), (FIRST.fingerprint,), COOLING, intent_of(grant(7), 1.0), DONE)
    after = ledger.consented(there, grant(1, SECOND), 90.0)
    seeds = (FIRST.fingerprint, SECOND.fingerprint)
    assert after == Ledger(grant(8, SECOND, token="1"), seeds, last=Attempt(90.0, LOGIN))
    assert ledger.consented(Ledger(), grant(0, SECOND), 90.0).generation == 1


def test_a_login_ends_the_lineage_that_was_about_to_begin() -> None:
    """A configured refresh token is on its way when a person agrees: its reply comes later, and does not count."""
    seeded = Grant(0, FIRST, Secret("seed"))
    there = ledger.begun(Ledger(), seeded, KNOWN, 40.0)
    assert there is not None
    after = ledger.consented(there, grant(1, SECOND), 90.0)
    assert after.seeds == (FIRST.fingerprint, SECOND.fingerprint)
    assert ledger.renewed(after, grant(1), KNOWN, Refusals(), DONE) is None


def test_a_login_that_brings_a_known_token_again_is_followed() -> None:
    there = kept(grant(5, SECOND), seeds=(FIRST,))
    after = ledger.consented(there, grant(1, FIRST), 90.0)
    assert after.seeds == (FIRST.fingerprint, SECOND.fingerprint)
    assert ledger.merged(there, after).grant == after.grant


def test_a_cool_down_is_noted_for_its_own_lineage_alone() -> None:
    there = kept(grant(3, SECOND), seeds=(FIRST,))
    assert ledger.cooled(there, FIRST, COOLING) is None
    assert ledger.cooled(Ledger(), FIRST, COOLING) is None
    assert ledger.cooled(there, SECOND, replace(COOLING, on_trial=3)) == replace(there, refusals=COOLING)


def test_a_cool_down_that_a_sibling_began_a_moment_before_is_not_written_again() -> None:
    """A thousand replicas meet the same 401s within a second."""
    there = kept(grant(3, SECOND), refusals=COOLING)
    assert ledger.cooled(there, SECOND, replace(COOLING, until=COOLING.until + 2)) is None
    later = replace(COOLING, until=COOLING.until + 60)
    assert ledger.cooled(there, SECOND, later) == replace(there, refusals=later)
    assert ledger.cooled(there, SECOND, replace(COOLING, spent=True)) is not None
    assert ledger.cooled(there, SECOND, COOLING.helped()) == replace(there, refusals=COOLING.helped())


def test_what_replicas_know_of_401s_is_what_came_last_of_it() -> None:
    """It holds for all of a lineage; and the trial of a token is its own process's (law 3)."""
    ours, there = kept(grant(3), refusals=replace(COOLING, on_trial=3)), kept(grant(4))
    assert ledger.merged(ours, there).refusals == replace(COOLING, on_trial=3)
    spent = replace(COOLING, spent=True)
    reopened = spent.accepted(3)
    ended = COOLING.helped()
    for earlier, later in ((COOLING, spent), (spent, reopened), (spent, ended), (reopened, ended)):
        for one, other in ((earlier, later), (later, earlier)):
            assert ledger.merged(kept(grant(3), refusals=one), kept(grant(3), refusals=other)).refusals == later
    other_lineage = kept(grant(4, SECOND), seeds=(FIRST, SECOND))
    assert ledger.merged(kept(grant(3), refusals=COOLING), other_lineage).refusals == other_lineage.refusals


def test_memory_without_a_grant_takes_what_is_kept() -> None:
    assert ledger.merged(Ledger(), kept(grant(3))) == kept(grant(3))
    assert ledger.merged(Ledger(), Ledger()) == Ledger()


def test_an_intent_that_could_not_be_stored_is_remembered_while_there_is_no_grant() -> None:
    begun = Ledger(intent=Intent("of the seed", 5.0))
    assert ledger.merged(begun, Ledger()) == begun
    assert ledger.merged(begun, Ledger(intent=Intent("newer", 6.0))).intent == Intent("newer", 6.0)


def test_an_intent_is_forgotten_once_somebodys_grant_is_there() -> None:
    """His redeem has ended it, also where the refresh token stays the same for ever (law 8)."""
    begun = Ledger(intent=Intent(Secret("refresh-1").fingerprint(), 5.0))
    assert ledger.merged(begun, kept(grant(1))).intent is None


def test_the_same_grant_has_its_intent_from_either_side() -> None:
    doubt = intent_of(grant(3), 5.0)
    assert ledger.merged(kept(grant(3)), kept(grant(3), intent=doubt)).intent == doubt
    assert ledger.merged(kept(grant(3), intent=doubt), kept(grant(3))).intent == doubt


def test_a_newer_pair_in_memory_stays_and_an_older_intent_does_not_come_back_to_it() -> None:
    stored = replace(kept(grant(3), intent=intent_of(grant(3), 5.0)), last=Attempt(5.0, "timeout"))
    ours = replace(kept(grant(4)), refusals=COOLING, last=DONE)
    assert ledger.merged(ours, stored) == ours


def test_a_newer_pair_in_the_store_is_taken_with_all_that_belongs_to_it() -> None:
    stored = Ledger(grant(5), (FIRST.fingerprint,), COOLING, intent_of(grant(5), 5.0), DONE)
    assert ledger.merged(kept(grant(4), intent=intent_of(grant(4), 1.0)), stored) == stored


def test_a_login_in_the_store_wins_over_pairs_that_wait_to_be_stored() -> None:
    """Under the number it has there: numbers order the pairs of a lineage, and must be the same for everybody."""
    stored = kept(grant(4, SECOND), seeds=(FIRST,))
    assert ledger.merged(kept(grant(9)), stored).grant == stored.grant


def test_the_seeds_of_both_sides_are_remembered_and_the_winners_last() -> None:
    early = Ledger(grant(3), ("a", FIRST.fingerprint))
    late = Ledger(grant(9, THIRD), ("b", FIRST.fingerprint, THIRD.fingerprint))
    everything = ("a", "b", FIRST.fingerprint, THIRD.fingerprint)
    assert ledger.merged(early, late).seeds == everything
    assert ledger.merged(late, early).seeds == everything


def test_no_repr_shows_a_token() -> None:
    shown = repr(kept(grant(3), intent=intent_of(grant(3), 5.0)))
    assert "refresh-3" not in shown
    assert "access-3" not in shown


# All of it together, in whatever order


@dataclass
class Endpoint:
    """A token endpoint that takes every refresh token once."""

    alive: set[Secret] = field(default_factory=set)
    issued: int = 0

    def issue(self) -> Secret:
        self.issued += 1
        token = Secret(f"token-{self.issued}")
        self.alive.add(token)
        return token

    def redeem(self, token: Secret) -> Secret | None:
        if token not in self.alive:
            return None
        self.alive.remove(token)
        return self.issue()


@dataclass
class Process:
    """One proxy: what it has in memory, and the redeem it has begun."""

    memory: Ledger = field(default_factory=Ledger)
    redeeming: Grant | None = None
    before: Intent | None = None
    unsaved: bool = False
    began_at: int = 0


class World:
    """Some processes, one store, one endpoint; `step` checks the laws each time the store changes.

    All of it changes in the steps, each of which is what a process may do between two others.
    """

    def __init__(self, processes: int, *, leased: bool) -> None:
        self.endpoint = Endpoint()
        self.processes = [Process() for _ in range(processes)]
        self.store = Ledger()
        self.seeds = [self.endpoint.issue()]
        self.now = 0
        self.login: tuple[int, str] | None = None
        self._leased = leased

    def step(self, number: int, action: str) -> None:
        self.now += 1
        process = self.processes[number % len(self.processes)]
        for part in {
            "refresh": ("read", "begin", "redeem", "save"),
            "refresh unsaved": ("begin in memory", "redeem"),
        }.get(action, (action,)):
            getattr(self, "_" + part.replace(" ", "_"))(process)

    def _write(self, after: Ledger) -> None:
        before, self.store = self.store, after
        assert after.generation >= before.generation
        if before.grant is not None and after.grant != before.grant:
            assert after.generation > before.generation
            assert after.grant is not None
            assert (after.grant.refresh_token in self.endpoint.alive) >= (
                before.grant.refresh_token in self.endpoint.alive
            ), "a living pair was overwritten by a dead one"

    def _read(self, process: Process) -> None:
        process.memory = ledger.merged(process.memory, self.store)

    def _choose(self, process: Process) -> Grant | None:
        seed = self.seeds[-1]
        if seed.fingerprint() in process.memory.seeds:
            return process.memory.grant
        return Grant(process.memory.generation, Lineage("refresh_token", seed.fingerprint(), 0.0), seed)

    def _begin(self, process: Process) -> None:
        if self._leased:
            if any(other.redeeming for other in self.processes):
                return
            self._read(process)
        self._save(process)
        chosen = self._choose(process)
        begun = chosen and ledger.begun(self.store, chosen, process.memory.seeds, self.now)
        if chosen and begun:
            process.before = process.memory.doubt(chosen.refresh_token)
            self._write(begun)
            process.memory = replace(process.memory, intent=begun.intent)
            process.redeeming, process.began_at = chosen, self.now

    def _begin_in_memory(self, process: Process) -> None:
        """Begin while the store can't be written, which is not done with a seed."""
        if process.memory.grant is not None and process.redeeming is None:
            process.redeeming, process.began_at = process.memory.grant, self.now
            process.before = process.memory.doubt(process.memory.grant.refresh_token)

    def _redeem(self, process: Process) -> None:
        grant = process.redeeming
        if grant is None:
            return
        process.redeeming = None
        successor = self.endpoint.redeem(grant.refresh_token)
        if successor is None:
            failed = Attempt(self.now, "invalid_grant")
            process.memory = ledger.refused(process.memory, grant, process.before, failed)
            self._write(ledger.refused(self.store, grant, process.before, failed))
            return
        pair = replace(grant, generation=grant.generation + 1, refresh_token=successor)
        renewed = ledger.renewed(process.memory, pair, process.memory.seeds, Refusals(), Attempt(self.now, REFRESHED))
        if renewed is not None:
            process.memory, process.unsaved = renewed, True

    def _save(self, process: Process) -> None:
        ours = process.memory
        if not process.unsaved or ours.grant is None:
            return
        process.unsaved = False
        after = ledger.renewed(self.store, ours.grant, ours.seeds, ours.refusals, ours.last)
        if after is None:
            self._read(process)
            return
        if self.login is not None and after.grant is not None and after.grant != self.store.grant:
            when, lineage = self.login
            theirs = after.grant.lineage.fingerprint == lineage
            assert theirs or not self._leased or process.began_at > when, "a login was overwritten by what began before"
        after = ledger.merged(ours, after)
        self._write(after)
        process.memory = ledger.merged(ours, after)

    def _save_again(self, process: Process) -> None:
        """Write what is in memory, needed or not: what a task does that was begun long ago."""
        process.unsaved = True
        self._save(process)

    def _login(self, _process: Process) -> None:
        token = self.endpoint.issue()
        self._write(ledger.consented(self.store, Grant(0, Lineage("login", token.fingerprint(), 0.0), token), self.now))
        self.login = (self.now, token.fingerprint())

    def _crash(self, process: Process) -> None:
        process.__init__()  # type: ignore[misc] # as it was born

    def _configure(self, _process: Process) -> None:
        self.seeds.append(self.endpoint.issue())


ACTIONS = ("refresh", "refresh unsaved", "read", "begin", "redeem", "save", "save again", "login", "crash")


def steps_of(*actions: str) -> st.SearchStrategy[list[tuple[int, str]]]:
    return st.lists(st.tuples(st.integers(0, 2), st.sampled_from(actions)), max_size=40)


@settings(max_examples=300)
@given(st.integers(2, 3), steps_of(*ACTIONS, "configure"))
@example(
    2,
    [
        *[(0, "refresh"), (0, "refresh unsaved"), (0, "refresh unsaved"), (0, "refresh unsaved")],
        *[(1, "login"), (0, "read"), (1, "refresh"), (0, "read"), (0, "save again")],
    ],
)
def test_no_living_pair_is_ever_overwritten_by_a_dead_one(processes: int, steps: list[tuple[int, str]]) -> None:
    """Not even where the lease has failed and several processes redeem at once."""
    world = World(processes, leased=False)
    for number, action in steps:
        world.step(number, action)


@settings(max_examples=300)
@given(st.integers(2, 3), steps_of(*ACTIONS))
@example(2, [(0, "begin"), (1, "login"), (0, "redeem"), (0, "save")])
def test_a_login_wins_over_every_redeem_that_began_before_it(processes: int, steps: list[tuple[int, str]]) -> None:
    world = World(processes, leased=True)
    for number, action in steps:
        world.step(number, action)
