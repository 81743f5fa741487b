"""PandaDoc's own Python SDK in OAuth mode: it insists on fetching its token, and holds no secret of PandaDoc's."""

import asyncio
from typing import Final

import pandadoc_client
from conftest import HouseMaker
from pandadoc_client.api.documents_api import DocumentsApi
from pandadoc_client.api.members_api import MembersApi
from pandadoc_client.api.o_auth_2_0_authentication_api import OAuth20AuthenticationApi
from pandadoc_client.exceptions import ApiException

KEY: Final = "sdk-app-0123456789abcdef"


class App:
    """As people write one: an authorization code first, a refresh token later, and API calls with what it was given."""

    def __init__(self, url: str, client_secret: str) -> None:
        self._configuration = pandadoc_client.Configuration(host=url)
        self._secret = client_secret

    def begin(self) -> str:
        """Fetch a token for a code; return the refresh token."""
        return self._fetch(grant_type="authorization_code", code="the-code-of-a-consent", scope="read+write")

    def go_on(self, refresh_token: str) -> str:
        """Fetch a new token with the refresh token."""
        return self._fetch(grant_type="refresh_token", refresh_token=refresh_token)

    def _fetch(self, **grant: str) -> str:
        with pandadoc_client.ApiClient(self._configuration) as client:
            token = OAuth20AuthenticationApi(client).access_token(
                client_id="the-apps-id", client_secret=self._secret, **grant
            )
        self._configuration.access_token = token.access_token
        assert token.expires_in == 31535999
        return str(token.refresh_token)

    def work(self) -> tuple[str, int]:
        with pandadoc_client.ApiClient(self._configuration) as client:
            member = MembersApi(client).details_current_member()
            return str(member.email), len(DocumentsApi(client).list_documents().results)


async def test_the_sdk_fetches_a_token_and_works_with_it_across_a_restart(api_key_house: HouseMaker) -> None:
    clients = {"sdk": {"key": {"value": KEY}}}
    listener = {"bind": "127.0.0.1:0", "token_endpoint": "placeholder", "clients": clients}
    house = await api_key_house({"listeners": [listener]})
    house.secrets.add(KEY)
    app = App(house.url, KEY)
    refresh_token = await asyncio.to_thread(app.begin)
    assert await asyncio.to_thread(app.work) == ("member@example.com", 0)

    port = house.port
    house.settings = {**house.settings, "listeners": [{**listener, "bind": f"127.0.0.1:{port}"}]}
    await house.restart()
    assert await asyncio.to_thread(app.work) == ("member@example.com", 0)
    await asyncio.to_thread(app.go_on, refresh_token)
    assert await asyncio.to_thread(app.work) == ("member@example.com", 0)

    assert not house.simulator.token_calls()
    lent = {call.authorization for call in house.simulator.api_calls()}
    assert lent == {(f"API-Key {house.environ['KEY']}",)}


async def test_the_sdk_is_told_that_its_secret_is_wrong_as_pandadoc_would(api_key_house: HouseMaker) -> None:
    clients = {"sdk": {"key": {"value": KEY}}}
    listener = {"bind": "127.0.0.1:0", "token_endpoint": "placeholder", "clients": clients}
    house = await api_key_house({"listeners": [listener]})
    refused = await asyncio.to_thread(_failure, App(house.url, "an-old-secret-0123456789"))
    assert (refused.status, refused.body) == (400, '{"error":"invalid_client"}')


def _failure(app: App) -> ApiException:
    try:
        app.begin()
    except ApiException as refused:
        return refused
    raise AssertionError("the SDK was handed a token")
