"""The file store on disks that are full, read-only, or a single file: real mounts, which need root."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxy.credential.file_store import FileStore, Place
from proxy.credential.ledger import Grant, Intent, Ledger, Lineage
from proxy.credential.record import decode
from proxy.credential.store import StoreError
from proxy.secrets import Secret

OWNER = "0123456789abcdef"
Mount = Callable[..., Path]


def kept(generation: int) -> Ledger:
    grant = Grant(generation, Lineage("login", "ab", 0.0), Secret("r" * 40), Secret(f"access-{generation}"), 0.0, 9e9)
    return Ledger(grant, ("ab",))


def begun(was: Ledger) -> Ledger:
    return Ledger(was.grant, was.seeds, intent=Intent("ab", 5.0))


def store_in(folder: Path) -> FileStore:
    return FileStore(lambda: Place(folder / "grant.json", OWNER))


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mount on a folder or file below the test's own; all of it is unmounted at the end."""
    mounted: list[Path] = []

    def mount(target: str, *options: str) -> Path:
        place = tmp_path / target
        if not place.exists():
            place.mkdir()
        subprocess.run(["mount", *options, place], check=True, capture_output=True)  # noqa: S603, S607 - fixed words
        mounted.append(place)
        return place

    yield mount
    for place in reversed(mounted):
        subprocess.run(["umount", place], check=True)  # noqa: S603, S607 - the same


def fill(folder: Path, name: str = "filler") -> Path:
    """Take what space is left."""
    path = folder / name
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return path
    raise AssertionError


async def test_a_full_disk_is_found_out_before_a_redeem_and_changes_nothing(mount: Mount) -> None:
    folder = mount("disk", "-t", "tmpfs", "-o", "size=256k", "tmpfs")
    store = store_in(folder)
    await store.update(lambda _: kept(7))
    filler = fill(folder)
    for _ in range(2):
        with pytest.raises(StoreError, match=r"No space left on device\. Free some space there"):
            await store.update(begun, room=True)
        assert await store.load() == kept(7)
        assert not (folder / ".grant.json.new").exists()
    filler.unlink()
    assert await store.update(begun, room=True) == begun(kept(7))


async def test_a_disk_that_is_filled_during_a_redeem_still_takes_its_pair(mount: Mount) -> None:
    folder = mount("disk", "-t", "tmpfs", "-o", "size=256k", "tmpfs")
    store = store_in(folder)
    await store.update(lambda _: kept(7))
    await store.update(begun, room=True)
    fill(folder)
    assert await store.update(lambda _: kept(8)) == kept(8)
    assert await store_in(folder).load() == kept(8)
    fill(folder, "more of it")
    with pytest.raises(StoreError, match="No space left on device"):
        await store.update(begun, room=True)
    assert await store_in(folder).load() == kept(8)


async def test_a_disk_too_small_for_the_room_is_told_at_the_first_refresh(mount: Mount) -> None:
    store = store_in(mount("disk", "-t", "tmpfs", "-o", "size=64k", "tmpfs"))
    await store.update(lambda _: kept(7))
    with pytest.raises(StoreError, match=r"No space left on device\. Free some space there"):
        await store.update(begun, room=True)
    assert await store.load() == kept(7)


async def test_a_disk_without_inodes_is_a_full_one(mount: Mount) -> None:
    folder = mount("disk", "-t", "tmpfs", "-o", "size=1m,nr_inodes=4", "tmpfs")
    store = store_in(folder)
    await store.update(lambda _: kept(7))
    (folder / "last").touch()
    with pytest.raises(StoreError, match=r"No space left on device\. Free some space there"):
        await store.update(begun, room=True)
    assert await store.load() == kept(7)


async def test_a_file_mounted_alone_can_not_be_replaced_and_the_message_says_so(mount: Mount, tmp_path: Path) -> None:
    """A pair that was redeemed all the same (law 4) lies whole beside it, and counts after a crash too."""
    await store_in(tmp_path / "outside").update(lambda _: kept(7))
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "grant.json").touch()
    mount("inside/grant.json", "--bind", str(tmp_path / "outside" / "grant.json"))
    store = store_in(inside)
    for change, room in ((begun, True), (lambda _: kept(8), False), (lambda _: kept(9), False)):
        with pytest.raises(StoreError, match=r"mounted as a single file, which can't be replaced: mount its folder"):
            await store.update(change, room=room)
    assert decode((inside / "grant.json").read_bytes(), OWNER) == kept(7)
    assert await store_in(inside).load() == kept(8)


async def test_a_read_only_disk_is_read_and_neither_locked_nor_written(
    mount: Mount, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await store_in(tmp_path / "disk").update(lambda _: kept(7))
    (tmp_path / "disk" / "grant.json").chmod(0o640)
    folder = mount("disk", "--bind", "-o", "ro", str(tmp_path / "disk"))
    store = store_in(folder)
    assert await store.load() == kept(7)
    assert await store.load() == kept(7)
    assert caplog.text.count("its mode can't be mended: Read-only file system") == 1
    for work in (store.lease(60), store.update(lambda _: kept(8))):
        with pytest.raises(StoreError, match=r"Read-only file system\. Mount a writable volume there"):
            await work


async def test_without_privileges_a_sticky_folder_keeps_anothers_file() -> None:
    """`/tmp` is such a folder: we may write beside the file, and may not rename over it."""
    folder = Path("/tmp") / f"sticky-{os.getpid()}"  # noqa: S108 - pytest's own folder is closed to others
    folder.mkdir()
    try:
        await store_in(folder).update(lambda _: kept(7))
        (folder / "grant.json").chmod(0o644)
        for lock in (".grant.json.lock", ".grant.json.lease"):
            (folder / lock).unlink(missing_ok=True)
        folder.chmod(0o1777)
        os.seteuid(65534)
        with pytest.raises(StoreError, match="Give the folder and the file to this process's user"):
            await store_in(folder).update(lambda _: kept(8))
        assert decode((folder / "grant.json").read_bytes(), OWNER) == kept(7)
        assert await store_in(folder).load() == kept(8)
        os.seteuid(0)
        with pytest.raises(StoreError, match="belongs to user 65534, and others may write in its folder"):
            await store_in(folder).load()
    finally:
        os.seteuid(0)
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
