"""What a terminal sends: lines, whatever pieces they come in."""

import asyncio
import os
import threading

from proxy.login.arrivals import LONGEST, WAITING, Arrivals
from proxy.login.pages import another_login, done


async def lines(*pieces: bytes, blocking: bool = True) -> list[str | None]:
    """Return what arrives from a terminal that sends `pieces` and ends."""
    reading, writing = os.pipe()
    os.set_blocking(reading, blocking)
    arrivals = Arrivals("s")
    arrivals.listen(reading)
    for piece in pieces:
        os.write(writing, piece)
    os.close(writing)
    heard: list[str | None] = []
    while True:
        arrival = await arrivals.next()
        heard.append(arrival.text if arrival is not None else None)
        if arrival is None:
            os.close(reading)
            return heard


async def test_each_line_arrives_and_then_the_end() -> None:
    assert await lines(b"one\ntw", b"o\n\n  \nthree") == ["one", "two", "three", None]


async def test_a_character_in_two_pieces_is_one() -> None:
    assert await lines(b"\xc3", b"\xa9\n", b"\xff\n") == ["é", "�", None]


async def test_a_terminal_that_another_program_left_non_blocking_is_waited_for() -> None:
    assert await lines(b"on", b"e\n", b"two", blocking=False) == ["one", "two", None]


async def test_a_terminal_that_is_closed_has_ended() -> None:
    arrivals = Arrivals("s")
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    arrivals.listen(reading)
    assert await arrivals.next() is None


async def test_a_program_that_writes_without_end_waits_to_be_judged() -> None:
    """As `yes` does: it wrote gigabytes into our memory."""
    reading, writing = os.pipe()
    arrivals = Arrivals("s")
    arrivals.listen(reading)
    text = b"y\n" * 32 * 1024  # a pipe's buffer
    writer = asyncio.create_task(asyncio.to_thread(os.write, writing, text * 2))
    for _ in range(2 * 32 * 1024):
        arrival = await arrivals.next()
        assert arrival is not None
        assert int(repr(arrivals).split()[1]) <= WAITING
    await writer
    os.close(writing)
    assert await arrivals.next() is None
    os.close(reading)


async def test_of_a_line_without_end_its_beginning_is_kept() -> None:
    reading, writing = os.pipe()
    arrivals = Arrivals("s")
    arrivals.listen(reading)
    writer = asyncio.create_task(asyncio.to_thread(os.write, writing, b"x" * LONGEST * 3 + b"\n"))
    arrival = await arrivals.next()
    assert arrival is not None
    assert LONGEST <= len(arrival.text) <= LONGEST + 4096
    await writer
    os.close(writing)
    assert await arrivals.next() is None
    os.close(reading)


def test_a_line_that_comes_when_the_login_is_over_disturbs_nobody() -> None:
    reading, writing = os.pipe()

    async def login() -> Arrivals:
        return Arrivals("s")

    arrivals = asyncio.run(login())  # its loop is closed
    before = set(threading.enumerate())
    arrivals.listen(reading)
    (terminal,) = set(threading.enumerate()) - before
    os.write(writing, b"too late\n")
    os.close(writing)
    terminal.join(10)
    assert not terminal.is_alive()
    os.close(reading)


async def test_whoever_still_waits_or_comes_later_gets_the_last_page() -> None:
    """A person has reloaded the page while the code was being exchanged."""
    arrivals = Arrivals("s")
    reloaded = asyncio.create_task(arrivals.browser("code=abcdef&state=s"))
    await asyncio.sleep(0)
    arrivals.end(done("Logged in as you."))
    assert await reloaded == await arrivals.browser("code=abcdef&state=s") == done("Logged in as you.")


async def test_the_last_page_is_shown_to_nobody_who_lacks_the_logins_state() -> None:
    """It names the member and the store, and any process and any page may ask, while the code is exchanged too."""
    arrivals = Arrivals("s")
    assert await arrivals.browser("code=abcdef&state=other") == another_login()
    assert "0 waiting" in repr(arrivals)
    arrivals.end(done("Logged in as you."))
    for query in ("", "nothing", "code=abcdef", "code=abcdef&state=other"):
        assert await arrivals.browser(query) == another_login()
