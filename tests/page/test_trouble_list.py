"""The last refusals and errors, for people."""

import re

import pytest
from msgspec.structs import replace
from page.samples import TROUBLE

from proxy.page.recent import Trouble
from proxy.page.trouble_list import NOTHING, SHOWN, THEIRS, trouble_list


def words(*troubles: Trouble) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", trouble_list(troubles))).strip()


CASES = {
    "ours, and it came again": (
        TROUBLE,
        (
            "503 proxy_configuration_error 1,204 times, last 4 seconds ago Credential eu has no refresh token."
            " Run pandadoc-proxy login . GET /public/v1/documents at 127.0.0.1:8080 by billing"
        ),
    ),
    "PandaDoc's": (
        replace(TROUBLE, status=429, error="", fault="", client="", age=0.1, count=1),
        f"429 just now {THEIRS} GET /public/v1/documents at 127.0.0.1:8080",
    ),
    "broken off before it had a status": (
        replace(TROUBLE, status=0, error="", fault="unfinished: PandaDoc's connection broke", count=1),
        "— 4 seconds ago unfinished: PandaDoc's connection broke GET /public/v1/documents at 127.0.0.1:8080 by billing",
    ),
}


@pytest.mark.parametrize(("trouble", "expected"), CASES.values(), ids=CASES)
def test_a_trouble_is_told(trouble: Trouble, expected: str) -> None:
    assert words(trouble).replace("&#x27;", "'") == expected


def test_the_word_of_an_answer_is_not_said_twice() -> None:
    assert words(TROUBLE).count("proxy_configuration_error") == 1


def test_a_long_path_is_cut() -> None:
    told = words(replace(TROUBLE, path="/" + "x" * 511))
    assert f"GET /{'x' * (SHOWN - 5)}… at" in told


def test_a_path_is_no_markup() -> None:
    assert "<script" not in trouble_list([replace(TROUBLE, path="/<script>alert(1)</script>")])


def test_no_trouble_is_said_to_be_none() -> None:
    assert words() == NOTHING
