"""Whatever is not markup is escaped."""

from proxy.page.markup import Markup, prose, spaced, tag, together

EVIL = """<script>alert("1")</script>&'"""


def test_texts_are_escaped_wherever_they_stand() -> None:
    told = [tag("p", EVIL), tag("p", title=EVIL), together(EVIL, EVIL), spaced(EVIL), prose(f"Run `{EVIL}`: {EVIL}")]
    for markup in told:
        assert "<script" not in markup
        assert "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;&#x27;" in markup


def test_markup_is_not_escaped_again() -> None:
    assert tag("p", tag("b", "a < b"), " & ") == "<p><b>a &lt; b</b> &amp; </p>"
    assert together("<", Markup("<br/>")) == "&lt;<br/>"


def test_attributes_are_named_as_python_allows() -> None:
    assert tag("i", class_="key", aria_hidden="true") == '<i class="key" aria-hidden="true"></i>'
    assert tag("meta", name="viewport") == '<meta name="viewport"/>'


def test_words_side_by_side_are_words_apart() -> None:
    assert spaced(tag("b", "503"), "<") == "<b>503</b> &lt;"


def test_commands_in_a_sentence_look_like_commands() -> None:
    """A line may not end between the hyphens of an option: `--` alone means something else."""
    assert prose("Run `a login --b x`.") == "Run <code>a login <span>--b</span> x</code>."
