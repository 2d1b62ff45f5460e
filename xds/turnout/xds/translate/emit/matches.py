"""Matches in Envoy's words as RouteMatch messages."""

from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2 as components
from envoy.type.matcher.v3 import regex_pb2, string_pb2
from envoy.type.v3 import percent_pb2, range_pb2

from turnout.rules.snapshot import Match, PathMatch, ValueMatch

_PATH_FIELDS = {"exact": "path", "prefix": "prefix", "path_prefix": "path_separated_prefix"}


def make_match(match: Match) -> Any:
    """A whole match; the method is a header to Envoy, as is the authority that the rules call `host`."""
    message = _make_path(match.path)
    if match.method is not None:
        message.headers.append(_make_header(ValueMatch(":method", match.method)))
    message.headers.extend(_make_header(header) for header in match.headers)
    message.query_parameters.extend(_make_query(parameter) for parameter in match.query)
    if match.per_million is not None:
        percent = percent_pb2.FractionalPercent
        share = percent(numerator=match.per_million, denominator=percent.MILLION)
        message.runtime_fraction.CopyFrom(base_pb2.RuntimeFractionalPercent(default_value=share))
    return message


def make_regex(value: str) -> Any:
    return regex_pb2.RegexMatcher(regex=value)


def _make_path(path: PathMatch) -> Any:
    message = components.RouteMatch()
    if path.kind == "regex":
        message.safe_regex.CopyFrom(make_regex(path.value))
    else:
        setattr(message, _PATH_FIELDS[path.kind], path.value)
    if path.ignore_case:
        message.case_sensitive.value = False
    return message


def _make_header(match: ValueMatch) -> Any:
    name = ":authority" if match.name == "host" else match.name
    message = components.HeaderMatcher(
        name=name, invert_match=match.invert, treat_missing_header_as_empty=match.missing_as_empty
    )
    if match.kind == "present":
        message.present_match = True
    elif match.kind == "range":
        message.range_match.CopyFrom(range_pb2.Int64Range(start=match.range_from, end=match.range_to))
    else:
        message.string_match.CopyFrom(_make_string(match))
    return message


def _make_query(match: ValueMatch) -> Any:
    if match.kind == "present":
        return components.QueryParameterMatcher(name=match.name, present_match=not match.invert)
    return components.QueryParameterMatcher(name=match.name, string_match=_make_string(match))


def _make_string(match: ValueMatch) -> Any:
    if match.kind == "regex":
        return string_pb2.StringMatcher(safe_regex=make_regex(match.value))
    return string_pb2.StringMatcher(**{match.kind: match.value}, ignore_case=match.ignore_case)
