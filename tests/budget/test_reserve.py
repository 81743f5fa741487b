"""What batch requests leave to the others."""

from proxy.budget.reserve import Reserve


def test_it_is_what_was_asked_for_in_the_last_window() -> None:
    reserve = Reserve()
    assert reserve.slots(0.0, 60) == 0
    for second in range(30):
        reserve.note(second, 60)
    assert reserve.slots(59.0, 60) == 30
    assert reserve.slots(69.0, 60) == 20
    assert reserve.slots(90.0, 60) == 0


def test_it_keeps_no_more_than_a_window_whoever_asks() -> None:
    reserve = Reserve()
    for second in range(1000):
        reserve.note(second, 60)
    assert repr(reserve) == "<Reserve 60>"
