"""What systemd hears: real datagrams on a real socket."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy import service_manager


@pytest.fixture
def manager() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.settimeout(5)
        yield listening


def test_the_manager_hears_each_state(manager: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manager.bind(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    for state in (service_manager.READY, service_manager.ALIVE, service_manager.STOPPING):
        service_manager.tell(state)
        assert manager.recv(200).decode() == state
    service_manager.tell(service_manager.reloading())
    reloading, moment = manager.recv(200).decode().splitlines()
    assert reloading == "RELOADING=1"
    assert int(moment.removeprefix("MONOTONIC_USEC=")) > 0


def test_an_abstract_socket_is_one_too(manager: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"pandadoc-proxy-test-{id(manager)}"
    manager.bind(f"\0{name}")
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
    service_manager.tell(service_manager.READY)
    assert manager.recv(200) == b"READY=1"


def test_without_a_manager_nothing_is_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    service_manager.tell(service_manager.READY)
    assert not caplog.records


def test_a_manager_that_has_gone_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    service_manager.tell(service_manager.READY)
    assert "can't be told READY=1" in caplog.text
