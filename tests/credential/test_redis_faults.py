"""What an error of Redis means: that waiting helps, or that a person must act. The words are Redis's own (7.0)."""

import ssl
from pathlib import Path
from typing import Any

import pytest
from redis._parsers.base import BaseParser
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import InvalidResponse, RedisClusterException, ResponseError

from proxy.credential.redis_faults import to_be_left, translated
from proxy.credential.store import StoreUnreachable

NAME = "Redis at cache:6379"


def parsed(line: str) -> Exception:
    """Return what redis-py makes of an error line."""
    parser: Any = BaseParser  # it has no types
    fault = parser.parse_error(line)
    assert isinstance(fault, Exception)
    return fault


@pytest.mark.parametrize(
    "line",
    [
        "LOADING Redis is loading the dataset in memory",
        "READONLY You can't write against a read only replica.",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "CLUSTERDOWN Hash slot not served",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        "NOREPLICAS Not enough good replicas to write.",
        "ERR max number of clients reached",
    ],
)
def test_what_ends_by_itself_is_waited_for(line: str) -> None:
    fault = translated(parsed(line), NAME)
    assert isinstance(fault, StoreUnreachable)
    assert str(fault).startswith(f"{NAME} can't be reached: ")
    assert str(fault).endswith(".")


def test_what_a_redis_says_drives_no_terminal() -> None:
    fault = translated(parsed("LOADING \x1b[2JRedis is loading"), NAME)
    assert str(fault) == f"{NAME} can't be reached: [2JRedis is loading."


@pytest.mark.parametrize(
    ("line", "cure"),
    [
        ("NOAUTH Authentication required.", "redis://:PASSWORD@HOST"),
        ("NOAUTH HELLO must be called with the client already authenticated", "redis://:PASSWORD@HOST"),
        ("WRONGPASS invalid username-password pair or user is disabled.", "Correct the URL"),
        ("ERR AUTH <password> called without any password configured for the default user.", "Take it out of the URL"),
        ("NOPERM this user has no permissions to run the 'eval' command", "docs/fleet-redis.md"),
        ("NOPERM this user has no permissions to run the 'zadd' command", "docs/rate-budget.md"),
        ("NOPERM this user has no permissions to access one of the channels used as arguments", "docs/fleet-redis.md"),
        ("ERR ACL failure in script: this user has no permissions to run the 'set' command", "docs/fleet-redis.md"),
        ("OOM command not allowed when used memory > 'maxmemory'.", "maxmemory-policy noeviction"),
        ("MISCONF Redis is configured to save RDB snapshots, but is unable to persist to disk.", "its disk"),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", "another prefix"),
        ("DENIED Redis is running in protected mode because protected mode is enabled", "protected mode"),
        ("ERR DB index is out of range", "no database of the number"),
        ("ERR SELECT is not allowed in cluster mode", "cluster: true"),
        ("MOVED 3999 127.0.0.1:6381", "cluster: true"),
        ("(1, '[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required')", "tls-auth-clients no"),
        ("ERR unknown command 'EVAL', with args beginning with: 'SECRET'", "must not be renamed"),
    ],
)
def test_what_a_person_must_mend_says_how(line: str, cure: str) -> None:
    fault = translated(parsed(line), NAME)
    assert not isinstance(fault, StoreUnreachable)
    assert str(fault).startswith(NAME)
    assert cure in str(fault)
    assert str(fault).endswith(".")
    assert "SECRET" not in str(fault)


def test_what_nobody_has_foreseen_is_named_by_its_first_word_alone() -> None:
    """The rest may repeat what was sent."""
    fault = translated(ResponseError("NEWS of version 9: 'SECRET'"), NAME)
    assert str(fault) == f"{NAME} refuses with 'NEWS': its documentation or its log says more."


def test_what_does_not_speak_as_redis_does_is_not_repeated() -> None:
    fault = translated(InvalidResponse("Protocol Error: b'HTTP/1.1 400 Bad Request'"), NAME)
    assert "HTTP" not in str(fault)
    assert "Correct the URL" in str(fault)


def test_what_redis_py_raises_without_meaning_to_is_named_and_not_repeated() -> None:
    """Who knows what is in it, and in what state it has left the client."""
    fault = KeyError("SECRET")
    assert str(translated(fault, NAME)) == f"{NAME} can't be reached: redis-py fails with KeyError."
    assert isinstance(translated(fault, NAME), StoreUnreachable)
    assert to_be_left(fault)
    assert not to_be_left(NoConnection("Connection refused."))


@pytest.mark.parametrize(
    ("line", "cure"),
    [
        ("ERR This instance has cluster support disabled", "set cluster: false"),
        ("NOPERM this user has no permissions to run the 'cluster|slots' command", "docs/fleet-redis.md"),
        ("NOAUTH Authentication required.", "asks for a password"),
        ("WRONGPASS invalid username-password pair or user is disabled.", "Correct the URL"),
    ],
)
def test_what_the_nodes_have_said_is_found_below_what_redis_py_makes_of_it(line: str, cure: str) -> None:
    """It says of each refusal that the node is no cluster's, and of that, that no node can be reached."""
    try:
        try:
            raise parsed(line)
        except ResponseError:
            raise RedisClusterException("Cluster mode is not enabled on this node")  # noqa: B904 - as there
    except (RedisClusterException, NoConnection) as refused:
        fault = RedisClusterException("Redis Cluster cannot be connected.")
        fault.__cause__ = refused
    assert cure in str(translated(fault, NAME))


def test_a_cluster_of_which_no_more_is_known_is_waited_for() -> None:
    assert isinstance(translated(RedisClusterException("All slots are not covered."), NAME), StoreUnreachable)
    gone = RedisClusterException("Redis Cluster cannot be connected.")
    gone.__cause__ = ConnectionResetError("reset")
    assert isinstance(translated(gone, NAME), StoreUnreachable)


def test_a_certificate_is_found_below_what_redis_py_makes_of_it() -> None:
    distrusted = ssl.SSLCertVerificationError(1, "certificate verify failed")
    distrusted.verify_message = "self-signed certificate"
    fault = NoConnection("Error 1 connecting")
    fault.__context__ = distrusted
    assert "(self-signed certificate). Name its authority in ca_file." in str(translated(fault, NAME))


def test_whoever_may_not_connect_is_not_told_of_a_file_that_can_be_read(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text("")
    fault = NoConnection("Error 13 connecting to 192.0.2.1:6379. Permission denied.")
    fault.__cause__ = PermissionError(13, "Permission denied")
    assert isinstance(translated(fault, NAME, authority), StoreUnreachable)
    authority.unlink()
    assert f"ca_file {authority} can't be read" in str(translated(fault, NAME, authority))


@pytest.mark.parametrize(
    "fault", [NoConnection("Connection refused."), ConnectionResetError(), OSError(113, "No route")]
)
def test_a_connection_that_is_not_to_be_had_is_waited_for(fault: Exception) -> None:
    said = translated(fault, NAME)
    assert isinstance(said, StoreUnreachable)
    assert str(said).count(".") == 1
