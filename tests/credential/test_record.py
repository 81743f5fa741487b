"""The ledger as JSON: what was written is read again, and nothing else is taken for it."""

import json
import traceback

import pytest
from msgspec.structs import replace

from proxy.credential.advice import moment
from proxy.credential.ledger import Attempt, Grant, Intent, Ledger, Lineage, Mint
from proxy.credential.record import Unreadable, decode, encode
from proxy.credential.refusals import Refusals
from proxy.secrets import Secret

OWNER = "0123456789abcdef"
REFRESH, ACCESS = "refresh-" * 5, "access-" * 5
SEEDED = Lineage("refresh_token", "0123456789ab", 10.25)
BARE = Grant(1, SEEDED, Secret(REFRESH))
WHOLE = Grant(7, Lineage("login", "ba9876543210", 20.0), Secret(REFRESH), Secret(ACCESS), 1000.5, 2000.5)
FULL = Ledger(
    WHOLE,
    ("0123456789ab", "ba9876543210"),
    Refusals(until=50.0, length=30.0, spent=True),
    Intent("0123456789ab", 30.5),
    Attempt(40.5, "timeout", refused_at=40.5),
)

SHAPES = {
    "nothing": Ledger(),
    "an intent before any grant": Ledger(intent=Intent("0123456789ab", 30.5)),
    "a failure before any grant": Ledger(last=Attempt(40.5, "invalid_grant", fingerprint="0123456789ab")),
    "a refresh token alone": Ledger(BARE, ("0123456789ab",)),
    "everything": FULL,
}


@pytest.mark.parametrize("kept", SHAPES.values(), ids=SHAPES)
def test_what_was_written_is_read_again(kept: Ledger) -> None:
    assert decode(encode(kept, OWNER), OWNER) == kept


def test_the_trial_of_a_token_ends_with_the_process() -> None:
    tried = replace(FULL, refusals=replace(FULL.refusals, on_trial=7, reopened=True))
    assert decode(encode(tried, OWNER), OWNER) == FULL


def test_people_can_read_it() -> None:
    text = encode(FULL, OWNER).decode()
    assert text.startswith('{\n "format": "pandadoc-proxy grant",\n "version": 1,\n')
    assert text.endswith("}\n")


FROM_BEFORE = {
    "format": "pandadoc-proxy grant",
    "version": 1,
    "generation": 3,
    "refresh_token": REFRESH,
    "access_token": ACCESS,
    "obtained_at": 1.0,
    "expires_at": 2.0,
    "seeds": ["aaaaaaaaaaaa", "bbbbbbbbbbbb"],
    "cooldown": {"until": 0.0, "length": 0.0, "spent": False},
}
"""What the first release wrote, which knew neither owners nor lineages."""


def test_a_record_from_before_owners_and_lineages_belongs_to_whoever_reads_it() -> None:
    kept = decode(json.dumps(FROM_BEFORE).encode(), OWNER)
    assert kept.grant == Grant(
        3, Lineage("refresh_token", "bbbbbbbbbbbb", 0.0), Secret(REFRESH), Secret(ACCESS), 1.0, 2.0
    )
    assert kept.seeds == ("aaaaaaaaaaaa", "bbbbbbbbbbbb")


def test_a_record_without_any_seed_begins_with_its_own_token() -> None:
    kept = decode(json.dumps({**FROM_BEFORE, "seeds": [], "access_token": None}).encode(), OWNER)
    assert kept.grant is not None
    assert kept.grant.lineage.fingerprint == Secret(REFRESH).fingerprint()
    assert kept.grant.access_token is None


@pytest.mark.parametrize("access", ["a\r\nX-Evil: 1", "a\0b", "é", "\x7f", ""])
def test_an_access_token_that_could_not_be_sent_costs_a_refresh(access: str) -> None:
    """Somebody has edited it. It would add fields to a request (law 9), or fail each one."""
    kept = decode(altered(access_token=access), OWNER)
    assert kept.grant is not None
    assert kept.grant.access_token is None
    assert kept.grant.refresh_token == Secret(REFRESH)


def altered(**fields: object) -> bytes:
    return json.dumps({**FROM_BEFORE, **fields}).encode()


FOREIGN = {
    "empty": (b"", "is empty"),
    "blank": (b" \n\t\r\n", "is empty"),
    "zeros, as a crash or kept room leaves them": (bytes(65536), "is empty"),
    "a list": (b"[]", "is not a grant"),
    "a number": (b"1", "is not a grant"),
    "not text": (b"\xff\xfe\x00x", "is not a grant"),
    "not UTF-8 inside": (b'{"format": "\xff"}', "is not a grant"),
    "nested without end": (b'{"x": ' + b"[" * 100_000, "is not a grant"),
    "somebody's tokens": (b'{"access_token": "hush-hush"}', "is not a grant"),
    "another format": (b'{"format": "hush-hush", "version": 1}', "is not a grant of pandadoc-proxy$"),
    "a later version": (altered(version=2), "was written in format 2, .* reads 1"),
    "no generation": (b'{"format": "pandadoc-proxy grant", "version": 1}', "was damaged"),
    "a generation in words": (altered(generation="hush-hush"), "was damaged"),
    "an empty refresh token": (altered(refresh_token=""), "that was damaged"),
    "a refresh token in two lines": (altered(refresh_token="hush\nhush"), "that was damaged"),
    "a refresh token that is no ASCII": (altered(refresh_token="hüsh-hush"), "that was damaged"),
    "a lineage from nowhere": (altered(lineage={"origin": "hush-hush"}), "was damaged"),
    "an unknown cool-down": (altered(cooldown={"hush-hush": 1}), "was damaged"),
    "another client's": (altered(owner="hush-hush"), "belongs to another OAuth client or token endpoint"),
    "a record and more": (encode(FULL, OWNER) + b"hush-hush", "is not a grant of pandadoc-proxy, or was damaged"),
    "a record and zeros": (encode(FULL, OWNER) + bytes(10), "is not a grant of pandadoc-proxy, or was damaged"),
}


@pytest.mark.parametrize(("content", "said"), FOREIGN.values(), ids=FOREIGN)
def test_what_is_not_ours_or_damaged_is_told_apart_and_never_shown(content: bytes, said: str) -> None:
    with pytest.raises(Unreadable, match=said) as refused:
        decode(content, OWNER)
    shown = "".join(traceback.format_exception(refused.value))
    assert not any(secret in shown for secret in ("hush", REFRESH, ACCESS))


def test_half_of_a_record_is_never_a_whole_one() -> None:
    """Wherever a power cut has cut it."""
    content = encode(FULL, OWNER)
    for length in range(len(content.rstrip())):
        for rest in (b"", bytes(64)):
            with pytest.raises(Unreadable) as refused:
                decode(content[:length] + rest, OWNER)
            assert REFRESH not in f"{refused.value!r}{refused.value}"


def test_another_owner_is_told_only_once_the_record_is_whole() -> None:
    with pytest.raises(Unreadable, match="another OAuth client"):
        decode(encode(FULL, OWNER), "another")


def test_what_a_mistyped_clients_id_has_left_keeps_the_right_one_from_nothing() -> None:
    """Only an attempt that was refused: there is nothing in it that could be lost."""
    refused = Ledger(last=Attempt(1.0, "invalid_client"))
    assert decode(encode(refused, "mistyped"), OWNER) == Ledger()
    assert decode(encode(refused, OWNER), OWNER) == refused
    with pytest.raises(Unreadable, match="another OAuth client"):
        decode(encode(replace(refused, intent=Intent("aaaaaaaaaaaa", 1.0)), "mistyped"), OWNER)


def test_no_repr_shows_a_token() -> None:
    shown = repr(decode(encode(FULL, OWNER), OWNER))
    assert REFRESH not in shown
    assert ACCESS not in shown


@pytest.mark.parametrize("at", [1.7e12, 253402300800, -1.0, 1e300])
def test_a_time_that_is_no_date_counts_as_none_and_costs_no_grant(at: float) -> None:
    """Somebody has edited it, and written milliseconds. The token has expired then, and is refreshed."""
    grant, begun = FULL.grant, Intent("0123456789ab", at)
    assert grant is not None
    wild = replace(
        FULL,
        grant=replace(grant, obtained_at=at, expires_at=at, lineage=replace(grant.lineage, began_at=at)),
        intent=begun,
        last=Attempt(at, "timeout", again_at=at, refused_at=at),
        minted=(Mint(7, "pod", at),),
    )
    assert decode(encode(wild, OWNER), OWNER) == replace(
        FULL,
        grant=replace(grant, obtained_at=0.0, expires_at=0.0, lineage=replace(grant.lineage, began_at=0.0)),
        intent=replace(begun, at=0.0),
        last=Attempt(0.0, "timeout"),
        minted=(Mint(7, "pod", 0.0),),
    )


def test_every_time_that_is_kept_can_be_told() -> None:
    late = decode(altered(expires_at=253402300799.9), OWNER).grant
    assert late is not None
    assert moment(late.expires_at) == "9999-12-31 23:59 UTC"


def test_a_record_whose_seeds_lack_its_own_lineage_is_completed() -> None:
    """Somebody has edited it; a lineage that nobody has heard of would be waited for, for ever."""
    edited = json.loads(encode(FULL, OWNER))
    edited["seeds"] = []
    grant = FULL.grant
    assert grant is not None
    assert decode(json.dumps(edited).encode(), OWNER).seeds == (grant.lineage.fingerprint,)
