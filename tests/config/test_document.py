"""Where a thing was written: the line of its key, wherever it stands."""

import pytest

from proxy.config.document import document, variable
from proxy.config.faults import Findings
from proxy.config.nodes import ListNode, Scalar, locate

TEXT = """\
# a comment
listeners:
  - bind: a
    credential:
      b
  - bind: c
upstream: {url: d,
  ca_file: e}
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("listeners", 2),
        ("listeners.0", 3),
        ("listeners.0.credential", 4),
        ("listeners.1.bind", 6),
        ("listeners.2.bind", 2),
        ("listeners.first", 2),
        ("upstream.url", 7),
        ("upstream.ca_file", 8),
        ("upstream.ca_file.deeper", 8),
        ("admin.bind", 1),
    ],
)
def test_a_path_is_found_or_what_stands_above_it(path: str, line: int) -> None:
    assert str(locate(document(TEXT, "file", Findings()), path)) == f"file:{line}"


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ("debug", "text"),
        ("'7'", "text"),
        ("7", "number"),
        ("1.5", "number"),
        ("0x1F", "number"),
        ("1:30", "number"),
        ("true", "flag"),
        ("Off", "flag"),
        ("2024-01-01", "date"),
        ("null", "nothing"),
        ("~", "nothing"),
        ("", "nothing"),
        ("=", "text"),
    ],
)
def test_a_scalar_is_of_one_kind_in_a_file_and_in_a_variable(written: str, kind: str) -> None:
    in_file = document(f"key: {written}", "file", Findings()).entries["key"]
    in_variable = variable("NAME", written, "key", Findings())
    assert isinstance(in_file, Scalar)
    assert isinstance(in_variable, Scalar)
    assert in_file.kind == in_variable.kind == kind
    assert in_file.text == in_variable.text


def test_everything_in_a_variable_stands_at_its_name() -> None:
    node = variable("NAME", "[\n a,\n {b: c}]", "key", Findings())
    assert isinstance(node, ListNode)
    assert {str(item.place) for item in node.items} == {"NAME"}
    assert str(locate(node, "1.b")) == "NAME"
