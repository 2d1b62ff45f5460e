"""Header mutations as edits. Envoy removes, then overwrites, then appends, in whatever order they are listed."""

from collections.abc import Iterable, Sequence
from typing import Any

from envoy.config.core.v3 import base_pb2

from turnout.rules.checks.syntax import UNEDITABLE_HEADERS, header_name_fault, header_value_fault
from turnout.rules.snapshot import HeaderEdits
from turnout.xds.translate.faults import Place

_OPTION = base_pb2.HeaderValueOption


def read_request_edits(message: Any, place: Place) -> HeaderEdits:
    """Of a message that has `request_headers_to_add` and `request_headers_to_remove`."""
    options, removed = message.request_headers_to_add, message.request_headers_to_remove
    return _read_edits(options, removed, place, ("request_headers_to_add", "request_headers_to_remove"))


def read_response_edits(message: Any, place: Place) -> HeaderEdits:
    """Of a message that has `response_headers_to_add` and `response_headers_to_remove`."""
    options, removed = message.response_headers_to_add, message.response_headers_to_remove
    return _read_edits(options, removed, place, ("response_headers_to_add", "response_headers_to_remove"))


def read_metadata(options: Sequence[Any], place: Place) -> tuple[tuple[str, str], ...]:
    """The metadata of a gRPC call, `initial_metadata`."""
    edits = _read_edits(options, (), place, ("initial_metadata", ""))
    return (*edits.set, *edits.add)


def check_edits(edits: HeaderEdits, place: Place) -> None:
    """Say what is not allowed in edits."""
    for name, value in (*edits.set, *edits.add):
        _check_name(name, place)
        if fault := header_value_fault(value):
            place.say(fault)
    for name in edits.remove:
        _check_name(name, place)


def _read_edits(options: Sequence[Any], removed: Iterable[str], place: Place, fields: tuple[str, str]) -> HeaderEdits:
    """`fields` are the names of those that add and that remove."""
    if not options and not removed:
        return HeaderEdits()
    overwritten: dict[str, str] = {}
    appended: list[tuple[str, str]] = []
    for index, option in enumerate(options):
        inner = place.at(fields[0], index)
        name, value = option.header.key.lower(), _read_value(option.header.value, inner.at("header.value"))
        if value or option.keep_empty_value:
            if _overwrites(option, inner):
                overwritten.pop(name, None)
                overwritten[name] = value
            else:
                appended.append((name, value))
        check_edits(HeaderEdits(add=((name, value),)), inner.at("header"))
    names = tuple(dict.fromkeys(name.lower() for name in removed))
    edits = HeaderEdits(tuple(overwritten.items()), tuple(appended), names)
    check_edits(HeaderEdits(remove=names), place.at(fields[1]))
    return edits


def _overwrites(option: Any, place: Place) -> bool:
    if option.HasField("append"):
        if option.append_action != _OPTION.APPEND_IF_EXISTS_OR_ADD:
            place.at("append").say("excludes append_action")
        return not option.append.value
    if option.append_action not in (_OPTION.APPEND_IF_EXISTS_OR_ADD, _OPTION.OVERWRITE_IF_EXISTS_OR_ADD):
        place.at("append_action").say("is not supported; APPEND_IF_EXISTS_OR_ADD and OVERWRITE_IF_EXISTS_OR_ADD are")
    return bool(option.append_action == _OPTION.OVERWRITE_IF_EXISTS_OR_ADD)


def _read_value(text: str, place: Place) -> str:
    """A format string without commands: a percent sign is doubled."""
    parts = text.split("%%")
    if any("%" in part for part in parts):
        place.say(f"a format string with commands is not supported: {text[:100]!r}")
    return "%".join(parts)


def _check_name(name: str, place: Place) -> None:
    if fault := header_name_fault(name):
        place.say(fault)
    elif name in UNEDITABLE_HEADERS:
        place.say(f"{name} is the proxy's own and can't be edited")
