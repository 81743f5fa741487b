"""A pod as a workload among loaded documents describes it, and what the documents say around it."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self, TypeAlias

Document: TypeAlias = Mapping[str, Any]

SIDECAR: Final = "pandadoc-proxy"


def template(workload: Document) -> Document:
    """Return the pod's template: of a CronJob, the one of its jobs; of a Pod, itself."""
    if workload["kind"] == "Pod":
        return workload
    spec = workload["spec"]["jobTemplate"]["spec"] if workload["kind"] == "CronJob" else workload["spec"]
    found: Document = spec["template"]
    return found


def is_workload(document: Document) -> bool:
    return document["kind"] in {"Deployment", "StatefulSet", "Job", "CronJob", "Pod"}


@dataclass(frozen=True)
class Pod:
    """What the containers of one workload see."""

    workload: Document
    documents: Sequence[Document]

    @classmethod
    def of(cls, documents: Sequence[Document]) -> Self:
        """Take the one workload among the documents."""
        (workload,) = filter(is_workload, documents)
        return cls(workload, documents)

    @property
    def kind(self) -> str:
        return str(self.workload["kind"])

    @property
    def spec(self) -> Document:
        spec: Document = template(self.workload)["spec"]
        return spec

    @property
    def labels(self) -> Mapping[str, str]:
        return dict(template(self.workload).get("metadata", {}).get("labels", {}))

    @property
    def init_containers(self) -> list[Document]:
        return list(self.spec.get("initContainers", ()))

    @property
    def containers(self) -> list[Document]:
        return [*self.init_containers, *self.spec["containers"]]

    @property
    def sidecar(self) -> Document | None:
        return next((each for each in self.containers if each["name"] == SIDECAR), None)

    @property
    def volumes(self) -> dict[str, Document]:
        """Return the volumes by name, those that a StatefulSet claims for each pod among them."""
        claimed = self.workload["spec"].get("volumeClaimTemplates", ()) if self.kind == "StatefulSet" else ()
        named: dict[str, Document] = {each["metadata"]["name"]: {"persistentVolumeClaim": {}} for each in claimed}
        return named | {each["name"]: each for each in self.spec.get("volumes", ())}

    def all_of(self, kind: str) -> list[Document]:
        return [each for each in self.documents if each["kind"] == kind]

    def content(self, volume: str) -> Mapping[str, str]:
        """Return the files of a volume that a ConfigMap or Secret among the documents fills."""
        source = self.volumes.get(volume, {})
        if "secret" in source:
            return self.data("Secret", source["secret"]["secretName"])
        return self.data("ConfigMap", source.get("configMap", {}).get("name", ""))

    def data(self, kind: str, name: str) -> Mapping[str, str]:
        for document in self.all_of(kind):
            if document["metadata"]["name"] == name:
                encoded = document.get("data", {}) if kind == "Secret" else {}
                plain = document.get("stringData" if kind == "Secret" else "data", {})
                return {key: base64.b64decode(text).decode() for key, text in encoded.items()} | dict(plain)
        return {}

    def environ(self, container: Document) -> Iterator[tuple[str, str]]:
        """Yield a container's variables; one whose Secret or ConfigMap is not among the documents is left out."""
        for variable in container.get("env", ()):
            source = variable.get("valueFrom", {})
            reference = source.get("secretKeyRef") or source.get("configMapKeyRef")
            kind = "Secret" if "secretKeyRef" in source else "ConfigMap"
            data = self.data(kind, reference["name"]) if reference else {}
            value = data.get(reference["key"]) if reference else variable.get("value", "")
            if value is not None:
                yield variable["name"], value
