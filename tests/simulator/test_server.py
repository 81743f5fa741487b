"""Starting, stopping, and what outlives a stop."""

import asyncio

import pytest
from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

from proxy.simulator import Fault, Simulator


async def _member(simulator: Simulator, access_token: str) -> int:
    headers = {"Authorization": f"Bearer {access_token}"}
    async with (
        ClientSession(simulator.url) as session,
        session.get("/public/v1/members/current", headers=headers) as response,
    ):
        return response.status


async def test_each_simulator_has_a_port_of_its_own() -> None:
    async with Simulator() as one, Simulator() as other:
        assert one.url != other.url
        assert one.url.startswith("http://127.0.0.1:")


async def test_credentials_outlive_a_stop_and_the_port_can_be_taken_again() -> None:
    simulator = Simulator()
    access_token = simulator.issue_access_token()
    await simulator.start()
    url = simulator.url
    await simulator.stop()
    with pytest.raises(ClientError):
        await _member(simulator, access_token)
    await simulator.start(port=int(url.rpartition(":")[2]))
    try:
        assert simulator.url == url
        assert await _member(simulator, access_token) == 200
    finally:
        await simulator.stop()


@pytest.mark.parametrize("fault", [Fault(hang=True), Fault(delay=1000.0), Fault(delay=1000.0, status=500)])
async def test_a_stop_lets_whoever_hangs_go(fault: Fault) -> None:
    async with Simulator() as simulator:
        simulator.faults.add(fault)
        reader, writer = await asyncio.open_connection("127.0.0.1", int(simulator.url.rpartition(":")[2]))
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await simulator.until(lambda: bool(simulator.journal))
        async with asyncio.timeout(5):
            await simulator.stop()
            assert await reader.read() == b""
        assert simulator.journal[0].status == 0
        writer.close()


async def test_a_stop_does_not_wait_for_a_body_that_never_comes_or_a_reader_that_never_reads() -> None:
    async with Simulator(draft_after=0) as simulator:
        key = simulator.issue_api_key()
        document_id = simulator.documents.create("x").id
        head = f"HTTP/1.1\r\nHost: a\r\nAuthorization: API-Key {key}\r\n"
        _, uploading = await asyncio.open_connection("127.0.0.1", int(simulator.url.rpartition(":")[2]))
        uploading.write(f"POST /a {head}Content-Length: 9\r\n\r\n".encode())
        _, reading = await asyncio.open_connection("127.0.0.1", int(simulator.url.rpartition(":")[2]))
        reading.write(f"GET /public/v1/documents/{document_id}/download?size=100000000 {head}\r\n".encode())
        await simulator.until(lambda: len(simulator.journal) == 2)
        async with asyncio.timeout(5):
            await simulator.stop()
        uploading.close()
        reading.transport.abort()


async def test_starting_twice_is_an_error_and_stopping_twice_is_none() -> None:
    simulator = Simulator()
    await simulator.start()
    with pytest.raises(RuntimeError, match="running"):
        await simulator.start()
    await simulator.stop()
    await simulator.stop()


async def test_a_port_that_is_taken_is_an_oserror_and_leaves_nothing_behind() -> None:
    async with Simulator() as other:
        simulator = Simulator()
        with pytest.raises(OSError, match="in use"):
            await simulator.start(port=int(other.url.rpartition(":")[2]))
        await simulator.start()
        await simulator.stop()


@pytest.mark.parametrize("host", ["a" * 70, "a..b", "\udcff"])
async def test_a_host_that_can_be_no_name_is_an_oserror_and_leaves_nothing_behind(host: str) -> None:
    simulator = Simulator()
    with pytest.raises(OSError, match="not known"):
        await simulator.start(host)
    await simulator.start()
    await simulator.stop()


@pytest.mark.parametrize(("host", "origin"), [("0.0.0.0", "http://127.0.0.1:"), ("::", "http://[::1]:")])  # noqa: S104 - nothing else would show it
async def test_what_listens_at_all_addresses_tells_one_that_a_proxy_may_use(host: str, origin: str) -> None:
    simulator = Simulator()
    try:
        await simulator.start(host)
    except OSError:
        pytest.skip("this machine has no IPv6")
    try:
        assert simulator.url.startswith(origin)
        assert await _member(simulator, simulator.issue_access_token()) == 200
    finally:
        await simulator.stop()


@pytest.mark.usefixtures("localhost_without_ipv6")
async def test_a_name_of_which_this_machine_lacks_an_address_is_listened_at_where_it_can_be() -> None:
    simulator = Simulator()
    await simulator.start("localhost")
    assert simulator.url.startswith("http://127.0.0.1:")
    await simulator.stop()


def test_before_the_first_start_there_is_no_url() -> None:
    with pytest.raises(RuntimeError, match="never started"):
        _ = Simulator().url


def test_the_switches_can_be_thrown_while_it_runs() -> None:
    simulator = Simulator(expires_in=60, rotate=True)
    simulator.expires_in, simulator.rotate = "soon", False
    assert (simulator.expires_in, simulator.rotate) == ("soon", False)
    simulator.redirect_uri, simulator.echo_state = "http://a/b", False
    assert (simulator.redirect_uri, simulator.echo_state) == ("http://a/b", False)


def test_the_repr_tells_the_state_and_no_credential() -> None:
    simulator = Simulator()
    issued = [simulator.issue_refresh_token(), simulator.issue_access_token(), simulator.issue_api_key()]
    issued.append(simulator.issue_code())
    assert "'grants': 2" in repr(simulator)
    assert not any(value in repr(simulator) for value in [*issued, simulator.client_secret])


async def test_a_thousand_callers_at_once_are_all_answered() -> None:
    async with Simulator() as simulator:
        headers = {"Authorization": f"Bearer {simulator.issue_access_token()}"}
        connector = TCPConnector(limit=0)
        timeout = ClientTimeout(total=30)
        async with ClientSession(simulator.url, connector=connector, headers=headers, timeout=timeout) as session:

            async def call() -> int:
                async with session.get("/public/v1/members/current") as response:
                    return response.status

            assert await asyncio.gather(*(call() for _ in range(1000))) == [200] * 1000
        assert len(simulator.api_calls()) == 1000
