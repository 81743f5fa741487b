"""A unix socket: private before anybody can connect, never stolen, and gone at the end."""

import fcntl
import os
import pwd
import socket
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import aiohttp
import pytest
from conftest import HouseMaker
from rig import House

from proxy import unix_socket
from proxy.unix_socket import UNCHANGED, UnixSocket, listen, owner_ids

NOBODY = (UNCHANGED, UNCHANGED)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "proxy.sock"


@pytest.fixture
def made(path: Path) -> Iterator[UnixSocket]:
    made = listen(path, 0o600, NOBODY)
    with made.socket:
        yield made


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as line:
        try:
            line.connect(str(path))
        except ConnectionRefusedError:
            return False
        return True


def abandoned(path: Path, kind: socket.SocketKind = socket.SOCK_STREAM) -> None:
    """Leave a socket's file behind, as a process that was killed does."""
    with closing(socket.socket(socket.AF_UNIX, kind)) as dead:
        dead.bind(str(path))


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_its_mode_is_what_was_asked_for_whatever_the_umask(path: Path, mode: int, umask: int) -> None:
    before = os.umask(umask)
    try:
        with listen(path, mode, NOBODY).socket:
            assert stat.S_IMODE(path.stat().st_mode) == mode
            assert connects(path)
    finally:
        os.umask(before)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_its_owner_is_who_was_asked_for(path: Path) -> None:
    with listen(path, 0o600, (4242, 4343)).socket:
        assert (path.stat().st_uid, path.stat().st_gid) == (4242, 4343)


def test_nobody_can_connect_before_mode_and_owner_are_right(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real steps, and a look between them."""
    seen: list[bool] = []

    def look_then(step: str) -> None:
        original = getattr(os, step)

        def looking(*args: object, **more: object) -> None:
            seen.append(connects(path))
            original(*args, **more)

        monkeypatch.setattr(os, step, looking)

    look_then("chmod")
    look_then("chown")
    owner = (4242, 4343) if os.geteuid() == 0 else NOBODY  # only root gives files away
    with listen(path, 0o660, owner).socket:
        assert len(seen) >= (3 if os.geteuid() == 0 else 1)
        assert not any(seen)
        assert connects(path)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_dead_socket_makes_way(path: Path, kind: socket.SocketKind) -> None:
    abandoned(path, kind)
    with listen(path, 0o600, NOBODY).socket:
        assert connects(path)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_living_socket_is_in_use(path: Path, kind: socket.SocketKind) -> None:
    with closing(socket.socket(socket.AF_UNIX, kind)) as alive:
        alive.bind(str(path))
        if kind == socket.SOCK_STREAM:
            alive.listen(1)
        with pytest.raises(OSError, match=rf"^unix:{path}: the address is in use: .* Choose another path, or end"):
            listen(path, 0o600, NOBODY)
        assert path.is_socket()


def test_a_living_socket_at_which_many_wait_is_in_use(path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as alive:
        alive.bind(str(path))
        alive.listen(0)
        with closing(socket.socket(socket.AF_UNIX)) as one:
            one.connect(str(path))
            with pytest.raises(OSError, match="in use"):
                listen(path, 0o600, NOBODY)


@pytest.mark.parametrize("kind", ["a file", "a folder", "a link to a socket"])
def test_anything_else_at_the_path_stays_there(path: Path, kind: str) -> None:
    if kind == "a file":
        path.write_text("precious")
    elif kind == "a folder":
        path.mkdir()
    else:
        abandoned(path.with_name("other.sock"))
        path.symlink_to(path.with_name("other.sock"))
    before = path.lstat()
    with pytest.raises(OSError, match=rf"^unix:{path}: something that is no socket is there\. Remove it"):
        listen(path, 0o600, NOBODY)
    assert path.lstat() == before


def test_a_folder_that_is_missing_is_told(path: Path) -> None:
    with pytest.raises(OSError, match=r"No such file or directory\. Create the folder"):
        listen(path / "deeper.sock", 0o600, NOBODY)


def refused(*_: object, **__: object) -> None:
    """Do as chown(2) does for everybody but root."""
    raise PermissionError(1, "Operation not permitted")


def test_an_owner_that_can_t_be_had_leaves_nothing_behind(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "chown", refused)
    with pytest.raises(OSError, match=r"can't be given to its owner: Operation not permitted\. Run as root"):
        listen(path, 0o600, (4242, UNCHANGED))
    assert not path.exists()


@pytest.mark.parametrize("kind", ["a file", "a link to a file"])
def test_what_has_taken_its_place_is_not_handed_over(made: UnixSocket, path: Path, kind: str) -> None:
    victim = path if kind == "a file" else path.with_name("victim")
    path.unlink()
    victim.touch(0o600)
    if victim != path:
        path.symlink_to(victim)
    with pytest.raises(OSError, match=rf"^unix:{path}: something else is in the place of its file\. Remove it"):
        made.hand_over(0o666, NOBODY)
    assert stat.S_IMODE(victim.stat().st_mode) == 0o600


@pytest.mark.parametrize("step", ["chmod", *(["open"] if sys.platform == "linux" else [])])
def test_what_takes_its_place_while_it_is_handed_over_keeps_its_mode(
    made: UnixSocket, path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Whoever may write in the folder swaps the name, ahead of one of the real steps."""
    victim, original = path.with_name("victim"), getattr(os, step)
    victim.touch(0o600)

    def swapping(*args: object, **more: object) -> object:
        if not path.is_symlink():
            path.rename(path.with_name("aside"))
            path.symlink_to(victim)
        return original(*args, **more)

    with monkeypatch.context() as patched, suppress(OSError):  # it is refused, or its own file is handed over
        patched.setattr(os, step, swapping)
        made.hand_over(0o666, NOBODY)
    assert path.is_symlink()
    assert stat.S_IMODE(victim.stat().st_mode) == 0o600


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux needs it")
def test_where_proc_is_missing_that_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a folder that a service was given as its root."""

    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(os, "chmod", missing)
    with pytest.raises(OSError, match=r"its mode can't be set where /proc is not mounted\. Mount it"):
        listen(path, 0o600, NOBODY)
    assert not path.exists()


def test_one_whose_file_is_gone_is_not_handed_over(made: UnixSocket, path: Path) -> None:
    path.unlink()
    with pytest.raises(OSError, match=rf"^unix:{path}: its file can't be seen: No such file"):
        made.hand_over(0o666, NOBODY)


def test_an_owner_that_can_t_be_had_leaves_a_living_socket_as_it_was(
    made: UnixSocket, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "chown", refused)
    with pytest.raises(OSError, match="can't be given to its owner"):
        made.hand_over(0o666, (4242, UNCHANGED))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def may_connect(found: os.stat_result) -> set[tuple[int, int]]:
    """Return who may write to a file, of some users with some group each."""
    who = ((user, group) for user in (os.geteuid(), 4242, 5252) for group in (os.getegid(), 4343, 5353))
    return {
        (user, group)
        for user, group in who
        if found.st_mode & (0o200 if user == found.st_uid else 0o020 if group == found.st_gid else 0o002)
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("before", [(0o600, 4242, 4343), (0o660, 4242, 4343), (0o666, 4242, UNCHANGED)])
@pytest.mark.parametrize(
    "after",
    [(0o600, 4242, 4343), (0o660, 4242, 5353), (0o660, UNCHANGED, 4343), (0o606, 5252, 5353), (0o600, *NOBODY)],
)
def test_while_it_is_handed_over_nobody_may_connect_who_may_neither_then_nor_before(
    made: UnixSocket,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: tuple[int, int, int],
    after: tuple[int, int, int],
) -> None:
    """The real steps, and a look behind each."""
    made.hand_over(before[0], before[1:])
    seen = [may_connect(path.stat())]

    def then_look(step: str) -> None:
        original = getattr(os, step)

        def looking(*args: object, **more: object) -> None:
            original(*args, **more)
            seen.append(may_connect(path.stat()))

        monkeypatch.setattr(os, step, looking)

    then_look("chmod")
    then_look("chown")
    made.hand_over(after[0], after[1:])
    assert stat.S_IMODE(path.stat().st_mode) == after[0]
    for moment in seen:
        assert moment <= seen[0] | seen[-1]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_no_group_is_given_where_its_user_can_t_be_had(
    made: UnixSocket, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for whoever is in the group, and has no CAP_CHOWN. The one before, of a setgid folder, was not his to give."""
    chown = os.chown

    def groups_alone(path: Path, user: int, group: int, *, follow_symlinks: bool) -> None:
        refused() if user != UNCHANGED or group != 4343 else chown(path, user, group, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(os, "chown", groups_alone)
    with pytest.raises(OSError, match="can't be given to its owner"):
        made.hand_over(0o660, (4242, 4343))
    now = path.stat()
    assert (stat.S_IMODE(now.st_mode), now.st_uid, now.st_gid) == (0o600, *made.born)


def test_at_the_end_its_file_is_gone(made: UnixSocket, path: Path) -> None:
    made.remove()
    assert not path.exists()
    made.remove()


def test_at_the_end_a_successors_file_stays(made: UnixSocket, path: Path) -> None:
    """A new process may have its socket there already."""
    path.rename(path.with_name("kept"))  # so that its inode is not used anew
    with listen(path, 0o600, NOBODY).socket:
        made.remove()
        assert connects(path)


def test_a_socket_that_is_not_listening_yet_is_not_taken_for_dead(path: Path) -> None:
    """Two that start at once take turns: the second finds the first one's socket alive."""
    folder = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    first = socket.socket(socket.AF_UNIX)
    first.bind(str(path))

    def begins_to_listen() -> None:
        first.listen(1)
        os.close(folder)

    later = threading.Timer(0.1, begins_to_listen)
    later.start()
    with first, pytest.raises(OSError, match="in use"):
        listen(path, 0o600, NOBODY)
    later.join()


def test_a_folder_whose_lock_is_not_to_be_had_keeps_nobody_from_starting(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unix_socket, "TURNS", 2)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        with listen(path, 0o600, NOBODY).socket:
            assert connects(path)
    finally:
        os.close(folder)


def test_owners_are_looked_up_by_name_then_taken_as_numbers() -> None:
    root = pwd.getpwuid(0).pw_name
    assert owner_ids(root, None) == (0, UNCHANGED)
    assert owner_ids("4242", "4343") == (4242, 4343)
    assert owner_ids(None, None) == NOBODY
    with pytest.raises(LookupError, match="no such group"):
        owner_ids(None, "nobody-would-call-a-group-so")


async def at_a_socket(api_key_house: HouseMaker, path: Path) -> House:
    return await api_key_house(
        {"listeners": [{"bind": f"unix:{path}", "mode": "0660"}], "admin": {"bind": f"unix:{path}.admin"}}
    )


async def status(path: Path, target: str) -> int:
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
        session.get(f"http://localhost{target}") as seen,
    ):
        return seen.status


async def test_a_listeners_socket_and_the_admin_ports_are_served_and_removed(
    api_key_house: HouseMaker, path: Path
) -> None:
    house = await at_a_socket(api_key_house, path)
    admin = Path(f"{path}.admin")
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert stat.S_IMODE(admin.stat().st_mode) == 0o600
    assert await status(path, "/healthz") == 200
    assert await status(admin, "/readyz") == 200
    await house.proxy.drain()
    assert not path.exists()
    assert not admin.exists()


async def test_a_proxy_that_ends_leaves_the_socket_alone_that_came_after_its_own(
    api_key_house: HouseMaker, path: Path
) -> None:
    """The number of its inode may be given out again as soon as it accepts no more: ext4 and overlayfs do so."""
    house = await at_a_socket(api_key_house, path)
    (listener,) = house.proxy._open.values()  # noqa: SLF001 - a drain stops it so, and may wait long then
    await listener.binding.stop_accepting()
    with listen(path, 0o600, NOBODY).socket:
        await house.proxy.drain()
        assert connects(path)


async def test_a_start_that_fails_leaves_no_socket_behind(api_key_house: HouseMaker, path: Path) -> None:
    other = path.with_name("other.sock")
    house = await api_key_house({"listeners": [{"bind": f"unix:{other}"}]})
    other.rename(path.with_name("kept"))
    path.write_text("in the way")
    house.settings = {**house.settings, "listeners": [{"bind": f"unix:{other}"}, {"bind": f"unix:{path}"}]}
    await house.proxy.stop()
    with pytest.raises(OSError, match="no socket is there"):
        await house.open()
    assert not other.exists()
    assert path.read_text() == "in the way"


async def test_a_reload_that_is_refused_leaves_every_socket_as_it_was(
    api_key_house: HouseMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those too that were handed over before the one that couldn't be; and the next reload knows how they stand."""
    one, two = tmp_path / "one.sock", tmp_path / "two.sock"
    house = await api_key_house({"listeners": [{"bind": f"unix:{one}"}, {"bind": f"unix:{two}"}]})

    async def reload(owner: dict[str, str]) -> None:
        wide = {"bind": f"unix:{one}", "mode": "0666"}
        house.settings = {**house.settings, "listeners": [wide, {"bind": f"unix:{two}"} | owner]}
        await house.proxy.reload(house.config())

    with monkeypatch.context() as patched:
        patched.setattr(os, "chown", refused)
        with pytest.raises(OSError, match="can't be given to its owner"):
            await reload({"owner": "4242"})
    assert [stat.S_IMODE(each.stat().st_mode) for each in (one, two)] == [0o600, 0o600]
    await reload({})
    assert [stat.S_IMODE(each.stat().st_mode) for each in (one, two)] == [0o666, 0o600]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
async def test_an_owner_that_a_refused_reload_gave_is_taken_back(
    api_key_house: HouseMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = tmp_path / "one.sock", tmp_path / "two.sock"
    house = await api_key_house({"listeners": [{"bind": f"unix:{one}"}, {"bind": f"unix:{two}"}]})
    before, chown = one.stat().st_uid, os.chown

    def for_one_alone(path: Path, *owner: int, follow_symlinks: bool) -> None:
        refused() if path == two else chown(path, *owner, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(os, "chown", for_one_alone)
    listeners = [{"bind": f"unix:{each}", "owner": "4242"} for each in (one, two)]
    house.settings = {**house.settings, "listeners": listeners}
    with pytest.raises(OSError, match="can't be given to its owner"):
        await house.proxy.reload(house.config())
    assert one.stat().st_uid == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
async def test_what_a_reload_no_longer_gives_is_taken_away(api_key_house: HouseMaker, path: Path) -> None:
    """All of the owner, or the half of it that is not named any more."""
    house = await api_key_house({"listeners": [{"bind": f"unix:{path}", "mode": "0660", "owner": ":4343"}]})
    born = os.geteuid(), path.parent.stat().st_gid if path.parent.stat().st_mode & stat.S_ISGID else os.getegid()
    for owner, expected in (
        (None, born),
        ("4242:4343", (4242, 4343)),
        ("4242", (4242, born[1])),
        (":4343", (born[0], 4343)),
        (None, born),
    ):
        listener = {"bind": f"unix:{path}", "mode": "0660", "owner": owner}
        house.settings = {**house.settings, "listeners": [listener]}
        await house.proxy.reload(house.config())
        assert (path.stat().st_uid, path.stat().st_gid) == expected
