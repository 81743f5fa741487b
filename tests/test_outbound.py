"""Whom the proxy trusts on the way out: the authorities of `upstream.ca_file`, as they are now."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from conftest import HouseMaker
from rig import House
from wire import OK, ScriptedUpstream, Stage, upstream

BYE = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
TOKENS = b'{"access_token": "an-access-token", "expires_in": 3600}'
REDEEMED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(TOKENS), TOKENS)


class Place:
    """PandaDoc behind TLS, and the file of those whose word the proxy takes for it."""

    def __init__(self, ca_file: Path) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca_file = ca_file
        self.trust(self.show())

    def show(self) -> trustme.CA:
        """Show the certificate of another authority in handshakes from now on."""
        authority = trustme.CA()
        authority.issue_cert("127.0.0.1").configure_cert(self.context)
        return authority

    def trust(self, *authorities: trustme.CA) -> None:
        self.ca_file.write_bytes(b"".join(each.cert_pem.bytes() for each in authorities))

    @asynccontextmanager
    async def open(self, make: HouseMaker) -> AsyncIterator[tuple[House, ScriptedUpstream]]:
        async with upstream(_answered, tls=self.context) as up:
            settings = {"upstream": {"url": up.url, "ca_file": str(self.ca_file)}}
            yield await make(settings, token_url=f"{up.url}/token"), up


async def _answered(stage: Stage) -> None:
    message = await stage.request()
    await stage.say(REDEEMED if message.start.startswith(b"POST /token ") else BYE)
    stage.writer.close()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "ca.pem")


async def test_a_renewed_authority_is_trusted_without_a_restart_and_the_former_one_no_more(
    oauth_house: HouseMaker, place: Place
) -> None:
    """By requests, and by token calls."""
    async with place.open(oauth_house) as (house, up):
        assert (await house.get()).status == 200
        place.trust(place.show())
        await house.look()
        assert (await house.get()).status == 200
        house.clock.pass_(3600)
        assert (await house.get()).status == 200
        assert sum(message.start.startswith(b"POST /token ") for message in up.heard) == 2
        place.trust(trustme.CA())
        await house.look()
        assert (await house.get()).headers["Proxy-Status"] == "pandadoc-proxy; error=tls_certificate_error"
        assert house.ear.heard("INFO", "upstream.ca_file", "has changed")


@pytest.mark.parametrize("broken", ["gone", "garbage", "a pipe"])
async def test_authorities_that_cant_be_read_are_told_once_and_the_former_ones_serve_on(
    oauth_house: HouseMaker, place: Place, broken: str
) -> None:
    async with place.open(oauth_house) as (house, _):
        if broken == "garbage":
            place.ca_file.write_bytes(b"-----BEGIN CERTIFICATE-----\n")
        else:
            place.ca_file.unlink()
        if broken == "a pipe":
            os.mkfifo(place.ca_file)
        for _ in range(3):
            await house.look()
        assert (await house.get()).status == 200
        told = [line for line in house.ear.lines if line.startswith("WARNING") and "upstream.ca_file" in line]
        assert len(told) == 1
        place.ca_file.unlink(missing_ok=True)
        place.trust(place.show())
        await house.look()
        assert (await house.get()).status == 200


async def test_a_reload_and_a_renewal_that_meet_are_both_taken(oauth_house: HouseMaker, place: Place) -> None:
    async with place.open(oauth_house) as (house, _):
        assert (await house.get()).status == 200  # its first token call must not meet the renewal
        for turn in range(10):
            place.trust(place.show())
            house.settings = {**house.settings, "policy": {"rules": [{"deny": f"/{turn}"}]}}
            await asyncio.gather(house.proxy.look(), house.proxy.reload(house.config()))
            assert ((await house.get()).status, (await house.get(f"/{turn}")).status) == (200, 403)
