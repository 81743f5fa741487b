"""The simulated PandaDoc: refresh tokens that rotate, and replies that are lost."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

from bench.fleet.fate import Doom, Fate
from bench.fleet.panda_doc import Endpoint, PandaDoc
from bench.fleet.virtual import VirtualLoop
from proxy.credential.credential import Credential
from proxy.credential.token_endpoint import Client
from proxy.credential.token_reply import NotRedeemed, Redeemed, Refused, Unknown
from proxy.secrets import Secret

CLIENT = Client(Secret("id"), Secret("secret"))


def played(story: Callable[[PandaDoc, Endpoint], Awaitable[None]]) -> PandaDoc:
    async def play() -> PandaDoc:
        panda_doc = PandaDoc(Random(1), asyncio.get_running_loop())  # noqa: S311 - the same in every run
        await story(panda_doc, Endpoint(panda_doc, Fate("one", Doom())))
        return panda_doc

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(play())


def test_a_redeem_kills_both_tokens_before_it() -> None:
    async def story(panda_doc: PandaDoc, endpoint: Endpoint) -> None:
        first = panda_doc.consent()
        old = Credential(f"Bearer {first.access_token}", generation=1)
        assert await panda_doc.accepts(old)
        outcome = await endpoint.redeem(Secret(first.refresh_token), CLIENT)
        assert isinstance(outcome, Redeemed)
        assert not await panda_doc.accepts(old)
        assert outcome.access_token is not None
        assert await panda_doc.accepts(Credential(f"Bearer {outcome.access_token.reveal()}", generation=2))
        assert await endpoint.redeem(Secret(first.refresh_token), CLIENT) == Refused("invalid_grant")

    assert played(story).answers == {"redeemed": 1, "refused": 1}


def test_a_lost_reply_has_redeemed_all_the_same() -> None:
    async def story(panda_doc: PandaDoc, endpoint: Endpoint) -> None:
        first = panda_doc.consent()
        panda_doc.lost = 1
        assert isinstance(await endpoint.redeem(Secret(first.refresh_token), CLIENT), Unknown)
        assert await endpoint.redeem(Secret(first.refresh_token), CLIENT) == Refused("invalid_grant")

    assert played(story).answers["redeemed"] == 1


def test_an_endpoint_that_is_down_redeems_nothing() -> None:
    async def story(panda_doc: PandaDoc, endpoint: Endpoint) -> None:
        first = panda_doc.consent()
        panda_doc.down = True
        assert isinstance(await endpoint.redeem(Secret(first.refresh_token), CLIENT), NotRedeemed)
        panda_doc.down = False
        assert isinstance(await endpoint.redeem(Secret(first.refresh_token), CLIENT), Redeemed)

    assert played(story).answers == {"unavailable": 1, "redeemed": 1}


def test_a_redeem_that_takes_too_long_is_given_up() -> None:
    async def story(panda_doc: PandaDoc, endpoint: Endpoint) -> None:
        panda_doc.latency = 1000.0
        assert isinstance(await endpoint.redeem(Secret(panda_doc.consent().refresh_token), CLIENT), Unknown)

    played(story)
