"""What systemd hears: real datagrams on a real socket."""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from proxy.service_manager import ALIVE, READY, STOPPING, ServiceManager, reloading


@pytest.fixture
def manager() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.settimeout(5)
        yield listening


@pytest.fixture
def address(manager: socket.socket, tmp_path: Path) -> str:
    manager.bind(str(tmp_path / "notify"))
    return str(tmp_path / "notify")


def heard(manager: socket.socket) -> list[str]:
    """Return what lies in the socket."""
    manager.settimeout(0)
    messages = []
    with suppress(BlockingIOError):
        while True:
            messages.append(manager.recv(200).decode())
    return messages


def test_the_manager_hears_each_state(manager: socket.socket, address: str) -> None:
    ours = ServiceManager({"NOTIFY_SOCKET": address})
    for state in (READY, STOPPING):
        ours.tell(state)
        assert manager.recv(200).decode() == state
    ours.tell(reloading())
    first, moment = manager.recv(200).decode().splitlines()
    assert first == "RELOADING=1"
    assert int(moment.removeprefix("MONOTONIC_USEC=")) > 0


def test_an_abstract_socket_is_one_too(manager: socket.socket) -> None:
    name = f"pandadoc-proxy-test-{id(manager)}"
    manager.bind(f"\0{name}")
    ServiceManager({"NOTIFY_SOCKET": f"@{name}"}).tell(READY)
    assert manager.recv(200) == b"READY=1"


@pytest.mark.parametrize(
    ("watchdog", "pings"),
    [
        ({}, []),
        ({"WATCHDOG_USEC": "30000000"}, [ALIVE]),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, [ALIVE]),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, []),
        ({"WATCHDOG_PID": str(os.getpid())}, []),
    ],
)
def test_only_a_watchdog_of_ours_is_told_that_we_are_alive(
    manager: socket.socket, address: str, watchdog: dict[str, str], pings: list[str]
) -> None:
    """See sd_watchdog_enabled(3)."""
    ServiceManager({"NOTIFY_SOCKET": address} | watchdog).go_on()
    assert heard(manager) == pings


def test_what_a_manager_has_no_room_for_is_told_later_in_order_and_the_log_says_so_once(
    manager: socket.socket, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    ours = ServiceManager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000"})
    told = 0
    while not caplog.records:
        ours.tell(f"STATUS={told}")
        told += 1
    ours.tell(STOPPING)
    ours.go_on()
    expected = [*(f"STATUS={number}" for number in range(told)), STOPPING]
    before = heard(manager)
    ours.go_on()
    assert before + heard(manager) == expected
    ours.go_on()
    assert heard(manager) == [ALIVE]
    assert len(caplog.records) == 1
    assert "does not read" in caplog.text


def test_without_a_manager_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    ours = ServiceManager({"WATCHDOG_USEC": "30000000"})
    ours.tell(READY)
    ours.go_on()
    assert repr(ours) == "<ServiceManager at '', 0 owed>"
    assert not caplog.records


def test_a_manager_that_has_gone_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ours = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    for state in (READY, STOPPING):
        ours.tell(state)
    assert "can't be told anything" in caplog.text
    assert len(caplog.records) == 1
