"""Every way in which a path may be read."""

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import CallerError
from proxy.policy.paths import PLAIN, STEPS, behind, readings
from proxy.policy.profiles import operations

ONE = {
    "/": "",
    "//": "",
    "/a": "/a",
    "/a/b-c/D_~!$&'()*+,=:@": "/a/b-c/D_~!$&'()*+,=:@",
    "/a///b//": "/a/b",
    "//public/v1/a": "/public/v1/a",  # a base URL that ends in a slash
    "///public/beta": "/public/beta",
}


@pytest.mark.parametrize(("path", "reading"), ONE.items())
def test_a_plain_path_has_one_reading(path: str, reading: str) -> None:
    assert readings(path) == {reading}


SEVERAL = {
    "a slash that is encoded": ("/a%2fb", {"/a%2fb", "/a/b"}),
    "a slash that is encoded as JavaScript does": ("/a%u002fb", {"/a%u002fb", "/a/b"}),
    "a letter that is encoded so, and its percent sign, too": ("/%25U0061", {"/%25U0061", "/%U0061", "/a"}),
    "a letter that is encoded": ("/%61", {"/%61", "/a"}),
    "encoded twice": ("/a%252fb", {"/a%252fb", "/a%2fb", "/a/b"}),
    "a backslash": ("/a%5cb", {"/a%5cb", "/a\\b", "/a/b"}),
    "a dot segment": ("/a/./b", {"/a/./b", "/a/b"}),
    "two dots": ("/a/../b", {"/a/../b", "/b"}),
    "two dots that are encoded": ("/a/%2e%2E/b", {"/a/%2e%2E/b", "/a/../b", "/b"}),
    "two dots behind two slashes": ("/a//../b", {"/a/../b", "/a/b", "/b"}),
    "two dots behind an encoded slash": (
        "/a%2fb/%2e%2e/c",  # the dots are decoded and resolved by some who leave the slash alone
        {"/a%2fb/%2e%2e/c", "/a%2fb/../c", "/a/b/../c", "/c", "/a/c"},
    ),
    "more dots than segments": ("/../../a", {"/../../a", "/a"}),
    "a parameter": ("/a;x=1/b;y", {"/a;x=1/b;y", "/a/b"}),
    "a parameter that hides dots": ("/a/..;/b", {"/a/..;/b", "/a/../b", "/b"}),
    "a query that is encoded": ("/a%3f/b", {"/a%3f/b", "/a?/b", "/a"}),
    "a fragment that is encoded": ("/a%23/b", {"/a%23/b", "/a#/b", "/a"}),
    "a NUL": ("/a%00/b", {"/a%00/b", "/a\0/b", "/a/b", "/a"}),
    "a NUL within a word": ("/a%00b", {"/a%00b", "/a\0b", "/ab", "/a"}),
    "a line feed within a word": ("/a%0ab", {"/a%0ab", "/a\nb", "/ab", "/a"}),
    "another request": (
        "/a%20HTTP/1.1%0aX",
        {"/a%20HTTP/1.1%0aX", "/a%20HTTP/1", "/a HTTP/1.1\nX", "/a HTTP/1.1X", "/a HTTP/1.1", "/a HTTP/1", "/a"},
    ),
    "spaces around a word": ("/%20a%20/b", {"/%20a%20/b", "/ a /b", "/a/b", ""}),
    "an overlong slash": ("/a%c0%afb", {"/a%c0%afb", "/a\xc0\xafb", "/a/b"}),
    "an overlong dot of three bytes": (
        "/a/%e0%80%ae./b",
        {
            "/a/%e0%80%ae./b",
            "/a/%e0%80%ae/b",
            "/a/\xe0\x80\xae./b",
            "/a/\xe0\x80\xae/b",
            "/a/./b",
            "/a/../b",
            "/a/b",
            "/b",
        },
    ),
    "dots at the end of a name": ("/a./b..", {"/a./b..", "/a/b"}),
    "other white space around a word": ("/%0ba%a0/b", {"/%0ba%a0/b", "/\x0ba\xa0/b", "/a/b"}),
    "a control character around a word": ("/%01a%1b/b%7f", {"/%01a%1b/b%7f", "/\x01a\x1b/b\x7f", "/a/b"}),
    "a control character within a word": ("/a%01b", {"/a%01b", "/a\x01b"}),
    "white space of Unicode around a word": (
        "/%e3%80%80a%c2%a0",
        {"/%e3%80%80a%c2%a0", "/\xe3\x80\x80a\xc2\xa0", "/a"},
    ),
    "white space of Unicode within a word": ("/a%c2%a0b", {"/a%c2%a0b", "/a\xc2\xa0b"}),
    "a word that is blank, and another's end": (
        "/%20/a%01",  # a URL is trimmed at its end alone
        {"/%20/a%01", "/ /a\x01", "/ /a", "/a", ""},
    ),
    "a space, and a C string's end": ("/a%20b/c%00d", {"/a%20b/c%00d", "/a b/c\0d", "/a b/cd", "/a b/c", "/a"}),
    "a space, and a line's end": ("/a%20b/c%0dd", {"/a%20b/c%0dd", "/a b/c\rd", "/a b/cd", "/a b/c", "/a"}),
    "a percent sign alone": ("/100%", {"/100%"}),
    "a suffix that names a format": ("/a.b/c.json/", {"/a.b/c.json", "/a.b/c"}),
    "a suffix that is no word": ("/a.x-1!", {"/a.x-1!", "/a"}),
    "a dot in the beginning": ("/.well-known", {"/.well-known"}),
    "an authority": ("//x/a", {"/x/a", "/a"}),
    "an authority alone": ("//x", {"/x", ""}),
    "an authority behind more slashes": ("///u@x:1//a", {"/u@x:1/a", "/a", ""}),
    "an authority that looks like the API": ("//public/oauth2/a", {"/public/oauth2/a", "/oauth2/a"}),
    "an authority, and the API": ("//public/public/v1", {"/public/public/v1", "/public/v1"}),
    "two authorities": ("//x//y/a", {"/x/y/a", "/y/a", "/a"}),
    "an authority behind an encoded slash": ("/%2fx/a", {"/%2fx/a", "/x/a", "/a"}),
    "an authority behind a dot": ("/.//x/a", {"/./x/a", "/x/a", "/a"}),
    "characters beyond ASCII": ("/caf%c3%a9", {"/caf%c3%a9", "/caf\xc3\xa9"}),
}


@pytest.mark.parametrize(("path", "expected"), SEVERAL.values(), ids=SEVERAL)
def test_what_servers_disagree_on_has_several(path: str, expected: set[str]) -> None:
    assert readings(path) == expected


def test_a_path_that_is_written_to_be_misread_is_refused() -> None:
    for path in ("/" + "%2f..//%5c.%c0%af//%20" * 12, "/%61" * 20_000):
        with pytest.raises(CallerError, match="in more ways"):
            readings(path)
    assert len(readings("/" + "a" * 50_000)) == 1


ODD = ("%2e", "%2f", "%252f", "%u002f", "%5c", "%c0%af", "%25", "%3b", "%20", "%0d", "%01", ".", "a")


@given(st.lists(st.sampled_from(ODD)))
def test_a_short_path_is_not_looked_through_in_hundreds_of_forms(parts: list[str]) -> None:
    """Its characters are few, but each form takes every step."""
    with suppress(CallerError):
        assert len(readings("/" + "".join(parts))) < 100


@pytest.mark.parametrize(
    "path",
    [
        "/public/v1/documents/My%20File%20(final)%20v1.2.3.pdf",
        "/public/v1/documents/%C3%A9t%C3%A9%20v1.2;x=1/details",
        "/public/v1/contacts/a%252Fb%20c.d;e=%2F.json",
        "//public/v1//documents/a%20b%2Fc.d%20.pdf",
        "/public/v1/members/a%3Bb%23c%3Fd%20e.f",
    ],
)
def test_an_odd_name_of_a_file_is_not_too_much(path: str) -> None:
    assert readings(path)


RUNS = (
    " ",
    "\t",
    ".",
    "/",
    "/.",
    "./",
    ";",
    "?",
    "\\",
    "%",
    "%2",
    "%25",
    "%20",
    "%u",
    "%u0061",
    "\x01",
    "\xc0",
    "\xc2\xa0",
    "\xe2\x80\x83x",
    "a",
    ".a",
    "../",
    "/../",
    "/x/..",
)


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("start", ["/", "/a", "/a."])
def test_no_run_of_anything_takes_long(run: str, start: str) -> None:
    """A second is many times what it takes; work that grew with the square of the length took four."""
    begun = time.process_time()
    with suppress(CallerError):
        readings(start + run * (24_000 // len(run)) + "b")
    assert time.process_time() - begun < 1


def test_a_base_url_that_ends_in_a_slash_is_honest() -> None:
    paths = [operation.path.replace("{", "").replace("}", "") for operation in operations()]
    assert [path for path in paths if len(readings(f"/{path}")) > 1] == ["/oauth2/access_token"]  # closed by default


def test_decoding_has_an_end() -> None:
    assert "/f" in readings("/%252566")
    with pytest.raises(CallerError, match="more often"):
        readings("/%2525252566")


@given(st.text(st.sampled_from("abA/.;%2f5(-")))
def test_a_plain_path_is_plain_to_the_laxest_server_too(rest: str) -> None:
    """The short way is only for speed."""
    path = f"/{rest}"
    if PLAIN.fullmatch(path) and not path.startswith("//"):
        (reading,) = readings(path)
        assert {"/".join(filter(None, ["", *step(path).split("/")])) for step in STEPS} == {reading.removeprefix("/")}


@pytest.mark.parametrize("path", ["/gateway//x/public/v1", "/gateway/a/..//x/public/v1", "//gateway///x/public/v1"])
def test_what_a_gateway_leaves_of_a_path_may_begin_with_an_authority(path: str) -> None:
    assert "/gateway/public/v1" in readings(path, "/gateway")
    assert "/gateway/public/v1/a" in readings(path + "/a", "/gateway/public/v1")


def test_the_apis_own_prefix_is_no_gateways() -> None:
    assert readings("/public/v1//x/a", "/public/v1") == {"/public/v1/x/a"}
    assert readings("/gateway//public/v1/a", "/gateway") == {"/gateway/public/v1/a"}


BEHIND = {
    "no prefix": ("", "/a", "/a"),
    "the API's own path": ("/public/v1", "/public/v1/a", "/public/v1/a"),
    "all of it": ("/public", "/public", "/public"),
    "a gateway's": ("/gateway/pandadoc", "/gateway/pandadoc/public/v1/a", "/public/v1/a"),
    "a gateway's, and the API's": ("/gateway/public/v1", "/gateway/public/v1/a", "/public/v1/a"),
    "a gateway's that only looks like the API's": (
        "/publicity/public-api/public",
        "/publicity/public-api/public/a",
        "/public/a",
    ),
}


@pytest.mark.parametrize(("prefix", "reading", "expected"), BEHIND.values(), ids=BEHIND)
def test_of_the_upstreams_prefix_pandadoc_sees_what_is_its_own(prefix: str, reading: str, expected: str) -> None:
    assert behind(prefix, frozenset({reading})) == {expected}


@pytest.mark.parametrize("target", ["/../x", "/../../oauth2/access_token", "/%2e%2e/pandadocs", "/..%2f..%2fx"])
def test_no_path_leads_out_of_the_upstreams_prefix(target: str) -> None:
    """The gateway would resolve it together with the prefix, and forward what no rule has seen."""
    prefix = "/gateway/pandadoc"
    with pytest.raises(CallerError, match="leads out of"):
        behind(prefix, readings(prefix + target))


def test_a_path_that_leaves_the_prefix_and_comes_back_is_seen_as_what_it_comes_to() -> None:
    prefix = "/gateway/pandadoc"
    assert "/oauth2/access_token" in behind(prefix, readings(f"{prefix}/../pandadoc/oauth2/access_token"))
