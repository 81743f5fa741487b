"""The address of a consent, and what may come back: tables, without a network."""

from functools import partial
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from proxy.login.consent import Declined, NotACode, consent_address, has_state, is_answer, read_callback, read_pasted

STATE = "the-state"
AUTHORIZE = URL("https://app.pandadoc.com/oauth2/authorize")
BACK = "http://127.0.0.1:8089/callback"


def test_the_address_is_what_pandadoc_documents() -> None:
    """`read+write` is literal there, and everything else is encoded."""
    address = consent_address(AUTHORIZE, "an id&", BACK, None, STATE)
    assert address.startswith("https://app.pandadoc.com/oauth2/authorize?")
    assert address.endswith("&scope=read+write")
    fields = parse_qs(urlsplit(address).query)
    assert fields == {
        "client_id": ["an id&"],
        "redirect_uri": [BACK],
        "response_type": ["code"],
        "state": [STATE],
        "scope": ["read write"],
    }


def test_a_configured_scope_and_a_query_of_the_address_are_kept() -> None:
    address = consent_address(URL("http://127.0.0.1:1/a?tenant=7"), "id", BACK, "read", STATE)
    assert address.startswith("http://127.0.0.1:1/a?tenant=7&client_id=id&")
    assert address.endswith("&scope=read")


def test_a_callback_with_its_state_brings_a_code() -> None:
    query = f"code=abc%2F123&state={STATE}"
    assert is_answer(query, STATE)
    assert read_callback(query).reveal() == "abc/123"


@pytest.mark.parametrize(
    "query",
    ["", "code=abcdef", "code=abcdef&state=", "code=abcdef&state=other", "state=%ff", "error=access_denied"],
)
def test_a_callback_without_the_state_is_somebody_elses(query: str) -> None:
    """A web page can send a browser there; it must not log us in to the page's own account, nor end the login."""
    assert not is_answer(query, STATE)


@pytest.mark.parametrize(
    "text",
    [
        "abc-123/=",
        "  abc-123/=\t",
        "'abc-123/='",
        f"{BACK}?code=abc-123%2F%3D",
        f"{BACK}?code=abc-123%2F%3D&state={STATE}",
        f"{BACK}?state={STATE}&code=abc-123%2F%3D#fragment",
        "code=abc-123/%3D",
        "https://elsewhere.example/x?a=b&code=abc-123/%3D",
        f"<{BACK}?state={STATE}&code=abc-123/%3D>",
        f"{BACK}?code=abc-123/%3D&state={STATE}.",
        f"\x1b[200~{BACK}?code=abc-123/%3D&state={STATE}\x1b[201~\r",
        "\x1b[200~ abc-123/=\x1b[201~",
    ],
)
def test_a_person_may_paste_the_code_or_any_address_with_it(text: str) -> None:
    """State is checked where it stands: PandaDoc returns it, but does not document that."""
    assert read_pasted(text, STATE).reveal() == "abc-123/="


@pytest.mark.parametrize(
    "text",
    [
        "",
        "abc",
        "two words",
        "é" * 9,
        f"{BACK}?state={STATE}",
        f"rest-of-a-code&state={STATE}",
        f"state={STATE}",
        BACK,
        f"{BACK}#code",
        "127.0.0.1:8089/callback",
        "https://app.pandadoc.com/login",
        "localhost/callback",
        "127.0.0.1/callback",
        "[::1]/callback",
        "app.pandadoc.com",
        "App.PandaDoc.com/oauth2/authorize",
        "x" * 2049,
    ],
)
def test_what_is_no_code_says_what_to_paste(text: str) -> None:
    with pytest.raises(NotACode, match="There is no code in this"):
        read_pasted(text, STATE)


@pytest.mark.parametrize(
    ("text", "has"),
    [
        (f"{BACK}?code=abcdef&state={STATE}", True),
        (f"<{BACK}?state={STATE}&code=abcdef#fragment>.", True),
        (f"\x1b[200~?code=abcdef&state={STATE}\x1b[201~\r", True),
        (f"{BACK}?code=abcdef&state=other", False),
        (f"{BACK}?code=abcdef&state={STATE[:4]}", False),
        (f"{BACK}?code=abcdef", False),
        (f"te={STATE}", False),
        (STATE, False),
        ("exit", False),
        ("", False),
    ],
)
def test_what_was_pasted_belongs_to_the_login_whose_state_it_has(text: str, *, has: bool) -> None:
    """All else may be half an address, or a word that was meant for the shell."""
    assert has_state(text, STATE) is has


def test_a_code_with_dots_is_no_address() -> None:
    jwt = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ5b3UifQ.c2lnbmF0dXJlLW9mLXNvbWVib2R5LWVsc2U"
    assert read_pasted(jwt, STATE).reveal() == jwt


def test_an_address_of_another_login_is_refused() -> None:
    with pytest.raises(NotACode, match="another login"):
        read_pasted(f"{BACK}?code=abcdef&state=other", STATE)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("error=access_denied", "declined"),
        ("error=invalid_scope", "PandaDoc answered invalid_scope. Check"),
        ("error=<script>", "an error that can't be shown"),
        ("error=access_denied&code=abcdef", "declined"),
    ],
)
def test_a_refusal_ends_the_login_and_says_why(query: str, words: str) -> None:
    with pytest.raises(Declined, match=words):
        read_callback(f"{query}&state={STATE}")
    with pytest.raises(Declined, match=words):
        read_pasted(f"?{query}", STATE)


@given(st.text(max_size=80))
def test_whatever_comes_is_a_code_or_is_refused(text: str) -> None:
    for read in (read_callback, partial(read_pasted, state=STATE)):
        try:
            code = read(text).reveal()
        except (NotACode, Declined):
            continue
        assert code.isascii()
        assert code.isprintable()
        assert " " not in code
