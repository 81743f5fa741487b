"""The store that outlives the process: one JSON file, replaced whole, and what makes that certain.

A change is read, compared and written under a lock that lasts for just that. The new ledger is written
into a second slot, synced, renamed over the first, and the folder synced: whatever a crash leaves, one of
the two is whole, and a second slot that is whole and newer counts. A file that can't be read as ours is
refused and never overwritten.

    grant.json          the ledger, mode 0600
    .grant.json.new     the second slot: the next ledger, or room kept for it
    .grant.json.lock    held for a change
    .grant.json.lease   held for a whole refresh, so that processes which share the file redeem one at a time
"""

import errno
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final, TypeVar

from proxy.credential.file_lock import FileLock, give_to
from proxy.credential.ledger import Ledger
from proxy.credential.record import Unreadable, decode, encode
from proxy.credential.store import Lease, StoreError
from proxy.disk import Disk
from proxy.secrets import Secret

T = TypeVar("T")
log = logging.getLogger(__name__)

LARGEST: Final = 1024 * 1024
"""Bytes. Ours has about one thousand; a larger file is somebody else's."""

ROOM: Final = 64 * 1024
"""Bytes that are kept free for a pair before it is redeemed: more than two tokens of the largest size."""

LOCK_PATIENCE: Final = 1.0
"""Seconds to wait for another process's change, which takes milliseconds; within the disk's limit."""

NOT_SUPPORTED: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF})
"""What file systems answer that can't sync a folder, or keep room for a file."""

CURES: Final = {
    errno.ENOSPC: "Free some space there",
    errno.EDQUOT: "Free some space there, or raise its quota",
    errno.EFBIG: "Raise the limit on file sizes (ulimit -f)",
    errno.EROFS: "Mount a writable volume there",
    errno.EACCES: "Give the folder and the file to this process's user",
    errno.EPERM: "Give the folder and the file to this process's user",
    errno.ELOOP: "It is a symbolic link: name the file itself",
    errno.EBUSY: "It is mounted as a single file, which can't be replaced: mount its folder instead",
    errno.EXDEV: "It is mounted as a single file, which can't be replaced: mount its folder instead",
    errno.EISDIR: "Name a file in that folder",
    errno.ENOTDIR: "A file stands where its folder should be",
    errno.ENAMETOOLONG: "Choose a shorter name",
}


def owner_of(token_url: str, client_id: Secret) -> str:
    """Name whose grant it is: refresh tokens are good for one client at one token endpoint."""
    return sha256(f"{token_url}\n{client_id.reveal()}".encode()).hexdigest()[:16]


def default_path(state_home: Path, owner: str) -> Path:
    """Name the file after whose it is: another client or region is another file."""
    return state_home / "pandadoc-proxy" / f"grant-{owner}.json"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a ledger is kept, and whose it is."""

    path: Path
    owner: str


class FileStore:
    """Keeps the ledger in a file. Its place is worked out at the first use.

    (The default name follows from the client's id, and that secret's file may arrive after us.)
    `_said` are the oddities that were told already; the disk's thread adds to them.
    """

    def __init__(self, locate: Callable[[], Place], *, disk: Disk | None = None) -> None:
        """`locate` may raise SecretUnavailable and do file I/O; it is asked until it has answered once."""
        self._locate = locate
        self._place: Place | None = None
        self._disk = disk or Disk()
        self._said: set[str] = set()

    def __repr__(self) -> str:
        return f"<FileStore {self._place.path if self._place else 'nowhere yet'}>"

    @property
    def place(self) -> Place:
        if self._place is None:
            self._place = self._locate()
        return self._place

    @property
    def path(self) -> Path:
        return self.place.path

    async def load(self) -> Ledger:
        return await self._on_disk(self._newest, "read")

    async def update(self, change: Callable[[Ledger], Ledger | None], *, room: bool = False) -> Ledger | None:
        return await self._on_disk(lambda: self._update(change, room=room), "written")

    async def lease(self) -> Lease | None:
        lock = await self._on_disk(lambda: self._lock("lease"), "locked", undo=FileLock.free)
        lease = _FileLease(self._disk, lock)
        if lock.held:
            return lease
        lease.release()
        return None

    async def _on_disk(self, work: Callable[[], T], verb: str, undo: Callable[[T], object] | None = None) -> T:
        try:
            return await self._disk.do(work, undo=undo)
        except (OSError, RuntimeError) as fault:  # RuntimeError: no thread was to be had
            raise self._error(fault, verb) from fault

    def _error(self, fault: OSError | RuntimeError, verb: str) -> StoreError:
        number = fault.errno if isinstance(fault, OSError) else None
        reason = os.strerror(number) if number else str(fault)
        cure = CURES.get(number or 0, "Check that its folder exists, is writable for this user and has space")
        return StoreError(f"The store {self._place.path if self._place else ''} can't be {verb}: {reason}. {cure}.")

    # What follows runs in the disk's thread

    @property
    def _second(self) -> Path:
        return self._beside("new")

    def _beside(self, kind: str) -> Path:
        return self.path.with_name(f".{self.path.name}.{kind}")

    def _newest(self) -> Ledger:
        """Read both slots; return the ledger that counts.

        The second comes first: it may become the first meanwhile, and must be seen in one of the two places.
        """
        second, first = self._second_slot(), self._first_slot()
        return second if second is not None and second.generation > first.generation else first

    def _first_slot(self) -> Ledger:
        try:
            content = self._read(self.path)
        except FileNotFoundError:
            return Ledger()
        try:
            return decode(content, self.place.owner)
        except Unreadable as fault:
            raise StoreError(
                f"The store {self.path} {fault}; it is left as it is. Restore a copy of it, or move it away: a proxy"
                " that is lending has the newest grant in memory and writes it again. Otherwise run"
                " `pandadoc-proxy login` then."
            ) from None

    def _second_slot(self) -> Ledger | None:
        """Return what a process that died had begun to write, if it is whole."""
        try:
            return decode(self._second_content(), self.place.owner)
        except (FileNotFoundError, Unreadable):
            return None

    def _second_content(self) -> bytes:
        """Read the second slot, without the room behind it: a writer may have died before it was cut off."""
        return self._read(self._second).rstrip(b"\0")

    def _read(self, path: Path) -> bytes:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            self._look_at(file.fileno())
            return file.read(LARGEST + 1)

    def _look_at(self, handle: int) -> None:
        """Refuse what is no regular file; mend a mode that lets others read (fsGroup sets such modes), or say so."""
        status = os.fstat(handle)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(status.st_mode):
            raise StoreError(f"The store {self.path} is not a regular file; it is left as it is. Name another.")
        if status.st_mode & 0o077:
            try:
                os.fchmod(handle, 0o600)
            except OSError as fault:
                self._say(f"others may read the store {self.path}, and its mode can't be mended: {fault.strerror}")

    def _update(self, change: Callable[[Ledger], Ledger | None], *, room: bool) -> Ledger | None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._locked():
            newest = self._newest()
            wanted = change(newest)
            if wanted is not None:
                self._roll_forward(newest)
                if room:
                    self._keep_room()  # before anything changes: without room, an intent must not stay behind
                self._put(wanted)
                if room:
                    self._keep_room()
        return wanted

    @contextmanager
    def _locked(self) -> Iterator[None]:
        deadline = time.monotonic() + LOCK_PATIENCE
        lock = self._lock("lock")
        try:
            while not lock.take():
                if time.monotonic() > deadline:
                    raise StoreError(
                        f"The store {self.path} can't be written: another process has had it locked for"
                        f" {LOCK_PATIENCE:g} s. Is one stopped there?"
                    )
                time.sleep(0.005)
            yield
        finally:
            lock.free()

    def _lock(self, kind: str) -> FileLock:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(self._beside(kind))
        if lock.unsupported:
            self._say(f"there are no locks on the file system of {self.path}: run one process on it")
        return lock

    def _roll_forward(self, newest: Ledger) -> None:
        """End the change of a process that died between writing and renaming; the second slot is free then."""
        if newest == self._second_slot():
            with self._open_second() as handle:
                os.ftruncate(handle, len(self._second_content()))
                os.fsync(handle)
            self._second.replace(self.path)
            self._sync_folder()

    def _put(self, wanted: Ledger) -> None:
        """Write the second slot and make it the first. Where only that fails, a new pair counts where it is."""
        with self._or_no_second():
            self._write_second(encode(wanted, self.place.owner))
        self._second.replace(self.path)
        self._sync_folder()

    @contextmanager
    def _or_no_second(self) -> Iterator[None]:
        """Leave no half in the second slot after a failure: a disk that is full needs the space."""
        try:
            yield
        except OSError:
            with suppress(OSError):
                self._second.unlink()
            raise

    def _write_second(self, content: bytes) -> None:
        """Fill the second slot. It is empty or holds zeros by now, so that half of a write is never a whole."""
        with self._open_second() as handle:
            if os.pread(handle, 1, 0) not in {b"", b"\0"}:
                os.ftruncate(handle, 0)
            _write(handle, content)
            os.ftruncate(handle, len(content))
            os.fsync(handle)

    def _keep_room(self) -> None:
        """Make sure that the next ledger finds room, whoever fills the disk meanwhile."""
        with self._or_no_second(), self._open_second() as handle:
            try:
                os.posix_fallocate(handle, 0, ROOM)
            except OSError as fault:
                if fault.errno not in NOT_SUPPORTED:
                    raise

    @contextmanager
    def _open_second(self) -> Iterator[int]:
        handle = os.open(self._second, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(handle, 0o600)
            give_to(handle, self.path.parent)
            yield handle
        finally:
            os.close(handle)

    def _sync_folder(self) -> None:
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        except OSError as fault:
            if fault.errno not in NOT_SUPPORTED:
                raise
            self._say(f"the folder of {self.path} can't be synced: a power cut may undo the last refresh there")
        finally:
            os.close(folder)

    def _say(self, oddity: str) -> None:
        if oddity not in self._said:
            self._said.add(oddity)
            log.warning("%s", oddity)


class _FileLease:
    """A lock that is held for a whole refresh."""

    def __init__(self, disk: Disk, lock: FileLock) -> None:
        self._disk = disk
        self._lock = lock

    def release(self) -> None:
        self._disk.soon(self._lock.free)


def _write(handle: int, content: bytes) -> None:
    done = 0
    while done < len(content):
        done += os.pwrite(handle, content[done:], done)
