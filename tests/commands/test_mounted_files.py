"""Files that Kubernetes swaps while a process runs: a ConfigMap and a Secret are taken whole, or not at all."""

import signal

import pytest
import yaml
from aiohttp import ClientSession
from commands.process import MEMBER, Machine, Process, status_of
from mounted import MountedFolder


@pytest.fixture
def mounted(machine: Machine) -> MountedFolder:
    """Mount a configuration with a grant, and the secret that it names."""
    folder = MountedFolder(machine.home / "mounted")
    machine.secrets |= {machine.simulator.client_secret, seed := machine.simulator.issue_refresh_token()}
    oauth2 = {"client_id": machine.simulator.client_id, "client_secret": {"file": "./secret"}, "refresh_token": seed}
    config = yaml.safe_dump({"credentials": {"default": {"oauth2": oauth2}}})
    folder.put(config=config.encode(), secret=machine.simulator.client_secret.encode())
    return folder


def changed(folder: MountedFolder, **more: object) -> bytes:
    """Return the mounted configuration with other settings."""
    return yaml.safe_dump({**yaml.safe_load((folder.path / "config").read_bytes()), **more}).encode()


async def serving(machine: Machine, folder: MountedFolder) -> Process:
    return await machine.start("run", "--config", str(folder.path / "config"), env=machine.serving())


DENYING = {"rules": [{"deny": "/public/v1/members/**"}]}


async def test_a_swapped_configuration_is_taken_and_the_grant_goes_on(
    machine: Machine, app: ClientSession, mounted: MountedFolder
) -> None:
    process = await serving(machine, mounted)
    url = await process.url()
    assert await status_of(app, url + MEMBER) == 200
    mounted.put(config=changed(mounted, policy=DENYING))
    await process.said("the configuration is reloaded")
    assert await status_of(app, url + MEMBER) == 403
    assert len(machine.simulator.token_calls()) == 1
    process.signal(signal.SIGTERM)
    assert await process.ended() == 0


async def test_a_swapped_configuration_that_is_bad_is_not_taken_in_any_part(
    machine: Machine, app: ClientSession, mounted: MountedFolder
) -> None:
    """The policy in it is sound, and still it does not count; nor is it remembered when the fault is mended."""
    process = await serving(machine, mounted)
    url = await process.url()
    assert await status_of(app, url + MEMBER) == 200
    good = (mounted.path / "config").read_bytes()
    mounted.put(config=changed(mounted, policy=DENYING, upstrem={}))
    await process.said("not taken", "upstrem: unknown key")
    assert await status_of(app, url + MEMBER) == 200
    mounted.put(config=good)
    process.signal(signal.SIGHUP)
    await process.said("the configuration is what it was")
    assert await status_of(app, url + MEMBER) == 200
    assert len(machine.simulator.token_calls()) == 1


async def test_a_swapped_secret_is_what_the_next_refresh_is_made_with(
    machine: Machine, app: ClientSession, mounted: MountedFolder
) -> None:
    """A wrong one makes the refresh fail; once the right one is mounted, a dead credential heals by itself."""
    mounted.put(secret=b"a wrong secret, mounted by mistake")
    process = await serving(machine, mounted)
    url = await process.url()
    assert await status_of(app, url + MEMBER) == 503
    mounted.put(secret=machine.simulator.client_secret.encode())
    await process.said("refreshed because", "generation 1")
    assert await status_of(app, url + MEMBER) == 200
