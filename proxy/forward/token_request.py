"""Is this request for PandaDoc's token endpoint? Pure."""

from typing import Final

TOKEN_ENDPOINT: Final = frozenset({"/oauth2/access_token"})
"""The only reading that a token request may have: a path with others is no honest one."""


def asked(method: str, readings: frozenset[str]) -> bool:
    """Tell whether a request asks the token endpoint for a token."""
    return method == "POST" and readings == TOKEN_ENDPOINT
