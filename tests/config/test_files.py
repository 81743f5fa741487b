"""What is checked of the files that a configuration names."""

from collections.abc import Callable, Mapping
from pathlib import Path

from proxy.config import Config
from proxy.config.files import secrets

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


def test_a_secret_file_is_tried_at_the_start_and_its_flaw_is_a_warning(folder: Path, loaded: Loaded) -> None:
    (folder / "key").write_text("first\nsecond\n", encoding="utf-8")
    [warning] = loaded("credentials:\n  default: {api_key: {file: ./key}}", {}).warnings
    assert warning == (
        "config.yaml:2: credentials.default.api_key: file key holds a line break or a NUL inside: the secret must"
        " be one line, alone; until then its credential can't be lent"
    )


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
