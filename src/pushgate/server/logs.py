"""The log: one record per line, as logfmt or JSON, in the format of the Go server.

Modules use ``logging.getLogger(__name__)``; further keys of a record are its ``extra``::

    log.info("Listening on", extra={"address": address})
"""

import io
import json
import logging
import math
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from pushgate.model.quoting import go_quote

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}
_NAMES = {number: name for name, number in _LEVELS.items()} | {logging.CRITICAL: "error"}
# What logging itself puts into a record; everything else was passed as ``extra``.
_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def configure(level: str, log_format: str) -> None:
    """Send every record of this process to stderr, and nothing twice.

    *level* is the lowest one of the server's own records, as ``--log.level`` has it. Of libraries
    only warnings and errors are shown.
    """
    # Whatever the locale says: a log that is JSON is UTF-8.
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(encoding="utf-8", errors="backslashreplace")
    handler = logging.StreamHandler()
    write = as_json if log_format == "json" else logfmt
    handler.setFormatter(LineFormatter(write, functions=level == "debug"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("pushgate").setLevel(_LEVELS[level])


class LineFormatter(logging.Formatter):
    """Turns a record into ordered keys, and has *write* make a line of them.

    *functions* adds the name of the function to ``caller``.
    """

    def __init__(self, write: Callable[[Mapping[str, Any]], str], *, functions: bool) -> None:
        super().__init__()
        self._write = write
        self._functions = functions

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        function = f"({record.funcName})" if self._functions else ""
        keys = {
            "ts": when.replace("+00:00", "Z"),
            "level": _NAMES.get(record.levelno, "info"),
            "caller": f"{record.filename}{function}:{record.lineno}",
            "msg": record.getMessage(),
        }
        keys |= {key: value for key, value in vars(record).items() if key not in _OWN}
        if record.exc_info:
            keys["stack"] = self.formatException(record.exc_info)
        return self._write(keys)


def logfmt(keys: Mapping[str, Any]) -> str:
    """Return ``ts=… level=info caller=run.py:12 msg="Listening on" address=[::]:9091``."""
    return " ".join(f"{key}={_logfmt_value(value)}" for key, value in keys.items())


def as_json(keys: Mapping[str, Any]) -> str:
    """Return ``{"ts":"…","level":"info","caller":"run.py:12","msg":"Listening on",…}``."""
    shown = {key: _json_value(value) for key, value in keys.items()}
    return json.dumps(shown, separators=(",", ":"), default=str)


def _json_value(value: object) -> object:
    """Return *value*, or text instead of it if strict readers of JSON would refuse it."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, str):  # bytes that are not UTF-8 are lone surrogates in it
        return value.encode("utf-8", "backslashreplace").decode()
    return value


def _logfmt_value(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    plain = text.isprintable() and not {" ", "=", '"'}.intersection(text)
    return text if text and plain else go_quote(text)
