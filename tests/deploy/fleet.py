"""What must hold of pods that share a grant by Kubernetes: an account that may do just that, and things to share."""

from collections.abc import Iterator
from typing import Any, Final

from deploy.pod import SIDECAR, Document, Pod

from proxy.config import KubernetesStore
from proxy.kubernetes.cluster import MOUNT

FILES: Final = {"token", "ca.crt", "namespace"}
"""What a program in a pod looks for ("Accessing the Kubernetes API from a Pod")."""

KEPT: Final = {
    "argocd.argoproj.io/sync-options": "Prune=false,Delete=false",
    "argocd.argoproj.io/compare-options": "IgnoreExtraneous",
    "kustomize.toolkit.fluxcd.io/prune": "disabled",
    "kustomize.toolkit.fluxcd.io/ssa": "IfNotPresent",
    "helm.sh/resource-policy": "keep",
}
"""Annotations by which those who bring manifests leave alone what the pods write."""


def shared(pod: Pod, sidecar: Document, store: KubernetesStore) -> Iterator[str]:
    """Judge a sidecar with this store."""
    yield from _mounted(pod, sidecar)
    wanted = {
        ("", "secrets", store.secret): {"get", "list", "watch", "patch"},
        ("coordination.k8s.io", "leases", store.lease or store.secret): {"get", "patch"},
    }
    if _allowed(pod) != wanted:
        yield "the pod's account may not do just what its sidecar does with the grant"
    for kind, name in (("Secret", store.secret), ("Lease", store.lease or store.secret)):
        yield from _made(pod, kind, name)


def token_volumes(pod: Pod) -> set[str]:
    """Return the volumes with a token of the pod's account."""
    return {
        name
        for name, volume in pod.volumes.items()
        if any("serviceAccountToken" in each for each in volume.get("projected", {}).get("sources", ()))
    }


def _mounted(pod: Pod, sidecar: Document) -> Iterator[str]:
    at = {mount["mountPath"]: mount for mount in sidecar.get("volumeMounts", ())}
    mount = at.get(str(MOUNT), {})
    sources = pod.volumes.get(mount.get("name", ""), {}).get("projected", {}).get("sources", ())
    if set().union(*map(_files, sources)) != FILES:
        yield f"{SIDECAR} finds no account at {MOUNT}"
    if mount and not mount.get("readOnly"):
        yield "the account's token is mounted to be written"


def _files(source: Document) -> set[str]:
    if "serviceAccountToken" in source:
        return {source["serviceAccountToken"]["path"]}
    return {each["path"] for kind in source.values() for each in kind["items"]}


def _allowed(pod: Pod) -> dict[tuple[str, str, str], set[str]]:
    """Return what the pod's account may do with what, by the Roles that are bound to it here."""
    account = pod.spec.get("serviceAccountName", "default")
    bound = {
        binding["roleRef"]["name"]
        for binding in pod.all_of("RoleBinding")
        if {"kind": "ServiceAccount", "name": account} in binding["subjects"]
    }
    allowed: dict[tuple[str, str, str], set[str]] = {}
    for role in pod.all_of("Role"):
        for rule in role["rules"] if role["metadata"]["name"] in bound else ():
            for group, plural, name in _things(rule):
                allowed.setdefault((group, plural, name), set()).update(rule["verbs"])
    there = account in {each["metadata"]["name"] for each in pod.all_of("ServiceAccount")}
    return allowed if there else {}


def _things(rule: Document) -> list[tuple[Any, Any, Any]]:
    names = rule.get("resourceNames", ("*",))
    return [(group, plural, name) for group in rule["apiGroups"] for plural in rule["resources"] for name in names]


def _made(pod: Pod, kind: str, name: str) -> Iterator[str]:
    made = [each for each in pod.all_of(kind) if each["metadata"]["name"] == name]
    if not made:
        yield f"the {kind} {name} is not here: the pods can't make it"
    for each in made:
        if each.get("data") or each.get("stringData") or each.get("spec"):
            yield f"the {kind} {name} is not empty: applying it would write over what the pods keep there"
        if not KEPT.items() <= each["metadata"].get("annotations", {}).items():
            yield f"the {kind} {name} is not kept from those who bring manifests"
