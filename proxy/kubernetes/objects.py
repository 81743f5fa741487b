"""The fields that are looked at; all others stay the server's and are never sent back.

Secret v1 core, Lease v1 coordination.k8s.io, WatchEvent v1 meta. A resourceVersion is a word of the server's,
compared for equality alone ("Kubernetes API Concepts: Resource versions"). What has none is not taken for an object: a
patch without one would go over whatever is there.
"""

from typing import Annotated

import msgspec
from msgspec import Struct


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    """ObjectMeta, or a list's."""

    resource_version: Annotated[str, msgspec.Meta(min_length=1)]


class SecretObject(msgspec.Struct, frozen=True):
    """`data` is base64 on the wire."""

    metadata: Metadata
    data: dict[str, bytes] | None = None

    def __repr__(self) -> str:
        return f"<SecretObject {self.metadata.resource_version}>"


class SecretList(msgspec.Struct, frozen=True):
    metadata: Metadata
    items: list[SecretObject] | None = None


class LeaseSpec(msgspec.Struct, frozen=True, rename="camel"):
    """Times are RFC 3339 with microseconds (MicroTime)."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class LeaseObject(msgspec.Struct, frozen=True):
    metadata: Metadata
    spec: LeaseSpec | None = None


class Event(msgspec.Struct, frozen=True):
    """What a watch tells. `object` is the Secret, or of a BOOKMARK its metadata, or of an ERROR a Status."""

    type: str
    object: msgspec.Raw  # which prints nothing of itself


class Bookmark(msgspec.Struct, frozen=True):
    metadata: Metadata


class Named(Struct, frozen=True):
    """One object by its name, and no other: so RBAC can say who may."""

    group: str  # "" is core
    plural: str
    name: str
    namespace: str | None  # None: the cluster's own for us

    def path(self, namespace: str) -> str:
        """Return the path of the collection; `namespace` where we name none."""
        root = f"/apis/{self.group}/v1" if self.group else "/api/v1"
        return f"{root}/namespaces/{self.namespace or namespace}/{self.plural}"
