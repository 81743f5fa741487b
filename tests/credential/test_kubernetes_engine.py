"""The engine against a Kubernetes API: one Secret, one Lease, one watch; and what breaks each of them."""

import asyncio
import json
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest
from aiohttp import web
from credential.engine_contract import CLAUSES, Clause
from kubernetes_api import LEASE, NAMESPACE, SECRET, UNHEARD, KubernetesApi
from rig import TurnedClock, until

from proxy.credential.engine import Kept
from proxy.credential.grant_keeper import LAST_PAUSE, LAST_TRIES
from proxy.credential.kubernetes_engine import KubernetesEngine
from proxy.credential.store import StoreError, StoreUnreachable
from proxy.kubernetes.api import Api
from proxy.kubernetes.discovery import Discovery
from proxy.login.exchange import STORE_PAUSE, STORE_TRIES
from proxy.secret_reader import SecretReader


class Maker(Protocol):
    """Makes one replica's engine."""

    def __call__(self, clock: TurnedClock | None = None) -> KubernetesEngine: ...


@pytest.fixture
async def kubernetes(tmp_path: Path) -> AsyncIterator[KubernetesApi]:
    async with KubernetesApi(tmp_path) as api:
        api.apply_manifests()
        yield api


@pytest.fixture
async def replica(kubernetes: KubernetesApi) -> AsyncIterator[Maker]:
    """Make engines as pods have them, each with a clock of its own."""
    made: list[KubernetesEngine] = []

    def make(clock: TurnedClock | None = None) -> KubernetesEngine:
        clock = clock or TurnedClock()
        find = Discovery(kubernetes.environ, None, SecretReader(), clock.monotonic, kubernetes.mount.path)
        made.append(
            KubernetesEngine(Api(find, clock), SECRET, namespace=None, lease=None, clock=clock, jitter=lambda: 0.5)
        )
        return made[-1]

    yield make
    for each in made:
        await each.close()


@pytest.fixture
def engine(replica: Maker) -> KubernetesEngine:
    return replica()


async def following(told: AsyncIterator[Kept | None]) -> Kept | None:
    async with asyncio.timeout(10):
        return await anext(told)


# The record


async def test_an_empty_secret_has_nothing_kept(engine: KubernetesEngine, kubernetes: KubernetesApi) -> None:
    assert await engine.read() == Kept(b"", kubernetes.secret["metadata"]["resourceVersion"])


async def test_what_is_written_is_read(engine: KubernetesEngine, kubernetes: KubernetesApi) -> None:
    written = await engine.write(b'{"a": 1}', (await engine.read()).version)
    assert written is not None
    assert await engine.read() == written
    assert written.content == b'{"a": 1}'
    assert kubernetes.secret["data"] == {"grant.json": b64encode(b'{"a": 1}').decode()}


async def test_a_write_over_another_version_writes_nothing(engine: KubernetesEngine, replica: Maker) -> None:
    before = await engine.read()
    other = replica()
    assert await other.write(b"theirs", (await other.read()).version) is not None
    assert await engine.write(b"ours", before.version) is None
    assert (await engine.read()).content == b"theirs"


async def test_of_many_that_write_over_one_version_one_succeeds(replica: Maker) -> None:
    fleet = [replica() for _ in range(8)]
    version = (await fleet[0].read()).version
    written = await asyncio.gather(*(each.write(f"{n}".encode(), version) for n, each in enumerate(fleet)))
    (won,) = filter(None, written)
    assert (await fleet[0].read()) == won


async def test_what_others_keep_in_the_secret_is_left_alone(
    engine: KubernetesEngine, kubernetes: KubernetesApi
) -> None:
    """And a change of theirs is a change: it is read again before ours is made."""
    before = await engine.read()
    kubernetes.edit("secrets", metadata={"annotations": {"team": "sales"}}, data={"other": "Yg=="})
    assert await engine.write(b"ours", before.version) is None
    assert await engine.write(b"ours", (await engine.read()).version) is not None
    annotations = kubernetes.secret["metadata"]["annotations"]
    assert annotations["team"] == "sales"
    assert annotations["helm.sh/resource-policy"] == "keep"
    assert kubernetes.secret["data"]["other"] == "Yg=="
    assert kubernetes.secret["type"] == "Opaque"


@pytest.mark.parametrize(
    "body", [{"kind": "Status", "metadata": {}, "code": 503}, {"metadata": {"resourceVersion": ""}, "items": []}]
)
async def test_what_has_no_version_is_no_empty_store_and_nothing_is_written_over_it(
    engine: KubernetesEngine, kubernetes: KubernetesApi, body: Mapping[str, object]
) -> None:
    """A 200 from what stands between, with a Status in it: what follows would have no precondition."""
    kubernetes.faults.answer = lambda: web.json_response(body)
    lease = (engine.take("pod-a", 5), engine.give_back("pod-a"), engine.holder())
    for call in (engine.read(), anext(engine.watch()), *lease):
        with pytest.raises(StoreUnreachable, match="What the Kubernetes API answered is"):
            await call


async def test_a_listed_secret_without_a_version_is_none(engine: KubernetesEngine, kubernetes: KubernetesApi) -> None:
    listed = {"metadata": {"resourceVersion": "7"}, "items": [{"metadata": {}}]}
    kubernetes.faults.answer = lambda: web.json_response(listed)
    with pytest.raises(StoreUnreachable, match="What the Kubernetes API answered is not what was asked for"):
        await anext(engine.watch())


async def test_a_missing_secret_is_a_fault_that_says_what_to_apply(
    engine: KubernetesEngine, kubernetes: KubernetesApi
) -> None:
    kubernetes.delete("secrets")
    with pytest.raises(StoreError, match=f"There is no {SECRET} among the secrets of namespace {NAMESPACE}") as fault:
        await engine.read()
    assert not isinstance(fault.value, StoreUnreachable)
    with pytest.raises(StoreError, match=f"There is no {SECRET} among the secrets of namespace {NAMESPACE}"):
        await following(engine.watch())


async def test_a_write_whose_answer_is_lost_is_unknown_until_the_next_read(
    engine: KubernetesEngine, kubernetes: KubernetesApi
) -> None:
    before = await engine.read()
    kubernetes.faults.lost = 1
    with pytest.raises(StoreUnreachable):
        await engine.write(b"ours", before.version)
    assert (await engine.read()).content == b"ours"
    assert kubernetes.calls("patch secrets") == [UNHEARD], "it was not sent twice"


@pytest.mark.parametrize("stored", [None, b64encode(b"theirs").decode()], ids=["taken out", "altered"])
async def test_a_write_that_an_admission_webhook_changes_is_none_though_the_answer_is_200(
    engine: KubernetesEngine, kubernetes: KubernetesApi, stored: str | None
) -> None:
    """Else a pair that is nowhere would be told to be stored, and end with its pod."""
    before = await engine.read()
    kubernetes.faults.webhook = lambda patch: {**patch, "data": {"grant.json": stored}}
    with pytest.raises(StoreError, match=f"written to the Kubernetes Secret {NAMESPACE}/{SECRET} .* webhook") as fault:
        await engine.write(b"ours", before.version)
    assert not isinstance(fault.value, StoreUnreachable), "a person must look"
    assert kubernetes.calls("patch secrets") == [200]


@pytest.mark.parametrize(
    ("tries", "pause"), [(LAST_TRIES, LAST_PAUSE), (STORE_TRIES + 1, STORE_PAUSE)], ids=["the end", "a login"]
)
async def test_who_can_not_try_for_long_outlasts_a_rest_that_was_asked_for(
    replica: Maker, kubernetes: KubernetesApi, tries: int, pause: float
) -> None:
    """Else a pair is lost to one 429, though the API is well."""
    clock = TurnedClock()
    engine = replica(clock)
    kubernetes.faults.throttled, kubernetes.faults.retry_after = 1, "30"
    with pytest.raises(StoreUnreachable):
        await engine.read()
    answers = []
    for _ in range(tries):
        with suppress(StoreUnreachable):
            answers.append(await engine.read())
        clock.pass_(pause)
    assert len(answers) > 1


async def test_what_is_damaged_is_removed_by_the_command_that_is_said(
    engine: KubernetesEngine, kubernetes: KubernetesApi
) -> None:
    """Nobody need delete the Secret, which only an administrator could make anew."""
    kubernetes.put(b"{ damaged")
    assert (await engine.read()).content == b"{ damaged"
    command = r"empty it \(kubectl patch secret (\S+) --namespace=(\S+) --type=merge --patch='(.*)'\)"
    said = re.fullmatch(command, engine.removal)
    assert said is not None
    assert said.group(1, 2) == (SECRET, NAMESPACE)
    kubernetes.edit("secrets", **json.loads(said[3]))
    assert (await engine.read()).content == b""


async def test_it_says_where_it_is(engine: KubernetesEngine) -> None:
    assert engine.name == f"the Kubernetes Secret {SECRET}"
    await engine.read()
    assert engine.name == f"the Kubernetes Secret {NAMESPACE}/{SECRET}"


# The lease


async def test_a_lease_has_one_holder(replica: Maker) -> None:
    fleet = [replica() for _ in range(8)]
    taken = await asyncio.gather(*(each.take(f"pod-{n}", 60) for n, each in enumerate(fleet)))
    assert taken.count(True) == 1
    assert await fleet[0].holder() == f"pod-{taken.index(True)}"


async def test_a_lease_is_written_down_as_leader_election_does(
    engine: KubernetesEngine, kubernetes: KubernetesApi
) -> None:
    kubernetes.edit("leases", spec={"leaseTransitions": 7})
    assert await engine.take("pod-a", 59.5)
    spec = kubernetes.lease
    assert (spec["holderIdentity"], spec["leaseDurationSeconds"], spec["leaseTransitions"]) == ("pod-a", 60, 8)
    assert spec["acquireTime"] == spec["renewTime"]
    assert len(spec["renewTime"]) == len("2026-01-01T00:00:00.000000Z")


async def test_who_has_the_lease_takes_it_again(replica: Maker, kubernetes: KubernetesApi) -> None:
    clock = TurnedClock()
    engine = replica(clock)
    assert await engine.take("pod-a", 60)
    first = kubernetes.lease
    clock.pass_(5)
    assert await engine.take("pod-a", 60)
    assert kubernetes.lease["acquireTime"] == first["acquireTime"]
    assert kubernetes.lease["renewTime"] > first["renewTime"]
    assert kubernetes.lease["leaseTransitions"] == first["leaseTransitions"]


async def test_a_lease_that_is_given_back_is_free_at_once(replica: Maker, kubernetes: KubernetesApi) -> None:
    engine, other = replica(), replica()
    assert await engine.take("pod-a", 60)
    assert not await other.take("pod-b", 60)
    await engine.give_back("pod-a")
    assert "holderIdentity" not in kubernetes.lease
    assert await other.holder() is None
    assert await other.take("pod-b", 60)


async def test_a_lease_is_given_back_though_somebody_else_writes_on_it(
    replica: Maker, kubernetes: KubernetesApi
) -> None:
    """A person's annotation, or what keeps labels in order: else it would stand for its whole time."""
    engine, other = replica(), replica()
    assert await engine.take("pod-a", 60)
    kubernetes.faults.meddled = 2
    await engine.give_back("pod-a")
    assert await other.take("pod-b", 60)


async def test_a_lease_that_is_anothers_by_now_is_not_given_back(replica: Maker) -> None:
    engine, other = replica(), replica()
    assert await other.take("pod-b", 60)
    await engine.give_back("pod-a")
    assert await other.holder() == "pod-b"


async def test_a_lease_ends_when_it_was_seen_unchanged_for_its_time(replica: Maker) -> None:
    """The holder is dead. What its clock said, and what ours says of the day, counts for nothing."""
    clock = TurnedClock()
    engine, other = replica(), replica(clock)
    assert await engine.take("pod-a", 30)
    clock.pass_(3600)
    assert not await other.take("pod-b", 60), "it is seen for the first time"
    clock.pass_(29)
    assert not await other.take("pod-b", 60)
    clock.pass_(2)
    assert await other.take("pod-b", 60)
    assert not await engine.take("pod-a", 30), "it comes back late"


async def test_a_lease_that_is_renewed_meanwhile_does_not_end(replica: Maker) -> None:
    theirs, clock = TurnedClock(), TurnedClock()
    engine, other = replica(theirs), replica(clock)
    assert await engine.take("pod-a", 30)
    assert not await other.take("pod-b", 60)
    clock.pass_(29)
    theirs.pass_(29)
    assert await engine.take("pod-a", 30)
    clock.pass_(29)
    assert not await other.take("pod-b", 60)
    clock.pass_(31)
    assert await other.take("pod-b", 60)


@pytest.mark.parametrize("duration", [2**31 - 1, None], ids=["years", "none"])
async def test_a_lease_that_was_edited_to_last_for_ever_ends_when_ours_would(
    replica: Maker, kubernetes: KubernetesApi, duration: int | None
) -> None:
    clock = TurnedClock()
    engine = replica(clock)
    kubernetes.edit("leases", spec={"holderIdentity": "nobody", "leaseDurationSeconds": duration})
    assert not await engine.take("pod-a", 60)
    clock.pass_(59)
    assert not await engine.take("pod-a", 60)
    clock.pass_(2)
    assert await engine.take("pod-a", 60)


async def test_a_lease_without_anything_in_it_is_free(engine: KubernetesEngine, kubernetes: KubernetesApi) -> None:
    kubernetes.edit("leases", spec=None)
    assert await engine.holder() is None
    assert await engine.take("pod-a", 60)


async def test_a_dead_holder_is_not_named_for_ever(replica: Maker) -> None:
    clock = TurnedClock()
    assert await replica().take("pod-a", 30)
    asking = replica(clock)
    assert await asking.holder() == "pod-a"
    clock.pass_(31)
    assert await asking.holder() is None


async def test_a_missing_lease_is_a_fault_that_says_what_to_apply(
    engine: KubernetesEngine, kubernetes: KubernetesApi
) -> None:
    kubernetes.delete("leases", LEASE)
    with pytest.raises(StoreError, match=f"There is no {LEASE} among the leases of namespace {NAMESPACE}"):
        await engine.take("pod-a", 60)


# The watch


async def test_a_watch_brings_the_record_and_each_change_of_it(
    engine: KubernetesEngine, kubernetes: KubernetesApi
) -> None:
    kubernetes.put(b"one")
    async with aclosing(engine.watch()) as told:
        assert (await following(told)) == await engine.read()
        kubernetes.put(b"two")
        assert (two := await engine.read()) == await following(told)
        assert await engine.write(b"three", two.version) == await following(told)
    assert kubernetes.calls("list secrets") == [200]
    assert kubernetes.calls("watch secrets") == [0]


async def test_nothing_that_happens_between_the_list_and_the_watch_is_lost(
    engine: KubernetesEngine, kubernetes: KubernetesApi
) -> None:
    async with aclosing(engine.watch()) as told:
        first = await following(told)
        for n in range(20):
            kubernetes.put(f"{n}".encode())
        seen = [await following(told) for _ in range(20)]
    assert first is not None
    assert [each.content for each in seen if each] == [f"{n}".encode() for n in range(20)]


async def test_bookmarks_are_not_told_and_move_the_version(engine: KubernetesEngine, kubernetes: KubernetesApi) -> None:
    """Other objects change a lot: without bookmarks, the version that is watched from would soon be forgotten."""
    async with aclosing(engine.watch()) as told:
        await following(told)
        waiting = asyncio.ensure_future(following(told))
        for n in range(20):
            kubernetes.edit("leases", spec={"leaseTransitions": n})
        await asyncio.sleep(3 * kubernetes.bookmarks)
        assert not waiting.done()
        kubernetes.put(b"two")
        kept = await waiting
    assert kept is not None
    assert kept.content == b"two"


async def test_a_deleted_secret_is_told_without_a_record(engine: KubernetesEngine, kubernetes: KubernetesApi) -> None:
    async with aclosing(engine.watch()) as told:
        await following(told)
        kubernetes.delete("secrets")
        assert await following(told) is None


@pytest.mark.parametrize("forgetful", [False, True], ids=["event", "status"])
async def test_a_watch_of_a_forgotten_version_ends(
    engine: KubernetesEngine, kubernetes: KubernetesApi, monkeypatch: pytest.MonkeyPatch, *, forgetful: bool
) -> None:
    """410 Gone, as an event or as the answer; whoever watches lists again."""
    monkeypatch.setattr("proxy.credential.kubernetes_engine.SHORTEST_WATCH", 0.7)
    kubernetes.bookmarks = 60
    kubernetes.faults.forgetful = forgetful
    told = engine.watch()
    await following(told)
    kubernetes.edit("leases", spec={"leaseTransitions": 1})
    kubernetes.objects.compact()
    with pytest.raises((StopAsyncIteration, StoreUnreachable)):
        await following(told)
    assert len(kubernetes.calls("watch secrets")) == 2
    async with aclosing(engine.watch()) as again:
        assert await following(again) == await engine.read()


async def test_a_stream_that_ends_in_its_time_goes_on_where_it_was(
    engine: KubernetesEngine, kubernetes: KubernetesApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.credential.kubernetes_engine.SHORTEST_WATCH", 0.7)
    async with aclosing(engine.watch()) as told:
        await following(told)
        waiting = asyncio.ensure_future(following(told))
        await until(lambda: len(kubernetes.calls("watch secrets")) == 3)
        kubernetes.put(b"two")
        kept = await waiting
    assert kept is not None
    assert kept.content == b"two"
    assert kubernetes.calls("list secrets") == [200]


async def test_a_dropped_stream_breaks_the_watch(engine: KubernetesEngine, kubernetes: KubernetesApi) -> None:
    told = engine.watch()
    await following(told)
    kubernetes.drop_watches()
    with pytest.raises((StopAsyncIteration, StoreUnreachable)):
        await following(told)


async def test_an_event_that_is_cut_off_is_not_told(engine: KubernetesEngine, kubernetes: KubernetesApi) -> None:
    told = engine.watch()
    await following(told)
    kubernetes.faults.cut = True
    kubernetes.put(b"two")
    with pytest.raises((StopAsyncIteration, StoreUnreachable)):
        await following(told)


async def test_an_event_that_comes_in_pieces_is_told_whole(engine: KubernetesEngine, kubernetes: KubernetesApi) -> None:
    kubernetes.faults.dribble = 0.02
    async with aclosing(engine.watch()) as told:
        await following(told)
        kubernetes.put(b"x" * 200_000)
        kept = await following(told)
    assert kept is not None
    assert len(kept.content) == 200_000


async def test_a_silent_stream_breaks_the_watch(
    engine: KubernetesEngine, kubernetes: KubernetesApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that has vanished without a word, past a router that remembers it."""
    monkeypatch.setattr("proxy.credential.kubernetes_engine.SHORTEST_WATCH", 60)
    monkeypatch.setattr("proxy.kubernetes.api.SLACK", -89.8)
    kubernetes.faults.deaf = True
    told = engine.watch()
    await following(told)
    with pytest.raises(StoreUnreachable, match="No answer came"):
        await following(told)


async def test_a_watch_that_is_not_allowed_is_not_open(engine: KubernetesEngine, kubernetes: KubernetesApi) -> None:
    """So whoever opens it again does so after longer and longer pauses, though the list is allowed."""
    kubernetes.rules = [replace(rule, verbs=rule.verbs - {"watch"}) for rule in kubernetes.rules]
    with pytest.raises(StoreError, match="must allow `watch` on secrets with the resourceName"):
        await following(engine.watch())


async def test_an_event_beyond_all_bounds_breaks_the_watch(
    engine: KubernetesEngine, kubernetes: KubernetesApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.kubernetes.connection.LARGEST", 1000)
    told = engine.watch()
    await following(told)
    kubernetes.put(b"x" * 2000)
    with pytest.raises(StoreError, match="larger than"):
        await following(told)


@pytest.mark.parametrize("clause", CLAUSES, ids=lambda clause: clause.__name__)
async def test_it_keeps_the_contract_of_engines(replica: Maker, clause: Clause) -> None:
    await clause(replica)
