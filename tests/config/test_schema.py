"""The JSON Schema: it never marks what loads, and marks what is spelled wrongly, but for what no schema can see."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, get_args

import pytest
import yaml
from config.editor import SCHEMA, VALIDATOR, complaints
from config.test_broken import CASES, Case
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from proxy.config.document import Unreadable
from proxy.config.forms import FORMS
from proxy.config.schema import schema
from proxy.config.sections import Reads
from tools.reference import uncommented

ROOT: Final = Path(__file__).parents[2]
SHIPPED: Final = (ROOT / "config.yaml").read_text(encoding="utf-8")

BLIND: Final = {
    "written twice": "a JSON object has each key once",
    "merge keys": "YAML's own, and gone once it is read",
    "expected a key here": "the same",
    "found a date": "JSON knows no dates",
    "what is no character": "a pattern that knows one by its halves would mark whole ones",
    "has a space in it": "elsewhere a secret may have one",
    "is for secrets": "elsewhere it is one",
    "is larger than 65535": "a pattern does not count",
    "such as 127.0.0.1:8080": "the same: an address of four numbers",
    "without scheme, port or path": "the same",
    "more than 366d": "the same",
    "more than 1024GiB": "the same",
    "107 bytes at most": "the same",
    "4294967294 at most": "the same",
    "1m at least": "the same",
    "such as https://api.pandadoc.com": "the same: a port",
    "plain http": "what is loopback, is_loopback alone decides",
    "is open to other machines": "two keys",
    "is taken by": "two keys",
    "the proxy's own address": "two keys",
    "must not be larger than": "two keys",
    "is for https to other machines": "two keys",
    "in the same": "two keys",
    "is not for a cluster": "the same",
    "needs expires_at": "two keys",
    "is the expiry of": "two keys",
    "contradicts clients": "two keys",
    "leaves this process nothing": "two keys",
    "is for a unix socket alone": "two keys",
    "is for host:port alone": "two keys",
    "no credential has this name": "two keys, or the environment",
    "is the key of client": "the environment, and secrets stay out of it",
    "16 characters at least": "the same",
    "would serve nobody": "what a list must not be, rules alone say",
    "changes nothing": "the order of rules",
    "is never asked": "the same",
    "can't be read": "files",
    "holds no certificate": "files",
    "is not a regular file": "files",
    "this machine knows no such": "this machine",
    "environment variable": "the environment",
    "is empty: put the secret there": "the environment",
}
"""What of broken.txt no schema sees, by a part of what is said about it, and why."""


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_every_key_says_what_it_means() -> None:
    silent = [path for path, key in keys(SCHEMA, "") if "description" not in key and path != "listeners.clients.*"]
    assert silent == []


def test_every_meaning_is_some_keys() -> None:
    """A misspelt path in the comments would be lost without a word."""
    said = {f"{path}: {key.get('description')}" for path, key in keys(SCHEMA, "")}
    read = json.loads((ROOT / "proxy" / "config" / "meanings.json").read_text(encoding="utf-8"))
    assert {f"{path}: {meaning}" for path, meaning in read.items()} <= said


def keys(shape: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, key in shape.get("properties", {}).items():
        yield f"{path}{name}", key
        yield from keys(key, f"{path}{name}.")
    if isinstance(shape.get("additionalProperties"), dict):
        yield f"{path}*", shape["additionalProperties"]
        yield from keys(shape["additionalProperties"], f"{path}*.")
    for below in (*shape.get("anyOf", ()), *([shape["items"]] if "items" in shape else [])):
        yield from keys(below, path)


def test_every_default_passes() -> None:
    shapes = [key for _, key in keys(SCHEMA, "") if "default" in key]
    assert len(shapes) > 40
    for key in shapes:
        Draft202012Validator({**key, "$defs": SCHEMA["$defs"]}).validate(key["default"])


def test_the_defaults_are_those_that_the_shipped_file_writes() -> None:
    """Those that it writes in another unit apart: 120s is 2m."""
    written = yaml.safe_load(SHIPPED)
    assert SCHEMA["properties"]["upstream"]["anyOf"][1]["properties"]["url"]["default"] == written["upstream"]["url"]
    for section in ("policy", "replay", "limits", "shutdown", "log"):
        found = {name: key["default"] for name, key in SCHEMA["properties"][section]["properties"].items()}
        assert found == written[section]


def test_the_shipped_file_passes_with_all_its_examples() -> None:
    assert complaints(SHIPPED) == []
    before, key, after = SHIPPED.partition("# credentials:")
    text = re.sub(r"(?m)^    (clients: \{\}|tls: null).*\n", "", before) + key + after
    assert complaints(uncommented(text)) == []


def deployed() -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / "deploy").rglob("*.yaml")):
        if path.parent.name == "templates":  # Helm's are no YAML yet; their own tests judge what they make
            continue
        text = path.read_text(encoding="utf-8")
        if path.name == "config.yaml" or path.parent == ROOT / "deploy" / "examples":
            yield str(path.relative_to(ROOT)), text
            continue
        for each in yaml.safe_load_all(text):
            if isinstance(each, dict) and each.get("kind") == "ConfigMap":
                yield path.name, each["data"]["config.yaml"]


DEPLOYED: Final = list(deployed())


@pytest.mark.parametrize(("name", "text"), DEPLOYED, ids=[name for name, _ in DEPLOYED])
def test_every_example_and_config_map_passes(name: str, text: str) -> None:
    assert (name, complaints(text)) == (name, [])


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_what_is_spelled_wrongly_is_marked(case: Case) -> None:
    """Each fault of the file, and not of the environment, unless no schema could see it."""
    with suppress(Unreadable):  # an editor's own YAML marks that
        marked = complaints(case.text)
        for fault in case.faults:
            place, path, message = fault.split(": ", 2)
            if place.startswith("config.yaml:") and not any(part in message for part in BLIND):
                assert any(overlap(path, mark) for mark in marked), fault


def overlap(path: str, mark: str) -> bool:
    """Whether a mark at a key or above it means the path: an unknown key is marked where it stands in."""
    return not mark or path == mark or path.startswith(f"{mark}.")


@pytest.mark.parametrize("part", BLIND)
def test_nothing_is_excused_that_is_never_said(part: str) -> None:
    assert any(part in fault for case in CASES for fault in case.faults)


PIECES: Final = ["", *"01 .:/-@*[],+_aGT", "//", "**", "{id}", "%25", "GET"]
"""What is put in and taken out of examples, to come to other spellings that load."""

PARSED: Final = {kind: form for kind, form in FORMS.items() if any(isinstance(mark, Reads) for mark in get_args(kind))}
SPELLINGS: Final = {
    kind: st.builds(
        lambda text, start, length, piece: text[:start] + piece + text[start + length :],
        st.sampled_from([str(each) for each in form.examples]),
        st.integers(0, 40),
        st.integers(0, 4),
        st.sampled_from(PIECES),
    )
    for kind, form in PARSED.items()
}


@pytest.mark.parametrize("kind", PARSED, ids=[form.key for form in PARSED.values()])
def test_whatever_a_type_reads_its_form_lets_pass(kind: Any) -> None:
    shape = Draft202012Validator(dict(FORMS[kind].shape))
    parse = get_args(kind)[1].parse

    @settings(deadline=None, max_examples=200)
    @given(SPELLINGS[kind])
    def every_spelling(text: str) -> None:
        with suppress(ValueError):
            parse(text)
            assert shape.is_valid(text), text

    every_spelling()


@pytest.mark.parametrize("form", FORMS.values(), ids=lambda form: form.key)
def test_the_examples_of_a_form_pass(form: Any) -> None:
    for each in form.examples:
        Draft202012Validator(dict(form.shape)).validate(each)


WRITTEN: Final = [
    "upstream: https://api.pandadoc.eu",
    "upstream:",
    "listeners:\n- {bind: 'unix:/a', mode: 0600, owner: 1000}\n- {bind: 'unix:/b', mode: 660}",
    "listeners:\n-",
    "credentials: {}",
    "limits: {max_body: 1024, max_requests: '5'}\nshutdown: {grace: 0}",
    "credentials: {a: {api_key: abc}, b: {api_key: '${K}'}, c: {api_key: {value: $x}}}",
    "credentials: {a: {oauth2: {client_id: x, client_secret: {env: S}, expires_at: 1827241320, token_url: null}}}",
    *(
        f"credentials: {{a: {{oauth2: {{client_id: x, client_secret: {{env: S}}, store: {{memory: {yes}}}}}}}}}"
        for yes in ("true", "True", "yes", "YES", "on")
    ),
]


@pytest.mark.parametrize("text", WRITTEN)
def test_the_other_ways_of_writing_pass_too(text: str) -> None:
    assert complaints(text) == []


def test_without_meanings_it_is_the_same_but_silent() -> None:
    assert not any("description" in key for _, key in keys(schema({}), ""))
    assert VALIDATOR.is_valid({}) is Draft202012Validator(schema({})).is_valid({}) is True
