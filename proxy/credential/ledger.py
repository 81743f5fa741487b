"""What is written down about one grant, and how that may change. Pure.

The ledger is all that a store keeps. Each function below takes one and returns the next, or None where
nothing may be written: stores apply them to what they have at that moment, so that no process can
write over what another one has done meanwhile (laws 2, 4 and 6).

    begun       a redeem is about to be sent: its intent
    refused     … and was not redeemed: only an older doubt is left
    unresolved  … and nobody knows: the intent stays
    renewed     … and brought a new pair
    consented   a person has logged in: a new lineage, whatever there was
    cooled      what is known of 401s has changed (law 3)

All times are wall-clock seconds since 1970. No order rests on them, for clocks step: generations count
up, and `seeds` are in the order in which their lineages began. But for `arriving`, which has nothing else.
"""

from typing import Final, Literal

from msgspec import Struct, field
from msgspec.structs import replace

from proxy.credential.refusals import Refusals, latest
from proxy.secrets import Secret

REFRESHED: Final = "refreshed"
SEEDED: Final = "seeded"
LOGIN: Final = "login"
"""Results of an attempt that brought a grant; all others are causes of failure (token_reply.Cause)."""

MINTS: Final = 10
"""Generations whose makers are remembered."""


class Lineage(Struct, frozen=True):
    """How a grant came to us; every refresh since then belongs to it."""

    origin: Literal["refresh_token", "login"]  # configured, or from a consent
    fingerprint: str  # of its first refresh token
    began_at: float


class Grant(Struct, frozen=True):
    """A refresh token with the access token it brought."""

    generation: int
    lineage: Lineage
    refresh_token: Secret
    access_token: Secret | None = None
    obtained_at: float = 0.0
    expires_at: float = 0.0


class Intent(Struct, frozen=True):
    """A redeem that was begun, and whose end is not written down. There may have been several since `at`."""

    fingerprint: str  # of the refresh token
    at: float


class Attempt(Struct, frozen=True):
    """How the last one ended: REFRESHED, SEEDED, LOGIN, or the word for what was wrong."""

    at: float
    result: str
    by: str = ""  # which replica's, where a store has several
    again_at: float = 0.0  # until when the token endpoint has asked not to be asked
    fingerprint: str = ""  # of the refresh token that was tried in vain
    refused_at: float = 0.0  # when PandaDoc last refused (401) the access token that it was to replace


class Mint(Struct, frozen=True):
    """Who brought a generation, and when; for people alone."""

    generation: int
    by: str
    at: float


class Ledger(Struct, frozen=True):
    """Everything a store keeps of one credential."""

    grant: Grant | None = None
    seeds: tuple[str, ...] = ()  # fingerprints of every refresh token that has begun a lineage, in that order
    refusals: Refusals = field(default_factory=Refusals)
    intent: Intent | None = None
    last: Attempt | None = None
    minted: tuple[Mint, ...] = ()  # the last few

    @property
    def generation(self) -> int:
        return self.grant.generation if self.grant else 0

    def doubt(self, refresh_token: Secret) -> Intent | None:
        """Return the redeem of this very token that nobody knows the end of."""
        ours = self.intent is not None and self.intent.fingerprint == refresh_token.fingerprint()
        return self.intent if ours else None

    def refuses(self, refresh_token: Secret) -> bool:
        """Tell whether PandaDoc has refused this very token, the last time that it was asked."""
        last = self.last
        return last is not None and (last.result, last.fingerprint) == ("invalid_grant", refresh_token.fingerprint())


def begun(ledger: Ledger, grant: Grant, known: tuple[str, ...], now: float) -> Ledger | None:
    """Write down that `grant`'s refresh token is about to be redeemed; an older doubt about it keeps its minute.

    `known` are the lineages that whoever redeems has heard of.
    """
    if _overtaken(grant, known, ledger):
        return None
    return replace(ledger, intent=ledger.doubt(grant.refresh_token) or Intent(grant.refresh_token.fingerprint(), now))


def refused(ledger: Ledger, grant: Grant, before: Intent | None, attempt: Attempt) -> Ledger:
    """Note that the redeem of `grant` is proven to have changed nothing: only the doubt from `before` is left."""
    mine = ledger.doubt(grant.refresh_token) is not None
    return replace(unresolved(ledger, grant, attempt), intent=before if mine else ledger.intent)


def unresolved(ledger: Ledger, grant: Grant, attempt: Attempt) -> Ledger:
    """Note how a redeem of `grant` ended without a pair; another grant, there by now or beside it, knows nothing."""
    another = ledger.grant is not None and ledger.grant.refresh_token != grant.refresh_token
    return ledger if another else replace(ledger, last=attempt)


def renewed(
    ledger: Ledger, grant: Grant, known: tuple[str, ...], refusals: Refusals, attempt: Attempt | None
) -> Ledger | None:
    """Take a new pair, unless the ledger has moved on meanwhile. One that is there already leaves all as it is.

    `known` are the lineages that whoever brings it has heard of.
    """
    if _overtaken(grant, known, ledger):
        return None
    if ledger.grant == grant:
        return ledger
    if ledger.grant is not None:
        grant = replace(grant, generation=max(grant.generation, ledger.generation + 1))
    seeds, last = _remembered(ledger.seeds, grant.lineage.fingerprint), attempt or ledger.last
    return Ledger(grant, seeds, replace(refusals, on_trial=None), last=last, minted=_minted(ledger, grant, attempt))


def consented(ledger: Ledger, grant: Grant, now: float, *, configured: Secret | None = None, by: str = "") -> Ledger:
    """Take what a person has just agreed to, over whatever there is, as the next generation.

    A lineage that a redeem on its way is to begin has ended before it began: the reply comes later, and must
    not win. So has the one that a `configured` refresh token would begin.
    """
    seeds, intent = ledger.seeds, ledger.intent
    if intent is not None and not (ledger.grant and ledger.doubt(ledger.grant.refresh_token)):
        seeds = _remembered(seeds, intent.fingerprint)
    if configured is not None:
        seeds = _remembered(seeds, configured.fingerprint())
    seeds = _remembered(seeds, grant.lineage.fingerprint)
    newest, login = replace(grant, generation=ledger.generation + 1), Attempt(now, LOGIN, by)
    return Ledger(newest, seeds, last=login, minted=_minted(ledger, newest, login))


def cooled(ledger: Ledger, lineage: Lineage, refusals: Refusals) -> Ledger | None:
    """Note what is known of 401s, unless that was about another lineage, or another process was faster.

    A thousand replicas begin a cool-down within a second.
    """
    if (
        ledger.grant is None
        or ledger.grant.lineage.fingerprint != lineage.fingerprint
        or ledger.refusals.same(refusals)
    ):
        return None
    return replace(ledger, refusals=replace(refusals, on_trial=None))


def merged(ours: Ledger, kept: Ledger) -> Ledger:
    """Compare what is in memory with what the store has: the newer grant with what belongs to it.

    A person may log in while pairs of ours wait to be stored: then the stored one wins, under the number it
    has there. Numbers order the pairs of a lineage, so they must be the same in every process.
    """
    grant = ours.grant
    if grant is None:
        return kept if kept.grant is not None else replace(kept, intent=kept.intent or ours.intent)
    if kept.grant is not None and kept.grant.lineage.fingerprint == grant.lineage.fingerprint:
        learnt = replace(latest(ours.refusals, kept.refusals), on_trial=ours.refusals.on_trial)
        ours, kept = replace(ours, refusals=learnt), replace(kept, refusals=learnt)
    if kept.grant is not None and _overtaken(grant, ours.seeds, kept):
        return replace(kept, seeds=_before(kept.seeds, ours.seeds))
    seeds = _before(ours.seeds, kept.seeds)
    if kept.grant != grant:  # what is written there is about a pair before ours
        return replace(ours, seeds=seeds)
    last, minted = kept.last or ours.last, kept.minted or ours.minted
    return replace(ours, seeds=seeds, intent=kept.intent or ours.intent, last=last, minted=minted)


def arriving(ours: Ledger, kept: Ledger) -> Ledger:
    """Know the lineage that is there already, where ours comes from another store and is the later one.

    Neither has heard of the other, so that their times must do.
    """
    if ours.grant is None or kept.grant is None or _newest(kept.grant) > _newest(ours.grant):
        return ours
    return replace(ours, seeds=_before(ours.seeds, (kept.grant.lineage.fingerprint,)))


def _newest(grant: Grant) -> float:
    return max(grant.lineage.began_at, grant.obtained_at)


def _minted(ledger: Ledger, grant: Grant, attempt: Attempt | None) -> tuple[Mint, ...]:
    """Note who brought a generation, where that can be more than one."""
    if attempt is None or not attempt.by:
        return ledger.minted
    return (*ledger.minted, Mint(grant.generation, attempt.by, attempt.at))[-MINTS:]


def _overtaken(grant: Grant, known: tuple[str, ...], ledger: Ledger) -> bool:
    """Tell whether the ledger has a later refresh of the same lineage, or a lineage that began later.

    One that nobody here has heard of came from elsewhere, with a file that a person has put there.
    """
    kept = ledger.grant
    if kept is None or kept == grant:
        return False
    if kept.lineage.fingerprint == grant.lineage.fingerprint:
        return kept.generation >= grant.generation
    return grant.lineage.fingerprint in ledger.seeds or kept.lineage.fingerprint not in known


def _before(seeds: tuple[str, ...], others: tuple[str, ...]) -> tuple[str, ...]:
    """Remember what others have seen; what began last stays last."""
    return (*(seed for seed in others if seed not in seeds), *seeds)


def _remembered(seeds: tuple[str, ...], fingerprint: str) -> tuple[str, ...]:
    return seeds if fingerprint in seeds else (*seeds, fingerprint)
