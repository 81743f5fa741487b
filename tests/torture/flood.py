"""A flood of half-open connections, as a process of its own: the callers that are to be served must not share its loop.

`python flood.py PORT NUMBER START`: open so many, say START (in hexadecimal) and no more on each; begin anew, a
second later, with each that is closed. Say "crowded" once so many have been open.
"""

import asyncio
import sys
from contextlib import suppress

HOST = "127.0.0.1"


async def flood(port: int, number: int, start: bytes) -> None:
    opened = 0

    async def one() -> None:
        nonlocal opened
        while True:
            with suppress(ConnectionError):
                reader, writer = await asyncio.open_connection(HOST, port)
                writer.write(start)
                opened += 1
                if opened == number:
                    print("crowded", flush=True)  # noqa: T201 - to whoever has started us
                with suppress(ConnectionError):
                    await reader.read()
                writer.close()
            await asyncio.sleep(1)

    await asyncio.gather(*(one() for _ in range(number)))


if __name__ == "__main__":
    asyncio.run(flood(int(sys.argv[1]), int(sys.argv[2]), bytes.fromhex(sys.argv[3])))
