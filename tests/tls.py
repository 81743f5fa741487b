"""Certificates for tests of TLS listeners: authorities, pairs, and files that are replaced as Kubernetes does."""

import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Final

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from mounted import MountedFolder

LONG_AGO: Final = datetime(2020, 1, 1, tzinfo=UTC)
FAR_OFF: Final = datetime(2100, 1, 1, tzinfo=UTC)


@dataclass
class CertificateFolder(MountedFolder):
    """A folder of PEM files, mounted. `put` alone changes it."""

    ca: trustme.CA = field(default_factory=trustme.CA)

    def renew(self, not_after: datetime | None = None) -> trustme.LeafCert:
        """Put a new certificate of the authority and its key."""
        leaf = self.ca.issue_cert("localhost", "127.0.0.1", not_after=not_after)
        self.put(cert=chain(leaf), key=leaf.private_key_pem.bytes())
        return leaf

    @property
    def files(self) -> dict[str, str]:
        return {"cert": str(self.path / "cert"), "key": str(self.path / "key")}


def chain(leaf: trustme.LeafCert) -> bytes:
    return b"".join(pem.bytes() for pem in leaf.cert_chain_pems)


def trusting(ca: trustme.CA, own: trustme.LeafCert | None = None) -> ssl.SSLContext:
    """Make a caller's context: it trusts `ca`, and shows `own`."""
    context = ssl.create_default_context()
    ca.configure_trust(context)
    if own is not None:
        own.configure_cert(context)
    return context


def client_hello(context: ssl.SSLContext) -> bytes:
    """Return what a caller says first, and all that it can say by itself."""
    there = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), there, server_hostname="localhost").do_handshake()
    return there.read()


class BareAuthority:
    """An authority without key identifiers and keyUsage, as EKS, MicroK8s and TLS-inspecting proxies have them.

    What it issues names no authority key either. RFC 5280 §4.2.1 asks for all three; OpenSSL does if told to be strict.
    """

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes")])
        builder = _certificate(self._name, self._name, self._key.public_key())
        made = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=False)
        self.cert_pem = trustme.Blob(self._signed(made))

    def issue_cert(self, address: str, not_after: datetime = FAR_OFF) -> trustme.LeafCert:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))])
        made = _certificate(self._name, subject, key.public_key(), not_after).add_extension(names, critical=False)
        return trustme.LeafCert(_pem(key), self._signed(made), [])

    def _signed(self, builder: x509.CertificateBuilder) -> bytes:
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _certificate(
    issuer: x509.Name, subject: x509.Name, key: ec.EllipticCurvePublicKey, not_after: datetime = FAR_OFF
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().issuer_name(issuer).subject_name(subject).public_key(key)
    builder = builder.not_valid_before(LONG_AGO).not_valid_after(not_after)
    return builder.serial_number(x509.random_serial_number())


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
