"""A process that speaks TLS: its start, its health check, its certificate's renewal, and its secrets."""

import json
import ssl
from pathlib import Path

import pytest
import trustme
from aiohttp import ClientSession
from commands.process import MEMBER, Machine, Process
from tls import LONG_AGO, CertificateFolder, trusting
from wire import OK, answering, caller, upstream
from yarl import URL

BIND = "PANDADOC_PROXY__LISTENERS__0__BIND"
TLS = "PANDADOC_PROXY__LISTENERS__0__TLS"
ADMIN = "PANDADOC_PROXY__ADMIN"
ADMIN_BIND = "PANDADOC_PROXY__ADMIN__BIND"


@pytest.fixture
def certificates(tmp_path: Path) -> CertificateFolder:
    folder = CertificateFolder(tmp_path / "tls")
    folder.renew()
    return folder


def env_with_tls(machine: Machine, certificates: CertificateFolder, **more: str) -> dict[str, str]:
    return machine.with_api_key() | {TLS: json.dumps({**certificates.files, **more})}


async def status_over_tls(app: ClientSession, process: Process, certificates: CertificateFolder) -> int:
    async with app.get(await process.url() + MEMBER, ssl=trusting(certificates.ca)) as answer:
        return answer.status


def address(url: str) -> str:
    return url.partition("://")[2]


async def test_it_serves_over_tls_and_is_healthy(
    machine: Machine, app: ClientSession, certificates: CertificateFolder
) -> None:
    """The health check verifies nothing: it is the same machine, and the name is not in the certificate."""
    env = env_with_tls(machine, certificates)
    process = await machine.start(env=env)
    assert (await process.url()).startswith("https://")
    assert await status_over_tls(app, process, certificates) == 200
    assert (await machine.run("healthcheck", env=env | {BIND: address(await process.url())})).code == 0


async def test_a_renewed_certificate_is_noticed_without_a_word(
    machine: Machine, app: ClientSession, certificates: CertificateFolder
) -> None:
    process = await machine.start(env=env_with_tls(machine, certificates))
    await process.url()
    certificates.ca = trustme.CA()
    certificates.renew()
    await process.said("new connections get the new certificate")
    assert await status_over_tls(app, process, certificates) == 200


async def test_where_callers_need_a_certificate_healthcheck_asks_the_admin_port(
    machine: Machine, certificates: CertificateFolder
) -> None:
    """It has none to show; with no admin port either, it says that it can't know."""
    certificates.put(client_ca=certificates.ca.cert_pem.bytes())
    env = env_with_tls(machine, certificates, client_ca=str(certificates.path / "client_ca"))
    process = await machine.start(env=env)
    env |= {BIND: address(await process.url()), ADMIN_BIND: address(await process.admin_url())}
    assert (await machine.run("healthcheck", env=env)).code == 0
    del env[ADMIN_BIND]
    ended = await machine.run("healthcheck", env=env | {ADMIN: "null"})
    assert ended.code == 1
    assert ended.err.startswith("unhealthy: there is nothing to ask")
    assert not [line for line in process.err if "no TLS with" in line]


async def test_a_pair_that_is_none_is_a_fault_of_the_configuration(
    machine: Machine, certificates: CertificateFolder
) -> None:
    certificates.put(key=trustme.CA().issue_cert("localhost").private_key_pem.bytes())
    ended = await machine.run(env=env_with_tls(machine, certificates))
    assert ended.code == 2
    (line,) = ended.err.splitlines()
    assert line.startswith(f"{TLS}: listeners.0.tls.key: {certificates.path}/key is not the key of the first")


async def test_an_expired_certificate_is_told_at_the_start(
    machine: Machine, app: ClientSession, certificates: CertificateFolder
) -> None:
    """Somebody may not verify it; the others will say so."""
    certificates.renew(LONG_AGO)
    process = await machine.start(env=env_with_tls(machine, certificates))
    await process.said('"level":"warning"', "listeners.0.tls.cert", "certificate has expired")
    async with app.get(await process.url() + MEMBER, ssl=False) as answer:
        assert answer.status == 200


async def test_plain_http_at_a_tls_port_is_one_line_of_the_log(
    machine: Machine, certificates: CertificateFolder
) -> None:
    process = await machine.start(env=env_with_tls(machine, certificates))
    url = URL(await process.url())
    await process.said("is ready")
    before = len(process.records)
    async with caller(url.port or 0) as line:
        await line.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await line.answer()).start == b"HTTP/1.1 400 Bad Request"
        assert await line.closed() == b""
    await process.said("no TLS with 127.0.0.1: HTTP_REQUEST")
    assert len(process.records) == before + 1


@pytest.mark.parametrize("keys", ["keys", "missing/keys"])
async def test_no_key_of_a_connection_is_written_where_the_environment_says(
    machine: Machine, app: ClientSession, certificates: CertificateFolder, tmp_path: Path, keys: str
) -> None:
    """Python's default contexts, aiohttp's and redis-py's among them, write them to $SSLKEYLOGFILE, or fail to."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificates.path / "cert", certificates.path / "key")
    certificates.put(ca=certificates.ca.cert_pem.bytes())
    async with upstream(answering(OK), tls=serving) as pandadoc:
        env = env_with_tls(machine, certificates) | {
            "PANDADOC_PROXY__UPSTREAM__URL": pandadoc.url,
            "PANDADOC_PROXY__UPSTREAM__CA_FILE": str(certificates.path / "ca"),
            "SSLKEYLOGFILE": str(tmp_path / keys),
        }
        assert (await machine.run("check", env=env)).code == 0
        process = await machine.start(env=env)
        assert await status_over_tls(app, process, certificates) == 200
    assert not (tmp_path / keys).exists()
