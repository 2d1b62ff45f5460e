"""The log: one line an event, whatever is quoted in it."""

import json
import logging
import sys

from turnout.proxy.supervisor.logs import JsonFormatter, TextFormatter


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("turnout.proxy.supervisor.pool", logging.INFO, "", 0, "%s came", (text,), None)


def test_what_is_quoted_can_neither_begin_a_line_nor_command_a_terminal() -> None:
    line = TextFormatter().format(record("a\n2026 \x1b[2J\u2028é"))
    assert line.endswith(r"Z INFO supervisor: a\n2026 \x1b[2J\u2028é came")


def test_json_says_the_same() -> None:
    line = JsonFormatter().format(record("a\nb\x1b"))
    assert line.isprintable()
    assert json.loads(line)["message"] == "a\nb\x1b came"


def test_a_traceback_has_its_lines() -> None:
    try:
        raise ValueError("no")
    except ValueError:
        found = record("x")
        found.exc_info = sys.exc_info()
    first, second, *_, last = TextFormatter().format(found).splitlines()
    assert first.endswith("INFO supervisor: x came")
    assert (second, last) == ("Traceback (most recent call last):", "ValueError: no")
