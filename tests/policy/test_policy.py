"""What a policy says: rules in order, every reading of a path, and what is closed without any."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.compose_policy import policy_of_all
from proxy.config import Config
from proxy.policy.paths import readings
from proxy.policy.pattern import Pattern
from proxy.policy.policy import Policy, Rule, RuleSet

DEFAULT = policy_of_all(Config(credentials={}))


def refused(policy: Policy, target: str, method: str = "POST") -> list[str]:
    """Return what speaks against a request."""
    return [objection.by for objection in policy.objections(method, readings(target.partition("?")[0]))]


HANDING_OUT = [
    "/oauth2/access_token",
    "/oauth2/access_token?x=1",
    "/oauth2",
    "/oauth2/authorize",
    "//oauth2//access_token",
    "/OAuth2/Access_Token",
    "/%6fauth2/access_token",
    "/%256fauth2/access_token",
    "/oauth2%2faccess_token",
    "/oauth2%5caccess_token",
    "/./oauth2/./access_token",
    "/public/../oauth2/access_token",
    "/public/%2e%2e/oauth2/access_token",
    "/public/..%2foauth2/access_token",
    "/oauth2;x=1/access_token;y",
    "/oauth2/access_token/",
    "/oauth2/access_token%00",
    "/oauth2/access_token%20HTTP/1.1%0d%0aX:",
    "/a%2fb/%2e%2e/oauth2/access_token",
    "/%2e;%3f/oauth2/access_token",
    "/%3b%23/oauth2/access_token",
    "/public/v1/workspaces/abc/api-keys.json",
    "/public/v1/workspaces/x%2fy/%2e%2e/w/api-keys",
    "/public/v1/logs/abc",
    "/public/v2/logs/abc/",
    "/oauth2%20/access_token",
    "/public/v1/workspaces/abc/api-keys",
    "/public/v1/workspaces/abc/api-keys/",
    "/public/v2/workspaces/abc/api-keys",
    "/public/v1/workspaces/abc/x/../api-keys",
    "/public/v1/members/abc/token",
    "/public/v1/members/a%2F..%2Fb/token",
    "/public/v1/members/abc/token%3fx",
    "/public/v1/members/abc/token%23x",
    "/public/v1/members/abc/TOKEN;jsessionid=1",
    "/public/v1/members/abc//../token",
    "/public/v1/workspaces/abc//x/../../api-keys",
    "/public/v1/webhook-subscriptions/abc/shared-key",
]
HARMLESS = [
    "/",
    "/public/v1/documents?upload",
    "/public/v1/members/current",
    "/public/v1/members/current?next=/oauth2/access_token",
    "/public/v1/members/abc/token/x",
    "/public/v1/documents/..%2fx",
    "/public/v1/workspaces/abc/api-keys-and-more",
    "/xoauth2/access_token",
    "/public/v1/logs",
    "/public/v1/logs?since=-1d",
    "/public/v1/documents/100%25/x",
    "/../..",
]


@pytest.mark.parametrize("target", HANDING_OUT)
def test_operations_that_hand_out_credentials_are_refused_however_written(target: str) -> None:
    assert refused(DEFAULT, target)
    assert refused(DEFAULT, target, "GET")


@pytest.mark.parametrize("target", HARMLESS)
def test_other_operations_are_not(target: str) -> None:
    assert not refused(DEFAULT, target)


PIECES = ["o", "%6f", "%256F", "O", "auth2", "%61uth2", "/", "//", "%2f", "/./", ";x", "access_token"]


@given(st.lists(st.sampled_from(PIECES)))
def test_no_mixture_of_encodings_walks_around_the_token_endpoint(parts: list[str]) -> None:
    """Whatever decodes, twice, to the token endpoint's path is refused."""
    target = "/" + "".join(parts)
    plain = target
    for _ in range(2):
        for code, character in (("%256F", "%6F"), ("%6f", "o"), ("%6F", "o"), ("%61", "a"), ("%2f", "/")):
            plain = plain.replace(code, character)
    segments = [part.split(";")[0] for part in plain.lower().split("/")]
    if [part for part in segments if part not in {"", "."}][:1] == ["oauth2"]:
        assert refused(DEFAULT, target)


def rule_set(*lines: str, otherwise: bool = True, enforced: bool = True) -> RuleSet:
    rules = [Rule(line.startswith("allow"), Pattern.parse(line.partition(" ")[2])) for line in lines]
    return RuleSet("policy", rules, otherwise=otherwise, enforced=enforced)


def said(rules: RuleSet, method: str, path: str) -> str:
    """Return the line that decides, with a ? behind it where a reading says otherwise."""
    decision = rules.decide(method, readings(path))
    assert decision.by.endswith("deny") or ": deny" in decision.by or decision.allowed
    return decision.by.removeprefix("policy: ") + "?" * decision.doubtful


def test_the_first_rule_that_fits_decides() -> None:
    rules = rule_set("allow GET /a/b", "deny /a/**", "allow /a/c", otherwise=True)
    assert said(rules, "GET", "/a/b") == "allow GET /a/b"
    assert said(rules, "POST", "/a/b") == "deny /a/**"
    assert said(rules, "GET", "/a/c") == "deny /a/**"
    assert said(rules, "GET", "/x") == "otherwise: allow"


def test_without_rules_otherwise_decides() -> None:
    assert said(rule_set(otherwise=False), "GET", "/a") == "otherwise: deny"
    assert repr(rule_set(otherwise=False)) == "<RuleSet policy: 0 rules>"


def test_letter_case_walks_around_no_rule() -> None:
    assert said(rule_set("deny /a/b"), "GET", "/A/b") == "deny /a/b?"
    assert said(rule_set("allow /a/b", otherwise=False), "GET", "/A/b") == "otherwise: deny?"
    assert said(rule_set("allow /a/AbC", otherwise=False), "GET", "/a/AbC") == "allow /a/AbC"
    assert said(rule_set("allow /a/AbC", otherwise=False), "GET", "/a/abc") == "otherwise: deny?"
    assert said(rule_set("deny /a/b", "allow /A/*", otherwise=False), "GET", "/A/B") == "deny /a/b?"
    assert said(rule_set("allow /a/b", "allow /A/*", otherwise=False), "GET", "/A/B") == "allow /a/b"


def test_where_readings_differ_one_that_is_refused_is_enough() -> None:
    allowing = rule_set("allow GET /a/**", otherwise=False)
    assert said(allowing, "GET", "/a/%2e%2e/b") == "otherwise: deny?"
    assert said(allowing, "GET", "/a/%2e/b") == "allow GET /a/**"
    assert said(rule_set("deny /b"), "GET", "/a/%2e%2e/b") == "deny /b?"


def test_every_set_must_agree_and_each_says_its_own() -> None:
    reading, not_b = rule_set("allow GET /**", otherwise=False), rule_set("deny /b", enforced=False)
    both = Policy((reading,)) + Policy((not_b,))
    assert refused(both, "/a", "GET") == []
    assert refused(both, "/b", "POST") == ["policy: otherwise: deny", "policy: deny /b"]
    assert [(each.allowed, each.enforced) for each in both.decide("GET", readings("/b"))] == [
        (True, True),
        (False, False),
    ]
    assert not Policy().decide("GET", readings("/a"))
