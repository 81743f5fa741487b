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


PROXY = {"HTTPS_PROXY": "http://p:1"}
FROM_PROXY = "http://p:1 (from $HTTPS_PROXY)"
APART = ", token_url: 'https://token.example/t'"
BESIDE = ", token_url: 'http://127.0.0.1:9/t'"


@pytest.mark.parametrize(
    ("upstream", "more", "environ", "ways"),
    [
        ("https://a.example", "", PROXY, (FROM_PROXY, FROM_PROXY)),
        ("https://a.example", BESIDE, PROXY, (FROM_PROXY, "None")),
        ("https://a.example", BESIDE.replace("http:", "https:"), PROXY, (FROM_PROXY, "None")),
        ("https://a.example", APART, PROXY | {"NO_PROXY": "token.example"}, (FROM_PROXY, "None")),
        ("https://a.example", APART, PROXY | {"NO_PROXY": "a.example"}, ("None", FROM_PROXY)),
        ("http://127.0.0.1:9", APART, PROXY, ("None", FROM_PROXY)),
        ("http://127.0.0.1:9", APART, {}, ("None", "None")),
        ("https://a.example', proxy: 'q:2", "", {"NO_PROXY": "*"}, ("http://q:2", "http://q:2")),
        ("https://a.example', proxy: 'q:2", BESIDE, {}, ("http://q:2", "None")),
        ("https://localhost', proxy: 'q:2", APART, PROXY, ("None", "http://q:2")),
        ("http://127.0.0.1:9', proxy: 'q:2", APART, PROXY, ("None", "http://q:2")),
    ],
)
def test_each_url_has_the_proxy_that_is_meant_for_it(
    loaded: Callable[[str, Mapping[str, str]], Config],
    upstream: str,
    more: str,
    environ: dict[str, str],
    ways: tuple[str, str],
) -> None:
    """What goes to this machine, or in plain text, no proxy ever sees."""
    oauth2 = f"{{client_id: {{env: ID}}, client_secret: {{env: SECRET}}{more}}}"
    text = f"upstream: {{url: '{upstream}'}}\ncredentials: {{default: {{oauth2: {oauth2}}}}}\n"
    config = loaded(text, ENVIRON | environ)
    found = config.credentials["default"]
    assert isinstance(found, OAuth2Credential)
    assert (str(config.upstream.proxy), str(found.proxy)) == ways


@pytest.mark.parametrize("upstream", ["http://127.0.0.1:9", "https://localhost:9"])
def test_a_proxy_that_nothing_would_go_through_is_refused(
    faults: Callable[[str, Mapping[str, str]], list[str]], upstream: str
) -> None:
    text = f"upstream: {{url: '{upstream}', proxy: 'q:2'}}\n"
    (fault,) = faults(text, {"PANDADOC_API_KEY": "k"})
    assert fault.startswith("config.yaml:1: upstream.proxy: is for https to other machines")


def test_nobody_judges_a_proxy_before_every_token_url_is_known(
    faults: Callable[[str, Mapping[str, str]], list[str]],
) -> None:
    oauth2 = "{client_id: {env: ID}, client_secret: {env: SECRET}, token_url: nonsense}"
    text = f"upstream: {{url: 'http://127.0.0.1:9', proxy: 'q:2'}}\ncredentials: {{default: {{oauth2: {oauth2}}}}}\n"
    (fault,) = faults(text, ENVIRON)
    assert "token_url" in fault


def test_a_proxy_that_cant_be_read_is_told_once(faults: Callable[[str, Mapping[str, str]], list[str]]) -> None:
    oauth2 = "{client_id: {env: ID}, client_secret: {env: SECRET}}"
    (fault,) = faults(f"credentials: {{default: {{oauth2: {oauth2}}}}}\n", ENVIRON | {"HTTPS_PROXY": "ftp://p"})
    assert fault.startswith("HTTPS_PROXY: upstream.proxy: expected a proxy")
