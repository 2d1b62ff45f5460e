"""Logging of the supervisor: one line an event on stderr, as text or as JSON. Times are UTC.

Messages quote what strangers say, so in neither form can a message begin another line, or tell a terminal something.
"""

import json
import logging
import sys
import time
from typing import Literal


class TextFormatter(logging.Formatter):
    """`2026-01-02T03:04:05.678Z INFO supervisor: what happened`."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{_timestamp(record)} {record.levelname} {_short_name(record)}: {_printable(record.getMessage())}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One object a line: `time`, `level`, `logger`, `message`; where there are, `event` (`states.events`) and
    `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        event = {
            "time": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": _short_name(record),
            "message": record.getMessage(),
        }
        details = getattr(record, "event", None)
        if details is not None:
            event["event"] = details
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return json.dumps(event)


def configure_logging(level: str, style: Literal["text", "json"]) -> None:
    """Send everything from `level` on to stderr; what was set up before is replaced."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _timestamp(record: logging.LogRecord) -> str:
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{moment}.{int(record.msecs):03d}Z"


def _short_name(record: logging.LogRecord) -> str:
    """The room that speaks: `supervisor` of `turnout.proxy.supervisor.pool`."""
    names = record.name.split(".")
    return names[2] if names[0] == "turnout" and len(names) > 2 else names[0]
