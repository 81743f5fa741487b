"""The judge of the grants in danger: that it looks at PandaDoc and at the disk, and is not easily content."""

import json
from pathlib import Path

import pytest
from commands.danger import SEED, Danger
from commands.killable import part_of
from commands.oracle import judge, read_stored
from commands.process import Machine

FIRST, SECOND = "grant-a.json", ".grant-a.json.new"
NOTHING = {"seeds": [], "intent": {"fingerprint": "f", "at": 0.0}, "expires_at": 0.0}


def write(machine: Machine, refresh_token: str, name: str = FIRST, *, generation: int = 1, end: str = "") -> Path:
    record = {**NOTHING, "generation": generation, "refresh_token": refresh_token}
    path = machine.state / "pandadoc-proxy" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record) + end)
    return path


def test_a_token_that_lives_nowhere_but_at_pandadoc_is_lost(danger: Danger) -> None:
    """And the minute is that of the redeem that was begun."""
    write(danger.machine, "spent")
    assert judge(danger.machine, "spent too").lost_at == "1970-01-01 00:00 UTC"


def test_a_token_that_lives_is_not_lost_wherever_it_is_kept(danger: Danger) -> None:
    living = danger.machine.simulator.issue_refresh_token()
    write(danger.machine, "spent")
    assert not judge(danger.machine, danger.env[SEED]).lost
    write(danger.machine, living, SECOND, generation=2, end="\0" * 9)
    assert not judge(danger.machine, "spent too").lost


def test_a_newer_slot_that_is_not_whole_does_not_count(danger: Danger) -> None:
    write(danger.machine, "spent")
    write(danger.machine, "half", SECOND, generation=2, end="{")
    assert read_stored(danger.machine).generation == 1


def test_a_first_slot_that_is_not_whole_is_a_failure_whatever_else_there_is(danger: Danger) -> None:
    path = write(danger.machine, "half", end="\0")
    with pytest.raises(json.JSONDecodeError):
        read_stored(danger.machine)
    path.unlink()


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("/s/pandadoc-proxy/grant-a.json", "first"),
        ("/s/pandadoc-proxy/.grant-a.json.new", "second"),
        ("/s/pandadoc-proxy/.grant-a.json.lock", "lock"),
        ("/s/pandadoc-proxy/.grant-a.json.lease", "lease"),
        ("/s/pandadoc-proxy", "folder"),
        ("/etc/hosts", None),
    ],
)
def test_each_part_of_a_store_is_known_by_its_name(path: str, part: str | None) -> None:
    """A file that is not known is not counted, and nobody would be killed there."""
    assert part_of(Path(path)) == part
