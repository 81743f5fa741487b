"""What must hold of a manifest with our sidecar, and no schema sees: `faults` tells everything that does not.

It works on loaded documents, wherever they came from. The configuration is judged by the program itself: what the
sidecar mounts is laid out in a folder and loaded from there. Never here: what Kubernetes' own schemas say.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Self, TypeAlias

from proxy.config import BadConfig, Config, OAuth2Credential, TcpBind, load
from proxy.config.units import size

Document: TypeAlias = Mapping[str, Any]

SIDECAR: Final = "pandadoc-proxy"
BASE_URL: Final = "PANDADOC_BASE_URL"
"""The variable by which an app in our examples learns where its PandaDoc is."""

PROBES: Final = {"startupProbe": "/startupz", "readinessProbe": "/readyz", "livenessProbe": "/livez"}
ANY_ADDRESS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound
SHARED_WITH_THE_NODE: Final = ("hostNetwork", "hostPID", "hostIPC")

REDEEM: Final = 60.0
"""Seconds, redeem_timeout's default: a pod that changes to OAuth need not change its grace."""

OWN_MEMORY: Final = 64 * 2**20
"""Bytes besides kept bodies: the process takes 43 MiB at rest."""

RESTRICTED_VOLUMES: Final = frozenset(
    {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
)
"""https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted."""


@dataclass(frozen=True)
class Pod:
    """A pod as one workload among the documents describes it."""

    spec: Document
    named: Mapping[tuple[str, str], Document]  # every document, by kind and name

    @classmethod
    def of(cls, documents: Sequence[Document], workload: Document) -> Self:
        named = {(each["kind"], each["metadata"]["name"]): each for each in documents}
        return cls(workload["spec"]["template"]["spec"], named)

    @property
    def init_containers(self) -> list[Document]:
        return list(self.spec.get("initContainers", ()))

    @property
    def containers(self) -> list[Document]:
        return [*self.init_containers, *self.spec["containers"]]

    @property
    def sidecar(self) -> Document | None:
        return next((each for each in self.containers if each["name"] == SIDECAR), None)

    def content(self, volume: str) -> Mapping[str, str]:
        """Return the files of a volume that a ConfigMap or Secret among the documents fills."""
        volumes = {each["name"]: each for each in self.spec.get("volumes", ())}
        source = volumes.get(volume, {})
        if "secret" in source:
            return self.data("Secret", source["secret"]["secretName"])
        return self.data("ConfigMap", source.get("configMap", {}).get("name", ""))

    def data(self, kind: str, name: str) -> Mapping[str, str]:
        field = "stringData" if kind == "Secret" else "data"
        return dict(self.named.get((kind, name), {}).get(field, {}))


def faults(documents: Sequence[Document]) -> list[str]:
    """Tell everything that is wrong with the one workload among the documents."""
    (workload,) = (each for each in documents if "template" in each.get("spec", {}))
    pod = Pod.of(documents, workload)
    return [*_selector(workload), *_order(pod), *_volumes(pod), *_secrecy(pod), *_security(pod), *_configured(pod)]


def _selector(workload: Document) -> Iterator[str]:
    wanted = workload["spec"]["selector"]["matchLabels"].items()
    if not wanted <= workload["spec"]["template"]["metadata"]["labels"].items():
        yield "the selector does not match the pod's labels"


def _order(pod: Pod) -> Iterator[str]:
    names = [each["name"] for each in pod.init_containers]
    if SIDECAR not in names:
        yield "the sidecar is no init container"
    elif names[0] != SIDECAR:
        yield "the sidecar is not the first init container: those before it can't use it"
    if pod.sidecar and pod.sidecar.get("restartPolicy") != "Always":
        yield "the sidecar's restartPolicy is not Always: the app would wait for its end"


def _volumes(pod: Pod) -> Iterator[str]:
    volumes = [each["name"] for each in pod.spec.get("volumes", ())]
    mounts = {mount["name"] for each in pod.containers for mount in each.get("volumeMounts", ())}
    yield from (f"the volume {name} is mounted, but not there" for name in sorted(mounts - set(volumes)))
    yield from (f"the volume {name} is there, but not mounted" for name in sorted(set(volumes) - mounts))
    filled = [each["name"] for each in pod.spec.get("volumes", ()) if {"configMap", "secret"} & each.keys()]
    yield from (f"the volume {name} has no content here" for name in filled if not pod.content(name))


def _secrecy(pod: Pod) -> Iterator[str]:
    """Yield the ways by which other containers come to the credential."""
    secrets = {each["name"] for each in pod.spec.get("volumes", ()) if "secret" in each}
    for container in pod.containers:
        sources = [each.get("valueFrom", {}) for each in container.get("env", ())] + list(container.get("envFrom", ()))
        by_variable = any(key.startswith("secret") for source in sources for key in source)
        by_mount = any(mount["name"] in secrets for mount in container.get("volumeMounts", ()))
        if container["name"] != SIDECAR and (by_variable or by_mount):
            yield f"{container['name']} is given a secret: the sidecar alone should have it"
    if pod.spec.get("shareProcessNamespace"):
        yield "shareProcessNamespace shows the sidecar's files to the other containers"


def _security(pod: Pod) -> Iterator[str]:
    if pod.spec.get("automountServiceAccountToken") is not False:
        yield "automountServiceAccountToken is not false"
    yield from (f"{key} is set" for key in SHARED_WITH_THE_NODE if pod.spec.get(key))
    for volume in pod.spec.get("volumes", ()):
        if not volume.keys() - {"name"} <= RESTRICTED_VOLUMES:
            yield f"the volume {volume['name']} is of a kind that the restricted standard forbids"
    for container in pod.containers:
        yield from (f"{container['name']}: {fault}" for fault in _restricted(container, pod.spec))


def _restricted(container: Document, spec: Document) -> Iterator[str]:
    """Judge by the restricted Pod Security Standard, and ask for a read-only root and a numeric user besides."""
    context = {**spec.get("securityContext", {}), **container.get("securityContext", {})}
    capabilities = context.get("capabilities", {})
    if context.get("runAsNonRoot") is not True:
        yield "runAsNonRoot is not true"
    if not context.get("runAsUser"):
        yield "runAsUser is not a number above 0"
    if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
        yield "it may gain privileges"
    if capabilities.get("drop") != ["ALL"] or capabilities.get("add"):
        yield "it keeps capabilities"
    if context.get("readOnlyRootFilesystem") is not True:
        yield "its root file system is not read-only"
    if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "its seccomp profile is not RuntimeDefault"
    if any("hostPort" in port for port in container.get("ports", ())):
        yield "it takes a port of the node"


def _configured(pod: Pod) -> Iterator[str]:
    """Load the configuration as the sidecar would, and judge what depends on it."""
    if pod.sidecar is None:
        return
    with TemporaryDirectory() as folder:
        try:
            config = _loaded(pod, pod.sidecar, Path(folder))
        except BadConfig as bad:
            yield f"the configuration is refused: {bad}".replace(folder, "")
            return
    yield from (f"the configuration has a warning: {warning}".replace(folder, "") for warning in config.warnings)
    yield from _probes(pod.sidecar, config)
    yield from _app(pod, config)
    yield from _grace(pod, config)
    yield from _memory(pod.sidecar, config)


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
    environ = {name: below_root(value) for name, value in _environ(pod, sidecar)}
    return load(environ=environ, search=[Path(f"{root}/etc/pandadoc-proxy/config.yaml")])


def _environ(pod: Pod, container: Document) -> Iterator[tuple[str, str]]:
    for variable in container.get("env", ()):
        source = variable.get("valueFrom", {})
        reference = source.get("secretKeyRef") or source.get("configMapKeyRef")
        kind = "Secret" if "secretKeyRef" in source else "ConfigMap"
        data = pod.data(kind, reference["name"]) if reference else {}
        value = data.get(reference["key"]) if reference else variable.get("value", "")
        if value is not None:
            yield variable["name"], value


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
    apps = [dict(_environ(pod, each)) for each in pod.spec["containers"]]
    urls = {environ[BASE_URL] for environ in apps if BASE_URL in environ}
    if not urls:
        yield f"no app is given {BASE_URL}"
    yield from (f"nobody listens at {url}" for url in sorted(urls - {f"http://{bind}" for bind in binds}))


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
