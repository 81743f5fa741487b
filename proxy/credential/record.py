"""The ledger as JSON, which people may read at 3 a.m. Pure.

Times are wall-clock seconds since 1970. Tokens stand in it in the clear: whoever may read the file may
use the grant anyway.
"""

from typing import Final

import msgspec
from msgspec.structs import replace

from proxy.credential.ledger import Attempt, Grant, Intent, Ledger, Lineage, Mint
from proxy.credential.refusals import Refusals
from proxy.secrets import Secret, fits_a_field

FORMAT: Final = "pandadoc-proxy grant"
VERSION: Final = 1

END_OF_DATES: Final = 253402300800
"""The first second of the year 10000. Milliseconds since 1970 lie behind it."""

DAMAGED: Final = "is a grant of pandadoc-proxy that was damaged"

ANOTHERS: Final = (
    "Check client_id, token_url and upstream.url, which this credential may have wrong: the grant that is stored is"
    " whole, don't remove it. Where it is to stay another's, name another store."
)
NEWER: Final = "Run the version that wrote it: the grant is whole, don't remove it."

NOT_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What reading raises; the last for a file that is nested without end."""


class Unreadable(ValueError):
    """Not a record that this version can read; says what it is instead.

    `cure` is what a person does about it where the grant is whole, and must not be removed.
    """

    def __init__(self, flaw: str, cure: str | None = None) -> None:
        super().__init__(flaw)
        self.cure = cure


class _Header(msgspec.Struct, frozen=True):
    format: str
    version: int


class _Cooldown(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    until: float = 0.0
    length: float = 0.0
    spent: bool = False


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    """Without a refresh token there is no grant yet, only the intent to redeem the first one."""

    format: str = FORMAT
    version: int = VERSION
    owner: str | None = None  # whose client and token endpoint these tokens are good for
    generation: int
    refresh_token: str | None
    access_token: str | None
    obtained_at: float
    expires_at: float
    lineage: Lineage | None = None
    seeds: tuple[str, ...]
    cooldown: _Cooldown
    intent: Intent | None = None
    last: Attempt | None = None
    minted: tuple[Mint, ...] = ()


def encode(ledger: Ledger, owner: str) -> bytes:
    grant, refusals = ledger.grant, ledger.refusals
    record = _Record(
        owner=owner,
        generation=ledger.generation,
        refresh_token=grant.refresh_token.reveal() if grant else None,
        access_token=grant.access_token.reveal() if grant and grant.access_token else None,
        obtained_at=grant.obtained_at if grant else 0.0,
        expires_at=grant.expires_at if grant else 0.0,
        lineage=grant.lineage if grant else None,
        seeds=ledger.seeds,
        cooldown=_Cooldown(refusals.until, refusals.length, refusals.spent),
        intent=ledger.intent,
        last=ledger.last,
        minted=ledger.minted,
    )
    return msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n"


def decode(content: bytes, owner: str) -> Ledger:
    """Read a record of `owner`'s, or another's in which there is nothing yet.

    Raises Unreadable, whose text holds nothing of the content.
    """
    if not content.strip(b" \t\r\n\0"):
        raise Unreadable("is empty")
    try:
        header = msgspec.json.decode(content, type=_Header)
    except NOT_JSON:
        raise Unreadable("is not a grant of pandadoc-proxy, or was damaged") from None
    if header.format != FORMAT:
        raise Unreadable("is not a grant of pandadoc-proxy")
    if header.version != VERSION:
        flaw = f"was written in format {header.version}, and this version of pandadoc-proxy reads {VERSION}"
        raise Unreadable(flaw, NEWER)
    try:
        record = msgspec.json.decode(content, type=_Record)
    except NOT_JSON:
        raise Unreadable(DAMAGED) from None
    if record.owner in {owner, None}:
        return _ledger(record)
    if record.refresh_token is None and record.intent is None:  # a mistyped client's id leaves such a one
        return Ledger()
    raise Unreadable("belongs to another OAuth client or token endpoint", ANOTHERS)


def _ledger(record: _Record) -> Ledger:
    cooldown, grant = record.cooldown, _grant(record)
    own = () if grant is None or grant.lineage.fingerprint in record.seeds else (grant.lineage.fingerprint,)
    return Ledger(
        grant=grant,
        seeds=(*record.seeds, *own),  # an edited file may lack it
        refusals=Refusals(until=_date(cooldown.until), length=cooldown.length, spent=cooldown.spent),
        intent=record.intent and replace(record.intent, at=_date(record.intent.at)),
        last=record.last and _attempt(record.last),
        minted=tuple(replace(mint, at=_date(mint.at)) for mint in record.minted),
    )


def _grant(record: _Record) -> Grant | None:
    """Return the grant, without an access token that could not be sent: it costs a refresh. Raises Unreadable."""
    if record.refresh_token is None:
        return None
    if not record.refresh_token or not fits_a_field(record.refresh_token):
        raise Unreadable(DAMAGED)
    refresh_token, access = Secret(record.refresh_token), record.access_token
    unknown = Lineage("refresh_token", record.seeds[-1] if record.seeds else refresh_token.fingerprint(), 0.0)
    lineage = record.lineage or unknown
    return Grant(
        generation=record.generation,
        lineage=replace(lineage, began_at=_date(lineage.began_at)),
        refresh_token=refresh_token,
        access_token=Secret(access) if access and fits_a_field(access) else None,
        obtained_at=_date(record.obtained_at),
        expires_at=_date(record.expires_at),
    )


def _attempt(last: Attempt) -> Attempt:
    return replace(last, at=_date(last.at), again_at=_date(last.again_at), refused_at=_date(last.refused_at))


def _date(seconds: float) -> float:
    """Take what is no date for 1970: a record that somebody has edited costs a refresh then, and not its grant."""
    return seconds if 0 <= seconds < END_OF_DATES else 0.0
