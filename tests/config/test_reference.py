"""The reference page, and what it is made from: config.yaml's comments."""

import re
import subprocess
import sys
from pathlib import Path

from tools.reference import ROOT, SHIPPED, made, meanings, uncommented

TOOL = ROOT / "tools" / "reference.py"


def test_what_is_shipped_is_what_the_tool_makes() -> None:
    """After a change of config.yaml's comments or of a key: `python tools/reference.py`."""
    for path, text in made(SHIPPED.read_text(encoding="utf-8")).items():
        assert path.read_text(encoding="utf-8") == text, path


def test_check_says_so() -> None:
    ended = subprocess.run([sys.executable, TOOL, "--check"], capture_output=True, text=True, check=False)  # noqa: S603 - our own
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_a_meaning_stands_behind_its_key_or_above_it() -> None:
    text = """\
# The file.

a:            # first
  # Of b, in
  # two lines.
  # b: 5s     # b itself
  c: {d: "e"}
clients:
  somebody:
    - key: /x#y   # of each
"""
    said = {"a": "first", "a.b": "b itself. Of b, in two lines.", "clients.*.key": "of each"}
    assert meanings(text) == said


def test_prose_stays_prose_when_the_signs_go() -> None:
    text = "# Words: of prose.\n  # - key: 1\n# other: 2\n#   b:\n"
    assert uncommented(text) == "# Words: of prose.\n  - key: 1\nother: 2\n  b:\n"


def test_every_link_of_the_page_leads_to_a_heading_of_it() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    headings = {re.sub(r"[^a-z0-9_]", "", each.lower()) for each in re.findall(r"(?m)^## (.*)$", page)}
    links = set(re.findall(r"\(#([^)]*)\)", page))
    assert links
    assert links <= headings
    assert all((ROOT / "docs" / Path(link)).exists() for link in re.findall(r"\]\((\.\./[^)]*)\)", page))
