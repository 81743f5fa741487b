"""Where tokens come from and where people consent, when only the upstream is configured."""

from collections.abc import Callable, Mapping

import pytest

from proxy.config import Config, OAuth2Credential

ENVIRON = {"ID": "one-client", "SECRET": "its-secret"}


def credential(loaded: Callable[[str, Mapping[str, str]], Config], upstream: str, more: str = "") -> OAuth2Credential:
    oauth2 = f"{{client_id: {{env: ID}}, client_secret: {{env: SECRET}}{more}}}"
    config = loaded(f"upstream: {{url: '{upstream}'}}\ncredentials: {{default: {{oauth2: {oauth2}}}}}\n", ENVIRON)
    found = config.credentials["default"]
    assert isinstance(found, OAuth2Credential)
    return found


@pytest.mark.parametrize(
    ("upstream", "consent"),
    [
        ("https://api.pandadoc.com", "https://app.pandadoc.com/oauth2/authorize"),
        ("https://api.pandadoc.eu", "https://app.pandadoc.eu/oauth2/authorize"),
        ("https://api.pandadoc.com/some/prefix", "https://app.pandadoc.com/oauth2/authorize"),
        ("http://127.0.0.1:8090", "http://127.0.0.1:8090/oauth2/authorize"),
        ("http://[::1]:8090", "http://[::1]:8090/oauth2/authorize"),
        ("http://localhost:8090", "http://localhost:8090/oauth2/authorize"),
        ("https://gateway.example:8443", "https://gateway.example:8443/oauth2/authorize"),
    ],
)
def test_people_consent_at_the_app_that_stands_beside_the_api(
    loaded: Callable[[str, Mapping[str, str]], Config], upstream: str, consent: str
) -> None:
    """In its own region; a simulator on loopback asks at its own origin."""
    found = credential(loaded, upstream)
    assert str(found.token_url) == f"{upstream}/oauth2/access_token"
    assert str(found.authorize_url) == consent


def test_the_consent_follows_the_token_endpoint_not_the_upstream(
    loaded: Callable[[str, Mapping[str, str]], Config],
) -> None:
    more = ", token_url: 'https://api.pandadoc.eu/oauth2/access_token'"
    found = credential(loaded, "http://127.0.0.1:8090", more)
    assert str(found.authorize_url) == "https://app.pandadoc.eu/oauth2/authorize"


def test_a_configured_consent_page_stays_as_it_is(loaded: Callable[[str, Mapping[str, str]], Config]) -> None:
    found = credential(loaded, "https://api.pandadoc.com", ", authorize_url: 'https://consent.example/a%2Fb'")
    assert str(found.authorize_url) == "https://consent.example/a%2Fb"
