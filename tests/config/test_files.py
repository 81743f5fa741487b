"""What is checked of the files that a configuration names."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from tls import LONG_AGO, CertificateFolder

from proxy.config import BadConfig, Config, Tls, load
from proxy.config.files import secrets, warnings

Faults = Callable[[str, Mapping[str, str]], list[str]]
Loaded = Callable[[str, Mapping[str, str]], Config]

KEY = {"PANDADOC_API_KEY": "k"}
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBezCCASGgAwIBAgIUZ/J8vS/L6NQWJmhkCPwdrE0eSRwwCgYIKoZIzj0EAwIw
EjEQMA4GA1UEAwwHdGVzdC1jYTAgFw0yNjExMjMwODIzNTlaGA8yMTI2MTAzMDA4
MjM1OVowEjEQMA4GA1UEAwwHdGVzdC1jYTBZMBMGByqGSM49AgEGCCqGSM49AwEH
A0IABJUIb3jdGGvCkA0deZJ+XU0rRpVV5WBL3N688GZP2u1EHvXB43IWEq11V/sw
Aps5twgmBThpSLUEu5cNu3giQVejUzBRMB0GA1UdDgQWBBR8NTFzrmEQlaVibqeU
6mED/uHoETAfBgNVHSMEGDAWgBR8NTFzrmEQlaVibqeU6mED/uHoETAPBgNVHRMB
Af8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIQC00KYTeat/EWnPbpoxik6CJWVt
WY7eCtY8wzWTn1CYpgIgAMjkK562XTfhQfHl6smJfzdkarmHyYbYJYcAkSg+GZc=
-----END CERTIFICATE-----
"""


def test_a_ca_file_beside_the_configuration_is_taken(folder: Path, loaded: Loaded) -> None:
    (folder / "ca.pem").write_text(CERTIFICATE, encoding="ascii")
    assert loaded("upstream: {ca_file: ca.pem}", KEY).upstream.ca_file == Path("ca.pem")


def test_a_ca_file_that_is_a_pipe_is_told_and_not_waited_for(folder: Path, faults: Faults) -> None:
    os.mkfifo(folder / "ca.pem")
    [fault] = faults("upstream: {ca_file: ca.pem}", KEY)
    assert fault == "config.yaml:1: upstream.ca_file: ca.pem is not a regular file: name a PEM file"


def test_a_secret_file_is_tried_at_the_start_and_its_flaw_is_a_warning(folder: Path, loaded: Loaded) -> None:
    (folder / "key").write_text("first\nsecond\n", encoding="utf-8")
    [warning] = loaded("credentials:\n  default: {api_key: {file: ./key}}", {}).warnings
    assert warning == (
        "config.yaml:2: credentials.default.api_key: file key holds a line break or a NUL inside: the secret must"
        " be one line, alone; until then its credential can't be lent"
    )


def test_an_api_key_that_its_file_holds_with_its_scheme_is_a_warning(folder: Path, loaded: Loaded) -> None:
    (folder / "key").write_text("API-Key abc\n", encoding="utf-8")
    [warning] = loaded("credentials:\n  default: {api_key: {file: ./key}}", {}).warnings
    assert warning == (
        "config.yaml:2: credentials.default.api_key: file key has a space in it: give the key alone, without"
        " 'API-Key' before it; until then its credential can't be lent"
    )


def test_what_a_redis_needs_and_is_not_there_yet_is_a_warning(folder: Path, loaded: Loaded) -> None:
    """It is read again for each connection, so the start goes on."""
    store = "{url: {file: ./url}, ca_file: ./ca.pem}"
    oauth2 = f"{{client_id: a, client_secret: {{env: S}}, store: {{redis: {store}}}}}"
    text = f"credentials:\n  default: {{oauth2: {oauth2}}}\nrate_budget: {{numbers: auto, redis: {store}}}\n"
    ca_file, url = (
        "ca.pem can't be read: No such file or directory",
        "the file url does not exist: create or mount it",
    )
    assert loaded(text, {"S": "s"}).warnings == (
        f"config.yaml:2: credentials.default.oauth2.store.redis.url: {url}; until then Redis can't be asked",
        f"config.yaml:2: credentials.default.oauth2.store.redis.ca_file: {ca_file}; until then Redis can't be asked",
        f"config.yaml:3: rate_budget.redis.url: {url}; until then Redis can't be asked",
        f"config.yaml:3: rate_budget.redis.ca_file: {ca_file}; until then Redis can't be asked",
    )
    (folder / "url").write_text("rediss://cache", encoding="utf-8")
    (folder / "ca.pem").write_text(CERTIFICATE, encoding="ascii")
    assert loaded(text, {"S": "s"}).warnings == ()


def again(folder: Path, text: str, served: Config) -> Config:
    """Load a text while another configuration is served."""
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    return load(environ=KEY, earlier=served)


NEW_KEY = "credentials: {default: {api_key: a}, new: {api_key: {file: ./new}}}"
NEW_SECRET = "credentials: {default: {oauth2: {client_id: a, client_secret: {file: ./new}}}}"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("credentials: {default: {api_key: {file: ./new}}}", "default.api_key"),
        (NEW_SECRET, "default.oauth2.client_secret"),
        (f"{NEW_KEY}\nlisteners: [{{credential: new}}]", "new.api_key"),
        (f"{NEW_KEY}\nlisteners: [{{clients: {{app: {{key: {'k' * 16}, credential: new}}}}}}]", "new.api_key"),
    ],
)
def test_a_reload_waits_for_a_secret_that_is_not_lent_yet(folder: Path, loaded: Loaded, text: str, path: str) -> None:
    """Else requests that are answered now would fail for what is not there. A start goes on: nothing works yet."""
    served = loaded(NEW_KEY, KEY)  # which names it, but lends it to nobody
    fault = f"config.yaml:1: credentials.{path}: the file new does not exist: create or mount it; until then"
    with pytest.raises(BadConfig) as raised:
        again(folder, text, served)
    assert str(raised.value) == f"{fault} its credential can't be lent"
    assert fault in str(loaded(text, KEY).warnings)
    (folder / "new").write_text("new-0123456789abcdef", encoding="utf-8")
    assert "until then" not in str(again(folder, text, served).warnings)


def test_a_reload_waits_for_an_api_key_that_can_be_lent(folder: Path, loaded: Loaded) -> None:
    served = loaded("", KEY)
    (folder / "new").write_text("API-Key abc", encoding="utf-8")
    with pytest.raises(BadConfig, match=r"default\.api_key: file new has a space in it: give the key alone"):
        again(folder, "credentials: {default: {api_key: {file: ./new}}}", served)


@pytest.mark.parametrize(
    "text",
    [
        "credentials: {acme: {api_key: {file: ./key}}}\nlisteners: [{credential: acme}]",
        "credentials: {default: {api_key: {file: ./key}}, new: {api_key: {file: ./new}}}",
        "credentials: {default: {api_key: {file: ./key}}}\nlisteners: [{clients: {new: {key: {file: ./new}}}}]",
        "credentials: {default: {oauth2: {client_id: a, client_secret: b, refresh_token: {file: ./new}}}}",
    ],
    ids=["is away for a moment", "nobody is lent", "is a client's, who is to be let in later", "is a seed"],
)
def test_a_reload_does_not_wait_for_a_secret_that(folder: Path, loaded: Loaded, text: str) -> None:
    """What is changed with it may take a key from somebody, or forbid something."""
    (folder / "key").write_text("k", encoding="utf-8")
    served = loaded("credentials: {default: {api_key: {file: ./key}}}", KEY)
    (folder / "key").unlink()
    assert "does not exist: create or mount it; until then" in str(again(folder, text, served).warnings)


def test_every_secret_is_found_with_its_path(loaded: Loaded) -> None:
    text = """\
credentials:
  default: {api_key: a}
  one: {oauth2: {client_id: b, client_secret: c}}
  two: {oauth2: {client_id: d, client_secret: e, refresh_token: f}}
"""
    assert [path for path, _ in secrets(loaded(text, {}))] == [
        "credentials.default.api_key",
        "credentials.one.oauth2.client_id",
        "credentials.one.oauth2.client_secret",
        "credentials.two.oauth2.client_id",
        "credentials.two.oauth2.client_secret",
        "credentials.two.oauth2.refresh_token",
    ]


def test_a_certificate_and_its_key_are_tried_at_the_start(folder: Path, loaded: Loaded, faults: Faults) -> None:
    CertificateFolder(folder).renew()
    text = "listeners:\n  - tls:\n      cert: ./cert\n      key: ./key\n"
    (listener,) = loaded(text, KEY).listeners
    assert listener.tls == Tls(cert=Path("cert"), key=Path("key"))
    CertificateFolder(folder / "other").renew()
    [fault] = faults(text.replace("./key", "./other/key"), KEY)
    assert fault == (
        "config.yaml:4: listeners.0.tls.key: other/key is not the key of the first certificate in cert:"
        " write both anew, as a pair"
    )


def test_an_expired_certificate_is_a_warning(folder: Path, loaded: Loaded) -> None:
    CertificateFolder(folder).renew(LONG_AGO)
    [warning] = loaded("listeners:\n  - tls: {cert: ./cert, key: ./key}\n", KEY).warnings
    assert warning == (
        "config.yaml:2: listeners.0.tls.cert: who verifies cert will refuse it (certificate has expired): renew it"
    )


def test_a_listener_that_asks_for_certificates_may_be_open_to_other_machines(
    folder: Path, loaded: Loaded, faults: Faults
) -> None:
    """Then it is not whoever reaches it who may use the credential. A certificate of its own is not enough."""
    certificates = CertificateFolder(folder)
    certificates.renew()
    files = {**certificates.files, "client_ca": certificates.files["cert"]}
    bind = "listeners:\n  - bind: 0.0.0.0:8443\n"
    assert loaded(f"{bind}    tls: {files}\n", KEY).warnings == ()
    assert loaded(f"{bind}    tls: {files}\n    anyone: true\n", KEY).warnings == ()
    [fault] = faults(f"{bind}    tls: {certificates.files}\n", KEY)
    assert fault.startswith("config.yaml:2: listeners.0.bind: 0.0.0.0:8443 is open to other machines")


def test_certificates_that_are_replaced_in_this_moment_are_no_warning(folder: Path, loaded: Loaded) -> None:
    """They were whole when they were judged; the listener looks at them again by itself."""
    CertificateFolder(folder).renew()
    config = loaded("listeners:\n  - tls: {cert: ./cert, key: ./key}\n", KEY)
    (folder / "key").unlink()
    assert list(warnings(config)) == []
