"""A year on a clock that the test turns: when a grant is refreshed, and what a stepping clock costs (laws 3 and 7).

PandaDoc's access tokens live for 31535999 seconds. The simulator has a clock of its own, which never steps.
"""

import pytest
from conftest import HouseMaker
from rig import House, TurnedClock, until

from proxy.app import LOOK_EVERY, Proxy
from proxy.simulator import Fault

LIFE = 31535999
HOUR, DAY = 3600, 86400
WEEK_AHEAD = LIFE - 7 * DAY
TOKENS = "/oauth2/access_token"
FORBIDDEN = "/public/v1/forbidden"
ALARM = "no refresh has come through"


async def well(house: House, number: int = 20) -> None:
    """Let requests come, and find them all answered."""
    assert {answer.status for answer in await house.many(number)} == {200}
    await house.settle()


async def test_a_year_of_hourly_looks_costs_one_refresh_a_week_ahead(oauth_house: HouseMaker) -> None:
    house = await oauth_house()
    await house.look()
    refreshed: list[int] = []
    for hour in range(1, LIFE // HOUR + 100):
        house.clock.pass_(HOUR)
        await house.look()
        if len(house.simulator.token_calls()) > 1 + len(refreshed):
            refreshed.append(hour)
    assert refreshed == [WEEK_AHEAD // HOUR + 1]
    await well(house)
    assert house.ear.fields[-1]["generation"] == 2
    assert not any(line.startswith(("WARNING", "ERROR", "CRITICAL")) for line in house.ear.lines)


@pytest.mark.parametrize("age", ["30d", "90d"])
async def test_with_a_max_age_a_token_is_refreshed_that_often_and_never_more(oauth_house: HouseMaker, age: str) -> None:
    house = await oauth_house(max_age=age)
    await house.look()
    refreshed: list[float] = []
    for quarter in range(1, 4 * 200):
        house.clock.pass_(DAY / 4)
        await house.look()
        if len(house.simulator.token_calls()) > 1 + len(refreshed):
            refreshed.append(quarter / 4)
    days = int(age.removesuffix("d"))
    assert refreshed == list(range(days, 200, days))


# A clock that steps


@pytest.mark.parametrize("slept", [LIFE - 6 * DAY, LIFE - 60, LIFE + 60, LIFE + 100 * DAY])
async def test_a_laptop_that_slept_refreshes_once_when_it_wakes(oauth_house: HouseMaker, slept: int) -> None:
    """Its monotonic clock has stood still meanwhile."""
    house = await oauth_house()
    await well(house)
    house.clock.step(slept)
    await well(house)
    await house.look()
    await well(house)
    assert len(house.simulator.token_calls()) == 2


async def test_the_proxys_own_watch_notices_a_sleep_within_seconds(oauth_house: HouseMaker) -> None:
    """No timer runs until the expiry: it would stand still with the laptop."""
    assert LOOK_EVERY <= 60
    house = await oauth_house()
    proxy = Proxy(house.config(), state_home=house.folder / "state", clock=house.clock)
    await proxy.start()
    try:
        await until(lambda: house.ear.heard("refreshed because", "generation 1"))
        house.clock.step(LIFE - 6 * DAY)
        await until(lambda: house.ear.heard("refreshed because", "generation 2"), seconds=3 * LOOK_EVERY)
    finally:
        await proxy.stop()


@pytest.mark.parametrize("step", [DAY, -DAY])
@pytest.mark.parametrize("age", [10 * DAY, WEEK_AHEAD - HOUR, LIFE - HOUR], ids=["fresh", "near stale", "near expiry"])
async def test_a_days_step_and_back_costs_one_refresh_at_most(oauth_house: HouseMaker, age: int, step: int) -> None:
    world = TurnedClock()
    house = await oauth_house(simulator={"clock": world.wall})
    await well(house)
    for clock in (world, house.clock):
        clock.pass_(age)
    for change in (step, -step, step, -step):
        house.clock.step(change)
        for _ in range(3):
            await well(house)
            await house.look()
    assert len(house.simulator.token_calls()) <= 2


@pytest.mark.parametrize("step", [DAY, -DAY])
async def test_while_no_refresh_comes_through_a_days_step_and_back_loses_no_token(
    oauth_house: HouseMaker, step: int
) -> None:
    house = await oauth_house(simulator={"clock": TurnedClock().wall})
    await well(house)
    house.simulator.faults.add(Fault(path=TOKENS, status=503))
    house.clock.pass_(LIFE - HOUR)
    lent = house.simulator.api_calls()[-1].authorization
    house.clock.step(step)
    assert (await house.get()).status == (503 if step > 0 else 200)
    await house.look()
    house.clock.step(-step)
    await house.look()
    assert (await house.get()).status == 200
    assert house.simulator.api_calls()[-1].authorization == lent


@pytest.mark.parametrize("life", [HOUR, LIFE])
async def test_a_token_that_a_step_made_seem_younger_is_healed_by_its_401(oauth_house: HouseMaker, life: int) -> None:
    """The clock goes back a day, then the token's real time is over: one refresh, and nobody is told."""
    world = TurnedClock()
    house = await oauth_house(simulator={"clock": world.wall, "expires_in": life})
    await well(house)
    house.clock.step(-DAY)
    for clock in (world, house.clock):
        clock.pass_(life + 60)
    await well(house)
    assert len(house.simulator.token_calls()) == 2


# The cool-down (law 3)


async def test_a_cool_down_doubles_to_an_hour_whatever_restarts_there_are(oauth_house: HouseMaker) -> None:
    house = await oauth_house()
    house.simulator.faults.add(Fault(path=FORBIDDEN, status=401))
    await house.get()
    refreshed = []
    for second in range(0, 3 * HOUR, 30):
        before = len(house.simulator.token_calls())
        assert (await house.get(FORBIDDEN)).status == 401
        if len(house.simulator.token_calls()) > before:
            refreshed.append(second)
        if second % 600 == 0:
            await house.restart()
        house.clock.pass_(30)
    assert refreshed == [0, 30, 90, 210, 450, 930, 1890, 3810, 7410]


async def test_a_clock_that_goes_back_neither_holds_a_cool_down_nor_makes_a_storm(oauth_house: HouseMaker) -> None:
    house = await oauth_house()
    house.simulator.faults.add(Fault(path=FORBIDDEN, status=401))
    await house.get(FORBIDDEN)
    for _ in range(5):
        house.clock.step(-DAY)
        before = len(house.simulator.token_calls())
        for _ in range(20):
            assert (await house.get(FORBIDDEN)).status == 401
        assert len(house.simulator.token_calls()) <= before + 1
    house.simulator.revoke_access_tokens()
    house.clock.pass_(6)  # a probe's result holds for five seconds
    await well(house)


# The alarms


def alarms(house: House) -> list[str]:
    """Return how loudly the end of a token was announced, each time."""
    return [line.split()[0] for line in house.ear.lines if ALARM in line and not line.startswith("DEBUG")]


async def test_the_end_of_a_token_is_announced_a_month_a_week_and_a_day_ahead(oauth_house: HouseMaker) -> None:
    """Each once, each louder, and none before a refresh that was due has failed."""
    house = await oauth_house(refresh_before="60d")
    await house.look()
    house.simulator.faults.add(Fault(path=TOKENS, status=503))
    announced = {}
    for half in range(1, 2 * 365):
        house.clock.pass_(DAY / 2)
        known = len(alarms(house))
        await house.look()
        await house.look()
        if new := alarms(house)[known:]:
            announced[half / 2] = new
    assert announced == {335.0: ["WARNING"], 358.0: ["ERROR"], 364.0: ["CRITICAL"]}
    assert house.ear.heard("CRITICAL", "expires in 24 hours", "status 503")
    house.simulator.faults.clear()
    house.clock.pass_(60)
    await house.look()
    house.clock.pass_(DAY)
    await house.look()
    assert len(alarms(house)) == 3


async def test_an_old_trouble_is_no_alarm_when_a_refresh_becomes_due(oauth_house: HouseMaker) -> None:
    """A stray 401 met an outage long ago; the refresh that is due now goes through."""
    house = await oauth_house()
    await well(house)
    house.simulator.faults.add(Fault(path="/public/**", status=401, times=1))
    house.simulator.faults.add(Fault(path=TOKENS, status=503, times=1))
    assert (await house.get()).status == 401
    await well(house)
    house.clock.pass_(LIFE - DAY / 2)
    await house.look()
    assert len(house.simulator.token_calls()) == 3
    assert not alarms(house)


async def test_a_dead_grant_is_announced_too(oauth_house: HouseMaker) -> None:
    house = await oauth_house(refresh_before="60d")
    await house.look()
    house.simulator.faults.add(Fault(path=TOKENS, status=400))
    for _ in range(365):
        house.clock.pass_(DAY)
        await house.look()
    assert alarms(house) == ["WARNING", "ERROR", "CRITICAL"]
    assert house.ear.heard("CRITICAL", ALARM, "Run `pandadoc-proxy login`")
