"""The newest grant, in memory and in the store: read again, compared, kept (law 4).

What is in memory is never worse than what is in the store. A pair that can't be stored lives on here
and is tried again until it is.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from proxy.credential import backoff
from proxy.credential.refusals import Refusals
from proxy.credential.store import Grant, Store, StoreError
from proxy.secrets import Secret, SecretUnavailable
from proxy.tasks import Tasks

log = logging.getLogger(__name__)


class GrantKeeper:
    """Keeps one credential's grant.

    What changes: `newest`, by `read_again` and `keep`; `refusals`, by `keep_refusals` and the first
    `read_again`; `_late`, the grant that waits to be stored, by `_save` and `_keep_later`; `_stored`, the one
    whose pair is safe, by `_write` and `read_again`. `_saving` makes writers of the store wait in line, so
    that the newest is written last.
    """

    def __init__(
        self,
        name: str,
        *,
        store: Store,
        seed: Callable[[], Secret | None],
        jitter: Callable[[], float],
        tasks: Tasks,
    ) -> None:
        """`seed` reads the configured refresh token; it may raise SecretUnavailable and do file I/O."""
        self.newest: Grant | None = None
        self.refusals = Refusals()
        self._name = name
        self._store = store
        self._seed = seed
        self._jitter = jitter
        self._tasks = tasks
        self._saving = asyncio.Lock()
        self._late: Grant | None = None
        self._stored: Grant | None = None

    def __repr__(self) -> str:
        return f"<GrantKeeper {self._name} {self.newest} {self.refusals} in {self._store}>"

    async def read_again(self, *, urgent: bool) -> None:
        """Take what the store has if it is newer: another process or a restart may have been there (law 6).

        Raises StoreError or SecretUnavailable; but where it is `urgent`, memory must do if it has a grant.
        """
        try:
            kept = await self._store.load()
        except StoreError as fault:
            self._or_from_memory(fault, urgent=urgent and self.newest is not None)
            return
        if kept is not None and self.newest is None:
            self.refusals = kept.refusals
        if kept is not None and (self.newest is None or kept.generation > self.newest.generation):
            self.newest = self._stored = kept

    async def prove_writable(self, *, urgent: bool) -> None:
        """Refuse to redeem what could not be stored, unless it is `urgent` (law 4). Raises StoreError.

        A refresh token that was never redeemed is never urgent: it keeps, and its successor would not.
        """
        try:
            await self._store.prove_writable()
        except StoreError as fault:
            self._or_from_memory(fault, urgent=urgent)

    async def new_lineage(self) -> Grant | None:
        """Return the grant that the configured refresh token begins, if the store has never seen it.

        Raises SecretUnavailable where there is nothing else to go on with.
        """
        try:
            seed = await asyncio.to_thread(self._seed)
        except SecretUnavailable:
            if self.newest is None:
                raise
            return None
        generation, seeds = (self.newest.generation, self.newest.seeds) if self.newest else (0, ())
        if seed is None or seed.fingerprint() in seeds:
            return None
        return Grant(generation, seed, seeds=(*seeds, seed.fingerprint()))

    async def keep(self, grant: Grant) -> None:
        """Keep a new pair: in memory, then in the store, however long that takes to be possible."""
        self.newest = grant
        await self._save(grant)

    async def _save(self, grant: Grant) -> None:
        try:
            await self._write(grant)
        except StoreError as fault:
            log.critical("credential %s: generation %d is NOT stored. %s", self._name, grant.generation, fault)
            if self._late is not grant:
                self._late = grant
                self._tasks.start(self._keep_later(grant), f"save {self._name} later", finish=True)

    def keep_refusals(self, refusals: Refusals) -> None:
        """Remember them; a cool-down goes to the store, so that a restart does not end it (law 3)."""
        was, self.refusals = self.refusals, refusals
        if (was.until, was.spent) != (refusals.until, refusals.spent) and self.newest is not None:
            self._tasks.start(self._save(self.newest), f"save {self._name}", finish=True)

    def _or_from_memory(self, fault: StoreError, *, urgent: bool) -> None:
        if not urgent:
            raise fault
        log.critical("credential %s: refreshing from and into memory only. %s", self._name, fault)

    async def _keep_later(self, grant: Grant) -> None:
        """Try until it is stored, or a newer pair looks after itself; once more when the process ends."""
        failures, ending = 0, False
        while self.newest is grant and not ending:
            failures += 1
            ending = await self._tasks.pause(backoff.pause(failures, self._jitter()))
            try:
                stored = await self._write(grant)
            except StoreError as fault:
                level = logging.CRITICAL if ending else logging.ERROR
                log.log(
                    level, "credential %s: generation %d is still not stored. %s", self._name, grant.generation, fault
                )
            else:
                if self._late is grant:
                    self._late = None
                if stored:
                    log.info("credential %s: generation %d is stored now", self._name, grant.generation)
                return
        if self.newest is grant and self._stored is not grant:
            log.critical(
                "credential %s: generation %d was NEVER stored and ends with this process. The stored refresh token"
                " is spent; a new one will be needed.",
                self._name,
                grant.generation,
            )

    async def _write(self, grant: Grant) -> bool:
        """Store `grant` with what is known of 401s; tell whether it still was the newest. Raises StoreError."""
        async with self._saving:
            if self.newest is not grant:
                return False
            await self._store.save(replace(grant, refusals=replace(self.refusals, on_trial=None)))
            self._stored = grant
            return True
