from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from config.editor import complaints

from proxy.config import BadConfig, Config, load


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in an empty folder, so that places read `config.yaml:1`."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def loaded(folder: Path) -> Callable[[str, Mapping[str, str]], Config]:
    """Load a text as ./config.yaml with an environment; whatever loads, no editor may mark."""

    def loaded(text: str, environ: Mapping[str, str]) -> Config:
        (folder / "config.yaml").write_text(text, encoding="utf-8")
        config = load(environ=environ)
        assert complaints(text) == []
        return config

    return loaded


@pytest.fixture
def faults(loaded: Callable[[str, Mapping[str, str]], Config]) -> Callable[[str, Mapping[str, str]], list[str]]:
    """Load the same, and say what is wrong."""

    def faults(text: str, environ: Mapping[str, str]) -> list[str]:
        with pytest.raises(BadConfig) as raised:
            loaded(text, environ)
        return str(raised.value).splitlines()

    return faults
