"""What an engine is asked, counted."""

from bench.fleet.calls import Calls


class Turned:
    """A time that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def counted(*moments: float) -> Calls:
    time = Turned()
    calls = Calls(time)
    for time.now in moments:
        calls.add("read" if time.now < 5 else "write")
    return calls


def test_the_busiest_second_need_not_begin_with_a_second() -> None:
    assert counted(1.0, 1.75, 1.85, 2.25, 2.35, 8.0).peak(0, 10) == 4


def test_only_what_is_within_is_counted() -> None:
    calls = counted(0.5, 1.5, 2.5, 9.5)
    assert calls.total(1, 9) == 2
    assert calls.peak(1, 9) == 1
    assert calls.total(0, 10) == 4


def test_kinds_are_told_apart() -> None:
    assert counted(0.5, 1.5, 6.5).kinds(1, 10) == {"read": 1, "write": 1}
