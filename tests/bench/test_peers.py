"""Every peer's configuration; and those peers that need nothing but what pip installs, at work."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
import trustme
import yaml
from aiohttp import web

from bench.__main__ import BY_NAME, chosen, found
from bench.peer import ROOT, Missing, Peer, Place, installed
from bench.peers import client_session, envoy, pandadoc_proxy
from bench.running import Running, answers, free_port

KEY: Final = "0123456789abcdef"
CREDENTIAL: Final = f"API-Key {KEY}"
EVERY: Final = pytest.mark.parametrize("peer", BY_NAME.values(), ids=BY_NAME)


def place(folder: Path, origin_port: int = 4443, *, logged: bool = False) -> Place:
    return Place(folder, free_port(), free_port(), origin_port, folder / "authority.pem", CREDENTIAL, logged)


def told(peer: Peer, where: Place) -> str:
    """Return all that a peer is told, by its arguments and by files."""
    command = peer.command(where)
    return "\n".join([*command.argv, *command.files.values()])


@EVERY
def test_a_peer_is_told_where_to_listen_whom_to_trust_and_what_to_lend(peer: Peer, tmp_path: Path) -> None:
    where = place(tmp_path)
    text = told(peer, where)
    assert all(str(value) in text for value in (where.port, where.origin_port, where.ca_file, KEY))
    assert "$" not in text


@EVERY
def test_with_an_access_log_a_peer_is_told_something_else(peer: Peer, tmp_path: Path) -> None:
    where = place(tmp_path)
    assert told(peer, where) == told(peer, where)
    assert told(peer, where) != told(peer, replace(where, logged=True))


def test_envoy_is_given_one_worker_and_a_secret_by_file(tmp_path: Path) -> None:
    command = envoy.command(place(tmp_path, logged=True))
    assert command.argv[command.argv.index("--concurrency") + 1] == "1"
    assert command.files["secret"] == CREDENTIAL
    (listener,) = yaml.safe_load(command.files["envoy.yaml"])["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    assert manager["access_log"][0]["typed_config"]["path"] == f"{tmp_path}/access.log"
    assert [each["name"].rpartition(".")[2] for each in manager["http_filters"]] == ["credential_injector", "router"]


def test_another_checkout_is_a_peer_called_by_its_commit() -> None:
    ours, other = chosen("pandadoc-proxy", [ROOT])
    assert ours.name == "pandadoc-proxy"
    assert other.name == f"pandadoc-proxy at {ours.version()}"


def test_a_peer_that_is_not_here_is_missing_with_the_reason() -> None:
    def version() -> str:
        return installed("no-such-proxy")

    nobody = Peer("nobody", version, client_session.command)
    versions, missing = found([nobody, client_session.PEER])
    assert list(versions) == [client_session.PEER]
    assert missing == {"nobody": "not installed: apt-get install --no-install-recommends no-such-proxy"}
    with pytest.raises(Missing):
        version()


@pytest.fixture
async def origin(tmp_path: Path) -> AsyncIterator[int]:
    """Serve over TLS, at this port; answer 401 to whoever shows another credential."""

    async def answer(request: web.Request) -> web.Response:
        lent = request.headers.getall("Authorization", []) == [CREDENTIAL]
        return web.Response(status=200 if lent and request.path == "/small" else 401)

    authority, tls = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(tls)
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


@pytest.mark.parametrize("peer", [client_session.PEER, pandadoc_proxy.PEER], ids=lambda peer: peer.name)
@pytest.mark.parametrize("logged", [False, True])
async def test_a_peer_lends_the_credential_once_it_is_ready(
    peer: Peer, origin: int, tmp_path: Path, *, logged: bool
) -> None:
    where = place(tmp_path, origin, logged=logged)
    with Running(peer.command(where), tmp_path, {min(os.sched_getaffinity(0))}) as running:
        await asyncio.to_thread(running.until, lambda: answers(where.port, "/small"))
        assert not await asyncio.to_thread(answers, where.port, "/other")
        assert running.resident_mib() > 10
    assert ("/other" in (tmp_path / "said").read_text()) is logged
