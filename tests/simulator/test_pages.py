"""What a human sees: self-contained, escaped, and usable by a browser without a script."""

import re
from html.parser import HTMLParser

import pytest

from proxy.simulator.answers import Answer
from proxy.simulator.pages import consent_page, refusal_page


class _Elements(HTMLParser):
    """Collects the start tags of a page, and its text."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(answer.body.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def _page(**values: str) -> Answer:
    usual = {"client_id": "an-app", "member": "A Member", "scope": "read write", "redirect_uri": "http://here/cb"}
    return consent_page(**usual | values)


def test_the_page_says_who_asks_as_whom_for_what_and_where_the_answer_goes() -> None:
    text = _Elements(_page()).text
    assert all(value in text for value in ("an-app", "A Member", "read write", "http://here/cb"))


def test_without_a_scope_the_page_says_nothing_of_one() -> None:
    assert "It may" in _Elements(_page()).text
    assert "It may" not in _Elements(_page(scope="")).text


def test_two_buttons_post_the_decision_to_the_pages_own_url() -> None:
    page = _Elements(_page())
    assert page.named("form") == [{"method": "post"}]
    assert page.named("button") == [
        {"id": "allow", "name": "decision", "value": "allow"},
        {"id": "deny", "name": "decision", "value": "deny"},
    ]


@pytest.mark.parametrize("answer", [_page(), refusal_page(400, "No.")])
def test_a_page_runs_nothing_and_loads_nothing_not_even_an_icon(answer: Answer) -> None:
    page = _Elements(answer)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "img", "iframe", "base", "object"})
    assert page.named("link") == [{"rel": "icon", "href": "data:,"}]
    assert not any(name.startswith("on") or name == "src" for _, attributes in page.tags for name in attributes)
    assert not re.search(rb"url\(|@import", answer.body)
    policy = dict(answer.headers)["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "script-src" not in policy


@pytest.mark.parametrize("name", ["client_id", "member", "scope", "redirect_uri"])
def test_no_value_can_become_markup(name: str) -> None:
    value = """</dd></title></style><script>alert("&amp;')</script>"""
    page, usual = _Elements(_page(**{name: value})), _Elements(_page())
    assert page.tags == usual.tags
    assert value in page.text


def test_no_reason_can_become_markup() -> None:
    page = _Elements(refusal_page(400, "<script>&amp;"))
    assert page.named("script") == []
    assert "<script>&amp;" in page.text


def test_what_is_no_unicode_is_shown_as_a_question_mark() -> None:
    assert "caf?" in _Elements(_page(scope="caf\udce9")).text


def test_a_page_is_html_that_is_not_kept() -> None:
    answer = refusal_page(405, "No.", ("Allow", "GET"))
    assert answer.status == 405
    headers = dict(answer.headers)
    assert (headers["Content-Type"], headers["Cache-Control"]) == ("text/html; charset=utf-8", "no-store")
    assert headers["Allow"] == "GET"


def test_a_page_fits_a_phone_and_a_dark_screen() -> None:
    body = _page().body
    assert b'<meta name="viewport" content="width=device-width, initial-scale=1">' in body
    assert b"color-scheme: light dark" in body
    assert b"@media (prefers-color-scheme: dark)" in body
