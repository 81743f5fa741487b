"""A node of a cluster, without a Redis: a few words of its protocol (RESP2), and whatever may go wrong with it."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

COMMANDS: Final = "*1\r\n*6\r\n$3\r\nget\r\n:2\r\n*1\r\n+readonly\r\n:1\r\n:1\r\n:1"


@dataclass
class Node:
    """One node.

    What changes, by a test: `knows`, the ports of who has slot 0 and of who has all others, as far as this one knows;
    `mute`, whether it takes all and says nothing; `late`, the seconds that each answer takes; `says`, what EVAL is
    answered with; `tls`, what it shows. And `port`, by `serve`; `callers`, by connections as they come and go; `calls`.
    """

    knows: tuple[int, int] = (0, 0)
    mute: bool = False
    late: float = 0.0
    says: str = ":1"
    tls: ssl.SSLContext | None = None
    port: int = 0
    callers: set[asyncio.StreamWriter] = field(default_factory=set)
    calls: list[bytes] = field(default_factory=list)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0, ssl=self.tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()
            for caller in self.callers:
                caller.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.callers.add(writer)
        try:
            while line := await reader.readline():
                words = [await _word(reader) for _ in range(int(line[1:]))]
                self.calls.append(words[0])
                await asyncio.sleep(self.late)
                if not self.mute:
                    writer.write(f"{self._answer(words[0])}\r\n".encode())
        except ConnectionError:
            pass
        finally:
            self.callers.discard(writer)
            writer.close()

    def _answer(self, command: bytes) -> str:
        first, rest = (f"*2\r\n$9\r\n127.0.0.1\r\n:{port}" for port in self.knows)
        slots = f"*2\r\n*3\r\n:0\r\n:0\r\n{first}\r\n*3\r\n:1\r\n:16383\r\n{rest}"
        return {b"CLUSTER": slots, b"COMMAND": COMMANDS, b"EVAL": self.says}[command]


async def _word(reader: asyncio.StreamReader) -> bytes:
    length = int((await reader.readline())[1:])
    return (await reader.readexactly(length + 2))[:-2]
