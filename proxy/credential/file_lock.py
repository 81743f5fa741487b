"""A lock between processes: an open file that the kernel lets one of them lock (flock(2)).

The file is never renamed or removed, for those who wait must wait for the same one; the kernel frees the
lock when its holder dies. Nothing here waits.
"""

import errno
import fcntl
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from proxy.credential.store import StoreError

NO_LOCKS_HERE: Final = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL})
"""What file systems answer that have no locks."""

READ_AND_WRITE: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC

WRITABLE_BY_OTHERS: Final = 0o022
"""Of a folder: its group may be anybody's, too."""


class FileLock:
    """One opened lock file, tried at once. `held` and `unsupported` are set by `take`, `_handle` by `free`."""

    def __init__(self, path: Path, kin: Iterable[Path]) -> None:
        """Open `path`, or make it for the owner of its `kin`. Raises OSError, or StoreError for a planted one."""
        self.held = False
        self.unsupported = False
        self._handle: int | None = open_or_make(path, kin)
        try:
            self.take()
        except OSError:
            self.free()
            raise

    def __repr__(self) -> str:
        return f"<FileLock {'held' if self.held else 'not held'}>"

    def take(self) -> bool:
        """Take the lock if it is free; tell whether it is ours. Where there are none, we are taken to be alone."""
        if self._handle is None or self.held:
            return self.held
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as fault:
            if fault.errno not in NO_LOCKS_HERE:
                raise
            self.unsupported = True
        self.held = True
        return True

    def free(self) -> None:
        """Close the file, which frees the lock. Does nothing the second time."""
        handle, self._handle, self.held = self._handle, None, False
        if handle is not None:
            os.close(handle)


def open_or_make(path: Path, kin: Iterable[Path]) -> int:
    """Open a file that others can't have planted; or make it. Raises OSError, or StoreError for one of theirs.

    One that root makes (sudo, docker exec) is given to the owner of the first of `kin` that stands, else of the
    folder: the proxy must read it.
    """
    try:
        handle = os.open(path, READ_AND_WRITE)
    except FileNotFoundError:
        return _made(path, kin)
    try:
        refuse_planted(path, os.fstat(handle))
    except (OSError, StoreError):
        os.close(handle)
        raise
    return handle


def _made(path: Path, kin: Iterable[Path]) -> int:
    try:
        handle = os.open(path, READ_AND_WRITE | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:  # another process was faster
        return open_or_make(path, kin)
    try:
        if os.geteuid() == 0:
            owner = _owner(path, kin)
            os.fchown(handle, owner.st_uid, owner.st_gid)
    except (OSError, StoreError):
        os.close(handle)
        raise
    return handle


def _owner(path: Path, kin: Iterable[Path]) -> os.stat_result:
    for each in kin:
        with suppress(FileNotFoundError):
            if each != path:
                found = each.lstat()
                refuse_planted(each, found)
                return found
    return path.parent.stat()


def refuse_planted(path: Path, found: os.stat_result) -> None:
    """Refuse what anybody may have put there: others may write in its folder, and it belongs to one of them.

    Who owns the folder, and root, may do all there anyway; but the folder may be planted, too, with all that is in it.
    Raises StoreError that says what to do, or OSError.
    """
    folder, ours = path.parent.stat(), {os.geteuid(), 0}
    if not folder.st_mode & WRITABLE_BY_OTHERS or found.st_uid in {*ours, folder.st_uid}:
        if folder.st_uid not in ours and path.parent != path:
            refuse_planted(path.parent, folder)
        return
    raise StoreError(
        f"{path}, of the store, belongs to user {found.st_uid}, and others may write in its folder: anybody may have"
        f" put it there, and it is left as it is. If it is the proxy's, run this as that user, or give all files of the"
        f" store to the user that the proxy runs as now (chown). Otherwise remove it, and keep the store in a folder"
        f" that is the proxy's alone."
    )
