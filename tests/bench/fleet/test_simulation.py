"""The simulation as a whole: every scenario with three replicas, and that it sees what must not be."""

import pytest

from bench.fleet.__main__ import BY_NAME, ENGINES
from bench.fleet.engines import Pace, RedisLike
from bench.fleet.fleet import run
from bench.fleet.replica import Broken
from proxy.credential.engine import Kept

DEAD_FOR_GOOD = {"lost", "crash-redeemed"}
"""Scenarios in which the only living pair is lost, so that it takes a person."""


class Careless(RedisLike):
    """Gives the lease to whoever asks, and writes over whatever there is, slowly."""

    pace = Pace(read=0.05, write=0.05, told=0.001)

    async def take(self, holder: str, seconds: float) -> bool:
        del holder, seconds
        return await self._call("take", 0.001, lambda: True)

    async def write(self, content: bytes, version: str) -> Kept | None:
        del version
        return await super().write(content, (await self.read()).version)


class Faulty(RedisLike):
    """Raises what no engine may."""

    async def take(self, holder: str, seconds: float) -> bool:
        del holder, seconds
        raise ValueError("odd")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", [name for name in BY_NAME if name != "dead"])
def test_three_replicas_end_on_one_generation_that_cost_one_redeem(name: str, engine: str) -> None:
    figures = run(BY_NAME[name], ENGINES[engine], 3, seed=2)
    assert figures.redeemed == (0 if name in {"idle", "flushed", "login"} else 1) or name == "refusing-all"
    assert figures.refused <= (1 if name in {"lease-lost", *DEAD_FOR_GOOD} else 0)
    assert figures.requests > 0
    assert figures.adopted_max < 65


def test_an_upstream_that_says_401_to_everything_costs_a_fleet_a_bounded_number_of_redeems() -> None:
    """Its replicas' clocks differ by two seconds; the cool-down that one begins is all the same everybody's."""
    for engine in ENGINES.values():
        figures = run(BY_NAME["refusing-all"], engine, 10, seed=2)
        assert 2 <= figures.redeemed <= 12
        assert figures.calls["write"] < 60


def test_an_hour_with_a_dead_grant_costs_ten_replicas_two_redeems() -> None:
    figures = run(BY_NAME["dead"], ENGINES["kubernetes"], 10, seed=2)
    assert 1 <= figures.refused <= 3
    assert figures.mean < 1


def test_the_same_seed_finds_the_same_and_another_does_not() -> None:
    first, again, other = (run(BY_NAME["revoked"], RedisLike, 10, seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_requests_meet_a_401_and_are_answered_all_the_same() -> None:
    figures = run(BY_NAME["revoked"], RedisLike, 10, seed=1)
    assert figures.met_401 > 0
    assert figures.relayed_401 == figures.unavailable_503 == 0


def test_an_engine_that_writes_over_what_it_has_not_seen_is_found_out() -> None:
    """The lease keeps nothing safe: with it lost alone all is well (lease-lost), with the versions it is not."""
    with pytest.raises(Broken, match="a stored pair was lost"):
        run(BY_NAME["revoked"], Careless, 10, seed=1)


def test_a_fault_of_the_proxys_own_is_found_out() -> None:
    with pytest.raises(Broken, match=r"a fault of ours in the refresh of credential default: ValueError\('odd'\)"):
        run(BY_NAME["revoked"], Faulty, 3, seed=1)
