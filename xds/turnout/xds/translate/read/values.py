"""Small things that resources hold, read and checked: durations, expressions, texts that end up in a head."""

import re
from typing import Any

from turnout.rules.regex import compile_regex
from turnout.xds.translate.faults import Place
from turnout.xds.translate.names import METADATA, WHOLE_PATH

MAX_SECONDS = 315_576_000_000
"""Of a google.protobuf.Duration."""
MAX_PORT = 65_535

_PATH = re.compile(r"/[!-~]*")
_AUTHORITY = re.compile(r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9\-._~%!$&'()*+;=]+)(?::[0-9]{1,5})?")


def read_duration(message: Any, place: Place) -> float:
    """Seconds, 0 or more."""
    seconds, nanos = message.seconds, message.nanos
    if not (0 <= seconds <= MAX_SECONDS and 0 <= nanos < 1_000_000_000):
        place.say("is no duration of 0 s or more")
        return 0.0
    return float((seconds * 1_000_000_000 + nanos) / 1_000_000_000)


def read_regex(message: Any, place: Place) -> str:
    """An RE2 expression."""
    value: str = message.regex
    if not value:
        place.at("regex").say("is empty")
    else:
        try:
            compile_regex(value)
        except ValueError as error:
            place.at("regex").say(str(error))
    return value


def read_whole_path(message: Any, place: Place) -> str:
    """The path that a `regex_rewrite` gives to every request; other rewrites by expression are not supported."""
    if message.pattern.regex != WHOLE_PATH:
        place.at("pattern").say(f"is not supported; {WHOLE_PATH} is, which replaces the whole path")
    parts = message.substitution.split("\\\\")
    if any("\\" in part for part in parts):
        place.at("substitution").say("a reference to a group is not supported")
    return check_path("\\".join(parts), place.at("substitution"))


def check_path(value: str, place: Place, *, query: bool = False) -> str:
    """A path to be written into a request or a Location."""
    if not _PATH.fullmatch(value) or "#" in value or ("?" in value and not query):
        place.say(f"{value!r} is no path")
    return value


def check_authority(value: str, place: Place) -> str:
    """A host, with or without a port, to be written into a request or a Location."""
    if not _AUTHORITY.fullmatch(value):
        place.say(f"{value!r} is no host")
    return value


def check_port(port: int, place: Place, *, least: int = 1) -> int:
    if not least <= port <= MAX_PORT:
        place.say(f"{port} is no port")
    return port


def read_own(message: Any, key: str) -> Any | None:
    """Our own word in a message's metadata, as a google.protobuf.Value; None if it is not there."""
    if METADATA not in message.metadata.filter_metadata:
        return None
    fields = message.metadata.filter_metadata[METADATA].fields
    return fields.get(key)
