"""How many files the process may have open, for each connection is one.

A process that has none left can't accept, connect, resolve a name or write its store. So `run` takes all that it
is allowed, and says at its start, and after each reload, where that does not suffice. Only `run`: the limit is the
whole process's.
"""

import errno
import logging
import resource
from typing import Final

from proxy.config import Config

log = logging.getLogger(__name__)

RESERVE: Final = 64
"""Files for all else: token calls, probes, stores, secrets, names to be resolved, the loop, standard streams."""

PASSING: Final = 256
"""Connections to a port that are accepted and not counted: those that find out in the next round of the loop
whether there is a place for them, those that have just given way, those that are turned away."""

EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""What accept(2) says where there is no room for a connection."""


def needed(config: Config) -> int:
    """Return how many files a process with this configuration may come to have open."""
    listeners = len(config.listeners) * (config.limits.max_connections + PASSING)
    return listeners + config.upstream.max_connections + _besides(config)


def make_room(config: Config) -> None:
    """Raise the process's soft limit to its hard one, and warn where even that is too low."""
    allowed = _raised(needed(config))
    if allowed < needed(config):
        log.warning("%s", _advice(config, allowed))


def _raised(wanted: int) -> int:
    """Return the limit as it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return wanted if soft == resource.RLIM_INFINITY else soft
    target = max(soft, wanted) if hard == resource.RLIM_INFINITY else hard
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
    except (OSError, ValueError):  # a sandbox; or a kernel that has a limit of its own below "unlimited"
        return soft
    return target


def _advice(config: Config, allowed: int) -> str:
    listeners, most, upstream = len(config.listeners), config.limits.max_connections, config.upstream.max_connections
    besides = _besides(config)
    fitting = (allowed - upstream - besides) // listeners - PASSING
    lower = f"lower limits.max_connections to {fitting}" if fitting > 0 else "lower both"
    return (
        f"the process may open {allowed} files, and may come to need {needed(config)}: limits.max_connections"
        f" ({most}) and {PASSING} that pass for each of {listeners} listeners, upstream.max_connections ({upstream}),"
        f" and {besides} besides. Raise the limit (ulimit -n {needed(config)}), or {lower}"
    )


def _besides(config: Config) -> int:
    """Count what the admin port may need, and all else."""
    return RESERVE + (0 if config.admin is None else config.limits.of_admin.max_connections + PASSING)
