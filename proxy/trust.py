"""How the certificate of a server is verified, wherever we connect: chain, name and dates, over TLS 1.2 at least."""

import ssl
from typing import Final

NOT_ASKED: Final = ssl.VERIFY_X509_STRICT
"""Extensions that RFC 5280 wants (key identifiers, keyUsage) and that private authorities of clusters and of companies
often lack. Python asks for them from 3.13 on; curl, kubectl and browsers do not."""

ASKED: Final = ssl.VERIFY_X509_PARTIAL_CHAIN
"""An authority is believed though the one that issued it is not there: by Python from 3.13 on, by curl and kubectl."""


def verifying(authorities: str | None = None) -> ssl.SSLContext:
    """Make a context that trusts these alone, in PEM, or else the system's. Raises SSLError."""
    context = ssl.create_default_context(cadata=authorities)
    context.verify_flags = (context.verify_flags | ASKED) & ~NOT_ASKED
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
