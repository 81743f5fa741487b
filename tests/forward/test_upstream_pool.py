"""The pool: who is taken first, who waits and for how long, and that nobody's turn is ever lost. Over real sockets."""

import asyncio
import gc
import ssl
import time
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from held import nothing_left_behind
from rig import until
from wire import OK, Script, ScriptedUpstream, Stage, answering, hang_up, upstream
from yarl import URL

from proxy.errors import Overloaded, UpstreamError
from proxy.forward.dialler import Dialler
from proxy.forward.upstream_connection import Broken, UpstreamConnection
from proxy.forward.upstream_pool import Dial, UpstreamPool


def dialler(url: str) -> Dialler:
    return Dialler(URL(url), ssl.create_default_context(), connect_timeout=5, proxy=None)


@asynccontextmanager
async def pool_of(
    limit: int, *, keepalive: float = 15, script: Script | None = None
) -> AsyncIterator[tuple[UpstreamPool, ScriptedUpstream]]:
    async with upstream(script or answering(OK)) as up:
        pool = UpstreamPool(dialler(up.url), limit=limit, keepalive=keepalive)
        async with nothing_left_behind():
            yield pool, up
            pool.close()


async def use(pool: UpstreamPool, connection: UpstreamConnection) -> None:
    """Have one request answered on a connection, and give it back."""
    connection.begin(bodiless=False)
    connection.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await connection.head(5)
    assert connection.taken() == b"ok"
    pool.release(connection)


async def idle(pool: UpstreamPool, number: int) -> list[UpstreamConnection]:
    """Have so many idle connections; return them, who was released last at the end."""
    taken = [await pool.take(5) for _ in range(number)]
    for connection in taken:
        await use(pool, connection)
    return taken


async def standing(pool: UpstreamPool, seconds: float = 5) -> "asyncio.Task[UpstreamConnection]":
    """Stand in line."""
    task = asyncio.create_task(pool.take(seconds))
    await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_who_was_used_last_is_taken_first() -> None:
    """Those that are not needed grow old."""
    async with pool_of(3) as (pool, up):
        first, second, third = await idle(pool, 3)
        for expected in (third, second, first):
            assert await pool.take(5) is expected
        assert (pool.busy, pool.idle, pool.counts.created, pool.counts.reused) == (3, 0, 3, 3)
        assert up.connections == 3


async def test_an_idle_connection_is_closed_when_its_time_is_up_and_the_others_when_theirs_is() -> None:
    async with pool_of(2, keepalive=0.8) as (pool, up):
        old, young = await idle(pool, 2)
        await asyncio.sleep(0.4)
        await use(pool, await pool.take(5))  # the young one
        await until(lambda: pool.idle == 1, 1)
        assert (old.reusable(), young.reusable()) == (False, True)
        await until(lambda: pool.idle == 0, 1)
        await until(lambda: up.gone == 2)
        assert repr(pool) == "<UpstreamPool 0 busy, 0 idle, 2 created, 1 reused>"


def keeping(said: bytes) -> bytes:
    return OK.replace(b"\r\n", b"\r\nKeep-Alive: " + said + b"\r\n", 1)


async def test_a_connection_carries_no_more_just_before_the_upstream_closes_it() -> None:
    """By its own word (RFC 2068 §19.7.1.1): a request that is on its way then is lost."""
    async with pool_of(1, script=answering(keeping(b"timeout=2, max=9"))) as (pool, up):
        began = time.monotonic()
        (kept,) = await idle(pool, 1)
        assert await pool.take(5) is kept
        await use(pool, kept)
        await until(lambda: up.gone == 1, 5)
        assert time.monotonic() - began > 0.9
        assert pool.idle == 0


async def test_a_connection_that_the_upstream_hardly_keeps_carries_one_request() -> None:
    async with pool_of(1, script=answering(keeping(b"timeout=1"))) as (pool, _):
        for _ in range(2):
            await use(pool, await pool.take(5))
            assert pool.idle == 0
        assert (pool.counts.created, pool.counts.reused) == (2, 0)


async def test_no_connection_is_lent_past_its_time_though_the_look_for_old_ones_is_later() -> None:
    """The look is set by the first that is idle."""
    answers = iter([OK, keeping(b"timeout=2")])

    async def script(stage: Stage) -> None:
        await stage.request()
        await stage.say(next(answers))
        await stage.request()

    async with pool_of(2, script=script) as (pool, _):
        patient, other = await pool.take(5), await pool.take(5)
        await use(pool, patient)
        await use(pool, other)
        await asyncio.sleep(1.1)  # until the other's time is up
        assert await pool.take(5) is patient
        assert not other.reusable()


async def test_an_upstream_that_keeps_for_longer_is_left_when_it_is_configured() -> None:
    async with pool_of(1, keepalive=0.2, script=answering(keeping(b"timeout=600"))) as (pool, up):
        await idle(pool, 1)
        await until(lambda: up.gone == 1, 5)
        assert pool.idle == 0


async def test_connections_grow_old_again_after_all_were_closed_and_none_of_them_is_remembered() -> None:
    async with pool_of(1, keepalive=0.1) as (pool, up):
        for _ in range(2):
            (kept,) = await idle(pool, 1)
            forgotten = weakref.ref(kept)
            del kept
            await until(lambda: up.gone == up.connections)
            gc.collect()
            assert forgotten() is None
        assert up.connections == 2


async def test_an_idle_connection_that_the_upstream_closes_is_forgotten_at_once() -> None:
    async def one_answer(stage: Stage) -> None:
        await stage.request()
        await stage.say(OK)

    async with pool_of(1, script=one_answer) as (pool, _):
        await use(pool, await pool.take(5))
        await until(lambda: pool.idle == 0)
        assert not (await pool.take(5)).reused


async def test_an_end_that_the_loop_has_not_told_is_looked_for() -> None:
    stages: list[Stage] = []

    async def script(stage: Stage) -> None:
        stages.append(stage)
        await answering(OK)(stage)

    async with pool_of(1, script=script) as (pool, _):
        (kept,) = await idle(pool, 1)
        hang_up(stages[-1].writer)
        taken = await pool.take(5)
        assert taken is not kept
        pool.release(taken)


async def test_a_fresh_one_is_never_one_that_was_used() -> None:
    """And an idle one makes room for it: there are never more than allowed."""
    async with pool_of(2) as (pool, up):
        old, young = await idle(pool, 2)
        fresh = await pool.take(5, fresh=True)
        assert fresh not in {old, young}
        assert not fresh.reused
        assert (pool.busy, pool.idle) == (1, 1)
        assert (old.reusable(), young.reusable()) == (False, True)
        await until(lambda: up.gone == 1)


async def test_there_are_never_more_than_allowed_and_those_in_line_are_served_in_turn() -> None:
    async with pool_of(2) as (pool, up):
        one, other = await pool.take(5), await pool.take(5)
        line = [await standing(pool) for _ in range(4)]
        served: list[object] = []
        for task in line:
            task.add_done_callback(served.append)
        await use(pool, one)
        await use(pool, other)
        for task in line:
            await use(pool, await task)
        assert served == line
        assert up.connections == 2


async def test_a_newcomer_does_not_overtake_those_in_line() -> None:
    async with pool_of(1) as (pool, _):
        one = await pool.take(5)
        waiting = await standing(pool)
        await use(pool, one)
        newcomer = await standing(pool)
        taken = await waiting
        assert not newcomer.done()
        await use(pool, taken)
        assert await newcomer is taken


async def test_whoever_leaves_the_line_passes_the_turn_on() -> None:
    """Also when it leaves at the very moment when its turn has come."""
    async with pool_of(1) as (pool, _):
        one = await pool.take(5)
        leaving, late, patient = [await standing(pool) for _ in range(3)]
        leaving.cancel()
        await use(pool, one)  # it is late's turn now
        late.cancel()
        await use(pool, await patient)
        assert leaving.cancelled()
        assert late.cancelled()
        assert (pool.busy, pool.idle) == (0, 1)
        await use(pool, await pool.take(0))


async def test_whose_time_in_line_is_up_is_told_when_to_come_back() -> None:
    async with pool_of(1) as (pool, _):
        one = await pool.take(5)
        with pytest.raises(Overloaded) as told:
            await pool.take(0.05)
        assert (told.value.status, told.value.error) == (503, "connection_limit_reached")
        assert told.value.retry_after == 1
        assert "upstream.max_connections" in told.value.detail
        await use(pool, one)
        await use(pool, await pool.take(0.05))


def refusing(_: Callable[[UpstreamConnection], None]) -> "asyncio.Future[UpstreamConnection]":
    future: asyncio.Future[UpstreamConnection] = asyncio.get_running_loop().create_future()
    future.set_exception(UpstreamError("nobody there"))
    return future


def never(_: Callable[[UpstreamConnection], None]) -> "asyncio.Future[UpstreamConnection]":
    return asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("dial", [refusing, never])
async def test_a_connection_that_was_not_made_takes_no_place(dial: Dial) -> None:
    pool = UpstreamPool(dial, limit=1, keepalive=15)
    for _ in range(3):
        with pytest.raises((UpstreamError, TimeoutError)):
            await asyncio.wait_for(pool.take(5), 0.02)
        assert (pool.busy, pool.counts.created) == (0, 0)


async def test_a_connection_that_carries_no_more_is_closed_and_not_kept() -> None:
    async with pool_of(1) as (pool, up):
        one = await pool.take(5)
        one.begin(bodiless=False)
        one.write(b"GET / HTTP/1.1\r\n")  # a request of which no more will come
        pool.release(one)
        assert (pool.busy, pool.idle) == (0, 0)
        await until(lambda: up.gone == 1)


async def test_a_pool_that_is_closed_breaks_what_it_has_lent_and_keeps_nothing() -> None:
    async with pool_of(3) as (pool, up):
        lent = await pool.take(5)
        await idle(pool, 2)
        lent = await pool.take(5, fresh=True)
        lent.begin(bodiless=False)
        waiting = asyncio.create_task(lent.head(5))
        await asyncio.sleep(0)
        pool.close()
        with pytest.raises(Broken):
            await waiting
        pool.release(lent)
        assert (pool.idle, up.connections) == (0, 4)
        late = await pool.take(5)  # by a request that had begun before
        await use(pool, late)
        assert pool.idle == 0


async def test_a_crowd_that_comes_and_goes_loses_no_place() -> None:
    """A third of them are answered, a third hang up in line or in their request, a third have no patience."""

    async def one(pool: UpstreamPool, number: int) -> None:
        patience = 0.01 if number % 3 == 2 else 5
        connection = await pool.take(patience, fresh=number % 7 == 0)
        try:
            connection.begin(bodiless=False)
            connection.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await connection.head(5)
        except BaseException:
            connection.close()
            raise
        finally:
            connection.taken()
            pool.release(connection)

    async with pool_of(4) as (pool, _):
        crowd = [asyncio.create_task(one(pool, number)) for number in range(300)]
        for turn in range(100):
            await asyncio.sleep(0)
            crowd[turn * 3 + 1].cancel()
        ended = await asyncio.gather(*crowd, return_exceptions=True)
        assert {type(end) for end in ended} <= {type(None), asyncio.CancelledError, Overloaded}
        assert ended.count(None) >= 100
        assert pool.busy == 0
        assert pool.idle <= 4
        again = [await pool.take(0) for _ in range(4)]
        with pytest.raises(Overloaded):
            await pool.take(0.01)
        for connection in again:
            await use(pool, connection)
