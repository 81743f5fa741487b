"""The store that outlives the process: one JSON file, changed under a lock, by a thread of its own.

A change is read, compared and written under a lock that lasts for just that. How a write is made certain
stands in slots.py. A file that can't be read as ours is refused and never overwritten.

    grant.json          the ledger, mode 0600
    .grant.json.new     the second slot: the next ledger, or room kept for it
    .grant.json.lock    held for a change
    .grant.json.lease   held for a whole refresh, so that processes which share the file redeem one at a time
"""

import errno
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from msgspec import Struct

from proxy.credential.file_lock import FileLock
from proxy.credential.ledger import Ledger
from proxy.credential.record import Unreadable
from proxy.credential.slots import Slots, beside, kin, make_folder
from proxy.credential.store import Quiet, Release, StoreError
from proxy.disk import Disk
from proxy.utf8 import encodable

T = TypeVar("T")
log = logging.getLogger(__name__)

LOCK_PATIENCE: Final = 1.0
"""Seconds to wait for another process's change, which takes milliseconds; within the disk's limit."""

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


def default_path(state_home: Path, owner: str) -> Path:
    """Name the file after whose it is: another client or region is another file."""
    return state_home / "pandadoc-proxy" / f"grant-{owner}.json"


class Place(Struct, frozen=True):
    """Where a ledger is kept, and whose it is."""

    path: Path
    owner: str


class FileStore(Quiet):
    """Keeps the ledger in a file. Its place is worked out at the first use.

    (The default name follows from the client's id, and that secret's file may arrive after us.)
    `_place` and `whose` are set by that, in the disk's thread; `_disk` is another one after `close`; `_said` are the
    oddities that were told already, to which it adds.
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
    def where(self) -> str:
        return encodable(str(self._place.path)) if self._place else ""

    @property
    def place(self) -> Place:
        if self._place is None:
            self._place = self._locate()
            self.whose = self._place.owner
        return self._place

    @property
    def path(self) -> Path:
        return self.place.path

    async def load(self) -> Ledger:
        return await self._on_disk(self._newest, "read")

    async def peek(self, *, anew: bool = False) -> Ledger:
        del anew  # a disk is asked each time
        return await self.load()

    async def update(self, change: Callable[[Ledger], Ledger | None], *, room: bool = False) -> Ledger | None:
        return await self._on_disk(lambda: self._update(change, room=room), "written")

    async def lease(self, seconds: float) -> Release | None:
        del seconds  # the kernel takes it from a process that ends
        lock = await self._on_disk(lambda: self._lock("lease"), "locked", undo=FileLock.free)
        if lock.held:
            return partial(self._disk.soon, lock.free)
        self._disk.soon(lock.free)
        return None

    async def close(self) -> None:
        """Let go of the thread: it ends behind what it was asked for, and a lease. What comes late has another."""
        self._disk = Disk()

    async def _on_disk(self, work: Callable[[], T], verb: str, undo: Callable[[T], object] | None = None) -> T:
        try:
            return await self._disk.do(work, undo=undo)
        except OSError as fault:
            raise self._error(fault, verb) from fault

    def _error(self, fault: OSError, verb: str) -> StoreError:
        reason = os.strerror(fault.errno) if fault.errno else str(fault)
        cure = CURES.get(fault.errno or 0, "Check that its folder exists, is writable for this user and has space")
        path = str(self._place.path) if self._place else ""
        return StoreError(f"The store {path} can't be {verb}: {reason}{_where(fault, path)}. {cure}.")

    # What follows runs in the disk's thread

    def _newest(self) -> Ledger:
        try:
            return self._slots.newest()
        except Unreadable as fault:
            cure = fault.cure or (
                "Restore a copy of it, or move it away: a proxy that is lending has the newest grant in memory and"
                " writes it again. Otherwise run `pandadoc-proxy login` for its credential then."
            )
            raise StoreError(f"The store {self.path} {fault}; it is left as it is. {cure}") from None

    @property
    def _slots(self) -> Slots:
        return Slots(self.place.path, self.place.owner, self._say)

    def _update(self, change: Callable[[Ledger], Ledger | None], *, room: bool) -> Ledger | None:
        with self._locked():
            newest = self._newest()
            wanted = change(newest)
            if wanted is not None:
                self._slots.roll_forward(newest)
                if room:
                    self._slots.keep_room()  # before anything changes: without it, an intent must not stay behind
                self._slots.put(wanted)
                if room:
                    self._slots.keep_room()
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
        make_folder(self.path.parent)
        lock = FileLock(beside(self.path, kind), kin(self.path))
        if lock.unsupported:
            self._say(f"there are no locks on the file system of {self.path}: run one process on it")
        return lock

    def _say(self, oddity: str) -> None:
        if oddity not in self._said:
            self._said.add(oddity)
            log.warning("%s", oddity)


def _where(fault: OSError, path: str) -> str:
    """Name what is in the way, if it is not the store itself: a lock that is root's, or a folder that can't be made."""
    file = fault.filename
    if not isinstance(file, str) or file == path:
        return ""
    return f" ({file})" if isinstance(fault, PermissionError) or Path(file) in Path(path).parents else ""
