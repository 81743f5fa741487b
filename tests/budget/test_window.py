"""A window of slots, moment by moment, and against an upstream that counts somewhere between."""

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.budget.rates import Rate
from proxy.budget.window import Window

TEN = Rate(10, 60)


def spent(window: Window, number: int, now: float) -> None:
    for _ in range(number):
        window.take()
        window.answered(now)


def test_a_slot_comes_back_a_window_after_its_answer() -> None:
    window = Window(TEN)
    for _ in range(10):
        assert window.left(0.0) != 0
        window.take()
    assert window.left(1.0) == 0
    window.answered(2.0)
    assert window.left(61.9) == 0
    assert window.left(62.0) != 0
    assert window.left(62.0) == 1


def test_a_slot_that_was_not_used_is_free_at_once() -> None:
    window = Window(Rate(1, 60))
    window.take()
    assert window.left(0.0) == 0
    window.unused()
    assert window.left(0.0) != 0


@pytest.mark.parametrize("rate", [None, Rate(3, 20)])
def test_what_was_sent_counts_in_another_window_too(rate: Rate | None) -> None:
    """What is in flight counts as answered now: it may be at any moment."""
    window, other = Window(TEN), Window(rate)
    spent(window, 2, 0.0)
    spent(window, 1, 50.0)
    window.take()
    assert window.sent(61.0) == [50.0, 61.0]
    other.count_in(window.sent(61.0))
    assert other.left(61.0) == (None if rate is None else 1)
    assert other.left(70.0) == (None if rate is None else 2)
    assert other.sent(61.0) == ([] if rate is None else [61.0])


@settings(deadline=None)  # other tests run beside it
@given(st.lists(st.tuples(st.floats(0, 30), st.floats(0, 8), st.floats(0, 8)), max_size=80), st.integers(1, 5))
def test_the_upstream_never_finds_more_in_its_window_than_there_are_slots(
    requests: list[tuple[float, float, float]], most: int
) -> None:
    """However long each request is on its way, and its answer on the way back."""
    window, now = Window(Rate(most, 20)), 0.0
    answers: list[float] = []
    arrivals: list[float] = []
    for gap, there, back in requests:
        now += gap
        answered = sorted(at for at in answers if at <= now)
        answers = [at for at in answers if at > now]
        for at in answered:
            window.answered(at)
        if window.left(now) != 0:
            window.take()
            arrivals.append(now + there)
            answers.append(now + there + back)
    counted: deque[float] = deque()
    for at in sorted(arrivals):
        counted.append(at)
        while counted[0] <= at - 20:
            counted.popleft()
        assert len(counted) <= most


def test_without_a_rate_nothing_is_counted_and_a_429_pauses() -> None:
    window = Window(None)
    spent(window, 1000, 0.0)
    assert window.left(0.0) is None
    assert window.left(0.0) != 0
    window.throttled(0.0, 7.0)
    assert window.left(6.9) == 0
    assert window.opens_in(2.0) == 5.0
    assert window.left(7.0) != 0
    assert window.limit is None


@pytest.mark.parametrize(
    ("ahead", "seconds"),
    [(0, 30.0), (3, 30.0), (4, 40.0), (8, 40.0), (9, 60.0), (10, 90.0), (19, 120.0), (200, 1230.0)],
)
def test_it_knows_when_the_next_slot_can_be_had_at_the_earliest(ahead: int, seconds: float) -> None:
    """Four come back at 60, five at 70; one is in flight, and may be answered this moment."""
    window = Window(TEN)
    spent(window, 4, 0.0)
    spent(window, 5, 10.0)
    window.take()
    assert window.opens_in(30.0, ahead) == seconds


def test_a_free_slot_can_be_had_now_unless_others_wait_for_it() -> None:
    window = Window(TEN)
    spent(window, 9, 0.0)
    assert window.opens_in(20.0) == 0.0
    assert window.opens_in(20.0, ahead=1) == 40.0
    assert window.opens_in(20.0, ahead=9) == 40.0
    assert window.opens_in(20.0, ahead=10) == 60.0, "whoever takes the free one now is done with it in a window"


def test_a_429_pauses_and_teaches_how_much_there_is() -> None:
    window = Window(TEN)
    spent(window, 6, 0.0)
    window.throttled(1.0, 13.0)
    assert window.limit == 6
    assert window.left(1.0) == 0
    assert window.paused_for(1.0) == 13.0
    assert window.opens_in(1.0) == 13.0, "PandaDoc has said that one more is granted then"
    assert window.opens_in(1.0, ahead=1) == 59.0
    assert window.left(13.9) == 0
    assert window.left(14.0) == 1
    assert window.left(60.0) == 6


def test_a_429_that_is_not_all_heard_halts_until_it_is() -> None:
    window = Window(TEN)
    window.halt(0.0, 10.0)
    assert (window.left(9.9), window.paused_for(4.0), window.limit) == (0, 6.0, 10)
    window.throttled(4.0, 2.0)
    assert (window.paused_for(4.0), window.limit, window.left(6.0)) == (2.0, 5, 5)
    window.halt(10.0, 1.0)
    assert window.left(11.0) == 5, "it is never heard"


def test_a_429_that_comes_alone_leaves_who_asked_for_little_enough() -> None:
    """Somebody else's burst, met by a process that was quiet, or has just started."""
    window = Window(Rate(2000, 60))
    window.throttled(0.0, 1.0)
    assert window.limit == 1000
    assert window.left(1.0) == 1000
    assert window.left(60.0) == 1501
    assert window.left(120.0) == 2000


def test_a_pause_of_nothing_makes_no_429_a_repeated_one() -> None:
    window = Window(TEN)
    window.pause(0.0, 0.0)
    window.throttled(30.0, 1.0)
    assert window.limit == 5


def test_those_that_were_refused_together_teach_what_one_of_them_does() -> None:
    window = Window(Rate(2000, 60))
    for _ in range(50):
        window.take()
    for moment in range(50):
        window.unused()
        window.throttled(moment / 100, 1.0)
    assert window.limit == 1000


@pytest.mark.parametrize(("said", "granted"), [(600, 10), (500, 100), (100, 90), (10, 2), (10, 1)])
def test_a_rate_that_is_smaller_than_it_was_said_to_be_is_known_in_three_pauses(said: int, granted: int) -> None:
    """One request is sent again three times. Whoever waits takes every slot that there is."""
    window, now, counted = Window(Rate(said, 60)), 0.0, 0
    for _ in range(3):
        if window.limit == granted:
            break
        for _ in range(window.left(now) or 0):
            window.take()
            if counted < granted:
                counted += 1
                window.answered(now)
            else:
                window.unused()
                window.throttled(now, 5.0)
        now, counted = now + 5.0, counted - 1  # as it was told
    assert window.limit == granted


def test_what_a_429_teaches_is_one_at_least_and_only_ever_less() -> None:
    window = Window(TEN)
    for now in (0.0, 5.0, 10.0):
        window.throttled(now, 5.0)
    assert window.limit == 1
    spent(window, 1, 16.0)
    window.take()
    window.throttled(17.0, 1.0)
    assert window.limit == 1


def test_what_was_learned_is_doubted_until_all_is_there_again() -> None:
    window = Window(TEN)
    window.throttled(0.0, 5.0)
    window.throttled(5.0, 5.0)
    limits = []
    for minute in range(1, 7):
        window.left(minute * 60.0 + 5.0)
        limits.append(window.limit)
    assert limits == [2, 4, 7, 10, 10, 10]
    assert window.left(1000.0) == 10


def test_what_was_learned_is_doubted_for_each_window_that_nobody_asked_in() -> None:
    window = Window(Rate(600, 60))
    for now in (0.0, 5.0, 10.0):
        window.throttled(now, 5.0)
    assert window.limit == 4
    assert window.left(5 * 60.0 + 10.0) == 40, "7, 11, 17, 26, 40"
    assert window.left(5 * 60.0 + 69.9) == 40
    assert window.left(3600.0) == 600


def test_another_429_puts_the_growth_off() -> None:
    window = Window(TEN)
    spent(window, 5, 0.0)
    window.throttled(0.0, 5.0)
    spent(window, 1, 50.0)
    window.throttled(50.0, 5.0)
    window.left(61.0)
    assert window.limit == 5
    window.left(110.0)
    assert window.limit == 8


def test_what_was_sent_counts_under_another_rate_too() -> None:
    window = Window(TEN)
    spent(window, 8, 0.0)
    window.resize(TEN)
    assert window.left(1.0) == 2
    window.resize(Rate(9, 30))
    assert window.left(29.0) == 1
    assert window.left(30.0) == 9
    window.resize(None)
    assert window.left(30.0) is None
    window.resize(TEN)
    assert window.left(30.0) == 10


def test_another_rate_is_taken_at_its_word_whatever_was_learned() -> None:
    window = Window(TEN)
    window.throttled(0.0, 1.0)
    window.resize(Rate(20, 60))
    assert window.limit == 20


def test_growth_that_is_due_is_nothing_where_nothing_was_learned() -> None:
    """A rate that was taken away before its growth leaves none behind."""
    window = Window(TEN)
    window.throttled(0.0, 1.0)
    window.resize(None)
    assert window.left(1000.0) is None
    assert repr(window) == "<Window None in_flight=0 spent=0 learned=None>"


def test_what_others_may_have_spent_comes_back_a_window_later() -> None:
    window = Window(TEN)
    spent(window, 3, 0.0)
    window.take()
    window.hold_back(30.0, 2)
    assert window.left(30.0) == 2
    assert window.left(60.0) == 5
    assert window.left(90.0) == 9
    window.hold_back(90.0, 20)
    assert window.left(90.0) == 9, "there is not more than there is"


def test_what_others_have_learned_is_believed_and_doubted() -> None:
    window = Window(TEN)
    window.believe(0.0, 4)
    window.take()
    window.hold_back(0.0, 2)
    assert (window.limit, window.left(0.0)) == (4, 2), "of what there is now"
    assert (window.left(60.0), window.left(120.0)) == (6, 9)
    window.believe(120.0, 4)
    window.believe(121.0, 10)
    assert window.limit == 10, "nothing was learned"


def test_what_is_not_counted_holds_nothing_back() -> None:
    window = Window(None)
    window.believe(0.0, 4)
    window.hold_back(0.0, 0)
    assert window.left(0.0) is None
