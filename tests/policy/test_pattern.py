"""Which requests a pattern means, and what is said about one that means none."""

import re

import pytest

from proxy.policy.pattern import Pattern
from proxy.policy.policy import FLAGS


def fits(pattern: str, request: str) -> bool:
    return re.fullmatch(Pattern.parse(pattern).expression, request, FLAGS) is not None


FITTING = {
    "GET /a": ["GET /a", "HEAD /a"],
    "HEAD /a": ["HEAD /a"],
    "PUT,PATCH /a": ["PUT /a", "PATCH /a"],
    "PUT, PATCH /a": ["PUT /a", "PATCH /a"],
    "/a": ["GET /a", "DELETE /a", "M-SEARCH /a"],
    "* /a": ["GET /a", "POST /a"],
    "/a/": ["GET /a"],
    "//a//b": ["GET /a/b"],
    "/": ["GET "],
    "/**": ["GET ", "GET /a", "GET /a/b/c"],
    "/a/**": ["GET /a", "GET /a/b", "GET /a/b/c\n"],
    "/a/*/c": ["GET /a/b/c", "GET /a/\n/c"],
    "/a/{id}/c": ["GET /a/b/c"],
    "/v*/x": ["GET /v1/x", "GET /v/x"],
    "/a.b/(c)": ["GET /a.b/(c)"],
    "/docs{id}": ["GET /docs1"],
}
OTHERS = {
    "GET /a": ["POST /a", "GET /a/b", "GET /ab", "GET ", "GET /A"],
    "HEAD /a": ["GET /a"],
    "PUT,PATCH /a": ["GET /a", "PUTPATCH /a"],
    "/": ["GET /a"],
    "/a/**": ["GET /ab", "GET /b/a"],
    "/a/*/c": ["GET /a/c", "GET /a/b/b/c"],
    "/v*/x": ["GET /v/1/x", "GET /x"],
    "/a.b": ["GET /axb"],
}


@pytest.mark.parametrize(("pattern", "request_line"), [(each, one) for each, all_ in FITTING.items() for one in all_])
def test_a_pattern_means(pattern: str, request_line: str) -> None:
    assert fits(pattern, request_line)


@pytest.mark.parametrize(("pattern", "request_line"), [(each, one) for each, all_ in OTHERS.items() for one in all_])
def test_a_pattern_does_not_mean(pattern: str, request_line: str) -> None:
    assert not fits(pattern, request_line)


WRONG = {
    "": "expected a method and a path",
    "GET": "expected a method and a path",
    "get /a": "methods are DELETE, GET",
    "GET POST /a": "methods are DELETE, GET",
    "https://api.pandadoc.com/a": "methods are DELETE, GET",
    "DELTE /a": "methods are DELETE, GET",
    "CONNECT /a": "methods are DELETE, GET",
    "GET,* /a": "methods are DELETE, GET",
    "GET /a?upload": "never the query",
    "GET /a%20b": "the decoded path",
    "GET /a;b": "without",
    "GET /a#b": "without",
    "GET /a\\b": "without",
    "GET /a b": "without spaces",
    "GET /../a": "without dots",
    "GET /./a": "without dots",
    "GET /caf\u00e9": "expected a path",
    "GET /a/**/b": "the last segment",
    "GET /a**": "one *",
    "GET /a*b*c": "one *",
    "GET /{a}{b}": "one *",
    "GET /{a b}": "expected a path",
}


@pytest.mark.parametrize(("text", "said"), WRONG.items())
def test_what_is_no_pattern_is_told_what_one_looks_like(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        Pattern.parse(text)


def test_a_pattern_is_shown_as_it_was_written() -> None:
    assert str(Pattern.parse(" GET /public/v1/documents/{id} ")) == "GET /public/v1/documents/{id}"


COVERING = [
    ("/**", "/public/*/members/*/token"),
    ("/public/**", "/public/*/members/*/token"),
    ("/public/*/members/{id}/token", "/public/*/members/*/token"),
    ("GET,POST /a", "GET /a"),
    ("GET /a", "HEAD /a"),
    ("GET,HEAD /a", "GET /a"),
    ("/a/**", "/a"),
    ("/a/**", "/a/**"),
    ("/a/**", "/a/b*/**"),
    ("/*/**", "/a/**"),
    ("/a*c", "/ab*c"),
    ("/*", "/a*"),
]
NOT_COVERING = [
    ("/public/v1/members/*/token", "/public/*/members/*/token"),
    ("GET /a", "/a"),
    ("GET /a", "GET,POST /a"),
    ("/a", "/b"),
    ("HEAD /a", "GET /a"),
    ("/*", "/**"),
    ("/*/**", "/**"),
    ("/a/*", "/a/**"),
    ("/a/*/**", "/a"),
    ("/a*", "/*"),
    ("/ab*ba", "/ab*"),
    ("/a*", "/ab/c"),
]


@pytest.mark.parametrize(("wider", "narrower"), COVERING)
def test_a_pattern_covers_what_it_means_all_of(wider: str, narrower: str) -> None:
    assert Pattern.parse(wider).covers(Pattern.parse(narrower))


@pytest.mark.parametrize(("one", "other"), NOT_COVERING)
def test_a_pattern_covers_nothing_else(one: str, other: str) -> None:
    assert not Pattern.parse(one).covers(Pattern.parse(other))
