"""What depends on the configuration that a sidecar mounts. The program itself loads it, from a folder it is laid in."""

import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from deploy.fleet import shared
from deploy.pod import Document, Pod

from proxy.config import BadConfig, Config, KubernetesStore, OAuth2Credential, TcpBind, load
from proxy.config.sections import FileStore
from proxy.config.units import size

BASE_URL: Final = "PANDADOC_BASE_URL"
"""The variable by which an app in our examples learns where its PandaDoc is."""

PROBES: Final = {"startupProbe": "/startupz", "readinessProbe": "/readyz", "livenessProbe": "/livez"}
ANY_ADDRESS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound

REDEEM: Final = 60.0
"""Seconds, redeem_timeout's default: a pod that changes to OAuth need not change its grace."""

OWN_MEMORY: Final = 64 * 2**20
"""Bytes besides kept bodies: the process takes 50 MiB at rest."""


def configured(pod: Pod, sidecar: Document) -> Iterator[str]:
    """Load the configuration as the sidecar would, and judge what depends on it."""
    with TemporaryDirectory() as folder:
        try:
            config = _loaded(pod, sidecar, Path(folder))
        except BadConfig as bad:
            yield f"the configuration is refused: {bad}".replace(folder, "")
            return
        grants = [each for each in config.credentials.values() if isinstance(each, OAuth2Credential)]
    yield from (f"the configuration has a warning: {warning}".replace(folder, "") for warning in config.warnings)
    yield from _probes(sidecar, config)
    yield from _app(pod, config)
    yield from _ports(pod, config)
    yield from _grace(pod, config)
    yield from _memory(sidecar, config)
    fleets = [each.store for each in grants if isinstance(each.store, KubernetesStore)]
    for store in fleets:
        yield from shared(pod, sidecar, store)
    yield from _grants(pod, sidecar, [_store(each, folder) for each in grants if each.store not in fleets])


def _loaded(pod: Pod, sidecar: Document, root: Path) -> Config:
    """Lay out what the sidecar mounts below `root`, and load from there. Raises BadConfig."""
    mounts = {mount["mountPath"]: pod.content(mount["name"]) for mount in sidecar.get("volumeMounts", ())}
    moved = re.compile("|".join(map(re.escape, sorted(mounts, reverse=True))) or "(?!)")

    def below_root(text: str) -> str:
        return moved.sub(lambda path: f"{root}{path[0]}", text)

    for path, files in mounts.items():
        below = Path(f"{root}{path}")
        below.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (below / name).write_text(below_root(text))
    environ = {name: below_root(value) for name, value in pod.environ(sidecar)}
    return load(environ=environ, search=[Path(f"{root}/etc/pandadoc-proxy/config.yaml")])


def _store(credential: OAuth2Credential, folder: str) -> str:
    """Return where a grant is kept, in the container; empty if its file is not named."""
    path = credential.store.path if isinstance(credential.store, FileStore) else None
    return str(path or "").replace(folder, "")


def _probes(sidecar: Document, config: Config) -> Iterator[str]:
    bind = config.admin.bind if config.admin else None
    if not isinstance(bind, TcpBind) or bind.host not in ANY_ADDRESS:
        yield "the admin port is not bound where the kubelet asks, at the pod's IP"
        return
    ports = {port.get("name"): port["containerPort"] for port in sidecar.get("ports", ())}
    for probe, path in PROBES.items():
        asked = sidecar.get(probe, {}).get("httpGet", {})
        port = ports.get(asked.get("port"), asked.get("port"))
        if (asked.get("path"), port, asked.get("host")) != (path, bind.port, None):
            yield f"the {probe} does not ask for {path} at port {bind.port}"


def _app(pod: Pod, config: Config) -> Iterator[str]:
    binds = [listener.bind for listener in config.listeners]
    if not all(isinstance(bind, TcpBind) and bind.is_loopback for bind in binds):
        yield "a listener is open to other pods"
    apps = [dict(pod.environ(each)) for each in pod.spec["containers"]]
    urls = {environ[BASE_URL] for environ in apps if BASE_URL in environ}
    if not urls:
        yield f"no app is given {BASE_URL}"
    yield from (f"nobody listens at {url}" for url in sorted(urls - {f"http://{bind}" for bind in binds}))


def _ports(pod: Pod, config: Config) -> Iterator[str]:
    """Containers of a pod share its network: a port is bound by one of them."""
    binds = [listener.bind for listener in config.listeners] + ([config.admin.bind] if config.admin else [])
    ours = {bind.port for bind in binds if isinstance(bind, TcpBind)}
    for container in pod.spec["containers"]:
        taken = {port["containerPort"] for port in container.get("ports", ())} & ours
        yield from (f"{container['name']} takes port {port}, which the sidecar binds" for port in sorted(taken))


def _grace(pod: Pod, config: Config) -> Iterator[str]:
    grants = [each for each in config.credentials.values() if isinstance(each, OAuth2Credential)]
    redeem = max((grant.redeem_timeout for grant in grants), default=REDEEM)
    needed = config.shutdown.grace + config.shutdown.drain + redeem
    if pod.spec.get("terminationGracePeriodSeconds", 30) <= needed:
        yield f"terminationGracePeriodSeconds does not outlast the {needed:g} s that the sidecar may need"


def _memory(sidecar: Document, config: Config) -> Iterator[str]:
    limit = sidecar.get("resources", {}).get("limits", {}).get("memory")
    if limit is None or size(f"{limit}B") < config.replay.max_total + OWN_MEMORY:
        yield "the memory limit does not hold the bodies that may be kept (replay.max_total)"


def _grants(pod: Pod, sidecar: Document, stores: list[str]) -> Iterator[str]:
    """Judge where grants are kept, and that one pod alone holds them."""
    for store in stores:
        above = [each for each in sidecar.get("volumeMounts", ()) if store.startswith(f"{each['mountPath']}/")]
        mount: Document = above[0] if above else {}
        if "persistentVolumeClaim" not in pod.volumes.get(mount.get("name", ""), {}):
            yield f"the grant's store {store or '(the default)'} is on no persistent volume"
        elif mount.get("readOnly"):
            yield "the grant's volume is mounted read-only"
        elif pod.spec.get("securityContext", {}).get("fsGroup") != sidecar["securityContext"].get("runAsGroup"):
            yield "the grant's volume does not belong to the sidecar's group: fsGroup is not its runAsGroup"
    if stores and pod.kind == "Deployment":
        if pod.workload["spec"].get("replicas", 1) > 1:
            yield "a grant is held by more than one replica"
        if pod.workload["spec"].get("strategy", {}).get("type") != "Recreate":
            yield "the strategy is not Recreate: a second holder of the grant starts before the first has gone"
