"""Marks that are told apart without colours."""

from urllib.parse import unquote
from xml.etree import ElementTree as ET

from proxy.page.mark import SHAPES, icon, mark
from proxy.page.standing import TONES


def test_each_tone_has_a_sign_of_its_own() -> None:
    assert set(SHAPES) == set(TONES)
    assert len({sign for _, sign in SHAPES.values()}) == len(TONES)


def test_a_mark_is_silent_for_its_word_is_read() -> None:
    assert 'aria-hidden="true"' in mark("bad")


def test_an_icon_is_a_whole_picture_in_its_address() -> None:
    for tone in TONES:
        start, _, picture = icon(tone).partition(",")
        assert start == "data:image/svg+xml"
        assert ET.fromstring(unquote(picture)).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 - ours
