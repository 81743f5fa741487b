"""The admin port: probes. None of them depends on PandaDoc or on a credential's health.

A sidecar's readiness is its pod's, and an outage elsewhere must not take every app down. The
kubelet asks at the pod's IP, so no Host is checked here; there is nothing to borrow.
"""

from collections.abc import Awaitable, Callable

from aiohttp import web

from proxy.errors import NAME


def admin_app(started: Callable[[], bool], ready: Callable[[], bool]) -> web.Application:
    """Make the admin port's application."""
    app = web.Application()
    app.router.add_get("/livez", _probe(lambda: True))
    app.router.add_get("/startupz", _probe(started))
    app.router.add_get("/readyz", _probe(ready))
    return app


def _probe(holds: Callable[[], bool]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(_request: web.Request) -> web.StreamResponse:
        status, text = (200, "ok\n") if holds() else (503, "not ready\n")
        return web.Response(status=status, text=text, headers={"Server": NAME})

    return answer
