"""Who gives way when a listener is full."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.forward.crowd import Crowd, Waits


def full(*kinds: Waits | None) -> Crowd[int]:
    """Fill a crowd with 0, 1, … who wait as `kinds` say, from the first on; None is busy."""
    crowd: Crowd[int] = Crowd(len(kinds))
    for one in range(len(kinds)):
        assert crowd.come(one) is None
    for one, kind in enumerate(kinds):
        if kind is None:
            crowd.work(one)
        else:
            crowd.rest(one, kind)
    return crowd


STRANGER, IDLE, LEAVING, BUSY = Waits.STRANGER, Waits.IDLE, Waits.LEAVING, None


@pytest.mark.parametrize(
    ("kinds", "leaver"),
    [
        ((STRANGER, STRANGER, STRANGER), 0),
        ((BUSY, IDLE, IDLE), 1),
        ((IDLE, STRANGER, BUSY, STRANGER), 1),
        ((STRANGER, IDLE, IDLE), 1),
        ((IDLE, STRANGER, LEAVING), 2),
        ((IDLE, STRANGER), 1),
        ((STRANGER, LEAVING, STRANGER), 0),
        ((BUSY, BUSY, LEAVING), 2),
    ],
)
def test_the_most_numerous_kind_gives_up_the_one_that_has_waited_longest(
    kinds: tuple[Waits | None, ...], leaver: int
) -> None:
    assert full(*kinds).come(99) == leaver


def test_where_all_are_busy_the_newcomer_is_not_let_in() -> None:
    crowd = full(BUSY, BUSY)
    assert crowd.come(99) == 99
    assert crowd.everybody() == [0, 1]
    crowd.go(99)
    crowd.work(99)
    crowd.rest(99, IDLE)
    assert crowd.everybody() == [0, 1]


def test_half_open_connections_never_push_out_idle_ones_that_are_fewer() -> None:
    """An app's pool lives through a flood: the flood's own gives way."""
    crowd = full(IDLE, IDLE, *[STRANGER] * 6)
    assert {crowd.come(newcomer) for newcomer in range(100, 1100)}.isdisjoint({0, 1})


def test_idle_connections_leave_newcomers_half_the_room() -> None:
    """A newcomer has time to send its head while as many more come as there are strangers' places."""
    crowd = full(*[IDLE] * 10)
    leavers = [crowd.come(newcomer) for newcomer in range(100, 110)]
    assert leavers == [0, 1, 2, 3, 4, 100, 101, 102, 103, 104]


def test_who_gave_way_may_say_goodbye_too() -> None:
    crowd = full(STRANGER)
    assert crowd.come(1) == 0
    crowd.go(0)
    assert crowd.everybody() == [1]
    assert repr(crowd) == "<Crowd 1 of 1 leaving=0 stranger=1 idle=0>"


@given(st.lists(st.tuples(st.sampled_from(["come", "work", "rest", "leave", "go"]), st.integers(0, 7))))
def test_whatever_happens_nobody_busy_gives_way_and_the_room_is_kept(steps: list[tuple[str, int]]) -> None:
    crowd: Crowd[int] = Crowd(3)
    here: dict[int, bool] = {}  # whether it is busy
    for verb, one in steps:
        if verb == "come" and one not in here:
            leaver = crowd.come(one)
            assert not here.get(leaver, False) if leaver is not None else len(here) < 3
            assert (leaver == one) == (len(here) == 3 and all(here.values()))
            here[one] = False
            here.pop(leaver, None) if leaver is not None else None
        elif verb == "go":
            crowd.go(one)
            here.pop(one, None)
        elif verb == "work":
            crowd.work(one)
            here.update({one: True} if one in here else {})
        elif verb in {"rest", "leave"}:
            crowd.rest(one, IDLE if verb == "rest" else LEAVING)
            here.update({one: False} if one in here else {})
        assert sorted(crowd.everybody()) == sorted(here)
        assert len(here) <= 3


def test_who_has_its_last_answer_or_is_gone_is_leaving_and_nobody_else() -> None:
    crowd = full(LEAVING, STRANGER, IDLE, BUSY)
    assert [crowd.is_leaving(one) for one in (0, 1, 2, 3, 99)] == [True, False, False, False, True]
