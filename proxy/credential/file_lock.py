"""A lock between processes: an open file that the kernel lets one of them lock (flock(2)).

The file is never renamed or removed, for those who wait must wait for the same one; the kernel frees the
lock when its holder dies. Nothing here waits.
"""

import errno
import fcntl
import os
from pathlib import Path
from typing import Final

NO_LOCKS_HERE: Final = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL})
"""What file systems answer that have no locks."""


class FileLock:
    """One opened lock file, tried at once. `held` and `unsupported` are set by `take`, `_handle` by `free`."""

    def __init__(self, path: Path) -> None:
        """Open `path`, or make it. Raises OSError."""
        self.held = False
        self.unsupported = False
        self._handle: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            give_to(self._handle, path.parent)
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


def give_to(handle: int, folder: Path) -> None:
    """Let a file that root makes (sudo, docker exec) belong to the folder's owner: the proxy must read it."""
    if os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(handle, owner.st_uid, owner.st_gid)
