"""What threads a process has: each is one that a limit on them may refuse it."""

import subprocess
import sys

import pytest
from aiohttp import ClientSession
from commands.process import MEMBER, ROOT, Machine, status_of

from proxy import event_loop

CHOICES = ["uvloop", "asyncio"]

CONNECTS = """
import asyncio, os, socket
from proxy import event_loop

async def main() -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as there, socket.socket(socket.AF_INET6) as here:
        here.setblocking(False)
        await loop.sock_connect(here, there.getsockname())
    print(len(os.listdir("/proc/self/task")))

asyncio.Runner(loop_factory=event_loop.factory()).run(main())
"""


@pytest.mark.parametrize("choice", CHOICES)
def test_to_connect_to_an_address_takes_no_thread(choice: str) -> None:
    """The way of uvloop's own looks it up, and libuv starts four threads for that or aborts the process."""
    ended = subprocess.run(  # noqa: S603 - our own text
        [sys.executable, "-c", CONNECTS],
        cwd=ROOT,
        env={event_loop.CHOICE: choice},
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert ended.stdout == "1\n"


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_proxy_that_lends_a_grant_has_none_of_libuvs(
    machine: Machine, app: ClientSession, choice: str, host: str
) -> None:
    env = machine.with_grant() | {event_loop.CHOICE: choice}
    env["PANDADOC_PROXY__UPSTREAM__URL"] = machine.simulator.url.replace("127.0.0.1", host)
    process = await machine.start("run", env=env)
    assert await status_of(app, await process.url() + MEMBER) == 200
    assert "libuv-worker" not in process.threads
