"""Clients' keys: which client has presented this one? Keys are files that change while we run."""

import asyncio
import hashlib
import hmac
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Struct

from proxy.notice import Notice
from proxy.secret_reader import SecretReader
from proxy.secrets import SHORTEST_CLIENT_KEY, SecretReference, SecretUnavailable

log = logging.getLogger(__name__)

FOR_EVER: Final = float("inf")


class ClientKey(Struct, frozen=True):
    """Where a client's key is, and for how many seconds the one before it stays good."""

    reference: SecretReference
    overlap: float


class Keyring:
    """One listener's clients and their keys.

    What changes: `_good`, for each client the digests of its keys, the newest first, each with the moment
    until which it is good; `_read_at`, when the last reading of the files began that was not broken off.
    Both by `_read` and what it calls.
    """

    def __init__(
        self,
        keys: Mapping[str, ClientKey],
        reader: SecretReader,
        now: Callable[[], float],
        before: "Keyring | None" = None,
    ) -> None:
        """`now` is a monotonic clock. What `before` knows of the same clients goes on, each key to its end."""
        self.keys = dict(keys)
        self._reader = reader
        self._now = now
        # The pepper: so that nothing about a key shows in how long a comparison takes.
        self._pepper: bytes = before._pepper if before else secrets.token_bytes(32)  # noqa: SLF001 - its heir
        known = before._good if before else {}  # noqa: SLF001 - the same
        self._good: dict[str, tuple[tuple[bytes, float], ...]] = {name: known.get(name, ()) for name in keys}
        self._read_at = -FOR_EVER
        self._reading = asyncio.Lock()
        self._notices = {name: Notice(log) for name in keys}

    def __repr__(self) -> str:
        return f"<Keyring {', '.join(f'{name}: {len(good)}' for name, good in self._good.items())}>"

    @property
    def keyless(self) -> list[str]:
        """The clients whom nothing that is presented can be the key of: none of theirs can be used, or theirs alone."""
        held = Counter(key for good in self._good.values() for key, _ in good)
        return [name for name, good in self._good.items() if all(held[key] > 1 for key, _ in good)]

    async def holder(self, key: bytes) -> str | None:
        """Return the name of the client whose key this is; None if it is nobody's.

        The files are read again before a key is said to be unknown: an app may have read a new one first.
        """
        arrived = self._now()
        holder = self._holder(key)
        if holder is None:
            async with self._reading:
                if self._read_at <= arrived:
                    await self._read()
            holder = self._holder(key)
        return holder

    async def look(self) -> None:
        """Take keys that have changed; while a new one can't be read or used, the old one is good."""
        async with self._reading:
            await self._read()

    def _holder(self, key: bytes) -> str | None:
        """Compare with every key there is, whether or not one has fitted already."""
        digest, now = self._digest(key), self._now()
        holders = {
            name
            for name, good in self._good.items()
            for known, until in good
            if hmac.compare_digest(known, digest) and now < until
        }
        return holders.pop() if len(holders) == 1 else None

    async def _read(self) -> None:
        begun = self._now()
        ones = await asyncio.gather(*(self._read_one(name, key.reference) for name, key in self.keys.items()))
        read = dict(zip(self.keys, ones, strict=True))
        newest = self._each_its_own({name: digest for name, (digest, _) in read.items()})
        self._take(newest)
        self._read_at = begun  # not before: whoever began a reading may be gone before its end
        former = {key: name for name, good in self._good.items() for key, until in good if until < FOR_EVER}
        for name, (digest, flaw) in read.items():
            shared = f"The key of client {name} is not taken: another client has the same. Give each its own."
            refused = shared if digest != newest[name] else ""
            self._notices[name].say(flaw or refused or _wait(name, former.get(digest)))

    async def _read_one(self, name: str, reference: SecretReference) -> tuple[bytes, str]:
        """Return the digest of a client's key as it is now, or what is wrong with it."""
        try:
            key = await self._reader.read(reference)
        except SecretUnavailable as fault:
            return b"", f"The key of client {name} can't be read: {fault}"
        text = key.reveal()
        if len(text) < SHORTEST_CLIENT_KEY:
            return b"", f"The key of client {name} is not taken: it needs {SHORTEST_CLIENT_KEY} characters at least."
        return self._digest(text.encode()), ""

    def _each_its_own(self, claimed: Mapping[str, bytes]) -> dict[str, bytes]:
        """Return a key for each client that no other has: what it claims, else the one it had."""
        kept = {name: good[0][0] if good else b"" for name, good in self._good.items()}
        newest = {name: digest or kept[name] for name, digest in claimed.items()}
        while True:  # what one falls back to may be what another claims; those that were kept are of one each
            claims = Counter(newest.values())
            settled = {name: kept[name] if claims[digest] > 1 else digest for name, digest in newest.items()}
            if settled == newest:
                return settled
            newest = settled

    def _take(self, newest: Mapping[str, bytes]) -> None:
        """Make these the clients' keys; those before stay good for their overlap, and are no other's until then."""
        now = self._now()
        for name, digest in newest.items():
            until = now + self.keys[name].overlap
            earlier = ((known, min(end, until)) for known, end in self._good[name] if known != digest)
            own = ((digest, FOR_EVER),) if digest else ()
            self._good[name] = (*own, *(each for each in earlier if each[1] > now))

    def _digest(self, key: bytes) -> bytes:
        return hashlib.blake2b(key, key=self._pepper, digest_size=32).digest()


def _wait(name: str, former: str | None) -> str:
    """Say that a client has to wait for its key, which another one has in its overlap; "" if none has."""
    if former is None:
        return ""
    whose = f"it was that of client {former}, whose overlap has not ended"
    return f"The key of client {name} is nobody's yet: {whose}. Give each its own, or wait."
