"""Where the API is, as a pod sees it."""

import time
from pathlib import Path

import pytest
import trustme

from proxy.kubernetes.cluster import Cluster, in_cluster
from proxy.kubernetes.faults import KubernetesFault
from proxy.secret_reader import SecretReader


def found(folder: Path, host: str = "10.96.0.1", **environ: str) -> Cluster:
    (folder / "namespace").write_text("shop\n")
    if not (folder / "ca.crt").exists():
        (folder / "ca.crt").write_bytes(trustme.CA().cert_pem.bytes())
    return in_cluster({"KUBERNETES_SERVICE_HOST": host, **environ}, SecretReader(), time.monotonic, folder)


@pytest.mark.parametrize(
    ("host", "server"),
    [
        ("10.96.0.1", "https://10.96.0.1:6443"),
        ("fd00::1", "https://[fd00::1]:6443"),
        ("api.lan", "https://api.lan:6443"),
    ],
)
def test_an_address_of_either_kind_or_a_name_is_taken(tmp_path: Path, host: str, server: str) -> None:
    cluster = found(tmp_path, host, KUBERNETES_SERVICE_PORT="6443")
    assert str(cluster.server) == server
    assert cluster.namespace == "shop"


def test_no_proxy_is_ever_used(tmp_path: Path) -> None:
    assert found(tmp_path, HTTPS_PROXY="http://proxy.corp:3128").proxy is None


def test_its_authority_alone_is_trusted(tmp_path: Path) -> None:
    (authority,) = found(tmp_path).tls.get_ca_certs()
    assert "trustme" in str(authority["subject"])


@pytest.mark.parametrize("content", ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "nothing"])
def test_an_authority_that_is_none_is_for_a_person(tmp_path: Path, content: str) -> None:
    """An empty file must not stand for the system's authorities."""
    (tmp_path / "ca.crt").write_text(content)
    with pytest.raises(KubernetesFault, match=r"\(ca\.crt\) is no PEM file: mount it anew\."):
        found(tmp_path)


def test_a_namespace_that_is_configured_need_not_be_mounted(tmp_path: Path) -> None:
    """A projected volume of one's own has what one has put there."""
    found(tmp_path)
    (tmp_path / "namespace").unlink()
    environ = {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}
    cluster = in_cluster(environ, SecretReader(), time.monotonic, tmp_path, "sales")
    assert cluster.namespace == "sales"
    with pytest.raises(KubernetesFault, match="namespace can't be read"):
        in_cluster(environ, SecretReader(), time.monotonic, tmp_path)


def test_a_port_that_is_none_is_for_a_person(tmp_path: Path) -> None:
    """As Docker's links of old set it."""
    with pytest.raises(KubernetesFault, match="is not a port's number"):
        found(tmp_path, KUBERNETES_SERVICE_PORT="tcp://10.96.0.1:443")
