"""The Helm chart: what it makes of values, which it refuses, and how a chart of somebody else's takes it in."""

import json
import shutil
import textwrap
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from deploy.manifest import faults
from deploy.mutants import CONFIG, GONE, Mutant, instead, mutant
from deploy.pod import Document, Pod
from deploy.readme import blocks, commands
from deploy.schemas import VERSIONS, valid
from torture.rendering import (
    CHART,
    KEY,
    KUBERNETES,
    ROOT,
    RefusedError,
    charted,
    kustomized,
    loaded,
    only,
    run,
    workload_of,
)

from proxy import __version__

APP: Final = {"image": "busybox:1.37", "runAsUser": 65534}
SECRET: Final = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "theirs"}}
GRANT: Final = {"client-id": "a", "client-secret": "b", "refresh-token": "c"}
SEED: Final = {"clientId": "a", "clientSecret": "b", "refreshToken": "c", "enabled": True}
LOGIN: Final = {**SEED, "seeded": False, "refreshToken": ""}
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
    "a grant to be logged in for": ({"oauth": LOGIN}, []),
    "a grant that many pods share": (
        {"oauth": {**LOGIN, "shared": True}, "app": {**APP, "replicas": 3}},
        [],
    ),
    "a grant that many releases share": (
        {"oauth": {**SEED, "shared": True, "existingGrant": "pandadoc-grant"}, "app": {**APP, "replicas": 3}},
        list(yaml.safe_load_all((KUBERNETES / "fleet" / "grant.yaml").read_text())),
    ),
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
    ("a grant that many pods share", ("Role/rules/0/resourceNames", GONE, "may not do just what its sidecar does")),
    ("a grant that many pods share", ("Lease/metadata/name", "other", "-grant is not here")),
    ("a grant that many pods share", ("Deployment/spec/template/spec/serviceAccountName", GONE, "may not do just")),
    ("a grant that many pods share", ("Deployment/spec/template/spec/volumes/2", GONE, "finds no account")),
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
    theirs = dict(Pod.of(kustomized(KUBERNETES / "examples" / "deployment")).init_containers[0])
    ours = dict(Pod.of(of_the_chart("a key in the values", tmp_path)).init_containers[0])
    assert ours.pop("imagePullPolicy") == "IfNotPresent"
    assert ours == theirs


@pytest.mark.parametrize(
    ("words", "files"), [*zip(commands("helm install"), [{"api-key": KEY}, GRANT, GRANT], strict=True)]
)
def test_the_readmes_helm_lines_make_what_they_say(words: list[str], files: dict[str, str]) -> None:
    name, chart, *options = words[2:]
    documents = loaded(run("helm", "template", name, str(ROOT.parent / chart), *options))
    theirs = {**SECRET, "metadata": {"name": "pandadoc"}, "stringData": files}
    assert faults([*documents, theirs]) == []


@pytest.mark.parametrize(("app", "where"), [({**APP, "enabled": True}, "deploy/yours"), ({"enabled": False}, "POD")])
def test_a_login_is_told_where_there_is_something_to_log_in_at(app: dict[str, Any], where: str, tmp_path: Path) -> None:
    """Without an app of its own the chart makes no Deployment."""
    file = tmp_path / "values.json"
    file.write_text(json.dumps({"app": app, "oauth": LOGIN}))
    told = run("helm", "install", "yours", CHART, "--dry-run=client", "--values", file)
    assert f"kubectl exec -it -n default {where} -c pandadoc-proxy -- pandadoc-proxy login" in told
    assert ("in a POD of your workload" in told) is (where == "POD")


def test_a_changed_configuration_rolls_the_pods_and_leaves_those_that_are_there_alone(tmp_path: Path) -> None:
    """They have mounted another ConfigMap, which stays: a running proxy takes what is written into its own."""

    def named(**values: Any) -> str:
        documents = charted({"apiKey": KEY, "app": APP, **values}, tmp_path)
        (volume,) = (each for each in Pod.of(documents).volumes.values() if "configMap" in each)
        name = str(only(documents, "ConfigMap")["metadata"]["name"])
        assert volume["configMap"] == {"name": name}
        return name

    assert named() != named(shutdown={"drain": 21})
    assert named() == named(app={**APP, "replicas": 2})


def test_neither_the_next_release_nor_a_rollback_is_in_the_way_of_a_configuration(tmp_path: Path) -> None:
    """What the next release lacks, Helm deletes; where it may not, some of its versions can't roll back to it."""
    about = only(charted({"apiKey": KEY, "app": APP}, tmp_path), "ConfigMap")["metadata"]
    assert about["annotations"] == {"helm.sh/hook": "pre-install,pre-upgrade,pre-rollback"}
    assert about["labels"] == {"app.kubernetes.io/name": "pandadoc-proxy", "app.kubernetes.io/instance": "yours"}


def test_pods_that_may_be_replaced_one_by_one_say_so(tmp_path: Path) -> None:
    """Helm then owns what Kubernetes would fill in, and takes it away where the strategy becomes Recreate."""
    quarter = {"maxSurge": "25%", "maxUnavailable": "25%"}
    for values, strategy in (
        ({"apiKey": KEY}, {"type": "RollingUpdate", "rollingUpdate": quarter}),
        ({"oauth": {**LOGIN, "shared": True}}, {"type": "RollingUpdate", "rollingUpdate": quarter}),
        ({"oauth": SEED}, {"type": "Recreate"}),
    ):
        assert only(charted({"app": APP, **values}, tmp_path), "Deployment")["spec"]["strategy"] == strategy


@pytest.mark.parametrize(("host", "bind"), [("0.0.0.0", "0.0.0.0:8081"), ("::", "[::]:8081")])  # noqa: S104 - the pod's
def test_the_admin_port_is_at_the_address_of_whatever_family_pods_have(host: str, bind: str, tmp_path: Path) -> None:
    documents = charted({"apiKey": KEY, "app": APP, "adminHost": host}, tmp_path)
    assert faults(documents) == []
    assert yaml.safe_load(only(documents, "ConfigMap")["data"]["config.yaml"])["admin"] == {"bind": bind}


@pytest.mark.parametrize(
    "oauth",
    [{}, {"enabled": True, "existingClaim": "1e3"}, {"enabled": True, "shared": True, "existingGrant": "678"}],
    ids=["a key", "on a volume", "shared"],
)
def test_names_and_numbers_that_yaml_reads_otherwise_stay_what_they_are(oauth: dict[str, Any], tmp_path: Path) -> None:
    """A release may be called 1234, and OpenShift's users are ten digits long."""
    values = {"existingSecret": "12345", "app": {**APP, "runAsUser": 1000650000}, "oauth": oauth}
    documents = charted(values, tmp_path, name="1234")
    assert valid(documents, VERSIONS[0])
    assert Pod.of(documents).volumes["pandadoc-secret"]["secret"] == {"secretName": "12345"}
    assert Pod.of(documents).spec["containers"][0]["securityContext"]["runAsUser"] == 1000650000


def test_what_helm_cant_say_with_null_is_said_otherwise(tmp_path: Path) -> None:
    """It drops a null from values, so that the default would hold."""
    documents = charted({"apiKey": KEY, "app": APP, "listener": {"health": "", "cookies": "drop"}}, tmp_path)
    (listener,) = yaml.safe_load(only(documents, "ConfigMap")["data"]["config.yaml"])["listeners"]
    assert listener == {"bind": "127.0.0.1:8080", "health": None, "cookies": "drop"}


@pytest.mark.parametrize(
    ("said", "claimed"), [(None, {}), ("", {"storageClassName": ""}), ("1", {"storageClassName": "1"})]
)
def test_no_storage_class_is_not_the_clusters_default(
    said: str | None, claimed: dict[str, str], tmp_path: Path
) -> None:
    claim = only(charted({"app": APP, "oauth": {**SEED, "storageClass": said}}, tmp_path), "PersistentVolumeClaim")
    assert {key: value for key, value in claim["spec"].items() if key == "storageClassName"} == claimed


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({}, "set apiKey, or existingSecret"),
        ({"apiKey": KEY, "app": {}}, "set app.image, or app.enabled=false"),
        ({"oauth": {"enabled": True}}, "set oauth.clientId and oauth.clientSecret"),
        ({"oauth": {**SEED, "refreshToken": ""}}, "set oauth.refreshToken, or oauth.seeded=false"),
        ({"oauth": SEED, "app": {**APP, "replicas": 2}}, "/app/replicas"),
        ({"oauth": SEED, "apiKey": KEY}, "/apiKey"),
        ({"oauth": {**SEED, "existingGrant": "theirs"}}, "/oauth/existingGrant"),
        ({"oauth": {**SEED, "shared": True, "existingClaim": "their-claim"}}, "/oauth/existingClaim"),
        ({"apiKey": KEY, "oauth": {"shared": True}}, "/oauth/enabled"),
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


def chart_with(folder: Path, *aliases: str) -> Path:
    """Make a chart that has this one as a dependency, under each alias."""
    chart = folder / "mine"
    (chart / "templates").mkdir(parents=True)
    shutil.copytree(CHART, chart / "charts" / "pandadoc-proxy")
    dependencies = [
        {"name": "pandadoc-proxy", "version": __version__, "alias": alias, "condition": f"{alias}.enabled"}
        for alias in aliases
    ]
    about = {"apiVersion": "v2", "name": "mine", "version": "1.0.0", "dependencies": dependencies}
    (chart / "Chart.yaml").write_text(yaml.safe_dump(about))
    return chart


OF_TWO: Final = {
    alias: {"app": {"enabled": False}, "oauth": {**SEED, "refreshToken": alias, "shared": shared}}
    for alias, shared in (("sales", False), ("Team_Archive", True), ("team-archive2", True))
}


def test_a_chart_that_takes_it_twice_has_two_of_each(tmp_path: Path) -> None:
    """One Secret for both would lend the key of one workspace to the app of the other."""
    documents = charted(OF_TWO, tmp_path, chart_with(tmp_path, *OF_TWO))
    made = [(str(each["kind"]), str(each["metadata"]["name"])) for each in documents]
    assert len(made) == len(set(made))
    assert ("Secret", "yours-team-archive-pandadoc-proxy") in made
    for version in VERSIONS:
        assert valid(documents, version)


def test_names_that_would_have_to_be_cut_to_one_are_refused(tmp_path: Path) -> None:
    chart = chart_with(tmp_path, *OF_TWO)
    with pytest.raises(RefusedError, match="shorten the alias"):
        charted(OF_TWO, tmp_path, chart, name="a-release-that-has-a-long-name")


def test_a_chart_of_ones_own_includes_the_sidecar(tmp_path: Path) -> None:
    """The README's way: this chart as a dependency, under an alias, with its app off."""
    chart = chart_with(tmp_path, "pandadoc")
    job = workload_of("job")
    (included,) = (block for block in blocks("yaml") if "include" in block)
    text = yaml.safe_dump(job)
    head, _, containers = text.partition("      containers:\n")
    assert containers
    text = f"{head}{textwrap.indent(included, '      ')}      containers:\n{containers}".replace(
        "nindent 2", "nindent 8"
    )
    (chart / "templates" / "job.yaml").write_text(text)
    values = {"pandadoc": {"enabled": True, "apiKey": KEY, "app": {"enabled": False}}}
    documents = charted(values, tmp_path, chart)
    assert sorted(each["kind"] for each in documents) == ["ConfigMap", "Job", "Secret"]
    assert faults(documents) == []
