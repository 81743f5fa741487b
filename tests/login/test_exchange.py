"""A code becomes a stored grant, or a reason: against the simulator, with what may go wrong in between."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from msgspec.structs import replace
from rig import TurnedClock
from yarl import URL

from proxy import outbound
from proxy.config import Upstream
from proxy.credential.grant_secrets import GrantSecrets
from proxy.credential.ledger import Grant, Ledger
from proxy.credential.probe import UpstreamProbe
from proxy.credential.store import MemoryStore, StoreError, StoreUnreachable
from proxy.credential.token_endpoint import TokenEndpoint
from proxy.login import exchange as exchanging
from proxy.login.exchange import Exchange, LoginFailed
from proxy.secret_reader import SecretReader
from proxy.secrets import Secret, SecretReference
from proxy.simulator import Fault, Simulator
from proxy.simulator.journal import TOKEN_PATH

BACK = "http://127.0.0.1:8089/callback"


class ForgetfulStore(MemoryStore):
    """A store that fails as often as it is told to."""

    failures = 0

    async def update(self, change: Callable[[Ledger], Ledger | None], *, room: bool = False) -> Ledger | None:
        if self.failures:
            self.failures -= 1
            raise StoreError("The disk is full.")
        return await super().update(change, room=room)


class TimidStore(MemoryStore):
    """A store that stores, and says that it has not."""

    async def update(self, change: Callable[[Ledger], Ledger | None], *, room: bool = False) -> Ledger | None:
        await super().update(change, room=room)
        raise StoreError("The folder is read-only.")


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator() as running:
        yield running


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
async def exchange(simulator: Simulator, said: list[str], tmp_path: Path) -> AsyncIterator[Exchange]:
    environ = {"ID": simulator.client_id, "SECRET": simulator.client_secret}
    clock = TurnedClock()
    session = outbound.credential_session(outbound.trust(Upstream()).context)
    yield Exchange(
        name="default",
        secrets=GrantSecrets(
            SecretReader(),
            SecretReference.env("ID", environ),
            SecretReference.env("SECRET", environ),
            SecretReference.file(tmp_path / "seed"),
        ),
        endpoint=TokenEndpoint(
            session,
            URL(simulator.url) / "oauth2/access_token",
            clock=clock,
            scope=None,
            redeem_timeout=5,
            connect_timeout=5,
            proxy=None,
        ),
        probe=UpstreamProbe(session, URL(simulator.url) / "public/v1/members/current", proxy=None),
        store=ForgetfulStore(),
        redirect_uri=BACK,
        clock=clock,
        say=said.append,
        store_pause=0.0,
    )
    await session.close()


async def finish(exchange: Exchange, simulator: Simulator) -> exchanging.LoggedIn:
    return await exchange.finish(Secret(simulator.issue_code()))


async def test_a_code_becomes_a_proven_and_stored_grant(exchange: Exchange, simulator: Simulator) -> None:
    await exchange.prepare()
    logged_in = await finish(exchange, simulator)
    assert logged_in.proven
    assert str(logged_in.member) == "Simulated Member <member@example.com>, workspace Simulator"
    assert (await exchange.store.load()).grant == logged_in.grant
    assert logged_in.grant.generation == 1
    form = simulator.token_calls()[-1].form
    assert (form["grant_type"], form["redirect_uri"]) == ("authorization_code", BACK)


async def test_a_store_that_fails_for_a_moment_costs_no_consent(
    exchange: Exchange, simulator: Simulator, said: list[str]
) -> None:
    """The code is spent by then."""
    assert isinstance(exchange.store, ForgetfulStore)
    exchange.store.failures = exchanging.STORE_TRIES
    assert (await finish(exchange, simulator)).grant.generation == 1
    assert said == ["The disk is full. PandaDoc has given a new grant: storing it is tried again."]


async def test_a_store_that_goes_on_failing_is_told_and_that_the_grant_is_lost(
    exchange: Exchange, simulator: Simulator
) -> None:
    assert isinstance(exchange.store, ForgetfulStore)
    exchange.store.failures = exchanging.STORE_TRIES + 1
    with pytest.raises(LoginFailed, match=r"The disk is full\. .*can't be stored and is lost: mend this, then log in"):
        await finish(exchange, simulator)


async def test_a_grant_that_is_stored_though_the_store_says_it_failed_is_not_called_lost(
    exchange: Exchange, simulator: Simulator
) -> None:
    """A second slot that is whole counts, though it can't be renamed: running proxies take it over."""
    exchange = replace(exchange, store=TimidStore())
    logged_in = await finish(exchange, simulator)
    assert logged_in.grant == (await exchange.store.load()).grant


async def test_a_grant_that_was_stored_unheard_is_not_stored_over_what_was_refreshed_since(
    exchange: Exchange, simulator: Simulator
) -> None:
    """Its refresh token is spent by then: a running proxy has taken it over."""
    refreshed: list[Grant] = []

    class RefreshedStore(MemoryStore):
        """A store whose answer to the first write is lost; a proxy refreshes what it has brought."""

        async def update(self, change: Callable[[Ledger], Ledger | None], *, room: bool = False) -> Ledger | None:
            kept = await super().update(change, room=room)
            if refreshed or kept is None or kept.grant is None:
                return kept
            refreshed.append(replace(kept.grant, generation=2, refresh_token=Secret("the next one")))
            await super().update(lambda there: replace(there, grant=refreshed[0]))
            raise StoreUnreachable("Redis does not answer within 2 s.")

    exchange = replace(exchange, store=RefreshedStore())
    logged_in = await finish(exchange, simulator)
    assert [logged_in.grant] == refreshed
    assert (await exchange.store.load()).grant == logged_in.grant


async def test_an_endpoint_that_cant_be_reached_has_spent_nothing(exchange: Exchange, simulator: Simulator) -> None:
    code = Secret(simulator.issue_code())
    await simulator.stop()
    with pytest.raises(LoginFailed, match=r"no connection.*It is not spent: log in again"):
        await exchange.finish(code)


async def test_a_lost_reply_leaves_only_another_login(exchange: Exchange, simulator: Simulator) -> None:
    simulator.lose_token_replies()
    with pytest.raises(LoginFailed, match=r"Nobody knows whether the code was exchanged.*Log in again"):
        await finish(exchange, simulator)


REPLIES = {
    "no refresh token": (b'{"access_token": "aaaa"}', "no usable refresh_token"),
    "another error": (b'{"error": "invalid_scope"}', "refuses the exchange .invalid_scope.. Check the scope"),
}


@pytest.mark.parametrize(("body", "words"), REPLIES.values(), ids=REPLIES)
async def test_a_reply_that_begins_no_grant_says_what_to_check(
    exchange: Exchange, simulator: Simulator, body: bytes, words: str
) -> None:
    status = 400 if b"error" in body else 200
    simulator.faults.add(Fault(path=TOKEN_PATH, status=status, body=body))
    with pytest.raises(LoginFailed, match=words):
        await finish(exchange, simulator)
    assert (await exchange.store.load()).grant is None


async def test_a_refresh_token_alone_is_a_grant_too(exchange: Exchange, simulator: Simulator) -> None:
    """It can be redeemed; throwing it away would cost a consent (law 4)."""
    simulator.faults.add(Fault(path=TOKEN_PATH, status=200, body=b'{"refresh_token": "rrrrrrrr"}'))
    logged_in = await finish(exchange, simulator)
    assert logged_in.grant.access_token is None
    assert not logged_in.proven
    assert not simulator.api_calls()


async def test_a_configured_seed_is_outranked_if_it_can_be_read(
    exchange: Exchange, simulator: Simulator, tmp_path: Path
) -> None:
    await finish(exchange, simulator)
    assert len((await exchange.store.load()).seeds) == 1
    (tmp_path / "seed").write_text("a-seed")
    await finish(exchange, simulator)
    assert Secret("a-seed").fingerprint() in (await exchange.store.load()).seeds


@pytest.mark.parametrize("body", [b"[]", b"not json", b'{"email": 7}', b"{}", b"x" * 100_000], ids=repr)
async def test_an_answer_that_names_nobody_is_proof_all_the_same(
    exchange: Exchange, simulator: Simulator, body: bytes
) -> None:
    simulator.faults.add(Fault(path="/public/**", status=200, body=body))
    logged_in = await finish(exchange, simulator)
    assert logged_in.proven
    assert logged_in.member is None


async def test_a_name_cant_move_the_terminals_cursor(exchange: Exchange, simulator: Simulator) -> None:
    body = b'{"email": "a@b", "first_name": "\\u001b[2J", "last_name": "x", "workspace_name": null}'
    simulator.faults.add(Fault(path="/public/**", status=200, body=body))
    assert str((await finish(exchange, simulator)).member) == "[2J x <a@b>"
