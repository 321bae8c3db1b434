import io
import json
import logging
import os
import re
import subprocess
import sys

import orjson
import pytest
from hypothesis import given, strategies as st

from pushgate.server import logs

log = logging.getLogger("pushgate.server.run")


@pytest.fixture
def lines(monkeypatch):
    """Configure the log into memory; put the loggers back as they were."""
    touched = [logging.getLogger(name) for name in (None, "pushgate", "asyncio")]
    before = [(logger, logger.level, logger.handlers[:], logger.propagate) for logger in touched]
    stream = io.StringIO()

    def configured(level="info", log_format="logfmt"):
        monkeypatch.setattr(sys, "stderr", stream)
        logs.configure(level, log_format)
        return lambda: stream.getvalue().splitlines()

    logging.getLogger().handlers.clear()  # pytest's own, which configure would close
    yield configured
    for logger, level, handlers, propagate in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers
        logger.propagate = propagate


def test_a_logfmt_record_has_time_level_caller_message_and_keys(lines):
    written = lines()
    log.info("Listening on", extra={"address": "[::]:9091", "http2": False})
    [line] = written()
    shape = (
        r"ts=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z level=info "
        r'caller=test_logs\.py:\d+ msg="Listening on" address=\[::\]:9091 http2=false'
    )
    assert re.fullmatch(shape, line)


def test_a_json_record_has_the_same_keys(lines):
    written = lines(log_format="json")
    log.warning("write queue is full", extra={"pushes": 7, "err": 'no "disk"'})
    record = json.loads(written()[0])
    assert list(record) == ["ts", "level", "caller", "msg", "pushes", "err"]
    assert (record["level"], record["pushes"], record["err"]) == ("warn", 7, 'no "disk"')
    assert ", " not in written()[0]


def test_at_debug_level_the_caller_names_its_function(lines):
    written = lines("debug")
    log.debug("job name is required")
    caller = r"caller=test_logs\.py\(test_at_debug_level_the_caller_names_its_function\):\d+"
    assert re.search(caller, written()[0])


def test_records_below_the_level_are_not_written(lines):
    written = lines("warn")
    log.info("no")
    log.warning("yes")
    log.critical("this too")
    assert [line.split(" ")[1] for line in written()] == ["level=warn", "level=error"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("", '""'),
        ("a b", '"a b"'),
        ("a=b", '"a=b"'),
        ('say "x"', r'"say \"x\""'),
        ("two\nlines\t", r'"two\nlines\t"'),
        ("b\u00fc", "b\u00fc"),
        ("back\\slash", "back\\slash"),
        ("\udcff", r'"\xff"'),
        ("\u2028", r'"\u2028"'),
        (1.5, "1.5"),
        (True, "true"),
    ],
)
def test_a_logfmt_value_is_quoted_when_it_could_be_misread(lines, value, text):
    written = lines()
    log.info("m", extra={"key": value})
    assert written()[0].endswith(f" msg=m key={text}")


@given(message=st.text(), value=st.text())
def test_whatever_is_logged_stays_on_one_line(message, value):
    keys = {"msg": message, "key": value}
    assert len(logs.logfmt(keys).splitlines()) == 1
    line = logs.as_json(keys)
    assert "\n" not in line
    assert json.loads(line) == keys


@pytest.mark.parametrize("value", ["\udcff", "b\u00fc", float("nan"), float("inf"), b"\xff", None])
def test_json_is_ascii_that_strict_readers_take(value):
    line = logs.as_json({"msg": "m", "value": value})
    assert line.isascii()
    assert orjson.loads(line)["msg"] == "m"


def test_the_log_is_utf_8_whatever_the_locale():
    code = (
        "import logging\n"
        "from pushgate.server import logs\n"
        "logs.configure('info', 'logfmt')\n"
        "logging.getLogger('pushgate').info('b\\u00fc')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        check=True,
    )
    assert done.stderr.rstrip().endswith("msg=b\u00fc".encode())


@pytest.mark.parametrize("log_format", ["logfmt", "json"])
def test_an_exception_is_a_key_of_its_record(lines, log_format):
    written = lines(log_format=log_format)
    try:
        int("disk on fire")
    except ValueError:
        log.exception("error persisting metrics")
    [line] = written()
    assert "level=error" in line or '"level":"error"' in line
    assert r"\nValueError: invalid literal" in line


def test_other_loggers_are_heard_from_warnings_on_in_the_same_shape(lines):
    other = logging.getLogger("asyncio")
    written = lines("debug")
    other.info("Using selector: EpollSelector")
    assert written() == []
    other.error("Task was destroyed: %s", "x")
    assert written()[0].endswith('msg="Task was destroyed: x"')


def test_configuring_again_replaces_the_first_time(lines):
    lines()
    written = lines(log_format="json")
    log.info("once")
    assert len(written()) == 1
