"""Is this request for PandaDoc's token endpoint? Pure."""

import re
from typing import Final

TARGET: Final = re.compile(r"/+oauth2/+access_token/*(?:\?.*)?")
"""As honest apps write it, whatever their base URL ends in. Every other way to write it is refused by the policy."""


def asked(method: str, target: str) -> bool:
    """Tell whether a request asks the token endpoint for a token."""
    return method == "POST" and TARGET.fullmatch(target) is not None
