"""Whose key is this? Real files, a clock that the test turns."""

import asyncio
import logging
import threading
from pathlib import Path
from typing import Final

import pytest
from rig import TurnedClock

from proxy.keyring import ClientKey, Keyring
from proxy.secret_reader import SecretReader
from proxy.secrets import SecretReference

OLD: Final = "old-0123456789abcdef"
NEW: Final = "new-0123456789abcdef"
OTHER: Final = "other-0123456789abcdef"
OVERLAP: Final = 60.0


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text(OLD)
    return path


@pytest.fixture
def keyring(key_file: Path, clock: TurnedClock) -> Keyring:
    keys = {
        "app": ClientKey(SecretReference.file(key_file), OVERLAP),
        "other": ClientKey(SecretReference.env("OTHER", {"OTHER": OTHER}), OVERLAP),
    }
    return Keyring(keys, SecretReader(), clock.monotonic)


async def holder(keyring: Keyring, key: str) -> str | None:
    return await keyring.holder(key.encode())


async def test_a_key_names_its_client(keyring: Keyring) -> None:
    assert await holder(keyring, OLD) == "app"
    assert await holder(keyring, OTHER) == "other"


@pytest.mark.parametrize("key", ["", OLD[:-1], OLD + "x", OLD.upper(), f" {OLD}", "nobody-0123456789abcdef"])
async def test_any_other_key_is_nobodys(keyring: Keyring, key: str) -> None:
    assert await holder(keyring, OLD) == "app"
    assert await holder(keyring, key) is None


async def test_a_new_key_is_taken_the_moment_an_app_presents_it(keyring: Keyring, key_file: Path) -> None:
    """The app may have read the same file sooner than we look at it."""
    assert await holder(keyring, OLD) == "app"
    key_file.write_text(NEW)
    assert await holder(keyring, NEW) == "app"


async def test_the_key_before_is_good_for_its_overlap(keyring: Keyring, key_file: Path, clock: TurnedClock) -> None:
    await keyring.look()
    key_file.write_text(NEW)
    await keyring.look()
    clock.pass_(OVERLAP - 1)
    assert await holder(keyring, OLD) == "app"
    assert await holder(keyring, NEW) == "app"
    clock.pass_(1)
    assert await holder(keyring, OLD) is None
    assert await holder(keyring, NEW) == "app"


async def test_without_an_overlap_the_key_before_is_dead_at_once(key_file: Path, clock: TurnedClock) -> None:
    keyring = Keyring({"app": ClientKey(SecretReference.file(key_file), 0.0)}, SecretReader(), clock.monotonic)
    assert await holder(keyring, OLD) == "app"
    key_file.write_text(NEW)
    await keyring.look()
    assert await holder(keyring, OLD) is None


async def test_a_key_that_comes_back_is_good_for_ever_again(
    keyring: Keyring, key_file: Path, clock: TurnedClock
) -> None:
    for key in (OLD, NEW, OLD):
        key_file.write_text(key)
        await keyring.look()
    clock.pass_(OVERLAP * 2)
    assert await holder(keyring, OLD) == "app"
    assert await holder(keyring, NEW) is None


async def test_what_cant_be_used_is_said_once_and_the_old_key_stays(
    keyring: Keyring, key_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await keyring.look()
    for broken in ("", "short", "two\nlines-0123456789abcdef", OTHER):
        key_file.write_text(broken)
        await keyring.look()
        await keyring.look()
        assert await holder(keyring, OLD) == "app"
    key_file.unlink()
    await keyring.look()
    assert await holder(keyring, OLD) == "app"
    assert await holder(keyring, OTHER) == "other"
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [line.split(":")[0] for line in said if "app" in line] == [
        "The key of client app can't be read",
        "The key of client app is not taken",
        "The key of client app can't be read",
        "The key of client app is not taken",
        "The key of client app can't be read",
    ]
    assert not any(key in line for line in said for key in (OLD, OTHER))


async def test_a_file_that_comes_later_makes_the_client(key_file: Path, clock: TurnedClock) -> None:
    key_file.unlink()
    keyring = Keyring({"app": ClientKey(SecretReference.file(key_file), OVERLAP)}, SecretReader(), clock.monotonic)
    assert await holder(keyring, OLD) is None
    key_file.write_text(OLD)
    assert await holder(keyring, OLD) == "app"


def two_files(folder: Path, clock: TurnedClock, overlap: float = OVERLAP) -> tuple[list[Path], Keyring]:
    """Make clients one and two with a key each, OLD and NEW; nothing is read yet."""
    files = [folder / "one", folder / "two"]
    for path, key in zip(files, (OLD, NEW), strict=True):
        path.write_text(key)
    keys = {path.name: ClientKey(SecretReference.file(path), overlap) for path in files}
    return files, Keyring(keys, SecretReader(), clock.monotonic)


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


async def test_a_key_that_another_client_takes_over_is_nobodys_until_the_overlap_ends(
    tmp_path: Path, clock: TurnedClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Of an app that still presents it nobody could say who it is: once both files were read, it is not the other."""
    files, keyring = two_files(tmp_path, clock)
    await keyring.look()
    files[0].write_text(OTHER)
    files[1].write_text(OLD)
    for _ in range(2):
        await keyring.look()
        assert await holder(keyring, OLD) is None
        assert await holder(keyring, OTHER) == "one"
        assert await holder(keyring, NEW) == "two"
        clock.pass_(OVERLAP - 1)
    clock.pass_(1)
    assert await holder(keyring, OLD) == "two"
    (line,) = warned(caplog)
    assert line == (
        "The key of client two is nobody's yet: it was that of client one, whose overlap has not ended."
        " Give each its own, or wait."
    )


async def test_two_clients_may_swap_their_keys(
    tmp_path: Path, clock: TurnedClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Until both overlaps have ended either key is nobody's, and neither client can come in."""
    files, keyring = two_files(tmp_path, clock)
    await keyring.look()
    files[0].write_text(NEW)
    files[1].write_text(OLD)
    await keyring.look()
    assert [await holder(keyring, key) for key in (OLD, NEW)] == [None, None]
    assert [line.split(":")[0] for line in warned(caplog)] == [
        "The key of client one is nobody's yet",
        "The key of client two is nobody's yet",
    ]
    assert keyring.keyless == ["one", "two"]
    clock.pass_(OVERLAP)
    assert [await holder(keyring, key) for key in (NEW, OLD)] == ["one", "two"]
    await keyring.look()
    assert keyring.keyless == []


async def test_without_an_overlap_keys_are_swapped_at_once(tmp_path: Path, clock: TurnedClock) -> None:
    files, keyring = two_files(tmp_path, clock, overlap=0.0)
    await keyring.look()
    files[0].write_text(NEW)
    files[1].write_text(OLD)
    await keyring.look()
    assert [await holder(keyring, key) for key in (NEW, OLD)] == ["one", "two"]


async def test_a_key_that_another_client_falls_back_to_is_not_taken(
    tmp_path: Path, clock: TurnedClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Two are given the same and keep theirs; a third is given what one of them keeps."""
    files, known = two_files(tmp_path, clock)
    await known.look()
    (third := tmp_path / "three").write_text(OLD)
    for path in files:
        path.write_text(OTHER)
    keys = {**known.keys, "three": ClientKey(SecretReference.file(third), OVERLAP)}
    keyring = Keyring(keys, SecretReader(), clock.monotonic, known)
    await keyring.look()
    assert [await holder(keyring, key) for key in (OLD, NEW, OTHER)] == ["one", "two", None]
    assert keyring.keyless == ["three"]
    assert [line.split(":")[0] for line in warned(caplog)] == [
        f"The key of client {name} is not taken" for name in ("one", "two", "three")
    ]


async def test_a_crowd_with_a_wrong_key_reads_the_files_no_more_than_once_at_a_time(
    keyring: Keyring, key_file: Path
) -> None:
    assert await asyncio.gather(*(holder(keyring, "nobody-0123456789abcdef") for _ in range(200))) == [None] * 200
    key_file.write_text(NEW)
    assert set(await asyncio.gather(*(holder(keyring, NEW) for _ in range(200)))) == {"app"}
    assert NEW not in repr(keyring)


async def test_whoever_goes_in_the_middle_of_a_reading_leaves_others_to_read_again(
    key_file: Path, clock: TurnedClock
) -> None:
    """A stranger with a wrong key hangs up; an app with a new key waits behind, and must not be taken for one."""
    reader = SecretReader()
    keyring = Keyring({"app": ClientKey(SecretReference.file(key_file), OVERLAP)}, reader, clock.monotonic)
    first, second = threading.Event(), threading.Event()
    disk = reader._disks[key_file.parent]  # noqa: SLF001 - it is held, so that a test can say what happens when
    disk.soon(first.wait)
    earlier = asyncio.ensure_future(keyring.look())
    await some_turns()
    disk.soon(second.wait)  # behind the first reading
    stranger = asyncio.ensure_future(holder(keyring, "nobody-0123456789abcdef"))
    app = asyncio.ensure_future(holder(keyring, NEW))
    await some_turns()
    first.set()
    await earlier
    key_file.write_text(NEW)
    await some_turns()  # the stranger's reading begins
    stranger.cancel()
    second.set()
    assert await app == "app"


async def some_turns() -> None:
    """Let the loop come to rest: whatever can go on without the disk has gone on then."""
    for _ in range(20):
        await asyncio.sleep(0)
