"""The store that outlives the process: real files, real processes, and what may be wrong with them."""

import asyncio
import errno
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from msgspec.structs import replace
from rig import until

from proxy.credential.file_store import LOCK_PATIENCE, FileStore, Place, default_path
from proxy.credential.ledger import REFRESHED, Attempt, Grant, Intent, Ledger, Lineage
from proxy.credential.record import decode, encode
from proxy.credential.refusals import Refusals
from proxy.credential.slots import ROOM
from proxy.credential.store import MemoryStore, StoreError
from proxy.credential.token_endpoint import owner_of
from proxy.secrets import Secret, SecretUnavailable

OWNER: Final = "0123456789abcdef"
ROOT: Final = Path(__file__).parent.parent.parent
LINEAGE: Final = Lineage("refresh_token", "0123456789ab", 10.0)
STANDING: Final = {"grant.json", ".grant.json.lock"}
"""What stands in the folder once a change is over."""


def kept(generation: int, **more: object) -> Ledger:
    grant = Grant(
        generation, LINEAGE, Secret(f"refresh-{generation}-" * 5), Secret(f"access-{generation}-" * 5), 1.5, 9.5
    )
    return replace(Ledger(grant, ("0123456789ab",), Refusals(50.0, 30.0, spent=True)), **more)


def begun(ledger: Ledger) -> Ledger:
    return replace(ledger, intent=Intent("0123456789ab", 77.0))


def store_at(path: Path, owner: str = OWNER) -> FileStore:
    return FileStore(lambda: Place(path, owner))


def to(wanted: Ledger) -> Callable[[Ledger], Ledger]:
    return lambda _kept: wanted


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "grant.json"


@pytest.fixture
def second(tmp_path: Path) -> Path:
    """Return the slot in which the next ledger is written."""
    return tmp_path / ".grant.json.new"


@pytest.fixture
async def store(path: Path) -> FileStore:
    """Return a store that has generation 7."""
    ours = store_at(path)
    await ours.update(to(kept(7)))
    return ours


# What is kept


@pytest.mark.parametrize(
    "ledger", [Ledger(), begun(Ledger()), kept(7), begun(kept(7))], ids=["empty", "bare", "7", "…"]
)
async def test_what_was_written_is_loaded_by_whoever_comes_next(tmp_path: Path, ledger: Ledger) -> None:
    path = tmp_path / "new" / "folder" / "grant.json"
    assert await store_at(path).update(to(ledger)) == ledger
    assert await store_at(path).load() == ledger


@pytest.mark.parametrize("kind", ["file", "memory"])
async def test_a_change_is_made_to_what_is_kept_and_none_leaves_it_alone(path: Path, kind: str) -> None:
    store = store_at(path) if kind == "file" else MemoryStore()
    assert await store.load() == Ledger()
    assert await store.update(lambda was: None if was == Ledger() else was) is None
    assert await store.update(to(kept(1)), room=True) == kept(1)
    assert await store.update(lambda was: replace(was, last=Attempt(5.0, REFRESHED))) == kept(
        1, last=Attempt(5.0, REFRESHED)
    )
    assert await store.update(lambda _kept: None) is None
    assert await store.load() == kept(1, last=Attempt(5.0, REFRESHED))


async def test_memory_is_shared_with_nobody_and_shows_its_generation() -> None:
    store = MemoryStore()
    await store.update(to(kept(7)))
    (await store.lease(60))()
    assert repr(store) == "<MemoryStore generation 7>"


async def test_nothing_stored_is_not_an_error_and_looking_leaves_nothing(path: Path) -> None:
    assert await store_at(path).load() == Ledger()
    assert names(path.parent) == set()


async def test_only_the_owner_may_read_it_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    store = store_at(folder / "grant.json")
    await store.update(to(begun(kept(7))), room=True)
    await store.update(to(kept(8)))
    await store.load()
    lease = await store.lease(60)
    assert lease is not None
    lease()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert names(folder) == {*STANDING, ".grant.json.lease"}
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}


async def test_no_folder_on_the_way_is_open_to_others(tmp_path: Path) -> None:
    await store_at(tmp_path / "var" / "state" / "grant.json").update(to(kept(7)))
    assert (tmp_path / "var").stat().st_mode & 0o777 == (tmp_path / "var" / "state").stat().st_mode & 0o777 == 0o700


async def test_a_change_that_is_not_to_be_made_writes_nothing(store: FileStore, path: Path) -> None:
    before = path.stat()
    assert await store.update(lambda _kept: None, room=True) is None
    assert path.stat().st_ino == before.st_ino
    assert names(path.parent) == STANDING


async def test_a_fault_of_the_changes_own_comes_back_and_frees_the_lock(store: FileStore) -> None:
    def fails(_kept: Ledger) -> Ledger:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.update(fails)
    assert await store.update(to(kept(8))) == kept(8)


async def test_files_belong_to_whom_the_folder_belongs(path: Path) -> None:
    """`sudo pandadoc-proxy login` and `docker exec` run as root; the proxy must read what they wrote."""
    if os.geteuid() == 0:
        os.chown(path.parent, 4321, 8765)
    store = store_at(path)
    await store.update(to(kept(7)), room=True)
    await store.lease(60)
    folder = path.parent.stat()
    assert len(names(path.parent)) == 4
    assert {(file.stat().st_uid, file.stat().st_gid) for file in path.parent.iterdir()} == {
        (folder.st_uid, folder.st_gid)
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("stands", ["*", "grant.json", ".grant.json.lock", ".grant.json.lease"])
async def test_what_root_makes_belongs_to_whom_the_store_belongs(path: Path, stands: str) -> None:
    """On a volume with fsGroup the folder is root's, and its files are the proxy's."""
    os.chown(path.parent, 0, 65532)
    store = store_at(path)
    await store.update(to(kept(7)), room=True)
    await leased_once(store)
    for file in path.parent.iterdir():
        if file.match(stands):
            os.chown(file, 65532, 65532)
        else:
            file.unlink()
    await leased_once(store)
    await store.update(to(kept(8)), room=True)
    assert len(names(path.parent)) == 4
    assert {(file.stat().st_uid, file.stat().st_gid) for file in path.parent.iterdir()} == {(65532, 65532)}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
async def test_folders_that_root_makes_belong_to_whom_the_one_belongs_that_stood_already(tmp_path: Path) -> None:
    """A login as root is the first to write on a new volume; whom it is for must get through."""
    os.chown(tmp_path, 4321, 8765)
    await store_at(tmp_path / "var" / "state" / "grant.json").update(to(kept(7)), room=True)
    made = [*tmp_path.rglob("*")]
    assert len(made) == 5
    assert {(each.stat().st_uid, each.stat().st_gid) for each in made} == {(4321, 8765)}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
async def test_root_without_the_right_to_give_a_folder_away_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that is root in a container, for whom it is."""
    give = os.fchown

    def own(handle: int, user: int, group: int) -> None:
        if user != os.geteuid():
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        give(handle, user, group)

    monkeypatch.setattr(os, "fchown", own)
    os.chown(tmp_path, 4321, 4321)
    store = store_at(tmp_path / "var" / "state" / "grant.json")
    await store.update(to(kept(7)))
    assert await store.load() == kept(7)


async def leased_once(store: FileStore) -> None:
    lease = await store.lease(60)
    assert lease is not None
    lease()


def disk_threads() -> set[threading.Thread]:
    return {each for each in threading.enumerate() if each.name == "disk"}


async def test_a_store_that_is_closed_lets_its_thread_go_and_still_does_what_comes_late(path: Path) -> None:
    """A reload closes it at once; what had begun there may end later, and holds the lease until then."""
    others, store, next_store = disk_threads(), store_at(path), store_at(path)
    lease = await store.lease(60)
    assert lease is not None
    saving = asyncio.create_task(store.update(to(kept(7))))
    await asyncio.sleep(0)
    await store.close()
    assert await saving == kept(7)
    assert await store.update(to(kept(8))) == kept(8)
    assert await next_store.lease(60) is None
    lease()
    del lease
    await store.close()
    await store.close()
    await next_store.close()
    await until(lambda: disk_threads() <= others)
    await leased_once(next_store)
    assert await next_store.load() == kept(8)


async def test_the_place_is_asked_for_until_it_has_answered_once(path: Path) -> None:
    """It follows from the client's id, whose secret file may arrive after us."""
    asked: list[str] = []

    def locate() -> Place:
        asked.append("where?")
        if len(asked) == 1:
            raise SecretUnavailable("the client's id can't be read yet")
        return Place(path, OWNER)

    store = FileStore(locate)
    assert repr(store) == "<FileStore nowhere yet>"
    with pytest.raises(SecretUnavailable, match="can't be read yet"):
        await store.load()
    await store.load()
    await store.load()
    assert len(asked) == 2
    assert repr(store) == f"<FileStore {path}>"


def test_another_client_or_region_is_another_owner_and_file(tmp_path: Path) -> None:
    owners = {
        owner_of(url, Secret(client))
        for url in ("https://api.pandadoc.com/oauth2/access_token", "https://api.pandadoc.eu/oauth2/access_token")
        for client in ("one", "two")
    }
    paths = {default_path(tmp_path, owner) for owner in owners}
    assert len(paths) == 4
    assert all(path.parent == tmp_path / "pandadoc-proxy" for path in paths)
    assert not any("one" in path.name for path in paths)


# What a crash leaves


async def test_a_pair_that_was_written_but_not_renamed_counts(store: FileStore, path: Path, second: Path) -> None:
    """For a reader too, who changes nothing."""
    second.write_bytes(encode(kept(8), OWNER))
    assert await store.load() == kept(8)
    assert decode(path.read_bytes(), OWNER) == kept(7)


async def test_a_first_pair_that_was_written_but_not_renamed_counts(path: Path, second: Path) -> None:
    second.write_bytes(encode(kept(1), OWNER))
    assert await store_at(path).load() == kept(1)
    assert await store_at(path).update(begun, room=True) == begun(kept(1))


@pytest.mark.parametrize("generation", [6, 7])
async def test_a_second_slot_that_is_no_newer_does_not_count(
    store: FileStore, path: Path, second: Path, generation: int
) -> None:
    """Seven is the intent of a redeem that was never sent: the update that was to permit it has not returned."""
    second.write_bytes(encode(begun(kept(generation)), OWNER))
    assert await store.load() == kept(7)
    assert await store.update(to(kept(8))) == kept(8)
    assert names(path.parent) == STANDING


async def test_half_of_a_second_slot_does_not_count_and_is_in_nobodys_way(
    store: FileStore, path: Path, second: Path
) -> None:
    whole = encode(kept(8), OWNER)
    for rest in (b"", bytes(ROOM)):
        for length in range(0, len(whole) - 1, 7):
            second.write_bytes(whole[:length] + rest)
            assert await store.load() == kept(7)
        assert await store.update(to(kept(7))) == kept(7)
        assert names(path.parent) == STANDING


async def test_a_crashed_change_becomes_the_first_slot_before_anything_is_written(
    store: FileStore, path: Path, second: Path
) -> None:
    """Else the next write, into the very slot that has the only living pair, could end it."""
    second.write_bytes(encode(kept(8), OWNER))
    with files_of_at_most(64), pytest.raises(StoreError, match="can't be written"):
        await store.update(to(kept(9)))
    assert decode(path.read_bytes(), OWNER) == kept(8)
    assert names(path.parent) == STANDING


async def test_room_for_a_pair_is_not_taken_from_a_crashed_change(store: FileStore, path: Path, second: Path) -> None:
    second.write_bytes(encode(kept(8), OWNER))
    assert await store.update(begun, room=True) == begun(kept(8))
    assert decode(path.read_bytes(), OWNER) == begun(kept(8))


# Room


@pytest.mark.parametrize("platform", ["Linux", "macOS"])
async def test_room_is_kept_before_a_redeem_and_used_by_its_pair(
    store: FileStore, path: Path, second: Path, platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is filled while the redeem is on its way must not cost the pair."""
    if platform == "macOS":
        monkeypatch.delattr(os, "posix_fallocate")  # which has none
    await store.update(begun, room=True)
    room = second.stat()
    assert room.st_blocks * 512 >= ROOM
    assert second.read_bytes() == bytes(ROOM)
    await store.update(to(kept(8)))
    assert path.stat().st_ino == room.st_ino
    assert path.stat().st_size == len(encode(kept(8), OWNER))
    assert names(path.parent) == STANDING


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let no file grow beyond `size` bytes: like a full disk, in the middle of a write."""
    heard = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, heard)


@pytest.mark.parametrize("size", [64, 8192, ROOM - 1], ids=["the intent", "the room", "the last byte of it"])
async def test_a_disk_without_room_for_a_redeem_is_found_out_before_it_and_nothing_has_changed(
    store: FileStore, path: Path, size: int
) -> None:
    """Not even the intent, for nothing was sent: a doubt that is none could stop refreshing for good."""
    before = path.read_bytes()
    with files_of_at_most(size), pytest.raises(StoreError, match=r"can't be written: File too large\. Raise the limit"):
        await store.update(begun, room=True)
    assert path.read_bytes() == before
    assert names(path.parent) == STANDING


async def test_a_full_disk_loses_neither_the_old_pair_nor_leaves_half_of_the_new(store: FileStore, path: Path) -> None:
    await store.update(begun, room=True)
    before = path.read_bytes()
    with files_of_at_most(64), pytest.raises(StoreError, match="can't be written"):
        await store.update(to(kept(8)))
    assert path.read_bytes() == before
    assert names(path.parent) == STANDING
    assert await store.update(to(kept(8))) == kept(8)


# What is not ours


FOREIGN = {
    "empty": (b"", "is empty"),
    "zeros": (bytes(4096), "is empty"),
    "half a file": (encode(kept(7), OWNER)[:200], "was damaged"),
    "JSON of another kind": (b'{"access_token": "hush"}', "is not a grant"),
    "not text": (b"\xff\xfe\x00", "is not a grant"),
    "far too large": (b'{"x": "' + b"y" * (1024 * 1024), "is not a grant"),
}
WHOLE = {
    "another version": (
        b'{"format": "pandadoc-proxy grant", "version": 2, "generation": 1}',
        r"in format 2.*left as it is\. Run the version that wrote it: .*don't remove it",
    ),
    "another client's": (
        encode(kept(7), "another"),
        r"another OAuth client.*left as it is\. Check client_id, token_url and upstream\.url.*don't remove it",
    ),
}


@pytest.mark.parametrize(("content", "said"), FOREIGN.values(), ids=FOREIGN)
async def test_a_file_that_is_not_ours_is_refused_and_never_overwritten(path: Path, content: bytes, said: str) -> None:
    path.write_bytes(content)
    with pytest.raises(StoreError, match=rf"{said}.*left as it is\. .*move it away.*pandadoc-proxy login"):
        await store_at(path).load()
    await assert_left(path, content, said)


@pytest.mark.parametrize(("content", "said"), WHOLE.values(), ids=WHOLE)
async def test_nobody_is_told_to_remove_a_grant_that_is_whole(path: Path, content: bytes, said: str) -> None:
    """What is wrong is the credential's configuration, or this version: the file is the only living grant."""
    path.write_bytes(content)
    with pytest.raises(StoreError, match=said) as refused:
        await store_at(path).load()
    assert "move it away" not in str(refused.value)
    assert "login" not in str(refused.value)
    await assert_left(path, content, said)


async def assert_left(path: Path, content: bytes, said: str) -> None:
    with pytest.raises(StoreError, match=said) as refused:
        await store_at(path).update(to(kept(8)), room=True)
    assert "hush" not in str(refused.value)
    assert path.read_bytes() == content
    assert names(path.parent) == STANDING


async def test_a_symbolic_link_is_refused_and_left(tmp_path: Path, path: Path) -> None:
    """Renaming over it would leave the file that it names behind, with a spent token."""
    await store_at(tmp_path / "real" / "grant.json").update(to(kept(7)))
    path.symlink_to(tmp_path / "real" / "grant.json")
    for work in (store_at(path).load(), store_at(path).update(to(kept(8)))):
        with pytest.raises(StoreError, match="It is a symbolic link: name the file itself"):
            await work
    assert path.is_symlink()
    assert await store_at(tmp_path / "real" / "grant.json").load() == kept(7)


async def test_a_fifo_is_refused_at_once_and_left(path: Path) -> None:
    os.mkfifo(path)
    for work in (store_at(path).load(), store_at(path).update(to(kept(8)))):
        with pytest.raises(StoreError, match="is not a regular file; it is left as it is"):
            await work
    assert path.is_fifo()


async def test_a_folder_in_place_of_the_file_is_told(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StoreError, match=r"can't be read: Is a directory\. Name a file in that folder"):
        await store_at(path).load()
    with pytest.raises(StoreError, match="can't be written: Is a directory"):
        await store_at(path).update(to(kept(8)))
    assert path.is_dir()


async def test_a_file_in_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("x")
    with pytest.raises(StoreError, match="A file stands where its folder should be"):
        await store_at(tmp_path / "state" / "grant.json").load()


async def test_a_folder_on_the_way_that_cant_be_made_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "state" / ("x" * 300)
    with pytest.raises(StoreError, match=rf"can't be written: File name too long \({folder}\)\. Choose a shorter name"):
        await store_at(folder / "below" / "grant.json").update(to(kept(7)))


async def test_a_mode_that_lets_others_read_is_mended(store: FileStore, path: Path) -> None:
    """A pod's fsGroup sets such modes at every start."""
    path.chmod(0o640)
    assert await store.load() == kept(7)
    assert path.stat().st_mode & 0o777 == 0o600


@contextmanager
def as_nobody() -> Iterator[None]:
    """Be somebody without privileges; if we are that already, be ourselves."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Make a folder on the way to which everybody may go; pytest's own is closed to others."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o700)
    shutil.rmtree(folder)


async def test_what_we_may_not_write_or_read_is_told_with_its_cure(open_folder: Path) -> None:
    path = open_folder / "grant.json"
    await store_at(path).update(to(kept(7)))
    (open_folder / ".grant.json.lock").unlink()
    path.chmod(0o000)
    open_folder.chmod(0o555)
    cure = r"Give the folder and the file to this process's user"
    with as_nobody():
        for work, verb, where in (
            (store_at(path).load(), "read", ""),
            (store_at(path).update(to(kept(8))), "written", rf" \({open_folder}/\.grant\.json\.lock\)"),
            (store_at(path).lease(60), "locked", rf" \({open_folder}/\.grant\.json\.lease\)"),
        ):
            with pytest.raises(StoreError, match=rf"can't be {verb}: Permission denied{where}\. {cure}"):
                await work
    path.chmod(0o600)
    assert decode(path.read_bytes(), OWNER) == kept(7)


async def test_a_second_slot_of_another_user_is_used_where_it_may_be_written(open_folder: Path) -> None:
    """A pod's fsGroup lets a user write another's files, but not change their modes."""
    path = open_folder / "grant.json"
    await store_at(path).update(to(kept(7)))
    (open_folder / ".grant.json.new").write_bytes(encode(kept(8), OWNER))  # its writer died
    for file in (open_folder, *open_folder.iterdir()):
        file.chmod(0o777 if file.is_dir() else 0o666)
    with as_nobody():
        store = store_at(path)
        assert await store.load() == kept(8)
        assert await store.update(lambda newest: replace(newest, intent=Intent("0123456789ab", 77.0)), room=True)
        await store.update(to(kept(9)))
    assert decode(path.read_bytes(), OWNER) == kept(9)


def give(file: Path, user: int) -> None:
    os.chown(file, user, user)


PLANTED: Final = r"belongs to user 1001, and others may write in its folder.* run this as that user, or give all files"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("planted", ["grant.json", ".grant.json.new"])
@pytest.mark.parametrize("mode", [0o777, 0o775, 0o1777])
async def test_a_grant_that_another_user_may_have_planted_is_neither_taken_nor_written_over(
    open_folder: Path, planted: str, mode: int
) -> None:
    """Its apps would be lent that user's account; and he may have kept open what the next grant is written into."""
    path, file = open_folder / "grant.json", open_folder / planted
    store = store_at(path)
    await store.update(to(kept(7)))
    file.write_bytes(encode(kept(1000), OWNER))
    give(file, 1001)
    open_folder.chmod(mode)
    before = file.read_bytes(), file.stat()
    with pytest.raises(StoreError, match=PLANTED):
        await store.load()
    with pytest.raises(StoreError, match=PLANTED):
        await store.update(to(kept(1001)), room=True)
    assert (file.read_bytes(), file.stat().st_mode) == (before[0], before[1].st_mode)
    file.unlink()
    await store.update(to(kept(8)), room=True)
    assert await store.load() == kept(8)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
async def test_a_folder_that_another_user_may_have_planted_is_not_taken(open_folder: Path) -> None:
    folder = open_folder / "pandadoc-proxy"
    folder.mkdir(0o755)
    path = folder / "grant.json"
    await store_at(path).update(to(kept(7)))
    give(path, 1001)
    give(folder, 1001)
    open_folder.chmod(0o755)
    assert await store_at(path).load() == kept(7)
    open_folder.chmod(0o777)
    with pytest.raises(StoreError, match=PLANTED):
        await store_at(path).load()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("planted", [".grant.json.new", ".grant.json.lock", ".grant.json.lease"])
async def test_whom_root_gives_a_grant_is_not_for_one_to_say_who_may_write_in_the_folder(
    open_folder: Path, planted: str
) -> None:
    open_folder.chmod(0o777)
    file = open_folder / planted
    file.touch(0o600)
    give(file, 1001)
    with pytest.raises(StoreError, match=PLANTED):
        await store_at(open_folder / "grant.json").update(to(kept(7)), room=True)
    for each in open_folder.iterdir():
        assert each.stat().st_uid == (1001 if each == file else 0)
    assert file.read_bytes() == b""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize(("user", "mode"), [(0, 0o777), (1001, 0o755)])
async def test_what_nobody_else_may_have_put_there_is_used_whoever_owns_it(
    open_folder: Path, user: int, mode: int
) -> None:
    """Restored by root, in a folder for all; or anybody's, where no other may write: the user of an earlier image."""
    path = open_folder / "grant.json"
    await store_at(path).update(to(kept(7)), room=True)
    for file in open_folder.iterdir():
        give(file, user)
        file.chmod(0o666)
    give(open_folder, 65534)
    open_folder.chmod(mode)
    with as_nobody():
        assert await store_at(path).load() == kept(7)
        await store_at(path).update(to(kept(8)), room=True)
        assert await store_at(path).load() == kept(8)


@pytest.mark.parametrize(
    ("number", "cure"),
    [
        (errno.ENOSPC, "Free some space"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "Mount a writable volume"),
        (errno.EACCES, "Give the folder and the file"),
        (errno.EPERM, "Give the folder and the file"),
        (errno.EBUSY, "mount its folder instead"),
        (errno.EXDEV, "mount its folder instead"),
        (errno.ELOOP, "name the file itself"),
        (errno.EISDIR, "Name a file in that folder"),
        (errno.ENOTDIR, "A file stands where"),
        (errno.ENAMETOOLONG, "Choose a shorter name"),
        (errno.EIO, "Check that its folder exists"),
    ],
)
async def test_whatever_the_disk_answers_the_message_names_a_cure(path: Path, number: int, cure: str) -> None:
    def fails(_kept: Ledger) -> Ledger:
        raise OSError(number, "not shown")

    with pytest.raises(StoreError, match=cure) as told:
        await store_at(path).update(fails)
    assert str(told.value).startswith(f"The store {path} can't be written: {os.strerror(number)}. ")


# Several processes


async def test_one_of_two_has_the_lease(path: Path) -> None:
    ours, other = store_at(path), store_at(path)
    first = await ours.lease(60)
    assert first is not None
    assert await other.lease(60) is None
    assert await ours.lease(60) is None  # not even we: it is held for one refresh
    first()
    await ours.load()  # what was asked for before is done by then
    again = await other.lease(60)
    assert again is not None
    first()
    await ours.load()
    assert await ours.lease(60) is None  # releasing twice frees nobody else's


async def test_a_change_needs_no_lease(path: Path) -> None:
    """A login must be stored while a refresh is on its way."""
    await store_at(path).lease(60)
    assert await store_at(path).update(to(kept(7))) == kept(7)


async def test_a_lease_whose_asker_has_gone_is_freed(path: Path) -> None:
    """Cancelled while the disk was busy: nobody would ever release it."""
    ours = store_at(path)
    asking = asyncio.create_task(ours.lease(60))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await ours.load()
    assert await store_at(path).lease(60) is not None


HOLD = """
import fcntl, os, sys
handle = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
fcntl.flock(handle, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""

COUNT = """
import asyncio, sys
from dataclasses import replace
from pathlib import Path
from proxy.credential import file_store
from proxy.credential.file_store import FileStore, Place
from proxy.credential.ledger import Grant, Ledger, Lineage
from proxy.secrets import Secret

file_store.LOCK_PATIENCE = 20.0  # who is to get it is left to the kernel

def next_one(kept):
    number = kept.generation + 1
    return Ledger(Grant(number, Lineage("login", "ab", 0.0), Secret(f"refresh-{number}-" * 5)), ("ab",))

async def main(path, turns):
    store = FileStore(lambda: Place(path, "0123456789abcdef"))
    for turn in range(turns):
        await store.update(next_one, room=turn % 2 == 0)
        print((await store.load()).generation, flush=True)

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
"""


@contextmanager
def process(program: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run a program until the block ends; by then it is dead, whatever it did."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    with subprocess.Popen(  # noqa: S603 - our own text
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def heard(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


async def test_the_lease_of_a_process_that_is_killed_is_free_at_once(path: Path) -> None:
    with process(HOLD, path.with_name(".grant.json.lease")) as child:
        assert heard(child) == "held"
        assert await store_at(path).lease(60) is None
        child.send_signal(signal.SIGSTOP)  # alive, and no answer to be had
        assert await store_at(path).lease(60) is None
        child.kill()
        child.wait()
        assert await store_at(path).lease(60) is not None


async def test_a_process_that_is_stopped_with_the_lock_costs_a_bounded_wait(store: FileStore, path: Path) -> None:
    with process(HOLD, path.with_name(".grant.json.lock")) as child:
        assert heard(child) == "held"
        child.send_signal(signal.SIGSTOP)
        began = asyncio.get_running_loop().time()
        with pytest.raises(StoreError, match=r"another process has had it locked for 1 s\. Is one stopped there\?"):
            await store.update(to(kept(8)))
        assert LOCK_PATIENCE <= asyncio.get_running_loop().time() - began < LOCK_PATIENCE + 1
        assert await store.load() == kept(7)
        child.kill()
        child.wait()
        assert await store.update(to(kept(8))) == kept(8)


async def test_a_change_waits_for_another_process_to_end_its_own(store: FileStore, path: Path) -> None:
    with process(HOLD, path.with_name(".grant.json.lock")) as child:
        assert heard(child) == "held"
        changing = asyncio.create_task(store.update(to(kept(8))))
        await asyncio.sleep(0)
        child.communicate("")  # the end of its input is the end of it
        assert await changing == kept(8)


async def test_no_change_of_several_processes_is_lost_and_readers_always_see_a_whole(path: Path) -> None:
    store, seen = store_at(path), [0]
    with process(COUNT, path, 40) as one, process(COUNT, path, 40) as two:
        while one.poll() is None or two.poll() is None:
            seen.append((await store.load()).generation)
    assert (one.returncode, two.returncode) == (0, 0)
    assert seen == sorted(seen)
    assert (await store.load()).generation == 80
    assert names(path.parent) == STANDING


async def test_a_process_killed_in_the_middle_of_its_changes_leaves_the_last_one_whole(path: Path) -> None:
    for kill_after in (1, 4, 9):
        with process(COUNT, path, 100_000) as child:
            told = [int(heard(child)) for _ in range(kill_after)]
            child.kill()
            assert child.stdout is not None
            told += [int(line) for line in child.stdout]  # communicate() would pass over what was read ahead
        assert told[-1] <= (await store_at(path).load()).generation <= told[-1] + 1
        assert (await store_at(path).update(begun, room=True)) is not None
    assert names(path.parent) == {*STANDING, ".grant.json.new"}


async def test_a_file_system_without_locks_is_told_once(
    store: FileStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(_handle: int, _how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    assert await store.update(to(kept(8))) == kept(8)
    assert await store.update(to(kept(9))) == kept(9)
    assert [record.levelno for record in caplog.records if "no locks on the file system" in record.message] == [
        logging.WARNING
    ]
