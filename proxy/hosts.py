"""Which names mean this machine. Pure; the configuration, the guard and the health check ask the same question."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Tell whether a host can only be this machine: 127/8, ::1 or `localhost` (RFC 6761 §6.3)."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def is_wildcard(host: str) -> bool:
    """Tell whether a host means every address: bound to, never a name that a request may carry."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
