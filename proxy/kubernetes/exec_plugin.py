"""A token from the program that a kubeconfig names, as the clouds have it: client.authentication.k8s.io.

"Client-go credential plugins": it is told in KUBERNETES_EXEC_INFO what is wanted and writes an ExecCredential. Only
tokens are taken from it. What it writes is never shown, what it says on standard error goes to the terminal.
"""

import asyncio
import os
import signal
from contextlib import suppress
from datetime import UTC, datetime
from math import inf
from typing import Final

import msgspec

from proxy.kubernetes.faults import KubernetesFault, Unreachable
from proxy.secrets import Secret, SecretReference, SecretUnavailable, environ_for_others

LIMIT: Final = 60.0
"""Seconds for a program that may ask a person to log in, in a browser; client-go has none."""

GRACE: Final = 0.2
"""Seconds in which what a program has written is read when it has ended, and a child of it keeps its output open."""

EARLY: Final = 30.0
"""Seconds before its end at which a token is no longer used."""

LARGEST: Final = 64 * 1024
"""Characters of a token."""

MOST_SAID: Final = 1024 * 1024
"""Bytes of an ExecCredential."""


class Variable(msgspec.Struct, frozen=True):
    name: str
    value: str

    def __repr__(self) -> str:
        return f"<Variable {self.name}>"


class Plugin(msgspec.Struct, frozen=True, rename="camel"):
    """The `exec` of a kubeconfig's user; what else stands there is for people.

    `cluster`: what it is told of the cluster, as JSON, if it asks for that.
    """

    command: str
    api_version: str = "client.authentication.k8s.io/v1"
    args: list[str] | None = None
    env: list[Variable] | None = None
    provide_cluster_info: bool = False
    cluster: bytes = b""

    def __repr__(self) -> str:
        return f"<Plugin {self.command}>"


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    token: str | None = None
    expiration_timestamp: str | None = None

    def __repr__(self) -> str:
        return f"<_Status until {self.expiration_timestamp}>"


class _ExecCredential(msgspec.Struct, frozen=True):
    kind: str
    status: _Status


class _Listener(asyncio.SubprocessProtocol):
    """What changes: `said`, what the program writes, up to a bound; when it has `ended`, and when all is `heard`."""

    def __init__(self) -> None:
        self.said = bytearray()
        self.heard = asyncio.Event()
        self.ended = asyncio.Event()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        del fd  # there is one
        if not self.heard.is_set():
            self.said += data
        if len(self.said) > MOST_SAID:
            self.heard.set()

    def process_exited(self) -> None:
        self.ended.set()
        asyncio.get_running_loop().call_later(GRACE, self.heard.set)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that it has ended, and nobody has its output open."""
        del exc
        self.heard.set()


class ExecPlugin:
    """Asks the program. `_token` and `_until`, by the wall, are what it said last; `current` and `refused` set them."""

    rotates = shows = True

    def __init__(self, plugin: Plugin) -> None:
        self.plugin = plugin
        self._token: Secret | None = None
        self._until = inf
        self._asking = asyncio.Lock()  # a person is asked once

    def __repr__(self) -> str:
        return f"<ExecPlugin {self.plugin.command}>"

    async def current(self) -> Secret:
        async with self._asking:
            if self._token is None or datetime.now(UTC).timestamp() > self._until - EARLY:
                self._token, self._until = self._understood(await self._run())
            return self._token

    def refused(self, token: Secret | None) -> None:
        if token == self._token:
            self._token = None

    async def _run(self) -> bytes:
        transport, listener = await self._started()
        try:
            async with asyncio.timeout(LIMIT):
                await listener.heard.wait()
        except TimeoutError as fault:
            raise Unreachable(
                f"The kubeconfig's program {self.plugin.command} took longer than {LIMIT:g} s."
            ) from fault
        finally:
            await _end(transport, listener)
        if len(listener.said) > MOST_SAID:
            raise KubernetesFault(
                f"The kubeconfig's program {self.plugin.command} says more than 1MiB: it is none that gives tokens."
            )
        if code := transport.get_returncode():
            raise KubernetesFault(f"The kubeconfig's program {self.plugin.command} ended with {code}: log in with it.")
        return bytes(listener.said)

    async def _started(self) -> tuple[asyncio.SubprocessTransport, _Listener]:
        spec: dict[str, object] = {"interactive": False}
        if self.plugin.cluster:
            spec["cluster"] = msgspec.Raw(self.plugin.cluster)
        info = {"apiVersion": self.plugin.api_version, "kind": "ExecCredential", "spec": spec}
        told = {each.name: each.value for each in self.plugin.env or ()}
        told["KUBERNETES_EXEC_INFO"] = msgspec.json.encode(info).decode()
        try:
            return await asyncio.get_running_loop().subprocess_exec(
                _Listener,
                self.plugin.command,
                *(self.plugin.args or ()),
                env={**environ_for_others(os.environ), **told},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=None,
                start_new_session=True,  # so that it can be ended with all that it has started
            )
        except OSError as fault:
            raise KubernetesFault(
                f"The kubeconfig's program {self.plugin.command} can't be run ({fault.strerror}): install it."
            ) from fault

    def _understood(self, said: bytes) -> tuple[Secret, float]:
        try:
            status = msgspec.json.decode(said, type=_ExecCredential).status
            end = status.expiration_timestamp
            until = datetime.fromisoformat(end).timestamp() if end else inf
        except (msgspec.DecodeError, ValueError, OverflowError):
            status, until = _Status(), inf
        try:
            return SecretReference.literal((status.token or "")[:LARGEST], self.plugin.command).read(), until
        except SecretUnavailable:
            raise KubernetesFault(
                f"The kubeconfig's program {self.plugin.command} gives no token; certificates are not supported."
            ) from None


async def _end(transport: asyncio.SubprocessTransport, listener: _Listener) -> None:
    """End the program, and all that it has started, unless it has ended; let go of its output, whoever has it open."""
    if transport.get_returncode() is None:
        with suppress(ProcessLookupError):  # in this very moment
            os.killpg(transport.get_pid(), signal.SIGKILL)
        await listener.ended.wait()
    transport.close()
