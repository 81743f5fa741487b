"""May a request be sent again after its connection broke? Pure; law 11, RFC 9110 §9.2.2, RFC 9112 §9.3.1.

    of the request      of the answer   connection   method           body          sent again
    nothing written     -               -            any              any           yes
    something written   nothing came    reused       idempotent       kept whole    yes
    anything else                                                                   no

"Written" means handed to the transport: nobody can tell what of it has arrived. A connection that was kept may
have been closed by the other side just before, which is nobody's fault and no sign of trouble; on a fresh one
the upstream has had the request and failed. A request is sent again once, on a fresh connection; one that is
itself the replay of a 401 never is once anything of it was written, so that three sends are the most.
"""

from typing import Final

from msgspec import Struct

IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""RFC 9110 §9.2.2; TRACE is never forwarded."""


class Sent(Struct, frozen=True):
    """How far a send had come when its connection broke."""

    written: bool  # something of the request was handed to the transport
    answered: bool  # something of the answer came
    reused: bool  # the connection had carried another request before


def may_be_sent_again(sent: Sent, method: str, *, whole: bool) -> bool:
    """Judge a send that broke; `whole` tells whether there is no body, or every byte of it is kept."""
    if not sent.written:
        return True
    return sent.reused and not sent.answered and method in IDEMPOTENT and whole
