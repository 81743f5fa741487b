"""What goes wrong with Redis, as the two things that it can mean: waiting helps, or a person must act.

Redis begins an error with a word in capitals; redis-py has classes for some of them, and takes the word away then.
Never here: what was sent. An error may repeat it, and it holds tokens.
"""

import os
import re
import ssl
from pathlib import Path
from typing import Final, TypeVar

from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import InvalidResponse, MovedError, RedisClusterException, RedisError, ResponseError

from proxy.credential.advice import shown
from proxy.credential.store import StoreError, StoreUnreachable

T = TypeVar("T", bound=BaseException)

RAISED: Final = (RedisError, RedisClusterException, OSError)
"""What redis-py means to raise, and what it lets through. TimeoutError is an OSError."""

NOT_HERE: Final = frozenset(
    {
        "LOADING",
        "MASTERDOWN",
        "NOREPLICAS",  # fewer than min-replicas-to-write: it may be the master that was left behind
        "READONLY",  # the master has just become a replica
        "UNBLOCKED",
    }
)
"""Errors of a server that is no master, or not now: another one may stand behind the same name by then."""

PASSES: Final = NOT_HERE | {
    "BUSY",  # a script of somebody else's takes long
    "CLUSTERDOWN",
    "TRYAGAIN",
}
"""Errors that end by themselves."""

IN_A_SCRIPT: Final = re.compile(r"@user_script: ?\d+: -(?P<code>[A-Z]+) ")
"""Where Redis before 7.0 has the word, if the error came up within a script."""

ACL: Final = "docs/fleet-redis.md has the line of ACL for a grant, docs/rate-budget.md that for a rate budget"
IN_THE_URL: Final = "redis://USER:PASSWORD@HOST, or redis://:PASSWORD@HOST for the default user"

CURES: Final = {
    "NOAUTH": f"asks for a password. Write it into the URL: {IN_THE_URL}.",
    "WRONGPASS": "refuses the user or the password in the URL. Correct the URL, or enable the user there.",
    "NOPERM": f"does not let the user in the URL do what is needed: {ACL}.",
    "OOM": "has no memory left to write into. Raise its maxmemory or remove what fills it; with other data in it,"
    " give the grant a Redis of its own, with maxmemory-policy noeviction.",
    "MISCONF": "takes no writes, because it can't save them to its disk. Its own log says why.",
    "WRONGTYPE": "has something else under our key. Choose another prefix, or delete that key.",
    "DENIED": "takes callers of its own machine only (protected mode). Give it a password, and the URL the same.",
}

PHRASES: Final = (
    ("without any password configured", "asks for no password, and the URL has one. Take it out of the URL."),
    ("ACL failure in script", CURES["NOPERM"]),
    ("user executing the script", CURES["NOPERM"]),
    ("DB index is out of range", "has no database of the number in the URL."),
    ("SELECT is not allowed in cluster mode", "is a cluster, which has database 0 alone: set cluster: true."),
    ("unknown command", "lacks a command that is needed: EVAL, GET and SUBSCRIBE must not be renamed or disabled."),
    (
        "ALERT_CERTIFICATE_REQUIRED",
        "asks for a client certificate, which is not supported: set tls-auth-clients no there.",
    ),
    ("cluster support disabled", "is no cluster: set cluster: false."),
)
"""Words within errors that have no better mark, and what they mean."""


UNREAD: Final = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)
"""How it ends that a file is read, and no TLS connection is made."""


def translated(fault: Exception, name: str, ca_file: Path | None = None) -> StoreError:
    """Say what a fault means, and what to do, about the Redis of this name, whose authority is in `ca_file`."""
    fault = _of_a_node(fault)
    said, code = str(fault), _code(fault)
    cure = CURES.get(code) or next((cure for phrase, cure in PHRASES if phrase in said), None)
    if cure is not None:
        return StoreError(f"{name} {cure}")
    if isinstance(fault, MovedError):
        return StoreError(f"{name} is a cluster: set cluster: true.")
    if isinstance(fault, InvalidResponse):
        return StoreError(f"What answers at the address of {name} does not speak as Redis does. Correct the URL.")
    if (flaw := _flaw_of_tls(fault, ca_file)) is not None:
        return StoreError(f"{name} {flaw}")
    if isinstance(fault, ResponseError) and code not in PASSES:
        return StoreError(f"{name} refuses with {code[:40]!r}: its documentation or its log says more.")
    return StoreUnreachable(f"{name} can't be reached: {_reason(fault, code)}.")


def to_be_left(fault: Exception) -> bool:
    """Tell whether to go on with another client: this one would be answered the same for ever.

    By whoever is no master any more; by whoever shows a certificate of another authority than `ca_file` held when it
    was read. And who knows in what state a fault has left it that nobody has foreseen?
    """
    return _code(fault) in NOT_HERE or distrusted(fault) is not None or not isinstance(fault, RAISED)


def _of_a_node(fault: Exception) -> Exception:
    """Return what a node has said, where redis-py makes of it that there is no node, or no cluster."""
    while isinstance(fault, RedisClusterException):
        below = fault.__cause__ or fault.__context__
        if not isinstance(below, RAISED):
            break
        fault = below
    return fault


def _code(fault: Exception) -> str:
    said = str(fault)
    within = IN_A_SCRIPT.search(said)
    return within["code"] if within else getattr(fault, "status_code", None) or said.partition(" ")[0]


def _reason(fault: Exception, code: str) -> str:
    if not isinstance(fault, RAISED):  # what it says is for programmers, and may be what was sent
        return f"redis-py fails with {type(fault).__name__}"
    if isinstance(fault, ResponseError):
        return f"it answers {code}"
    if isinstance(fault, MasterNotFoundError):
        return f"{str(fault).partition(' : ')[0]}: no Sentinel in the URL knows it, or lets us ask"
    text = " ".join(str(fault).split()).rstrip(".")
    return shown(text, most=200) or type(fault).__name__


def distrusted(fault: BaseException | None) -> ssl.SSLCertVerificationError | None:
    return _below(fault, ssl.SSLCertVerificationError)


def _flaw_of_tls(fault: Exception, ca_file: Path | None) -> str | None:
    """Say what a person must mend before TLS is spoken; None: nothing that is known."""
    unread, broken = _below(fault, UNREAD), _below(fault, ssl.SSLError)
    if isinstance(broken, ssl.SSLCertVerificationError):
        why = broken.verify_message or "no reason"
        return f"shows a certificate that is not trusted ({why}). Name its authority in ca_file."
    if ca_file is None or (isinstance(unread, PermissionError) and os.access(ca_file, os.R_OK)):
        return None  # it was forbidden to connect
    if unread is not None:
        return f"can't be asked: ca_file {ca_file} can't be read: {unread.strerror}. Mount it, or name another file."
    if broken is not None and broken.library not in {"SSL", None}:  # other parts of OpenSSL read files
        return f"can't be asked: ca_file {ca_file} holds no certificate. Name a PEM file."
    return None


def _below(fault: BaseException | None, kind: type[T] | tuple[type[T], ...]) -> T | None:
    """Find what redis-py has wrapped in an error of its own."""
    while fault is not None and not isinstance(fault, kind):
        fault = fault.__cause__ or fault.__context__
    return fault
