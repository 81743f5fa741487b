"""Ask a running proxy, from the same machine and with the same configuration, whether it takes requests.

Without aiohttp, whose import alone would triple the cost of a check that runs every few seconds.
"""

import http.client
import socket
import ssl
import time
from contextlib import closing
from typing import Final

from proxy.config import Ports, TcpBind, UnixBind

TIMEOUT: Final = 3.0
"""Seconds: images give a health check about five."""


PAUSE: Final = 0.1
"""Seconds between two tries of somebody who waits."""


class Unhealthy(Exception):
    """It does not take requests; says what was asked and what came back."""


def ask(ports: Ports, timeout: float = TIMEOUT) -> None:
    """Ask the first listener that answers us a health path, else the admin port. Raises Unhealthy.

    `timeout`: seconds, for the connection and for each piece of the answer.
    """
    bind, path, tls = _whom(ports)
    try:
        with closing(_connection(bind, timeout, tls=tls)) as connection:
            connection.request("GET", path, headers={"Host": "localhost"})
            status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as fault:
        raise Unhealthy(f"{bind} does not answer {path}: {fault}") from fault
    if status != http.HTTPStatus.OK:
        raise Unhealthy(f"{bind} answers {path} with {status}")


def wait(ports: Ports, seconds: float) -> None:
    """Ask until it takes requests, for so many seconds at most. Raises Unhealthy with the last answer.

    At once, where nobody can be asked: the configuration that says so is not read again.
    """
    _whom(ports)
    end = time.monotonic() + seconds
    while True:
        try:
            return ask(ports, min(TIMEOUT, max(PAUSE, end - time.monotonic())))
        except Unhealthy as fault:
            if time.monotonic() + PAUSE > end:
                raise Unhealthy(f"not ready after {seconds:g} s: {fault}") from fault
            time.sleep(PAUSE)


def _whom(ports: Ports) -> tuple[TcpBind | UnixBind, str, bool]:
    for listener in ports.listeners:
        if listener.health is not None and not (listener.tls and listener.tls.client_ca):
            return listener.bind, listener.health, listener.tls is not None
    if ports.admin is not None:
        return ports.admin.bind, "/readyz", False
    raise Unhealthy(
        "there is nothing to ask: every listener has `health: null` or asks for client certificates, and admin is null"
    )


def _connection(bind: TcpBind | UnixBind, timeout: float, *, tls: bool) -> http.client.HTTPConnection:
    if isinstance(bind, TcpBind):
        host = bind.from_here.host
        if tls:
            return http.client.HTTPSConnection(host, bind.port, timeout=timeout, context=_trusting())
        return http.client.HTTPConnection(host, bind.port, timeout=timeout)
    connection = http.client.HTTPConnection("localhost", timeout=timeout)
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.sock.settimeout(timeout)
    connection.sock.connect(str(bind.path))
    return connection


def _trusting() -> ssl.SSLContext:
    """Make a context that takes any certificate: we ask ourselves, and send nothing that anybody could use."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
