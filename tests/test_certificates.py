"""Certificates and keys: what is said of files that can't be used, and of those that nobody will trust."""

import asyncio
import logging
import os
import ssl
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from tls import LONG_AGO, CertificateFolder, trusting

from proxy import certificates
from proxy.certificates import ServerCertificate, doubt, expiry, flaws, server_context
from proxy.config import Tls
from proxy.disk import Disk

EMPTY_BLOCK = b"-----BEGIN %(kind)s-----\nAAAA\n-----END %(kind)s-----\n"


@pytest.fixture
def folder(tmp_path: Path) -> CertificateFolder:
    folder = CertificateFolder(tmp_path / "tls")
    folder.renew()
    return folder


def files(folder: CertificateFolder, *, client_ca: bool = False) -> Tls:
    return Tls(
        cert=folder.path / "cert", key=folder.path / "key", client_ca=folder.path / "client_ca" if client_ca else None
    )


def told(of: Tls) -> list[tuple[str, str]]:
    return [(flaw.part, str(flaw)) for flaw in flaws(of)]


def encrypted(key: bytes) -> bytes:
    opened = load_pem_private_key(key, None)
    return opened.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"passphrase"))


def test_a_good_pair_has_no_flaw_and_no_doubt(folder: CertificateFolder) -> None:
    assert told(files(folder)) == []
    assert doubt(files(folder)) == ""
    context = server_context(files(folder))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_NONE


def test_with_client_ca_certificates_are_required_and_no_ticket_is_given(folder: CertificateFolder) -> None:
    folder.put(client_ca=trustme.CA().cert_pem.bytes())
    context = server_context(files(folder, client_ca=True))
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.num_tickets == 0
    assert ssl.OP_NO_TICKET in context.options


def let_in(server: ssl.SSLContext, trusted: trustme.CA, own: trustme.LeafCert) -> str:
    """Shake hands with a caller who shows `own`; return why it was refused, or ""."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = trusting(trusted, own).wrap_bio(back, there, server_hostname="localhost")
    asked = server.wrap_bio(there, back, server_side=True)
    try:
        for _ in range(2):
            for side in (asking, asked):
                with suppress(ssl.SSLWantReadError):
                    side.do_handshake()
    except ssl.SSLCertVerificationError as refused:
        return refused.verify_message
    assert asked.getpeercert()
    return ""


def test_of_the_authorities_in_client_ca_each_lets_in_whom_it_has_issued(folder: CertificateFolder) -> None:
    """Also one that is itself issued: alone, it lets in no others of its root's. By the root's word all come in."""
    root = trustme.CA()
    issuing = root.create_child_ca()
    apps = [issuer.issue_cert("app@example.com") for issuer in (root, issuing, trustme.CA())]
    unknown = "unable to get local issuer certificate"
    for authority, refusals in ((root, ["", "", unknown]), (issuing, [unknown, "", unknown])):
        folder.put(client_ca=authority.cert_pem.bytes())
        server = server_context(files(folder, client_ca=True))
        assert [let_in(server, folder.ca, app) for app in apps] == refusals


@pytest.mark.parametrize("key_type", trustme.KeyType)
def test_a_key_of_another_certificate_is_told(folder: CertificateFolder, key_type: trustme.KeyType) -> None:
    """OpenSSL has different words for it where the keys are of different kinds."""
    folder.put(key=folder.ca.issue_cert("localhost", key_type=key_type).private_key_pem.bytes())
    [(part, text)] = told(files(folder))
    assert part == "key"
    assert text == (
        f"{folder.path}/key is not the key of the first certificate in {folder.path}/cert: write both anew, as a pair"
    )


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage\n", EMPTY_BLOCK % {b"kind": b"PRIVATE KEY"}, EMPTY_BLOCK % {b"kind": b"CERTIFICATE"}],
    ids=["empty", "garbage", "an empty key", "an empty certificate"],
)
@pytest.mark.parametrize("part", ["cert", "key", "client_ca"])
def test_a_file_without_what_is_wanted_is_told(folder: CertificateFolder, part: str, content: bytes) -> None:
    folder.put(**{"client_ca": trustme.CA().cert_pem.bytes(), part: content})
    what = "private key" if part == "key" else "certificate"
    assert told(files(folder, client_ca=True)) == [(part, f"{folder.path}/{part} holds no {what}: name a PEM file")]


def test_everything_that_is_wrong_is_told_at_once(folder: CertificateFolder) -> None:
    folder.put(cert=b"", client_ca=b"x" * 2**21)
    (folder.path / "key").unlink()
    assert told(files(folder, client_ca=True)) == [
        ("cert", f"{folder.path}/cert holds no certificate: name a PEM file"),
        ("key", f"{folder.path}/key can't be read: No such file or directory. Create it, or name another"),
        ("client_ca", f"{folder.path}/client_ca is larger than 1MiB: name a PEM file"),
    ]


@pytest.mark.parametrize("kind", ["a pipe", "a folder"])
@pytest.mark.parametrize("part", ["cert", "key", "client_ca"])
def test_what_is_no_file_is_told_and_not_waited_for(folder: CertificateFolder, part: str, kind: str) -> None:
    """A FIFO is open only once somebody writes: `check` would never end."""
    folder.put(client_ca=trustme.CA().cert_pem.bytes())
    (folder.path / part).unlink()
    os.mkfifo(folder.path / part) if kind == "a pipe" else (folder.path / part).mkdir()
    assert told(files(folder, client_ca=True)) == [
        (part, f"{folder.path}/{part} is not a regular file: name a PEM file")
    ]


def test_an_encrypted_key_is_told_and_no_terminal_is_asked(folder: CertificateFolder) -> None:
    folder.put(key=encrypted((folder.path / "key").read_bytes()))
    assert told(files(folder)) == [("key", f"{folder.path}/key is encrypted: write the key without a passphrase")]


def weak_pair() -> tuple[bytes, bytes]:
    """Return a certificate with an RSA key of 1024 bits, and that key."""
    key = rsa.generate_private_key(65537, 1024)  # noqa: S505 - that is the point
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    own = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM), own


def test_a_pair_that_openssl_finds_too_weak_is_told(folder: CertificateFolder) -> None:
    cert, key = weak_pair()
    folder.put(cert=cert, key=key)
    [(part, text)] = told(files(folder))
    assert part == "key"
    assert text.endswith("(EE_KEY_TOO_SMALL): make a stronger pair")


def test_an_expired_certificate_is_doubted(folder: CertificateFolder) -> None:
    folder.renew(LONG_AGO)
    assert told(files(folder)) == []
    assert doubt(files(folder)) == (
        f"who verifies {folder.path}/cert will refuse it (certificate has expired): renew it"
    )


def test_the_expiry_is_the_listeners_own_certificates_whether_it_is_over_or_not(folder: CertificateFolder) -> None:
    in_a_week = datetime.now(UTC).replace(microsecond=0) + timedelta(days=7)
    for end in (in_a_week, LONG_AGO):
        folder.renew(end)
        assert expiry(files(folder)) == end.timestamp()


def test_a_certificate_for_another_purpose_has_no_expiry_to_tell(folder: CertificateFolder) -> None:
    """Nobody would trust it on any day; the doubt says so."""
    cert, key = client_pair()
    folder.put(cert=cert, key=key)
    assert "unsuitable certificate purpose" in doubt(files(folder))
    assert expiry(files(folder)) is None


def test_a_key_that_most_callers_cant_use_is_doubted_and_served_all_the_same(folder: CertificateFolder) -> None:
    """There may be callers who can, as some who asked for a curve of their own."""
    key = ec.generate_private_key(ec.BrainpoolP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1)).sign(key, SHA256())
    own = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    folder.put(cert=made.public_bytes(Encoding.PEM), key=own)
    assert told(files(folder)) == []
    begin, end = f"most callers can't use the key of {folder.path}/cert (", "): make a pair on P-256, or of RSA"
    assert doubt(files(folder)).startswith(begin)  # what OpenSSL calls it depends on its version
    assert doubt(files(folder)).endswith(end)
    assert expiry(files(folder)) is None
    assert server_context(files(folder)).minimum_version == ssl.TLSVersion.TLSv1_2


def client_pair() -> tuple[bytes, bytes]:
    """Return a certificate that only clients may show, and its key."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    own = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return builder.add_extension(purpose, critical=True).sign(key, SHA256()).public_bytes(Encoding.PEM), own


async def test_a_renewed_certificates_expiry_is_told_once_it_is_taken(folder: CertificateFolder) -> None:
    certificate = ServerCertificate("here", files(folder), Disk())
    folder.renew(LONG_AGO)
    await certificate.start()
    assert certificate.expires_at == LONG_AGO.timestamp()
    in_a_week = datetime.now(UTC).replace(microsecond=0) + timedelta(days=7)
    folder.renew(in_a_week)
    await certificate.look()
    assert certificate.expires_at == in_a_week.timestamp()


async def test_files_that_change_while_they_are_read_are_read_again(
    folder: CertificateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The swap falls between the look at the bytes and OpenSSL's own reading."""
    original = certificates.server_context
    swaps = iter([True])

    def swapping(of: Tls) -> ssl.SSLContext:
        if next(swaps, False):
            folder.renew()
        return original(of)

    monkeypatch.setattr(certificates, "server_context", swapping)
    certificate = ServerCertificate("here", files(folder), Disk())
    await certificate.start()
    context = certificate.context()
    await certificate.look()
    assert certificate.context() is context  # what it read is what it has loaded


async def test_files_that_never_stand_still_are_told(
    folder: CertificateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = certificates.server_context

    def swapping(of: Tls) -> ssl.SSLContext:
        folder.renew()
        return original(of)

    monkeypatch.setattr(certificates, "server_context", swapping)
    with pytest.raises(OSError, match=r"^here: tls\.cert: .*/cert, or what belongs to it, is written just now$"):
        await ServerCertificate("here", files(folder), Disk()).start()


async def test_where_no_thread_is_to_be_had_the_listener_is_named(
    folder: CertificateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is what a start says that ends, and a reload that is tried again."""

    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    certificate = ServerCertificate("here", files(folder), Disk())
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refused)
        with pytest.raises(OSError, match=r"^here: tls: no thread could be started"):
            await certificate.start()
    await certificate.start()


async def test_a_disk_that_hangs_leaves_what_was_read_before(
    folder: CertificateFolder, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk()
    certificate = ServerCertificate("here", files(folder), disk)
    await certificate.start()
    context = certificate.context()
    monkeypatch.setattr(disk, "_limit", 0.1)
    hangs = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hanging(_: Tls) -> bytes:
        asyncio.run_coroutine_threadsafe(hangs.wait(), loop).result(10)
        return b""

    monkeypatch.setattr(certificates, "_fingerprint", hanging)
    await certificate.look()
    hangs.set()
    assert certificate.context() is context
    assert "does the disk hang?" in caplog.text
    assert "until then new connections get what was read before" in caplog.text


async def test_a_pipe_in_its_place_keeps_no_later_certificate_from_being_taken(
    folder: CertificateFolder, caplog: pytest.LogCaptureFixture
) -> None:
    certificate = ServerCertificate("here", files(folder), Disk())
    await certificate.start()
    context = certificate.context()
    (folder.path / "cert").unlink()
    os.mkfifo(folder.path / "cert")
    await certificate.look()
    assert certificate.context() is context
    assert "is not a regular file" in caplog.text
    (folder.path / "cert").unlink()
    folder.renew()
    await certificate.look()
    assert certificate.context() is not context


async def test_a_renewed_certificate_that_nobody_will_trust_is_taken_with_a_warning(
    folder: CertificateFolder, caplog: pytest.LogCaptureFixture
) -> None:
    """It is the newest good pair; the operator hears of it before callers do."""
    certificate = ServerCertificate("here", files(folder), Disk())
    await certificate.start()
    folder.renew(LONG_AGO)
    with caplog.at_level(logging.INFO, "proxy"):
        await certificate.look()
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
    assert "certificate has expired" in caplog.text
