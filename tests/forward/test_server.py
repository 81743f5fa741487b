"""Connections: the time limit of a head, and callers that never finish one."""

import asyncio

from conftest import HouseMaker
from wire import OK, answering, caller, converse, upstream

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def test_a_head_that_comes_too_slowly_is_a_408(api_key_house: HouseMaker) -> None:
    """In aiohttp nothing limits it: a byte a second would hold a connection for hours."""
    house = await api_key_house({"limits": {"header_timeout": "200ms"}})
    async with caller(house.port) as line:
        await line.send(b"GET / HTTP/1.1\r\nHo")
        seen = await line.answer()
        assert seen.start == b"HTTP/1.1 408 Request Timeout"
        assert seen.values(b"content-type") == [b"application/problem+json"]
        assert b"limits.header_timeout" in seen.body
        await line.closed()


async def test_a_second_request_on_a_connection_has_the_same_time_limit(api_key_house: HouseMaker) -> None:
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}, "limits": {"header_timeout": "200ms"}})
        async with caller(house.port) as line:
            await line.send(GET)
            assert (await line.answer()).body == b"ok"
            await line.send(b"GET /")
            assert (await line.answer()).start == b"HTTP/1.1 408 Request Timeout"


async def test_a_slow_body_or_a_slow_answer_is_not_a_slow_head(api_key_house: HouseMaker) -> None:
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}, "limits": {"header_timeout": "100ms"}})
        async with caller(house.port) as line:
            await line.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\r\n")
            for byte in (b"a", b"b", b"c", b"d", b"e", b"f"):
                await asyncio.sleep(0.05)
                await line.send(byte)
            assert (await line.answer()).body == b"ok"
        assert up.heard[0].body == b"abcdef"


async def test_an_idle_connection_may_wait_for_its_first_byte(api_key_house: HouseMaker) -> None:
    """Pools open connections ahead of need."""
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}, "limits": {"header_timeout": "50ms"}})
        async with caller(house.port) as line:
            await asyncio.sleep(0.2)
            await line.send(GET)
            assert (await line.answer()).body == b"ok"


async def test_empty_lines_between_requests_are_nobodys_slow_head(api_key_house: HouseMaker) -> None:
    """Old clients send one after a body; a 408 would be taken for the next answer."""
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}, "limits": {"header_timeout": "50ms"}})
        async with caller(house.port) as line:
            await line.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx\r\n")
            assert (await line.answer()).body == b"ok"
            await line.send(b"\r\n")
            await asyncio.sleep(0.2)
            await line.send(GET)
            assert (await line.answer()).body == b"ok"


async def test_500_slow_heads_do_not_keep_others_from_being_served(api_key_house: HouseMaker) -> None:
    house = await api_key_house({"limits": {"header_timeout": "1s"}})
    slow = [await asyncio.open_connection("127.0.0.1", house.port) for _ in range(500)]
    for _, writer in slow:
        writer.write(b"GET / HTTP/1.1\r\nX-Slow: ")
    assert (await house.get()).status == 200
    for reader, writer in slow:
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
        writer.close()
        await writer.wait_closed()


async def test_a_request_in_two_segments_is_one_request(api_key_house: HouseMaker) -> None:
    async with upstream(answering(OK)) as up:
        house = await api_key_house({"upstream": {"url": up.url}})
        for cut in range(1, len(GET), 7):
            async with caller(house.port) as line:
                await line.send(GET[:cut])
                await asyncio.sleep(0)
                await line.send(GET[cut:])
                assert (await line.answer()).body == b"ok"
        assert (await converse(house.port, GET)).body == b"ok"
