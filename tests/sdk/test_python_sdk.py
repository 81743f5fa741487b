"""PandaDoc's own Python SDK, with no credential, through the proxy: it must notice nothing.

The SDK is synchronous and runs in a thread, one call at a time. Between any two calls the test may do to the
token what time and people do. A tap before the proxy tells what the SDK really sent, the simulator's journal
what PandaDoc would have seen.
"""

import asyncio
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import pandadoc_client
import pytest
from conftest import HouseMaker
from pandadoc_client.api.documents_api import DocumentsApi
from pandadoc_client.exceptions import ApiException, NotFoundException
from pandadoc_client.model.document_create_request import DocumentCreateRequest
from pandadoc_client.model.document_create_response import DocumentCreateResponse
from pandadoc_client.model.document_send_request import DocumentSendRequest
from rig import House

from proxy.simulator import Fault, pdf_bytes, pdf_sha256

MIB: Final = 1024 * 1024
SIZE: Final = 5 * MIB  # of what is uploaded and of what is downloaded
LIFETIME: Final = 3600  # seconds an access token lives

PANDADOC: Final = {"draft_after_polls": 1, "document_size": SIZE, "expires_in": LIFETIME}

CALLS: Final = (
    "GET /public/v1/documents 200",
    "POST /public/v1/documents 201",
    "GET /public/v1/documents/{created} 200",
    "GET /public/v1/documents/{created} 200",
    "POST /public/v1/documents/{created}/send 200",
    "GET /public/v1/documents/{created}/download 200",
    "POST /public/v1/documents 201",
    "GET /public/v1/documents/{uploaded} 200",
    "GET /public/v1/documents/{uploaded} 200",
    "POST /public/v1/documents/{uploaded}/send 200",
    "GET /public/v1/documents/{uploaded}/download 200",
    "GET /public/v1/documents 200",
    "DELETE /public/v1/documents/{created} 204",
    "GET /public/v1/documents/{created} 404",
)
"""What the app's calls must look like in the proxy's access log: each once, each answered."""


class App:
    """An app as people write one with the SDK. It knows a URL; nobody ever told it a credential.

    `created` and `uploaded` are set by the calls that make these documents.
    """

    def __init__(self, url: str, folder: Path) -> None:
        configuration = pandadoc_client.Configuration(host=url)
        configuration.temp_folder_path = str(folder)  # where the SDK leaves its downloads
        self._client = pandadoc_client.ApiClient(configuration)
        self._documents = DocumentsApi(self._client)
        self._file = folder / "scan.pdf"
        self._file.write_bytes(b"".join(pdf_bytes("scan", SIZE)))
        self.created = ""
        self.uploaded = ""

    def calls(self) -> Sequence[Callable[[], None]]:
        """Return the app's day, one call to PandaDoc each."""
        return (
            self.list_nothing,
            self.create,
            lambda: self.poll(self.created, "document.uploaded"),
            lambda: self.poll(self.created, "document.draft"),
            lambda: self.send(self.created),
            lambda: self.download(self.created),
            self.upload,
            lambda: self.poll(self.uploaded, "document.uploaded"),
            lambda: self.poll(self.uploaded, "document.draft"),
            lambda: self.send(self.uploaded),
            lambda: self.download(self.uploaded),
            self.list_both,
            self.delete,
            self.miss,
        )

    def list_nothing(self) -> None:
        assert self._documents.list_documents(count=5).results == []

    def create(self) -> None:
        created = self._documents.create_document(DocumentCreateRequest(name="Contract", template_uuid="abc"))
        assert str(created.status) == "document.uploaded"
        self.created = created.id

    def upload(self) -> None:
        """Use the SDK's general call: the one generated for this path sends no files and knows no `?upload`."""
        with self._file.open("rb") as content:
            created, status, _ = self._client.call_api(
                "/public/v1/documents?upload",
                "POST",
                header_params={"Content-Type": "multipart/form-data", "Accept": "application/json"},
                post_params=[("data", json.dumps({"name": "Scan"}))],
                files={"file": [content]},
                response_type=(DocumentCreateResponse,),
                auth_settings=["apiKey", "oauth2"],
            )
        assert status == 201
        self.uploaded = created.id

    def poll(self, document_id: str, status: str) -> None:
        assert self._documents.status_document(document_id).status == status

    def send(self, document_id: str) -> None:
        assert self._documents.send_document(document_id, DocumentSendRequest(silent=True)).status == "document.sent"

    def download(self, document_id: str) -> None:
        with self._documents.download_document(document_id) as content:
            assert hashlib.file_digest(content, "sha256").hexdigest() == pdf_sha256(document_id, SIZE)

    def list_both(self) -> None:
        listed = self._documents.list_documents(count=5).results
        assert [(document.id, document.name) for document in listed] == [
            (self.uploaded, "Scan"),
            (self.created, "Contract"),
        ]

    def delete(self) -> None:
        self._documents.delete_document(self.created)

    def miss(self) -> None:
        """Ask for what is gone; the answer must be PandaDoc's and not the proxy's."""
        with pytest.raises(NotFoundException) as caught:
            self._documents.status_document(self.created)
        assert caught.value.status == 404
        assert json.loads(caught.value.body) == {"type": "request_error", "detail": "Not found"}
        assert "Proxy-Status" not in caught.value.headers

    def close(self) -> None:
        """Close the connections too, which the SDK leaves to the garbage collector."""
        self._client.close()
        self._client.rest_client.pool_manager.clear()


class Tap:
    """A wire between the SDK and the proxy that keeps what the SDK sent. `sent` grows by one entry a connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._server: asyncio.Server | None = None
        self._ends: list[asyncio.StreamWriter] = []
        self.sent: list[bytearray] = []

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for end in self._ends:
            end.close()
        async with asyncio.timeout(10):
            for end in self._ends:
                await end.wait_closed()

    async def _relay(self, app: asyncio.StreamReader, to_app: asyncio.StreamWriter) -> None:
        kept = bytearray()
        self.sent.append(kept)
        proxy, to_proxy = await asyncio.open_connection("127.0.0.1", self._port)
        self._ends += [to_app, to_proxy]
        await asyncio.gather(_pass(app, to_proxy, kept), _pass(proxy, to_app, bytearray()))

    @property
    def credentials(self) -> list[bytes]:
        """Every header line in what was sent that could hold a credential."""
        suspect = re.compile(rb"(?im)^(?:(?:proxy-)?authorization|cookie|[^:\r\n]*api-?key)[ \t]*:.*$")
        return [line for kept in self.sent for line in suspect.findall(bytes(kept))]

    @property
    def requests(self) -> int:
        return sum(len(re.findall(rb"[A-Z]+ /\S* HTTP/1\.1\r\n", bytes(kept))) for kept in self.sent)


async def _pass(source: asyncio.StreamReader, target: asyncio.StreamWriter, kept: bytearray) -> None:
    """Hand bytes on as they come, and the end of them too."""
    try:
        while chunk := await source.read(256 * 1024):
            kept += chunk
            target.write(chunk)
            await target.drain()
    except ConnectionError:  # the other side of this wire is gone; that ends it, and no test asks who began
        pass
    finally:
        target.close()


Between = Callable[[House], None]


def nothing_happens(_house: House) -> None:
    """Leave the token in peace."""


def the_token_expires(house: House) -> None:
    house.clock.pass_(LIFETIME + 1)


def the_token_is_revoked(house: House) -> None:
    house.simulator.revoke_access_tokens()


def both_happen(house: House) -> None:
    """Revoke the token, and let its time pass before anybody has noticed."""
    the_token_is_revoked(house)
    the_token_expires(house)


async def live_through_a_day(house: House, folder: Path, between: Between) -> None:
    """Make all of the app's calls, `between` any two of them; assert that each succeeds and was made once."""
    tap = Tap(house.port)
    async with tap as url:
        app = App(url, folder)
        try:
            await one_by_one(app.calls(), lambda: between(house))
        finally:
            await asyncio.to_thread(app.close)
    assert tap.credentials == []
    assert tap.requests == len(CALLS)  # urllib3 has repeated none
    seen = [f"{line['method']} {line['path']} {line['status']}" for line in house.ear.fields]
    assert seen == [call.format(created=app.created, uploaded=app.uploaded) for call in CALLS]


async def one_by_one(calls: Sequence[Callable[[], None]], between: Callable[[], None]) -> None:
    for number, call in enumerate(calls):
        if number:
            between()
        await asyncio.to_thread(call)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the app's own folder, for what it uploads and what the SDK downloads."""
    path = tmp_path / "app"
    path.mkdir()
    return path


async def test_the_sdk_lives_its_day_on_a_lent_api_key(api_key_house: HouseMaker, folder: Path) -> None:
    """The first of the two ways to be authenticated: every call carries the one key, put there by us."""
    house = await api_key_house(simulator=PANDADOC)
    await live_through_a_day(house, folder, nothing_happens)
    assert {call.authorization for call in house.simulator.api_calls()} == {(f"API-Key {house.environ['KEY']}",)}
    assert len(house.simulator.api_calls()) == len(CALLS)


async def test_the_sdk_lives_its_day_on_one_token(oauth_house: HouseMaker, folder: Path) -> None:
    """The second way, while nothing goes wrong: one refresh token redeemed once serves all calls."""
    house = await oauth_house(simulator=PANDADOC)
    await live_through_a_day(house, folder, nothing_happens)
    assert len({bearer(call.authorization) for call in house.simulator.api_calls()}) == 1
    assert len(house.simulator.token_calls()) == 1


async def test_the_sdk_does_not_notice_a_token_that_expires_between_any_two_calls(
    oauth_house: HouseMaker, folder: Path
) -> None:
    """An expired token is never lent: PandaDoc sees no 401 at all."""
    house = await oauth_house(simulator=PANDADOC)
    await live_through_a_day(house, folder, the_token_expires)
    calls = house.simulator.api_calls()
    assert 401 not in {call.status for call in calls}
    assert len({bearer(call.authorization) for call in calls}) == len(calls) == len(CALLS)
    assert len(house.simulator.token_calls()) == len(CALLS)


async def test_the_sdk_does_not_notice_a_token_that_is_revoked_between_any_two_calls(
    oauth_house: HouseMaker, folder: Path
) -> None:
    """Nothing announces a revocation but the 401: each call after the first is sent twice, byte for byte the same."""
    house = await oauth_house(simulator=PANDADOC)
    await live_through_a_day(house, folder, the_token_is_revoked)
    first, *attempts = house.simulator.api_calls()
    assert first.status == 200
    assert len(attempts) == 2 * (len(CALLS) - 1)
    for refused, repeated in zip(attempts[::2], attempts[1::2], strict=True):
        assert refused.status == 401
        assert (refused.method, refused.target) == (repeated.method, repeated.target)
        assert (refused.body_size, refused.body_sha256) == (repeated.body_size, repeated.body_sha256)
        assert bearer(refused.authorization) != bearer(repeated.authorization)
    assert max(call.body_size for call in attempts) > SIZE
    assert [line["replayed"] for line in house.ear.fields] == [False] + [True] * (len(CALLS) - 1)
    assert len(house.simulator.token_calls()) == len(CALLS)


async def test_the_sdk_does_not_notice_a_token_that_is_revoked_and_then_expires(
    oauth_house: HouseMaker, folder: Path
) -> None:
    """One refresh cures both."""
    house = await oauth_house(simulator=PANDADOC)
    await live_through_a_day(house, folder, both_happen)
    assert len(house.simulator.token_calls()) == len(CALLS)
    assert len(house.simulator.api_calls()) == len(CALLS)


async def test_the_sdk_is_told_what_pandadoc_refuses_in_pandadocs_own_words(
    oauth_house: HouseMaker, folder: Path, stack: AsyncExitStack
) -> None:
    """A 409 and a 403 are the app's business: they cost no refresh and arrive as they are."""
    house = await oauth_house(simulator=PANDADOC)
    app = App(house.url, folder)
    stack.callback(app.close)
    await asyncio.to_thread(app.create)
    assert await refusal(lambda: app.send(app.created)) == (409, "document.uploaded")
    house.simulator.faults.add(Fault(status=403, times=1))
    assert await refusal(lambda: app.poll(app.created, "document.uploaded")) == (403, "permissions_error")
    assert len(house.simulator.token_calls()) == 1


async def refusal(call: Callable[[], None]) -> tuple[int, str]:
    """Return the status and the kind of what the SDK raises."""
    with pytest.raises(ApiException) as caught:
        await asyncio.to_thread(call)
    body: dict[str, Any] = json.loads(caught.value.body)
    return caught.value.status, str(body.get("type") or body.get("status"))


def bearer(authorization: tuple[str, ...]) -> str:
    """Return the token of what must be exactly one `Authorization`."""
    (value,) = authorization
    scheme, _, token = value.partition(" ")
    assert scheme == "Bearer"
    return token
