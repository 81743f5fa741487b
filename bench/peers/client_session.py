"""A plain aiohttp proxy with a client session, as people write them. Started as a program it is that proxy."""

import argparse
import logging
import ssl
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from bench.peer import ROOT, Command, Peer, Place

NOT_FORWARDED: Final = frozenset(
    {"host", "authorization", "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)


def version() -> str:
    return f"aiohttp {aiohttp.__version__}"


def command(place: Place) -> Command:
    """Give everything by options, but for the credential: that is read from a file."""
    options = ["--port", str(place.port), "--upstream", f"https://localhost:{place.origin_port}"]
    options += ["--ca-file", str(place.ca_file), "--credential-file", f"{place.folder}/credential"]
    options += ["--access-log"] if place.logged else []
    return Command(
        (sys.executable, "-m", "bench.peers.client_session", *options), {"credential": place.credential}, ROOT
    )


PEER: Final = Peer("aiohttp client session", version, command)


def application(upstream: str, credential: str, tls: ssl.SSLContext) -> web.Application:
    """Make the proxy."""

    async def forward(request: web.Request) -> web.StreamResponse:
        headers = kept(request.headers)
        headers["Authorization"] = credential
        body = request.content if request.body_exists else None
        url = upstream + request.raw_path
        async with session().request(request.method, url, headers=headers, data=body, allow_redirects=False) as answer:
            response = web.StreamResponse(status=answer.status, headers=kept(answer.headers))
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response

    async def sessions(app: web.Application) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(ssl=tls)
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as opened:
            app[key] = opened
            yield

    key = web.AppKey("session", aiohttp.ClientSession)
    app = web.Application()
    app.cleanup_ctx.append(sessions)
    app.router.add_route("*", "/{path:.*}", forward)

    def session() -> aiohttp.ClientSession:
        return app[key]

    return app


def kept(fields: Mapping[str, str]) -> CIMultiDict[str]:
    """Leave out what belongs to one hop."""
    return CIMultiDict((name, value) for name, value in fields.items() if name.lower() not in NOT_FORWARDED)


def main() -> None:
    """Serve."""
    options = argparse.ArgumentParser()
    options.add_argument("--port", type=int)
    options.add_argument("--upstream")
    options.add_argument("--ca-file")
    options.add_argument("--credential-file", type=Path)
    options.add_argument("--access-log", action="store_true")
    given = options.parse_args()
    logging.basicConfig(level=logging.INFO if given.access_log else logging.WARNING)
    app = application(
        given.upstream, given.credential_file.read_text(), ssl.create_default_context(cafile=given.ca_file)
    )
    web.run_app(app, host="127.0.0.1", port=given.port, print=None)


if __name__ == "__main__":
    main()
