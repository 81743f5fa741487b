"""When what is written in one turn of the loop leaves. Writes are noted, the loop is real."""

import asyncio
from collections.abc import Callable

import pytest

from proxy.forward.burst import FEW, Burst


class Written(list[bytes]):
    """What was written, by whomever."""

    def write(self, *data: bytes) -> None:
        self.extend(data)


@pytest.fixture
def written() -> Written:
    return Written()


def busy(number: int) -> Callable[[], int]:
    return lambda: number


async def test_where_few_are_on_their_way_each_may_leave_at_once() -> None:
    assert Burst(busy(FEW - 1)).calm()
    assert not Burst(busy(FEW)).calm()


async def test_what_is_held_leaves_behind_the_turn_in_order(written: Written) -> None:
    burst = Burst(busy(FEW))
    for number in range(3):
        burst.hold(written.write, b"%d" % number, b"body")
    assert written == []
    await asyncio.sleep(0)
    assert written == [b"0", b"body", b"1", b"body", b"2", b"body"]


async def test_nobody_goes_on_before_all_of_the_turn_were_written(written: Written) -> None:
    burst, seen = Burst(busy(FEW)), []

    async def one() -> None:
        await burst.send(written.write, b"x")
        seen.append(len(written))

    await asyncio.gather(one(), one(), one())
    assert seen == [3, 3, 3]


async def test_nothing_overtakes_what_is_held_though_few_are_left(written: Written) -> None:
    burst = Burst(busy(1))
    burst.hold(written.write, b"first")
    assert not burst.calm()
    await asyncio.sleep(0)
    assert written == [b"first"]
    assert burst.calm()


async def test_who_has_gone_holds_nobody_up(written: Written) -> None:
    burst = Burst(busy(FEW))
    gone, stays = burst.send(written.write, b"gone"), burst.send(written.write, b"stays")
    gone.cancel()
    await stays
    assert written == [b"gone", b"stays"]


async def test_a_write_that_fails_fails_its_own_request_alone_law_17(
    written: Written, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_data: bytes) -> None:
        raise RuntimeError("closed")

    burst = Burst(busy(FEW))
    gone, fails = burst.send(broken, b""), burst.send(broken, b"")
    burst.hold(broken, b"")
    stays = burst.send(written.write, b"stays")
    gone.cancel()
    await stays
    with pytest.raises(RuntimeError, match="closed"):
        await fails
    assert written == [b"stays"]
    assert [record.message for record in caplog.records] == ["a fault of ours in a send"] * 2  # nobody waits for them
