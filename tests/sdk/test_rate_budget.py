"""PandaDoc's own Python SDK with a sandbox key's rate: three calls, no loop, and no 429."""

import asyncio

import pandadoc_client
from conftest import HouseMaker
from pandadoc_client.api.documents_api import DocumentsApi
from pandadoc_client.model.document_create_request import DocumentCreateRequest
from pandadoc_client.model.document_send_request import DocumentSendRequest

SANDBOX = {"rate_budget": {"numbers": "sandbox", "sandbox": "10/6s"}}
ENFORCED = {"draft_after": 3.0, "rate_limits": {"all": 10}, "rate_window": 6.0}


def create_wait_and_send(url: str) -> str:
    """Do what an app does, with nothing but a preference to make waiting the proxy's."""
    with pandadoc_client.ApiClient(pandadoc_client.Configuration(host=url)) as client:
        client.set_default_header("Prefer", "wait=30")
        documents = DocumentsApi(client)
        created = documents.create_document(DocumentCreateRequest(name="Contract", template_uuid="abc"))
        details = documents.details_document(created.id)
        assert str(details.status) == "document.draft"
        sent = documents.send_document(created.id, DocumentSendRequest(silent=True))
        client.rest_client.pool_manager.clear()
        return str(sent.status)


async def test_the_sdk_creates_waits_for_the_draft_and_sends_in_three_calls(api_key_house: HouseMaker) -> None:
    house = await api_key_house(SANDBOX, ENFORCED)
    assert await asyncio.to_thread(create_wait_and_send, house.url) == "document.sent"
    calls = [call.method for call in house.simulator.api_calls()]
    asked = [fields for fields in house.ear.fields if "method" in fields]
    assert len(asked) == 3
    assert 5 <= len(calls) <= 7, "the proxy has polled meanwhile, once a second"
    assert 429 not in {call.status for call in house.simulator.api_calls()}


async def test_several_apps_that_do_so_at_once_meet_no_429(api_key_house: HouseMaker) -> None:
    house = await api_key_house(SANDBOX, ENFORCED)
    ends = await asyncio.gather(*(asyncio.to_thread(create_wait_and_send, house.url) for _ in range(3)))
    assert ends == ["document.sent"] * 3
    assert 429 not in {call.status for call in house.simulator.api_calls()}
