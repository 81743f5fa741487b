"""Two slots for one ledger, so that whatever a crash leaves, one of them is whole.

The next ledger is written into the second slot, synced, renamed over the first, and the folder synced. A
second slot that is whole and newer counts, wherever its writer died. Room for a pair can be kept there
before a redeem. Locks are the store's; all of this is file work, for a thread of its own.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from proxy.credential.file_lock import open_or_make, refuse_planted
from proxy.credential.ledger import Ledger
from proxy.credential.record import Unreadable, decode, encode
from proxy.credential.store import StoreError

LARGEST: Final = 1024 * 1024
"""Bytes. Ours has about one thousand; a larger file is somebody else's."""

ROOM: Final = 64 * 1024
"""Bytes that are kept free for a pair before it is redeemed: more than two tokens of the largest size."""

NOT_SUPPORTED: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF})
"""What file systems answer that can't sync a folder, or keep room for a file."""


class Slots:
    """The files themselves change; nothing else does."""

    def __init__(self, path: Path, owner: str, say: Callable[[str], None]) -> None:
        """`say` tells an oddity of the file system that is no failure."""
        self._path = path
        self._second = beside(path, "new")
        self._owner = owner
        self._say = say

    def __repr__(self) -> str:
        return f"<Slots {self._path}>"

    def newest(self) -> Ledger:
        """Read both slots; return the ledger that counts.

        The second comes first: it may become the first meanwhile, and must be seen in one of the two places.
        Raises Unreadable for a first one that is not ours, and StoreError for either where it may be planted.
        """
        second, first = self._second_slot(), self._first_slot()
        return second if second is not None and second.generation > first.generation else first

    def _first_slot(self) -> Ledger:
        try:
            content = self._read(self._path)
        except FileNotFoundError:
            return Ledger()
        return decode(content, self._owner)

    def _second_slot(self) -> Ledger | None:
        """Return what a process that died had begun to write, if it is whole."""
        try:
            return decode(self._second_content(), self._owner)
        except (FileNotFoundError, Unreadable):
            return None

    def _second_content(self) -> bytes:
        """Read the second slot, without the room behind it: a writer may have died before it was cut off."""
        return self._read(self._second).rstrip(b"\0")

    def _read(self, path: Path) -> bytes:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            self._look_at(file.fileno(), path)
            return file.read(LARGEST + 1)

    def _look_at(self, handle: int, path: Path) -> None:
        """Refuse what is no regular file, or may be planted; mend a mode that lets others read (fsGroup), or say so."""
        status = os.fstat(handle)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(status.st_mode):
            raise StoreError(f"The store {self._path} is not a regular file; it is left as it is. Name another.")
        refuse_planted(path, status)
        if status.st_mode & 0o077:
            try:
                os.fchmod(handle, 0o600)
            except OSError as fault:
                self._say(f"others may read the store {self._path}, and its mode can't be mended: {fault.strerror}")

    def roll_forward(self, newest: Ledger) -> None:
        """End the change of a process that died between writing and renaming; the second slot is free then."""
        if newest == self._second_slot():
            with self._open_second() as handle:
                os.ftruncate(handle, len(self._second_content()))
                os.fsync(handle)
            self._second.replace(self._path)
            self._sync_folder()

    def put(self, wanted: Ledger) -> None:
        """Write the second slot and make it the first. Where only that fails, a new pair counts where it is."""
        with self._or_no_second():
            self._write_second(encode(wanted, self._owner))
        self._second.replace(self._path)
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

    def keep_room(self) -> None:
        """Make sure that the next ledger finds room, whoever fills the disk meanwhile."""
        with self._or_no_second(), self._open_second() as handle:
            try:
                os.posix_fallocate(handle, 0, ROOM)
            except AttributeError:  # macOS has no such call
                _write(handle, bytes(ROOM))
            except OSError as fault:
                if fault.errno not in NOT_SUPPORTED:
                    raise

    @contextmanager
    def _open_second(self) -> Iterator[int]:
        handle = open_or_make(self._second, kin(self._path))
        try:
            self._look_at(handle, self._second)
            yield handle
        finally:
            os.close(handle)

    def _sync_folder(self) -> None:
        if not sync_folder(self._path.parent):
            self._say(f"the folder of {self._path} can't be synced: a power cut may undo the last refresh there")


def beside(path: Path, kind: str) -> Path:
    """Name a hidden file that belongs to the store at `path`."""
    return path.with_name(f".{path.name}.{kind}")


def kin(path: Path) -> tuple[Path, ...]:
    """Name the files that tell whose the store at `path` is."""
    return (path, beside(path, "lock"), beside(path, "lease"))


def make_folder(folder: Path) -> None:
    """Make a folder for secrets, so that it outlives a power cut: its name stands in its parent.

    What root makes belongs to the owner of what stood already: the proxy must get through. Raises OSError with the
    name of what could not be made.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent)
    with suppress(FileExistsError):  # another process was faster; a file there is told by whoever goes through it
        folder.mkdir(mode=0o700)
        _give_away(folder)
        sync_folder(folder.parent)


def _give_away(folder: Path) -> None:
    """Give a folder that root has made to its parent's owner; a proxy that is root without that right keeps it."""
    if os.geteuid() != 0:
        return
    owner = folder.parent.stat()
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            os.fchown(handle, owner.st_uid, owner.st_gid)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> bool:
    """Sync a folder; tell whether its file system can do that. Raises OSError for a real failure."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    except OSError as fault:
        if fault.errno not in NOT_SUPPORTED:
            raise
        return False
    finally:
        os.close(handle)
    return True


def _write(handle: int, content: bytes) -> None:
    done = 0
    while done < len(content):
        done += os.pwrite(handle, content[done:], done)
