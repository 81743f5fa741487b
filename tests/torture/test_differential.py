"""What goes through the proxy goes through nginx alike, but for what is meant to differ: a property (law 10)."""

import asyncio
import logging
import os
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from conftest import api_key_houses
from hypothesis import HealthCheck, given, note, settings
from rig import PROXY_LOGGER, House
from torture.case import CREDENTIAL, Case, cases
from torture.differences import DIFFERENCES, Difference
from torture.passage import Connect, Origin, Passage, nginx, origin, passage

ON_ONE_LOOP: Final = pytest.mark.asyncio(loop_scope="module")

PAGE: Final = Path(__file__).parents[2] / "docs" / "differences.md"
BOUNDED: Final = os.environ.get("TORTURE") == "bounded"
EXAMPLES: Final = int(os.environ.get("EXAMPLES") or (300 if BOUNDED else 10_000))
MANY: Final = settings(
    deadline=None, derandomize=BOUNDED, max_examples=EXAMPLES, suppress_health_check=list(HealthCheck)
)


@dataclass
class Fork:
    """Two ways to one origin."""

    origin: Origin
    ours: Connect
    theirs: Connect

    async def judged(self, case: Case, differences: Iterable[Difference]) -> tuple[Passage, Passage]:
        """Return what came of a case through the proxy, and what should have, after what came of it through nginx."""
        ours = await passage(case, self.ours, self.origin)
        other = case
        for difference in differences:
            other = difference.asked_instead(other)
        wanted = await passage(other, self.theirs, self.origin)
        for difference in differences:
            wanted = difference.turn(case, wanted, ours)
        return ours, wanted


@asynccontextmanager
async def forks(folder: Path) -> AsyncIterator[Fork]:
    async with AsyncExitStack() as stack:
        played = await stack.enter_async_context(origin())
        house: House = await api_key_houses(stack, folder)(
            {
                "upstream": {"url": f"http://{played.authority.decode()}"},
                "credentials": {"default": {"api_key": {"value": CREDENTIAL}}},
            }
        )
        stack.callback(PROXY_LOGGER.setLevel, logging.NOTSET)
        PROXY_LOGGER.setLevel(logging.ERROR)  # whoever reads a failure wants to see the bytes
        theirs = await stack.enter_async_context(nginx(folder, played.authority))

        async def ours() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            return await asyncio.open_connection("127.0.0.1", house.port, limit=2**18)

        yield Fork(played, ours, theirs)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fork(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fork]:
    async with forks(tmp_path_factory.mktemp("fork")) as opened:
        yield opened


@ON_ONE_LOOP
@pytest.mark.timeout(1800)
@MANY
@given(case=cases())
async def test_nothing_differs_but_what_is_meant_to(fork: Fork, case: Case) -> None:
    ours, wanted = await fork.judged(case, DIFFERENCES)
    note(f"Through the proxy, {ours.raw}\nThrough nginx, {wanted.raw}")
    assert ours == wanted


@ON_ONE_LOOP
@pytest.mark.parametrize("difference", DIFFERENCES, ids=[difference.what[:40] for difference in DIFFERENCES])
async def test_each_difference_is_needed(fork: Fork, difference: Difference) -> None:
    """It occurs, and none of the others covers it."""
    ours, wanted = await fork.judged(difference.example, DIFFERENCES)
    assert ours == wanted
    ours, wanted = await fork.judged(difference.example, [other for other in DIFFERENCES if other is not difference])
    assert ours != wanted


def test_the_page_lists_every_difference_and_no_other() -> None:
    rows = re.findall(r"(?m)^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", PAGE.read_text(encoding="utf-8"))
    assert rows[1:] == [(each.what, each.why, each.section) for each in DIFFERENCES]
