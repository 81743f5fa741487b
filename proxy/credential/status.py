"""How a credential is, told from what its store has and by the running proxy: for people and for scripts. Pure.

Whoever may write to a shared store chooses its words: none is told as it stands there.
"""

from datetime import UTC, datetime
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import asdict, replace

from proxy.credential.advice import Advice, moment, shown, span
from proxy.credential.backoff import LONGEST_ASKED
from proxy.credential.credential import Credential, Freshness
from proxy.credential.ledger import LOGIN, REFRESHED, SEEDED, Intent, Ledger, Mint
from proxy.credential.token_reply import PERMANENT, Cause

REFUSED: Final = "refused"
STATES: Final = ("fresh", "stale", "expired", "dead", REFUSED)
"""What a running proxy's credential may be. REFUSED: an API key that PandaDoc answered with 401 since it last accepted
it, or a grant of which it refused a token just minted, in a probe too; what there is is lent all the same."""

MOMENTS: Final = frozenset({"obtained_at", "expires_at", "last_refresh_at", "lineage_began_at", "unfinished_since"})

UNSTORED: Final = (
    "The newest tokens are only in memory, and are lost if the proxy ends now. Mend the store; its log says how."
)

MINTS_SHOWN: Final = 3
"""Generations whose makers people are shown."""

LENT: Final = frozenset({Freshness.FRESH.value, Freshness.STALE.value})

WORRYING: Final = PERMANENT | {Cause.NO_ACCESS_TOKEN}
"""Ends of a refresh that are told though the token is fresh: it was killed, or its client was refused."""

TELLING: Final = 2 * LONGEST_ASKED
"""Seconds after a 401 for which the token is refused as far as the store tells: while somebody asks, a refresh is
tried before they are over. Later, PandaDoc may have accepted it again, which nobody writes down."""

Health = Literal["healthy", "failing", "dead", "unknown"]


class Status(Struct, frozen=True):
    """One credential's health. Times are wall-clock seconds since 1970, None where there is no such moment."""

    credential: str
    kind: Literal["api_key", "oauth2"]
    health: Health
    state: str  # one of STATES; none: nothing was redeemed yet; unknown
    advice: str = ""  # what happened and what to do, where it is not healthy
    generation: int | None = None
    obtained_at: float | None = None
    expires_at: float | None = None
    expires_in: float | None = None  # seconds from now
    last_refresh_at: float | None = None
    last_result: str | None = None
    lineage: str | None = None  # refresh_token or login
    lineage_began_at: float | None = None
    lineage_fingerprint: str | None = None
    unfinished_since: float | None = None  # a redeem whose end is not written down
    store: str | None = None
    minted: tuple[Mint, ...] = ()  # which replica brought the last generations, where several share the store
    lease_holder: str | None = None  # the replica that is refreshing now


def api_key_status(name: str, source: str, flaw: str | None) -> Status:
    """Tell how an API key is: `flaw` says why it can't be read, if it can't."""
    if flaw is not None:
        return Status(name, "api_key", "dead", "dead", advice=flaw, store=source)
    return Status(name, "api_key", "healthy", "fresh", store=source)


def lent_key_status(name: str, source: str, generation: int, flaw: str, refusal: str) -> Status:
    """Tell how an API key is that is lent: why a newer one can't be read, and that PandaDoc refuses this one."""
    health: Health = "failing" if flaw or refusal else "healthy"
    state = REFUSED if refusal else "fresh"
    return Status(name, "api_key", health, state, flaw or refusal, generation, store=source)


def unknown_status(name: str, flaw: str, store: str) -> Status:
    """Tell of a grant whose store can't be read."""
    return Status(name, "oauth2", "unknown", "unknown", advice=flaw, store=store)


class Circumstances(Struct, frozen=True):
    """What is known besides the ledger."""

    now: float
    lent: Credential | None  # what the stored grant would be lent as
    seed_waits: bool  # a configured refresh token that this store has never seen
    may_retry: bool  # unknown_outcome: retry
    redeem_time: float  # seconds for which an unfinished redeem may still be running
    store: str
    lease_holder: str | None = None


def grant_status(ledger: Ledger, around: Circumstances, advice: Advice) -> Status:
    """Tell how a grant is."""
    health, state, text = _judged(ledger, around, advice)
    told = _of_ledger(advice.name, ledger, around.now)
    holder = around.lease_holder and shown(around.lease_holder)
    return replace(told, health=health, state=state, advice=text, store=around.store, lease_holder=holder)


class Running(Struct, frozen=True):
    """What a running proxy knows of a grant besides the ledger."""

    state: str
    lent: Credential | None
    trouble: str  # why there is no newer token, and what to do
    stored: bool  # whether the store has the newest pair
    store: str  # where that is; empty: nobody knows yet


def running_status(name: str, ledger: Ledger, running: Running, now: float) -> Status:
    """Tell how a grant is of which tokens are lent right now."""
    lent = running.lent
    told = replace(
        _of_ledger(name, ledger, now),
        state=running.state,
        health=_health(running),
        advice=running.trouble if running.stored else f"{UNSTORED} {running.trouble}".strip(),
        store=running.store or None,
    )
    if lent is None:
        return told
    return replace(told, generation=lent.generation, expires_at=lent.expires_at, expires_in=lent.expires_at - now)


def _health(running: Running) -> Health:
    if running.state == "dead":
        return "dead"
    if running.trouble or not running.stored:
        return "failing"
    return "unknown" if running.lent is None else "healthy"


def document(status: Status) -> dict[str, object]:
    """Write it for scripts, moments as RFC 3339: for whoever reads it without a calculator."""
    told = {key: _moment(value) if key in MOMENTS and value else value for key, value in asdict(status).items()}
    minted = [{**asdict(mint), "at": _moment(mint.at)} for mint in status.minted]
    return told | {"minted": minted, "healthy": status.health == "healthy"}


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _of_ledger(name: str, ledger: Ledger, now: float) -> Status:
    """Tell what is written down; how it is must be judged yet."""
    grant, last, intent = ledger.grant, ledger.last, ledger.intent
    token = grant if grant is not None and grant.access_token is not None else None
    return Status(
        name,
        "oauth2",
        "unknown",
        "unknown",
        generation=ledger.generation,
        obtained_at=token.obtained_at if token else None,
        expires_at=token.expires_at if token else None,
        expires_in=token.expires_at - now if token else None,
        last_refresh_at=last.at if last else None,
        last_result=shown(last.result) if last else None,
        lineage=grant.lineage.origin if grant else None,
        lineage_began_at=grant.lineage.began_at if grant else None,
        lineage_fingerprint=shown(grant.lineage.fingerprint) if grant else None,
        unfinished_since=intent.at if intent else None,
        minted=tuple(replace(mint, by=shown(mint.by)) for mint in ledger.minted),
    )


def _judged(ledger: Ledger, around: Circumstances, advice: Advice) -> tuple[Health, str, str]:
    grant, failed = ledger.grant, _failure(ledger)
    if grant is None and not around.seed_waits:
        return "dead", "dead", advice.no_refresh_token()
    state = "none" if grant is None else _freshness(around)
    doubt = ledger.doubt(grant.refresh_token) if grant is not None else ledger.intent
    # invalid_grant alone is the grant's: what else was refused may be a client that only the last to try had.
    if failed == "invalid_grant" or (failed in PERMANENT and state not in LENT):
        replaced = failed == "invalid_grant" and grant is not None and around.seed_waits
        return ("failing", state, advice.seed_waits()) if replaced else ("dead", "dead", advice.dead(failed, doubt))
    if doubt is not None and (around.now - doubt.at > around.redeem_time or _ended(ledger, doubt)):
        return (
            ("failing", state, advice.unfinished(doubt))
            if around.may_retry
            else ("dead", "dead", advice.stopped(doubt))
        )
    refused = _refused(ledger, around.now)
    if state == Freshness.FRESH.value and failed not in WORRYING and not refused:
        return "healthy", state, ""
    if failed is not None:
        return "failing", state, advice.failing(shown(failed), refused=refused)
    return ("failing", state, advice.expired()) if state == Freshness.EXPIRED.value else ("healthy", state, "")


def _failure(ledger: Ledger) -> str | None:
    result = ledger.last.result if ledger.last else REFRESHED
    return None if result in {REFRESHED, SEEDED, LOGIN} else result


def _ended(ledger: Ledger, doubt: Intent) -> bool:
    """Tell whether a redeem that nobody knows the outcome of is over, for that is written down."""
    last = ledger.last
    return last is not None and last.fingerprint == doubt.fingerprint and last.at >= doubt.at


def _refused(ledger: Ledger, now: float) -> bool:
    return ledger.last is not None and abs(now - ledger.last.refused_at) <= TELLING


def _freshness(around: Circumstances) -> str:
    return (around.lent.freshness(around.now) if around.lent else Freshness.EXPIRED).value


def table(status: Status, now: float) -> str:
    """Write a status for people."""
    rows = [
        ("kind", "API key" if status.kind == "api_key" else "OAuth 2 grant"),
        ("state", status.state),
        ("generation", None if status.generation is None else str(status.generation)),
        ("obtained", _ago(status.obtained_at, now)),
        ("expires", _ago(status.expires_at, now)),
        ("last refresh", _last(status, now)),
        ("lineage", _lineage(status)),
        ("unfinished redeem", _ago(status.unfinished_since, now)),
        ("kept in", status.store),
        ("minted", "; ".join(_mint(each) for each in reversed(status.minted[-MINTS_SHOWN:])) or None),
        ("refreshing now", status.lease_holder),
        ("what to do", status.advice or None),
    ]
    lines = [f"  {label:<18} {text}" for label, text in rows if text is not None]
    return "\n".join((f"{status.credential}: {status.health}", *lines))


def _mint(mint: Mint) -> str:
    return f"{mint.generation} by {mint.by} at {moment(mint.at)}"


def _ago(at: float | None, now: float) -> str | None:
    if at is None:
        return None
    return f"{moment(at)}, {span(now - at)} ago" if at <= now else f"{moment(at)}, in {span(at - now)}"


def _last(status: Status, now: float) -> str | None:
    return None if status.last_result is None else f"{status.last_result} at {_ago(status.last_refresh_at, now)}"


def _lineage(status: Status) -> str | None:
    if status.lineage is None or status.lineage_began_at is None:
        return None
    origin = "a login" if status.lineage == "login" else "a configured refresh token"
    return f"{origin} ({status.lineage_fingerprint}) at {moment(status.lineage_began_at)}"
