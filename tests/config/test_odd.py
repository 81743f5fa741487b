"""Odd files and environments that are right all the same, and what they come to."""

from collections.abc import Callable, Mapping
from fractions import Fraction
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from proxy.config import (
    Admin,
    ApiKeyCredential,
    Client,
    Config,
    FileStore,
    Listener,
    MemoryStore,
    OAuth2Credential,
    TcpBind,
    UnixBind,
)
from proxy.secrets import SecretReference

Loaded = Callable[[str, Mapping[str, str]], Config]

KEY = {"PANDADOC_API_KEY": "k"}
OAUTH = {"PANDADOC_CLIENT_ID": "i", "PANDADOC_CLIENT_SECRET": "s"}
P = "PANDADOC_PROXY__"
PROXIED = "upstream: {url: https://a.example, proxy: p.corp:3128, response_timeout: 10m}"


@pytest.mark.parametrize(
    ("text", "environ", "path", "value"),
    [
        ("", {}, "listeners", (Listener(),)),
        ("---\n", {}, "admin", Admin()),
        ("# nothing but a comment\n", {}, "admin.bind.port", 8081),
        ("\ufefflog: {level: debug}\n", {}, "log.level", "debug"),
        ("log: {level: debug}\r\n", {}, "log.level", "debug"),
        ("upstream:\nlisteners:\nlog:\ncredentials:\n", {}, "listeners", (Listener(),)),
        ("listeners: [{allowed_hosts: , bind: '[::1]:0'}]", {}, "listeners", (Listener(bind=TcpBind("::1", 0)),)),
        ("listeners: [{}, {bind: localhost:0}, {bind: 127.0.0.1:0}]", {}, "listeners", (
            Listener(), Listener(bind=TcpBind("localhost", 0)), Listener(bind=TcpBind("127.0.0.1", 0)),
        )),
        ("listeners: [{bind: unix:/run/x.sock, health: null}]", {}, "listeners", (
            Listener(bind=UnixBind(Path("/run/x.sock")), health=None),
        )),
        ("listeners: [{allowed_hosts: [A.example., on, 10.0.0.1, '[FE80::1]']}]", {}, "listeners", (
            Listener(allowed_hosts=frozenset({"a.example", "on", "10.0.0.1", "fe80::1"})),
        )),
        ("admin: null", {}, "admin", None),
        ("admin: ~", {}, "admin", None),
        ("upstream: https://A.example/prefix//", {}, "upstream.url", URL("https://a.example/prefix")),
        ("upstream: https://a.example/a.b/", {}, "upstream.url", URL("https://a.example/a.b")),
        ("upstream: http://[::1]:9", {}, "upstream.url", URL("http://[::1]:9")),
        ("upstream: {connect_timeout: 250ms}", {}, "upstream.connect_timeout", 0.25),
        ("upstream: {connect_timeout: '1.5m'}", {}, "upstream.connect_timeout", 90.0),
        ("upstream: {proxy: p.corp:3128}", {}, "upstream.proxy.url", URL("http://p.corp:3128")),
        ("replay: {max_body: 123, max_total: 1kib}", {}, "replay.max_body", 123),
        ("replay: {max_body: 0, max_total: 0}", {}, "replay.max_total", 0),
        ("shutdown: {grace: 0, drain: 0s}", {}, "shutdown.drain", 0.0),
        ("log: {access: off}", {}, "log.access", False),
        ("%YAML 1.1\n---\nlog: {access: No}", {}, "log.access", False),
        ("log: {'level': \"debug\"}", {}, "log.level", "debug"),
        # overrides
        ("upstream: https://a.example", {P + "UPSTREAM__URL": "https://b.example"}, "upstream.url.host", "b.example"),
        ("upstream: https://a.example", {P + "UPSTREAM__KEEPALIVE": "9s"}, "upstream.url.host", "a.example"),
        ("", {P + "UPSTREAM": "https://b.example", P + "UPSTREAM__KEEPALIVE": "9s"}, "upstream.keepalive", 9.0),
        (PROXIED, {P + "UPSTREAM": "https://b.example"}, "upstream.url.host", "b.example"),
        (PROXIED, {P + "UPSTREAM": "https://b.example"}, "upstream.proxy.url", URL("http://p.corp:3128")),
        (PROXIED, {P + "UPSTREAM": "'https://b.example'"}, "upstream.response_timeout", 600.0),
        (PROXIED, {P + "UPSTREAM": "https://b.example", P + "UPSTREAM__KEEPALIVE": "9s"}, "upstream.keepalive", 9.0),
        (PROXIED, {P + "UPSTREAM": "{url: https://b.example}"}, "upstream.proxy", None),
        (PROXIED, {P + "UPSTREAM": "null"}, "upstream.proxy", None),
        ("rate_budget: {numbers: none, share: 1/4}", {P + "RATE_BUDGET": "auto"}, "rate_budget.numbers", "auto"),
        ("rate_budget: {numbers: none, share: 1/4}", {P + "RATE_BUDGET": "auto"}, "rate_budget.share", Fraction(1, 4)),
        ("", {P + "LISTENERS__0__BIND": "[::1]:80"}, "listeners", (Listener(bind=TcpBind("::1", 80)),)),
        ("", {P + "LISTENERS__0__ALLOWED_HOSTS": "[a, b]"}, "listeners", (
            Listener(allowed_hosts=frozenset({"a", "b"})),
        )),
        ("", {P + "LISTENERS__0__CLIENTS__1__KEY": "{env: K}", "K": "k" * 40}, "listeners", (
            Listener(clients={"1": Client(key=SecretReference.env("K", {}))}),
        )),
        ("listeners: [{}, {bind: '127.0.0.1:1'}]", {P + "LISTENERS__1__HEALTH": "null"}, "listeners", (
            Listener(), Listener(bind=TcpBind("127.0.0.1", 1), health=None),
        )),
        ("admin: null", {P + "ADMIN__BIND": "127.0.0.1:9"}, "admin", Admin(bind=TcpBind("127.0.0.1", 9))),
        ("", {P + "ADMIN": "null"}, "admin", None),
        ("", {P + "ADMIN": ""}, "admin", Admin()),
        ("policy: {profiles: [no-send]}", {P + "POLICY": ""}, "policy.profiles", ("no-send",)),
        ("policy: {profiles: [no-send]}", {P + "POLICY__PROFILES": " \n"}, "policy.profiles", ("no-send",)),
        ("listeners: [{bind: '127.0.0.1:1'}]", {P + "LISTENERS": ""}, "listeners", (
            Listener(bind=TcpBind("127.0.0.1", 1)),
        )),
        ("", {P + "LISTENERS__7__BIND": "", "PANDADOC_PROXY__": ""}, "listeners", (Listener(),)),
        ("", {P + "LOG": "{level: debug, access: no}"}, "log.access", False),
        ("", {P + "LOG__LEVEL": "' debug'".replace(" ", "")}, "log.level", "debug"),
        ("", {P + "LOG__LEVEL": " debug\n"}, "log.level", "debug"),
        ("", {P + "LOG__LEVEL": "debug", "PANDADOC_PROXY_LOG": "x"}, "log.level", "debug"),
        ("", {"PANDADOC_PROXY_SERVICE_HOST": "10.0.0.1", "PANDADOC_PROXY_PORT": "tcp://10.0.0.1:80"}, "warnings", ()),
        # the environment's proxy
        ("", {"HTTPS_PROXY": "http://p:1"}, "upstream.proxy.url", URL("http://p:1")),
        ("", {"HTTPS_PROXY": "http://p:1", "https_proxy": "q:2"}, "upstream.proxy.url", URL("http://q:2")),
        ("", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "x, .pandadoc.com"}, "upstream.proxy", None),
        ("", {"HTTPS_PROXY": "http://p:1", "no_proxy": "*"}, "upstream.proxy", None),
        ("", {"HTTPS_PROXY": " "}, "upstream.proxy", None),
        ("upstream: http://localhost:3", {"HTTPS_PROXY": "http://p:1"}, "upstream.proxy", None),
        ("upstream: https://localhost:3", {"HTTPS_PROXY": "http://p:1"}, "upstream.proxy", None),
        ("upstream: {proxy: q:2}", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, "upstream.proxy.url", URL("http://q:2")),
    ],
)  # fmt: skip
def test_an_odd_configuration_means(
    text: str, environ: dict[str, str], path: str, value: object, loaded: Loaded
) -> None:
    assert attrgetter(path)(loaded(text, KEY | environ)) == value


def _only(config: Config) -> Any:
    return config.credentials["default"]


def _oauth(keys: str) -> str:
    return f"credentials: {{default: {{oauth2: {{client_id: i, client_secret: {{env: S}}, {keys}}}}}}}"


@pytest.mark.parametrize(
    ("keys", "name", "value"),
    [
        ("", "token_url", URL("https://a.example/prefix/oauth2/access_token")),
        ("token_url: null", "token_url", URL("https://a.example/prefix/oauth2/access_token")),
        ("token_url: 'http://127.0.0.1:5/t/'", "token_url", URL("http://127.0.0.1:5/t")),
        ("refresh_before: auto", "refresh_before", None),
        ("refresh_before: null", "refresh_before", None),
        ("refresh_before: 30d", "refresh_before", 30 * 86400.0),
        ("probe: null", "probe", None),
        ("scope: read+write", "scope", "read+write"),
        ("refresh_token: null", "refresh_token", None),
        ("store: null", "store", FileStore(None)),
        ("store: {memory: true}", "store", MemoryStore()),
        ("store: {file: grant.json}", "store", FileStore(Path("grant.json"))),
        ("store: {file: /var/lib/g}", "store", FileStore(Path("/var/lib/g"))),
    ],
)
def test_an_oauth2_credential_means(keys: str, name: str, value: object, loaded: Loaded) -> None:
    config = loaded("upstream: https://a.example/prefix/\n" + _oauth(keys), {"S": "s"})
    assert getattr(_only(config), name) == value


@pytest.mark.parametrize(
    ("written", "environ", "described"),
    [
        ("{env: KEY}", {"KEY": "k"}, "$KEY"),
        ("'${KEY}'", {"KEY": "k"}, "$KEY"),
        ("k", {}, "a literal in config.yaml:2"),
        ("'12345'", {}, "a literal in config.yaml:2"),
        ("{value: $k}", {}, "a literal in config.yaml:2"),
        ("{file: ./key}", {}, "file key"),
        ("{file: /run/secrets/key}", {}, "file /run/secrets/key"),
    ],
)
def test_a_secret_may_be_written(written: str, environ: dict[str, str], described: str, loaded: Loaded) -> None:
    config = loaded(f"credentials:\n  default: {{api_key: {written}}}\n", environ)
    assert _only(config).api_key.describe() == described


def test_the_environment_alone_makes_an_api_key(loaded: Loaded) -> None:
    credential = _only(loaded("", KEY))
    assert isinstance(credential, ApiKeyCredential)
    assert credential.api_key.read().reveal() == "k"


def test_the_environment_alone_makes_a_grant(loaded: Loaded) -> None:
    credential = _only(loaded("", OAUTH | {"PANDADOC_REFRESH_TOKEN": "r"}))
    assert isinstance(credential, OAuth2Credential)
    assert credential.refresh_token is not None
    assert credential.refresh_token.read().reveal() == "r"


def test_a_grant_may_start_without_a_refresh_token(loaded: Loaded) -> None:
    assert _only(loaded("", OAUTH)).refresh_token is None


def test_an_override_refines_what_the_environment_made(loaded: Loaded) -> None:
    config = loaded("", OAUTH | {P + "CREDENTIALS__DEFAULT__OAUTH2__WAIT": "3s"})
    assert _only(config).wait == 3.0


def test_an_override_alone_makes_a_credential(loaded: Loaded) -> None:
    config = loaded("", {P + "CREDENTIALS__DEFAULT__API_KEY": "{env: K}", "K": "k"})
    assert _only(config).api_key.describe() == "$K"


def test_an_override_finds_a_name_that_shells_cant_spell(loaded: Loaded) -> None:
    text = "listeners: [{credential: my-team}]\ncredentials: {my-team: {api_key: old}}\n"
    config = loaded(text, {P + "CREDENTIALS__MY_TEAM__API_KEY": "{env: K}", "K": "k"})
    assert list(config.credentials) == ["my-team"]


def test_an_override_of_a_secret_needs_no_quotes(loaded: Loaded) -> None:
    config = loaded(_oauth(""), {P + "CREDENTIALS__DEFAULT__OAUTH2__CLIENT_SECRET": "*a: b#c &d"})
    assert _only(config).client_secret.read().reveal() == "*a: b#c &d"


def test_a_files_credentials_leave_the_environments_aside(loaded: Loaded) -> None:
    config = loaded("credentials: {default: {api_key: {env: K}}}", KEY | OAUTH | {"K": "k"})
    assert _only(config).api_key.describe() == "$K"


def test_credentials_never_change(loaded: Loaded) -> None:
    with pytest.raises(TypeError):
        loaded("", KEY).credentials["other"] = None  # type: ignore[index]  # what must not work


TWICE = (
    "config.yaml:1: upstream.url: it ends in a path that apps send too, and PandaDoc answers 404 to that twice over:"
    " leave it out"
)
RISKS = {
    "credentials:\n  default: {api_key: k}": (
        "config.yaml:2: credentials.default.api_key: the secret stands here in plain text:"
        " {env: NAME} or {file: PATH} would keep it out"
    ),
    "credentials:\n  default: {api_key: {file: ./nope}}": (
        "config.yaml:2: credentials.default.api_key: the file nope does not exist: create or mount it;"
        " until then its credential can't be lent"
    ),
    "listeners:\n  - bind: 0.0.0.0:80\n    anyone: true": (
        "config.yaml:3: listeners.0.anyone: whoever reaches 0.0.0.0:80 may use the credential"
    ),
    "listeners:\n  - allowed_hosts: ['*']": (
        'config.yaml:2: listeners.0.allowed_hosts: with "*" any Host passes: a web page can reach the'
        " listener by DNS rebinding"
    ),
    _oauth("store: {memory: true}"): (
        "config.yaml:1: credentials.default.oauth2.store: the grant is lost when this process ends:"
        " a refresh token may serve only once"
    ),
    "upstream: https://api.pandadoc.com/public/v1/": TWICE,
    "upstream: https://gateway.example/a/public/beta": TWICE,
    "upstream: https://api.pandadoc.com/public": TWICE,
    "rate_budget: {rates: {details: 5/1m}, share: 1/4}": (
        "config.yaml:1: rate_budget: nothing is counted, so these are of no effect: rates, share;"
        " say `numbers: auto`, or sandbox, here or for some credentials"
    ),
    "rate_budget:\n  numbers: auto\n  credentials: {default: none}\n  max_wait: 1s": (
        "config.yaml:1: rate_budget: nothing is counted, so these are of no effect: max_wait;"
        " say `numbers: auto`, or sandbox, here or for some credentials"
    ),
    "rate_budget:\n  numbers: sandbox\n  rates: {details: 5/1m}": (
        "config.yaml:3: rate_budget.rates: is of no effect:"
        " it is for credentials with `numbers: auto`, and none has that"
    ),
    "rate_budget:\n  numbers: auto\n  sandbox: 20/1m": (
        "config.yaml:3: rate_budget.sandbox: is of no effect:"
        " it is for credentials with `numbers: sandbox`, and none has that"
    ),
}


@pytest.mark.parametrize(("text", "warning"), RISKS.items())
def test_a_risk_is_taken_with_a_warning(text: str, warning: str, loaded: Loaded) -> None:
    assert loaded(text, KEY | {"S": "s"}).warnings == (warning,)


@pytest.mark.parametrize("path", ["/pandadoc", "/public/v1/gateway", "/republic", "/v1", ""])
def test_another_prefix_of_the_upstream_is_no_risk(path: str, loaded: Loaded) -> None:
    assert not loaded(f"upstream: https://gateway.example{path}", KEY).warnings


@pytest.mark.parametrize(
    "budget", ["{numbers: none}", "{credentials: {default: sandbox}, sandbox: 20/1m, share: 1/4}", "{max_wait: 65s}"]
)
def test_a_budget_that_somebody_has_or_of_which_nothing_is_set_is_worth_no_warning(budget: str, loaded: Loaded) -> None:
    assert loaded(f"rate_budget: {budget}", KEY).warnings == ()


def test_a_client_id_is_no_secret(loaded: Loaded) -> None:
    """RFC 6749 §2.2: written in plain text it is worth no warning."""
    assert loaded(_oauth(""), {"S": "s"}).warnings == ()
