"""An answer of our own: problem+json (RFC 9457) with PandaDoc's `type` and `detail`, and Proxy-Status.

Every one says what to do, and none is a 401 (law 14).
"""

from http import HTTPStatus

import msgspec
from aiohttp import web_response

from proxy.errors import ProxyError


def problem(fault: ProxyError, request_id: str) -> web_response.Response:
    """Make the answer for `fault`."""
    document = {
        "type": fault.type,
        "title": HTTPStatus(fault.status).phrase,
        "status": fault.status,
        "detail": fault.detail,
        "request_id": request_id,
    }
    headers = {"Proxy-Status": fault.proxy_status, "Cache-Control": "no-store", **fault.headers}
    if fault.retry_after is not None:
        headers["Retry-After"] = str(fault.retry_after)
    return web_response.Response(
        status=fault.status,
        body=msgspec.json.encode(document),
        content_type="application/problem+json",
        headers=headers,
    )
