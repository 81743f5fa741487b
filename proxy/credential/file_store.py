"""The store that outlives the process: one JSON file, replaced whole.

A save writes a new file beside the old one, syncs it, renames it over the old one and syncs the
folder; a crash leaves the old file or the new one, never half of either. Mode 0600. A file that
can't be read as ours is refused and never overwritten.
"""

import asyncio
import os
import tempfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal, TypeVar

import msgspec

from proxy.credential.refusals import Refusals
from proxy.credential.store import Grant, StoreError
from proxy.secrets import Secret

T = TypeVar("T")
LARGEST: Final = 1024 * 1024
"""Bytes. Ours has about one thousand; a larger file is somebody else's."""


class _Cooldown(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    until: float = 0.0
    length: float = 0.0
    spent: bool = False


class _Record(msgspec.Struct, frozen=True, kw_only=True, tag_field="format", tag="pandadoc-proxy grant"):
    """The file's content. Times are wall-clock seconds since 1970."""

    version: Literal[1] = 1
    generation: int
    refresh_token: str
    access_token: str | None
    obtained_at: float
    expires_at: float
    seeds: list[str]
    cooldown: _Cooldown


def default_path(state_home: Path, token_url: str, client_id: Secret) -> Path:
    """Name the file after what the grant belongs to: another client or region is another file."""
    owner = sha256(f"{token_url}\n{client_id.reveal()}".encode()).hexdigest()[:16]
    return state_home / "pandadoc-proxy" / f"grant-{owner}.json"


class FileStore:
    """Keeps the grant in a file. Its path is worked out at the first use; after that the file alone changes.

    (The default name follows from the client's id, and that secret's file may arrive after us.)
    """

    def __init__(self, locate: Callable[[], Path]) -> None:
        """`locate` may raise SecretUnavailable; it is asked until it has answered once."""
        self._locate = locate
        self._path: Path | None = None

    def __repr__(self) -> str:
        return f"<FileStore {self._path}>"

    @property
    def path(self) -> Path:
        if self._path is None:
            self._path = self._locate()
        return self._path

    async def load(self) -> Grant | None:
        return await self._on_disk(self._load, "read")

    async def save(self, grant: Grant) -> None:
        await self._on_disk(lambda: self._replace(grant), "written")

    async def prove_writable(self) -> None:
        await self._on_disk(self._write_and_drop, "written")

    async def _on_disk(self, work: Callable[[], T], verb: str) -> T:
        """Do file work in a thread, for a disk may hang and the loop may not."""
        try:
            return await asyncio.to_thread(work)
        except (OSError, RuntimeError) as fault:  # RuntimeError: no thread was to be had
            reason = getattr(fault, "strerror", None) or type(fault).__name__
            raise StoreError(
                f"The store {self.path} can't be {verb}: {reason}."
                " Check that its folder exists, is writable for this user and has space."
            ) from fault

    def _load(self) -> Grant | None:
        try:
            with self.path.open("rb") as file:
                content = file.read(LARGEST)
        except FileNotFoundError:
            return None
        try:
            return _decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise StoreError(
                f"The store {self.path} is not a grant this version can read; it is left as it is. Move it away"
                " without a restart if the proxy is lending: it holds the newest grant and writes it again."
                " Otherwise restore a copy of it, or move it away and configure a new refresh token."
            ) from None

    def _replace(self, grant: Grant) -> None:
        kept = self._load()  # raises for a file that is not ours: it is never overwritten
        if kept is not None and kept.generation > grant.generation:
            return  # another holder has rotated: its pair is the living one (law 2)
        fresh = self._write_beside(_encode(grant))
        try:
            fresh.replace(self.path)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise
        self._sync_folder()

    def _write_and_drop(self) -> None:
        self._write_beside(b"\0" * 1024).unlink()

    def _write_beside(self, content: bytes) -> Path:
        """Write and sync a new file in the store's folder, mode 0600 from its first byte."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
        return Path(name)

    def _sync_folder(self) -> None:
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _encode(grant: Grant) -> bytes:
    refusals = grant.refusals
    record = _Record(
        generation=grant.generation,
        refresh_token=grant.refresh_token.reveal(),
        access_token=grant.access_token.reveal() if grant.access_token else None,
        obtained_at=grant.obtained_at,
        expires_at=grant.expires_at,
        seeds=list(grant.seeds),
        cooldown=_Cooldown(refusals.until, refusals.length, refusals.spent),
    )
    return msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n"


def _decode(content: bytes) -> Grant:
    record = msgspec.json.decode(content, type=_Record)
    cooldown = record.cooldown
    return Grant(
        generation=record.generation,
        refresh_token=Secret(record.refresh_token),
        access_token=Secret(record.access_token) if record.access_token else None,
        obtained_at=record.obtained_at,
        expires_at=record.expires_at,
        seeds=tuple(record.seeds),
        refusals=Refusals(until=cooldown.until, length=cooldown.length, spent=cooldown.spent),
    )
