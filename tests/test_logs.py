"""What log lines look like, and that none shows a credential (law 16)."""

import json
import logging
import os
import time
from collections.abc import Iterator

import pytest
from log_pipe import PAGE, Pipe
from test_log_lines import all_taken, until

from proxy import log_lines
from proxy.config import Log
from proxy.logs import Record, dropped, redact, set_up


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root, ours, access = (logging.getLogger(name) for name in (None, "proxy", "proxy.access"))
    before = (list(root.handlers), root.level, ours.level, access.level)
    yield
    root.handlers[:] = before[0]
    access.setLevel(before[3])
    root.setLevel(before[1])
    ours.setLevel(before[2])


def said(settings: Log, *lines: tuple[str, int, str], terminal: bool = False) -> list[str]:
    reading, writing = os.openpty() if terminal else os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as reader, os.fdopen(writing, "w") as stream:
        handler = set_up(settings, stream)
        for name, level, text in lines:
            logging.getLogger(name).log(level, text, extra={"fields": {"ms": 1.5, "path": "/x"}})
        handler.close()
        stream.close()
        return reader.read(PAGE).decode().splitlines()


LINE = ("proxy.access", logging.INFO, "GET /x 200")


def test_a_terminal_gets_text_and_a_pipe_gets_json() -> None:
    (text,) = said(Log(), LINE, terminal=True)
    assert text.endswith("info     GET /x 200  ms=1.5")
    (line,) = said(Log(), LINE)
    document = json.loads(line)
    assert document.pop("time").endswith("+00:00")
    assert document == {"level": "info", "logger": "proxy.access", "message": "GET /x 200", "ms": 1.5, "path": "/x"}


def test_the_format_can_be_chosen() -> None:
    assert said(Log(format="text"), LINE)[0].endswith("ms=1.5")
    assert said(Log(format="json"), LINE, terminal=True)[0].startswith("{")


@pytest.mark.parametrize("format_", ["text", "json"])
def test_what_is_no_utf_8_in_a_path_loses_no_line(format_: str) -> None:
    settings = Log(format="text" if format_ == "text" else "json")
    (line,) = said(settings, ("proxy", logging.WARNING, "/etc/\udcff.pem can't be read: Bearer hush"))
    assert "udcff.pem can't be read: Bearer ***" in line


def test_access_lines_can_be_switched_off_but_for_warnings() -> None:
    """Else nothing would say why a request has failed."""
    warning = ("proxy.access", logging.WARNING, "GET /x 502")
    assert len(said(Log(access=False), LINE, warning)) == 1
    assert len(said(Log(access=True), LINE, warning)) == 2
    assert not said(Log(access=False, level="error"), LINE, warning)


def test_other_settings_wait_for_no_line_and_forget_none_that_was_dropped(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reload comes while requests are served, and the log's reader may be stuck."""
    monkeypatch.setattr(log_lines, "MOST_WAITING", 1)
    pipe.fill()
    lines = set_up(Log(), pipe.stream)
    log = logging.getLogger("proxy")
    log.info("with the stream")
    until(lambda: all_taken(lines))
    for text in ("waiting", "dropped"):
        log.info(text)
    began = time.monotonic()
    handler = set_up(Log(level="warning", format="text"), pipe.stream)
    assert time.monotonic() - began < log_lines.PATIENCE / 2
    assert dropped() == 1
    monkeypatch.undo()
    log.info("not shown")
    log.warning("in the new form")
    pipe.read()
    handler.close()
    first, second, third = pipe.lines()
    assert [json.loads(line)["message"] for line in (first, second)] == ["with the stream", "waiting"]
    assert third.endswith("warning  in the new form")


def test_levels_apply_to_us_and_libraries_only_warn() -> None:
    lines = [("proxy.x", logging.DEBUG, "a"), ("proxy.x", logging.WARNING, "b"), ("asyncio", logging.INFO, "c")]
    assert len(said(Log(level="debug"), *lines)) == 2
    assert len(said(Log(level="warning"), *lines)) == 1
    assert len(said(Log(level="error"), *lines)) == 0


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer hush",
        "authorization: bearer hush",
        "{'Authorization': 'API-Key hush'}",
        "Proxy-Authorization: Basic hush",
        "Proxy-Authorization: Basic 'hush'",
        "Authorization: Bearer ,hush",
        "bearer:hush",
        "client_id=x&client_secret=hush&grant_type=y",
        '{"access_token": "hush", "refresh_token":"hush"}',
    ],
)
@pytest.mark.parametrize("format_", ["text", "json"])
def test_whatever_looks_like_a_credential_is_blotted_out(text: str, format_: str) -> None:
    (line,) = said(Log(format="text" if format_ == "text" else "json"), ("asyncio", logging.WARNING, text))
    assert "hush" not in line
    assert "***" in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "the file /run/secrets/pandadoc/api-key does not exist: create or mount it",
        "the file sec/api-key holds characters other than printable ASCII",
        "~/keys.d/basic can't be read",
        "./api-key: can't be read",
        "credential api-key: generation 2 is stored",
    ],
)
def test_a_file_that_is_called_like_a_credential_is_told_with_what_is_wrong_with_it(text: str) -> None:
    assert redact(text) == text


def test_a_traceback_is_one_record_and_is_blotted_out_too(pipe: Pipe) -> None:
    handler = set_up(Log(), pipe.stream)
    pipe.read()
    try:
        int("Bearer hush")
    except ValueError:
        logging.getLogger("proxy").exception("a fault")
    handler.close()
    (line,) = pipe.lines()
    assert "Traceback" in json.loads(line)["message"]
    assert "hush" not in line


def test_a_record_of_ours_is_to_any_formatter_what_loggings_own_would_be() -> None:
    every = "%(name)s %(levelno)d %(levelname)s %(message)s %(pathname)s %(filename)s %(module)s %(lineno)d"
    own = logging.makeLogRecord({"name": "proxy.access", "levelno": 20, "levelname": "INFO", "msg": "GET /100%d 200"})
    ours = Record("proxy.access", logging.INFO, "GET /100%d 200", {"status": 200})
    formatter = logging.Formatter(every)
    assert formatter.format(ours) == formatter.format(own)
    ours.created, ours.msecs = own.created, own.msecs
    formatter = logging.Formatter("%(asctime)s %(created)f %(msecs)d")
    assert formatter.format(ours) == formatter.format(own)


def test_the_default_stream_is_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    handler = set_up(Log())
    logging.getLogger("proxy").warning("for people")
    handler.close()
    assert "for people" in capfd.readouterr().err
