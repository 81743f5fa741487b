"""The seam between the request's way and the transport: what is sent, what comes back.

One call is one attempt. A transport does not follow redirects, decode, keep cookies or add fields
of its own beyond framing; and it says in its error how the attempt ended.
"""

from collections.abc import AsyncIterator, Callable
from typing import Protocol

from msgspec import Struct

from proxy.forward.body import Body
from proxy.forward.headers import AnswerHead


class Attempt(Struct, frozen=True):
    """One request to the upstream. `target` is raw, prefix included; `lines` are its fields, without framing."""

    method: str
    target: str
    lines: bytes
    body: Body | None
    replay: bool = False  # the second on account of a 401: never sent again once written (law 11)
    again: Callable[[], None] | None = None  # called before it is sent once more, where it may have arrived already

    def __repr__(self) -> str:
        return f"<Attempt {self.method} {len(self.lines.splitlines())} fields>"


class Answer(Protocol):
    """An answer whose head has arrived."""

    @property
    def status(self) -> int: ...

    @property
    def head(self) -> AnswerHead: ...

    @property
    def whole(self) -> bytes | None:
        """The body, if all of it is here already."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives. Raises AnswerBroken if it breaks off or stalls.

        A wait that was cancelled has taken nothing: asked again, it goes on there.
        """
        ...

    def close(self) -> None:
        """Be done with it; a connection with unread bytes is dropped, never reused."""
        ...


class Upstream(Protocol):
    """Where requests go."""

    async def send(self, attempt: Attempt) -> Answer:
        """Send once. Raises UpstreamError or UpstreamTimeout; or the body's own fault if the caller's body broke."""
        ...
