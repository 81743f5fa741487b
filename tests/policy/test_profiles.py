"""What the profiles promise, shown on every operation of the contract; and which operation a path names.

Rules are matched by a few lines of the test's own. The engine that matches them in earnest has its own tests.
"""

import re
import subprocess
import sys
from fnmatch import fnmatchcase

import pytest

from proxy.compose_policy import policy_of_all
from proxy.config import Config
from proxy.policy import profiles as profiles_module
from proxy.policy.profiles import Operation, Profile, named, operations, profiles, read_operations

VERSIONS = ("v1", "v2", "v9", "beta")
RULE = re.compile(r"(?:allow|deny) (?:[A-Z]+(?:,[A-Z]+)* )?(?:/[a-z0-9_*-]+)+")
NAMES = sorted(profiles())


def sample(operation: Operation) -> str:
    """Return a path as an app would ask for it."""
    return re.sub(r"{[^/]*}", "hHyGDj6NuiDfKEiY4xSMD", operation.path)


def under(version: str, path: str) -> str:
    """Return the path as it would be under another version."""
    return re.sub(r"^/public/[^/]+", f"/public/{version}", path)


def fits(pattern: str, method: str, path: str) -> bool:
    methods, _, wanted = pattern.rpartition(" ")
    if methods and ("GET" if method == "HEAD" else method) not in methods.split(","):
        return False
    segments = path.split("/")
    *start, last = wanted.split("/")
    if last == "**":
        segments = segments[: len(start)]
    else:
        start.append(last)
    return len(segments) == len(start) and all(map(fnmatchcase, segments, start))


def passes(profile: Profile, method: str, path: str) -> bool:
    for rule in profile.rules:
        verdict, _, pattern = rule.partition(" ")
        if fits(pattern, method, path):
            return verdict == "allow"
    return profile.otherwise == "allow"


def refused(name: str, version: str | None = None) -> set[str]:
    """Return the ids of the operations that a profile refuses, all as if under one version where it is given."""
    paths = {each: under(version, sample(each)) if version else sample(each) for each in operations()}
    return {each.id for each, path in paths.items() if not passes(profiles()[name], each.method, path)}


def marked(mark: str) -> set[str]:
    return {each.id for each in operations() if mark in each.marks}


def test_the_matcher_here_reads_patterns_as_they_are_meant() -> None:
    """It stands for the engine in this file, so it is looked at first."""
    assert fits("GET /**", "HEAD", "/")
    assert fits("/a/**", "PUT", "/a")
    assert fits("/a/**", "PUT", "/a/b/c")
    assert not fits("/a/**", "PUT", "/b")
    assert fits("PUT,GET /a/*/c", "PUT", "/a/b/c")
    assert not fits("PUT,GET /a/*/c", "POST", "/a/b/c")
    assert not fits("/a/*", "GET", "/a/b/c")


def test_there_are_three_profiles_and_each_says_what_it_is_for() -> None:
    assert NAMES == ["no-delete", "no-send", "read-only"]
    for name, profile in profiles().items():
        assert profile.name == name
        assert profile.about.endswith(".")


@pytest.mark.parametrize("name", NAMES)
def test_every_rule_is_well_formed_and_means_an_operation_that_there_is(name: str) -> None:
    """A rule that fits nothing is a slip of the pen: it would promise what it does not keep."""
    for rule in profiles()[name].rules:
        assert RULE.fullmatch(rule), rule
        pattern = rule.partition(" ")[2]
        assert any(fits(pattern, each.method, sample(each)) for each in operations()), rule


def test_read_only_lets_every_get_pass_and_the_posts_that_only_read() -> None:
    gets = {each.id for each in operations() if each.method == "GET"}
    assert gets
    assert {each.id for each in operations()} - refused("read-only") == gets | marked("reads")


def test_read_only_lets_no_other_method_pass_whatever_the_path() -> None:
    """Also operations that nobody knows yet, and a reading POST under a version that nobody has looked at."""
    read_only = profiles()["read-only"]
    for method in ("POST", "PUT", "PATCH", "DELETE", "PROPFIND"):
        assert not passes(read_only, method, "/public/v3/novelties")
    for method in ("GET", "HEAD", "OPTIONS"):
        assert passes(read_only, method, "/public/v3/novelties")
    assert not passes(read_only, "POST", "/public/v3/documents/ai-metadata")


def test_no_send_refuses_what_sends_and_nothing_else() -> None:
    assert refused("no-send") == marked("sends")


@pytest.mark.parametrize("version", VERSIONS)
def test_no_send_refuses_what_sends_under_any_version(version: str) -> None:
    assert refused("no-send", version) == marked("sends")


def test_a_draft_can_be_made_filled_and_read_under_no_send() -> None:
    making = {"createDocument", "createDocumentFromUpload", "createDocumentFromMarkdownUpload", "updateDocument"}
    making |= {"createDocumentFields", "createDocumentAttachment", "statusDocument", "detailsDocument"}
    assert making <= {each.id for each in operations()} - refused("no-send")


def test_no_delete_refuses_what_deletes_and_nothing_else() -> None:
    assert refused("no-delete") == marked("deletes")


@pytest.mark.parametrize("version", VERSIONS)
def test_no_delete_refuses_what_deletes_under_any_version(version: str) -> None:
    assert refused("no-delete", version) == marked("deletes")


def test_no_delete_lets_nobody_be_left_out_of_a_group() -> None:
    """The contract: members that are not in the list are removed, and lose access."""
    assert "editDocumentRecipient" in refused("no-delete")


def test_no_delete_lets_no_delete_pass_whatever_the_path() -> None:
    for path in ("/", "/public/v3/novelties/1", "/oauth2/access_token"):
        assert not passes(profiles()["no-delete"], "DELETE", path)


def test_marks_agree_with_methods() -> None:
    """DELETE deletes; a GET may tell a credential, and needs no other mark."""
    for each in operations():
        assert ("deletes" in each.marks) or each.method != "DELETE", each
        assert each.method != "GET" or each.marks in {(), ("credentials",)}, each
        assert "reads" not in each.marks or each.marks == ("reads",), each


def test_what_hands_out_credentials_is_what_the_guard_keeps_closed() -> None:
    """Two lists of the same thing, in two places for two reasons."""
    policy = policy_of_all(Config(credentials={}))
    closed = {each.id for each in operations() if policy.objections(each.method, {sample(each)})}
    assert closed == marked("credentials")


def test_each_operation_is_found_by_its_method_and_a_path() -> None:
    """Those that only a flag in the query tells apart have one name: that of the one without."""
    plain = {(each.method, each.path): each for each in reversed(operations())}
    for each in operations():
        assert named(each.method, sample(each)) == plain[each.method, each.path]
    assert not any(each.query for each in plain.values())


@pytest.mark.parametrize(
    ("method", "path", "id_"),
    [
        ("GET", "/public/v1/documents/folders", "listDocumentFolders"),
        ("GET", "/public/v1/members/current", "detailsCurrentMember"),
        ("PATCH", "/public/v1/documents/ownership", "transferAllDocumentsOwnership"),
        ("GET", "/public/v2/product-catalog/items/search", "searchCatalogItems"),
        ("POST", "/public/v1/documents/draft/draft", "documentRevertToDraft"),
    ],
)
def test_a_concrete_path_goes_before_one_with_placeholders(method: str, path: str, id_: str) -> None:
    found = named(method, path)
    assert found
    assert found.id == id_


def test_head_finds_what_get_finds() -> None:
    assert named("HEAD", "/public/v1/documents/abc") == named("GET", "/public/v1/documents/abc")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/public/v9/documents"),
        ("GET", "/public/v1/documents/"),
        ("POST", "/public/v1/documents//send"),
        ("PUT", "/public/v1/documents/abc"),
        ("DELETE", "/public/v1/documents/folders"),
        ("get", "/public/v1/documents"),
    ],
)
def test_what_the_contract_does_not_have_has_no_name(method: str, path: str) -> None:
    """A wrong name in a refusal would send people looking in the wrong place."""
    assert named(method, path) is None


def test_the_policy_can_be_asked_without_a_network_library_being_loaded() -> None:
    """`pandadoc-proxy policy` and its like answer at once; a pure module does not bring an event loop."""
    program = """
import sys
from proxy.policy.profiles import named, profiles
assert profiles() and named("GET", "/public/v1/documents")
assert not {"aiohttp", "asyncio"} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)  # noqa: S603 - our own text


def test_operations_that_are_read_ahead_are_named_without_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    read_operations()
    monkeypatch.setattr(profiles_module, "_held", lambda name: pytest.fail(f"{name} is read"))
    assert named("GET", "/public/v1/documents") is not None
