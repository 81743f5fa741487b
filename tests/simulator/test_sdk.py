"""PandaDoc's own Python SDK, which checks each answer against the contract's types."""

import asyncio
import hashlib
import json
from pathlib import Path

import pandadoc_client
from pandadoc_client.api.documents_api import DocumentsApi
from pandadoc_client.api.members_api import MembersApi
from pandadoc_client.api.o_auth_2_0_authentication_api import OAuth20AuthenticationApi
from pandadoc_client.exceptions import NotFoundException
from pandadoc_client.model.document_create_request import DocumentCreateRequest
from pandadoc_client.model.document_create_response import DocumentCreateResponse
from pandadoc_client.model.document_send_request import DocumentSendRequest
from pandadoc_client.model.document_status_request_enum import DocumentStatusRequestEnum

from proxy.simulator import Simulator, pdf_bytes, pdf_sha256


def _client(simulator: Simulator) -> pandadoc_client.ApiClient:
    configuration = pandadoc_client.Configuration(host=simulator.url)
    configuration.access_token = simulator.issue_access_token()
    return pandadoc_client.ApiClient(configuration)


def _live_a_documents_life(simulator: Simulator, folder: Path) -> None:
    with _client(simulator) as client:
        client.configuration.temp_folder_path = str(folder)  # where the SDK leaves its downloads
        documents = DocumentsApi(client)
        created = documents.create_document(DocumentCreateRequest(name="Contract", template_uuid="abc"))
        assert str(created.status) == "document.uploaded"
        assert documents.status_document(created.id).status == "document.uploaded"
        assert str(documents.details_document(created.id).status) == "document.draft"
        sent = documents.send_document(created.id, DocumentSendRequest(silent=True))
        assert sent.status == "document.sent"
        listed = documents.list_documents(status=DocumentStatusRequestEnum(1), count=5, q="contract")
        assert [document.id for document in listed.results] == [created.id]
        with documents.download_document(created.id) as content:
            assert hashlib.sha256(content.read()).hexdigest() == pdf_sha256(created.id, 64 * 1024)
        documents.delete_document(created.id)


async def test_a_documents_life_satisfies_the_sdk(simulator: Simulator, tmp_path: Path) -> None:
    await asyncio.to_thread(_live_a_documents_life, simulator, tmp_path)
    assert len(simulator.documents) == 0
    assert {received.status for received in simulator.journal} == {200, 201, 204}


def _upload(simulator: Simulator, file: Path) -> int:
    with _client(simulator) as client, file.open("rb") as content:
        _, status, _ = client.call_api(
            "/public/v1/documents?upload",
            "POST",
            header_params={"Content-Type": "multipart/form-data", "Accept": "application/json"},
            post_params=[("data", json.dumps({"name": "Scan"}))],
            files={"file": [content]},
            response_type=(DocumentCreateResponse,),
            auth_settings=["oauth2"],
        )
        return int(status)


async def test_an_upload_of_the_sdks_is_understood(simulator: Simulator, tmp_path: Path) -> None:
    file = tmp_path / "scan.pdf"
    file.write_bytes(b"".join(pdf_bytes("a", 5 * 1024 * 1024)))
    assert await asyncio.to_thread(_upload, simulator, file) == 201
    assert [document.name for document in simulator.documents.newest_first()] == ["Scan"]
    assert simulator.journal[0].body_size > 5 * 1024 * 1024


def _meet_the_rest(simulator: Simulator) -> None:
    with _client(simulator) as client:
        assert MembersApi(client).details_current_member().is_active
        tokens = OAuth20AuthenticationApi(client).access_token(
            grant_type="refresh_token",
            client_id=simulator.client_id,
            client_secret=simulator.client_secret,
            refresh_token=simulator.issue_refresh_token(),
            scope="read+write",
        )
        assert tokens.token_type == "Bearer"


async def test_the_member_and_the_token_endpoint_satisfy_the_sdk(simulator: Simulator) -> None:
    await asyncio.to_thread(_meet_the_rest, simulator)


def _miss(simulator: Simulator) -> int:
    with _client(simulator) as client:
        try:
            DocumentsApi(client).status_document("unknown")
        except NotFoundException as problem:
            return int(problem.status)
    return 0


async def test_what_is_missing_is_the_sdks_not_found(simulator: Simulator) -> None:
    assert await asyncio.to_thread(_miss, simulator) == 404
