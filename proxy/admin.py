"""The admin port: probes. None of them depends on PandaDoc or on a credential's health.

A sidecar's readiness is its pod's, and an outage elsewhere must not take every app down. The
kubelet asks at the pod's IP, so no Host is checked here; there is nothing to borrow.
"""

from collections.abc import Callable

from aiohttp import web


class Probes:
    """Answers the probe paths. Holds nothing that changes."""

    def __init__(self, started: Callable[[], bool], ready: Callable[[], bool]) -> None:
        self._holds = {"/livez": lambda: True, "/startupz": started, "/readyz": ready}

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method not in {"GET", "HEAD"}:
            return web.Response(status=405, headers={"Allow": "GET, HEAD"})
        holds = self._holds.get(request.path)
        if holds is None:
            return web.Response(status=404, text="Here are /livez, /startupz and /readyz.\n")
        return web.Response(text="ok\n") if holds() else web.Response(status=503, text="not ready\n")
