"""Nobody reads our memory from a core dump, or by attaching to us as the same user: secrets are in it."""

import ctypes
import resource
import sys
from typing import Final

PR_SET_DUMPABLE: Final = 4
"""prctl(2). Not dumpable: /proc/PID/mem and environ are root's alone, and no debugger but root's attaches."""


def refuse() -> None:
    """Switch core dumps off for this process, for good. On other systems than Linux the limit alone must do."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
