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


async def test_where_few_are_on_their_way_each_leaves_at_once(written: Written) -> None:
    burst = Burst(busy(FEW - 1))
    assert burst.send(written.write, b"one") is None
    assert burst.send(written.write, b"two") is None
    assert written == [b"one", b"two"]


async def test_where_many_are_they_leave_behind_the_turn_in_order(written: Written) -> None:
    burst = Burst(busy(FEW))
    sent = [burst.send(written.write, b"%d" % number, b"body") for number in range(3)]
    assert written == []
    await asyncio.sleep(0)
    assert written == [b"0", b"body", b"1", b"body", b"2", b"body"]
    assert all(each is not None and each.done() for each in sent)


async def test_nobody_goes_on_before_all_of_the_turn_were_written(written: Written) -> None:
    burst, seen = Burst(busy(FEW)), []

    async def one() -> None:
        sent = burst.send(written.write, b"x")
        assert sent is not None
        await sent
        seen.append(len(written))

    await asyncio.gather(one(), one(), one())
    assert seen == [3, 3, 3]


async def test_what_joins_a_turn_does_not_overtake_it_though_few_are_left(written: Written) -> None:
    left = [FEW]
    burst = Burst(lambda: left[0])
    burst.send(written.write, b"first")
    left[0] = 1
    burst.send(written.write, b"second")
    assert written == []
    await asyncio.sleep(0)
    assert written == [b"first", b"second"]
    assert burst.send(written.write, b"third") is None
    assert written[-1] == b"third"


async def test_who_has_gone_holds_nobody_up(written: Written) -> None:
    burst = Burst(busy(FEW))
    gone, stays = burst.send(written.write, b"gone"), burst.send(written.write, b"stays")
    assert gone is not None
    assert stays is not None
    gone.cancel()
    await stays
    assert written == [b"gone", b"stays"]


async def test_a_write_that_fails_fails_its_own_request_alone_law_17(written: Written) -> None:
    def broken(_data: bytes) -> None:
        raise RuntimeError("closed")

    burst = Burst(busy(FEW))
    gone, fails = burst.send(broken, b""), burst.send(broken, b"")
    stays = burst.send(written.write, b"stays")
    assert gone is not None
    assert fails is not None
    assert stays is not None
    gone.cancel()
    await stays
    with pytest.raises(RuntimeError, match="closed"):
        await fails
    assert written == [b"stays"]
