"""Which names mean this machine. Pure; the configuration, the guard and the health check ask the same question."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Tell whether a host can only be this machine: 127/8, ::1 or `localhost` (RFC 6761 §6.3).

    Not ::ffff:127.0.0.1: for Python it is one from 3.13 on, for chromium not. What its pages send there bears no
    Sec-Fetch-Site, by which they are known.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower().rstrip(".") == "localhost"
    return address.is_loopback and getattr(address, "ipv4_mapped", None) is None


def is_wildcard(host: str) -> bool:
    """Tell whether a host means every address: bound to, never a name that a request may carry."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
