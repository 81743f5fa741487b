"""A unix socket to listen at: open to nobody before its mode and owner are right, and never somebody else's.

asyncio would take any socket's place silently, a living one's too, and leaves its own behind.
"""

import errno
import fcntl
import grp
import os
import pwd
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from msgspec import Struct

UNCHANGED: Final = -1
"""The number that stands for the owner, or the group, that bind(2) gave; to chown(2): the one that is there."""

TURNS: Final = 50
TURN: Final = 0.01
"""Seconds between two tries to be the only one who looks at a folder's sockets. Others need microseconds."""


class InUse(OSError):
    """Somebody listens there."""


class UnixSocket(Struct, frozen=True):
    """A socket that listens, and the file it made."""

    socket: socket.socket
    path: Path
    made: tuple[int, int]  # device and inode
    born: tuple[int, int]  # the owner and the group that bind(2) gave

    def hand_over(self, mode: int, owner: tuple[int, int]) -> tuple[int, tuple[int, int]]:
        """Give it another mode and owner; return those it had. Meanwhile nobody may connect who may neither way.

        Raises OSError that says what to do; then it has them still.
        """
        found = self._found()
        before = stat.S_IMODE(found.st_mode), (found.st_uid, found.st_gid)
        user, group = (own if asked == UNCHANGED else asked for asked, own in zip(owner, self.born, strict=True))
        try:
            self._turn(mode, user, group)
        except OSError:
            self._turn(before[0], *before[1])
            raise
        return before

    def remove(self) -> None:
        """Remove the file, unless it is gone or another's by now. Call it while the socket is open, and no more."""
        with suppress(OSError), _alone(self.path.parent):
            if self.is_at(self.path):
                self.path.unlink()

    def is_at(self, path: Path) -> bool:
        """Tell whether its file is what stands at a path, however that is spelled. Ask while the socket is open."""
        try:
            return _identity(path.lstat()) == self.made
        except OSError:
            return False

    def _turn(self, mode: int, user: int, group: int) -> None:
        """Take away, then give. The user comes last: once it is his, the rest may take a capability of its own."""
        now = self._found()
        had = stat.S_IMODE(now.st_mode)
        kept = had & mode
        if kept != had:
            self._set_mode(kept)
        if user != now.st_uid:  # whether that is permitted must be known first: a group may not be ours to give back
            _give(self.path, (user, UNCHANGED))
            _give(self.path, (now.st_uid, UNCHANGED))
        if group != now.st_gid:
            _give(self.path, (UNCHANGED, group))
        if mode != kept:
            self._set_mode(mode)
        if user != now.st_uid:
            _give(self.path, (user, UNCHANGED))

    def _set_mode(self, mode: int) -> None:
        """Set our file's mode, and of nothing that is put in its place meanwhile. Linux does that by a handle alone."""
        if sys.platform != "linux":
            self.path.chmod(mode, follow_symlinks=False)
            return
        handle = os.open(self.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            self._must_be_ours(os.fstat(handle))
            Path(f"/proc/self/fd/{handle}").chmod(mode)  # fchmod(2) takes no such handle
        except FileNotFoundError as fault:
            raise _refusal(self.path, "its mode can't be set where /proc is not mounted. Mount it") from fault
        finally:
            os.close(handle)

    def _found(self) -> os.stat_result:
        """Return what stands at the path. Raises OSError if that is not what we made: a link, say."""
        try:
            found = self.path.lstat()
        except OSError as fault:
            raise _refusal(self.path, f"its file can't be seen: {fault.strerror}. Restart the proxy") from fault
        self._must_be_ours(found)
        return found

    def _must_be_ours(self, found: os.stat_result) -> None:
        if _identity(found) != self.made or not stat.S_ISSOCK(found.st_mode):
            raise _refusal(self.path, "something else is in the place of its file. Remove it, and restart the proxy")


def listen(path: Path, mode: int, owner: tuple[int, int]) -> UnixSocket:
    """Listen at `path`, in the place of a socket that nobody listens at any more.

    Raises OSError that names the path and says what to do: InUse where somebody listens there.
    """
    with _alone(path.parent):
        _make_way(path)
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _bind(server, path)
            found = path.lstat()
            made = UnixSocket(server, path, _identity(found), (found.st_uid, found.st_gid))
            try:
                made.hand_over(mode, owner)  # nobody can connect yet: it does not listen
                server.listen(1)  # whoever serves it says how many may wait
            except OSError:
                path.unlink(missing_ok=True)
                raise
        except OSError:
            server.close()
            raise
    return made


def owner_ids(user: str | None, group: str | None) -> tuple[int, int]:
    """Return the numbers of a user and a group, each by its name or already a number. Raises LookupError."""
    return (
        _number(user, "user", lambda name: pwd.getpwnam(name).pw_uid),
        _number(group, "group", lambda name: grp.getgrnam(name).gr_gid),
    )


def _number(name: str | None, kind: str, look_up: Callable[[str], int]) -> int:
    """Look a name up, then take it as a number, as chown(1) does."""
    if name is None:
        return UNCHANGED
    try:
        return look_up(name)
    except KeyError:
        if name.isdecimal():
            return int(name)
        raise LookupError(f"this machine knows no such {kind}: create it, or write its number") from None


def _make_way(path: Path) -> None:
    try:
        found = path.lstat()
    except OSError:  # nothing there; or to bind will tell what is wrong
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise _refusal(path, "something that is no socket is there. Remove it, or choose another path")
    if _somebody_listens(path):
        cure = "Choose another path, or end that process"
        raise InUse(f"unix:{path}: the address is in use: somebody listens there. {cure}.")
    path.unlink()


def _somebody_listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except BlockingIOError:  # so many wait there already
            return True
        except OSError as fault:
            if fault.errno == errno.EPROTOTYPE:  # one for datagrams, and alive
                return True
            what = f"a socket is there, and nobody knows whether it is used: {fault.strerror}"
            raise _refusal(path, f"{what}. Remove it, or choose another path") from fault
    return True


def _bind(server: socket.socket, path: Path) -> None:
    try:
        server.bind(str(path))
    except OSError as fault:
        cure = "Create the folder, and let the user who runs the proxy write in it"
        raise _refusal(path, f"{fault.strerror}. {cure}") from fault


def _give(path: Path, owner: tuple[int, int]) -> None:
    try:
        os.chown(path, *owner, follow_symlinks=False)
    except OSError as fault:
        cure = "Run as root (or with CAP_CHOWN), name a group that the proxy's user is in, or leave `owner` out"
        raise _refusal(path, f"it can't be given to its owner: {fault.strerror}. {cure}") from fault


def _refusal(path: Path, text: str) -> OSError:
    return OSError(f"unix:{path}: {text}.")


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other proxies from looking at the folder's sockets: one that is bound but listens not yet seems dead.

    Goes on without where that can't be had: the folder may be unreadable or on a file system without locks.
    """
    held = None
    try:
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        _lock(held)
    except OSError:
        pass
    try:
        yield
    finally:
        if held is not None:
            os.close(held)


def _lock(folder: int) -> None:
    for _ in range(TURNS):
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(TURN)
        else:
            return
