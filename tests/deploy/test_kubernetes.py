"""The Kubernetes example: by Kubernetes' own schemas, and by what no schema sees.

The semantic check is itself checked with mutants: an example that is broken in one place must be told apart.
"""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml
from deploy.manifest import SIDECAR, Document, faults
from kubernetes_validate.utils import all_versions

from proxy import __version__

EXAMPLE: Final = Path(__file__).parents[2] / "deploy" / "kubernetes" / "sidecar-api-key.yaml"
DOCUMENTS: Final[list[Document]] = list(yaml.safe_load_all(EXAMPLE.read_text()))

VERSIONS: Final = [version for version in all_versions() if int(version.split(".")[1]) >= 29]
GONE: Final = object()

POD: Final = "Deployment/spec/template/spec"
PROXY: Final = f"{POD}/initContainers/0"
APP: Final = f"{POD}/containers/0"
CONFIG: Final = "ConfigMap/data/config.yaml"

FROM_FILE: Final = "api_key: {file: /run/secrets/pandadoc/api-key}"
SLOW_GRANT: Final = (
    "oauth2: {client_id: app, client_secret: {file: /run/secrets/pandadoc/api-key}, redeem_timeout: 120s}"
)


def mutant(path: str, change: object, of: list[Document] = DOCUMENTS) -> list[Document]:
    """Return documents with one thing changed: set, taken away (GONE), or made from what it was."""
    documents = deepcopy(of)
    kind, *keys = path.split("/")
    node: Any = next(each for each in documents if each["kind"] == kind)
    *way, last = [int(key) if key.isdecimal() else key for key in keys]
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


MUTANTS: Final[list[tuple[str, object, str]]] = [
    # who is who, and in what order
    ("Deployment/spec/selector/matchLabels", {"app": "other"}, "the selector does not match"),
    (POD, as_an_app, "the sidecar is no init container"),
    (f"{POD}/initContainers", after_another, "the sidecar is not the first"),
    (f"{PROXY}/name", "proxy", "the sidecar is no init container"),
    (f"{PROXY}/restartPolicy", GONE, "restartPolicy is not Always"),
    (f"{PROXY}/restartPolicy", "OnFailure", "restartPolicy is not Always"),
    # what is mounted
    (f"{POD}/volumes/0/name", "config", "pandadoc-proxy-config is mounted, but not there"),
    (f"{POD}/volumes/0/name", "config", "config is there, but not mounted"),
    (f"{POD}/volumes/0/configMap/name", "other", "pandadoc-proxy-config has no content"),
    (f"{POD}/volumes/1/secret/secretName", "other", "pandadoc-secret has no content"),
    (f"{PROXY}/volumeMounts", GONE, "pandadoc-secret is there, but not mounted"),
    (f"{PROXY}/volumeMounts/0/mountPath", "/etc/proxy", "the configuration is refused"),
    (f"{PROXY}/volumeMounts/1/mountPath", "/run/pandadoc", "api-key does not exist"),
    ("Secret/stringData", {"apikey": "k"}, "api-key does not exist"),
    ("Secret/stringData/api-key", "", "is empty"),
    # who has the credential
    (f"{APP}/volumeMounts", [{"name": "pandadoc-secret", "mountPath": "/k"}], "your-app is given a secret"),
    (f"{APP}/envFrom", [{"secretRef": {"name": "pandadoc"}}], "your-app is given a secret"),
    (f"{APP}/env/0", {"name": "K", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}, "is given a secret"),
    (f"{POD}/shareProcessNamespace", True, "shareProcessNamespace"),
    # what it may do
    (f"{POD}/automountServiceAccountToken", GONE, "automountServiceAccountToken"),
    (f"{POD}/hostNetwork", True, "hostNetwork is set"),
    (f"{POD}/volumes", with_a_folder_of_the_node, "node is of a kind that the restricted standard forbids"),
    (f"{PROXY}/securityContext/runAsNonRoot", False, "pandadoc-proxy: runAsNonRoot"),
    (f"{POD}/securityContext", GONE, "your-app: runAsNonRoot"),
    (f"{PROXY}/securityContext/runAsUser", 0, "pandadoc-proxy: runAsUser"),
    (f"{APP}/securityContext/runAsUser", GONE, "your-app: runAsUser"),
    (f"{PROXY}/securityContext/allowPrivilegeEscalation", GONE, "may gain privileges"),
    (f"{PROXY}/securityContext/privileged", True, "may gain privileges"),
    (f"{PROXY}/securityContext/capabilities/drop", ["NET_RAW"], "keeps capabilities"),
    (f"{PROXY}/securityContext/capabilities/add", ["SYS_ADMIN"], "keeps capabilities"),
    (f"{PROXY}/securityContext/readOnlyRootFilesystem", GONE, "not read-only"),
    (f"{PROXY}/securityContext/seccompProfile", {"type": "Unconfined"}, "pandadoc-proxy: its seccomp profile"),
    (f"{PROXY}/ports/0/hostPort", 8081, "takes a port of the node"),
    # what the configuration says
    (CONFIG, instead("drain", "drian"), "the configuration is refused: /etc/pandadoc-proxy/config.yaml:7"),
    (CONFIG, instead(FROM_FILE, "api_key: secret"), "has a warning"),
    (CONFIG, instead("127.0.0.1:8080", "0.0.0.0:8080\n    anyone: true"), "a listener is open to other pods"),
    (CONFIG, instead('"0.0.0.0:8081"', "127.0.0.1:8081"), "the admin port is not bound where the kubelet asks"),
    (CONFIG, instead('{bind: "0.0.0.0:8081"}', "null"), "the admin port is not bound where the kubelet asks"),
    (CONFIG, instead("0.0.0.0:8081", "0.0.0.0:9000"), "the startupProbe does not ask for /startupz at port 9000"),
    (f"{PROXY}/ports/0/containerPort", 8080, "the livenessProbe does not ask for /livez at port 8081"),
    (f"{PROXY}/ports/0/name", "probes", "the readinessProbe does not ask"),
    (f"{PROXY}/startupProbe", GONE, "the startupProbe does not ask"),
    (f"{PROXY}/livenessProbe/httpGet/path", "/readyz", "the livenessProbe does not ask for /livez"),
    (f"{PROXY}/readinessProbe/httpGet/host", "127.0.0.1", "the readinessProbe does not ask"),
    (CONFIG, instead("127.0.0.1:8080", "127.0.0.1:8888"), "nobody listens at http://127.0.0.1:8080"),
    (f"{APP}/env/0/value", "http://localhost:8080", "nobody listens at http://localhost:8080"),
    (f"{APP}/env", GONE, "no app is given PANDADOC_BASE_URL"),
    (f"{POD}/terminationGracePeriodSeconds", GONE, "does not outlast the 80 s"),
    (f"{POD}/terminationGracePeriodSeconds", 80, "does not outlast the 80 s"),
    (CONFIG, instead("drain: 20s", "drain: 20s, grace: 10s"), "does not outlast the 90 s"),
    (CONFIG, instead(FROM_FILE, SLOW_GRANT), "does not outlast the 140 s"),
    (f"{PROXY}/resources/limits/memory", "96Mi", "the memory limit"),
    (f"{PROXY}/resources", GONE, "the memory limit"),
]


def test_the_schemas_are_at_least_three_and_include_the_first_version_with_native_sidecars() -> None:
    assert "1.29.0" in VERSIONS
    assert len(VERSIONS) >= 3
    assert kubernetes_validate.latest_version() in VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document["kind"])
def test_every_document_is_valid_for_the_version(document: Document, version: str) -> None:
    # A version that is not there would be answered by an older one: the answer says by which.
    assert f"{kubernetes_validate.validate(dict(document), version, strict=True)}.0" == version


def test_a_kind_without_a_schema_is_a_failure() -> None:
    unknown = {**DOCUMENTS[-1], "kind": "Deploymint"}
    with pytest.raises(kubernetes_validate.SchemaNotFoundError):
        kubernetes_validate.validate(unknown, VERSIONS[-1], strict=True)


@pytest.mark.parametrize(
    ("path", "change"),
    [(f"{PROXY}/readynessProbe", {}), (f"{PROXY}/ports/0/containerPort", "http"), (f"{POD}/containers", GONE)],
)
def test_a_misspelt_key_or_a_wrong_type_or_a_missing_part_is_a_failure(path: str, change: object) -> None:
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(dict(mutant(path, change)[-1]), VERSIONS[-1], strict=True)


def test_the_example_has_no_fault() -> None:
    assert faults(DOCUMENTS) == []


def test_the_example_runs_the_image_of_this_version() -> None:
    (sidecar,) = DOCUMENTS[-1]["spec"]["template"]["spec"]["initContainers"]
    assert sidecar["image"] == f"{SIDECAR}:{__version__}"


def test_a_key_from_a_variable_is_as_good_as_one_from_a_file() -> None:
    key = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "pandadoc", "key": "api-key"}}}
    with_key = mutant(f"{PROXY}/env", lambda env: [*env, key])
    documents = mutant(CONFIG, instead(FROM_FILE, "api_key: ${KEY}"), of=with_key)
    assert faults(documents) == []


@pytest.mark.parametrize(("path", "change", "fault"), MUTANTS, ids=[fault for *_, fault in MUTANTS])
def test_a_mutant_is_told_apart(path: str, change: object, fault: str) -> None:
    found = faults(mutant(path, change))
    assert [each for each in found if fault in each], found
