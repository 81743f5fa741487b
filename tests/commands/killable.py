"""The proxy in a process that dies by SIGKILL just before a step of a refresh: a program, and how to start it.

A step is one call that the store makes to the system, named by the call and the part of the store it goes
to: `open lease`, `pwrite second`, `replace second`. The product knows nothing of this: its calls are counted
on their way into `os`.

The order to die is a file, `STEP NUMBER`: before the NUMBER-th STEP of a refresh, where `any` is every step.
It is read when a refresh begins, by opening the lease, and taken away by whoever obeys it: of several
processes with one order, one dies.
"""

import fcntl
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

PROGRAM: Final = (sys.executable, "-P", __file__)  # -P: the modules beside this file are none of the proxy's

ORDER: Final = "ORDER_TO_DIE"
"""The variable that names the order's file."""

ANY: Final = "any"
DIED: Final = "killed before: "
ENDED: Final = "a refresh ended"
SURVIVED: Final = "a refresh ended before the order's step"
"""What is said on standard output."""

BY_PATH: Final = ("mkdir", "replace", "unlink")
BY_HANDLE: Final = ("fchmod", "fchown", "fsync", "ftruncate", "posix_fallocate", "pread", "pwrite")

PARTS: Final = {".json": "first", ".new": "second", ".lock": "lock", ".lease": "lease"}


@dataclass(frozen=True)
class Order:
    """Which step is not to be made."""

    step: str
    number: int

    def __str__(self) -> str:
        return f"{self.step} {self.number}"


def read_order(path: Path) -> Order | None:
    try:
        step, number = path.read_text().rsplit(" ", 1)
    except FileNotFoundError:
        return None
    return Order(step, int(number))


def part_of(path: str | os.PathLike[str]) -> str | None:
    """Name the part of the store that a path is; None for all other files."""
    name = Path(path).name
    if name.lstrip(".").startswith("grant-"):
        return PARTS.get(Path(path).suffix)
    return "folder" if name == "pandadoc-proxy" else None


class Steps:
    """Counts the steps of one refresh at a time, and dies of its order.

    What changes, in the thread that does the store's work: `_parts`, the open files of the store, by `_open`
    and `_close`; `_order` and `_seen`, from a lease's opening to its closing, by `_open`, `_step` and `_close`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parts: dict[int, str] = {}
        self._order: Order | None = None
        self._seen: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"<Steps order={self._order} seen={self._seen.total()}>"

    def watch(self) -> None:
        """Put the counting before the system's calls."""
        for name in BY_PATH:
            setattr(os, name, self._counted(name, getattr(os, name), part_of))
        for name in BY_HANDLE:
            setattr(os, name, self._counted(name, getattr(os, name), self._parts.get))
        fcntl.flock = self._counted("flock", fcntl.flock, self._parts.get)
        setattr(os, "open", self._opening(os.open))  # noqa: B010 - as for the others; mypy knows its signature
        setattr(os, "close", self._closing(os.close))  # noqa: B010 - the same

    def _counted(self, name: str, call: Callable[..., Any], which: Callable[..., str | None]) -> Callable[..., Any]:
        def counted(what: Any, *rest: Any, **options: Any) -> Any:
            if (part := which(what)) is not None:
                self._step(f"{name} {part}")
            return call(what, *rest, **options)

        return counted

    def _opening(self, call: Callable[..., int]) -> Callable[..., int]:
        def opening(path: Any, flags: int, *rest: Any, **options: Any) -> int:
            part = part_of(path)
            if part == "lease":
                self._order = read_order(self._path)
                self._seen.clear()
            if part is not None:
                self._step(f"{'make' if flags & os.O_EXCL else 'open'} {part}")
            handle = call(path, flags, *rest, **options)
            self._parts.pop(handle, None)
            if part is not None:
                self._parts[handle] = part
            return handle

        return opening

    def _closing(self, call: Callable[[int], None]) -> Callable[[int], None]:
        def closing(handle: int) -> None:
            part = self._parts.pop(handle, None)
            if part is not None:
                self._step(f"close {part}")
            call(handle)
            if part == "lease":
                say(SURVIVED if self._order else ENDED)
                self._order = None

        return closing

    def _step(self, step: str) -> None:
        if self._order is None:
            return
        self._seen.update((step, ANY))
        if self._seen[self._order.step] == self._order.number and self._is_ours():
            say(DIED + step)
            os.kill(os.getpid(), signal.SIGKILL)

    def _is_ours(self) -> bool:
        """Take the order away; tell whether nobody was faster."""
        try:
            self._path.rename(self._path.with_suffix(".obeyed"))
        except FileNotFoundError:
            return False
        return True


def say(what: str) -> None:
    os.write(1, f"{what}\n".encode())


if __name__ == "__main__":
    from proxy.cli import main

    Steps(Path(os.environ[ORDER])).watch()
    main()
