"""Proxy processes that share a grant over a network, as the pods of a Deployment do, and apps that ask all of them."""

import asyncio
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import aiohttp
import yaml
from commands.crowd import lent
from commands.killable_replica import OBEYS, ORDER, PROGRAM
from commands.process import MEMBER, PATIENCE, Machine, Process
from rig import until

REDEEM_TIMEOUT: Final = 2.0
LEASE: Final = REDEEM_TIMEOUT + 5
"""Seconds for which a lease outlives its holder (refresh.LEASE_SLACK)."""

BELIEVED: Final = 2 * REDEEM_TIMEOUT + 5
"""Seconds for which an invalid_grant is not believed, while a replica may still be storing what it got."""

BACK: Final = 15.0
"""Seconds within which a fleet is well once what keeps its record is: a few, and those of a lease if one is held."""

APP: Final = "X-App"


class Place(Protocol):
    """Where the replicas' record is kept, as a test gets at it."""

    store: Mapping[str, Any]  # the configuration's section `store`
    environ: Mapping[str, str]  # what that refers to
    name: str  # what is said of it while it can't be reached
    secrets: frozenset[str]  # what no process may say

    async def start(self) -> None:
        """Let it answer again, with what it had."""
        ...

    async def kill(self) -> None:
        """Let it be gone, as a machine that was switched off."""
        ...

    async def lose(self) -> None:
        """Lose all data, while it runs."""
        ...

    def pause(self) -> None:
        """Let it stand still, with its connections open."""
        ...

    def resume(self) -> None: ...

    async def record(self) -> Mapping[str, Any]:
        """Return the record as it is kept; {} if there is none."""
        ...


@dataclass
class Fleet:
    """Replicas, and two apps for each that ask it without a pause.

    What changes: `answers`, what the apps have got, by status; `problems`, what was said with a 5xx; `processes` and
    `_apps`, by `join`.
    """

    machine: Machine
    app: aiohttp.ClientSession
    place: Place
    env: Mapping[str, str]
    processes: list[Process] = field(default_factory=list)
    answers: Counter[int] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    _apps: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def order(self) -> Path:
        return self.machine.home / "order"

    def give(self, number: signal.Signals, step: str) -> None:
        """Order whoever comes to this step first to send itself a signal."""
        whole = self.order.with_suffix(".new")
        whole.write_text(f"{number.name}: {step}")
        whole.rename(self.order)

    async def obeyed(self) -> Process:
        """Wait until one has come to the step, and return it."""
        await until(lambda: bool(self._obedient()), 2 * PATIENCE)
        return self._obedient()[-1]

    def _obedient(self) -> list[Process]:
        return [process for process in self.processes if any(line.startswith(OBEYS) for line in process.out)]

    @property
    def statuses(self) -> list[int]:
        """What the token endpoint has answered."""
        return [call.status for call in self.machine.simulator.token_calls()]

    async def join(self, number: int = 1) -> None:
        """Start replicas, and have them asked until they are gone."""
        for _ in range(number):
            process = await self.machine.start(env=self.env, program=PROGRAM)
            self.processes.append(process)
            self._apps += [
                asyncio.create_task(self._ask(process, f"{len(self.processes)}-{number}")) for number in range(2)
            ]

    async def lends(self, generation: int, processes: Iterable[Process] | None = None, seconds: float = 40.0) -> None:
        """Wait until each that runs lends this generation, which PandaDoc has accepted from it."""
        waited_for = list(self.processes if processes is None else processes)
        try:
            await until(lambda: all(lent(each) == generation for each in waited_for if each.running), seconds)
        except TimeoutError:
            raise AssertionError(
                f"generation {generation} is not lent by all: {[lent(each) for each in waited_for]},"
                f" the token endpoint has answered {self.statuses}; {said_in(self.problems)}; "
                f"{[each.err[-12:] for each in waited_for if lent(each) != generation]}"
            ) from None

    async def ask(self, process: Process) -> tuple[int, str, Mapping[str, str]]:
        """Ask one replica once."""
        async with self.app.get(await process.url() + MEMBER) as answer:
            return answer.status, await answer.text(), answer.headers

    def forget(self) -> None:
        """Begin to count answers anew."""
        self.answers.clear()
        self.problems.clear()

    async def disperse(self) -> None:
        """Let the apps go home; fails if one of them got something that is no answer."""
        for app in self._apps:
            app.cancel()
        ends = await asyncio.gather(*self._apps, return_exceptions=True)
        assert [end for end in ends if not isinstance(end, asyncio.CancelledError | None)] == []

    async def _ask(self, process: Process, name: str) -> None:
        """Ask until the process is gone."""
        url = await process.url() + MEMBER
        while True:
            try:
                async with self.app.get(url, headers={APP: name}) as answer:
                    said = await answer.text()
            except TimeoutError:  # it stands still
                continue
            except aiohttp.ClientError:
                return
            self.answers[answer.status] += 1
            if answer.status >= 500:
                self.problems.append(said)
            await asyncio.sleep(0.01)

    # What must hold in the end

    def assert_all_answered(self) -> None:
        """Fail, with the reason that its log has, if an app got anything but what it had asked for."""
        records = (json.loads(line) for process in self.processes for line in process.err)
        others = [each for each in records if each.get("status") not in {None, 200, 499}]
        assert set(self.answers) == {200}, others

    def assert_spent_once(self) -> None:
        """No refresh token was redeemed twice."""
        calls = [call for call in self.machine.simulator.token_calls() if call.status == 200]
        spent = [call.form["refresh_token"] for call in calls if "refresh_token" in call.form]
        assert len(spent) == len(set(spent))

    def assert_nobody_lends_the_dead(self) -> None:
        """After a refusal each app meets it once at most: the request that it had under way."""
        refused: Counter[tuple[str, bytes]] = Counter()
        for call in self.machine.simulator.api_calls():
            if call.status == 401 and (app := call.header(APP.lower().encode())):
                refused[call.authorization[0], app] += 1
        assert refused, "nobody met a dead token: the test has looked past them"
        assert max(refused.values()) == 1

    async def assert_of_one_mind(self, generation: int) -> None:
        """Fail unless the record has this generation, and with it the one refresh token that lives."""
        record = await self.place.record()
        assert record["generation"] == generation
        assert {record["refresh_token"]} == self.machine.simulator.refresh_tokens
        assert record["intent"] is None
        self.assert_spent_once()


def configured(place: Place) -> str:
    """Return the configuration that all replicas share."""
    oauth2 = {
        "client_id": {"env": "PANDADOC_CLIENT_ID"},
        "client_secret": {"env": "PANDADOC_CLIENT_SECRET"},
        "refresh_token": {"env": "PANDADOC_REFRESH_TOKEN"},
        "redeem_timeout": f"{REDEEM_TIMEOUT:g}s",
        "wait": "18s",
        "store": dict(place.store),
    }
    return yaml.safe_dump({"credentials": {"default": {"oauth2": oauth2}}})


@asynccontextmanager
async def fleet(machine: Machine, app: aiohttp.ClientSession, place: Place, size: int) -> AsyncIterator[Fleet]:
    """Start `size` replicas on one grant; keep apps asking them until the end of the block."""
    (machine.folder / "config.yaml").write_text(configured(place))
    machine.secrets |= place.secrets
    env = {**machine.with_grant(), **place.environ}
    gathered = Fleet(machine, app, place, env | {ORDER: str(machine.home / "order")})
    await gathered.join(size)
    try:
        yield gathered
    finally:
        place.resume()
        for process in gathered.processes:
            with suppress(ProcessLookupError):
                process.signal(signal.SIGCONT)
        await gathered.disperse()
        record = await place.record()
        machine.secrets |= {str(record.get(name) or "") for name in ("access_token", "refresh_token")} - {""}


def logged(process: Process, *words: str) -> bool:
    """Tell whether a line of the log holds all of these."""
    return any(all(word in line for word in words) for line in process.err)


def said_in(problems: list[str]) -> set[str]:
    """Return the details of problems, once each."""
    return {json.loads(problem)["detail"] for problem in problems}
