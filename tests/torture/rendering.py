"""kubectl and Helm, real ones: what they make of our files, as loaded documents."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml
from deploy.mutants import plain
from deploy.pod import Document

ROOT: Final = Path(__file__).parents[2] / "deploy"
KUBERNETES: Final = ROOT / "kubernetes"
CHART: Final = ROOT / "helm" / "pandadoc-proxy"
KEY: Final = "a-key-of-somebody"
PROGRAMS: Final = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
"""`make torture` unpacks them beside the interpreter (tools/unpack_kubectl.py)."""


class RefusedError(Exception):
    """The program did not render it; says why."""


def run(name: str, *words: str | Path) -> str:
    """Return what a program prints. Raises RefusedError."""
    program = shutil.which(name, path=PROGRAMS)
    assert program, f"{name} is on no path: on Linux on x86-64 `make torture` brings it"
    ended = subprocess.run([program, *words], capture_output=True, text=True, check=False)  # noqa: S603 - a test's words
    if ended.returncode != 0:
        raise RefusedError(ended.stderr)
    return ended.stdout


def kustomized(folder: Path) -> list[Document]:
    return loaded(run("kubectl", "kustomize", folder))


def overlay(folder: Path, workload: Document, **more: Any) -> list[Document]:
    """Render a kustomization of somebody else's: a workload of theirs with our base and component."""
    ours = {name: os.path.relpath(KUBERNETES / name, folder) for name in ("base", "component")}
    settings = {"resources": [ours["base"], "workload.yaml"], "components": [ours["component"]], **more}
    (folder / "workload.yaml").write_text(yaml.safe_dump(dict(workload)))
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(settings))
    return kustomized(folder)


def charted(values: Mapping[str, Any], folder: Path, chart: Path = CHART, name: str = "yours") -> list[Document]:
    """Render a chart with values, as a release of that name."""
    file = folder / "values.json"
    file.write_bytes(msgspec.json.encode(values))
    return loaded(run("helm", "template", name, chart, "--values", file))


def loaded(text: str) -> list[Document]:
    return plain([each for each in yaml.safe_load_all(text) if each is not None])


def workload_of(name: str) -> dict[str, Any]:
    text = (KUBERNETES / "examples" / name / f"{name}.yaml").read_text()
    return dict(list(yaml.safe_load_all(text))[-1])


def only(documents: list[Document], kind: str) -> Document:
    (found,) = (each for each in documents if each["kind"] == kind)
    return found
