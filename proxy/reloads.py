"""Another configuration while we serve: on SIGHUP, and when its file has changed. A bad one is told, not taken."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import partial
from itertools import count
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Final

from msgspec.structs import replace

from proxy import logs, open_files
from proxy.app import Proxy
from proxy.config import BadConfig, Config
from proxy.config.files import MOST_BYTES
from proxy.disk import Disk, DiskHangs, NoThread
from proxy.service_manager import READY, ServiceManager, reloading
from proxy.signals import Signals
from proxy.utf8 import encodable

log = logging.getLogger(__name__)

LOOK_EVERY: Final = 1.0
"""Seconds between two looks at the file. Two must agree, so that a change is taken within twice of it."""

TRY_AGAIN: Final = 3
"""Every so many looks a configuration that was refused is tried again: a file or a port may have come meanwhile."""

OURS: Final = ("a fault of ours: the new configuration is not taken",)
"""What is refused so is not brought about again."""

LONG: Final = 3
"""So many times LOOK_EVERY after which a reload is told to take long."""

GONE: Final = b"\0"
"""Stands for the content of a file that is gone; no YAML holds it."""

UNREADABLE: Final = b"\0\0"
"""Stands for that of a file which can't be read, or of a folder in its place."""


class Reloads:
    """Reloads one proxy.

    `_seen` is the file's content at the last look, `_judged` the last that was read as a configuration; `_due` alone
    changes them once they are known. `_looks` counts them, in `_overdue`. The proxy's `refused`, what was said of the
    last configuration if it was not taken, is changed by `reload` alone.
    """

    def __init__(self, proxy: Proxy, load: Callable[[Config], Config], manager: ServiceManager) -> None:
        """`load` reads the configuration anew, given the one that is served; it raises BadConfig."""
        self._proxy = proxy
        self._load = load
        self._manager = manager
        self._disk = Disk()
        self._seen: bytes | None = None
        self._judged: bytes | None = None
        self._looks = 0

    def __repr__(self) -> str:
        return f"<Reloads of {self._proxy}>"

    async def until_the_end(self, signals: Signals) -> None:
        """Serve, and reload, until a signal asks for the end."""
        async with signals.until_first():
            self._seen = self._judged = await self._content()
            if self._judged is not None:
                await self.reload(asked=False)  # it may have changed since it was read
        while not await signals.end_within(LOOK_EVERY):
            async with signals.until_first():
                await self._look(asked=signals.asked_again())
            self._manager.go_on()

    async def _look(self, *, asked: bool) -> None:
        if await self._due(asked=asked):
            self._manager.tell(reloading())
            await self.reload(asked=asked)
            self._manager.tell(READY)
        elif self._overdue():
            await self.reload(asked=False, again=True)

    async def reload(self, *, asked: bool, again: bool = False) -> None:
        """Read the configuration and take it, or say why not: what was served is served on then.

        `again`: what was refused is tried once more, and why it is refused is said if it is for another reason.
        """
        earlier, said = self._proxy.config, self._proxy.refused if again else ()
        living = asyncio.ensure_future(self._live())
        try:
            config = await self._loaded(earlier)
            if replace(config, warnings=earlier.warnings) == earlier:  # those are about files, which others look at
                told = asked or self._proxy.refused  # what is told as refused is told as withdrawn
                log.log(logging.INFO if told else logging.DEBUG, "the configuration is what it was")
            else:
                await self._proxy.reload(config)
        except BadConfig as bad:
            self._refuse(map(str, bad.faults), said)
        except OSError as fault:  # an address, a certificate
            self._refuse([str(fault)], said)
        except Exception:  # whatever it is, what was served is served on
            log.exception(*OURS)
            self._proxy.refused = OURS
        else:
            self._proxy.refused = ()
            if config.log != earlier.log:
                logs.set_up(config.log)
            open_files.make_room(config)
        finally:
            living.cancel()

    async def _live(self) -> None:
        """Have the manager hear that we live, while a reload waits for a name or a large file; say so once."""
        for turn in count(1):
            await asyncio.sleep(LOOK_EVERY)
            self._manager.go_on()
            if turn == LONG:
                log.warning("a new configuration takes long: it is large, or a disk or a name server hangs")

    async def _loaded(self, earlier: Config) -> Config:
        """Read the configuration for as long as that takes.

        A large one on a small share of a processor takes seconds, and would take them again.
        """
        return await asyncio.wrap_future(self._disk.soon(partial(self._load, earlier)))

    def _refuse(self, faults: Iterable[str], said: tuple[str, ...]) -> None:
        self._proxy.refused = tuple(map(encodable, faults))
        for fault in self._proxy.refused if self._proxy.refused != said else ():
            log.error("the new configuration is not taken: %s", fault)

    def _overdue(self) -> bool:
        """Tell whether to try again what was refused, and is there still."""
        self._looks += 1
        there = self._seen is not None and self._seen == self._judged
        return self._proxy.refused not in {(), OURS} and there and self._looks % TRY_AGAIN == 0

    async def _due(self, *, asked: bool) -> bool:
        """Tell whether to read the configuration: somebody asks, or the file has changed and is not being written.

        It is its content that changes: Kubernetes swaps links.
        """
        before, self._seen = self._seen, await self._content()
        changed = (asked or self._seen == before) and self._seen not in (None, self._judged)
        if changed:
            self._judged = self._seen
        return changed or asked

    async def _content(self) -> bytes | None:
        """Return what the file holds, GONE or UNREADABLE; None where the disk hangs, or it can be read only once."""
        source = self._proxy.config.source
        if source is None:
            return None
        try:
            return await self._disk.do(lambda: _read(source))
        except FileNotFoundError:
            return GONE
        except (DiskHangs, NoThread):
            return None
        except OSError as fault:  # where this process may open no more files, that says nothing of this one
            return None if fault.errno in open_files.EXHAUSTED else UNREADABLE


def _read(path: Path) -> bytes | None:
    kind = path.stat().st_mode
    if not (S_ISREG(kind) or S_ISDIR(kind)):
        return None
    with path.open("rb") as file:
        return file.read(MOST_BYTES)
