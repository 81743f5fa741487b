"""A lock between processes: an open file that the kernel lets one of them lock (flock(2)).

The file is never renamed or removed, for those who wait must wait for the same one; the kernel frees the
lock when its holder dies. Nothing here waits.
"""

import errno
import fcntl
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

NO_LOCKS_HERE: Final = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL})
"""What file systems answer that have no locks."""

READ_AND_WRITE: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


class FileLock:
    """One opened lock file, tried at once. `held` and `unsupported` are set by `take`, `_handle` by `free`."""

    def __init__(self, path: Path, kin: Iterable[Path]) -> None:
        """Open `path`, or make it for the owner of its `kin`. Raises OSError."""
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
    """Open a file, whoever owns it; or make it. Raises OSError.

    One that root makes (sudo, docker exec) is given to the owner of the first of `kin` that stands, else of the
    folder: the proxy must read it. (On a volume with fsGroup the folder is root's, and its files are the proxy's.)
    """
    try:
        return os.open(path, READ_AND_WRITE)
    except FileNotFoundError:
        return _made(path, kin)


def _made(path: Path, kin: Iterable[Path]) -> int:
    try:
        handle = os.open(path, READ_AND_WRITE | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:  # another process was faster
        return os.open(path, READ_AND_WRITE)
    try:
        if os.geteuid() == 0:
            owner = next((each for each in kin if each != path and each.exists()), path.parent).stat()
            os.fchown(handle, owner.st_uid, owner.st_gid)
    except OSError:
        os.close(handle)
        raise
    return handle
