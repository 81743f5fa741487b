"""Modes and owners of unix sockets, as they may be written."""

from collections.abc import Callable, Mapping

import pytest

from proxy.config import Config
from proxy.config.sockets import Owner

Loaded = Callable[[str, Mapping[str, str]], Config]
KEY = {"PANDADOC_API_KEY": "k"}


@pytest.mark.parametrize(
    ("written", "mode"),
    [('"0600"', 0o600), ("0660", 0o660), ("666", 0o666), ("'000'", 0), ("null", None)],
)
def test_a_mode_is_octal_with_quotes_and_without(written: str, mode: int | None, loaded: Loaded) -> None:
    """YAML 1.1 would make 384 of 0600, and 1.2 six hundred: what is written counts."""
    (listener,) = loaded(f"listeners: [{{bind: unix:/x, mode: {written}}}]", KEY).listeners
    assert listener.mode == mode


@pytest.mark.parametrize(
    ("written", "owner"),
    [
        ("root", Owner("root")),
        ("root:root", Owner("root", "root")),
        ("':root'", Owner(None, "root")),
        ("1000", Owner("1000")),
        ("1000:1000", Owner("1000", "1000")),
        ("':12'", Owner(None, "12")),
        ("null", None),
    ],
)
def test_an_owner_is_written_as_for_chown(written: str, owner: Owner | None, loaded: Loaded) -> None:
    (listener,) = loaded(f"listeners: [{{bind: unix:/x, owner: {written}}}]", KEY).listeners
    assert listener.owner == owner


@pytest.mark.parametrize("text", ["app", "app:web", ":web"])
def test_an_owner_is_shown_as_it_is_written(text: str) -> None:
    user, _, group = text.partition(":")
    assert str(Owner(user or None, group or None)) == text
