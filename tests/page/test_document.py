"""The page as a whole: what is on it, what is never on it, and how large it gets."""

import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any

import pytest
from msgspec.structs import replace
from page import samples
from page.samples import VIEW, slot, slots

from proxy.page.document import HEADERS, html
from proxy.page.recent import KINDS
from proxy.page.traffic import ANSWERED, FAILED, REFUSED, SLOTS


class Reader(HTMLParser):
    """Checks that elements close as they opened, and notes what is on the page."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.tags.append((tag, dict(attrs)))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


def largest() -> Any:
    """Return a view of as much as a page can be asked to show, but for the number of credentials."""
    every = slot(*[(ANSWERED, 0.1)] * 70, *[(REFUSED, 0.2)] * 20, *[(FAILED, 9)] * 10)
    long = replace(samples.TROUBLE, path="/" + "&" * 511, fault="x" * 400)
    return replace(VIEW, slots=slots(*[every] * SLOTS), troubles=(long,) * KINDS, lendings=(samples.DEAD,) * 5)


@pytest.mark.parametrize(
    "view",
    [VIEW, largest(), replace(VIEW, ready=False), replace(VIEW, slots=slots(), troubles=())],
    ids=["usual", "largest", "draining", "nothing yet"],
)
def test_the_page_is_well_formed_small_and_loads_nothing(view: Any) -> None:
    page = html(view)
    tags = read(page).tags
    assert len(page.encode()) < 40 * 1024
    assert not {"script", "img", "iframe", "a", "form", "object"} & {tag for tag, _ in tags}
    attributes = [(name, value or "") for _, each in tags for name, value in each.items()]
    assert [value[:5] for name, value in attributes if name in {"href", "src"}] == ["data:"]
    assert not [name for name, _ in attributes if name == "style" or name.startswith("on")]
    assert "url(" not in page
    assert "@import" not in page


def test_it_asks_for_itself_again() -> None:
    assert ("meta", {"http-equiv": "refresh", "content": "10"}) in read(html(VIEW)).tags


def test_the_tab_tells_how_it_is() -> None:
    assert "<title>All is well · pandadoc-proxy</title>" in html(VIEW)
    assert "<title>Credential eu is dead · pandadoc-proxy</title>" in html(replace(VIEW, lendings=(samples.DEAD,)))
    icons = {
        re.search(r'href="(data:[^"]+)"', html(replace(VIEW, lendings=(lending,))))[1]  # type: ignore[index]  # it is there
        for lending in (samples.FRESH, samples.STALE, samples.UNASKED, samples.BLIND, samples.DEAD)
    }
    assert len(icons) == 5


def test_a_proxy_that_drains_says_so_before_all_else() -> None:
    page = html(replace(VIEW, ready=False, lendings=(samples.DEAD,)))
    assert "No requests are taken" in page.partition("<main>")[0]


def test_it_says_what_is_running_and_when_it_was_asked() -> None:
    page = re.sub(r"<[^>]*>", "", html(VIEW).partition("</style>")[2])
    assert (
        "lends for https://api.pandadoc.com 1 request in flight 2 of 100 connections to PandaDoc busy up 4 days" in page
    )
    assert "As of 2026-09-21 14:13:20 UTC" in page
    assert "pandadoc-proxy 1.2.3" in page


def test_no_name_is_markup() -> None:
    evil = '"><script>alert(1)</script>'
    named = replace(samples.DEAD, status=replace(samples.DEAD.status, credential=evil, advice=evil, store=evil))
    trouble = replace(samples.TROUBLE, listener=evil, client=evil, method=evil, error=evil)
    assert "<script" not in html(replace(VIEW, lendings=(named,), troubles=(trouble,), upstream=evil))


def test_the_policy_allows_this_style_alone_and_no_frame() -> None:
    policy, style = HEADERS["Content-Security-Policy"], html(VIEW).partition("<style>")[2].partition("</style>")[0]
    assert b64encode(sha256(style.encode()).digest()).decode() in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
