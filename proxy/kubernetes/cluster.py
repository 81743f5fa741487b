"""Where the Kubernetes API is, and by what it is trusted. Here: as a pod sees it.

"Accessing the Kubernetes API from a Pod": two variables and a folder that the kubelet mounts. Reads files; it is
called in a thread of its own, and again when TLS has failed, for authorities are renewed too.
"""

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from yarl import URL

from proxy.kubernetes.faults import KubernetesFault
from proxy.kubernetes.tokens import TokenFile, Tokens
from proxy.secret_reader import SecretReader
from proxy.secrets import SecretReference
from proxy.trust import verifying

MOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")

LARGEST_FILE: Final = 1024 * 1024
"""Bytes of a kubeconfig or a bundle of authorities."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """One API and our way to it. The environment's HTTPS_PROXY is not: an API server is near."""

    server: URL
    namespace: str
    tls: ssl.SSLContext
    tokens: Tokens
    proxy: URL | None = field(default=None, repr=False)  # a kubeconfig's, and no other; it may hold a password
    server_name: str | None = None  # a kubeconfig's tls-server-name


def in_cluster(
    environ: Mapping[str, str],
    reader: SecretReader,
    monotonic: Callable[[], float],
    mount: Path = MOUNT,
    namespace: str | None = None,
) -> Cluster:
    """Make it from what every pod with a service account is given. Raises KubernetesFault. Blocks.

    The mount need not tell a `namespace` that is known.
    """
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not port.isdecimal():
        raise KubernetesFault("KUBERNETES_SERVICE_PORT is not a port's number: let Kubernetes set it.")
    return Cluster(
        server=URL.build(scheme="https", host=host, port=int(port)),
        namespace=namespace or read_file(mount / "namespace").decode("utf-8", "replace").strip(),
        tls=tls_context(read_file(mount / "ca.crt")),
        tokens=TokenFile(SecretReference.file(mount / "token"), reader, monotonic),
    )


def tls_context(authorities: bytes | None) -> ssl.SSLContext:
    """Trust these authorities alone, or else the system's. Raises KubernetesFault."""
    pem = (
        None if authorities is None else authorities.decode("ascii", "replace") or "nothing"
    )  # "" is the system's, too
    try:
        return verifying(pem)
    except ssl.SSLError as fault:
        raise KubernetesFault("The authority of the Kubernetes API (ca.crt) is no PEM file: mount it anew.") from fault


def read_file(path: Path) -> bytes:
    """Read a small file. Raises KubernetesFault."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as fault:
        raise KubernetesFault(
            f"{path} can't be read ({fault.strerror}): mount a service account's token into this container,"
            " or name a kubeconfig."
        ) from fault
    if len(content) > LARGEST_FILE:
        raise KubernetesFault(f"{path} is larger than 1MiB: it is none of Kubernetes' files.")
    return content
