"""The loopback listener at the redirect URI: takes the browser's return, shows it how the login went.

It stands there during a login alone (RFC 8252 §8.3), on loopback alone. A page of somebody else's can send a browser
there, so nothing is believed that does not carry the login's `state`. Another user of this machine can read what a
browser is started with, so a second path leads to the consent, and does so once. Nothing else is answered.
"""

import secrets
from typing import Final

from aiohttp import web
from yarl import URL

from proxy.forward.connection import ConnectionLimits
from proxy.forward.guard import Gate, names_us
from proxy.forward.headers import values
from proxy.forward.incoming import Incoming
from proxy.forward.server import Server
from proxy.hosts import is_loopback
from proxy.listening import addresses_of, sockets_at
from proxy.login import pages
from proxy.login.arrivals import Arrivals

LIMITS: Final = ConnectionLimits(header_timeout=10.0, max_head=16 * 1024, max_headers=100, max_connections=100)
LAST_WORD: Final = 2.0
"""Seconds that the last page gets to leave."""


class Callback:
    """The listener. `_runner` is set by `start` and cleared by `stop`; `_ahead` by `lead` and by its use."""

    def __init__(self, redirect_uri: URL, arrivals: Arrivals) -> None:
        self._uri = redirect_uri
        self._arrivals = arrivals
        self._runner: web.ServerRunner | None = None
        self._lead = f"/{secrets.token_urlsafe(24)}"
        self._ahead = ""

    def __repr__(self) -> str:
        return f"<Callback {self._uri} {'listening' if self._runner else 'closed'}>"

    @property
    def possible(self) -> bool:
        """Whether a browser on this machine can be met at the redirect URI."""
        return self._uri.scheme == "http" and is_loopback(self._uri.host or "")

    def lead(self, address: str) -> str:
        """Return the address here that leads a browser to another one, once."""
        self._ahead = address
        return str(self._uri.with_path(self._lead))

    async def start(self) -> None:
        """Listen. Raises OSError if the address can't be had."""
        host, port = self._uri.host or "", self._uri.port or 80
        addresses = await addresses_of(host, port)
        server = Server(self._answer, LIMITS)
        self._runner = web.ServerRunner(server, shutdown_timeout=LAST_WORD)
        await self._runner.setup()
        try:
            for each in sockets_at(addresses, port):
                await web.SockSite(self._runner, each).start()
        except OSError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop listening, once the page that is on its way has left."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _answer(self, request: Incoming) -> web.StreamResponse:
        path, _, query = request.head.target.partition("?")
        hosts = values(request.head.fields, b"host")
        ours = len(hosts) == 1 and names_us(hosts[0].decode("latin-1"), Gate())
        if ours and request.head.method == "GET":
            if path == (self._uri.raw_path or "/"):
                return _response(await self._arrivals.browser(query))
            if path == self._lead:
                ahead, self._ahead = self._ahead, ""
                return _redirect(ahead) if ahead else _response(pages.used_already())
        return _response(pages.nothing_here())


def _redirect(address: str) -> web.Response:
    response = web.Response(status=302, headers={**pages.HEADERS, "Location": address})
    response.force_close()
    return response


def _response(page: pages.Page) -> web.Response:
    response = web.Response(status=page.status, text=page.html(), content_type="text/html", headers=pages.HEADERS)
    response.force_close()
    return response
