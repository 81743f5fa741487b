"""Whatever is thrown at it, loading ends in a Config or in BadConfig."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config import BadConfig, describe, load
from proxy.config.sections import Section

KEYS = sorted({name for section in Section.__subclasses__() for name in section.__struct_fields__})
WORDS = [*KEYS, "default", "oauth2", "env", "file", "value", "memory", "0", "1", "<<"]
TEXTS = [
    "127.0.0.1:8080", "[::1]:80", "unix:/x", "*", "5s", "8MiB", "auto", "info", "https://a.example", "http://b",
    "${K}", "PANDADOC_API_KEY", "/healthz", "./x", "true", "null", "~", "1_0", "0x1f", "1:30", "2024-01-01", "\ud800",
]  # fmt: skip

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.dates() | st.text() | st.sampled_from(TEXTS)
TREES = st.recursive(
    SCALARS,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(WORDS) | SCALARS, below, max_size=5),
    max_leaves=20,
)
SECTIONS = st.dictionaries(st.sampled_from(KEYS), TREES, max_size=6)
ENVIRONS = st.dictionaries(
    st.sampled_from(["PANDADOC_API_KEY", "PANDADOC_CLIENT_ID", "K", "HTTPS_PROXY", "NO_PROXY"])
    | st.lists(st.sampled_from([*map(str.upper, WORDS), "", "x"]), max_size=4).map(
        lambda keys: "PANDADOC_PROXY__" + "__".join(keys)
    ),
    st.text(st.characters(codec="utf-8", exclude_characters="\0")) | st.sampled_from(TEXTS),
    max_size=5,
)
# What YAML is made of, so that most texts come near to meaning something.
YAMLISH = st.text(st.sampled_from("abc:- \n\t'\"{}[],&*!|>%@`#?~<=0123\\x") | st.characters(), max_size=60)

MANY = settings(deadline=None, max_examples=300)  # no deadline: the first example pays for imports


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file for all examples: each writes it anew."""
    return tmp_path_factory.mktemp("random") / "config.yaml"


def _ends_well(file: Path, text: str, environ: dict[str, str]) -> bool:
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        config = load(file, environ=environ)
    except BadConfig as error:
        return bool(error.faults) and all(fault.place and fault.message for fault in error.faults)
    return bool(describe(config))


@MANY
@given(text=YAMLISH)
def test_any_text_ends_well(file: Path, text: str) -> None:
    assert _ends_well(file, text, {"PANDADOC_API_KEY": "k"})


@MANY
@given(tree=SECTIONS, environ=ENVIRONS)
def test_any_tree_and_environment_end_well(file: Path, tree: object, environ: dict[str, str]) -> None:
    assert _ends_well(file, yaml.safe_dump(tree, allow_unicode=True), environ)


@MANY
@given(environ=ENVIRONS)
def test_any_environment_ends_well(file: Path, environ: dict[str, str]) -> None:
    assert _ends_well(file, "", {"PANDADOC_API_KEY": "k"} | environ)
