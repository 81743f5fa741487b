"""What a TLS listener shows of itself: its certificate and key, and whose certificates it asks its callers for.

The files are looked at again while we serve, for certificates are renewed meanwhile, and Kubernetes swaps a whole
folder of them. What can't be used is told, and what was read before goes on being used. A new context has new
session keys, so no session of a caller outlives the authorities it was verified with; nor should its connection.
"""

from __future__ import annotations

import hashlib
import logging
import ssl
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from msgspec import Struct

from proxy.notice import Notice
from proxy.secrets import irregular

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from proxy.config import Tls
    from proxy.disk import Disk

log = logging.getLogger(__name__)

Part = Literal["cert", "key", "client_ca"]

LARGEST: Final = 1024 * 1024
"""Bytes of a file. A bundle of all public authorities has a quarter of it."""

TRIES: Final = 3
"""How often files are read that change while they are read."""

MISMATCHES: Final = frozenset({"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"})
"""What OpenSSL says of a key that is another certificate's; the last where it is of another kind, too."""


NO_CHECK_TIME: Final = ssl.VerifyFlags(0x200000)
"""X509_V_FLAG_NO_CHECK_TIME, which Python's ssl has no name for (X509_VERIFY_PARAM_set_flags(3))."""


class CertificateFlaw(Exception):
    """A file can't be used: `part` is its key in the configuration."""

    def __init__(self, part: Part, text: str) -> None:
        super().__init__(text)
        self.part = part


class _Read(Struct, frozen=True):
    """What was read, as fingerprints: a key's bytes are not kept."""

    pair: bytes = b""
    authorities: bytes = b""


class _Loaded(Struct, frozen=True):
    read: _Read
    context: ssl.SSLContext
    doubt: str
    expires_at: float | None


class ServerCertificate:
    """A listener's.

    What changes: `_context`, for new handshakes, `expires_at`, in seconds since 1970, and `_read`, the fingerprint of
    what they were made of; by `_take`.
    """

    def __init__(self, where: str, files: Tls, disk: Disk) -> None:
        """`where` is the listener's address, for people."""
        self.files = files
        self._where = where
        self._disk = disk
        self._notice = Notice(log)
        self._read = _Read()
        self.expires_at: float | None = None
        self._context: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        return f"<ServerCertificate {self.files.cert} of {self._where}>"

    @property
    def authorities(self) -> bytes:
        """A fingerprint of those that vouch for callers; b"" where there are none."""
        return self._read.authorities

    def context(self) -> ssl.SSLContext:
        """Return what the next handshake is made with."""
        assert self._context is not None  # noqa: S101 - `start` has set it
        return self._context

    async def start(self) -> None:
        """Read the files. Raises OSError that says what is wrong."""
        try:
            await self._take()
        except CertificateFlaw as flaw:
            raise OSError(f"{self._where}: tls.{flaw.part}: {flaw}") from flaw
        except OSError as fault:  # the disk hangs, or no thread is to be had for it
            raise OSError(f"{self._where}: tls: {fault}") from fault

    async def look(self) -> bool:
        """Read the files again, if they have changed; tell whether callers must show themselves anew."""
        before = self._read
        try:
            fresh = await self._take()
        except (CertificateFlaw, OSError) as flaw:
            part = f"tls.{flaw.part}: " if isinstance(flaw, CertificateFlaw) else ""
            self._notice.say(f"{self._where}: {part}{flaw}; until then new connections get what was read before")
            return False
        self._notice.say("")
        if fresh is None:
            return False
        log.info("%s: new connections get the new certificate of %s", self._where, self.files.cert)
        if fresh.doubt:
            log.warning("%s: %s", self._where, fresh.doubt)
        return before.authorities != fresh.read.authorities

    async def _take(self) -> _Loaded | None:
        fresh = await self._disk.do(lambda: _fresh(self.files, self._read))
        if fresh is not None:
            self._read, self._context, self.expires_at = fresh.read, fresh.context, fresh.expires_at
        return fresh


def server_context(files: Tls) -> ssl.SSLContext:
    """Make a context: TLS 1.2 at least, HTTP/1.1 only. Raises CertificateFlaw. Blocks."""
    for flaw in flaws(files):
        raise flaw
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # a caller could have us compute for ever
    context.set_alpn_protocols(["http/1.1"])
    _load_pair(context, files)
    if files.client_ca is not None:
        _load_authorities(context, files.client_ca, "client_ca")
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # one that another has issued need not come with that
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0  # the same for TLS 1.3
    return context


def flaws(files: Tls) -> Iterator[CertificateFlaw]:
    """Yield everything that is wrong with the files. Blocks."""
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    checks: list[Callable[[], object]] = [
        partial(_load_authorities, bare, files.cert, "cert"),
        partial(_content, files.key, "key"),
    ]
    if files.client_ca is not None:
        checks.append(partial(_load_authorities, bare, files.client_ca, "client_ca"))
    wrong: set[Part] = set()
    for check in checks:
        try:
            check()
        except CertificateFlaw as flaw:
            wrong.add(flaw.part)
            yield flaw
    if wrong.isdisjoint({"cert", "key"}):
        try:
            _load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), files)
        except CertificateFlaw as flaw:
            yield flaw


def doubt(files: Tls) -> str:
    """Say why a certificate that could be loaded is of no use to callers: its dates, its purpose, its key; or ""."""
    try:
        _verified(files)
    except ssl.SSLCertVerificationError as refused:
        return f"who verifies {files.cert} will refuse it ({refused.verify_message}): renew it"
    except ssl.SSLError as failed:  # its curve is one that OpenSSL speaks by itself to nobody
        return f"most callers can't use the key of {files.cert} ({failed.reason}): make a pair on P-256, or of RSA"
    return ""


def expiry(files: Tls) -> float | None:
    """Tell when a certificate that could be loaded expires, or has, in seconds since 1970.

    The listener's own is meant, the first in the file. None: there is a doubt about it that no other date would end.
    """
    try:
        seen = _verified(files, NO_CHECK_TIME)
    except ssl.SSLError:  # a refused certificate is one
        return None
    return float(ssl.cert_time_to_seconds(str(seen["notAfter"])))


def _verified(files: Tls, flags: ssl.VerifyFlags = ssl.VerifyFlags.VERIFY_DEFAULT) -> dict[str, Any]:
    """Return what a caller sees of a certificate. Raises SSLError, and of its kinds SSLCertVerificationError.

    OpenSSL judges, in a handshake that never leaves this function, with the certificate as its own authority.
    """
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _load_pair(server, files)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | flags
    client.load_verify_locations(files.cert)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking, asked = client.wrap_bio(back, there), server.wrap_bio(there, back, server_side=True)
    for _ in range(2):
        for side in (asking, asked):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return asking.getpeercert() or {}


def _fresh(files: Tls, known: _Read) -> _Loaded | None:
    """Load the files unless they are what was loaded before. What is loaded is what was read, or it is read again."""
    for _ in range(TRIES):
        before = _fingerprint(files)
        if before == known:
            return None
        loaded = _Loaded(before, server_context(files), doubt(files), expiry(files))
        if _fingerprint(files) == before:
            return loaded
    raise CertificateFlaw("cert", f"{files.cert}, or what belongs to it, is written just now")


def _fingerprint(files: Tls) -> _Read:
    pair = hashlib.sha256(_content(files.cert, "cert")).digest() + hashlib.sha256(_content(files.key, "key")).digest()
    if files.client_ca is None:
        return _Read(pair)
    return _Read(pair, hashlib.sha256(_content(files.client_ca, "client_ca")).digest())


def _content(path: Path, part: Part) -> bytes:
    try:
        if irregular(path):
            raise CertificateFlaw(part, f"{path} is not a regular file: name a PEM file")
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as fault:
        raise CertificateFlaw(part, f"{path} can't be read: {fault.strerror}. Create it, or name another") from fault
    if len(content) > LARGEST:
        raise CertificateFlaw(part, f"{path} is larger than 1MiB: name a PEM file")
    return content


def _load_authorities(context: ssl.SSLContext, path: Path, part: Part) -> None:
    _content(path, part)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as fault:
        raise CertificateFlaw(part, f"{path} holds no certificate: name a PEM file") from fault


def _load_pair(context: ssl.SSLContext, files: Tls) -> None:
    try:
        context.load_cert_chain(files.cert, files.key, _no_passphrase(files.key))
    except ssl.SSLError as fault:
        reason: Any = fault.reason  # None for a file without what was looked for; the stubs don't know
        if reason in MISMATCHES:
            text = f"{files.key} is not the key of the first certificate in {files.cert}: write both anew, as a pair"
        elif reason is None:
            text = f"{files.key} holds no private key: name a PEM file"
        else:
            text = f"OpenSSL refuses {files.key} with {files.cert} ({reason}): make a stronger pair"
        raise CertificateFlaw("key", text) from fault


def _no_passphrase(path: Path) -> Callable[[], str]:
    """Answer for whoever asks for a passphrase; OpenSSL would ask the terminal."""

    def refuse() -> str:
        raise CertificateFlaw("key", f"{path} is encrypted: write the key without a passphrase")

    return refuse
