"""The store that outlives the process: real files, and what may be wrong with them."""

import resource
import signal
from pathlib import Path

import pytest

from proxy.credential.file_store import FileStore, default_path
from proxy.credential.refusals import Refusals
from proxy.credential.store import Grant, MemoryStore, StoreError
from proxy.secrets import Secret

GRANT = Grant(
    generation=7,
    refresh_token=Secret("r" * 40),
    access_token=Secret("a" * 40),
    obtained_at=1000.5,
    expires_at=2000.5,
    seeds=("0123456789ab",),
    refusals=Refusals(until=50.0, length=30.0, spent=True),
)


def store_at(path: Path) -> FileStore:
    return FileStore(lambda: path)


@pytest.mark.parametrize("grant", [GRANT, Grant(0, Secret("r" * 40))], ids=["full", "bare"])
async def test_what_was_saved_is_loaded(tmp_path: Path, grant: Grant) -> None:
    await store_at(tmp_path / "new" / "folder" / "grant.json").save(grant)
    assert await store_at(tmp_path / "new" / "folder" / "grant.json").load() == grant


async def test_memory_keeps_what_was_saved_too() -> None:
    store = MemoryStore()
    assert await store.load() is None
    await store.prove_writable()
    await store.save(GRANT)
    assert await store.load() == GRANT
    assert "7" in repr(store)


async def test_nothing_stored_is_not_an_error(tmp_path: Path) -> None:
    assert await store_at(tmp_path / "grant.json").load() is None


async def test_only_the_owner_may_read_it_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "state" / "grant.json"
    store = store_at(path)
    await store.prove_writable()
    await store.save(GRANT)
    await store.save(GRANT)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [file.name for file in path.parent.iterdir()] == ["grant.json"]


FOREIGN = {
    "empty": b"",
    "half a file": b'{"format": "pandadoc-proxy grant", "version": 1, "gener',
    "JSON of another kind": b'{"access_token": "x"}',
    "another version": b'{"format": "pandadoc-proxy grant", "version": 2, "generation": 1}',
    "a list": b"[]",
    "not text": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
async def test_a_file_that_is_not_ours_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "grant.json"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"left as it is\. Move it away"):
        await store_at(path).load()
    assert path.read_bytes() == content


async def test_a_folder_in_place_of_the_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "grant.json").mkdir()
    store = store_at(tmp_path / "grant.json")
    with pytest.raises(StoreError, match="can't be read"):
        await store.load()
    with pytest.raises(StoreError, match="can't be written"):
        await store.save(GRANT)
    assert [file.name for file in tmp_path.iterdir()] == ["grant.json"]


async def test_a_full_disk_loses_neither_the_old_pair_nor_leaves_half_of_the_new(tmp_path: Path) -> None:
    """A limit on file size stands in for the disk: the same ENOSPC-like failure in the middle of a write."""
    path = tmp_path / "grant.json"
    store = store_at(path)
    await store.save(GRANT)
    before = path.read_bytes()
    heard = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        with pytest.raises(StoreError, match="can't be written"):
            await store.prove_writable()
        with pytest.raises(StoreError, match="can't be written"):
            await store.save(GRANT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, heard)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["grant.json"]


def test_another_client_or_region_is_another_file(tmp_path: Path) -> None:
    paths = {
        default_path(tmp_path, url, Secret(client))
        for url in ("https://api.pandadoc.com/oauth2/access_token", "https://api.pandadoc.eu/oauth2/access_token")
        for client in ("one", "two")
    }
    assert len(paths) == 4
    assert all(path.parent == tmp_path / "pandadoc-proxy" for path in paths)
    assert not any("one" in path.name for path in paths)


def test_no_repr_shows_a_token() -> None:
    assert "a" * 40 not in repr(GRANT)
    assert "r" * 40 not in repr(GRANT)
