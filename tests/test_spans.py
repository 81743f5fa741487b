"""What the SDK logs: heard, and never shown. What it does with spans is in commands/test_tracing.py."""

import logging

import pytest

from proxy.spans import NO_ROOM, PEACE, QUEUE_FULL, SdkLog


def test_a_full_queue_is_told_again_only_after_a_minute_of_peace(caplog: pytest.LogCaptureFixture) -> None:
    sdk, now, told = SdkLog(), 1e9, []
    for later in (0, 20, 20, 20, 20, PEACE - 1, PEACE + 1, 20):
        now += later
        sdk.handle(logging.makeLogRecord({"msg": f"{QUEUE_FULL}, dropping %s.", "args": ("Span",), "created": now}))
        told.append(len(caplog.messages))
    assert told == [1, 1, 1, 1, 1, 1, 2, 2]
    assert set(caplog.messages) == {NO_ROOM}


def test_nothing_else_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    SdkLog().handle(logging.makeLogRecord({"msg": "Invalid tracestate: %s", "args": ("s3cret",)}))
    assert caplog.messages == []
