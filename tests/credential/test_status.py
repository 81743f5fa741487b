"""How a credential is, told from its ledger: tables."""

import pytest
from msgspec.structs import replace

from proxy.credential.advice import Advice, moment
from proxy.credential.credential import Credential
from proxy.credential.ledger import Attempt, Grant, Intent, Ledger, Lineage, Mint
from proxy.credential.status import (
    UNSTORED,
    Circumstances,
    Running,
    Status,
    api_key_status,
    document,
    grant_status,
    lent_key_status,
    running_status,
    table,
    unknown_status,
)
from proxy.secrets import Secret

NOW = 1_790_000_000.0
DAY = 86400.0
ADVICE = Advice("acme", "$ID", "$SECRET", "$SEED")
REFRESH = Secret("r" * 40)
GRANT = Grant(
    7, Lineage("login", "0123456789ab", NOW - 30 * DAY), REFRESH, Secret("a" * 40), NOW - DAY, NOW + 300 * DAY
)
AROUND = Circumstances(
    now=NOW,
    lent=Credential("Bearer x", 7, stale_at=NOW + 293 * DAY, expires_at=NOW + 300 * DAY),
    seed_waits=False,
    may_retry=True,
    redeem_time=70.0,
    store="/state/grant.json",
)
LEDGER = Ledger(GRANT, ("0123456789ab",), last=Attempt(NOW - DAY, "refreshed"))


def judged(ledger: Ledger = LEDGER, **changes: object) -> Status:
    return grant_status(ledger, replace(AROUND, **changes), ADVICE)  # the cases name them


def test_a_fresh_grant_is_healthy_and_everything_about_it_is_told() -> None:
    status = judged()
    assert (status.health, status.state, status.advice) == ("healthy", "fresh", "")
    assert (
        table(status, NOW)
        == """\
acme: healthy
  kind               OAuth 2 grant
  state              fresh
  generation         7
  obtained           2026-09-20 14:13 UTC, 24 hours ago
  expires            2027-07-18 14:13 UTC, in 300 days
  last refresh       refreshed at 2026-09-20 14:13 UTC, 24 hours ago
  lineage            a login (0123456789ab) at 2026-08-22 14:13 UTC
  kept in            /state/grant.json"""
    )


STALE = Credential("Bearer x", 7, stale_at=NOW - 1, expires_at=NOW + DAY)
EXPIRED = Credential("Bearer x", 7, stale_at=NOW - DAY, expires_at=NOW - 1)
FAILED = replace(LEDGER, last=Attempt(NOW - 60, "server_error"))
DEAD = replace(LEDGER, last=Attempt(NOW - 60, "invalid_grant"))
UNKNOWN_CLIENT = replace(LEDGER, last=Attempt(NOW - 60, "invalid_client"))
REFUSED = replace(LEDGER, last=Attempt(NOW - 60, "no_connection", refused_at=NOW - 60))
LOST = replace(
    LEDGER,
    intent=Intent(REFRESH.fingerprint(), NOW - 9),
    last=Attempt(NOW - 8, "connection_lost", fingerprint=REFRESH.fingerprint()),
)
IN_DOUBT = replace(LEDGER, intent=Intent(REFRESH.fingerprint(), NOW - 600))

CASES = {
    "stale, and nothing is wrong": (LEDGER, {"lent": STALE}, "healthy", "stale", ""),
    "stale, and a refresh has failed": (FAILED, {"lent": STALE}, "failing", "stale", "(server_error)"),
    "fresh, and a refresh that was not due has failed": (FAILED, {}, "healthy", "fresh", ""),
    "fresh, but its redeem has killed it": (
        replace(LEDGER, last=Attempt(NOW, "no_access_token")),
        {},
        "failing",
        "fresh",
        "(no_access_token)",
    ),
    "fresh, but refused, and a refresh has failed": (
        REFUSED,
        {},
        "failing",
        "fresh",
        "PandaDoc refused the access token (401), and the refresh failed (no_connection).",
    ),
    "refused once, and not asked for since": (REFUSED, {"now": NOW + 541}, "healthy", "fresh", ""),
    "refused once, and stale": (REFUSED, {"lent": STALE, "now": NOW + 541}, "failing", "stale", "The last refresh"),
    "expired, and a refresh has failed": (FAILED, {"lent": EXPIRED}, "failing", "expired", "token refresh --dry-run"),
    "expired, and nobody has tried": (LEDGER, {"lent": EXPIRED}, "failing", "expired", "token refresh"),
    "dead, though its token is good": (DEAD, {}, "dead", "dead", "pandadoc-proxy login --credential acme"),
    "a client nobody knows": (UNKNOWN_CLIENT, {"lent": EXPIRED}, "dead", "dead", "($SECRET)"),
    "a client nobody knows, perhaps another's": (UNKNOWN_CLIENT, {}, "failing", "fresh", "token refresh --dry-run"),
    "the same, and a refresh is due": (UNKNOWN_CLIENT, {"lent": STALE}, "failing", "stale", "(invalid_client)"),
    "a client nobody knows, with a seed": (
        Ledger(last=Attempt(NOW, "invalid_client")),
        {"lent": None, "seed_waits": True},
        "dead",
        "dead",
        "($SECRET)",
    ),
    "an old doubt": (IN_DOUBT, {}, "failing", "fresh", "began at 2026-09-21 14:03 UTC"),
    "an old doubt that stops": (IN_DOUBT, {"may_retry": False}, "dead", "dead", "unknown_outcome: stop"),
    "a reply that was just lost": (LOST, {}, "failing", "fresh", "began at 2026-09-21 14:13 UTC"),
    "a reply that was just lost, and that stops": (LOST, {"may_retry": False}, "dead", "dead", "unknown_outcome: stop"),
    "a redeem that may be running, after another that failed": (
        replace(LOST, intent=Intent(REFRESH.fingerprint(), NOW)),
        {"may_retry": False},
        "healthy",
        "fresh",
        "",
    ),
    "a redeem that may be running": (IN_DOUBT, {"redeem_time": 601.0}, "healthy", "fresh", ""),
    "a login just now": (replace(LEDGER, last=Attempt(NOW, "login")), {}, "healthy", "fresh", ""),
    "no access token yet": (
        replace(LEDGER, grant=replace(GRANT, access_token=None)),
        {"lent": None},
        "failing",
        "expired",
        "",
    ),
    "nothing at all": (Ledger(), {"lent": None}, "dead", "dead", "has no refresh token"),
    "a seed that waits": (Ledger(), {"lent": None, "seed_waits": True}, "healthy", "none", ""),
    "dead, and a new seed waits": (DEAD, {"seed_waits": True}, "failing", "fresh", "not redeemed yet"),
    "dead and expired, and a new seed waits": (
        DEAD,
        {"lent": EXPIRED, "seed_waits": True},
        "failing",
        "expired",
        "`pandadoc-proxy token refresh --credential acme`",
    ),
    "a seed that was refused": (
        Ledger(last=Attempt(NOW, "invalid_grant")),
        {"lent": None, "seed_waits": True},
        "dead",
        "dead",
        "used elsewhere or revoked",
    ),
}


@pytest.mark.parametrize(("ledger", "changes", "health", "state", "words"), CASES.values(), ids=CASES)
def test_health_is_told_with_what_to_do(
    ledger: Ledger, changes: dict[str, object], health: str, state: str, words: str
) -> None:
    status = judged(ledger, **changes)
    assert (status.health, status.state) == (health, state)
    assert words in status.advice
    assert (status.health == "healthy") == (status.advice == "")
    assert table(status, NOW).startswith(f"acme: {health}\n")


def test_a_store_that_cant_be_read_is_unknown() -> None:
    status = unknown_status("acme", "The store is a folder.", "/state")
    assert (status.health, status.state) == ("unknown", "unknown")
    assert "what to do         The store is a folder." in table(status, NOW)


def test_an_api_key_is_there_or_not() -> None:
    assert api_key_status("k", "$KEY", None).health == "healthy"
    dead = api_key_status("k", "file /key", "the file /key does not exist: create or mount it")
    assert dead.health == "dead"
    assert "create or mount it" in table(dead, NOW)
    assert "API key" in table(dead, NOW)


def test_no_status_shows_a_token() -> None:
    shown = f"{judged()!r} {table(judged(), NOW)}"
    assert "a" * 40 not in shown
    assert "r" * 40 not in shown


LENT = Credential("Bearer x", 9, stale_at=NOW + 90, expires_at=NOW + 100)
WELL = Running("fresh", LENT, trouble="", stored=True, store="/state/grant.json")

RUNNING = {
    "all is well": (WELL, "healthy", ""),
    "a refresh fails": (replace(WELL, state="stale", trouble="It fails."), "failing", "It fails."),
    "no refresh can help": (replace(WELL, state="dead", trouble="Log in."), "dead", "Log in."),
    "the pair is not stored": (replace(WELL, stored=False), "failing", UNSTORED),
    "neither": (replace(WELL, trouble="It fails.", stored=False), "failing", f"{UNSTORED} It fails."),
    "nobody has asked yet": (replace(WELL, state="expired", lent=None), "unknown", ""),
}


@pytest.mark.parametrize("case", RUNNING)
def test_a_running_proxys_grant_is_judged_by_what_is_in_its_way(case: str) -> None:
    running, health, advice = RUNNING[case]
    status = running_status("acme", LEDGER, running, NOW)
    assert (status.health, status.state, status.advice) == (health, running.state, advice)
    assert (status.last_result, status.lineage, status.store) == ("refreshed", "login", "/state/grant.json")


def test_where_a_grant_is_kept_may_not_be_known_yet() -> None:
    """It follows from the client's id."""
    assert running_status("acme", LEDGER, replace(WELL, store=""), NOW).store is None


def test_a_running_proxy_tells_the_token_that_is_lent_rather_than_the_stored_one() -> None:
    """They differ while the store can't be written."""
    status = running_status("acme", LEDGER, WELL, NOW)
    assert (status.generation, status.expires_at, status.expires_in) == (9, NOW + 100, 100)
    stored = running_status("acme", LEDGER, replace(WELL, lent=None), NOW)
    assert (stored.generation, stored.expires_at) == (7, NOW + 300 * DAY)


@pytest.mark.parametrize(
    ("flaw", "refusal", "health", "state"),
    [
        ("", "", "healthy", "fresh"),
        ("It can't be read.", "", "failing", "fresh"),
        ("", "It is refused.", "failing", "refused"),
        ("It can't be read.", "It is refused.", "failing", "refused"),
    ],
)
def test_a_key_that_is_lent_may_still_need_somebody(flaw: str, refusal: str, health: str, state: str) -> None:
    status = lent_key_status("default", "$KEY", 3, flaw, refusal)
    assert (status.health, status.state, status.generation) == (health, state, 3)
    assert status.advice == (flaw or refusal)


def test_scripts_get_moments_that_need_no_calculator() -> None:
    told = document(running_status("acme", LEDGER, WELL, NOW))
    assert (told["healthy"], told["expires_in"]) == (True, 100)
    assert told["expires_at"] == "2026-09-21T14:15:00+00:00"
    assert told["unfinished_since"] is None


def test_who_brought_the_last_generations_is_told_the_newest_first() -> None:
    minted = tuple(Mint(generation, f"pod-{generation}", NOW - DAY) for generation in range(3, 8))
    status = judged(replace(LEDGER, minted=minted))
    shown = table(status, NOW)
    assert f"minted             7 by pod-7 at {moment(NOW - DAY)}; 6 by pod-6 at " in shown
    assert "pod-3" not in shown
    assert [each.by for each in status.minted] == [f"pod-{generation}" for generation in range(3, 8)]


MOVES = "\x1b[2J\x9b1Apod\u202e-7\r\n\x07"
"""What drives a terminal: it erases, goes up, turns round, begins anew, rings."""


def test_what_others_write_into_a_shared_store_drives_no_terminal() -> None:
    """Whoever may write a Lease, or a key in Redis, names the holder of the lease."""
    grant = replace(GRANT, lineage=replace(GRANT.lineage, fingerprint=MOVES))
    last = Attempt(NOW - DAY, MOVES)
    ledger = replace(LEDGER, grant=grant, last=last, minted=(Mint(7, MOVES, NOW - DAY),))
    status = judged(ledger, lent=None, lease_holder=MOVES + "x" * 5000)
    assert status.lease_holder == f"[2J1Apod-7{'x' * 90}"
    assert "The last refresh failed ([2J1Apod-7)." in status.advice
    text = table(status, NOW)
    assert "7 by [2J1Apod-7 at " in text
    assert "a login ([2J1Apod-7) at " in text
    assert all(line.isprintable() for line in text.split("\n"))
    assert len(text.split("\n")) == len(table(judged(LEDGER, lease_holder="x"), NOW).split("\n")) + 2
    assert all(value.isprintable() for value in document(status).values() if isinstance(value, str))
    running = running_status("acme", ledger, Running("stale", None, "", stored=True, store=""), NOW)
    assert running.last_result == running.minted[0].by == "[2J1Apod-7"
