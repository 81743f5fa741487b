"""What pods, images and entrypoints ask: probes on the admin port, health on the listener, `healthcheck`."""

import socket
import time

import pytest
from aiohttp import ClientSession
from commands.process import Machine, status_of

from proxy.config import Listener, Ports, TcpBind
from proxy.healthcheck import TIMEOUT, Unhealthy, wait
from proxy.simulator import Fault

HEALTH = "PANDADOC_PROXY__LISTENERS__0__HEALTH"
BIND = "PANDADOC_PROXY__LISTENERS__0__BIND"
ADMIN = "PANDADOC_PROXY__ADMIN"
ADMIN_BIND = "PANDADOC_PROXY__ADMIN__BIND"


def address(url: str) -> str:
    return url.removeprefix("http://")


async def test_a_started_proxy_says_so_on_every_probe_and_to_healthcheck(machine: Machine, app: ClientSession) -> None:
    """None of them asks PandaDoc, which is down here: an outage elsewhere must not take the pod down."""
    machine.simulator.faults.add(Fault(status=503))
    env = machine.with_api_key()
    process = await machine.start(env=env)
    url, admin = await process.url(), await process.admin_url()
    for probe in (f"{admin}/livez", f"{admin}/startupz", f"{admin}/readyz", f"{url}/healthz"):
        assert await status_of(app, probe) == 200, probe
    ended = await machine.run("healthcheck", env=env | {BIND: address(url), ADMIN_BIND: address(admin)})
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert machine.simulator.journal == []


async def test_healthcheck_without_an_admin_port_asks_the_listener(machine: Machine, app: ClientSession) -> None:
    """The smallest sidecar has one port."""
    env = machine.with_api_key() | {ADMIN: "null"}
    del env[ADMIN_BIND]
    process = await machine.start(env=env)
    url = await process.url()
    assert await status_of(app, f"{url}/healthz") == 200
    assert (await machine.run("healthcheck", env=env | {BIND: address(url)})).code == 0
    assert not [line for line in process.err if "answers probes" in line]


async def test_healthcheck_asks_the_admin_port_where_the_listener_forwards_its_health_path(
    machine: Machine, app: ClientSession
) -> None:
    """`health: null` leaves every path to PandaDoc."""
    env = machine.with_api_key() | {HEALTH: "null"}
    process = await machine.start(env=env)
    url, admin = await process.url(), await process.admin_url()
    assert await status_of(app, f"{url}/healthz") == 404
    assert [call.path for call in machine.simulator.api_calls()] == ["/healthz"]
    assert (await machine.run("healthcheck", env=env | {BIND: address(url), ADMIN_BIND: address(admin)})).code == 0


async def test_healthcheck_is_1_where_nobody_listens(machine: Machine) -> None:
    """The port is bound, so that nobody else can take it, but not listened at."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        env = machine.with_api_key() | {BIND: f"127.0.0.1:{nobody.getsockname()[1]}"}
        ended = await machine.run("healthcheck", env=env)
    assert (ended.code, ended.out) == (1, "")
    (line,) = ended.err.splitlines()
    assert line.startswith("unhealthy: ")


async def test_a_bad_edit_leaves_a_proxy_that_serves_on_healthy(machine: Machine) -> None:
    """Whatever restarts an unhealthy container would end one that serves, and start one that can't."""
    config, env = machine.home / "config.yaml", machine.with_api_key()
    config.write_text("{}")
    process = await machine.start("run", "--config", str(config), env=env)
    env |= {BIND: address(await process.url()), ADMIN_BIND: address(await process.admin_url())}
    config.write_text(
        "log: {levle: info}\nlimits: 7\nlimits: {}\nlisteners: [{cookies: eat}]\nadmin: {quit: perhaps}\n"
    )
    await process.said("not taken", "log.levle: unknown key")
    ended = await machine.run("healthcheck", "--config", str(config), env=env)
    assert (ended.code, ended.out, ended.err) == (0, "", "")


async def test_an_app_without_a_credential_may_ask_and_wait(machine: Machine) -> None:
    """Its entrypoint has the configuration, and none of the secrets that it names."""
    config, env = machine.home / "config.yaml", machine.serving()
    config.write_text(
        "credentials: {default: {api_key: {env: PANDADOC_API_KEY}}}\nupstream: {ca_file: /not/here.pem}\n"
    )
    process = await machine.start(env=machine.with_api_key())
    env |= {BIND: address(await process.url()), ADMIN_BIND: address(await process.admin_url())}
    for command in ("healthcheck", "wait"):
        assert (await machine.run(command, env=env)).code == 0
        assert (await machine.run(command, "--config", str(config), env=env)).code == 0


async def test_healthcheck_is_2_where_the_configuration_does_not_tell_whom_to_ask(machine: Machine) -> None:
    """It is the configuration that must be mended, not the process."""
    ended = await machine.run("healthcheck", env={BIND: "127.0.0.1:http"})
    assert ended.code == 2
    assert ended.err.startswith(f"{BIND}: listeners.0.bind: ")
    assert (await machine.run("wait", "--config", "/not/here.yaml")).code == 2


async def test_wait_ends_when_the_proxy_takes_requests(machine: Machine, unused_tcp_port: int) -> None:
    """The app's entrypoint may well be earlier than the proxy."""
    env = machine.with_api_key() | {BIND: f"127.0.0.1:{unused_tcp_port}"}
    waiting = await machine.start("wait", "--timeout", "20s", env=env)
    process = await machine.start(env=env)
    assert await waiting.ended() == 0
    assert (waiting.out, waiting.err) == ([], [])
    await process.url()


def test_who_waits_is_told_in_time_where_somebody_says_nothing() -> None:
    """As a process does that has stopped, whose kernel takes connections all the same."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ports = Ports(listeners=(Listener(bind=TcpBind("127.0.0.1", silent.getsockname()[1])),))
        began = time.monotonic()
        with pytest.raises(Unhealthy, match="timed out"):
            wait(ports, 0.3)
        assert time.monotonic() - began < TIMEOUT


def test_nobody_waits_where_there_is_nobody_to_be_asked() -> None:
    """No time changes that: the configuration is not read again."""
    listener = Listener(bind=TcpBind("127.0.0.1", 8080), health=None)
    with pytest.raises(Unhealthy, match=r"^there is nothing to ask"):
        wait(Ports(listeners=(listener,), admin=None), 3600)


async def test_wait_ends_in_time_where_nobody_comes(machine: Machine, unused_tcp_port: int) -> None:
    env = machine.with_api_key() | {BIND: f"127.0.0.1:{unused_tcp_port}"}
    ended = await machine.run("wait", "--timeout", "300ms", env=env)
    assert ended.code == 1
    assert ended.err.startswith("not ready after 0.3 s: ")
    assert (await machine.run("wait", "--timeout", "soon", env=env)).code == 2
