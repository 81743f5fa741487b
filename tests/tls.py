"""Certificates for tests of TLS listeners: authorities, pairs, and files that are replaced as Kubernetes does."""

import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import trustme
from mounted import MountedFolder

LONG_AGO: Final = datetime(2020, 1, 1, tzinfo=UTC)


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
