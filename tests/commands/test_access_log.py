"""The access log as an operator gets it: one JSON line a request on standard error, and never a secret."""

import signal
from typing import Final

from aiohttp import ClientSession
from commands.process import MEMBER, Machine

FIELDS: Final = {
    "time",
    "level",
    "logger",
    "message",
    "method",
    "path",
    "status",
    "bytes_in",
    "bytes_out",
    "ms",
    "upstream_ms",
    "credential",
    "generation",
    "replayed",
    "request_id",
}
DOCUMENTS: Final = "/public/v1/documents"


async def test_each_request_is_one_line_with_everything_an_operator_asks_for(
    machine: Machine, app: ClientSession
) -> None:
    """Sizes, times, who paid, and how it went; the health path is nobody's request."""
    process = await machine.start(env=machine.with_api_key())
    url = await process.url()
    async with app.post(url + DOCUMENTS, json={"name": "Contract"}, headers={"X-Request-Id": "order-17"}) as answer:
        created = await answer.read()
    async with app.get(f"{url}/healthz") as answer:
        assert answer.status == 200
    async with app.get(f"{url}{DOCUMENTS}/none") as answer:
        assert answer.status == 404
    first, second = await process.accesses(2)
    assert set(first) == set(second) == FIELDS
    assert first["message"] == f"POST {DOCUMENTS} 201"
    assert (first["method"], first["path"], first["status"]) == ("POST", DOCUMENTS, 201)
    assert (first["bytes_in"], first["bytes_out"]) == (len(b'{"name": "Contract"}'), len(created))
    assert isinstance(first["ms"], float)
    assert isinstance(first["upstream_ms"], float)
    assert 0 < first["upstream_ms"] <= first["ms"] < 60_000
    assert (first["credential"], first["generation"], first["replayed"]) == ("default", 1, False)
    assert first["request_id"] == "order-17"
    assert (second["path"], second["status"], second["bytes_in"]) == (f"{DOCUMENTS}/none", 404, 0)
    assert second["request_id"] not in {"", "order-17"}


async def test_a_replay_and_the_generation_that_served_are_told(machine: Machine, app: ClientSession) -> None:
    """What the caller never notices, the operator may read."""
    process = await machine.start(env=machine.with_grant())
    url = await process.url()
    for _ in range(2):
        async with app.get(url + MEMBER) as answer:
            assert answer.status == 200
        machine.simulator.revoke_access_tokens()
    told = [(line["generation"], line["replayed"], line["status"]) for line in await process.accesses(2)]
    assert told == [(1, False, 200), (2, True, 200)]


async def test_what_a_caller_sends_as_a_secret_is_never_told(machine: Machine, app: ClientSession) -> None:
    """Queries, bodies and credentials of the caller's own are no business of the log, even for what is refused."""
    secrets = [f"s3cret-{number}" for number in range(5)]
    machine.secrets.update(secrets)
    process = await machine.start(env=machine.with_api_key() | {"PANDADOC_PROXY__LOG__LEVEL": "debug"})
    url = await process.url()
    own = {"Authorization": f"Bearer {secrets[0]}", "Cookie": f"session={secrets[1]}"}
    async with app.post(f"{url}{DOCUMENTS}?token={secrets[2]}", headers=own, json={"name": secrets[3]}) as answer:
        assert answer.status == 201
    async with app.post(
        f"{url}/oauth2/access_token?code={secrets[4]}", headers=own, data={"code": secrets[3]}
    ) as answer:
        assert answer.status == 403
        assert not [secret for secret in secrets if secret in await answer.text()]
    forwarded, refused = await process.accesses(2)
    assert forwarded["path"] == DOCUMENTS
    assert refused["path"] == "/oauth2/access_token"
    assert (refused["status"], refused["credential"], refused["generation"]) == (403, "", 0)
    assert refused["fault"]


async def test_no_access_line_is_written_where_none_is_wanted(machine: Machine, app: ClientSession) -> None:
    process = await machine.start(env=machine.with_api_key() | {"PANDADOC_PROXY__LOG__ACCESS": "false"})
    async with app.get(await process.url() + MEMBER) as answer:
        assert answer.status == 200
    process.signal(signal.SIGTERM)
    assert await process.ended() == 0
    assert process.access == []
    assert process.records


async def test_lines_for_people_are_a_matter_of_configuration(machine: Machine, app: ClientSession) -> None:
    process = await machine.start(env=machine.with_api_key() | {"PANDADOC_PROXY__LOG__FORMAT": "text"})
    async with app.get(await process.url() + MEMBER) as answer:
        assert answer.status == 200
    line = await process.said(f"GET {MEMBER} 200")
    assert "generation=1" in line
    assert not line.startswith("{")
