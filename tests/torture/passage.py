"""A case on its way: from a raw caller, through the proxy or nginx, to a raw origin that plays its answer; and back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import Template
from typing import Final

from rig import until
from torture.case import AUTHORITY, CREDENTIAL, Case, split
from torture.spoken import CRLF, Fields, Garbled, Message, read

CONFIGURATION: Final = Path(__file__).with_name("nginx.conf")
AFTER: Final = b"GET /after-the-case HTTP/1.1\r\nHost: localhost\r\n\r\n"
"""A request behind every case: a connection is usable if this is answered on it."""

WELL: Final = b"HTTP/1.1 200 Well\r\nContent-Length: 4\r\n\r\nwell"
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
PATIENCE: Final = 20.0  # seconds in which anything must have happened
SET_BY_BOTH: Final = frozenset({b"host", b"authorization", b"content-length", b"transfer-encoding"})
"""Fields of which only the values are compared: each sets them itself, where it likes."""

OF_THE_CONNECTION: Final = frozenset({b"connection", b"transfer-encoding"})
"""Fields of an answer that each writes itself; what they say is compared by its effect."""

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@dataclass(frozen=True)
class Asked:
    """A request as the origin got it."""

    start: bytes
    fields: Fields
    host: tuple[bytes, ...]
    authorization: tuple[bytes, ...]
    framing: str
    body: bytes


@dataclass(frozen=True)
class Told:
    """An answer as the caller got it."""

    start: bytes
    fields: Fields
    framing: str
    body: bytes
    whole: bool
    closes: bool  # whether it says that its connection ends with it
    interims: tuple[bytes, ...] = ()


RESET: Final = Told(b"", (), "", b"", whole=False, closes=False)
"""What is left of an answer whose connection was reset."""


@dataclass(frozen=True)
class Passage:
    """What came of a case; `raw` is what was heard, for whoever reads the failure."""

    asked: tuple[Asked, ...]
    told: Told
    usable: bool  # whether the caller's connection has carried another request
    raw: str = field(compare=False, repr=False)


@dataclass
class Origin:
    """Plays the answer of `case` on any connection. `heard` grows with each request; `play` empties it."""

    case: Case = field(default_factory=Case)
    heard: list[Message] = field(default_factory=list)
    raw: bytes = b""
    authority: bytes = b""

    def play(self, case: Case) -> None:
        self.case, self.heard, self.raw = case, [], b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                heard = await self._listen(reader, writer)
                if heard.start.startswith(b"GET /after-the-case "):
                    writer.write(WELL)
                    continue
                self.heard.append(heard)
                answer, method = self.case.answer, heard.start.partition(b" ")[0]
                raw = answer.raw(method).replace(AUTHORITY, self.authority)
                await say(writer, raw, self.case.answer_splits)
                if answer.closes(method):
                    break
        writer.close()

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Message:
        raw, invited = b"", False
        while True:
            heard = read(raw, answer=False)
            if heard is not None and heard.whole:
                self.raw += raw
                assert heard.size == len(raw), "something came behind a request before its answer"
                return heard
            if heard is not None and not invited and heard.values(b"expect"):
                invited = True
                writer.write(CONTINUE)
            piece = await reader.read(2**18)
            if not piece:
                self.raw += raw
                raise asyncio.IncompleteReadError(raw, None)
            raw += piece


async def say(writer: asyncio.StreamWriter, data: bytes, splits: tuple[int, ...]) -> None:
    """Send bytes in segments; whoever listens on this loop gets each by itself."""
    for segment in split(data, splits):
        writer.write(segment)
        await writer.drain()
        for _ in range(3):
            await asyncio.sleep(0)


@asynccontextmanager
async def origin() -> AsyncIterator[Origin]:
    """Run an origin on a free loopback port."""
    played = Origin()
    server = await asyncio.start_server(played.serve, "127.0.0.1", 0, limit=2**18)
    played.authority = b"127.0.0.1:%d" % server.sockets[0].getsockname()[1]
    try:
        yield played
    finally:
        server.close()


@asynccontextmanager
async def nginx(folder: Path, authority: bytes) -> AsyncIterator[Connect]:
    """Run nginx before an origin, on a socket in `folder`."""
    configuration = Template(CONFIGURATION.read_text(encoding="utf-8"))
    path = folder / "nginx.conf"
    path.write_text(configuration.substitute(folder=folder, origin=authority.decode(), credential=CREDENTIAL))
    process = await asyncio.create_subprocess_exec("nginx", "-p", folder, "-c", path, "-e", "stderr")

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(folder / "nginx.sock", limit=2**18)

    try:
        await until((folder / "nginx.pid").exists)  # it listens before it writes that
        yield connect
    finally:
        process.terminate()
        await process.wait()


async def passage(case: Case, connect: Connect, played: Origin) -> Passage:
    """Send a case's request; return what came of it on both sides."""
    played.play(case)
    reader, writer = await connect()
    caller = Caller(reader, writer, case, played.authority)
    try:
        async with asyncio.timeout(PATIENCE):
            with suppress(ConnectionError):
                await caller.ask()
            told = await caller.told()
            usable = await caller.is_usable(told)
    except ConnectionError:
        told, usable = RESET, False
    except (TimeoutError, Garbled, AssertionError) as fault:
        fault.add_note(shown(played.raw, caller.raw))
        raise
    finally:
        writer.close()
    heard = tuple(asked(message) for message in played.heard)
    return Passage(heard, told, usable, shown(played.raw, caller.raw))


def shown(asked: bytes, told: bytes) -> str:
    """Write for people what was heard on both sides."""
    up, down = ("\n".join(f"  {line!r}" for line in raw.splitlines(keepends=True)) for raw in (asked, told))
    return f"the origin got\n{up}\nthe caller got\n{down}"


@dataclass
class Caller:
    """Speaks a case's request.

    What changes, with what is heard: `raw`, all of it; `_rest`, what of it nobody has looked at yet; `_ended`, once
    nothing more will come; `_interims`, the first lines of interim answers.
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    case: Case
    authority: bytes  # the origin's
    raw: bytes = b""
    _rest: bytes = b""
    _ended: bool = False
    _interims: tuple[bytes, ...] = ()

    async def ask(self) -> None:
        request, splits = self.case.request, self.case.request_splits
        if request.expects == "waits":
            await say(self.writer, request.head, splits)
            first = await self._message()
            if first is not None and first.start == CONTINUE.partition(CRLF)[0]:
                self._interims += (first.start,)
                self._rest = self._rest[first.size :]
                await say(self.writer, request.content.raw, splits)
        else:
            await say(self.writer, request.head + request.content.raw + AFTER * self.case.pipelined, splits)

    async def told(self) -> Told:
        """Read the answer to its end, or as far as it comes."""
        while True:
            message = await self._message(to_end=True)
            if message is None:
                return replace(RESET, body=self._rest, interims=self._interims)
            self._rest = self._rest[message.size :]
            if message.start[9:10] != b"1":
                return told(message, self._interims, self.authority)
            self._interims += (message.start,)

    async def is_usable(self, told: Told) -> bool:
        """Ask again on this connection, unless it has ended or is about to."""
        if told.framing == "close" or not told.whole or told.closes:
            with suppress(OSError, RuntimeError):  # asyncio's and uvloop's word for a connection that is gone
                self.writer.write_eof()  # else it would be waited for what is still to be said
            while not self._ended:
                await self._hear()
            assert self._rest == b"", f"something comes behind the last answer: {self._rest!r}"
            return False
        if not self.case.pipelined:
            self.writer.write(AFTER)
        after = await self._message(to_end=True, bodiless=False)
        assert after is not None, "the connection ended unannounced"
        assert after.body == b"well"
        assert after.size == len(self._rest)
        return True

    async def _message(self, *, to_end: bool = False, bodiless: bool | None = None) -> Message | None:
        """Return the next message, as far as it is here when it is over; None: not even its head has come."""
        head = self.case.request.method == b"HEAD" if bodiless is None else bodiless
        while True:
            message = read(self._rest, answer=True, bodiless=head, ended=self._ended)
            if self._ended or (message is not None and (message.whole or not to_end)):
                return message
            await self._hear()

    async def _hear(self) -> None:
        piece = await self.reader.read(2**18)
        self._ended = not piece
        self.raw += piece
        self._rest += piece


def asked(message: Message) -> Asked:
    return Asked(
        message.start,
        tuple(pair for pair in message.fields if pair[0].lower() not in SET_BY_BOTH),
        tuple(message.values(b"host")),
        tuple(message.values(b"authorization")),
        message.framing + b" ".join(message.values(b"content-length")).decode(),
        message.body,
    )


def told(message: Message, interims: tuple[bytes, ...], authority: bytes) -> Told:
    options = message.values(b"connection")
    return Told(
        message.start,
        tuple(
            (name, value.replace(authority, AUTHORITY))
            for name, value in message.fields
            if name.lower() not in OF_THE_CONNECTION
        ),
        message.framing,
        message.body,
        message.whole,
        b"close" in options or (message.start.startswith(b"HTTP/1.0 ") and b"keep-alive" not in options),
        interims,
    )
