"""Documents that are broken in one place, and the fault by which each must be told apart."""

import base64
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, Final, TypeAlias

from deploy.pod import Document

Mutant: TypeAlias = tuple[str, object, str]
"""Where, what instead, and a part of the fault's name."""

GONE: Final = object()
CONFIG: Final = "ConfigMap/data/config.yaml"
TEMPLATES: Final = {
    "Deployment": "spec/template/spec",
    "StatefulSet": "spec/template/spec",
    "Job": "spec/template/spec",
    "CronJob": "spec/jobTemplate/spec/template/spec",
    "Pod": "spec",
}

FROM_FILE: Final = "api_key: {file: /run/secrets/pandadoc/api-key}"
SLOW_GRANT: Final = (
    "oauth2: {client_id: app, client_secret: {file: /run/secrets/pandadoc/api-key}, redeem_timeout: 120s}"
)


def plain(documents: Sequence[Document]) -> list[Document]:
    """Return documents whose Secrets are written out, so that they can be broken as text."""
    return [_written_out(each) if each["kind"] == "Secret" else each for each in documents]


def _written_out(secret: Document) -> Document:
    data = {key: base64.b64decode(text).decode() for key, text in secret.get("data", {}).items()}
    rest = {key: value for key, value in secret.items() if key != "data"}
    return {**rest, "stringData": data | dict(secret.get("stringData", {}))}


def mutant(path: str, change: object, of: Sequence[Document]) -> list[Document]:
    """Return documents with one thing changed: set, taken away (GONE), or made from what it was."""
    documents = deepcopy(list(of))
    kind, *keys = path.split("/")
    node: Any = next(each for each in documents if each["kind"] == kind)
    *way, last = [int(key) if key.isdecimal() else key.replace("~1", "/") for key in keys]
    for key in way:
        node = node[key]
    if change is GONE:
        del node[last]
    else:
        node[last] = change(node[last]) if callable(change) else change
    return documents


def instead(old: str, new: str) -> Callable[[str], str]:
    """Replace a part of a text; the part must be there."""

    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return change


def as_an_app(pod: dict[str, Any]) -> dict[str, Any]:
    """Return the pod with the sidecar as an ordinary container beside the app."""
    return {**pod, "initContainers": [], "containers": [*pod["containers"], *pod["initContainers"]]}


def with_a_folder_of_the_node(volumes: list[Document]) -> list[Document]:
    return [*volumes, {"name": "node", "hostPath": {"path": "/var"}}]


def after_another(containers: list[Document]) -> list[Document]:
    first = {key: value for key, value in containers[0].items() if key in {"image", "securityContext"}}
    return [{"name": "migrate", **first}, *containers]


def of_the_pod(kind: str) -> list[Mutant]:
    """Return the mutants of any workload in API-key mode."""
    pod = f"{kind}/{TEMPLATES[kind]}"
    proxy, app = f"{pod}/initContainers/0", f"{pod}/containers/0"
    return [
        # who is who, and in what order
        (pod, as_an_app, "the sidecar is no init container"),
        (f"{pod}/initContainers", after_another, "the sidecar is not the first"),
        (f"{proxy}/name", "proxy", "the sidecar is no init container"),
        (f"{proxy}/restartPolicy", GONE, "restartPolicy is not Always"),
        (f"{proxy}/restartPolicy", "OnFailure", "restartPolicy is not Always"),
        # what is mounted
        (f"{pod}/volumes/0/name", "config", "pandadoc-proxy-config is mounted, but not there"),
        (f"{pod}/volumes/0/name", "config", "config is there, but not mounted"),
        (f"{pod}/volumes/0/configMap/name", "other", "pandadoc-proxy-config has no content"),
        (f"{pod}/volumes/1/secret/secretName", "other", "pandadoc-secret has no content"),
        (f"{proxy}/volumeMounts", GONE, "pandadoc-secret is there, but not mounted"),
        (f"{proxy}/volumeMounts/0/mountPath", "/etc/proxy", "the configuration is refused"),
        (f"{proxy}/volumeMounts/1/mountPath", "/run/pandadoc", "api-key does not exist"),
        ("Secret/stringData", {"apikey": "k"}, "api-key does not exist"),
        ("Secret/stringData/api-key", "", "is empty"),
        # who has the credential
        (f"{app}/volumeMounts", [{"name": "pandadoc-secret", "mountPath": "/k"}], "your-app is given a secret"),
        (f"{app}/envFrom", [{"secretRef": {"name": "pandadoc"}}], "your-app is given a secret"),
        (f"{app}/env/0", {"name": "K", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}, "is given a secret"),
        (f"{pod}/shareProcessNamespace", True, "shareProcessNamespace"),
        # what it may do
        (f"{pod}/automountServiceAccountToken", GONE, "automountServiceAccountToken"),
        (f"{pod}/hostNetwork", True, "hostNetwork is set"),
        (f"{pod}/volumes", with_a_folder_of_the_node, "node is of a kind that the restricted standard forbids"),
        (f"{proxy}/securityContext/runAsNonRoot", False, "pandadoc-proxy: runAsNonRoot"),
        (f"{pod}/securityContext", GONE, "your-app: runAsNonRoot"),
        (f"{proxy}/securityContext/runAsUser", 0, "pandadoc-proxy: runAsUser"),
        (f"{app}/securityContext/runAsUser", GONE, "your-app: runAsUser"),
        (f"{proxy}/securityContext/allowPrivilegeEscalation", GONE, "may gain privileges"),
        (f"{proxy}/securityContext/privileged", True, "may gain privileges"),
        (f"{proxy}/securityContext/capabilities/drop", ["NET_RAW"], "keeps capabilities"),
        (f"{proxy}/securityContext/capabilities/add", ["SYS_ADMIN"], "keeps capabilities"),
        (f"{proxy}/securityContext/readOnlyRootFilesystem", GONE, "not read-only"),
        (f"{proxy}/securityContext/seccompProfile", {"type": "Unconfined"}, "pandadoc-proxy: its seccomp profile"),
        (f"{proxy}/ports/0/hostPort", 8081, "takes a port of the node"),
        (f"{proxy}/securityContext/procMount", "Unmasked", "pandadoc-proxy: procMount is set"),
        (f"{pod}/securityContext/sysctls", [{"name": "kernel.msgmax", "value": "1"}], "your-app: sysctls is set"),
        # what the configuration says
        (CONFIG, instead("drain", "drian"), "the configuration is refused: /etc/pandadoc-proxy/config.yaml:7"),
        (CONFIG, instead(FROM_FILE, "api_key: secret"), "has a warning"),
        (CONFIG, instead("127.0.0.1:8080", "0.0.0.0:8080\n    anyone: true"), "a listener is open to other pods"),
        (CONFIG, instead('"0.0.0.0:8081"', "127.0.0.1:8081"), "the admin port is not bound where the kubelet asks"),
        (CONFIG, instead('{bind: "0.0.0.0:8081"}', "null"), "the admin port is not bound where the kubelet asks"),
        (CONFIG, instead("0.0.0.0:8081", "0.0.0.0:9000"), "the startupProbe does not ask for /startupz at port 9000"),
        (f"{proxy}/ports/0/containerPort", 8080, "the livenessProbe does not ask for /livez at port 8081"),
        (f"{proxy}/ports/0/name", "probes", "the readinessProbe does not ask"),
        (f"{proxy}/startupProbe", GONE, "the startupProbe does not ask"),
        (f"{proxy}/livenessProbe/httpGet/path", "/readyz", "the livenessProbe does not ask for /livez"),
        (f"{proxy}/readinessProbe/httpGet/host", "127.0.0.1", "the readinessProbe does not ask"),
        (CONFIG, instead("127.0.0.1:8080", "127.0.0.1:8888"), "nobody listens at http://127.0.0.1:8080"),
        (f"{app}/env/0/value", "http://localhost:8080", "nobody listens at http://localhost:8080"),
        (f"{app}/env", GONE, "no app is given PANDADOC_BASE_URL"),
        (f"{pod}/terminationGracePeriodSeconds", GONE, "does not outlast the 80 s"),
        (f"{pod}/terminationGracePeriodSeconds", 80, "does not outlast the 80 s"),
        (CONFIG, instead("drain: 20s", "drain: 20s, grace: 10s"), "does not outlast the 90 s"),
        (CONFIG, instead(FROM_FILE, SLOW_GRANT), "does not outlast the 140 s"),
        (f"{proxy}/resources/limits/memory", "96Mi", "the memory limit"),
        (f"{proxy}/resources", GONE, "the memory limit"),
        (f"{app}/ports", [{"containerPort": 8080}], "your-app takes port 8080, which the sidecar binds"),
        (f"{proxy}/volumeMounts/0/subPath", "x", "pandadoc-proxy-config is mounted by subPath"),
    ]


OF_A_DEPLOYMENT: Final[list[Mutant]] = [
    ("Deployment/spec/selector/matchLabels", {"app": "other"}, "the selector does not match"),
    ("Deployment/spec/template/spec/restartPolicy", "Never", "must have the restartPolicy Always"),
]
OF_A_STATEFUL_SET: Final[list[Mutant]] = [
    ("StatefulSet/spec/selector/matchLabels", {"app": "other"}, "the selector does not match"),
    ("StatefulSet/spec/serviceName", "other", "the StatefulSet's Service is not here"),
    ("StatefulSet/spec/volumeClaimTemplates", [], "the volume data is mounted, but not there"),
    ("Service/spec/selector", {"app": "other"}, "the Service your-app selects no pod here"),
]
OF_A_JOB: Final[list[Mutant]] = [
    ("Job/spec/template/spec/restartPolicy", GONE, "the pod of a Job must not have the restartPolicy Always"),
]
OF_A_CRON_JOB: Final[list[Mutant]] = [
    ("CronJob/spec/jobTemplate/spec/template/spec/restartPolicy", "Always", "the pod of a CronJob must not"),
]
OF_A_NETWORK_POLICY: Final[list[Mutant]] = [
    ("NetworkPolicy/spec/podSelector/matchLabels", {"app": "other"}, "the network policy does not select the pod"),
    ("NetworkPolicy/spec/policyTypes", ["Ingress", "Egress"], "the network policy cuts the app off"),
    ("NetworkPolicy/spec/ingress/0/ports/0/endPort", 8080, "the network policy opens port 8080"),
    ("NetworkPolicy/spec/ingress/0/ports/1/port", 8081, "the network policy opens port 8081"),
    ("NetworkPolicy/spec/ingress/1/from", GONE, "the network policy opens port 8081"),
    ("NetworkPolicy/spec/ingress/0/ports/1/port", 9091, "the network policy closes the app's port 9090"),
]

_POD: Final = "Deployment/spec/template/spec"
_PROXY: Final = f"{_POD}/initContainers/0"
_GRANT: Final = "/var/lib/pandadoc-proxy/grant.json"


def _mounting_all(container: dict[str, Any]) -> dict[str, Any]:
    return {**container, "volumeMounts": [{"name": "pandadoc-grant", "mountPath": "/grant"}]}


def _read_only(mounts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**each, "readOnly": True} for each in mounts]


def _without_the_grant(mounts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each for each in mounts if each["name"] != "pandadoc-grant"]


def _in_memory(volumes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"name": each["name"], "emptyDir": {}} if each["name"] == "pandadoc-grant" else each for each in volumes]


OF_A_GRANT: Final[list[Mutant]] = [
    ("Deployment/spec/replicas", 2, "a grant is held by more than one replica"),
    ("Deployment/spec/strategy", GONE, "the strategy is not Recreate"),
    ("PersistentVolumeClaim/metadata/name", "other", "the claim your-app-pandadoc-grant is not here"),
    (f"{_PROXY}/volumeMounts", _without_the_grant, f"the grant's store {_GRANT} is on no persistent volume"),
    (f"{_PROXY}/volumeMounts", _read_only, "the grant's volume is mounted read-only"),
    (f"{_POD}/volumes", _in_memory, f"the grant's store {_GRANT} is on no persistent volume"),
    (f"{_POD}/securityContext/fsGroup", GONE, "the grant's volume does not belong to the sidecar's group"),
    (f"{_POD}/containers/0", _mounting_all, "your-app is given a secret"),
    (CONFIG, instead(f"store: {{file: {_GRANT}}}", "scope: read"), "(the default) is on no persistent volume"),
    (CONFIG, instead("client-secret}", "client-secrets}"), "client-secrets does not exist"),
    ("Secret/stringData", {"client-id": "a", "client-secret": "b"}, "refresh-token does not exist"),
    (f"{_POD}/terminationGracePeriodSeconds", 80, "does not outlast the 80 s"),
]


def _of_all(container: dict[str, Any]) -> dict[str, Any]:
    mount = {"name": "pandadoc-account", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
    return {**container, "volumeMounts": [mount]}


def of_a_fleet(kind: str) -> list[Mutant]:
    """Return the mutants of a workload whose sidecar shares a grant by Kubernetes."""
    spec = f"{kind}/{TEMPLATES[kind]}"
    not_just = "may not do just what its sidecar does"
    return [
        (f"{spec}/automountServiceAccountToken", GONE, "automountServiceAccountToken is not false"),
        (f"{spec}/serviceAccountName", GONE, not_just),
        (f"{spec}/containers/0", _of_all, "is given a secret"),
        (f"{spec}/initContainers/0/volumeMounts/0/mountPath", "/elsewhere", "finds no account"),
        (f"{spec}/initContainers/0/volumeMounts/0/readOnly", GONE, "mounted to be written"),
        (f"{spec}/volumes/0/projected/sources/2", GONE, "finds no account"),
        ("ServiceAccount/metadata/name", "other", not_just),
        ("RoleBinding/subjects", [], not_just),
        ("RoleBinding/roleRef/name", "other", not_just),
        ("Role/rules/0/resourceNames", GONE, not_just),
        ("Role/rules/0/resourceNames", ["pandadoc"], not_just),
        ("Role/rules/0/verbs", ["get", "patch"], not_just),
        ("Role/rules/1/verbs", ["*"], not_just),
        ("Lease/metadata/name", "other", "the Lease pandadoc-grant is not here"),
        ("Lease/spec", {"leaseDurationSeconds": 65}, "the Lease pandadoc-grant is not empty"),
        ("Lease/metadata/annotations/helm.sh~1resource-policy", "drop", "the Lease pandadoc-grant is not kept"),
        (CONFIG, instead("secret: pandadoc-grant", "secret: other"), "the Secret other is not here"),
        (f"{spec}/terminationGracePeriodSeconds", 80, "does not outlast the 80 s"),
    ]
