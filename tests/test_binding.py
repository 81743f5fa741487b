"""Addresses that are listened at: a name with several, of which not all can be had."""

import errno
import socket

import pytest
from wire import free_port

from proxy.binding import sockets_at

LOOPBACK = (socket.AF_INET, "127.0.0.1")
NOT_OURS = [(socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")]
"""Addresses of documentation (RFC 5737, RFC 3849): to bind to one fails as to ::1 where IPv6 is off."""


@pytest.mark.parametrize("absent", NOT_OURS)
def test_an_address_that_this_machine_lacks_does_not_keep_a_name_from_being_listened_at(
    absent: tuple[socket.AddressFamily, str],
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
    other = (socket.AF_INET, "127.0.0.2")
    with socket.create_server(("127.0.0.1", port)), pytest.raises(OSError, match="in use"):
        sockets_at([other, LOOPBACK], port)
    (again,) = sockets_at([other], port)
    again.close()


def test_any_free_port_is_the_same_one_on_each_address() -> None:
    first, second = sockets_at([LOOPBACK, (socket.AF_INET, "127.0.0.2")], 0)
    with first, second:
        assert first.getsockname()[1] == second.getsockname()[1]
