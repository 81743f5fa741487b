"""Whose certificates are taken wherever we connect: of all that OpenSSL may ask, what makes a chain one is asked."""

import asyncio
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest
import trustme
from redis.exceptions import ConnectionError as RedisConnectionError
from tls import FAR_OFF, LONG_AGO, BareAuthority

from proxy.config import Upstream
from proxy.credential.redis_address import parse
from proxy.credential.redis_client import RedisClient, Way
from proxy.kubernetes.cluster import tls_context
from proxy.outbound import trust
from proxy.secrets import Secret


@asynccontextmanager
async def shown(leaf: trustme.LeafCert) -> AsyncIterator[int]:
    """Listen, show that certificate, and say what a Redis says to a ping."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while await reader.read(1024):
                writer.write(b"+PONG\r\n")
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    async with await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]


async def by_context(context: ssl.SSLContext, port: int) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.close()


async def to_kubernetes(authority: Path, port: int) -> None:
    await by_context(tls_context(authority.read_bytes()), port)


async def to_pandadoc(authority: Path, port: int) -> None:
    await by_context(trust(Upstream(ca_file=authority)).context, port)


async def to_redis(authority: Path, port: int) -> None:
    client = RedisClient(parse(Secret(f"rediss://127.0.0.1:{port}")), Way(ca_file=authority), limit=2.0)
    try:
        await client.redis.ping()
    finally:
        await client.close()


LOADING = """
import os
from proxy import starting
before = dict(os.environ)
starting.load_aiohttp()
from aiohttp import connector
from proxy.trust import verifying
print(len(connector._SSL_CONTEXT_VERIFIED.get_ca_certs()), len(verifying().get_ca_certs()), os.environ == before)
"""


@pytest.mark.parametrize("folder", ["", "/nowhere"])
def test_aiohttps_own_context_trusts_nobody_and_ours_whom_the_system_trusts(tmp_path: Path, folder: str) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    environ = {"SSL_CERT_FILE": str(tmp_path / "ca.pem"), **({"SSL_CERT_DIR": folder} if folder else {})}
    loading = [sys.executable, "-c", LOADING]
    ended = subprocess.run(loading, env=environ, capture_output=True, text=True, timeout=60, check=True)  # noqa: S603 - our own text
    assert ended.stdout == "0 1 True\n"


WAYS = pytest.mark.parametrize("connect", [to_kubernetes, to_pandadoc, to_redis])
Connect = Callable[[Path, int], Awaitable[None]]


@pytest.fixture
def authority(tmp_path: Path) -> BareAuthority:
    made = BareAuthority()
    made.cert_pem.write_to_path(tmp_path / "ca.pem")
    return made


@WAYS
async def test_an_authority_without_key_identifiers_is_one(
    authority: BareAuthority, connect: Connect, tmp_path: Path
) -> None:
    """As for client-go, kubectl, and Python before 3.13."""
    async with shown(authority.issue_cert("127.0.0.1")) as port:
        await connect(tmp_path / "ca.pem", port)


@WAYS
async def test_an_authority_that_is_itself_issued_vouches_alone_for_what_it_has_issued(
    connect: Connect, tmp_path: Path
) -> None:
    """As for curl, client-go, and Python from 3.13 on; and for nobody else's."""
    root = trustme.CA()
    issuing = root.create_child_ca()
    issuing.cert_pem.write_to_path(tmp_path / "ca.pem")
    async with shown(issuing.issue_cert("127.0.0.1")) as port:
        await connect(tmp_path / "ca.pem", port)
    async with shown(root.issue_cert("127.0.0.1")) as port:
        with pytest.raises((ssl.SSLCertVerificationError, RedisConnectionError), match="CERTIFICATE_VERIFY_FAILED"):
            await connect(tmp_path / "ca.pem", port)


@WAYS
@pytest.mark.parametrize("wrong", ["authority", "name", "date"])
async def test_chain_name_and_dates_are_looked_at(
    authority: BareAuthority, connect: Connect, tmp_path: Path, wrong: str
) -> None:
    issuer = BareAuthority() if wrong == "authority" else authority
    until = LONG_AGO + timedelta(days=1) if wrong == "date" else FAR_OFF
    async with shown(issuer.issue_cert("127.0.0.2" if wrong == "name" else "127.0.0.1", until)) as port:
        with pytest.raises((ssl.SSLCertVerificationError, RedisConnectionError), match="CERTIFICATE_VERIFY_FAILED"):
            await connect(tmp_path / "ca.pem", port)
