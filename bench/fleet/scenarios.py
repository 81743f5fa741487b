"""What happens to a fleet. Each story begins when everybody lends a good token, unless it says otherwise."""

import asyncio
from typing import Final

from bench.fleet.fate import HAS_LEASE, REDEEMED, SENT, WROTE, Step
from bench.fleet.fleet import Fleet, Scenario


async def _nothing(_fleet: Fleet) -> None:
    """Do nothing: it comes by itself."""


async def _revoked(fleet: Fleet) -> None:
    fleet.panda_doc.revoke()


async def _slow(fleet: Fleet) -> None:
    fleet.panda_doc.latency = 10.0


async def _slow_and_revoked(fleet: Fleet) -> None:
    fleet.panda_doc.latency = 10.0
    fleet.panda_doc.revoke()


async def _refusing(fleet: Fleet) -> None:
    fleet.panda_doc.down = True
    fleet.panda_doc.revoke()
    await asyncio.sleep(120)
    fleet.panda_doc.down = False


async def _refusing_all(fleet: Fleet) -> None:
    """Answer 401 to whatever is sent, though nothing is wrong with it."""
    fleet.panda_doc.refuses_all = True
    await asyncio.sleep(300)
    fleet.panda_doc.refuses_all = False


async def _crashed(fleet: Fleet) -> None:
    """Start another replica in the place of the lease's holder, which dies on its way."""
    fleet.panda_doc.revoke()
    await fleet.doom.struck.wait()
    await asyncio.sleep(10)
    fleet.join()


async def _crashed_with_the_pair(fleet: Fleet) -> None:
    """Lose the only pair with its holder: a person must agree anew."""
    await _crashed(fleet)
    await asyncio.sleep(290)
    fleet.log_in()


async def _lost(fleet: Fleet) -> None:
    """Lose a reply on its way, and with it the grant: a person must agree anew."""
    fleet.panda_doc.lost = 1
    fleet.panda_doc.revoke()
    await asyncio.sleep(300)
    fleet.log_in()


async def _partitioned(fleet: Fleet) -> None:
    """Cut a third off from the engine; the rest refreshes."""
    fleet.ground.cut_off.update(replica.who for replica in fleet.replicas[: (fleet.size + 1) // 3])
    await asyncio.sleep(5)
    fleet.panda_doc.revoke()
    await asyncio.sleep(55)
    fleet.ground.rejoin()


async def _engine_down(fleet: Fleet) -> None:
    fleet.ground.fail()
    await asyncio.sleep(5)
    fleet.panda_doc.revoke()
    await asyncio.sleep(55)
    fleet.ground.down = False


async def _flushed(fleet: Fleet) -> None:
    """Lose the record: a Redis comes back empty and tells nobody; a Secret is emptied, and the watch tells."""
    fleet.ground.forget(tell=fleet.engine.carries)


async def _deaf(fleet: Fleet) -> None:
    """Let no watch tell anything, and none break."""
    fleet.ground.tells = False
    fleet.panda_doc.revoke()


async def _lease_lost(fleet: Fleet) -> None:
    """Lose the lease while its holder redeems, as a failover does: another may redeem the same refresh token."""
    fleet.panda_doc.revoke()
    while fleet.ground.holder is None:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.01)
    fleet.ground.lose_lease()


async def _login(fleet: Fleet) -> None:
    fleet.log_in()


async def _dead(fleet: Fleet) -> None:
    """Refuse the grant for an hour, until a person agrees anew."""
    fleet.panda_doc.kill()
    await asyncio.sleep(3600)
    fleet.log_in()


SCENARIOS: Final = (
    Scenario("idle", "nothing happens", _nothing, seconds=300.0, rate=0.01),
    Scenario("stale", "refreshed ahead of its expiry", _nothing, seconds=90.0, stale=True),
    Scenario("expired", "expired, and nobody was ahead", _nothing, expires=True),
    Scenario("revoked", "revoked: 401 everywhere", _revoked),
    Scenario("slow", "refreshed ahead, the endpoint takes 10 s", _slow, seconds=100.0, stale=True),
    Scenario("slow-revoked", "revoked, the endpoint takes 10 s", _slow_and_revoked),
    Scenario("refusing", "revoked, and no endpoint for two minutes", _refusing, seconds=180.0, rate=0.2),
    Scenario(
        "refusing-all", "PandaDoc says 401 to everything for five minutes", _refusing_all, seconds=330.0, rate=0.1
    ),
    Scenario(
        "crash-lease", "the holder dies before its intent", _crashed, doom=Step(HAS_LEASE), seconds=120.0, rate=0.2
    ),
    Scenario("crash-intent", "… with its intent written", _crashed, doom=Step(WROTE), seconds=120.0, rate=0.2),
    Scenario("crash-sent", "… before PandaDoc hears of it", _crashed, doom=Step(SENT), seconds=120.0, rate=0.2),
    Scenario(
        "crash-redeemed", "… with the only pair", _crashed_with_the_pair, doom=Step(REDEEMED), seconds=330.0, rate=0.1
    ),
    Scenario("crash-stored", "… with the pair stored", _crashed, doom=Step(WROTE, 2), seconds=120.0, rate=0.2),
    Scenario("lost", "the reply is lost; a login after 5 min", _lost, seconds=330.0, rate=0.1),
    Scenario("partition", "a third can't reach the engine for a minute", _partitioned, seconds=90.0),
    Scenario("engine-down", "no engine for a minute", _engine_down, seconds=90.0),
    Scenario("flushed", "the engine loses its data", _flushed),
    Scenario("deaf", "revoked, and no watch tells", _deaf, seconds=90.0),
    Scenario("lease-lost", "revoked, and the engine loses the lease", _lease_lost),
    Scenario("login", "somebody logs in", _login),
    Scenario("cold", "all start at once", _nothing, empty=True),
    Scenario("dead", "a dead grant for an hour", _dead, seconds=3630.0, rate=0.01, expires=True),
)
