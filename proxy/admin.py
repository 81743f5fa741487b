"""The admin port: probes and metrics for whoever reaches it; what tells more, or does something, for this machine.

No probe depends on PandaDoc or on a credential's health: a sidecar's readiness is its pod's, and an outage elsewhere
must not take every app down. The kubelet and Prometheus ask at the pod's IP, so no Host is checked for them; there is
nothing to borrow. All else is for loopback peers and unix sockets, and no web page has a part in it, for localhost is
no boundary to a browser; but the page that is shown here may ask for itself again.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec
from aiohttp import web_response

from proxy.errors import CallerError, Refused
from proxy.forward import guard
from proxy.forward.incoming import Incoming
from proxy.forward.problem import problem
from proxy.hosts import is_loopback
from proxy.page import document

log = logging.getLogger(__name__)

QUIT: Final = b"x-pandadoc-proxy-quit"
"""No page can send it without asking first (Fetch §2.2.2: it is not a safelisted header), and that is refused."""

READING: Final = ("GET", "HEAD")

SHARE: Final = 0.1
"""Of the event loop's time, what writing metrics takes while many ask: whoever reaches the port may. More where one
page takes longer than a ninth of LONGEST_PAUSE."""

LONGEST_PAUSE: Final = 1.0
"""Seconds between two scrapes at the most: what a process that was stopped meanwhile took says nothing."""

SCRAPERS: Final = 16
"""So many may be served or wait: where they had all places of the port, no probe would be answered."""

NOT_OURS: Final = "The Host header names no loopback name, and the admin port takes no other. Ask it at 127.0.0.1."
TOLD: Final = guard.Gate(not_ours=NOT_OURS)
SHOWN: Final = guard.Gate(shows=True, not_ours=NOT_OURS)


class Scrapes:
    """Writes the metrics for one scraper after another, as they are when its turn comes.

    What changes, by `page` alone: `_here`, how many scrapers are being served or wait; `_due`, the moment from which on
    the next may be.
    """

    def __init__(self, write: Callable[[str], tuple[bytes, str]], now: Callable[[], float]) -> None:
        """`write` takes what the scraper accepts; `now` is a monotonic clock."""
        self._write = write
        self._now = now
        self._turn = asyncio.Lock()
        self._here = 0
        self._due = 0.0

    def __repr__(self) -> str:
        return f"<Scrapes {self._here} here>"

    async def page(self, accept: str) -> tuple[bytes, str] | None:
        """Return the text and its content type; None if too many are here already."""
        if self._here >= SCRAPERS:
            return None
        self._here += 1
        try:
            async with self._turn:
                await asyncio.sleep(self._due - self._now())
                began = self._now()
                written = self._write(accept)
                ended = self._now()
                self._due = ended + min((ended - began) * (1 / SHARE - 1), LONGEST_PAUSE)
                return written
        finally:
            self._here -= 1


class Admin:
    """Answers the admin port. Holds nothing that changes."""

    def __init__(
        self,
        probes: Mapping[str, Callable[[], bool]],
        *,
        metrics: Callable[[str], Awaitable[tuple[bytes, str] | None]],
        status: Callable[[], dict[str, Any]],
        page: Callable[[], str],
        end: Callable[[], Callable[[], object] | None],
    ) -> None:
        """`metrics` is Scrapes' `page`; `end` gives what begins to drain, None: nobody may ask for it."""
        self._probes = dict(probes)
        self._metrics = metrics
        self._status = status
        self._page = page
        self._end = end

    async def __call__(self, request: Incoming) -> web_response.StreamResponse:
        holds = self._probes.get(request.path)
        if holds is not None:
            return _only(READING, request) or _probed(holds())
        if request.path == "/metrics":
            return _only(READING, request) or await self._scraped(request)
        if request.path == "/status":
            return _only(READING, request) or _refused(request) or self._told()
        if request.path == "/":
            return _only(READING, request) or _refused(request, SHOWN) or self._shown()
        if request.path == "/quit":
            return _only(("POST",), request) or _refused(request) or self._quit(request)
        return web_response.Response(
            status=404, text=f"Here are {', '.join(self._probes)}, /metrics, /status and, for people, /.\n"
        )

    async def _scraped(self, request: Incoming) -> web_response.Response:
        written = await self._metrics(b",".join(request.head.values(b"accept")).decode("latin-1"))
        if written is None:
            response = web_response.Response(status=503, text="Too many scrapes at once: scrape less often.\n")
            response.force_close()
            return response
        text, content_type = written
        return web_response.Response(body=text, headers={"Content-Type": content_type})

    def _told(self) -> web_response.Response:
        text = msgspec.json.format(msgspec.json.encode(self._status()), indent=2) + b"\n"
        return web_response.Response(body=text, content_type="application/json", headers={"Cache-Control": "no-store"})

    def _shown(self) -> web_response.Response:
        return web_response.Response(
            text=self._page(), content_type="text/html", charset="utf-8", headers=document.HEADERS
        )

    def _quit(self, request: Incoming) -> web_response.Response:
        end = self._end()
        if end is None:
            return _problem(Refused("Nobody may end this proxy by a request. Set admin.quit: true to allow it."))
        if request.head.values(QUIT) != [b"yes"]:
            return _problem(Refused("To end the proxy, send the header X-Pandadoc-Proxy-Quit: yes."))
        log.info("POST /quit: ending")
        end()
        return web_response.Response(status=202, text="draining\n")


def _only(methods: tuple[str, ...], request: Incoming) -> web_response.Response | None:
    allowed = ", ".join(methods)
    return None if request.head.method in methods else web_response.Response(status=405, headers={"Allow": allowed})


def _probed(holds: bool) -> web_response.Response:  # noqa: FBT001 - the only thing it is about
    return web_response.Response(text="ok\n") if holds else web_response.Response(status=503, text="not ready\n")


def _refused(request: Incoming, gate: guard.Gate = TOLD) -> web_response.Response | None:
    """Refuse who is not on this machine, and whatever a web page has a part in."""
    try:
        if not _is_local(request.transport):
            raise Refused("From other machines only probes and /metrics are answered. Ask from within the pod.")
        guard.admit(request.head, gate)
    except CallerError as fault:
        return _problem(fault)
    return None


def _is_local(transport: Any) -> bool:
    """Tell whether the peer is on this machine. Of a unix socket it is, and its file says who may connect."""
    if transport is None:  # it has left already
        return False
    peer = transport.get_extra_info("peername")
    if isinstance(peer, tuple):
        return is_loopback(peer[0])
    return bool(transport.get_extra_info("socket").family == socket.AF_UNIX)


def _problem(fault: CallerError) -> web_response.Response:
    response = problem(fault, request_id="-")
    response.force_close()
    return response
