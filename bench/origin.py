"""The upstream of every peer: nginx with TLS, by a certificate of an authority that is made for the run."""

from typing import Final

import trustme

from bench.peer import Command, Place, beside

CONFIGURATION: Final = beside(__file__, "origin.conf")
SMALL: Final = "/small"
"""1 KiB of JSON."""
UPLOAD: Final = "/upload"
LARGE: Final = "/large"
LARGE_BYTES: Final = 100 * 2**20

_FILLED: Final = 1024 - len('{"filled": ""}')
ANSWER: Final = '{"filled": "' + "x" * _FILLED + '"}'


def command(place: Place) -> Command:
    configuration = place.fill(CONFIGURATION, answer=ANSWER, small=SMALL, upload=UPLOAD, large=LARGE)
    return Command(("nginx", "-p", str(place.folder), "-c", "nginx.conf"), {"nginx.conf": configuration})


def equip(place: Place) -> None:
    """Put the certificate, the authority's at `ca_file`, and the large file where the configuration names them."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(place.ca_file))
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(place.folder / "origin.pem"))
    (place.folder / "large").write_bytes(bytes(LARGE_BYTES))
