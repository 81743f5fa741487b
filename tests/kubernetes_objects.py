"""What a Kubernetes API keeps and how it may change: Secrets and Leases, each change a revision, as in etcd.

After "Kubernetes API Concepts" (resource versions, updates, efficient detection of changes) and the validation of
Secret v1 core and Lease v1 coordination.k8s.io.
"""

import binascii
import copy
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

Object = dict[str, Any]

API_VERSIONS: Final = {"secrets": "v1", "leases": "coordination.k8s.io/v1"}
KINDS: Final = {"secrets": "Secret", "leases": "Lease"}

LARGEST_SECRET: Final = 1024 * 1024
"""Bytes of all values, decoded (v1.MaxSecretSize)."""


class Problem(Exception):
    """What is answered instead of an object: a Status."""

    def __init__(self, code: int, reason: str, message: str = "") -> None:
        super().__init__(message or reason)
        self.code = code
        self.reason = reason

    def status(self) -> Object:
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": str(self),
            "reason": self.reason,
            "code": self.code,
        }


@dataclass(frozen=True)
class Key:
    """Where an object is kept."""

    plural: str
    namespace: str
    name: str


@dataclass(frozen=True)
class Change:
    """One event of the history."""

    revision: int
    type: str
    key: Key
    object: Object


@dataclass
class Objects:
    """Everything that is kept. `apply`, `create` and `delete` change it; `compact` forgets how it came to be so."""

    kept: dict[Key, Object] = field(default_factory=dict)
    revision: int = 1000
    history: list[Change] = field(default_factory=list)
    forgotten: int = 0  # the last revision after which the history is not complete

    def get(self, key: Key) -> Object:
        if key not in self.kept:
            raise Problem(404, "NotFound", f'{key.plural} "{key.name}" not found')
        return self.kept[key]

    def create(self, key: Key, made: Object) -> Object:
        if key in self.kept:
            raise Problem(409, "AlreadyExists", f'{key.plural} "{key.name}" already exists')
        return self._keep("ADDED", key, copy.deepcopy(made))

    def delete(self, key: Key) -> Object:
        gone = self.get(key)
        del self.kept[key]
        self.revision += 1
        last = {**gone, "metadata": {**gone["metadata"], "resourceVersion": str(self.revision)}}
        self.history.append(Change(self.revision, "DELETED", key, last))
        return last

    def replace(self, key: Key, wanted: Object) -> Object:
        """PUT. Only a Secret may be replaced without saying which version is meant."""
        if key.plural == "leases" and not wanted.get("metadata", {}).get("resourceVersion"):
            raise Problem(422, "Invalid", "metadata.resourceVersion: must be specified for an update")
        return self._update(key, wanted)

    def merge(self, key: Key, patch: Object) -> Object:
        """PATCH as RFC 7396 says; a resourceVersion in it is a condition, as in any update."""
        return self._update(key, merged(self.get(key), patch))

    def since(self, revision: int, plural: str, namespace: str, name: str | None) -> Iterator[Change]:
        """Return the events after a revision; a watch that is open has them all before it."""
        for change in self.history:
            ours = change.key.plural == plural and change.key.namespace == namespace and name in {None, change.key.name}
            if change.revision > revision and ours:
                yield change

    def compact(self) -> None:
        self.forgotten = self.revision

    def _update(self, key: Key, wanted: Object) -> Object:
        was = self.get(key)
        version = wanted.get("metadata", {}).get("resourceVersion") or was["metadata"]["resourceVersion"]
        if version != was["metadata"]["resourceVersion"]:
            raise Problem(409, "Conflict", "the object has been modified")
        if wanted.get("metadata", {}).get("name", key.name) != key.name:
            raise Problem(400, "BadRequest", "the name of the object does not match the name on the URL")
        if was.get("immutable") and wanted.get("data") != was.get("data"):
            raise Problem(422, "Invalid", "data: field is immutable when `immutable` is set")
        if {**wanted, "metadata": None} == {**was, "metadata": None} and _labels(wanted) == _labels(was):
            return was  # nothing changes, so there is no new version
        return self._keep("MODIFIED", key, copy.deepcopy(wanted))

    def _keep(self, what: str, key: Key, made: Object) -> Object:
        validate(key.plural, made)
        self.revision += 1
        metadata = {**made.get("metadata", {}), "name": key.name, "namespace": key.namespace}
        metadata["resourceVersion"] = str(self.revision)
        identity = {"kind": KINDS[key.plural], "apiVersion": API_VERSIONS[key.plural]}
        self.kept[key] = {**made, **identity, "metadata": metadata}
        self.history.append(Change(self.revision, what, key, self.kept[key]))
        return self.kept[key]


def merged(target: Any, patch: Any) -> Any:
    """Apply a merge patch (RFC 7396 §2)."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def validate(plural: str, made: Object) -> None:
    """Refuse what an API server refuses of the fields that are used here."""
    if plural == "leases":
        _validate_lease(made.get("spec") or {})
        return
    size = 0
    for name, value in (made.get("data") or {}).items():
        try:
            size += len(b64decode(value, validate=True))
        except (binascii.Error, TypeError) as fault:
            raise Problem(400, "BadRequest", f"data.{name}: illegal base64 data") from fault
    if size > LARGEST_SECRET:
        raise Problem(422, "Invalid", "data: Too long: must have at most 1048576 bytes")


def _validate_lease(spec: Object) -> None:
    duration, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if duration is not None and (not isinstance(duration, int) or not 0 < duration < 2**31):
        raise Problem(422, "Invalid", "spec.leaseDurationSeconds: must be greater than 0")
    if transitions is not None and (not isinstance(transitions, int) or transitions < 0):
        raise Problem(422, "Invalid", "spec.leaseTransitions: must be greater than or equal to 0")


def _labels(made: Object) -> tuple[Any, Any]:
    metadata = made.get("metadata", {})
    return metadata.get("labels"), metadata.get("annotations")
