"""What the Redis engine says of everything that a person must mend: what it is and what to do, and no password."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest
from rig import assert_silent
from tls import CertificateFolder
from torture.redis_server import RedisServer, cluster, sentinel_pair
from torture.redis_ways import ENCODED, OWNER, PASSWORD, replicas
from wire import free_port

from proxy.credential.redis_client import Way
from proxy.credential.redis_engine import RedisEngine
from proxy.credential.store import StoreError, StoreUnreachable

GRANT: Final = f"pandadoc-proxy:{{{OWNER}}}:grant"
NEEDED: Final = "~pandadoc-proxy:* &pandadoc-proxy:* +get +set +del +pttl +eval +publish +subscribe +ping"


async def every_call(engine: RedisEngine) -> list[str]:
    """Make every call; return what each that failed has said. Fails if one says that waiting helps."""
    said = []
    version = "da39a3ee5e6b4b0d3255bfef95601890afd80709"  # of nothing
    for call in (
        engine.read(),
        engine.write(b'{"refresh_token": "secret"}', version),
        engine.take("here", 5),
        engine.give_back("here"),
        engine.holder(),
        anext(engine.watch()),
    ):
        try:
            await call
        except StoreUnreachable as fault:
            said.append(f"waiting is said to help: {fault}")
        except StoreError as fault:
            said.append(str(fault))
    assert [each for each in said if not each.endswith(".") or "waiting is said to help" in each] == []
    assert_silent({PASSWORD, ENCODED, "secret"}, [*said, repr(engine), engine.name])
    return said


CASES: Final[Mapping[str, tuple[Mapping[str, str], str, str]]] = {
    "no password": ({"requirepass": f'"{PASSWORD}"'}, "redis://", "asks for a password"),
    "a wrong password": ({"requirepass": "another"}, f"redis://:{ENCODED}@", "refuses the user or the password"),
    "an unknown user": ({}, f"redis://nobody:{ENCODED}@", "refuses the user or the password"),
    "a password too much": ({}, f"redis://:{ENCODED}@", "asks for no password"),
    "no memory": ({"maxmemory": "1"}, "redis://", "has no memory left"),
}


@pytest.mark.parametrize(("settings", "url", "said"), CASES.values(), ids=CASES)
async def test_a_server_that_refuses_is_for_a_person_to_mend(
    tmp_path: Path, settings: Mapping[str, str], url: str, said: str
) -> None:
    async with RedisServer(tmp_path / "redis", settings) as server, replicas(f"{url}127.0.0.1:{server.port}") as opened:
        faults = await every_call(opened())
    assert faults
    assert [fault for fault in faults if said not in fault] == []


@pytest.mark.parametrize("lacking", NEEDED.split(" "))
async def test_a_user_who_lacks_one_permission_is_told_where_the_line_of_them_is(tmp_path: Path, lacking: str) -> None:
    """And so the line has nothing that is not needed."""
    (tmp_path / "users.acl").write_text(
        f"user default off\nuser pandadoc on >{PASSWORD} resetchannels {NEEDED.replace(lacking, '')}\n"
    )
    server = RedisServer(tmp_path / "redis", {"aclfile": str(tmp_path / "users.acl")})
    async with server, replicas(f"redis://pandadoc:{ENCODED}@127.0.0.1:{server.port}") as opened:
        faults = await every_call(opened())
    if lacking not in {"+ping", "+pttl"}:  # which is not sent before a silence; which is asked for of another's lease
        assert faults
    assert [fault for fault in faults if "docs/fleet-redis.md has the line of ACL for a grant" not in fault] == []


async def test_a_user_who_may_not_ask_how_long_a_lease_lasts_has_but_to_wait(tmp_path: Path) -> None:
    """That permission came later than the others."""
    (tmp_path / "users.acl").write_text(
        f"user default off\nuser pandadoc on >{PASSWORD} resetchannels {NEEDED.replace('+pttl', '')}\n"
    )
    server = RedisServer(tmp_path / "redis", {"aclfile": str(tmp_path / "users.acl")})
    async with server, replicas(f"redis://pandadoc:{ENCODED}@127.0.0.1:{server.port}") as opened:
        assert await opened().take("here", 1000)
        assert not await opened().take("there", 5)
        assert await opened().holder() == "here"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"redis://pandadoc:{ENCODED}@", "docs/fleet-redis.md has the line of ACL for a grant"),
        ("redis://pandadoc:another@", "refuses the user or the password"),
        ("redis://", "asks for a password"),
    ],
)
async def test_what_the_nodes_of_a_cluster_refuse_is_for_a_person_to_mend(tmp_path: Path, url: str, said: str) -> None:
    """A user of a server by itself lacks what a cluster takes."""
    async with cluster(tmp_path / "cluster", f"user pandadoc on >{PASSWORD} resetchannels {NEEDED}") as nodes:
        for node in nodes.nodes:
            await node.ask("CONFIG", "SET", "requirepass", PASSWORD)
            node.password = PASSWORD
        async with replicas(nodes.url.replace("redis://", url), Way(cluster=True)) as opened:
            faults = await every_call(opened())
    assert len(faults) == 6
    assert [fault for fault in faults if said not in fault] == []


async def test_something_else_under_the_key_is_left_there(tmp_path: Path) -> None:
    async with RedisServer(tmp_path / "redis") as server, replicas(server.url) as opened:
        await server.ask("LPUSH", GRANT, "somebody's list")
        faults = await every_call(opened())
        assert await server.ask("TYPE", GRANT) == b"list"
    assert len(faults) == 2
    assert {"something else under our key" in fault for fault in faults} == {True}


def speaking_tls(folder: Path, **settings: str) -> RedisServer:
    """Make a server of the name 127.0.0.1; its authority is in ca.pem."""
    pems = CertificateFolder(folder / "tls")
    pems.renew()
    pems.ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    files = {
        "tls-cert-file": pems.files["cert"],
        "tls-key-file": pems.files["key"],
        "tls-ca-cert-file": str(folder / "ca.pem"),
    }
    return RedisServer(folder / "redis", {**files, **settings}, tls=True)


async def test_a_certificate_of_an_unknown_authority_is_refused(tmp_path: Path) -> None:
    async with speaking_tls(tmp_path, **{"tls-auth-clients": "no", "bind": "127.0.0.1 127.0.0.2"}) as server:
        by_another_name = f"rediss://127.0.0.2:{server.port}"
        for url, ca_file in ((server.url, None), (by_another_name, tmp_path / "ca.pem")):
            async with replicas(url, Way(ca_file=ca_file)) as opened:
                faults = await every_call(opened())
            assert len(faults) == 6
            assert all("certificate that is not trusted" in fault for fault in faults)


async def test_a_server_that_asks_for_a_client_certificate_is_told_with_what_to_set_there(tmp_path: Path) -> None:
    """It does unless told not to. A connection of TLS 1.3 stands by then, and may be found reset instead."""
    server, said = speaking_tls(tmp_path), ""
    async with server, replicas(server.url, Way(ca_file=tmp_path / "ca.pem")) as opened, asyncio.timeout(60):
        engine = opened()
        while "is not supported: set tls-auth-clients no there." not in said:
            with pytest.raises(StoreError) as fault:
                await engine.read()
            said = str(fault.value)


async def test_a_cluster_and_a_server_by_itself_are_not_taken_for_each_other(tmp_path: Path) -> None:
    async with cluster(tmp_path / "cluster") as nodes:
        ours = await nodes.master_of(GRANT)
        async with replicas(next(node.url for node in nodes.nodes if node is not ours)) as opened:
            assert any("set cluster: true" in fault for fault in await every_call(opened()))
    async with RedisServer(tmp_path / "alone") as server, replicas(server.url, Way(cluster=True)) as opened:
        assert {"set cluster: false" in fault for fault in await every_call(opened())} == {True}


async def test_a_url_that_is_none_is_for_a_person_to_mend() -> None:
    async with replicas(f"http://:{ENCODED}@127.0.0.1") as opened:
        faults = await every_call(opened())
    assert len(faults) == 6
    assert faults[0].startswith("The URL of Redis can't be used: write it as redis://")


async def test_a_master_that_no_sentinel_knows_is_waited_for(tmp_path: Path) -> None:
    """A Sentinel that has just started knows nobody yet."""
    async with sentinel_pair(tmp_path, PASSWORD) as pair:
        for url in (f"redis://:{ENCODED}@127.0.0.1:{pair.sentinel.port}", f"redis://127.0.0.1:{free_port()}"):
            async with replicas(url, Way(sentinel="another")) as opened:
                with pytest.raises(
                    StoreUnreachable, match="'another': no Sentinel in the URL knows it, or lets us ask"
                ):
                    await opened().read()


async def test_a_replica_takes_no_writes_and_is_waited_for(tmp_path: Path) -> None:
    async with sentinel_pair(tmp_path, PASSWORD) as pair, replicas(pair.replica.url_with(ENCODED)) as opened:
        with pytest.raises(StoreUnreachable, match="READONLY"):
            await opened().take("here", 5)
