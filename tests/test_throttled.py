"""What a 429 may say, in every way that is known."""

import time

import pytest

from proxy.throttled import LEAST, LONGEST, UNSAID, after, sentence, wait

NOW = 1_790_000_000.0
DRF = b'{"type":"throttled","detail":"Request was throttled. Expected available in 13 seconds."}'


@pytest.mark.parametrize(
    ("retry_after", "body", "seconds"),
    [
        (b"7", DRF, 7.0),
        (b" 7 ", b"", 7.0),
        (b"Mon, 21 Sep 2026 14:13:50 GMT", DRF, 30.0),
        (b"Mon, 21 Sep 2026 14:13:00 GMT", DRF, 1.0),
        (b"soon", DRF, 13.0),
        (b"", DRF, 13.0),
        (None, DRF, 13.0),
        (None, b'{"detail":"Request was throttled. Expected available in 1 second."}', 1.0),
        (None, b"Expected available in 13.0 seconds", 13.0),
        (None, b"try again in 20s", 20.0),
        (None, b'{"type":"throttled","detail":"Request was throttled."}', UNSAID),
        (None, b"<html>429</html>", UNSAID),
        (None, b"", UNSAID),
        (None, None, LEAST),
        (b"soon", None, LEAST),
        (b"7", None, 7.0),
        (b"0", b"", 1.0),
        (b"86400", b"", LONGEST),
        (None, b"available in 999999999 seconds", LONGEST),
        (b"9" * 40, DRF, LONGEST),
        (b"Mon, 99 Sep 2026 14:13:50 GMT", DRF, 13.0),
    ],
)
def test_the_wait_is_read_from_the_field_then_from_the_sentence_then_guessed(
    retry_after: bytes | None, body: bytes | None, seconds: float
) -> None:
    assert wait(retry_after, body, NOW) == seconds


def test_a_sentence_without_a_number_says_nothing() -> None:
    assert sentence(DRF) == 13.0
    assert sentence(b"Request was throttled.") is None


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (b" 13 ", 13.0),
        (b"-3", None),
        (b"yesterday", None),
        (b"Mon, 21 Sep 2026 14:13:50 GMT", 30.0),
        (b"Mon, 21 Sep 2026 14:13:50 -0000", 30.0),
        (b"Mon Sep 21 14:13:50 2026", 30.0),
        (b"Mon, 21 Sep 2020 14:13:30 GMT", 0.0),
        (b"Mon, 01 Jan 2024 00:00:00 +99999999999999999999", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_in_gmt(
    written: bytes, seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    assert after(written, NOW) == seconds
    monkeypatch.undo()
    time.tzset()
