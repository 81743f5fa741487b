"""What `pandadoc-proxy check` says of a good configuration."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from tls import CertificateFolder

from proxy.config import Config, describe

Loaded = Callable[[str, Mapping[str, str]], Config]

REFUSED = """\
Refused
  what a browser marks as coming from a page; CONNECT, TRACE, WebSocket upgrades
  /oauth2/**, which would hand out the grant
  /public/*/logs/*, which hands out credentials
  /public/*/members/*/token, which hands out credentials
  /public/*/webhook-subscriptions/*/shared-key, which hands out credentials
  /public/*/workspaces/*/api-keys, which hands out credentials"""


def test_an_api_key_is_told_from_end_to_end(loaded: Loaded) -> None:
    assert (
        describe(loaded("", {"PANDADOC_API_KEY": "k"}))
        == f"""\
Configuration: config.yaml

Listener 127.0.0.1:8080 lends credential default
  GET http://127.0.0.1:8080/public/v1/documents → GET https://api.pandadoc.com/public/v1/documents
  Authorization: API-Key *** (from $PANDADOC_API_KEY)
  Host may be a loopback name
  GET /healthz is answered here, not forwarded

Upstream https://api.pandadoc.com
  proxy: none
  certificates: the system's
Admin: 127.0.0.1:8081
Bodies: up to 8MiB are kept for one replay after a 401, 110MiB at most pass
{REFUSED}"""
    )


FULL = """\
listeners:
  - {bind: unix:/run/x.sock, credential: one, health: null, allowed_hosts: [b, a], mode: 660, owner: ":4242"}
  - {bind: '0.0.0.0:80', credential: two, allowed_hosts: ['*'], anyone: true}
admin: null
upstream: {url: https://a.example/p, proxy: u:p@proxy:1}
credentials:
  one: {oauth2: {client_id: i, client_secret: {env: S}, refresh_token: {env: R}, store: {file: ./g}}}
  two: {oauth2: {client_id: i, client_secret: {env: S}, refresh_before: 1d, probe: null, store: {memory: true}}}
  three: {api_key: {env: S}}
  four: {api_key: {env: S}}
"""


def test_a_grant_and_everything_else_is_told_too(loaded: Loaded) -> None:
    assert (
        describe(loaded(FULL, {"S": "secret", "R": "token"}))
        == f"""\
Configuration: config.yaml

Listener unix:/run/x.sock lends credential one
  GET unix:/run/x.sock /public/v1/documents → GET https://a.example/p/public/v1/documents
  Authorization: Bearer *** (refreshed here)
    client id from a literal in config.yaml:7, secret from $S
    first refresh token from $R
    refreshed at POST https://a.example/p/oauth2/access_token, well before it expires
    there through the proxy http://***@proxy:1
    kept in file g
    new consents: pandadoc-proxy login, at https://a.example/oauth2/authorize, back to http://127.0.0.1:8089/callback
    probed with GET /public/v1/members/current
  Host may be a loopback name, a, b
  The socket's mode is 0660, its owner :4242

Listener 0.0.0.0:80 lends credential two
  GET http://127.0.0.1:80/public/v1/documents → GET https://a.example/p/public/v1/documents
  Authorization: Bearer *** (refreshed here)
    client id from a literal in config.yaml:8, secret from $S
    no refresh token: the store must have one
    refreshed at POST https://a.example/p/oauth2/access_token, 1d before it expires
    there through the proxy http://***@proxy:1
    kept in memory, lost when the process ends
    new consents: pandadoc-proxy login, at https://a.example/oauth2/authorize, back to http://127.0.0.1:8089/callback
    not probed
  Host may be any name
  GET /healthz is answered here, not forwarded
Credential four is lent by no listener
Credential three is lent by no listener

Upstream https://a.example/p
  proxy: http://***@proxy:1
  certificates: the system's
Admin: off
Bodies: up to 8MiB are kept for one replay after a 401, 110MiB at most pass
{REFUSED}
Warnings
  config.yaml:3: listeners.1.anyone: whoever reaches 0.0.0.0:80 may use the credential
  config.yaml:3: listeners.1.allowed_hosts: with "*" any Host passes: a web page can reach the listener by DNS \
rebinding
  config.yaml:8: credentials.two.oauth2.store: the grant is lost when this process ends: a refresh token may serve \
only once"""
    )


def test_a_proxy_is_told_with_the_variable_that_names_it(loaded: Loaded) -> None:
    told = describe(loaded("", {"PANDADOC_API_KEY": "k", "https_proxy": "u:p@corp:3128"}))
    assert "\n  proxy: http://***@corp:3128 (from $https_proxy)\n" in told


def test_the_default_store_and_no_file_are_told(loaded: Loaded) -> None:
    config = loaded("", {"PANDADOC_CLIENT_ID": "i", "PANDADOC_CLIENT_SECRET": "s"})
    assert "kept in file (the default one, in the XDG state folder)" in describe(config)


@pytest.mark.parametrize(
    ("store", "said"),
    [
        (
            "redis: {url: {env: S}}",
            "Redis at the URL from $S, prefix pandadoc-proxy, shared by all replicas; while it can't be reached",
        ),
        (
            "redis: {url: {env: S}, sentinel: main, prefix: p, when_unreachable: refresh_anyway}",
            "Redis at the URL from $S, by Sentinel for main, prefix p, shared by all replicas; while it can't be \
reached, each replica refreshes by itself",
        ),
        ("redis: {url: {env: S}, cluster: true}", "Redis at the URL from $S as a cluster, prefix pandadoc-proxy"),
        ("kubernetes: {secret: grant}", "Secret grant, with Lease grant, shared by all replicas"),
        ("kubernetes: {secret: g, lease: l, namespace: n}", "Secret g of namespace n, with Lease l, shared by all"),
    ],
)
def test_what_replicas_share_a_grant_by_is_told(store: str, said: str, loaded: Loaded) -> None:
    text = f"credentials: {{default: {{oauth2: {{client_id: i, client_secret: {{env: S}}, store: {{{store}}}}}}}}}"
    assert f"kept in {said}" in describe(loaded(text, {"S": "secret"}))


def test_what_is_special_about_a_grant_is_told(loaded: Loaded) -> None:
    text = """
credentials:
  default:
    oauth2:
      client_id: i
      client_secret: {env: S}
      refresh_token: {env: S}
      access_token: {env: S}
      expires_at: 2027-11-25T15:02:00Z
      max_age: 30d
      unknown_outcome: stop
"""
    told = describe(loaded(text, {"S": "secret"}))
    assert "first access token from $S" in told
    assert "and 30d after the last refresh at the latest" in told
    assert "not tried again by itself after a redeem whose outcome is unknown" in told


CLIENTS = """\
listeners:
  - credential: nobody
    token_endpoint: placeholder
    cookies: drop
    clients:
      billing: {key: {env: ONE}, credential: acme, max_requests: 5}
      reports:
        key: {file: ./reports-key}
        credential: acme
        policy: {mode: warn, profiles: [read-only], otherwise: deny}
credentials: {acme: {api_key: {env: KEY}}, spare: {api_key: {env: KEY}}}
policy:
  rules: [{deny: POST /public/v1/documents/*/send}]
  credential_operations: []
"""


def test_clients_and_policies_are_told(loaded: Loaded, tmp_path: Path) -> None:
    (tmp_path / "reports-key").write_text("fedcba9876543210")
    told = describe(loaded(CLIENTS, {"KEY": "k", "ONE": "0123456789abcdef"}))
    assert "Listener 127.0.0.1:8080 lends to clients by their keys" in told
    assert (
        """
  Client billing, with its key from $ONE, is lent credential acme
    Authorization: API-Key *** (from $KEY)
    5 requests in flight at most
  Client reports, with its key from file reports-key, is lent credential acme
    Authorization: API-Key *** (from $KEY)
    Policy besides the one of all, of which what it refuses passes and is counted
      profile read-only: The app can look at everything"""
        in told
    )
    assert "      otherwise: deny\n  Host may be a loopback name\n  POST /oauth2/access_token is answered" in told
    assert "  Cookies are dropped, both ways\n" in told
    assert "Credential spare is lent by no listener\n" in told
    assert "\nPolicy\n  deny POST /public/v1/documents/*/send\n  otherwise: allow\n" in told
    assert "policy.credential_operations: apps can be handed credentials of their own" in told
    assert "reports.policy.mode: what this policy would refuse passes, and is counted" in told


def test_a_policy_of_profiles_alone_is_told(loaded: Loaded) -> None:
    told = describe(loaded("policy: {profiles: [no-delete]}", {"PANDADOC_API_KEY": "k"}))
    assert told.splitlines()[-2] == "Policy"
    assert told.splitlines()[-1].startswith("  profile no-delete: The app can make and change things")


def test_keys_that_cross_a_network_in_the_clear_are_warned_of(loaded: Loaded) -> None:
    text = "listeners: [{bind: '0.0.0.0:80', clients: {app: {key: {env: ONE}}}}]"
    told = describe(loaded(text, {"PANDADOC_API_KEY": "k", "ONE": "0123456789abcdef"}))
    assert (
        "listeners.0.clients: clients send their keys to 0.0.0.0:80 in plain http, where others may read them" in told
    )


def test_a_wildcard_is_told_by_an_address_that_is_answered(loaded: Loaded) -> None:
    """The proxy's own answer to `Host: [::]` is 421."""
    told = describe(loaded("listeners: [{bind: '[::]:80', anyone: true}]", {"PANDADOC_API_KEY": "k"}))
    assert "Listener [::]:80 lends" in told
    assert "GET http://[::1]:80/public/v1/documents → GET https://api.pandadoc.com/public/v1/documents" in told


def test_tls_without_client_certificates_is_told(folder: Path, loaded: Loaded) -> None:
    certificates = CertificateFolder(folder)
    certificates.renew()
    told = describe(loaded(f"listeners: [{{tls: {certificates.files}}}]", {"PANDADOC_API_KEY": "k"}))
    assert f"TLS with certificate {folder}/cert and key {folder}/key" in told
    assert "Callers must show" not in told


def test_tls_is_told_with_whose_certificates_are_asked_for(folder: Path, loaded: Loaded) -> None:
    certificates = CertificateFolder(folder)
    certificates.renew()
    files = {**certificates.files, "client_ca": certificates.files["cert"]}
    told = describe(loaded(f"listeners: [{{bind: '0.0.0.0:8443', tls: {files}}}]", {"PANDADOC_API_KEY": "k"}))
    assert "GET https://127.0.0.1:8443/public/v1/documents → GET https://api.pandadoc.com/public/v1/documents" in told
    assert f"TLS with certificate {folder}/cert and key {folder}/key" in told
    assert f"Callers must show a certificate that one of {folder}/cert has issued" in told
    assert "Warnings" not in told


def test_a_unix_socket_is_told_with_who_may_use_it(loaded: Loaded) -> None:
    told = describe(loaded("listeners: [{bind: unix:/run/x.sock}]", {"PANDADOC_API_KEY": "k"}))
    assert "The socket's mode is 0600, its owner whoever runs the proxy" in told


def test_keys_in_files_that_are_useless_now_are_warned_of(loaded: Loaded, tmp_path: Path) -> None:
    """They may be replaced while the proxy runs, so that the start goes on."""
    for name, key in (("one", "0123456789abcdef"), ("two", "0123456789abcdef"), ("three", "short")):
        (tmp_path / name).write_text(key)
    clients = ", ".join(f"{name}: {{key: {{file: ./{name}}}}}" for name in ("one", "two", "three", "four"))
    told = describe(loaded(f"listeners: [{{clients: {{{clients}}}}}]", {"PANDADOC_API_KEY": "k"}))
    assert "listeners.0.clients.two.key: is the key of client one too: nobody can be either of them" in told
    assert "listeners.0.clients.three.key: has fewer than 16 characters, and is not taken" in told
    assert "listeners.0.clients.four.key: the file four does not exist" in told
    assert "listeners.0.clients.one.key" not in told


def test_a_policy_that_refuses_everything_is_warned_of(loaded: Loaded) -> None:
    told = describe(loaded("policy: {profiles: [read-only], otherwise: deny}", {"PANDADOC_API_KEY": "k"}))
    assert "policy.otherwise: with `deny` and no rule that allows anything, every request is refused" in told


def test_credential_operations_may_be_closed_by_a_wider_pattern(loaded: Loaded) -> None:
    text = "policy: {credential_operations: [/public/*/members/**, '/public/{v}/webhook-subscriptions/*/shared-key']}"
    told = describe(loaded(text, {"PANDADOC_API_KEY": "k"}))
    assert "for these pass: /public/*/logs/*, /public/*/workspaces/*/api-keys" in told


def test_who_may_end_the_proxy_is_told(loaded: Loaded) -> None:
    told = describe(loaded("admin: {quit: true}", {"PANDADOC_API_KEY": "k"}))
    assert "\nAdmin: 127.0.0.1:8081\n  POST /quit, from this machine, ends the proxy\n" in told


def test_rate_budgets_are_told_for_each_credential_that_has_one(loaded: Loaded) -> None:
    text = """\
credentials: {a: {api_key: {env: K}}, b: {api_key: {env: K}}, c: {api_key: {env: K}}}
listeners:
  - bind: 127.0.0.1:80
    clients: {robots: {key: {env: ROBOTS}, credential: a, priority: batch}}
rate_budget: {numbers: auto, credentials: {b: sandbox, c: none}, share: 1/4, rates: {list: null, create: 40/10s}}
"""
    told = describe(loaded(text, {"K": "k", "ROBOTS": "0123456789abcdef"})).splitlines()
    at = told.index("Rate budget of credential b: all 2/1m")
    assert told[at - 1] == (
        "Rate budget of credential a: create 10/10s, create_upload 75/1m, send 100/1m, details 150/1m,"
        " template_details 75/1m, list as PandaDoc says, download 25/1m, download_protected 75/1m,"
        " other as PandaDoc says"
    )
    assert told[at + 1 : at + 3] == [
        "  Beyond it a request waits 65s at most, then gets 429",
        "  Prefer: wait=N is heeded, up to 1m",
    ]
    assert "    It goes last where a rate budget makes requests wait" in told


@pytest.mark.parametrize(
    ("share", "said"), [("", "as many parts as there were replicas, one each"), (", share: 1/4", "1/4 of it")]
)
def test_what_replicas_share_a_rate_by_is_told(share: str, said: str, loaded: Loaded) -> None:
    text = f"rate_budget: {{numbers: sandbox, redis: {{url: {{env: S}}, sentinel: main}}{share}}}"
    told = describe(loaded(text, {"PANDADOC_API_KEY": "k", "S": "redis://cache"}))
    assert "Rate budget of credential default: all 10/1m\n" in told, "all of it, whatever the share"
    assert (
        "  Shared by all replicas through Redis at the URL from $S, by Sentinel for main, prefix pandadoc-proxy;"
        f" while that can't be reached, {said}\n"
    ) in told


def test_a_preference_that_is_passed_on_is_not_told(loaded: Loaded) -> None:
    told = describe(loaded("rate_budget: {numbers: sandbox, prefer_wait: 0s}", {"PANDADOC_API_KEY": "k"}))
    assert "Rate budget of credential default: all 10/1m" in told
    assert "Prefer" not in told
