"""The image, built from the Dockerfile here and run as deploy/README.md says. Needs root and Debian's packages.

Its base is a stand-in (stand_in.py); what differs from the README's lines stands in docker_runs.py.
"""

import asyncio
import os
import re
import shlex
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import yaml
from aiohttp import ClientSession
from commands.process import MEMBER, ROOT, Machine, poll, status_of
from deploy.pod import template
from deploy.readme import commands
from rig import until
from torture.containers import Engine
from torture.docker_runs import NAME, Docker, Running

from proxy import __version__
from proxy.simulator import Fault

pytestmark = pytest.mark.timeout(600)  # the first test waits for the build

API_KEY, OAUTH = commands("docker run")
KUBERNETES: Final = ROOT / "deploy" / "kubernetes"
BARE: Final = shlex.split(f"docker run --rm --name {NAME} --read-only --cap-drop ALL --security-opt no-new-privileges")
IMAGE: Final = f"pandadoc-proxy:{__version__}"
USER: Final = 65532
STATE: Final = "/var/lib/pandadoc-proxy"
LAYERS: Final = 52 * 10**6
"""Bytes that may stand above the base."""

CREATES: Final = """
import os
for folder, below, _ in os.walk("/"):
    if folder == "/":
        below[:] = set(below) - {"dev", "proc", "sys"}  # the kernel's own; /dev/shm is any container's
    path = os.path.join(folder, "created")
    try:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    except OSError:
        continue
    os.unlink(path)
    print(folder)
"""
"""Tells each folder in which its user can make a file."""


FROM_SOURCE: Final = re.compile(r"^# code object from (\S+\.py)$", re.MULTILINE)
"""What Python says of a module that it compiles, when told to be verbose."""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Build the image, once; nothing is left of it afterwards."""
    engine = Engine(tmp_path_factory.mktemp("containers"))
    try:
        engine.build()
        yield engine
    finally:
        engine.end()


@pytest.fixture
def docker(engine: Engine, machine: Machine) -> Iterator[Docker]:
    yield Docker(engine, machine)
    engine.podman("rm", "--force", "--all")
    engine.podman("volume", "prune", "--force")


def api_key(machine: Machine) -> dict[str, str]:
    return {"PANDADOC_API_KEY": machine.simulator.issue_api_key()}


def grant(machine: Machine) -> dict[str, str]:
    return {
        "PANDADOC_CLIENT_ID": machine.simulator.client_id,
        "PANDADOC_CLIENT_SECRET": machine.simulator.client_secret,
        "PANDADOC_REFRESH_TOKEN": machine.simulator.issue_refresh_token(),
    }


async def writable_folders(docker: Docker) -> list[str]:
    told = await docker.podman("exec", NAME, "python", "-c", CREATES)
    assert told.code == 0, told.err
    return told.out.splitlines()


def test_the_image_says_what_it_is_and_keeps_its_health_check(engine: Engine) -> None:
    (image,) = engine.tell("image", "inspect", IMAGE)
    said = {name.removeprefix("org.opencontainers.image."): text for name, text in image["Labels"].items()}
    assert (said["title"], said["version"], said["revision"]) == (NAME, __version__, "checked")
    assert said["base.name"].startswith("python:3.")
    config: dict[str, Any] = image["Config"]
    assert (config["User"], config["StopSignal"]) == (f"{USER}:{USER}", "SIGTERM")
    assert (config["Entrypoint"], config["Cmd"]) == (["pandadoc-proxy"], ["run"])
    assert image["Healthcheck"]["Test"] == ["CMD", "pandadoc-proxy", "healthcheck"]


def test_our_layers_are_small(engine: Engine) -> None:
    layers = engine.tell("history", "--format", "json", IMAGE)
    base_first = [layer for layer in reversed(layers) if layer["size"]]
    ours = [(layer["size"], layer["CreatedBy"][:60]) for layer in base_first[1:]]
    print("\n".join(f"{size / 10**6:6.2f} MB  {made}" for size, made in ours))  # noqa: T201 - `make image-check` shows it
    assert 0 < sum(size for size, _ in ours) < LAYERS


async def test_the_api_key_line_lends_to_this_machine_and_to_no_other(
    docker: Docker, machine: Machine, app: ClientSession
) -> None:
    env = api_key(machine)
    async with docker.run(API_KEY, env) as running:
        assert await status_of(app, running.url + MEMBER) == 200
        assert [call.authorization for call in machine.simulator.api_calls()] == [
            (f"API-Key {env['PANDADOC_API_KEY']}",)
        ]
        with pytest.raises(aiohttp.ClientConnectorError):
            await status_of(app, running.url.replace("127.0.0.1", "127.0.0.2"))
        assert await running.stop() == 0


async def test_it_runs_as_a_number_without_any_capability(docker: Docker, machine: Machine) -> None:
    async with docker.run(API_KEY, api_key(machine)) as running:
        assert running.kernel_says("Uid") == running.kernel_says("Gid") == " ".join([str(USER)] * 4)
        sets = {running.kernel_says(f"Cap{each}") for each in ("Inh", "Prm", "Eff", "Bnd", "Amb")}
        assert sets == {"0" * 16}
        assert running.kernel_says("NoNewPrivs") == "1"
        assert running.kernel_says("Seccomp") == "2"  # a filter, the runtime's default


async def test_it_can_write_nowhere_but_on_its_volume(docker: Docker, machine: Machine) -> None:
    async with docker.run(API_KEY, api_key(machine)) as running:
        assert await writable_folders(docker) == []
        assert await running.stop() == 0
    async with docker.run(OAUTH, grant(machine)):
        assert await writable_folders(docker) == [STATE]


@pytest.mark.parametrize("options", [(), ("-e", "PANDADOC_PROXY__ADMIN=null")], ids=["as it is", "without admin"])
async def test_the_health_check_tells_a_proxy_that_answers_from_one_that_does_not(
    docker: Docker, machine: Machine, options: tuple[str, ...]
) -> None:
    async with docker.run(API_KEY, api_key(machine), *options) as running:
        assert (await docker.podman("healthcheck", "run", NAME)).code == 0
        assert (await docker.podman("exec", NAME, "pandadoc-proxy", "healthcheck")).code == 0
        os.kill(running.pid, signal.SIGSTOP)
        assert (await docker.podman("exec", NAME, "pandadoc-proxy", "healthcheck")).code == 1
        os.kill(running.pid, signal.SIGCONT)
        assert (await docker.podman("exec", NAME, "pandadoc-proxy", "healthcheck")).code == 0


async def test_nothing_is_compiled_at_a_start_or_by_a_health_check(docker: Docker, machine: Machine) -> None:
    """It could not be kept: on a read-only root file system each start would do it anew, and each health check."""
    verbose = ("-e", "PYTHONVERBOSE=1")
    async with docker.run(API_KEY, api_key(machine), *verbose) as running:
        checked = await docker.podman("exec", *verbose, NAME, "pandadoc-proxy", "healthcheck")
        assert checked.code == 0
        assert await running.stop() == 0
        started = "\n".join(running.process.err)
    for said in (started, checked.err):
        assert "# code object from '/opt/pandadoc-proxy/" in said
        assert FROM_SOURCE.findall(said) == []


async def test_docker_stop_drains(docker: Docker, machine: Machine, app: ClientSession) -> None:
    """A request that PandaDoc has not answered yet is answered before the container ends, with exit code 0."""
    gate = asyncio.Event()
    machine.simulator.faults.add(Fault(path=MEMBER, gate=gate))
    async with docker.run(API_KEY, api_key(machine)) as running:
        request = asyncio.create_task(status_of(app, running.url + MEMBER))
        await until(lambda: bool(machine.simulator.api_calls()))
        stopped = asyncio.create_task(running.stop())
        await running.process.said("draining: 1 requests in flight")
        assert not request.done()
        assert not stopped.done()
        gate.set()
        assert await request == 200
        assert await stopped == 0
        await running.process.said("drained")


async def test_as_the_manifests_have_it_the_probes_are_answered_at_the_pods_address_and_nothing_else_is(
    docker: Docker, machine: Machine, app: ClientSession, tmp_path: Path
) -> None:
    """The component's mounts, variables, probes and memory limit with the base's configuration, in the image."""
    spec = template(yaml.safe_load((KUBERNETES / "component" / "sidecar.yaml").read_text()))["spec"]
    (sidecar,) = spec["initContainers"]
    key = machine.simulator.issue_api_key()
    machine.secrets.add(key)
    config, secret = (mount["mountPath"] for mount in sidecar["volumeMounts"])
    files = {config: ("config.yaml", (KUBERNETES / "base" / "config.yaml").read_text()), secret: ("api-key", key)}
    line = [*BARE, f"--memory={sidecar['resources']['limits']['memory'].removesuffix('i').lower()}"]
    for number, (place, (name, text)) in enumerate(files.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / name).write_text(text)
        line += ["-v", f"{folder}:{place}:ro"]
    line += [word for variable in sidecar["env"] for word in ("-e", f"{variable['name']}={variable['value']}")]
    ports = {port["name"]: port["containerPort"] for port in sidecar["ports"]}
    async with docker.run([*line, IMAGE], {}):
        (told,) = docker.engine.tell("inspect", NAME)
        address = told["NetworkSettings"]["IPAddress"]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            asked = sidecar[probe]["httpGet"]
            assert await status_of(app, f"http://{address}:{ports[asked['port']]}{asked['path']}") == 200
        with pytest.raises(aiohttp.ClientConnectorError):
            await status_of(app, f"http://{address}:8080{MEMBER}")
        asks = f"import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:8080{MEMBER}').status)"
        assert (await docker.podman("exec", NAME, "python", "-c", asks)).out == "200"


async def test_a_grant_on_the_volume_outlives_its_container(
    docker: Docker, machine: Machine, app: ClientSession
) -> None:
    """The seed was redeemed, so it is dead; the next container knows its successor, also when the first was killed."""
    env = grant(machine)
    async with docker.run(OAUTH, env) as running:
        await poll(lambda: _lends(app, running))
        await docker.podman("kill", NAME)
        await running.process.ended()
    assert len(machine.simulator.token_calls()) == 1
    (volume,) = docker.engine.tell("volume", "inspect", "pandadoc-grant")
    (record,) = Path(volume["Mountpoint"]).glob("grant-*.json")
    assert (record.stat().st_uid, record.stat().st_mode & 0o777) == (USER, 0o600)
    machine.simulator.expire_access_tokens()
    async with docker.run(OAUTH, env) as running:
        await poll(lambda: _lends(app, running))
        assert await running.stop() == 0
    assert [call.status for call in machine.simulator.token_calls()] == [200, 200]


async def test_a_folder_that_belongs_to_its_group_alone_will_do_for_the_grant(
    docker: Docker, machine: Machine, app: ClientSession, tmp_path: Path
) -> None:
    """Kubernetes gives a volume to root and to the pod's fsGroup (examples/oauth)."""
    folder = tmp_path / "volume"
    folder.mkdir()
    os.chown(folder, 0, USER)
    folder.chmod(0o2775)
    line = [word.replace("pandadoc-grant:", f"{folder}:") for word in OAUTH]
    async with docker.run(line, grant(machine)) as running:
        await poll(lambda: _lends(app, running))
        assert await running.stop() == 0
        assert [line for line in running.process.err if '"level":"error"' in line] == []
    (record,) = folder.glob("grant-*.json")
    assert (record.stat().st_uid, record.stat().st_mode & 0o777) == (USER, 0o600)


async def _lends(app: ClientSession, running: Running) -> bool:
    with suppress(aiohttp.ClientError):
        return await status_of(app, running.url + MEMBER) == 200
    return False


async def test_check_behind_the_images_name_tells_what_would_happen(docker: Docker, machine: Machine) -> None:
    told = await docker.podman(*API_KEY[1:], "check", env=api_key(machine))
    assert told.code == 0, told.err
    assert "0.0.0.0:8080" in told.out
