"""The manifests that nothing has to render: by Kubernetes' own schemas, and by what no schema sees.

The semantic check is itself checked with mutants: an example that is broken in one place must be told apart. What
kubectl and Helm make of the rest is torture's (test_manifests.py).
"""

from pathlib import Path
from typing import Any, Final

import jsonschema
import kubernetes_validate
import msgspec
import pytest
import yaml
from deploy.manifest import faults
from deploy.mutants import CONFIG, FROM_FILE, GONE, OF_A_DEPLOYMENT, instead, mutant, of_the_pod
from deploy.pod import SIDECAR, Document, template
from deploy.schemas import VERSIONS, valid

from proxy import __version__

FOLDER: Final = Path(__file__).parents[2] / "deploy"
KUBERNETES: Final = FOLDER / "kubernetes"
CHART: Final = FOLDER / "helm" / "pandadoc-proxy"
WHOLE: Final = KUBERNETES / "sidecar-api-key.yaml"


def documents_of(path: Path) -> list[Document]:
    return list(yaml.safe_load_all(path.read_text()))


DOCUMENTS: Final = documents_of(WHOLE)
DEPLOYMENT: Final = DOCUMENTS[-1]
MUTANTS: Final = [*OF_A_DEPLOYMENT, *of_the_pod("Deployment")]
PROXY: Final = "Deployment/spec/template/spec/initContainers/0"

PLAIN: Final = [
    path
    for folder in ("examples", "fleet", "network-policy")
    for path in sorted((KUBERNETES / folder).rglob("*.yaml"))
    if path.stem not in {"kustomization", "config", "grant-on-a-volume", "token", "token-of-a-cronjob"}
]
"""Files that are whole documents of Kubernetes' own kinds before anything is added to them."""


def test_the_schemas_are_at_least_three_and_include_the_first_version_with_native_sidecars() -> None:
    assert "1.29.0" in VERSIONS
    assert len(VERSIONS) >= 3
    assert kubernetes_validate.latest_version() in VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", [WHOLE, *PLAIN], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_document_is_valid_for_the_version(path: Path, version: str) -> None:
    assert valid(documents_of(path), version)


def test_a_kind_without_a_schema_is_a_failure() -> None:
    unknown = {**DEPLOYMENT, "kind": "Deploymint"}
    with pytest.raises(kubernetes_validate.SchemaNotFoundError):
        valid([unknown], VERSIONS[-1])


@pytest.mark.parametrize(
    ("path", "change"),
    [
        (f"{PROXY}/readynessProbe", {}),
        (f"{PROXY}/ports/0/containerPort", "http"),
        ("Deployment/spec/template/spec/containers", GONE),
    ],
)
def test_a_misspelt_key_or_a_wrong_type_or_a_missing_part_is_a_failure(path: str, change: object) -> None:
    with pytest.raises(kubernetes_validate.ValidationError):
        valid(mutant(path, change, of=DOCUMENTS), VERSIONS[-1])


def test_the_example_has_no_fault() -> None:
    assert faults(DOCUMENTS) == []


def test_a_key_from_a_variable_is_as_good_as_one_from_a_file() -> None:
    key = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "pandadoc", "key": "api-key"}}}
    with_key = mutant(f"{PROXY}/env", lambda env: [*env, key], of=DOCUMENTS)
    documents = mutant(CONFIG, instead(FROM_FILE, "api_key: ${KEY}"), of=with_key)
    assert faults(documents) == []


@pytest.mark.parametrize(("path", "change", "fault"), MUTANTS, ids=[fault for *_, fault in MUTANTS])
def test_a_mutant_is_told_apart(path: str, change: object, fault: str) -> None:
    found = faults(mutant(path, change, of=DOCUMENTS))
    assert [each for each in found if fault in each], found


# One sidecar, wherever it is written.


def spec_of(path: Path) -> dict[str, Any]:
    (document,) = documents_of(path)
    return dict(template(document)["spec"])


COMPONENT: Final = spec_of(KUBERNETES / "component" / "sidecar.yaml")


def test_the_sidecar_runs_the_image_of_this_version() -> None:
    (sidecar,) = COMPONENT["initContainers"]
    assert sidecar["image"] == f"{SIDECAR}:{__version__}"
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)
    for path in (KUBERNETES / "examples").glob("*/kustomization.yaml"):
        assert yaml.safe_load(path.read_text())["images"] == [{"name": SIDECAR, "newTag": __version__}]


@pytest.mark.parametrize(("folder", "name"), [("component", "sidecar"), ("fleet", "token")])
def test_a_cronjob_gets_the_same_as_the_others(folder: str, name: str) -> None:
    (cronjob,) = documents_of(KUBERNETES / folder / f"{name}-of-a-cronjob.yaml")
    (other,) = documents_of(KUBERNETES / folder / f"{name}.yaml")
    assert template(cronjob) == template(other)


def test_the_example_in_one_file_has_the_sidecar_and_the_configuration_of_the_others() -> None:
    whole = template(DEPLOYMENT)["spec"]
    assert {key: whole[key] for key in COMPONENT} == COMPONENT
    (config,) = (each for each in DOCUMENTS if each["kind"] == "ConfigMap")
    assert yaml.safe_load(config["data"]["config.yaml"]) == yaml.safe_load(
        (KUBERNETES / "base" / "config.yaml").read_text()
    )


# Kyverno's policy: no schema of ours knows its kind, so its structure is written out here.


def kyverno_faults(policy: Document) -> list[str]:
    sidecar, grace = policy["spec"]["rules"]
    matches = {
        "any": [
            {
                "resources": {
                    "kinds": ["Pod"],
                    "operations": ["CREATE"],
                    "annotations": {"pandadoc-proxy/inject": "true"},
                }
            }
        ]
    }
    patch = sidecar["mutate"]["patchStrategicMerge"]
    spec = {key: value for key, value in COMPONENT.items() if key != "terminationGracePeriodSeconds"}
    seconds = COMPONENT["terminationGracePeriodSeconds"]
    (condition,) = grace["preconditions"]["all"]
    app = {"(name)": "*", "env": [{"name": "PANDADOC_BASE_URL", "value": "http://127.0.0.1:8080"}]}
    checks = {
        "it is no ClusterPolicy": (policy["apiVersion"], policy["kind"]) == ("kyverno.io/v1", "ClusterPolicy"),
        "it would patch pods' owners as well": policy["metadata"]["annotations"].get(
            "pod-policies.kyverno.io/autogen-controllers"
        )
        == "none",
        "it does not match by the annotation": sidecar["match"] == grace["match"] == matches,
        "the pod is not selected by the network policy": patch["metadata"] == {"labels": INJECTED},
        "its sidecar is not the component's": {key: patch["spec"].get(key) for key in spec} == spec,
        "it does not tell every container the address": patch["spec"].get("containers") == [app],
        "it patches something else": patch["spec"].keys() == spec.keys() | {"containers"},
        "it shortens a longer grace": (condition["operator"], condition["value"]) == ("LessThan", seconds),
        "its grace is not the component's": grace["mutate"]
        == {"patchStrategicMerge": {"spec": {"terminationGracePeriodSeconds": seconds}}},
    }
    return [fault for fault, holds in checks.items() if not holds]


INJECTED: Final = {"pandadoc-proxy/injected": "true"}
(POLICY,) = documents_of(KUBERNETES / "kyverno" / "inject.yaml")
PATCH: Final = "ClusterPolicy/spec/rules/0/mutate/patchStrategicMerge"


def test_the_kyverno_policy_injects_what_the_component_patches_in() -> None:
    assert kyverno_faults(POLICY) == []


@pytest.mark.parametrize(
    ("path", "change", "fault"),
    [
        ("ClusterPolicy/apiVersion", "kyverno.io/v2", "it is no ClusterPolicy"),
        ("ClusterPolicy/metadata/annotations", {}, "it would patch pods' owners as well"),
        ("ClusterPolicy/spec/rules/0/match/any/0/resources/operations", GONE, "it does not match by the annotation"),
        ("ClusterPolicy/spec/rules/1/match", {"any": []}, "it does not match by the annotation"),
        (f"{PATCH}/metadata/labels", {}, "the pod is not selected by the network policy"),
        (f"{PATCH}/spec/initContainers/0/restartPolicy", GONE, "its sidecar is not the component's"),
        (f"{PATCH}/spec/volumes/0/name", "other", "its sidecar is not the component's"),
        (f"{PATCH}/spec/containers/0/env", [], "it does not tell every container the address"),
        (f"{PATCH}/spec/terminationGracePeriodSeconds", 90, "it patches something else"),
        ("ClusterPolicy/spec/rules/1/preconditions/all/0/operator", "GreaterThan", "it shortens a longer grace"),
        (
            "ClusterPolicy/spec/rules/1/mutate/patchStrategicMerge/spec/terminationGracePeriodSeconds",
            60,
            "its grace is not the component's",
        ),
    ],
)
def test_a_mutant_of_the_kyverno_policy_is_told_apart(path: str, change: object, fault: str) -> None:
    assert fault in kyverno_faults(*mutant(path, change, of=[POLICY]))


# The chart's values.


def test_the_charts_schema_is_one_and_knows_every_value_that_there_is() -> None:
    schema = msgspec.json.decode((CHART / "values.schema.json").read_bytes())
    jsonschema.Draft7Validator.check_schema(schema)
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    jsonschema.Draft7Validator(schema).validate(values)
    assert values.keys() == schema["properties"].keys() - {"global", "enabled"}  # Helm's own, of a dependency
    for section in ("image", "oauth", "ports", "shutdown", "app"):
        assert values[section].keys() == schema["properties"][section]["properties"].keys()
        assert schema["properties"][section]["additionalProperties"] is False
