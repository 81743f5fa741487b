"""What must hold of a manifest with our sidecar, and no schema sees: `faults` tells everything that does not.

It works on loaded documents, wherever they came from. What Kubernetes' own schemas say is never said again.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from deploy.configuration import configured
from deploy.fleet import token_volumes
from deploy.pod import SIDECAR, Document, Pod
from deploy.surroundings import surrounded

SHARED_WITH_THE_NODE: Final = ("hostNetwork", "hostPID", "hostIPC")

RESTRICTED_VOLUMES: Final = frozenset(
    {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
)
"""https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted."""

KNOWN: Final = frozenset(
    {"runAsNonRoot", "runAsUser", "runAsGroup", "fsGroup", "fsGroupChangePolicy", "supplementalGroups"}
    | {"allowPrivilegeEscalation", "privileged", "capabilities", "readOnlyRootFilesystem", "seccompProfile"}
)
"""What is judged here, or harmless. The standard bounds the rest: procMount, sysctls, SELinux, AppArmor."""


def faults(documents: Sequence[Document]) -> list[str]:
    """Tell everything that is wrong with the one workload among the documents, and with what is around it."""
    pod = Pod.of(documents)
    found = [*surrounded(pod), *_order(pod), *_volumes(pod), *_secrecy(pod), *_security(pod)]
    return [*found, *configured(pod, pod.sidecar)] if pod.sidecar else found


def _order(pod: Pod) -> Iterator[str]:
    names = [each["name"] for each in pod.init_containers]
    if SIDECAR not in names:
        yield "the sidecar is no init container"
    elif names[0] != SIDECAR:
        yield "the sidecar is not the first init container: those before it can't use it"
    if pod.sidecar and pod.sidecar.get("restartPolicy") != "Always":
        yield "the sidecar's restartPolicy is not Always: the app would wait for its end"


def _volumes(pod: Pod) -> Iterator[str]:
    mounts = {mount["name"] for each in pod.containers for mount in each.get("volumeMounts", ())}
    yield from (f"the volume {name} is mounted, but not there" for name in sorted(mounts - pod.volumes.keys()))
    yield from (f"the volume {name} is there, but not mounted" for name in sorted(pod.volumes.keys() - mounts))
    filled = [name for name, each in pod.volumes.items() if {"configMap", "secret"} & each.keys()]
    yield from (f"the volume {name} has no content here" for name in filled if not pod.content(name))
    for mount in (pod.sidecar or {}).get("volumeMounts", ()):
        if "subPath" in mount:
            yield f"{mount['name']} is mounted by subPath: what changes there never reaches the sidecar"


def _secrecy(pod: Pod) -> Iterator[str]:
    """Yield the ways by which other containers come to the credential."""
    ours = {mount["name"] for mount in (pod.sidecar or {}).get("volumeMounts", ())}
    kept = {name for name, each in pod.volumes.items() if {"secret", "persistentVolumeClaim"} & each.keys()}
    kept |= token_volumes(pod)
    for container in pod.containers:
        sources = [each.get("valueFrom", {}) for each in container.get("env", ())] + list(container.get("envFrom", ()))
        by_variable = any(key.startswith("secret") for source in sources for key in source)
        by_mount = any(mount["name"] in kept & ours for mount in container.get("volumeMounts", ()))
        if container["name"] != SIDECAR and (by_variable or by_mount):
            yield f"{container['name']} is given a secret: the sidecar alone should have it"
    if pod.spec.get("shareProcessNamespace"):
        yield "shareProcessNamespace shows the sidecar's files to the other containers"


def _security(pod: Pod) -> Iterator[str]:
    if pod.spec.get("automountServiceAccountToken") is not False:
        yield "automountServiceAccountToken is not false"
    yield from (f"{key} is set" for key in SHARED_WITH_THE_NODE if pod.spec.get(key))
    for name, volume in pod.volumes.items():
        if not volume.keys() - {"name"} <= RESTRICTED_VOLUMES:
            yield f"the volume {name} is of a kind that the restricted standard forbids"
    for container in pod.containers:
        yield from (f"{container['name']}: {fault}" for fault in _restricted(container, pod.spec))


def _restricted(container: Document, spec: Document) -> Iterator[str]:
    """Judge by the restricted Pod Security Standard, and ask for a read-only root and a numeric user besides."""
    context: Mapping[str, Any] = {**spec.get("securityContext", {}), **container.get("securityContext", {})}
    capabilities = context.get("capabilities", {})
    yield from (f"{key} is set, which nothing here needs" for key in sorted(context.keys() - KNOWN))
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
