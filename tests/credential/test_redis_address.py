"""Redis URLs: what is understood, what is refused with a word on what to write, and that nothing of one is said."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.credential.redis_address import BadAddress, RedisAddress, parse
from proxy.secrets import Secret

PASSWORD: Final = "tr0ub4dor"


def read(url: str, *, cluster: bool = False, sentinel: bool = False) -> RedisAddress:
    return parse(Secret(url), cluster=cluster, sentinel=sentinel)


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("redis://cache", [("cache", 6379)]),
        ("redis://cache:7000", [("cache", 7000)]),
        ("redis://10.0.0.7:7000/", [("10.0.0.7", 7000)]),
        ("redis://[::1]", [("::1", 6379)]),
        ("redis://[fd00::7]:7000/0", [("fd00::7", 7000)]),
        ("rediss://redis-0.redis.default.svc.cluster.local:6380", [("redis-0.redis.default.svc.cluster.local", 6380)]),
        ("redis://a,b:1,[::1]:2", [("a", 6379), ("b", 1), ("::1", 2)]),
    ],
)
def test_hosts_are_read(url: str, hosts: list[tuple[str, int]]) -> None:
    assert read(url, cluster=True).hosts == tuple(hosts)


def test_a_sentinel_has_another_port() -> None:
    assert read("redis://a,b:1/0", sentinel=True).hosts == (("a", 26379), ("b", 1))


@pytest.mark.parametrize(
    ("userinfo", "username", "password"),
    [
        ("", None, None),
        (f":{PASSWORD}@", None, PASSWORD),
        (f"alice:{PASSWORD}@", "alice", PASSWORD),
        ("al%40ice:p%2F%3A%40%23%3F%25w@", "al@ice", "p/:@#?%w"),
        ("alice:with:colons@", "alice", "with:colons"),
        ("alice:with@signs@", "alice", "with@signs"),
        ("alice:[half-a-bracket@", "alice", "[half-a-bracket"),
    ],
)
def test_who_we_are_is_read(userinfo: str, username: str | None, password: str | None) -> None:
    address = read(f"redis://{userinfo}cache")
    assert address.username == username
    assert (address.password and address.password.reveal()) == password


def test_tls_and_the_database_are_read() -> None:
    assert not read("redis://cache").tls
    assert read("rediss://cache/15") == RedisAddress((("cache", 6379),), "", True, None, None, 15)  # noqa: FBT003 - tls
    assert read("unix:///run/redis/s?db=3") == RedisAddress((), "/run/redis/s", False, None, None, 3)  # noqa: FBT003 - its fields
    assert read(f"unix://:{PASSWORD}@/run/s").password == Secret(PASSWORD)


@pytest.mark.parametrize(
    ("url", "cure"),
    [
        ("", "write it as redis://"),
        ("cache:6379", "write it as redis://"),
        (f"http://:{PASSWORD}@cache", "write it as redis://"),
        (f"redis://:{PASSWORD}@[::1", "no host"),
        ("redis://", "no host"),
        (f"redis://:{PASSWORD}@", "no host"),
        ("redis://cache:port", "no host, or no port"),
        ("redis://cache:0", "no host, or no port"),
        ("redis://cache:65536", "no host, or no port"),
        (f"redis://:half/{PASSWORD}@cache", "%2F"),
        (f"redis://:half?{PASSWORD}@cache", "%2F"),
        (f"redis://:half#{PASSWORD}@cache", "%2F"),
        (f"redis://{PASSWORD}@cache", "redis://:PASSWORD@HOST"),
        ("redis://alice:@cache", "redis://:PASSWORD@HOST"),
        ("redis://a,b", "sentinel: NAME or cluster: true"),
        (f"redis://cache/{PASSWORD}", "must be a number"),
        ("redis://cache?ssl_cert_reqs=none", "options behind a ?"),
        ("unix://", "unix:///PATH"),
        ("unix://run/redis", "unix:///PATH"),
        ("unix:///run/redis?ssl=1", "options other than ?db=NUMBER"),
        ("unix:///run/redis?db=one", "must be a number"),
    ],
)
def test_what_is_no_address_is_refused_with_what_to_write(url: str, cure: str) -> None:
    with pytest.raises(BadAddress) as fault:
        read(url)
    assert cure in str(fault.value)
    assert PASSWORD not in str(fault.value)


@given(st.text(alphabet="redis:/@[]0123456789.,?#%=&ab-", max_size=40))
def test_whatever_is_written_there_is_an_address_or_refused(url: str) -> None:
    try:
        address = read(f"redis://{url}", sentinel=True)
    except BadAddress:
        return
    assert address.hosts
    assert all(host and 0 < port < 65536 for host, port in address.hosts)


def test_people_are_told_where_and_never_as_whom() -> None:
    shown = [read(f"redis://alice:{PASSWORD}@{hosts}", cluster=True) for hosts in ("cache", "[::1]:7", "a:1,b,c")]
    assert [str(each) for each in shown] == ["cache:6379", "[::1]:7", "a:1 and 2 more"]
    assert str(read(f"unix://alice:{PASSWORD}@/run/s")) == "/run/s"
    assert PASSWORD not in repr(shown)


@pytest.mark.parametrize("way", ["sentinel", "cluster"])
def test_a_way_by_hosts_is_no_unix_socket(way: str) -> None:
    with pytest.raises(BadAddress, match="name hosts"):
        read("unix:///run/s", cluster=way == "cluster", sentinel=way == "sentinel")


def test_a_cluster_has_one_database() -> None:
    with pytest.raises(BadAddress, match="database 0 alone"):
        read("redis://a,b/1", cluster=True)
    assert read("redis://a,b/1", sentinel=True).database == 1
