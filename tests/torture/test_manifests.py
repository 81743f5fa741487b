"""Every example as kubectl and Helm render it: by Kubernetes' own schemas, and by what no schema sees.

What was rendered is broken in one place after another, and each mutant must be told apart by its name.
"""

import shutil
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from deploy.manifest import faults
from deploy.mutants import CONFIG, GONE, Mutant, instead, mutant, of_the_pod
from deploy.pod import SIDECAR, Document, Pod, template
from deploy.schemas import VERSIONS, valid
from torture.rendering import CHART, KUBERNETES, RefusedError, charted, kustomized, overlay, run

from deploy import mutants

EXAMPLES: Final = sorted(path.name for path in (KUBERNETES / "examples").iterdir())
RENDERED: Final = {name: kustomized(KUBERNETES / "examples" / name) for name in EXAMPLES}
KINDS: Final = {"deployment": "Deployment", "job": "Job", "cronjob": "CronJob", "statefulset": "StatefulSet"}
KEY: Final = "a-key-of-somebody"

OF_ITS_KIND: Final[dict[str, list[Mutant]]] = {
    "deployment": mutants.OF_A_DEPLOYMENT,
    "job": mutants.OF_A_JOB,
    "cronjob": mutants.OF_A_CRON_JOB,
    "statefulset": mutants.OF_A_STATEFUL_SET,
    "oauth": mutants.OF_A_GRANT,
}
MUTANTS: Final = [
    pytest.param(name, *each, id=f"{name}: {each[-1]}")
    for name in EXAMPLES
    for each in (
        *OF_ITS_KIND[name],
        *mutants.OF_A_NETWORK_POLICY,
        *(of_the_pod(KINDS[name]) if name in KINDS else ()),
    )
]


def test_there_is_an_example_of_each_kind_and_one_of_oauth() -> None:
    assert set(EXAMPLES) == {*KINDS, "oauth"}
    assert {name: Pod.of(RENDERED[name]).kind for name in KINDS} == KINDS


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", EXAMPLES)
def test_every_rendered_document_is_valid_for_the_version(name: str, version: str) -> None:
    assert valid(RENDERED[name], version)


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_rendered_example_has_no_fault(name: str) -> None:
    assert faults(RENDERED[name]) == []


@pytest.mark.parametrize(("name", "path", "change", "fault"), MUTANTS)
def test_a_mutant_of_what_was_rendered_is_told_apart(name: str, path: str, change: object, fault: str) -> None:
    found = faults(mutant(path, change, of=RENDERED[name]))
    assert [each for each in found if fault in each], found


# Somebody else's workloads.


def workload_of(name: str) -> dict[str, Any]:
    text = (KUBERNETES / "examples" / name / f"{name}.yaml").read_text()
    return dict(list(yaml.safe_load_all(text))[-1])


def only(documents: list[Document], kind: str) -> Document:
    (found,) = (each for each in documents if each["kind"] == kind)
    return found


def test_the_sidecar_goes_before_the_init_containers_that_are_there(tmp_path: Path) -> None:
    workload = workload_of("deployment")
    spec = template(workload)["spec"]
    spec["initContainers"] = [{**spec["containers"][0], "name": name} for name in ("migrate", "warm-up")]
    documents = overlay(tmp_path, workload)
    assert [each["name"] for each in Pod.of(documents).init_containers] == [SIDECAR, "migrate", "warm-up"]
    assert faults(documents) == []


def test_a_workload_without_the_annotation_stays_as_it_is(tmp_path: Path) -> None:
    workload = workload_of("deployment")
    del workload["metadata"]["annotations"]
    assert only(overlay(tmp_path, workload), "Deployment") == workload


def test_a_key_and_a_configuration_of_ones_own_take_the_place_of_the_bases(tmp_path: Path) -> None:
    (tmp_path / "api-key").write_text(KEY)
    config = (KUBERNETES / "base" / "config.yaml").read_text().replace("drain: 20s", "drain: 5s")
    (tmp_path / "config.yaml").write_text(config)
    replaced = {"behavior": "replace", "files": ["api-key"], "name": "pandadoc"}
    configured = {"behavior": "replace", "files": ["config.yaml"], "name": "pandadoc-proxy"}
    documents = overlay(tmp_path, workload_of("job"), secretGenerator=[replaced], configMapGenerator=[configured])
    assert only(documents, "Secret")["stringData"] == {"api-key": KEY}
    assert only(documents, "ConfigMap")["data"] == {"config.yaml": config}
    assert faults(documents) == []


def test_the_bases_secret_can_be_left_to_something_else(tmp_path: Path) -> None:
    deleted = {"patch": "$patch: delete\napiVersion: v1\nkind: Secret\nmetadata: {name: pandadoc}"}
    documents = overlay(tmp_path, workload_of("cronjob"), patches=[deleted])
    assert "Secret" not in {each["kind"] for each in documents}
    theirs = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pandadoc"}, "stringData": {"api-key": KEY}}
    assert faults([*documents, theirs]) == []


def test_an_image_and_a_longer_grace_of_ones_own_are_kept(tmp_path: Path) -> None:
    longer = {"op": "replace", "path": "/spec/template/spec/terminationGracePeriodSeconds", "value": 600}
    documents = overlay(
        tmp_path,
        workload_of("statefulset"),
        images=[{"name": SIDECAR, "newName": "yours/proxy", "newTag": "9"}],
        patches=[{"patch": yaml.safe_dump([longer]), "target": {"kind": "StatefulSet"}}],
    )
    pod = Pod.of(documents)
    assert pod.sidecar is not None
    assert (pod.sidecar["image"], pod.spec["terminationGracePeriodSeconds"]) == ("yours/proxy:9", 600)


def test_the_kyverno_policys_patch_makes_a_pod_without_fault(tmp_path: Path) -> None:
    """Kyverno patches by the library that kubectl renders with. It does `(name): "*"` itself: each container."""
    policy = yaml.safe_load((KUBERNETES / "kyverno" / "inject.yaml").read_text())
    patches = [rule["mutate"]["patchStrategicMerge"] for rule in policy["spec"]["rules"]]
    everybody = patches[0]["spec"]["containers"].pop()
    spec = template(workload_of("deployment"))["spec"]
    del spec["containers"][0]["env"]
    patches[0]["spec"]["containers"] = [{"name": "your-app", "env": everybody["env"]}]
    spec["initContainers"] = [{**spec["containers"][0], "name": "migrate"}]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "yours"}, "spec": spec}
    named = [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "yours"}, **each} for each in patches]
    named[0]["metadata"] = {"name": "yours", **patches[0]["metadata"]}
    documents = overlay(tmp_path, pod, patches=[{"patch": yaml.safe_dump(each)} for each in named])
    assert [each["name"] for each in Pod.of(documents).init_containers] == [SIDECAR, "migrate"]
    assert faults(documents) == []
    assert valid(documents, VERSIONS[0])


# The chart.

APP: Final = {"image": "busybox:1.37", "runAsUser": 65534}
SECRET: Final = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "theirs"}}
GRANT: Final = {"client-id": "a", "client-secret": "b", "refresh-token": "c"}
SEED: Final = {"clientId": "a", "clientSecret": "b", "refreshToken": "c", "enabled": True}
CLAIM: Final = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "their-claim"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}

CHARTED: Final[dict[str, tuple[dict[str, Any], list[Document]]]] = {
    "a key in the values": ({"apiKey": KEY}, []),
    "a Secret of theirs": ({"existingSecret": "theirs"}, [{**SECRET, "stringData": {"api-key": KEY}}]),
    "a grant": ({"oauth": SEED}, []),
    "a grant in a Secret of theirs": (
        {"oauth": {"enabled": True}, "existingSecret": "theirs"},
        [{**SECRET, "stringData": GRANT}],
    ),
    "a grant on a volume of theirs": ({"oauth": {**SEED, "existingClaim": "their-claim"}}, [CLAIM]),
    "a grant to be logged in for": ({"oauth": {**SEED, "seeded": False, "refreshToken": ""}}, []),
    "other ports and times": (
        {
            "apiKey": KEY,
            "ports": {"listener": 18080, "admin": 18081},
            "shutdown": {"grace": 5, "drain": 100},
            "upstream": {"url": "https://api.pandadoc.eu", "response_timeout": "60s"},
            "listener": {"cookies": "drop"},
            "config": {"policy": {"profiles": ["no-send"]}, "log": {"level": "warning"}},
            "app": {**APP, "shutdown": 60, "replicas": 3, "ports": [{"containerPort": 8080}]},
        },
        [],
    ),
    "an app with a disk, labels and a quota": (
        {
            "apiKey": KEY,
            "image": {"repository": "yours/proxy", "tag": "9"},
            "imagePullSecrets": [{"name": "pull"}],
            "app": {
                **APP,
                "labels": {"team": "sales"},
                "annotations": {"note": "x"},
                "command": ["sleep"],
                "args": ["9"],
                "env": [{"name": "A", "value": "b"}],
                "resources": {"limits": {"memory": "32Mi"}},
                "volumes": [{"name": "scratch", "emptyDir": {}}],
                "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}],  # noqa: S108 - in a container
            },
        },
        [],
    ),
}
CHART_MUTANTS: Final[list[tuple[str, Mutant]]] = [
    ("a key in the values", ("Deployment/spec/template/spec/initContainers/0/restartPolicy", GONE, "is not Always")),
    ("a key in the values", ("Secret/metadata/name", "other", "pandadoc-secret has no content")),
    ("a key in the values", (CONFIG, instead("0.0.0.0:8081", "127.0.0.1:8081"), "the admin port is not bound")),
    ("a grant", ("Deployment/spec/strategy", GONE, "the strategy is not Recreate")),
    ("a grant", ("PersistentVolumeClaim/metadata/name", "other", "is not here")),
    ("a grant", ("Deployment/spec/template/spec/securityContext/fsGroup", GONE, "the sidecar's group")),
    ("other ports and times", (CONFIG, instead("drain: 100s", "drain: 170s"), "does not outlast the 235 s")),
]


def of_the_chart(name: str, folder: Path) -> list[Document]:
    values, theirs = CHARTED[name]
    return [*charted({"app": APP, **values}, folder), *theirs]


@pytest.mark.parametrize("name", CHARTED)
def test_what_the_chart_makes_is_valid_and_has_no_fault(name: str, tmp_path: Path) -> None:
    documents = of_the_chart(name, tmp_path)
    assert faults(documents) == []
    for version in VERSIONS:
        assert valid(documents, version)


@pytest.mark.parametrize(("name", "broken"), CHART_MUTANTS, ids=[broken[-1] for _, broken in CHART_MUTANTS])
def test_a_mutant_of_what_the_chart_made_is_told_apart(name: str, broken: Mutant, tmp_path: Path) -> None:
    path, change, fault = broken
    found = faults(mutant(path, change, of=of_the_chart(name, tmp_path)))
    assert [each for each in found if fault in each], found


def test_the_charts_sidecar_is_the_components(tmp_path: Path) -> None:
    theirs = dict(Pod.of(RENDERED["deployment"]).init_containers[0])
    ours = dict(Pod.of(of_the_chart("a key in the values", tmp_path)).init_containers[0])
    assert ours.pop("imagePullPolicy") == "IfNotPresent"
    assert ours == theirs


def test_a_changed_configuration_rolls_the_pods_and_a_changed_app_does_not(tmp_path: Path) -> None:
    def mark(**values: Any) -> str:
        documents = charted({"apiKey": KEY, "app": APP, **values}, tmp_path)
        return str(template(only(documents, "Deployment"))["metadata"]["annotations"]["pandadoc-proxy/config"])

    assert mark() != mark(shutdown={"drain": 21})
    assert mark() == mark(app={**APP, "replicas": 2})


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({}, "set apiKey, or existingSecret"),
        ({"apiKey": KEY, "app": {}}, "set app.image, or app.enabled=false"),
        ({"oauth": {"enabled": True}}, "set oauth.clientId and oauth.clientSecret"),
        ({"oauth": {**SEED, "refreshToken": ""}}, "set oauth.refreshToken, or oauth.seeded=false"),
        ({"oauth": SEED, "app": {**APP, "replicas": 2}}, "/app/replicas"),
        ({"oauth": SEED, "apiKey": KEY}, "/apiKey"),
        ({"existingSecret": "theirs", "apiKey": KEY}, "/apiKey"),
        ({"existingSecret": "theirs", "oauth": SEED}, "/oauth/clientId"),
        ({"apiKey": KEY, "apikey": KEY}, "additional properties 'apikey' not allowed"),
        ({"apiKey": KEY, "shutdown": {"drain": "20s"}}, "/shutdown/drain"),
        ({"apiKey": KEY, "config": {"admin": None}}, "invalid propertyName 'admin'"),
        ({"apiKey": KEY, "listener": {"bind": "0.0.0.0:80"}}, "invalid propertyName 'bind'"),
        ({"apiKey": KEY, "upstream": "https://api.pandadoc.eu"}, "upstream"),
        ({"apiKey": KEY, "app": {**APP, "runAsUser": 0}}, "/app/runAsUser"),
    ],
)
def test_values_that_make_no_sense_are_refused(values: dict[str, Any], fault: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedError) as refused:
        charted({"app": APP, **values}, tmp_path)
    assert fault in str(refused.value)


def test_the_linter_has_nothing_to_say_but_that_there_is_no_icon() -> None:
    said = run("helm", "lint", "--strict", CHART, "--set", f"apiKey={KEY},app.image=busybox")
    assert [line for line in said.splitlines() if line.startswith("[")] == ["[INFO] Chart.yaml: icon is recommended"]


def test_a_chart_of_ones_own_includes_the_sidecar(tmp_path: Path) -> None:
    """The README's way: this chart as a dependency, under an alias, with its app off."""
    chart = tmp_path / "mine"
    (chart / "templates").mkdir(parents=True)
    shutil.copytree(CHART, chart / "charts" / "pandadoc-proxy")
    dependency = {"name": "pandadoc-proxy", "version": "0.1.0", "alias": "pandadoc"}
    about = {"apiVersion": "v2", "name": "mine", "version": "1.0.0", "dependencies": [dependency]}
    (chart / "Chart.yaml").write_text(yaml.safe_dump(about))
    job = workload_of("job")
    spec = template(job)["spec"]
    spec |= {"terminationGracePeriodSeconds": "GRACE", "initContainers": "SIDECAR", "volumes": "VOLUMES"}
    text = yaml.safe_dump(job)
    for word, name, layout in (
        ("GRACE", "gracePeriod", ""),
        ("SIDECAR", "sidecar", " | nindent 6"),
        ("VOLUMES", "volumes", " | nindent 6"),
    ):
        text = text.replace(word, f'{{{{ include "pandadoc-proxy.{name}" .Subcharts.pandadoc{layout} }}}}')
    (chart / "templates" / "job.yaml").write_text(text)
    values = {"pandadoc": {"apiKey": KEY, "app": {"enabled": False}}}
    documents = charted(values, tmp_path, chart)
    assert sorted(each["kind"] for each in documents) == ["ConfigMap", "Job", "Secret"]
    assert faults(documents) == []
