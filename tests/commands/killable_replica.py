"""The proxy in a process that dies or stands still at a step of its refresh, where replicas share a grant.

A step is a moment around one call: to the engine, whichever that is, or to the token endpoint. The product knows
nothing of this: its calls are counted on their way.

The order is a file, `SIGNAL: STEP`. Whoever comes to that step takes it away and sends itself the signal: of several
processes with one order, one obeys.
"""

import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any, Final

from proxy import compose_credentials, compose_engine
from proxy.credential.engine import Engine, Kept
from proxy.credential.token_endpoint import TokenEndpoint

PROGRAM: Final = (sys.executable, "-P", __file__)  # -P: the modules beside this file are none of the proxy's

ORDER: Final = "ORDER_TO_STOP"
"""The variable that names the order's file."""

LEASE_TAKEN: Final = "the lease is taken"
BEFORE_INTENT: Final = "the intent is about to be written"
INTENT_WRITTEN: Final = "the intent is written"
BEFORE_REDEEM: Final = "the redeem is about to be sent"
ANSWERED: Final = "the redeem is answered"
BEFORE_PAIR: Final = "the pair is about to be stored"
STORED: Final = "the pair is stored and published"
BEFORE_RETURN: Final = "the lease is about to be given back"
RETURNED: Final = "the lease is given back"

STEPS: Final = (
    *(LEASE_TAKEN, BEFORE_INTENT, INTENT_WRITTEN, BEFORE_REDEEM),
    *(ANSWERED, BEFORE_PAIR),
    *(STORED, BEFORE_RETURN, RETURNED),
)
"""In their order. Between the fourth and the seventh what PandaDoc has answered is in one process alone."""

LONELY: Final = (ANSWERED, BEFORE_PAIR)

REDEEMS: Final = "redeems"
"""What is said on standard output when a redeem is sent."""

OBEYS: Final = "obeys: "
"""What is said on standard output, with the step."""


def obey(path: Path, step: str) -> None:
    """Send ourselves the signal, if this is the step and nobody was faster."""
    try:
        name, ordered = path.read_text().split(": ")
        if ordered != step:
            return
        path.rename(path.with_suffix(f".{os.getpid()}"))
    except FileNotFoundError:
        return
    os.write(1, f"{OBEYS}{step}\n".encode())
    os.kill(os.getpid(), signal.Signals[name])


class Stepping:
    """An engine, with a word about every step; it keeps nothing of its own."""

    def __init__(self, engine: Engine, at: Callable[[str], None]) -> None:
        self._engine = engine
        self._at = at
        self.poll = engine.poll

    @property
    def name(self) -> str:
        return self._engine.name

    @property
    def removal(self) -> str:
        return self._engine.removal

    async def read(self) -> Kept:
        return await self._engine.read()

    async def write(self, content: bytes, version: str) -> Kept | None:
        intent = json.loads(content)["intent"] is not None
        self._at(BEFORE_INTENT if intent else BEFORE_PAIR)
        written = await self._engine.write(content, version)
        if written is not None:
            self._at(INTENT_WRITTEN if intent else STORED)
        return written

    async def take(self, holder: str, seconds: float) -> bool:
        taken = await self._engine.take(holder, seconds)
        if taken:
            self._at(LEASE_TAKEN)
        return taken

    async def give_back(self, holder: str) -> None:
        self._at(BEFORE_RETURN)
        await self._engine.give_back(holder)
        self._at(RETURNED)

    async def holder(self) -> str | None:
        return await self._engine.holder()

    def watch(self) -> AsyncGenerator[Kept | None, None]:
        return self._engine.watch()

    async def close(self) -> None:
        await self._engine.close()


def watch_steps(at: Callable[[str], None]) -> None:
    """Put a word about each step around the product's calls."""
    make, redeem = compose_engine.engine, TokenEndpoint.redeem

    async def redeeming(*args: Any) -> Any:
        at(BEFORE_REDEEM)
        os.write(1, f"{REDEEMS}\n".encode())
        outcome = await redeem(*args)
        at(ANSWERED)
        return outcome

    setattr(compose_credentials, "engine", lambda *args: Stepping(make(*args), at))  # noqa: B010 - mypy knows its type
    setattr(TokenEndpoint, "redeem", redeeming)  # noqa: B010 - the same


if __name__ == "__main__":
    from proxy.cli import main

    order = Path(os.environ[ORDER])
    watch_steps(lambda step: obey(order, step))
    main()
