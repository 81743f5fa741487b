"""Law 16 for the configuration: a secret in any place, right or wrong, is never shown."""

import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from proxy.config import BadConfig, Config, describe

Loaded = Callable[[str, Mapping[str, str]], Config]

CANARIES = {
    "like PandaDoc's": "cafe0123456789abcdef0123456789abcdefcafe",
    "like a JWT": "eyJhbGciOiJIUzI1NiJ9.eyJjYW5hcnkiOiIxIn0.c2lnbmF0dXJlLW9mLWNhbmFyeQ",
    "mixed": "Canary_sings-where_it-Should_not-be-0123456789",
}

PLACES = [
    "credentials: {default: {api_key: CANARY}}",
    "credentials: {default: {api_key: {value: CANARY}}}",
    "credentials: {default: {api_key: {env: CANARY}}}",
    "credentials: {default: {api_key: {env: [CANARY]}}}",
    "credentials: {default: {api_key: '${CANARY}'}}",
    "credentials: {default: {api_key: '$CANARY'}}",
    "credentials: {default: {api_key: {file: CANARY}}}",
    "credentials: {default: {api_key: {vault: CANARY}}}",
    "credentials: {default: {api_key: {CANARY: null}}}",
    "credentials: {default: {api_key: {env: CANARY, file: CANARY}}}",
    "credentials: {default: {api_key: [CANARY]}}",
    "credentials: {default: {api_key: {value: 'CANARY '}}}",
    'credentials: {default: {api_key: "CANARY\\n"}}',
    "credentials: {default: {api_key: &CANARY x}}",
    "credentials: {default: {api_key: *CANARY }}",
    "credentials: {default: {api_key: !CANARY x}}",
    "credentials: {default: {api_key: !CANARY!x y}}",
    "credentials: {default: {api_key: ${CANARY}}}",
    "credentials: {default: {api_key: 'CANARY}}",
    'credentials: {default: {api_key: "\\qCANARY"}}',
    "credentials: {default: {api_key: @CANARY}}",
    "credentials: {default: {apikey: CANARY}}",
    "credentials: {default: {CANARY: x}}",
    "credentials: {default: {CANARY: x, CANARY: x}}",
    "credentials: {default: CANARY}",
    "credentials: {CANARY: {}}",
    "credentials: {CANARY: {api_key: CANARY}}",
    "credentials: [CANARY]",
    "credentials: CANARY",
    "CANARY",
    "CANARY: x",
    "- CANARY",
    "api_key: CANARY\n bad",
    "credentials: {default: {oauth2: CANARY}}",
    "credentials: {default: {oauth2: {client_id: CANARY, client_secret: CANARY, refresh_token: CANARY}}}",
    "credentials: {default: {oauth2: {client_id: x, client_secret: x, refresh_before: CANARY, wait: CANARY}}}",
    "credentials: {default: {oauth2: {client_id: x, client_secret: x, token_url: CANARY, probe: CANARY}}}",
    "credentials: {default: {oauth2: {client_id: x, client_secret: x, token_url: 'https://a?t=CANARY'}}}",
    "credentials: {default: {oauth2: {client_id: x, client_secret: x, store: CANARY}}}",
    "credentials: {default: {oauth2: {client_id: x, client_secret: x, store: {CANARY: x}}}}",
    "credentials: {default: {oauth2: {client_id: x, client_secret: x, store: {memory: CANARY}}}}",
    "listeners: [{credential: CANARY}]",
    "listeners: [{bind: CANARY, health: CANARY, anyone: CANARY}]",
    "listeners: [{bind: 'unix:/x', mode: CANARY, owner: CANARY}, {mode: CANARY, owner: 'CANARY:CANARY'}]",
    "listeners: CANARY",
    "upstream: CANARY",
    "upstream: https://CANARY@a.example",
    "upstream: https://u:CANARY@a.example",
    "upstream: https://a.example?key=CANARY",
    "upstream: {proxy: 'http://u:CANARY@p:1'}",
    "upstream: {proxy: 'ftp://u:CANARY@p:1'}",
    "upstream: {connect_timeout: CANARY, max_connections: CANARY}",
    "replay: {max_body: CANARY}",
    "log: {level: CANARY, access: CANARY}",
]
VARIABLES = [
    "PANDADOC_API_KEY",
    "PANDADOC_CLIENT_ID",
    "PANDADOC_CLIENT_SECRET",
    "PANDADOC_REFRESH_TOKEN",
    "PANDADOC_PROXY__CREDENTIALS",
    "PANDADOC_PROXY__CREDENTIALS__DEFAULT",
    "PANDADOC_PROXY__CREDENTIALS__DEFAULT__API_KEY",
    "PANDADOC_PROXY__CREDENTIALS__DEFAULT__API_KEY__ENV",
    "PANDADOC_PROXY__CREDENTIALS__DEFAULT__API_KEY__FILE",
    "PANDADOC_PROXY__CREDENTIALS__DEFAULT__TOKEN",
    "PANDADOC_PROXY__LOG__LEVEL",
    "PANDADOC_PROXY__API_KEY",
]


def _everything_said(load: Callable[[], Config]) -> str:
    try:
        config = load()
    except BadConfig as error:
        return "\n".join([repr(error), str(error), *traceback.format_exception(error)])
    return "\n".join([repr(config), describe(config), *config.warnings])


@pytest.mark.parametrize("canary", CANARIES.values(), ids=CANARIES.keys())
@pytest.mark.parametrize("place", PLACES)
def test_no_place_of_the_file_gives_a_secret_away(place: str, canary: str, loaded: Loaded) -> None:
    text = place.replace("CANARY", canary)
    assert canary not in _everything_said(lambda: loaded(text, {"PANDADOC_API_KEY": "k"}))


@pytest.mark.parametrize("canary", CANARIES.values(), ids=CANARIES.keys())
@pytest.mark.parametrize("form", ["CANARY", "CANARY\n", "a\nCANARY", "{CANARY", "'CANARY", "[CANARY]", "u:CANARY@p:1"])
@pytest.mark.parametrize("name", VARIABLES)
def test_no_variable_gives_a_secret_away(name: str, form: str, canary: str, loaded: Loaded) -> None:
    environ = {"PANDADOC_API_KEY": "k"} | {name: form.replace("CANARY", canary)}
    assert canary not in _everything_said(lambda: loaded("", environ))


@pytest.mark.parametrize("form", ["http://u:CANARY@p:1", "CANARY@p:1", "ftp://u:CANARY@p:1", "u:CANARY@p:1/x"])
def test_no_proxy_of_the_environment_gives_its_password_away(form: str, loaded: Loaded) -> None:
    said = _everything_said(lambda: loaded("", {"PANDADOC_API_KEY": "k", "HTTPS_PROXY": form}))
    assert "CANARY" not in said


@pytest.mark.parametrize("content", ["CANARY", "CANARY\n\n", "CANARY\0", "CANARY\xff", " CANARY", ""])
def test_no_secret_file_gives_its_content_away(content: str, folder: Path, loaded: Loaded) -> None:
    (folder / "key").write_bytes(content.encode("latin-1"))
    said = _everything_said(lambda: loaded("credentials: {default: {api_key: {file: ./key}}}", {}))
    assert "CANARY" not in said
