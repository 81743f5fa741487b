"""Addresses that are listened at: a name with several, of which not all can be had."""

import errno
import socket
import threading

import pytest
from wire import free_port

from proxy import listening
from proxy.listening import Address, addresses_of, reason, sockets_at

LOOPBACK: Address = (socket.AF_INET, ("127.0.0.1", 0))
ANOTHER: Address = (socket.AF_INET, ("127.0.0.2", 0))
NOT_OURS: list[Address] = [(socket.AF_INET, ("192.0.2.1", 0)), (socket.AF_INET6, ("2001:db8::1", 0, 0, 0))]
"""Addresses of documentation (RFC 5737, RFC 3849): to bind to one fails as to ::1 where IPv6 is off."""


@pytest.mark.parametrize("absent", NOT_OURS)
def test_an_address_that_this_machine_lacks_does_not_keep_a_name_from_being_listened_at(
    absent: Address,
) -> None:
    """As `localhost` in a container without IPv6, whose /etc/hosts gives ::1 all the same."""
    (bound,) = sockets_at([absent, LOOPBACK], 0)
    with bound:
        assert bound.getsockname()[0] == "127.0.0.1"


def test_a_name_of_which_no_address_can_be_had_is_a_fault() -> None:
    with pytest.raises(OSError, match=r".") as fault:
        sockets_at(NOT_OURS, 0)
    assert fault.value.errno in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


def test_an_address_in_use_is_a_fault_whatever_else_could_be_had() -> None:
    """And nothing is left bound."""
    port = free_port()
    with socket.create_server(("127.0.0.1", port)), pytest.raises(OSError, match="in use"):
        sockets_at([ANOTHER, LOOPBACK], port)
    (again,) = sockets_at([ANOTHER], port)
    again.close()


def test_any_free_port_is_the_same_one_on_each_address() -> None:
    first, second = sockets_at([LOOPBACK, ANOTHER], 0)
    with first, second:
        assert first.getsockname()[1] == second.getsockname()[1]


async def test_a_name_that_is_not_found_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(OSError, match=r"^the name can't be resolved: Name or.*\. Check the name and"):
        await addresses_of("lost.example", 1)


@pytest.mark.parametrize("host", ["a" * 70, "a..b", "\udcff"])
async def test_what_can_be_no_name_is_not_known(host: str) -> None:
    with pytest.raises(OSError, match="not known"):
        await addresses_of(host, 1)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (OSError(errno.EADDRINUSE, "Address already in use (while attempting …)"), "Address already in use"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known"),
        (OSError("the name can't be resolved"), "the name can't be resolved"),
    ],
)
def test_the_reason_is_the_systems_where_it_has_one(fault: OSError, told: str) -> None:
    """A resolver's numbers are below 0, and none of strerror(3)'s."""
    assert reason(fault) == told


async def test_a_name_that_nobody_answers_for_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reload waits for it, and what else has changed with it."""
    over = threading.Event()
    monkeypatch.setattr(listening, "LOOK_UP", 0.05)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait())
    with pytest.raises(OSError, match=r"^the name can't be resolved: no answer within 0\.05 s\. "):
        await addresses_of("lost.example", 1)
    over.set()


async def test_an_address_is_one_of_its_interface_where_it_says_so() -> None:
    """Without it a link-local one is no address at all (RFC 4007 §6)."""
    _, interface = socket.if_nameindex()[0]
    addresses = await addresses_of(f"fe80::1:2:3%{interface}", 0)
    with pytest.raises(OSError, match=r".") as fault:
        sockets_at(addresses, 0)
    assert fault.value.errno in listening.ABSENT
