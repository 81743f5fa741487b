"""Where the file is looked for, and what is said when it can't be read."""

import os
from pathlib import Path

import pytest

from proxy.config import BadConfig, load

KEY = {"PANDADOC_API_KEY": "k"}


def _write(path: Path, level: str) -> Path:
    path.write_text(f"log: {{level: {level}}}\n", encoding="utf-8")
    return path


def _fault(path: Path | None = None, *, search: tuple[Path, ...] = (), **environ: str) -> str:
    with pytest.raises(BadConfig) as raised:
        load(path, environ=KEY | environ, search=search)
    return str(raised.value)


def test_the_argument_comes_before_the_variable_and_that_before_the_search(folder: Path) -> None:
    given, named, found = (_write(folder / name, "debug") for name in ("given", "named", "found"))
    environ = KEY | {"PANDADOC_PROXY_CONFIG": str(named)}
    assert load(given, environ=environ, search=[found]).source == given
    assert load(environ=environ, search=[found]).source == named
    assert load(environ=KEY, search=[folder / "nope", found]).source == found


def test_the_first_found_is_taken_alone(folder: Path) -> None:
    search = [_write(folder / "first", "debug"), _write(folder / "second", "error")]
    assert load(environ=KEY, search=search).log.level == "debug"


def test_no_file_at_all_is_fine(folder: Path) -> None:
    assert load(environ=KEY, search=[folder / "nope", folder / "nope" / "deeper"]).source is None


def test_an_empty_variable_names_no_file() -> None:
    assert load(environ=KEY | {"PANDADOC_PROXY_CONFIG": ""}, search=()).source is None


def test_a_named_file_must_be_there(folder: Path) -> None:
    missing = folder / "nope.yaml"
    flaw = f"there is no file {missing}: name one that exists, or none"
    assert _fault(missing) == f"{missing}: {flaw}"
    assert _fault(PANDADOC_PROXY_CONFIG=str(missing)) == f"PANDADOC_PROXY_CONFIG: {flaw}"


def test_a_link_to_nothing_is_not_taken_for_no_file(folder: Path) -> None:
    """A disk that is not mounted yet: the policy that is on it would be gone, and nobody told."""
    (folder / "config.yaml").symlink_to(folder / "disk" / "config.yaml")
    flaw = "config.yaml: is a link to nothing: restore what it leads to, or remove it"
    assert _fault(search=(Path("config.yaml"), _write(folder / "second", "error"))) == flaw
    assert _fault(Path("config.yaml")) == flaw
    (folder / "disk").mkdir()
    _write(folder / "disk" / "config.yaml", "debug")
    assert load(environ=KEY, search=(Path("config.yaml"),)).log.level == "debug"


def test_a_folder_in_the_files_place_is_told(folder: Path) -> None:
    """Docker makes one where a mounted file is missing on the host."""
    (folder / "config.yaml").mkdir()
    assert _fault(search=(Path("config.yaml"),)) == "config.yaml: can't be read: Is a directory"


def test_a_file_that_is_not_utf8_is_told(folder: Path) -> None:
    (folder / "config.yaml").write_bytes("log: {level: débug}".encode("latin-1"))
    assert _fault(Path("config.yaml")) == "config.yaml: is not UTF-8 text: save it as UTF-8"


def test_a_pipe_will_do(folder: Path) -> None:
    """`--config <(…)` of a shell."""
    read, write = os.pipe()
    os.write(write, b"log: {level: debug}\n")
    os.close(write)
    config = load(folder / f"/dev/fd/{read}", environ=KEY)
    os.close(read)
    assert config.log.level == "debug"


def test_relative_paths_start_at_the_files_folder(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-the-file\n", encoding="utf-8")
    source = tmp_path / "config.yaml"
    source.write_text("credentials: {default: {api_key: {file: ./key}}}\n", encoding="utf-8")
    config = load(source, environ={})
    assert config.warnings == ()
    assert config.credentials["default"].api_key.read().reveal() == "from-the-file"  # type: ignore[union-attr]  # one kind here


def test_without_a_file_relative_paths_start_where_the_process_stands(folder: Path) -> None:
    (folder / "key").write_text("k", encoding="utf-8")
    override = {"PANDADOC_PROXY__CREDENTIALS__DEFAULT__API_KEY": "{file: ./key}"}
    assert load(environ=override, search=()).warnings == ()


def test_faults_come_as_values_too() -> None:
    with pytest.raises(BadConfig) as raised:
        load(environ={}, search=())
    [fault] = raised.value.faults
    assert (fault.place, fault.path) == ("environment", "credentials")
