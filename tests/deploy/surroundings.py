"""What the documents around a pod must say for it to work: selectors, claims, services, network policies."""

from collections.abc import Iterator, Mapping
from typing import Final

from deploy.pod import Document, Pod

LISTENER: Final = 8080
ADMIN: Final = 8081
APPS: Final = (80, 443, 3000, 8000, 8443, 9090)
"""Ports at which apps listen: a policy that comes with the sidecar must not close them."""


def surrounded(pod: Pod) -> Iterator[str]:
    """Tell everything that is wrong around the pod."""
    yield from _selector(pod)
    yield from _claims(pod)
    yield from _workload(pod)
    for service in pod.all_of("Service"):
        if not _selects(service["spec"].get("selector", {}), pod.labels):
            yield f"the Service {service['metadata']['name']} selects no pod here"
    for policy in pod.all_of("NetworkPolicy"):
        yield from _policy(policy, pod)


def _selector(pod: Pod) -> Iterator[str]:
    if "selector" in pod.workload["spec"] and not _selects(pod.workload["spec"]["selector"]["matchLabels"], pod.labels):
        yield "the selector does not match the pod's labels"


def _selects(wanted: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return bool(wanted) and wanted.items() <= labels.items()


def _claims(pod: Pod) -> Iterator[str]:
    there = {each["metadata"]["name"] for each in pod.all_of("PersistentVolumeClaim")}
    claims = [each.get("persistentVolumeClaim", {}).get("claimName") for each in pod.volumes.values()]
    yield from (f"the claim {name} is not here" for name in claims if name is not None and name not in there)


def _workload(pod: Pod) -> Iterator[str]:
    """Judge what the API server would refuse, and a schema does not."""
    policy = pod.spec.get("restartPolicy", "Always")
    if pod.kind in {"Job", "CronJob"} and policy not in {"Never", "OnFailure"}:
        yield f"the pod of a {pod.kind} must not have the restartPolicy {policy}"
    if pod.kind in {"Deployment", "StatefulSet"} and policy != "Always":
        yield f"the pod of a {pod.kind} must have the restartPolicy Always"
    services = [each["metadata"]["name"] for each in pod.all_of("Service")]
    if pod.kind == "StatefulSet" and pod.workload["spec"]["serviceName"] not in services:
        yield "the StatefulSet's Service is not here"


def _policy(policy: Document, pod: Pod) -> Iterator[str]:
    rules = policy["spec"].get("ingress", ())
    if not _selects(policy["spec"]["podSelector"].get("matchLabels", {}), pod.labels):
        yield "the network policy does not select the pod"
    if "Egress" in policy["spec"].get("policyTypes", ()):
        yield "the network policy cuts the app off from what it calls"
    for port in (ADMIN, LISTENER):
        if any(_lets_in(rule, port) and not rule.get("from") for rule in rules):
            yield f"the network policy opens port {port} to everybody"
    closed = [port for port in APPS if not any(_lets_in(rule, port) and not rule.get("from") for rule in rules)]
    yield from (f"the network policy closes the app's port {port}" for port in closed)


def _lets_in(rule: Document, port: int) -> bool:
    if not rule.get("ports"):
        return True
    ranges = [(each["port"], each.get("endPort", each["port"])) for each in rule["ports"] if each["protocol"] == "TCP"]
    return any(first <= port <= last for first, last in ranges)
