"""RouteMatch messages as matches."""

from typing import Any

from turnout.rules.checks.syntax import header_name_fault
from turnout.rules.snapshot import Match, PathMatch, ValueMatch
from turnout.xds.translate.faults import Place
from turnout.xds.translate.read.numbers import read_share
from turnout.xds.translate.read.values import read_regex

_NAMES = {":authority": "host"}
_PSEUDO = frozenset({":method", ":path", ":scheme"})
_OLD_KINDS = {"exact_match": "exact", "prefix_match": "prefix", "suffix_match": "suffix", "contains_match": "contains"}


def read_match(message: Any, place: Place) -> Match:
    """A whole match. A plain condition on `:method` is the method."""
    path = _read_path(message, place)
    method = None
    headers = []
    for index, header in enumerate(message.headers):
        read = _read_header(header, place.at("headers", index))
        if method is None and read.value and read == ValueMatch(":method", read.value):
            method = read.value
        else:
            headers.append(read)
    query = [_read_query(q, place.at("query_parameters", i)) for i, q in enumerate(message.query_parameters)]
    share = None
    if message.HasField("runtime_fraction"):
        share = _read_share(message.runtime_fraction, place.at("runtime_fraction"))
    return Match(path, method, tuple(headers), tuple(query), share)


def _read_path(message: Any, place: Place) -> PathMatch:
    ignore_case = message.HasField("case_sensitive") and not message.case_sensitive.value
    match message.WhichOneof("path_specifier"):
        case "path":
            return PathMatch("exact", message.path, ignore_case)
        case "prefix":
            return PathMatch("prefix", message.prefix, ignore_case)
        case "path_separated_prefix":
            value = message.path_separated_prefix
            if len(value) < 2 or not value.startswith("/") or value.endswith("/") or "?" in value or "#" in value:
                place.at("path_separated_prefix").say(f"{value!r} is no path without a slash at its end")
            return PathMatch("path_prefix", value, ignore_case)
        case "safe_regex":
            return PathMatch("regex", read_regex(message.safe_regex, place.at("safe_regex")))
        case None:
            place.say("one of path, prefix, path_separated_prefix and safe_regex is needed")
    return PathMatch()  # what is another kind has been said to be not supported


def _read_header(message: Any, place: Place) -> ValueMatch:
    name = message.name.lower()
    name = _NAMES.get(name, name)
    if name not in _PSEUDO and (fault := header_name_fault(name)):
        place.at("name").say(fault)
    invert, empty = message.invert_match, message.treat_missing_header_as_empty
    match message.WhichOneof("header_match_specifier"):
        case "present_match":
            return ValueMatch(name, kind="present", invert=invert == message.present_match, missing_as_empty=empty)
        case "range_match":
            start, end = message.range_match.start, message.range_match.end
            return ValueMatch(name, "", "range", invert, False, empty, start, end)
        case "safe_regex_match":
            value = read_regex(message.safe_regex_match, place.at("safe_regex_match"))
            return ValueMatch(name, value, "regex", invert, missing_as_empty=empty)
        case "string_match":
            return _read_string(name, message.string_match, place.at("string_match"), invert, empty)
        case "exact_match" | "prefix_match" | "suffix_match" | "contains_match" as field:
            value = getattr(message, field)
            return _make_text(name, value, _OLD_KINDS[field], place.at(field), invert, empty, ignore_case=False)
    return ValueMatch(name, kind="present", invert=invert, missing_as_empty=empty)


def _read_query(message: Any, place: Place) -> ValueMatch:
    if not message.name:
        place.at("name").say("is empty")
    match message.WhichOneof("query_parameter_match_specifier"):
        case "string_match":
            return _read_string(message.name, message.string_match, place.at("string_match"))
        case "present_match":
            return ValueMatch(message.name, kind="present", invert=not message.present_match)
    return ValueMatch(message.name, kind="present")


def _read_string(name: str, message: Any, place: Place, invert: bool = False, empty: bool = False) -> ValueMatch:
    match message.WhichOneof("match_pattern"):
        case "safe_regex":
            if message.ignore_case:
                place.at("ignore_case").say("has no effect on safe_regex")
            return ValueMatch(
                name, read_regex(message.safe_regex, place.at("safe_regex")), "regex", invert, False, empty
            )
        case "exact" | "prefix" | "suffix" | "contains" as kind:
            value = getattr(message, kind)
            return _make_text(name, value, kind, place.at(kind), invert, empty, message.ignore_case)
        case None:
            place.say("one of exact, prefix, suffix, contains and safe_regex is needed")
    return ValueMatch(name)


def _make_text(
    name: str, value: str, kind: Any, place: Place, invert: bool, empty: bool, ignore_case: bool
) -> ValueMatch:
    if not value and kind != "exact":
        place.say("is empty")
    return ValueMatch(name, value, kind, invert, ignore_case, empty)


def _read_share(message: Any, place: Place) -> int | None:
    if not message.HasField("default_value"):
        place.say("default_value is needed")
        return None
    return read_share(message.default_value, place.at("default_value"))
