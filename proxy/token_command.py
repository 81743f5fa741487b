"""`pandadoc-proxy token status` and `token refresh`: looking after stored grants by hand.

They work on the store alone, through the same lock as a proxy that runs beside them.
"""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import msgspec

from proxy.compose_credentials import CredentialParts, for_a_person
from proxy.config import ApiKeyCredential, Config, MemoryStore, OAuth2Credential
from proxy.credential.advice import moment, span
from proxy.credential.credential import Credential, Freshness
from proxy.credential.ledger import SEEDED, Grant
from proxy.credential.probe import Probed
from proxy.credential.refresh import PATIENCE_SLACK, Refresher
from proxy.credential.status import (
    Circumstances,
    Status,
    api_key_status,
    document,
    grant_status,
    table,
    unknown_status,
)
from proxy.credential.store import StoreError
from proxy.credential.token_reply import NotRedeemed, Refused, Unknown
from proxy.secrets import Secret, SecretReference, SecretUnavailable, flaw_of_api_key
from proxy.terminal import complain, put_out, tell

IN_MEMORY: Final = (
    "Credential {} keeps its grant in the running proxy's memory, where nothing else can see it."
    " Give it store: {{file: …}}."
)

CONFIGURED: Final = (
    "Nothing was redeemed: that is the configured access token, unproven. Once more, and it is refreshed.\n"
)


async def show_status(config: Config, state_home: Path, names: list[str], *, as_json: bool) -> int:
    """Print how each credential is; return 0 if all are healthy."""
    async with for_a_person(config, state_home) as parts:
        statuses = [await _status(parts, name) for name in names]
        now = parts.clock.wall()
    if not as_json:
        tell("\n\n".join(table(status, now) for status in statuses))
    elif not _put_out(statuses):
        return 1
    return 0 if all(status.health == "healthy" for status in statuses) else 1


def _put_out(statuses: list[Status]) -> bool:
    """Write what scripts read; tell whether that could be done."""
    text = msgspec.json.format(msgspec.json.encode([document(status) for status in statuses]), indent=2)
    try:
        put_out(text.decode())
    except OSError as fault:
        complain(f"the status can't be written: {fault.strerror}")
        return False
    return True


async def _status(parts: CredentialParts, name: str) -> Status:
    credential = parts.config.credentials[name]
    if isinstance(credential, ApiKeyCredential):
        return await _api_key_status(parts, name, credential.api_key)
    store = parts.store_text(credential)
    if isinstance(credential.store, MemoryStore):
        return unknown_status(name, IN_MEMORY.format(name), store)
    refresher = parts.refresher(name, credential, by_hand=True)
    try:
        await refresher.keeper.read_again()
        seed = await refresher.keeper.new_lineage()
        holder = await refresher.keeper.store.holder()
    except (StoreError, SecretUnavailable) as fault:
        return unknown_status(name, str(fault), store)
    around = Circumstances(
        now=parts.clock.wall(),
        lent=refresher.stored,
        seed_waits=seed is not None,
        may_retry=credential.unknown_outcome == "retry",
        redeem_time=credential.redeem_timeout + PATIENCE_SLACK,
        store=store,
        lease_holder=holder,
    )
    return grant_status(refresher.keeper.ledger, around, refresher.advice)


async def _api_key_status(parts: CredentialParts, name: str, key: SecretReference) -> Status:
    where = key.describe()
    try:
        flaw = flaw_of_api_key(await parts.reader.read(key))
    except SecretUnavailable as fault:
        return api_key_status(name, where, str(fault))
    return api_key_status(name, where, f"{where} {flaw}" if flaw else None)


async def refresh_now(parts: CredentialParts, name: str, credential: OAuth2Credential) -> int:
    """Refresh the grant once, whatever is left of its token; return 0 if that brought one, and no new seed was refused.

    A person who leaves meanwhile changes nothing: a refresh token that was sent is spent.
    """
    if isinstance(credential.store, MemoryStore):
        complain(IN_MEMORY.format(name))
        return 1
    return await parts.finish(_refresh(parts, name, credential), "refresh by hand", complain)


async def _refresh(parts: CredentialParts, name: str, credential: OAuth2Credential) -> int:
    refresher = parts.refresher(name, credential, by_hand=True)
    passed_over = None
    try:
        trouble = await refresher.by_hand(complain)
        passed_over = await refresher.passed_over()
    except (StoreError, SecretUnavailable) as fault:
        trouble = str(fault)
    if passed_over is not None:
        complain(passed_over)
    if trouble is not None:
        complain(trouble)
        return 1
    stored = await refresher.keeper.settled()
    grant, now = refresher.keeper.ledger.grant, parts.clock.wall()
    assert grant is not None  # noqa: S101 - without trouble there is one
    last = refresher.keeper.ledger.last
    tell(
        f"Credential {name} is at generation {grant.generation}; its access token is good until"
        f" {moment(grant.expires_at)}, for {span(grant.expires_at - now)}.\n"
        + (CONFIGURED if last is not None and last.result == SEEDED else "")
        + (parts.takes_over(credential) if stored else "It could NOT be stored, and is lost: log in again.")
    )
    return 0 if stored and passed_over is None else 1


async def rehearse(parts: CredentialParts, name: str, credential: OAuth2Credential) -> int:
    """Prove what can be proven without redeeming anything; return 0 if nothing is in the way."""
    if isinstance(credential.store, MemoryStore):
        complain(IN_MEMORY.format(name))
        return 1
    good = True
    async for holds, text in _proofs(parts, name, credential):
        tell(f"{'ok  ' if holds else 'FAIL'} {text}")
        good = good and holds
    tell("Nothing was redeemed. Whether PandaDoc still takes the refresh token, only a refresh shows.")
    return 0 if good else 1


async def _proofs(parts: CredentialParts, name: str, credential: OAuth2Credential) -> AsyncIterator[tuple[bool, str]]:
    refresher = parts.refresher(name, credential, by_hand=True)
    try:
        yield await _store_proof(parts, credential, refresher)
    except (StoreError, SecretUnavailable) as fault:
        yield False, str(fault)
        return
    lives = False
    try:
        lives, text = _grant_proof(refresher, await refresher.keeper.new_lineage())
        yield lives, text
        yield await _client_proof(parts, credential, refresher)
    except SecretUnavailable as fault:
        yield False, str(fault)
    if (lent := refresher.stored) is not None and lent.freshness(parts.clock.wall()) is not Freshness.EXPIRED:
        yield await _token_proof(parts, credential, lent, cure=": a refresh would replace it" if lives else "")


async def _store_proof(parts: CredentialParts, credential: OAuth2Credential, refresher: Refresher) -> tuple[bool, str]:
    await refresher.keeper.read_again()
    store = parts.store(credential)
    await store.update(lambda kept: kept, room=True)
    lease = await store.lease(PATIENCE_SLACK)
    if lease is None:
        return True, f"{parts.store_text(credential)} can be written; another process is refreshing right now"
    lease()
    return True, f"{parts.store_text(credential)} can be read, written and locked"


def _grant_proof(refresher: Refresher, seed: Grant | None) -> tuple[bool, str]:
    """Judge what would be redeemed by what the store knows of it."""
    ledger, advice = refresher.keeper.ledger, refresher.advice
    grant = seed or ledger.grant
    if grant is None:
        return False, advice.no_refresh_token()
    if ledger.refuses(grant.refresh_token):
        return False, advice.dead("invalid_grant", ledger.doubt(grant.refresh_token))
    return True, "a refresh token is there"


async def _client_proof(parts: CredentialParts, credential: OAuth2Credential, refresher: Refresher) -> tuple[bool, str]:
    """Redeem a token that never was: the endpoint judges the client first, and then finds no grant."""
    never_was = Secret(secrets.token_hex(20))
    endpoint = parts.endpoint(credential)
    outcome = await endpoint.redeem(never_was, await parts.secrets(credential).client())
    if outcome == Refused("invalid_grant"):
        return True, f"{endpoint.url} answers, and knows the client"
    if isinstance(outcome, Refused):
        return False, refresher.advice.dead(outcome.error, None)
    if isinstance(outcome, NotRedeemed | Unknown):
        return False, f"{endpoint.url}: {outcome.detail}"
    return False, f"{endpoint.url} gives tokens for a refresh token that never was: is it PandaDoc's?"


async def _token_proof(
    parts: CredentialParts, credential: OAuth2Credential, lent: Credential, *, cure: str
) -> tuple[bool, str]:
    probe = parts.prober(credential)
    result = await probe(lent)
    words = {
        Probed.ACCEPTED: "PandaDoc accepts the stored access token",
        Probed.REFUSED: f"PandaDoc refuses the stored access token{cure}",
        Probed.UNCLEAR: f"{probe.url} did not say whether it accepts the stored access token",
    }
    return result is Probed.ACCEPTED, words[result]
