"""Secrets read while we serve: anew each time, and a file that hangs stalls nobody."""

import asyncio
import threading
from pathlib import Path

import pytest

from proxy.disk import Disk
from proxy.secret_reader import SecretReader
from proxy.secrets import SecretReference, SecretUnavailable


async def test_a_secret_is_read_from_wherever_it_is(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from-a-file\n")
    reader = SecretReader()
    references = (
        SecretReference.env("NAME", {"NAME": "from-the-environment"}),
        SecretReference.file(tmp_path / "secret"),
        SecretReference.literal("from-the-text", "config.yaml:1"),
    )
    read = [(await reader.read(reference)).reveal() for reference in references]
    assert read == ["from-the-environment", "from-a-file", "from-the-text"]


async def test_a_secret_is_read_anew_each_time(tmp_path: Path) -> None:
    """Kubernetes swaps the link under a mounted secret; nothing tells us."""
    reader, reference = SecretReader(), SecretReference.file(tmp_path / "link")
    for value in ("old-secret", "new-secret"):
        (tmp_path / value).write_text(value)
        (tmp_path / "next").symlink_to(tmp_path / value)
        (tmp_path / "next").replace(tmp_path / "link")
        assert (await reader.read(reference)).reveal() == value


async def test_a_secret_that_is_not_there_is_told_as_by_the_reference_itself(tmp_path: Path) -> None:
    reader = SecretReader()
    with pytest.raises(SecretUnavailable, match="does not exist: create or mount it"):
        await reader.read(SecretReference.file(tmp_path / "secret"))
    with pytest.raises(SecretUnavailable, match="NAME is not set"):
        await reader.read(SecretReference.env("NAME", {}))


async def test_a_file_that_hangs_is_unavailable_and_stalls_no_secret_elsewhere(tmp_path: Path) -> None:
    """A folder is where a network disk is mounted; one file there must not cost all the others."""
    for folder in ("dead", "good"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "secret").write_text(f"from-a-{folder}-disk\n")
    reader, released = SecretReader(), threading.Event()
    dead = reader._disks[tmp_path / "dead"] = Disk(0.02)  # noqa: SLF001 - as little as a hanging disk is enough
    dead.soon(lambda: released.wait(30))  # nothing at hand hangs like a dead network disk
    reading = asyncio.create_task(reader.read(SecretReference.file(tmp_path / "dead" / "secret")))
    try:
        literal = await reader.read(SecretReference.literal("at-once", "config.yaml:1"))
        assert literal.reveal() == "at-once"
        with pytest.raises(SecretUnavailable, match="dead/secret can't be read: no answer within"):
            await reading
        other = await reader.read(SecretReference.file(tmp_path / "good" / "secret"))
        assert other.reveal() == "from-a-good-disk"
    finally:
        released.set()


async def test_a_reader_shows_its_folders_and_no_secret(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from-a-file\n")
    reader = SecretReader()
    await reader.read(SecretReference.file(tmp_path / "secret"))
    assert repr(reader) == f"<SecretReader {tmp_path}: <Disk 0 waiting>>"
