"""Every way in which a path may be read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import CallerError
from proxy.policy.paths import PLAIN, _read, readings, seen

ONE = {
    "/": "",
    "//": "",
    "/a": "/a",
    "/a/b.c/D-_~!$&'()*+,=:@": "/a/b.c/D-_~!$&'()*+,=:@",
    "//a///b//": "/a/b",
}


@pytest.mark.parametrize(("path", "reading"), ONE.items())
def test_a_plain_path_has_one_reading(path: str, reading: str) -> None:
    assert readings(path) == {reading}


SEVERAL = {
    "a slash that is encoded": ("/a%2fb", {"/a%2fb", "/a/b"}),
    "a letter that is encoded": ("/%61", {"/%61", "/a"}),
    "encoded twice": ("/a%252fb", {"/a%252fb", "/a%2fb", "/a/b"}),
    "a backslash": ("/a%5cb", {"/a%5cb", "/a\\b", "/a/b"}),
    "a dot segment": ("/a/./b", {"/a/./b", "/a/b"}),
    "two dots": ("/a/../b", {"/a/../b", "/b"}),
    "two dots that are encoded": ("/a/%2e%2E/b", {"/a/%2e%2E/b", "/a/../b", "/b"}),
    "two dots behind two slashes": ("/a//../b", {"/a/../b", "/a/b", "/b"}),
    "more dots than segments": ("/../../a", {"/../../a", "/a"}),
    "a parameter": ("/a;x=1/b;y", {"/a;x=1/b;y", "/a/b"}),
    "a parameter that hides dots": ("/a/..;/b", {"/a/..;/b", "/a/../b", "/b"}),
    "a query that is encoded": ("/a%3f/b", {"/a%3f/b", "/a?/b", "/a"}),
    "a fragment that is encoded": ("/a%23/b", {"/a%23/b", "/a#/b", "/a"}),
    "a NUL": ("/a%00/b", {"/a%00/b", "/a\0/b", "/a"}),
    "a line feed within a word": ("/a%0ab", {"/a%0ab", "/a\nb", "/ab"}),
    "spaces around a word": ("/%20a%20/b", {"/%20a%20/b", "/ a /b", "/a/b"}),
    "an overlong slash": ("/a%c0%afb", {"/a%c0%afb", "/a\xc0\xafb", "/a/b"}),
    "an overlong dot of three bytes": ("/a/%e0%80%ae./b", {"/a/%e0%80%ae./b", "/a/\xe0\x80\xae./b", "/a/../b", "/b"}),
    "a percent sign alone": ("/100%", {"/100%"}),
}


@pytest.mark.parametrize(("path", "expected"), SEVERAL.values(), ids=SEVERAL)
def test_what_servers_disagree_on_has_several(path: str, expected: set[str]) -> None:
    assert readings(path) == expected


def test_decoding_has_an_end() -> None:
    assert "/f" in readings("/%252566")
    with pytest.raises(CallerError, match="more often"):
        readings("/%2525252566")


@given(st.text(st.sampled_from("abA/.;%2f5(-")))
def test_a_plain_path_is_plain_to_the_laxest_server_too(rest: str) -> None:
    """The short way is only for speed."""
    path = f"/{rest}"
    if PLAIN.fullmatch(path):
        assert readings(path) == frozenset(_read(path))


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("", ""),
        ("/public", "/public"),
        ("/public/v1", "/public/v1"),
        ("/gateway/public/v1", "/public/v1"),
        ("/gateway/pandadoc", ""),
        ("/publicity", ""),
    ],
)
def test_of_the_upstreams_prefix_pandadoc_sees_what_is_its_own(prefix: str, expected: str) -> None:
    assert seen(prefix) == expected
