"""What `check --request` says would become of a request; and that it is what becomes of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from proxy.config import Config, load
from proxy.explain import explain

ENVIRON: Final = {"KEY": "k", "ONE": "0123456789abcdef", "TWO": "fedcba9876543210"}

TWO_CLIENTS: Final = """
listeners:
  - token_endpoint: placeholder
    clients:
      drafts: {key: {env: ONE}, credential: acme, policy: {profiles: [no-send]}}
      reports: {key: {env: TWO}, credential: other, policy: {mode: warn, profiles: [read-only]}}
  - {bind: 127.0.0.1:9000, credential: other}
credentials: {acme: {api_key: {env: KEY}}, other: {api_key: {env: KEY}}}
policy: {rules: [{allow: GET /public/v1/contacts/known}, {deny: /public/v1/contacts/**}]}
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return loaded(tmp_path, TWO_CLIENTS, ENVIRON)


def loaded(folder: Path, text: str, environ: Mapping[str, str]) -> Config:
    path = folder / "config.yaml"
    path.write_text(text)
    return load(path, environ=environ)


def test_each_listener_and_client_is_told_with_what_decides(config: Config) -> None:
    explained = explain(config, "POST", "/public/v1/documents/abc/send")
    assert explained.passes
    assert explained.lines == (
        "POST /public/v1/documents/abc/send is PandaDoc's sendDocument",
        "Listener 127.0.0.1:8080, client drafts: 403",
        "  refused by policy of client drafts, profile no-send: deny POST /public/*/documents/*/send",
        "Listener 127.0.0.1:8080, client reports: forwarded to https://api.pandadoc.com with credential other",
        (
            "  refused by policy of client reports, profile read-only: otherwise: deny"
            " (mode: warn, so it passes and is counted)"
        ),
        "Listener 127.0.0.1:9000, whoever reaches it: forwarded to https://api.pandadoc.com with credential other",
        "  no rule speaks of it",
    )


@pytest.mark.parametrize(("limit", "size", "passes"), [("1KiB", 2000, False), ("128KiB", 70_000, True)])
def test_a_head_is_held_to_the_limit_that_is_configured(tmp_path: Path, limit: str, size: int, *, passes: bool) -> None:
    config = loaded(tmp_path, f"limits: {{max_head: {limit}}}", {"PANDADOC_API_KEY": "k"})
    assert explain(config, "GET", "/public/v1/documents?q=" + "x" * size).passes is passes


def test_one_client_may_be_asked_about(config: Config) -> None:
    explained = explain(config, "POST", "/public/v1/documents/abc/send", "drafts")
    assert not explained.passes
    assert len(explained.lines) == 3
    assert explain(config, "POST", "/public/v1/documents", "drafts").passes


def test_a_listener_that_does_not_know_the_client_is_not_asked(config: Config) -> None:
    """Its health path would answer anybody, and say nothing of what the client may do."""
    assert len(explain(config, "GET", "/healthz", "drafts").lines) == 2


def test_a_rule_that_allows_is_told_too(config: Config) -> None:
    explained = explain(config, "GET", "/public/v1/contacts/known", "drafts")
    assert explained.lines[2:] == ("  allowed by policy: allow GET /public/v1/contacts/known",)


def test_every_reading_of_a_doubtful_path_is_told(config: Config) -> None:
    explained = explain(config, "GET", "/public/v1/contacts/..%2f", "drafts")
    assert not explained.passes
    assert explained.lines[0] == (
        "GET /public/v1/contacts/..%2f, which may be read as"
        " /public/v1, /public/v1/contacts/.., /public/v1/contacts/..%2f"
    )
    assert explained.lines[2] == "  refused, in one of its readings, by policy: deny /public/v1/contacts/**"


def test_what_is_answered_here_is_told(config: Config) -> None:
    assert explain(config, "GET", "/healthz").lines[1:] == (
        "Listener 127.0.0.1:8080: answered here, it is the health path",
        "Listener 127.0.0.1:9000: answered here, it is the health path",
    )
    token = explain(config, "POST", "/oauth2/access_token")
    assert token.lines[1:] == (
        "Listener 127.0.0.1:8080: answered here, with a token that opens nothing",
        "Listener 127.0.0.1:9000, whoever reaches it: 403",
        "  refused by the token endpoint: deny /oauth2/**",
    )
    absolute = explain(config, "POST", "http://localhost/oauth2/access_token")
    assert absolute.lines[1] == token.lines[1]
    assert "health path" not in explain(config, "GET", "http://localhost/healthz").lines[1]


def test_what_the_guard_refuses_is_refused_whoever_asks(config: Config) -> None:
    explained = explain(config, "GET", "no-slash")
    assert not explained.passes
    assert explained.lines[0] == "GET no-slash"
    assert explained.lines[1] == "Listener 127.0.0.1:8080: 400, whoever asks"
    assert explained.lines[2].startswith("  The request's target must begin with /")
    assert ": 405, whoever" in explain(config, "TRACE", "/").lines[1]


def test_an_absolute_target_is_judged_as_each_listener_would(tmp_path: Path) -> None:
    """It is let in where its authority names the listener: by its address, or one of its allowed_hosts."""
    text = "listeners: [{allowed_hosts: [pandadoc-proxy]}, {bind: '[fd00::1]:9000', anyone: true}]"
    config = loaded(tmp_path, text, {"PANDADOC_API_KEY": "k"})
    explained = explain(config, "GET", "http://pandadoc-proxy:8080/public/v1/documents")
    assert explained.passes
    assert explained.lines[0].endswith(" is PandaDoc's listDocuments")
    assert explained.lines[1].startswith("Listener 127.0.0.1:8080, whoever reaches it: forwarded")
    assert explained.lines[3:] == (
        "Listener [fd00::1]:9000: 421, whoever asks",
        "  The request's absolute target names another host; the proxy forwards to PandaDoc only.",
    )
    assert explain(config, "GET", "http://[FD00::1]/public/v1/documents").lines[1].endswith(": 421, whoever asks")
    nobodys = explain(config, "GET", "http://evil.example/public/v1/documents")
    assert not nobodys.passes
    assert [line.endswith(": 421, whoever asks") for line in nobodys.lines[1::2]] == [True, True]
    assert explain(config, "GET", r"http://pandadoc-proxy/a\b").lines[1].endswith(": 400, whoever asks")


@pytest.mark.parametrize(
    ("query", "operation"),
    [("", "createDocument"), ("?upload", "createDocumentFromUpload"), ("?a=b&upload=", "createDocumentFromUpload")],
)
def test_an_operation_is_told_by_its_query_too(config: Config, query: str, operation: str) -> None:
    line = f"POST /public/v1/documents{query} is PandaDoc's {operation}"
    assert explain(config, "POST", f"/public/v1/documents{query}").lines[0] == line


def test_a_path_that_pandadoc_does_not_document_has_no_name(config: Config) -> None:
    assert explain(config, "GET", "/public/v1/nothing").lines[0] == "GET /public/v1/nothing"


def test_the_guide_shows_what_is_told(config: Config) -> None:
    """Both lines of the second client stand there as they are."""
    guide = (Path(__file__).parents[1] / "docs" / "clients.md").read_text()
    (first, *drafts) = explain(config, "POST", "/public/v1/documents/abc/send", "drafts").lines
    assert "\n".join(drafts) in guide
    assert first in guide


@pytest.mark.parametrize(
    ("settings", "target", "line"),
    [
        ("auto", "/public/v1/documents?upload", "counted by rate_budget as create_upload: 300 in 60 s"),
        ("auto", "/public/v1/x", "counted by rate_budget as other: no number is known, a 429 is heeded"),
        ("{numbers: sandbox, share: 1/2}", "/public/v1/documents", "counted by rate_budget as all: 5 in 60 s"),
    ],
)
def test_what_a_request_is_counted_by_is_told(tmp_path: Path, settings: str, target: str, line: str) -> None:
    config = loaded(tmp_path, f"rate_budget: {settings}\n", {"PANDADOC_API_KEY": "k"})
    assert explain(config, "POST", target).lines[-1] == f"  {line}"
