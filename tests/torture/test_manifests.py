"""Every example as kubectl and Helm render it: by Kubernetes' own schemas, and by what no schema sees.

What was rendered is broken in one place after another, and each mutant must be told apart by its name.
"""

import re
import shutil
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from deploy.manifest import faults
from deploy.mutants import (
    OF_A_CRON_JOB,
    OF_A_DEPLOYMENT,
    OF_A_GRANT,
    OF_A_JOB,
    OF_A_NETWORK_POLICY,
    OF_A_STATEFUL_SET,
    Mutant,
    mutant,
    of_a_fleet,
    of_the_pod,
    plain,
)
from deploy.pod import SIDECAR, Document, Pod, is_workload, template
from deploy.readme import README, blocks
from deploy.schemas import VERSIONS, valid
from torture.rendering import KEY, KUBERNETES, kustomized, only, overlay, workload_of

from proxy import __version__

EXAMPLES: Final = sorted(path.name for path in (KUBERNETES / "examples").iterdir())
GRANT: Final = plain(list(yaml.safe_load_all((KUBERNETES / "fleet" / "grant.yaml").read_text())))
FLEET: Final = [*kustomized(KUBERNETES / "examples" / "fleet"), *GRANT]
"""Three workloads that share a grant, and what `kubectl create -f` makes beside them."""

FLEETS: Final = {"fleet: deployment": "Deployment", "fleet: job": "Job", "fleet: cronjob": "CronJob"}
RENDERED: Final = {
    **{name: kustomized(KUBERNETES / "examples" / name) for name in EXAMPLES if name != "fleet"},
    **{
        name: [each for each in FLEET if each["kind"] == kind or not is_workload(each)] for name, kind in FLEETS.items()
    },
}
KINDS: Final = {"deployment": "Deployment", "job": "Job", "cronjob": "CronJob", "statefulset": "StatefulSet"}

OF_ITS_KIND: Final[dict[str, list[Mutant]]] = {
    "deployment": OF_A_DEPLOYMENT,
    "job": OF_A_JOB,
    "cronjob": OF_A_CRON_JOB,
    "statefulset": OF_A_STATEFUL_SET,
    "oauth": OF_A_GRANT,
    **{name: of_a_fleet(kind) for name, kind in FLEETS.items()},
}
MUTANTS: Final = [
    pytest.param(name, *each, id=f"{name}: {each[-1]}")
    for name in RENDERED
    for each in (
        *OF_ITS_KIND[name],
        *OF_A_NETWORK_POLICY,
        *(of_the_pod(KINDS[name]) if name in KINDS else ()),
    )
]


def test_there_is_an_example_of_each_kind_one_of_oauth_and_one_of_many_pods_with_one_grant() -> None:
    assert set(EXAMPLES) == {*KINDS, "oauth", "fleet"}
    assert only(RENDERED["fleet: deployment"], "Deployment")["spec"]["replicas"] > 1
    assert {name: Pod.of(RENDERED[name]).kind for name in KINDS} == KINDS


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", RENDERED)
def test_every_rendered_document_is_valid_for_the_version(name: str, version: str) -> None:
    assert valid(RENDERED[name], version)


@pytest.mark.parametrize("name", RENDERED)
def test_every_rendered_example_has_no_fault(name: str) -> None:
    assert faults(RENDERED[name]) == []


@pytest.mark.parametrize(("name", "path", "change", "fault"), MUTANTS)
def test_a_mutant_of_what_was_rendered_is_told_apart(name: str, path: str, change: object, fault: str) -> None:
    found = faults(mutant(path, change, of=RENDERED[name]))
    assert [each for each in found if fault in each], found


# Somebody else's workloads.


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


def as_the_readme_says(folder: Path, app: str = "your-app", key: str = KEY, **more: Any) -> list[Document]:
    """Render a CronJob of an app's as the README tells to, with more settings."""
    inner, outer = (block.replace("your-app", app) for block in blocks("yaml") if "resources:" in block)
    shutil.copytree(KUBERNETES, folder / "pandadoc-proxy")
    (folder / "pandadoc").mkdir()
    (folder / "pandadoc" / "kustomization.yaml").write_text(inner)
    (folder / "kustomization.yaml").write_text(yaml.safe_dump({**yaml.safe_load(outer), **more}))
    workload = workload_of("cronjob")
    workload["metadata"] = {**workload["metadata"], "name": app}
    (folder / "your-workload.yaml").write_text(yaml.safe_dump(workload))
    (folder / "api-key").write_text(key)
    return kustomized(folder)


@pytest.mark.parametrize("name", RENDERED)
def test_two_apps_in_a_namespace_have_nothing_by_the_same_name(name: str) -> None:
    """Else the second one's key takes the place of the first one's, in its running pods too."""
    kinds = {"Secret", "ConfigMap", "NetworkPolicy", "PersistentVolumeClaim"}
    named = {each["metadata"]["name"] for each in RENDERED[name] if each["kind"] in kinds and each not in GRANT}
    assert named
    assert {each for each in named if not each.startswith("your-app-")} == set()


def test_two_apps_that_follow_the_readme_keep_their_keys_and_their_own_names(tmp_path: Path) -> None:
    apps = {app: as_the_readme_says(tmp_path / app, app, f"the-key-of-{app}") for app in ("sales", "archive")}
    sales, archive = ({(each["kind"], each["metadata"]["name"]) for each in documents} for documents in apps.values())
    assert sales & archive == set()
    for app, documents in apps.items():
        pod = Pod.of(documents)
        assert pod.workload["metadata"]["name"] == app
        assert pod.content("pandadoc-secret") == {"api-key": f"the-key-of-{app}"}


def test_the_readmes_kustomization_renders_and_runs_the_image_that_it_names(tmp_path: Path) -> None:
    documents = as_the_readme_says(tmp_path)
    pod = Pod.of(documents)
    assert faults(documents) == []
    assert only(documents, "Secret")["stringData"] == {"api-key": KEY}
    assert pod.sidecar is not None
    assert pod.sidecar["image"].endswith(f"/pandadoc-proxy:{__version__}")


def test_the_readmes_patch_leaves_the_secret_to_something_else(tmp_path: Path) -> None:
    found = re.search(r"`patches: (\[.*\])`", README.read_text())
    assert found
    documents = as_the_readme_says(tmp_path, patches=yaml.safe_load(found[1]))
    assert "Secret" not in {each["kind"] for each in documents}
    named = {"name": "your-app-pandadoc"}
    theirs = {"apiVersion": "v1", "kind": "Secret", "metadata": named, "stringData": {"api-key": KEY}}
    assert faults([*documents, theirs]) == []


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
