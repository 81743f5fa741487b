"""The laws of the credential, each by its sentence, through the whole proxy and a real simulator."""

import asyncio

from conftest import HouseMaker

from proxy.simulator import Fault


async def test_the_very_first_request_costs_one_refresh_and_a_wait(oauth_house: HouseMaker) -> None:
    """Nothing is stored and nothing was asked for before: a cold start must just work."""
    house = await oauth_house()
    assert (await house.get()).status == 200
    assert len(house.simulator.token_calls()) == 1


async def test_the_very_first_token_refused_is_replaced_at_once_and_the_request_replayed(
    oauth_house: HouseMaker,
) -> None:
    """However young the token: nobody may be told to come back in thirty seconds (law 3)."""
    house = await oauth_house()
    house.simulator.faults.add(Fault(path="/public/**", status=401, times=1))
    assert (await house.get()).status == 200
    assert len(house.simulator.token_calls()) == 2
    assert [call.status for call in house.simulator.api_calls()] == [401, 200]


async def test_a_thousand_requests_at_the_moment_of_expiry_cost_one_refresh(oauth_house: HouseMaker) -> None:
    """At most one refresh is in flight per credential, whatever the number of callers (law 1)."""
    house = await oauth_house(simulator={"expires_in": 3600})
    await house.get()
    house.clock.pass_(3601)
    seen = await house.many(1000)
    assert [answer.status for answer in seen] == [200] * 1000
    assert len(house.simulator.token_calls()) == 2


async def test_an_upstream_that_says_401_to_everything_costs_three_refreshes_at_most(oauth_house: HouseMaker) -> None:
    """A 401 storm must not become a refresh storm (law 3), and every 401 is the upstream's (law 14)."""
    house = await oauth_house()
    house.simulator.faults.add(Fault(path="/public/**", status=401))
    for _ in range(10):
        seen = await house.many(100)
        assert {answer.status for answer in seen} == {401}
        assert not any("Proxy-Status" in answer.headers for answer in seen)
    assert len(house.simulator.token_calls()) <= 3
    house.simulator.faults.clear()
    assert (await house.get()).status == 200
    house.simulator.revoke_access_tokens()
    house.clock.pass_(5)
    assert (await house.get()).status == 200
    await asyncio.sleep(0)
