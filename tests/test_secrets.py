"""A secret prints nothing, and a reference reads what is there now."""

import copy
import json
import os
import pickle
import traceback
from pathlib import Path

import msgspec
import pytest

from proxy.secrets import Secret, SecretReference, SecretUnavailable


def test_a_secret_prints_nothing() -> None:
    secret = Secret("hunter2")
    printed = [str(secret), repr(secret), f"{secret}", f"{secret!r:>30}", f"{secret:>30}", "%s" % secret, [secret]]  # noqa: UP031 - the old way leaks nothing either
    assert "hunter2" not in str(printed)
    assert f"{secret}" == "Secret(***)"


def test_only_reveal_gives_it_away() -> None:
    assert Secret("hunter2").reveal() == "hunter2"


def test_secrets_are_equal_by_value_and_to_nothing_else() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert Secret("ü\ud800") == Secret("ü\ud800")


def test_a_secret_never_changes() -> None:
    secret = Secret("a")
    with pytest.raises(AttributeError, match="never changes"):
        secret._text = "b"  # noqa: SLF001 - what must not work
    with pytest.raises(AttributeError, match="never changes"):
        del secret._text  # noqa: SLF001 - the same
    assert secret.reveal() == "a"


def test_a_secret_is_never_written_out() -> None:
    secret = Secret("hunter2")
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(secret)
    with pytest.raises(TypeError, match="never pickled"):
        copy.deepcopy(secret)
    with pytest.raises(TypeError):
        json.dumps(secret)
    with pytest.raises(TypeError):
        msgspec.json.encode(secret)


def test_a_fingerprint_tells_secrets_apart() -> None:
    assert Secret("a").fingerprint() == "ca978112ca1b"
    assert Secret("b").fingerprint() != Secret("a").fingerprint()


def test_a_variable_is_read_anew_each_time() -> None:
    environ = {"KEY": "old"}
    reference = SecretReference.env("KEY", environ)
    assert reference.read().reveal() == "old"
    environ["KEY"] = "new"
    assert reference.read().reveal() == "new"


def test_a_file_is_read_anew_each_time(tmp_path: Path) -> None:
    """Kubernetes swaps a link to a folder of new files."""
    old, new, link = tmp_path / "old", tmp_path / "new", tmp_path / "..data"
    for folder in (old, new):
        folder.mkdir()
        (folder / "key").write_text(folder.name, encoding="utf-8")
    link.symlink_to(old)
    reference = SecretReference.file(link / "key")
    assert reference.read().reveal() == "old"
    (tmp_path / "next").symlink_to(new)
    (tmp_path / "next").replace(link)
    assert reference.read().reveal() == "new"


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_one_newline_at_the_end_is_no_part_of_the_secret(end: str, tmp_path: Path) -> None:
    """Whoever makes a Kubernetes Secret with echo has one, in the file as in the variable."""
    (tmp_path / "key").write_bytes(b"with space" + end.encode())
    assert SecretReference.file(tmp_path / "key").read() == Secret("with space")
    assert SecretReference.env("KEY", {"KEY": "with space" + end}).read() == Secret("with space")


@pytest.mark.parametrize("text", ["a\n\n", "a\r", "a\nb"])
def test_another_line_break_in_a_variable_is_refused(text: str) -> None:
    with pytest.raises(SecretUnavailable, match="line break"):
        SecretReference.env("KEY", {"KEY": text}).read()


@pytest.mark.parametrize(
    ("content", "flaw"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"a\n\n", "line break"),
        (b"a\r", "line break"),
        (b"a\nb", "line break"),
        (b"a\0b", "NUL"),
        (b"\xef\xbb\xbfa", "byte order mark"),
        ("schlüssel".encode(), "printable ASCII"),
        (b"a\tb", "printable ASCII"),
        (b"a\x7f", "printable ASCII"),
        (b" a", "begins or ends with a space"),
        (b"a ", "begins or ends with a space"),
        (b"\xff\xfea\0", "not UTF-8"),
        (b"a" * 65537, "larger than 64KiB"),
    ],
)
def test_a_malformed_file_is_refused_without_showing_it(content: bytes, flaw: str, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(SecretUnavailable, match=flaw) as raised:
        SecretReference.file(path).read()
    assert str(path) in str(raised.value)
    assert raised.value.__cause__ is None
    assert "schlüssel" not in "".join(traceback.format_exception(raised.value))


def test_the_largest_file_passes(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"a" * 65536)
    assert len(SecretReference.file(tmp_path / "key").read().reveal()) == 65536


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SecretUnavailable, match="does not exist: create or mount it"):
        SecretReference.file(tmp_path / "key").read()


def test_a_folder_or_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(SecretUnavailable, match="is not a regular file"):
            SecretReference.file(path).read()


def test_a_file_that_cant_be_read_says_why(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 300)  # too long a name: an error that root meets too
    with pytest.raises(SecretUnavailable, match=r"can't be read \(File name too long\): check its mode and owner"):
        SecretReference.file(path).read()


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(SecretUnavailable, match="the environment variable PANDADOC_API_KEY is not set"):
        SecretReference.env("PANDADOC_API_KEY", {}).read()


def test_a_secret_in_a_names_place_is_not_echoed() -> None:
    with pytest.raises(SecretUnavailable, match="named here is not set") as raised:
        SecretReference.env("cafe0123456789abcdef", {}).read()
    assert "cafe" not in str(raised.value)


def test_an_empty_variable_is_refused() -> None:
    with pytest.raises(SecretUnavailable, match=r"^\$KEY is empty"):
        SecretReference.env("KEY", {"KEY": ""}).read()


def test_a_literal_is_read_but_not_shown() -> None:
    reference = SecretReference.literal("hunter2", "config.yaml:12")
    assert reference.read().reveal() == "hunter2"
    assert reference.describe() == "a literal in config.yaml:12"


def test_a_references_repr_says_where_and_no_more() -> None:
    environ = {"KEY": "hunter2", "OTHER": "hunter3"}
    references = [
        SecretReference.env("KEY", environ),
        SecretReference.file(Path("/run/secrets/x")),
        SecretReference.literal("hunter2", "config.yaml:12"),
    ]
    assert list(map(repr, references)) == [
        "SecretReference($KEY)",
        "SecretReference(file /run/secrets/x)",
        "SecretReference(a literal in config.yaml:12)",
    ]


def test_references_are_equal_by_what_they_name() -> None:
    assert SecretReference.env("KEY", {"KEY": "a"}) == SecretReference.env("KEY", {})
    assert SecretReference.env("KEY", {}) != SecretReference.env("OTHER", {})
    assert SecretReference.literal("a", "x:1") != SecretReference.literal("b", "x:1")
    assert SecretReference.literal("a", "a") != SecretReference.env("a", {})
    assert len({SecretReference.file(Path("a")), SecretReference.file(Path("a"))}) == 1


def test_a_literal_is_the_same_wherever_it_stands() -> None:
    """A comment above it moves its line, and a grant that is known by it must go on."""
    assert len({SecretReference.literal("a", "x:1"), SecretReference.literal("a", "x:2")}) == 1
