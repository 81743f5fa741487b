"""Requests within a rate budget, through a real proxy to a simulator that enforces PandaDoc's window.

Windows are a second long here; tests/torture/test_rate_budget.py has the real minute.
"""

import asyncio
import gzip
import hashlib
import json
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import pytest
from conftest import HouseMaker, merge
from rig import House, Seen, until
from wire import OK, Message, caller

from proxy import throttled
from proxy.config import load
from proxy.forward import metered
from proxy.simulator import Fault

LIST: Final = "/public/v1/documents"
MEMBER: Final = "/public/v1/members/current"
DRF: Final = b'{"type":"throttled","detail":"Request was throttled. Expected available in 1 second."}'


def budget(**more: Any) -> dict[str, Any]:
    """Return settings: five lists a second, ten of everything else."""
    rates = {"list": "5/1s", "details": "5/1s", "create": "5/1s", "send": "5/1s", "download": "5/1s"}
    return {"rate_budget": merge({"numbers": "auto", "rates": rates, "max_wait": "5s"}, more)}


ENFORCED: Final = {"rate_limits": {"list": 5, "details": 5, "create": 5, "send": 5, "download": 5}, "rate_window": 1.0}


def statuses(house: House) -> list[int]:
    """Return what the simulator has answered, in order."""
    return [call.status for call in house.simulator.api_calls()]


def standing(house: House, rate: str = "list") -> Any:
    assert house.proxy._snapshot is not None  # noqa: SLF001 - nothing else shows a budget but /status
    return house.proxy._snapshot.budgets["default"].standing(rate)  # noqa: SLF001 - the same


async def created(house: House) -> str:
    """Create a document behind the proxy's back."""
    return house.simulator.documents.create("one").id


async def test_without_a_budget_nothing_is_counted_and_nothing_is_said(api_key_house: HouseMaker) -> None:
    house = await api_key_house({}, ENFORCED)
    seen = await house.many(8, LIST)
    assert sorted(each.status for each in seen) == [200] * 5 + [429] * 3
    assert all("RateLimit" not in each.headers and "Retry-After" not in each.headers for each in seen)


async def test_a_burst_beyond_the_rate_waits_and_meets_no_429(api_key_house: HouseMaker) -> None:
    house = await api_key_house(budget(), ENFORCED)
    began = time.monotonic()
    seen = await house.many(14, LIST)
    assert [each.status for each in seen] == [200] * 14
    assert set(statuses(house)) == {200}
    assert time.monotonic() - began >= 2.0, "the last four can't be granted before two windows are over"
    assert standing(house).waits == 9


async def test_whoever_can_not_be_served_in_time_is_told_at_once(api_key_house: HouseMaker) -> None:
    house = await api_key_house(budget(rates={"list": "2/30s"}, max_wait="3s"))
    await house.many(2, LIST)
    began = time.monotonic()
    seen = await house.get(LIST)
    assert time.monotonic() - began < 2.0
    assert seen.status == 429
    assert seen.headers["Content-Type"] == "application/problem+json"
    assert seen.headers["Proxy-Status"] == "pandadoc-proxy; error=http_request_denied"
    assert seen.headers["Retry-After"] == "10"
    assert seen.headers["RateLimit-Policy"] == '"list";q=2;w=30'
    assert seen.headers["RateLimit"] == '"list";r=0;t=30'
    assert seen.json["type"] == "proxy_throttled"
    assert "2 in 30 s" in seen.json["detail"]
    assert len(statuses(house)) == 2
    assert standing(house).refused == 1


async def test_whoever_has_waited_too_long_is_told_so(api_key_house: HouseMaker) -> None:
    """Nobody knows beforehand how long the answers of those in flight take."""
    gate = asyncio.Event()
    house = await api_key_house(budget(rates={"list": "1/300ms"}, max_wait="500ms"))
    house.simulator.faults.add(Fault(path=LIST, gate=gate))
    first = asyncio.create_task(house.get(LIST))
    await house.simulator.until(lambda: len(house.simulator.journal) == 1)
    seen = await house.get(LIST)
    assert seen.status == 429
    gate.set()
    assert (await first).status == 200


async def test_every_answer_tells_what_is_left(api_key_house: HouseMaker) -> None:
    house = await api_key_house(budget(rates={"list": "3/20s"}))
    left = [(await house.get(LIST)).headers["RateLimit"].partition(";t=")[0] for _ in range(3)]
    assert left == ['"list";r=2', '"list";r=1', '"list";r=0']
    other = await house.get(MEMBER)
    assert other.status == 200
    assert "RateLimit" not in other.headers, "PandaDoc gives no number for it"


@pytest.mark.parametrize("name", ["RateLimit", "RateLimit-Policy"])
async def test_what_the_upstream_says_of_its_limits_stays_its_word(api_key_house: HouseMaker, name: str) -> None:
    house = await api_key_house(budget())
    house.simulator.faults.add(Fault(path=LIST, status=200, body=b"{}", headers=((name, '"theirs";r=7'),)))
    seen = await house.get(LIST)
    told = [(each, said) for each, said in seen.headers.items() if each.startswith("RateLimit")]
    assert told == [(name, '"theirs";r=7')]


async def test_a_sandbox_key_has_one_rate_for_everything(api_key_house: HouseMaker) -> None:
    house = await api_key_house(
        {"rate_budget": {"numbers": "sandbox", "sandbox": "4/1s"}}, {"rate_limits": {"all": 4}, "rate_window": 1.0}
    )
    answers = await asyncio.gather(*(house.get(path) for path in (LIST, MEMBER) * 4))
    assert [each.status for each in answers] == [200] * 8
    assert answers[0].headers["RateLimit-Policy"] == '"all";q=4;w=1'
    assert set(statuses(house)) == {200}


async def test_a_429_is_absorbed_and_teaches(api_key_house: HouseMaker) -> None:
    """Somebody else spends from the same user's rate."""
    house = await api_key_house(budget(rates={"list": "50/1s"}), ENFORCED)
    seen = await house.many(12, LIST)
    assert [each.status for each in seen] == [200] * 12
    assert 429 in statuses(house)
    assert standing(house).throttled == statuses(house).count(429)
    assert standing(house).limit < 50


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_429_that_goes_on_is_relayed_in_the_end_with_when_to_come_again(
    api_key_house: HouseMaker, method: str
) -> None:
    """Also of a method that is not idempotent: what was refused for its rate was not done."""
    house = await api_key_house(budget(rates={"create": "50/1s"}, max_wait="20s"))
    house.simulator.faults.add(Fault(path=LIST, status=429, body=DRF))
    seen = await house.ask(method, LIST, data=b"{}" if method == "POST" else None)
    assert (seen.status, seen.body) == (429, DRF)
    assert seen.headers["Retry-After"] == "1"
    assert "Proxy-Status" not in seen.headers
    assert statuses(house) == [429] * 4, "sent once, and three times again"
    assert house.ear.fields[-1]["throttled"] == 3


async def test_a_429_that_asks_for_more_than_the_caller_waits_is_relayed_at_once(api_key_house: HouseMaker) -> None:
    house = await api_key_house(budget())
    house.simulator.faults.add(Fault(path=LIST, status=429, times=1, headers=(("Retry-After", "40"),)))
    seen = await house.get(LIST)
    assert (seen.status, seen.headers["Retry-After"]) == (429, "40")
    assert "Proxy-Status" not in seen.headers
    assert house.ear.fields[-1]["throttled"] == 0, "it was not sent again"
    again = await house.get(LIST)
    assert "Proxy-Status" in again.headers, "the class pauses for as long as PandaDoc has said"
    assert again.json["detail"].startswith("PandaDoc has answered 429, so list (rate_budget) pauses for ")
    assert again.headers["RateLimit"].startswith('"list";r=0;t=')
    assert (await house.get(MEMBER)).status == 200, "the others don't"
    assert len(statuses(house)) == 2


async def test_a_slot_that_a_429_gives_back_is_nobodys_until_it_has_been_heeded(api_key_house: HouseMaker) -> None:
    gate = asyncio.Event()
    house = await api_key_house(budget(rates={"list": "1/1s"}, max_wait="2s"))
    house.simulator.faults.add(Fault(path=LIST, status=429, gate=gate, headers=(("Retry-After", "40"),)))
    first, second = asyncio.create_task(house.get(LIST)), asyncio.create_task(house.get(LIST))
    await until(lambda: standing(house).waiting == len(house.simulator.journal) == 1)
    gate.set()
    assert {(await each).status for each in (first, second)} == {429}
    assert statuses(house) == [429]


@asynccontextmanager
async def throttling(
    api_key_house: HouseMaker, head: bytes, body: bytes, max_wait: str = "0s"
) -> AsyncIterator[tuple[House, asyncio.Event]]:
    """Make a house before an upstream that answers the first request with 429, and holds its body until it is told."""
    gate = asyncio.Event()

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if gate.is_set():
            writer.write(OK)
            writer.close()
            return
        writer.write(b"HTTP/1.1 429 Too Many Requests\r\n%bContent-Length: %d\r\n\r\n" % (head, len(body)))
        await gate.wait()
        writer.write(body)
        writer.close()

    server = await asyncio.start_server(play, "127.0.0.1", 0)
    upstream = {"url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"}
    yield await api_key_house(merge(budget(max_wait=max_wait), {"upstream": upstream})), gate
    gate.set()
    server.close()


@pytest.mark.parametrize(
    ("head", "number", "before"),
    [(b"Retry-After: 40\r\n", b"2", 40), (b"", b"40", 20)],
    ids=["a field", "a sentence"],
)
async def test_a_429_pauses_from_its_head_on_and_for_what_its_sentence_says(
    api_key_house: HouseMaker, monkeypatch: pytest.MonkeyPatch, head: bytes, number: bytes, before: int
) -> None:
    monkeypatch.setattr(throttled, "LEAST", 20.0)  # so that it is not over before it is looked at
    body, after = DRF.replace(b"1 second", number + b" seconds"), 40
    async with throttling(api_key_house, head, body) as (house, gate):
        asked = asyncio.create_task(house.get(LIST))
        await until(lambda: standing(house).paused_for > 0)
        assert before - 2 < standing(house).paused_for <= before
        assert "Proxy-Status" in (await house.get(LIST)).headers, "it is not sent"
        gate.set()
        seen = await asked
        assert (seen.body, seen.headers["Retry-After"]) == (body, str(after))
        assert after - 2 < standing(house).paused_for <= after
        assert (standing(house).throttled, standing(house).limit) == (1, 2)


async def test_nobody_is_refused_for_what_a_429_may_still_say(api_key_house: HouseMaker) -> None:
    async with throttling(api_key_house, b"", DRF, max_wait="5s") as (house, gate):
        asked = asyncio.create_task(house.get(LIST))
        await until(lambda: standing(house).paused_for > 0)
        newcomer = asyncio.create_task(house.get(LIST))
        await until(lambda: standing(house).waiting == 1)
        gate.set()
        assert [(await each).status for each in (asked, newcomer)] == [200, 200]
        assert standing(house).refused == 0


async def test_a_429_whose_caller_hangs_up_before_its_sentence_pauses_and_teaches_all_the_same(
    api_key_house: HouseMaker,
) -> None:
    async with throttling(api_key_house, b"", DRF) as (house, _):
        asked = asyncio.create_task(house.get(LIST))
        await until(lambda: standing(house).paused_for > 0)
        asked.cancel()
        await until(lambda: standing(house).throttled == 1)
        assert standing(house).paused_for > 5


async def test_a_429_for_a_body_that_is_not_kept_is_relayed(api_key_house: HouseMaker) -> None:
    house = await api_key_house(merge(budget(), {"replay": {"max_body": "1KiB"}}))
    house.simulator.faults.add(Fault(path=LIST, status=429, body=DRF, times=1))
    seen = await house.ask("POST", LIST, data=b"x" * 5000)
    assert (seen.status, seen.headers["Retry-After"]) == (429, "1")
    assert statuses(house) == [429]
    assert house.ear.fields[-1]["throttled"] == 0, "it was not sent again"


async def test_a_429_whose_body_is_too_long_to_hold_is_relayed(api_key_house: HouseMaker) -> None:
    house = await api_key_house(budget())
    body = b" " * 100_000
    house.simulator.faults.add(Fault(path=LIST, status=429, body=body, times=1))
    seen = await house.get(LIST)
    assert (seen.status, seen.body, seen.headers["Retry-After"]) == (429, body, "10")


@pytest.mark.parametrize(("head", "after"), [(b"Retry-After: 40\r\n", "40"), (b"", "10")], ids=["a field", "none"])
async def test_a_429_whose_body_comes_late_is_the_last_word(
    api_key_house: HouseMaker, monkeypatch: pytest.MonkeyPatch, head: bytes, after: str
) -> None:
    """Its sentence may come with the next byte, or never; its caller has waited long enough."""
    monkeypatch.setattr(metered, "JUDGED_WITHIN", 0.2)
    async with throttling(api_key_house, head, DRF, max_wait="1h") as (house, gate), caller(house.port) as line:
        await line.send(b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % LIST.encode())
        async with asyncio.timeout(10):
            seen = Message(await line.reader.readuntil(b"\r\n\r\n"))
        assert seen.start == b"HTTP/1.1 429 Too Many Requests"
        assert seen.values(b"retry-after") == [after.encode()]
        assert int(after) - 5 < standing(house).paused_for <= int(after)
        gate.set()
        assert await line.reader.readexactly(len(DRF)) == DRF


async def test_a_compressed_429_is_read_and_relayed_as_it_came(api_key_house: HouseMaker) -> None:
    house = await api_key_house(budget(max_wait="0s"))
    packed = gzip.compress(DRF.replace(b"in 1 second", b"in 17 seconds"))
    house.simulator.faults.add(Fault(path=LIST, status=429, body=packed, headers=(("Content-Encoding", "gzip"),)))
    seen = await house.get(LIST)
    assert (seen.body, seen.headers["Retry-After"]) == (packed, "17")


async def test_what_claims_to_be_compressed_and_is_not_is_relayed_all_the_same(api_key_house: HouseMaker) -> None:
    house = await api_key_house(budget(max_wait="0s"))
    house.simulator.faults.add(Fault(path=LIST, status=429, body=b"oops", headers=(("Content-Encoding", "gzip"),)))
    seen = await house.get(LIST)
    assert (seen.status, seen.body, seen.headers["Retry-After"]) == (429, b"oops", "10")


async def test_the_replay_of_a_401_counts_too(oauth_house: HouseMaker) -> None:
    house = await oauth_house(budget(rates={"list": "5/20s"}), seed_life=3600)
    await house.get(LIST)
    house.simulator.revoke_access_tokens()
    seen = await house.get(LIST)
    assert seen.status == 200
    assert statuses(house) == [200, 401, 200]
    assert seen.headers["RateLimit"].startswith('"list";r=2;')


async def test_a_replay_that_finds_no_slot_is_none(oauth_house: HouseMaker) -> None:
    """The log and the metrics tell of what was sent."""
    house = await oauth_house(budget(rates={"list": "2/30s"}, max_wait="1s"), seed_life=3600)
    await house.get(LIST)
    house.simulator.revoke_access_tokens()
    seen = await house.get(LIST)
    assert (seen.status, statuses(house)) == (429, [200, 401])
    first, last = house.ear.fields[-2:]
    assert (last["status"], last["replayed"], last["generation"]) == (429, False, first["generation"])


async def test_a_request_for_which_no_credential_can_be_had_spends_nothing(api_key_house: HouseMaker) -> None:
    house = await api_key_house(
        merge(budget(rates={"list": "1/20s"}), {"credentials": {"default": {"api_key": {"file": "./absent"}}}})
    )
    seen = [await house.get(LIST) for _ in range(3)]
    assert [each.status for each in seen] == [503] * 3
    assert seen[-1].headers["RateLimit"].startswith('"list";r=1;')


async def test_a_request_whose_connection_breaks_may_have_been_counted(api_key_house: HouseMaker) -> None:
    house = await api_key_house(budget(rates={"list": "5/20s"}))
    house.simulator.faults.add(Fault(path=LIST, reset=True, times=1))
    seen = await house.get(LIST)
    assert seen.status == 502
    assert seen.headers["RateLimit"].startswith('"list";r=4;')


async def test_a_request_that_finds_no_connection_spends_nothing(api_key_house: HouseMaker) -> None:
    house = await api_key_house(budget(rates={"list": "2/20s"}))
    await house.simulator.stop()
    seen = [await house.get(LIST) for _ in range(5)]
    assert [each.status for each in seen] == [502] * 5
    assert seen[-1].headers["RateLimit"].startswith('"list";r=2;')


async def test_a_request_that_broke_and_then_found_no_connection_may_have_been_counted(
    api_key_house: HouseMaker,
) -> None:
    """The kept connection takes it and breaks; nobody takes another."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await reader.readuntil(b"\r\n\r\n")
        server.close()
        writer.close()

    server = await asyncio.start_server(play, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    house = await api_key_house(merge(budget(rates={"list": "5/20s"}), {"upstream": {"url": url}}))
    assert (await house.get(LIST)).status == 200
    seen = await house.get(LIST)
    assert seen.json["detail"].startswith("The upstream refused the connection.")
    assert seen.headers["RateLimit"].startswith('"list";r=3;')


async def test_a_request_that_broke_and_was_sent_again_counts_twice(api_key_house: HouseMaker) -> None:
    """PandaDoc may have counted it when it came on the kept connection."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):  # nothing more comes on the last connection
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK)
            await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(play, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        house = await api_key_house(merge(budget(rates={"list": "4/20s"}), {"upstream": {"url": url}}))
        left = [(await house.get(LIST)).headers["RateLimit"].partition(";t=")[0] for _ in range(2)]
        assert left == ['"list";r=3', '"list";r=1']
        seen = await house.get(LIST)
        assert (seen.status, seen.headers["RateLimit"].partition(";t=")[0]) == (200, '"list";r=0'), "beyond the rate"


async def test_a_caller_that_hangs_up_leaves_the_line(api_key_house: HouseMaker) -> None:
    house = await api_key_house(budget(rates={"list": "1/1s"}))
    await house.get(LIST)
    leaver = asyncio.create_task(house.get(LIST))
    await until(lambda: standing(house).waiting == 1)
    leaver.cancel()
    await until(lambda: standing(house).waiting == 0)
    assert (await house.get(LIST)).status == 200
    assert len(statuses(house)) == 2


def left_behind(house: House, size: int) -> socket.socket:
    """Create a document with so many bytes, which all are with the kernel, and return the caller's socket."""
    line = socket.create_connection(("127.0.0.1", house.port))
    line.settimeout(10)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * size)
    body = b"{" + b" " * (size - 2) + b"}"
    line.sendall(b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (LIST.encode(), size) + body)
    return line


async def test_a_caller_that_hangs_up_behind_an_unread_body_leaves_the_line(api_key_house: HouseMaker) -> None:
    """Its socket is left alone, so that nothing but the kernel tells."""
    house = await api_key_house(budget(rates={"create": "1/30s"}, max_wait="60s"))
    await house.ask("POST", LIST, data=b"{}")
    line = await asyncio.to_thread(left_behind, house, 150_000)
    await until(lambda: standing(house, "create").waiting == 1)
    line.close()
    await until(lambda: standing(house, "create").waiting == 0)
    await until(lambda: len(house.ear.fields) == 2)
    assert (house.ear.fields[-1]["status"], house.ear.fields[-1]["fault"]) == (499, "the caller hung up")
    assert len(statuses(house)) == 1


@pytest.mark.parametrize("size", [150_000, 900_000])
async def test_nothing_is_sent_for_a_caller_that_hung_up_while_it_waited(api_key_house: HouseMaker, size: int) -> None:
    """Its goodbye may stand behind what does not fit into the kernel. It has given up, and asks again."""
    gate = asyncio.Event()
    house = await api_key_house(budget(rates={"create": "1/100ms"}, max_wait="60s"))
    house.simulator.faults.add(Fault(path=LIST, gate=gate, times=1))
    first = asyncio.create_task(house.ask("POST", LIST, data=b"{}"))
    await house.simulator.until(lambda: len(house.simulator.journal) == 1)
    line = await asyncio.to_thread(left_behind, house, size)
    await until(lambda: standing(house, "create").waiting == 1)
    line.close()
    gate.set()
    await first
    await until(lambda: len(house.ear.fields) == 2)
    assert house.ear.fields[-1]["status"] == 499
    assert len(statuses(house)) == 1
    again = await house.ask("POST", LIST, data=b"{" + b" " * size + b"}")
    assert again.headers["RateLimit"].startswith('"create";r=0;')
    assert len(statuses(house)) == 2


async def test_a_large_body_that_waited_with_its_caller_is_sent_whole(api_key_house: HouseMaker) -> None:
    house = await api_key_house(budget(rates={"create": "1/500ms"}, max_wait="60s"))
    body = b"{" + b" " * 900_000 + b"}"
    answers = await asyncio.gather(*(house.ask("POST", LIST, data=body) for _ in range(3)))
    assert len({each.status for each in answers}) == 1
    assert standing(house, "create").waits == 2
    assert [call.body_sha256 for call in house.simulator.api_calls()] == [hashlib.sha256(body).hexdigest()] * 3


async def test_bodies_that_wait_unread_take_no_room_from_others(api_key_house: HouseMaker) -> None:
    replay = {"replay": {"max_body": "1MiB", "max_total": "1MiB"}}
    house = await api_key_house(merge(budget(rates={"create": "1/30s"}, max_wait="60s"), replay))
    await house.ask("POST", LIST, data=b"{}")
    line = await asyncio.to_thread(left_behind, house, 900_000)
    await until(lambda: standing(house, "create").waiting == 1)
    assert house.proxy._snapshot is not None  # noqa: SLF001 - nothing else shows it but the metrics
    assert house.proxy._snapshot.kept_bytes.used == 0  # noqa: SLF001 - the same
    line.close()


async def test_interactive_clients_go_before_batch_ones(api_key_house: HouseMaker) -> None:
    """And each kind in the order in which they came."""
    clients = {
        "people": {"key": {"value": "people-0123456789abcdef"}},
        "robots": {"key": {"value": "robots-0123456789abcdef"}, "priority": "batch"},
    }
    house = await api_key_house(
        merge(
            budget(rates={"list": "2/2s"}, max_wait="20s"),
            {"listeners": [{"bind": "127.0.0.1:0", "clients": clients}]},
        )
    )
    house.secrets |= {"people-0123456789abcdef", "robots-0123456789abcdef"}
    waiting: list[asyncio.Task[Seen]] = []

    async def ask(client: str, number: int) -> None:
        key = {"X-Proxy-Key": f"{client}-0123456789abcdef"}
        waiting.append(asyncio.create_task(house.get(f"{LIST}?{client}{number}", headers=key)))
        await until(lambda: standing(house).waiting + len(house.simulator.journal) == len(waiting))

    for number in range(2):
        await ask("people", number)
    for number in range(3):
        await ask("robots", number)
    for number in range(2, 5):
        await ask("people", number)
    answers = await asyncio.gather(*waiting)
    order = [call.target.partition("?")[2] for call in house.simulator.api_calls()]
    assert {each.status for each in answers} == {200}
    assert order == [*(f"people{number}" for number in range(5)), "robots0", "robots1", "robots2"]


async def test_a_share_is_a_part_of_each_rate(api_key_house: HouseMaker) -> None:
    house = await api_key_house(budget(rates={"list": "600/1m"}, share="1/5"))
    assert (await house.get(LIST)).headers["RateLimit-Policy"] == '"list";q=120;w=60'


async def test_a_reload_keeps_what_was_spent(api_key_house: HouseMaker) -> None:
    house = await api_key_house(budget(rates={"list": "5/20s"}))
    await house.many(2, LIST)
    house.settings = merge(house.settings, budget(rates={"list": "4/20s"}))
    await house.proxy.reload(house.config())
    assert (await house.get(LIST)).headers["RateLimit"].startswith('"list";r=1;')
    house.settings = merge(house.settings, {"rate_budget": {"numbers": "none"}})
    await house.proxy.reload(house.config())
    assert "RateLimit" not in (await house.get(LIST)).headers


async def test_a_line_above_a_key_in_plain_text_keeps_what_was_spent(api_key_house: HouseMaker) -> None:
    house = await api_key_house(budget(rates={"list": "4/30s"}, max_wait="0s"))
    path = house.folder / "config.yaml"
    path.write_text(path.read_text().replace("${KEY}", house.environ["KEY"]))
    await house.proxy.reload(load(path, environ=house.environ))
    assert (await house.get(LIST)).status == 200
    path.write_text("shutdown: {drain: 5s}\n" + path.read_text())
    await house.proxy.reload(load(path, environ=house.environ))
    assert [(await house.get(LIST)).status for _ in range(4)] == [200] * 3 + [429]


async def test_a_grant_that_a_reload_renames_keeps_its_budget(oauth_house: HouseMaker) -> None:
    house = await oauth_house(budget(rates={"list": "4/30s"}, max_wait="0s"))
    assert (await house.get(LIST)).status == 200
    named = {"renamed": house.settings["credentials"]["default"]}
    listeners = [{**each, "credential": "renamed"} for each in house.settings["listeners"]]
    house.settings = {**house.settings, "credentials": named, "listeners": listeners}
    await house.proxy.reload(house.config())
    assert [(await house.get(LIST)).status for _ in range(5)] == [200] * 3 + [429] * 2


@pytest.mark.parametrize("numbers", [{"numbers": "none"}, {"credentials": {"default": "none"}}])
async def test_whoever_waits_on_a_budget_that_is_switched_off_leaves(
    api_key_house: HouseMaker, numbers: dict[str, Any]
) -> None:
    house = await api_key_house(budget(rates={"list": "3/30s"}, max_wait="60s"))
    await house.many(3, LIST)
    waiting = [asyncio.create_task(house.get(LIST)) for _ in range(3)]
    await until(lambda: standing(house).waiting == 3)
    house.settings = merge(house.settings, {"rate_budget": numbers})
    await house.proxy.reload(house.config())
    async with asyncio.timeout(10):
        assert [(await each).status for each in waiting] == [200] * 3


async def test_a_drain_serves_who_can_be_served_and_sends_the_others_away(api_key_house: HouseMaker) -> None:
    settings = merge(budget(rates={"list": "2/1s"}, max_wait="20s"), {"shutdown": {"drain": "2s"}})
    house = await api_key_house(settings)
    asked = asyncio.gather(*(house.get(LIST) for _ in range(9)))
    await until(lambda: standing(house).waiting == 7)
    await house.proxy.drain()
    answers = await asked
    served = [each for each in answers if each.status == 200]
    away = [each for each in answers if each.status == 429]
    assert len(served) + len(away) == 9
    assert len(served) >= 4
    assert away
    assert all(1 <= int(each.headers["Retry-After"]) <= 10 and "Proxy-Status" in each.headers for each in away)
    assert all("is spent, and this proxy is ending: ask again." in each.json["detail"] for each in away)
    assert all("max_wait" not in each.json["detail"] for each in away)


async def test_status_and_metrics_tell_how_the_budget_stands(api_key_house: HouseMaker) -> None:
    house = await api_key_house(budget(rates={"list": "5/20s"}, max_wait="1s"))
    await house.many(7, LIST)
    async with house.client.get(f"{house.proxy.admin_url}/status") as answer:
        told = {each["rate"]: each for each in (await answer.json())["rate_budgets"]}
    assert told["list"] == {
        "credential": "default", "rate": "list", "most": 5, "window_seconds": 20.0, "most_now": 5, "left": 0,
        "shared": None, "paused_seconds": 0.0, "waiting": 0, "waits": 0, "waited_seconds": 0.0, "refused": 2,
        "throttled": 0,
    }  # fmt: skip
    assert told["other"]["most"] is None
    async with house.client.get(f"{house.proxy.admin_url}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    label = '{credential="default",rate="list"}'
    assert f"pandadoc_proxy_rate_budget_left{label} 0.0" in lines
    assert f"pandadoc_proxy_rate_budget_limit{label} 5.0" in lines
    assert f"pandadoc_proxy_rate_budget_refused_total{label} 2.0" in lines


async def waiting_for(house: House, path: str, seconds: int | str = 20, method: str = "GET", **more: Any) -> Seen:
    return await house.ask(method, path, headers={"Prefer": f"wait={seconds}"}, **more)


@pytest.mark.parametrize("part", ["", "/details"])
async def test_who_prefers_to_wait_gets_the_draft(api_key_house: HouseMaker, part: str) -> None:
    house = await api_key_house(budget(), {"draft_after_polls": 2})
    seen = await waiting_for(house, f"{LIST}/{await created(house)}{part}")
    assert (seen.status, seen.json["status"]) == (200, "document.draft")
    assert seen.headers["Preference-Applied"] == "wait=20"
    assert len(house.simulator.api_calls()) == 3
    assert all(call.header(b"prefer") == b"" for call in house.simulator.api_calls())


async def test_who_prefers_to_wait_sends_once_the_document_is_there(api_key_house: HouseMaker) -> None:
    house = await api_key_house(budget(), {"draft_after": 1.5})
    body = json.dumps({"message": "hello", "silent": True}).encode()
    seen = await waiting_for(house, f"{LIST}/{await created(house)}/send", method="POST", data=body)
    assert (seen.status, seen.json["status"]) == (200, "document.sent")
    assert statuses(house) == [409, 409, 200]
    assert len({call.body_sha256 for call in house.simulator.api_calls()}) == 1


async def test_polls_are_a_second_apart_and_as_far_as_the_upstream_asks(api_key_house: HouseMaker) -> None:
    house = await api_key_house(budget(), {"draft_after": 0})
    path = f"{LIST}/{await created(house)}/download"
    house.simulator.faults.add(Fault(path=path, status=202, headers=(("Retry-After", "2"),), times=1))
    house.simulator.faults.add(Fault(path=path, status=202, headers=(("Retry-After", "0"),), times=1))
    began = time.monotonic()
    seen = await waiting_for(house, path)
    assert seen.status == 200
    assert 3.0 <= time.monotonic() - began < 8.0
    assert statuses(house) == [202, 202, 200]


async def test_when_the_time_is_up_the_last_answer_is_relayed(api_key_house: HouseMaker) -> None:
    house = await api_key_house(budget(), {"draft_after": 3600})
    seen = await waiting_for(house, f"{LIST}/{await created(house)}/details", 2)
    assert (seen.status, seen.json["status"]) == (409, "document.uploaded")
    assert seen.headers["Preference-Applied"] == "wait=2"
    assert 2 <= len(statuses(house)) <= 3


async def test_polls_stay_in_the_budget(api_key_house: HouseMaker) -> None:
    """And when it has nothing for another poll in time, PandaDoc's last answer says more than our refusal."""
    house = await api_key_house(budget(rates={"details": "2/30s"}, max_wait="1s"), {"draft_after": 3600})
    seen = await waiting_for(house, f"{LIST}/{await created(house)}/details", 10)
    assert (seen.status, seen.json["status"]) == (409, "document.uploaded")
    assert len(statuses(house)) == 2
    assert standing(house, "details").refused == 0


@pytest.mark.parametrize(
    ("settings", "path", "headers"),
    [
        ({"prefer_wait": "0s"}, "/details", {"Prefer": "wait=5"}),
        ({}, "/details", {"Prefer": "wait=0"}),
        ({}, "/details", {"Prefer": "respond-async"}),
        ({}, "/attachments/a/b", {"Prefer": "wait=5"}),
    ],
)
async def test_a_preference_that_is_not_applied_is_passed_on(
    api_key_house: HouseMaker, settings: Mapping[str, Any], path: str, headers: dict[str, str]
) -> None:
    house = await api_key_house(budget(**settings), {"draft_after": 3600})
    seen = await house.get(f"{LIST}/{await created(house)}{path}", headers=headers)
    assert "Preference-Applied" not in seen.headers
    (call,) = house.simulator.api_calls()
    assert call.header(b"prefer") == headers["Prefer"].encode()


async def test_a_preference_of_a_head_is_passed_on(api_key_house: HouseMaker) -> None:
    """Its answer has no body, and would be taken for the last word."""
    house = await api_key_house(budget(), {"draft_after": 3600})
    seen = await waiting_for(house, f"{LIST}/{await created(house)}", method="HEAD")
    assert "Preference-Applied" not in seen.headers
    (call,) = house.simulator.api_calls()
    assert (call.method, call.header(b"prefer")) == ("HEAD", b"wait=20")


async def test_a_preference_is_passed_on_with_a_body_that_may_not_be_kept(api_key_house: HouseMaker) -> None:
    house = await api_key_house(merge(budget(), {"replay": {"max_body": "1KiB"}}), {"draft_after": 3600})
    body = json.dumps({"message": "x" * 5000}).encode()
    seen = await waiting_for(house, f"{LIST}/{await created(house)}/send", method="POST", data=body)
    assert seen.status == 409
    assert "Preference-Applied" not in seen.headers
    (call,) = house.simulator.api_calls()
    assert call.header(b"prefer") == b"wait=20"


async def test_other_preferences_go_up_beside_one_that_is_applied(api_key_house: HouseMaker) -> None:
    house = await api_key_house(budget(), {"draft_after": 0})
    path = f"{LIST}/{await created(house)}/details"
    seen = await house.get(path, headers={"Prefer": "return=minimal, wait=5"})
    assert seen.headers["Preference-Applied"] == "wait=5"
    assert house.simulator.api_calls()[0].header(b"prefer") == b"return=minimal"


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 409, "body": b'{"status": "document.sent"}'},
        {"status": 409, "body": b"no json"},
        {"status": 409, "body": b"[]"},
        {"status": 409, "body": b" " * 100_000},
        {"status": 404},
        {"status": 423},
        {"status": 202, "headers": (("Retry-After", ""),)},
        {"status": 202, "headers": (("Retry-After", "soon"),)},
    ],
    ids=[
        "another status",
        "no json",
        "a list",
        "too long to hold",
        "404",
        "423",
        "202, no time",
        "202, come back soon",
    ],
)
async def test_what_does_not_say_not_ready_is_the_last_word(api_key_house: HouseMaker, fault: dict[str, Any]) -> None:
    house = await api_key_house(budget())
    part = "download" if fault["status"] == 202 else "details"
    path = f"{LIST}/{await created(house)}/{part}"
    house.simulator.faults.add(Fault(path=path, **fault))
    seen = await waiting_for(house, path)
    assert seen.status == fault["status"]
    assert len(statuses(house)) == 1


async def test_a_compressed_not_ready_is_understood(api_key_house: HouseMaker) -> None:
    house = await api_key_house(budget(), {"draft_after": 0})
    path = f"{LIST}/{await created(house)}/details"
    packed = gzip.compress(b'{"status": "document.uploaded"}')
    fault = Fault(path=path, status=409, body=packed, headers=(("Content-Encoding", "gzip"),), times=1)
    house.simulator.faults.add(fault)
    assert (await waiting_for(house, path)).status == 200


@pytest.mark.parametrize(("accepts", "told"), [("gzip, deflate, br, zstd", b"gzip, deflate"), ("br", b"identity")])
async def test_who_prefers_to_wait_is_answered_in_what_can_be_read(
    api_key_house: HouseMaker, accepts: str, told: bytes
) -> None:
    """A 409 in br would be relayed after one question, as if its caller had not preferred to wait."""
    house = await api_key_house(budget(), {"draft_after_polls": 1})
    path = f"{LIST}/{await created(house)}/details"
    assert (await house.get(path, headers={"Prefer": "wait=20", "Accept-Encoding": accepts})).status == 200
    assert [call.header(b"accept-encoding") for call in house.simulator.api_calls()] == [told] * 2
    await house.get(path, headers={"Accept-Encoding": accepts})
    assert house.simulator.api_calls()[-1].header(b"accept-encoding") == accepts.encode()


async def test_a_429_among_the_polls_is_waited_for_too(api_key_house: HouseMaker) -> None:
    house = await api_key_house(budget(), {"draft_after_polls": 1})
    path = f"{LIST}/{await created(house)}/details"
    await waiting_for(house, path, 1)
    house.simulator.journal.clear()
    house.simulator.faults.add(Fault(path=path, status=429, body=DRF, times=2))
    seen = await waiting_for(house, path)
    assert seen.status == 200
    assert statuses(house) == [429, 429, 200]


async def test_a_caller_that_hangs_up_ends_the_polling(api_key_house: HouseMaker) -> None:
    house = await api_key_house(budget(), {"draft_after": 3600})
    asked = asyncio.create_task(waiting_for(house, f"{LIST}/{await created(house)}/details"))
    await house.simulator.until(lambda: statuses(house) == [409])
    asked.cancel()
    await until(lambda: house.proxy._in_flight == 0)  # noqa: SLF001 - nothing else shows it
    assert len(statuses(house)) == 1


async def test_a_drain_ends_the_polling_with_the_last_answer(api_key_house: HouseMaker) -> None:
    house = await api_key_house(budget(), {"draft_after": 3600})
    asked = asyncio.create_task(waiting_for(house, f"{LIST}/{await created(house)}/details", 30))
    await house.simulator.until(lambda: statuses(house) == [409])
    began = time.monotonic()
    await house.proxy.drain()
    seen = await asked
    assert (seen.status, seen.headers["Preference-Applied"]) == (409, "wait=30")
    assert time.monotonic() - began < 5.0


async def test_a_grace_period_ends_no_polling_and_absorbs_a_429(api_key_house: HouseMaker) -> None:
    """It serves as before: whoever sends requests here has not yet heard that we leave."""
    settings = merge(budget(), {"shutdown": {"grace": "1m"}})
    house = await api_key_house(settings, {"draft_after_polls": 1})
    path = f"{LIST}/{await created(house)}/details"
    house.simulator.faults.add(Fault(path=path, status=429, body=DRF, times=1))
    ending = asyncio.create_task(house.proxy.drain())
    await until(lambda: not house.proxy.ready)
    seen = await waiting_for(house, path, 5)
    assert (seen.status, statuses(house)) == (200, [429, 409, 200])
    ending.cancel()
