"""The proxy as a process of its own before a simulator that enforces PandaDoc's window, in seconds for minutes."""

import asyncio
from pathlib import Path
from typing import Any, Final

import yaml
from aiohttp import ClientSession
from commands.demand import LIST, Demand, Watch
from commands.process import Machine, status_of

SETTING: Final = "PANDADOC_PROXY__RATE_BUDGET"
PEOPLE, ROBOTS = "people-0123456789abcdef", "robots-0123456789abcdef"


async def test_an_app_with_a_sandbox_key_that_polls_too_often_meets_no_429(
    machine: Machine, app: ClientSession
) -> None:
    """Ten in two seconds for everything, and a question every twentieth of one: four times too many."""
    machine.simulator.rate_limits, machine.simulator.rate_window = {"all": 10}, 2.0
    env = machine.with_api_key() | {SETTING: "sandbox", f"{SETTING}__SANDBOX": "10/2s"}
    process = await machine.start(env=env)
    url = await process.url()
    statuses = []
    for _ in range(25):
        statuses.append(await status_of(app, url + LIST))
        await asyncio.sleep(0.05)  # as apps do
    assert set(statuses) == {200}
    assert {call.status for call in machine.simulator.api_calls()} == {200}


async def test_demand_beyond_the_rate_meets_no_429_and_loses_little_of_it(machine: Machine) -> None:
    machine.simulator.rate_limits, machine.simulator.rate_window = {"list": 90}, 3.0
    env = machine.with_api_key() | {SETTING: "auto", f"{SETTING}__RATES__LIST": "90/3s"}
    process = await machine.start(env=env)
    demand, watch = Demand([await process.url()]), Watch(machine.simulator)
    await demand.begin(20)
    await watch.until_granted(90 * 3, 30)
    await demand.end()
    assert set(demand.statuses) == {200}
    assert watch.refused == 0
    assert watch.throughput(90) >= 0.95 * 30


async def test_batch_clients_leave_the_rate_to_interactive_ones(machine: Machine, tmp_path: Path) -> None:
    """As long as more people wait than there are slots, no robot is served."""
    machine.simulator.rate_limits, machine.simulator.rate_window = {"list": 10}, 1.0
    settings: dict[str, Any] = {
        "listeners": [
            {
                "bind": "127.0.0.1:0",
                "clients": {
                    "people": {"key": {"env": "PEOPLE"}},
                    "robots": {"key": {"env": "ROBOTS"}, "priority": "batch"},
                },
            }
        ],
        "rate_budget": {"numbers": "auto", "rates": {"list": "10/1s"}},
    }
    (tmp_path / "cwd" / "config.yaml").write_text(yaml.safe_dump(settings))
    env = {name: value for name, value in machine.with_api_key().items() if "LISTENERS" not in name}
    process = await machine.start(env=env | {"PEOPLE": PEOPLE, "ROBOTS": ROBOTS})
    machine.secrets |= {PEOPLE, ROBOTS}
    url = await process.url()
    robots, people, watch = Demand([url]), Demand([url]), Watch(machine.simulator)
    await robots.begin(40, client=ROBOTS, path=f"{LIST}?robots")
    await watch.until_granted(20, 20)
    machine.simulator.journal.clear()
    await people.begin(20, client=PEOPLE, path=f"{LIST}?people")
    await Watch(machine.simulator).until_granted(40, 20)
    served = [call.target.rpartition("?")[2] for call in machine.simulator.api_calls()]
    await robots.end()
    await people.end()
    assert served.count("people") >= 36, "but for what was on its way when people came"
    assert set(people.statuses) == {200}
    assert {call.status for call in machine.simulator.api_calls()} <= {200, 0}
