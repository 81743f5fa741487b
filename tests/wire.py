"""Raw bytes on both sides of the proxy: an upstream that plays a script, a client that hides nothing."""

import asyncio
import os
import random
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

Script = Callable[["Stage"], Awaitable[None]]

RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER on, for no time: closing sends RST (socket(7))."""

OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok"


def free_port() -> int:
    """Find a port that nobody listens at, and nobody 10000 above it either, where the bus of a Redis cluster is.

    Both are below those that the kernel gives to whoever asks for any, a test beside this one perhaps.
    """
    while True:
        port = random.randint(10_000, 22_000)  # noqa: S311 - no secret
        with socket.socket() as server, socket.socket() as bus:
            try:
                server.bind(("127.0.0.1", port))
                bus.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
        return port


@dataclass
class Message:
    """One HTTP/1.1 message as it came: `head` with its blank line, `raw` the body with its framing."""

    head: bytes
    raw: bytes = b""

    @property
    def start(self) -> bytes:
        return self.head.split(b"\r\n", 1)[0]

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        lines = self.head.split(b"\r\n")[1:-2]
        return [(name, value.strip(b" ")) for name, _, value in (line.partition(b":") for line in lines)]

    def values(self, name: bytes) -> list[bytes]:
        return [value for field, value in self.fields if field.lower() == name.lower()]

    @property
    def chunked(self) -> bool:
        return self.values(b"transfer-encoding") == [b"chunked"]

    @property
    def body(self) -> bytes:
        """The body without its framing."""
        if not self.chunked:
            return self.raw
        body, rest = b"", self.raw
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            length = int(size.split(b";")[0], 16)
            body, rest = body + rest[:length], rest[length + 2 :]
        return body


async def read_message(reader: asyncio.StreamReader, *, bodiless: bool = False, to_end: bool = False) -> Message:
    """Read one message. Raises IncompleteReadError where it breaks off."""
    message = Message(await reader.readuntil(b"\r\n\r\n"))
    if bodiless:
        return message
    if message.chunked:
        while True:
            line = await reader.readuntil(b"\r\n")
            chunk = await reader.readexactly(int(line.split(b";")[0], 16) + 2)
            message.raw += line + chunk
            if line.startswith((b"0\r", b"0;")):
                return message
    lengths = message.values(b"content-length")
    if lengths:
        message.raw = await reader.readexactly(int(lengths[0]))
    elif to_end:
        message.raw = await reader.read()
    return message


@dataclass
class Stage:
    """One connection of the upstream, and what it has heard."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    upstream: "ScriptedUpstream"

    async def request(self) -> Message:
        """Read the next request whole."""
        message = await read_message(self.reader)
        self.upstream.heard.append(message)
        return message

    async def head(self) -> Message:
        """Read the next request's head and leave its body where it is."""
        message = Message(await self.reader.readuntil(b"\r\n\r\n"))
        self.upstream.heard.append(message)
        return message

    async def say(self, data: bytes) -> None:
        """Send. Raises ConnectionError where the other side has gone."""
        await put(self.writer, data)

    def reset(self) -> None:
        """Send RST; what has not left yet is lost."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.writer.transport.abort()


async def put(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Write, and wait for room. Raises ConnectionError; uvloop's transport would raise a RuntimeError of its own."""
    if writer.transport.is_closing():
        raise ConnectionResetError("the connection is closed")
    writer.write(data)
    await writer.drain()


def hang_up(writer: asyncio.StreamWriter) -> None:
    """End the TCP connection at this moment: not when the loop comes to it, and without TLS's goodbye."""
    with socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno())) as below:
        below.shutdown(socket.SHUT_RDWR)


@dataclass
class ScriptedUpstream:
    """Plays `script` on each connection. `heard` grows with each request."""

    script: Script
    heard: list[Message] = field(default_factory=list)
    connections: int = 0
    gone: int = 0  # connections whose peer has left
    url: str = ""
    cue: asyncio.Event = field(default_factory=asyncio.Event)  # for a test and its script to meet at

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self.script(Stage(reader, writer, self))
        except (asyncio.IncompleteReadError, ConnectionError):
            self.gone += 1
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


def answering(*answers: bytes) -> Script:
    """Make a script that answers each request on a connection with the next of `answers`, the last for ever."""

    async def script(stage: Stage) -> None:
        turn = 0
        while True:
            await stage.request()
            await stage.say(answers[min(turn, len(answers) - 1)])
            turn += 1

    return script


async def on_cue(stage: Stage) -> None:
    """Answer each request once the test has given the cue."""
    while True:
        await stage.request()
        await stage.upstream.cue.wait()
        await stage.say(OK)


@asynccontextmanager
async def upstream(
    script: Script, host: str = "127.0.0.1", port: int = 0, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[ScriptedUpstream]:
    """Run a scripted upstream, on a free loopback port if nothing else is said."""
    played = ScriptedUpstream(script)
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(played.play(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, host, port, limit=2**20, ssl=tls)
    played.url = f"{'http' if tls is None else 'https'}://{host}:{server.sockets[0].getsockname()[1]}"
    try:
        yield played
    finally:
        server.close()
        await asyncio.sleep(0.01)  # whoever has just been accepted is told of a little later
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass
class Caller:
    """A client's connection to the proxy."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        """Send. Raises ConnectionError where the proxy has closed the connection."""
        await put(self.writer, data)

    async def answer(self, *, bodiless: bool = False) -> Message:
        """Read the next answer whole; one without framing ends with the connection."""
        async with asyncio.timeout(20):
            return await read_message(self.reader, bodiless=bodiless, to_end=True)

    async def closed(self) -> bytes:
        """Wait until the proxy closes the connection; return what came before."""
        async with asyncio.timeout(20):
            with suppress(ConnectionError, ssl.SSLError):
                return await self.reader.read()
            return b""


@asynccontextmanager
async def caller(port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[Caller]:
    name = None if tls is None else "localhost"
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20, ssl=tls, server_hostname=name)
    try:
        yield Caller(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()


async def converse(port: int, request: bytes, *, bodiless: bool = False, tls: ssl.SSLContext | None = None) -> Message:
    """Send one raw request and read its answer."""
    async with caller(port, tls) as line:
        await line.send(request)
        return await line.answer(bodiless=bodiless)
