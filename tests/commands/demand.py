"""Callers that ask for more than a rate budget has, and what the upstream has granted them."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from aiohttp import ClientSession, ClientTimeout, TCPConnector

from proxy.simulator import Simulator

LIST: Final = "/public/v1/documents"


@dataclass
class Demand:
    """Callers without a pause. What changes: `statuses`, what they have got, and `_callers`, by `begin`."""

    urls: Sequence[str]
    statuses: Counter[int] = field(default_factory=Counter)
    _callers: list[asyncio.Task[None]] = field(default_factory=list)

    async def begin(self, callers: int, *, client: str = "", path: str = LIST) -> None:
        """Have so many callers ask each proxy, each again as soon as it is answered."""
        for url in self.urls:
            self._callers += [asyncio.create_task(self._ask(url + path, client)) for _ in range(callers)]

    async def end(self) -> None:
        """Have the callers hang up; fails if one of them got something that is no answer."""
        for caller in self._callers:
            caller.cancel()
        for caller in self._callers:
            with suppress(asyncio.CancelledError):
                await caller

    async def _ask(self, url: str, client: str) -> None:
        headers = {"X-Proxy-Key": client} if client else {}
        timeout = ClientTimeout(total=180)
        async with ClientSession(connector=TCPConnector(limit=0), timeout=timeout, headers=headers) as app:
            while True:
                async with app.get(url) as answer:
                    await answer.read()
                    self.statuses[answer.status] += 1


class Watch:
    """When the simulator has granted each request, in seconds of its loop's clock. `look` alone adds to `granted`."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._seen = 0
        self.granted: list[float] = []
        self.refused = 0

    async def until_granted(self, number: int, seconds: float) -> None:
        """Watch until so many were granted."""
        async with asyncio.timeout(seconds):
            while len(self.granted) < number:
                await self._simulator.until(lambda: len(self._simulator.journal) > self._seen)
                self._look()
                await asyncio.sleep(0)

    def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        for call in self._simulator.journal[self._seen :]:
            self.refused += call.status == 429
            self.granted += [now] if call.status != 429 else []
        self._seen = len(self._simulator.journal)

    def throughput(self, burst: int) -> float:
        """Return requests a second in steady state: from one burst's last request to the end."""
        return (len(self.granted) - burst) / (self.granted[-1] - self.granted[burst - 1])
