"""Certificates for tests of TLS listeners: authorities, pairs, and files that are replaced as Kubernetes does."""

import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import trustme

LONG_AGO: Final = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass
class CertificateFolder:
    """A folder of PEM files behind a `..data` link, as a mounted secret is. `put` alone changes it."""

    path: Path
    ca: trustme.CA = field(default_factory=trustme.CA)
    versions: int = 0

    def put(self, **contents: bytes) -> None:
        """Swap all of the folder's files at once; what is not named stays as it is."""
        before = {file.name: file.read_bytes() for file in self.path.glob("..data/*")}
        self.versions += 1
        version = self.path / f"..version-{self.versions}"
        version.mkdir(parents=True)
        for name, content in {**before, **contents}.items():
            (version / name).write_bytes(content)
            if not (self.path / name).is_symlink():
                (self.path / name).symlink_to(Path("..data") / name)
        swapped = self.path / "..data_tmp"
        swapped.symlink_to(version.name)
        swapped.rename(self.path / "..data")

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
