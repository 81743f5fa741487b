"""Whether a grant that was in danger is still there, told from PandaDoc's side and the bytes on the disk.

Never from what a proxy says: that is what is judged here.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiohttp import ClientSession
from commands.process import MEMBER, Machine, Process

from proxy.secrets import Secret

COMMAND: Final = "`pandadoc-proxy login`"

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Stored:
    """The two slots of the store on a machine: what of it a reader would call whole."""

    first: Record | None
    second: Record | None

    @property
    def newest(self) -> Record | None:
        if self.first is None or self.second is None:
            return self.first or self.second
        return self.second if self.second["generation"] > self.first["generation"] else self.first

    @property
    def generation(self) -> int:
        return int(self.newest["generation"]) if self.newest else 0


def read_stored(machine: Machine) -> Stored:
    """Read both slots. Fails if the first one is there and not whole: it is only ever replaced by a whole one."""
    firsts = sorted(machine.state.glob("pandadoc-proxy/grant-*.json"))
    seconds = sorted(machine.state.glob("pandadoc-proxy/.grant-*.json.new"))
    assert len(firsts) <= 1
    assert len(seconds) <= 1
    first = json.loads(firsts[0].read_bytes()) if firsts else None
    return Stored(first, _whole(seconds[0]) if seconds else None)


def _whole(path: Path) -> Record | None:
    """Read a slot that may be room, or half of something. Zeros behind a record are room that was kept for it."""
    try:
        record: Record = json.loads(path.read_bytes().rstrip(b"\0"))
    except ValueError:
        return None
    return record


@dataclass(frozen=True)
class Verdict:
    """What a proxy must make of what is left.

    `lost_at`: the minute of the redeem whose answer nobody stored.
    """

    generation: int
    lost_at: str | None

    @property
    def lost(self) -> bool:
        return self.lost_at is not None


def judge(machine: Machine, seed: str) -> Verdict:
    """Tell whether the refresh token that a proxy has, stored or else configured as `seed`, lives at PandaDoc."""
    stored = read_stored(machine)
    newest = stored.newest or {"refresh_token": None, "seeds": [], "intent": None}
    within_reach = {newest["refresh_token"]}
    if Secret(seed).fingerprint() not in newest["seeds"]:
        within_reach.add(seed)
    if within_reach & machine.simulator.refresh_tokens:
        return Verdict(stored.generation, None)
    assert newest["intent"] is not None, "a refresh token was redeemed that nothing was written down of"
    lost_at = f"{datetime.fromtimestamp(newest['intent']['at'], UTC):%Y-%m-%d %H:%M UTC}"
    return Verdict(stored.generation, lost_at)


async def assert_as_judged(app: ClientSession, process: Process, verdict: Verdict) -> None:
    """Ask a started proxy: it is healthy without a human, or says what was lost, when, and what to do.

    Where the grant is lost but the access token good by the clock, that is lent (law 5); PandaDoc has killed it, a
    probe shows that, and the answer is ours all the same.
    """
    async with app.get(await process.url() + MEMBER) as answer:
        said = await answer.text()
    if verdict.lost_at is None:
        assert answer.status == 200, said
        assert [line for line in process.records if line["level"] in {"error", "critical"}] == []
        assert (await process.accesses(1))[-1]["generation"] >= max(verdict.generation, 1)
        return
    assert answer.status == 503, said
    assert "Retry-After" not in answer.headers  # waiting does not help
    await process.said('"level":"error"', "invalid_grant", COMMAND, verdict.lost_at)
    assert "invalid_grant" in said
    assert COMMAND in said
    assert verdict.lost_at in said


def assert_spent_once(machine: Machine) -> None:
    """No refresh token was redeemed twice, and a proxy that knew of a newer one did not send an older one."""
    spent = [call.form["refresh_token"] for call in machine.simulator.token_calls() if call.status == 200]
    assert len(spent) == len(set(spent))


async def answered(app: ClientSession, url: str) -> int | None:
    """Ask for something; None where the process died before it had answered."""
    try:
        async with app.get(url + MEMBER) as answer:
            await answer.read()
    except aiohttp.ClientError:
        return None
    return answer.status
