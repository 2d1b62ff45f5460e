"""What a condition asks of a header or a parameter: each kind, turned round, in any case, missing as empty."""

from typing import TYPE_CHECKING, Any

import pytest

from turnout.rules.snapshot import Backend, Forward, Match, Route, ValueMatch

if TYPE_CHECKING:
    from conftest import MakeHead, MakeTable

from turnout.proxy.route.values import compile_verdict, describe_value, read_integer


def holds(found: str | None, **condition: Any) -> bool:
    return bool(compile_verdict(ValueMatch("x", **condition))(None if found is None else found.encode("latin-1")))


@pytest.mark.parametrize(
    ("condition", "yes", "no"),
    [
        ({"kind": "prefix", "value": "ab"}, ["ab", "abc"], ["a", "xab", "AB", ""]),
        ({"kind": "suffix", "value": "ab"}, ["ab", "xab"], ["b", "abx", "AB", ""]),
        ({"kind": "contains", "value": "ab"}, ["ab", "xabx"], ["a-b", "AB", ""]),
        ({"kind": "present"}, ["", "a"], [None]),
        ({"kind": "exact", "value": "aB", "ignore_case": True}, ["aB", "AB", "ab"], ["abc", ""]),
        ({"kind": "prefix", "value": "aB", "ignore_case": True}, ["AbX"], ["xab"]),
        ({"kind": "suffix", "value": "aB", "ignore_case": True}, ["xAb"], ["abx"]),
        ({"kind": "contains", "value": "aB", "ignore_case": True}, ["xABx"], ["a-b"]),
        # the case of an expression is its own to say
        ({"kind": "regex", "value": "a+", "ignore_case": True}, ["aa"], ["AA"]),
        ({"kind": "regex", "value": "(?i)a+"}, ["AA"], ["b"]),
    ],
)
def test_each_kind_and_the_same_turned_round(
    condition: dict[str, Any], yes: list[str | None], no: list[str | None]
) -> None:
    for value in yes:
        assert holds(value, **condition), value
        assert not holds(value, invert=True, **condition), value
    for value in no:
        assert not holds(value, **condition), value
        assert holds(value, invert=True, **condition), value


@pytest.mark.parametrize("kind", ["exact", "regex", "prefix", "suffix", "contains", "range"])
def test_what_is_not_there_does_not_hold_turned_round_or_not(kind: str) -> None:
    for invert in (False, True):
        assert not holds(None, kind=kind, value="a", range_to=9, invert=invert)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"value": ""}, True),
        ({"value": "a"}, False),
        ({"value": "a", "invert": True}, True),
        ({"kind": "regex", "value": "a*"}, True),
        ({"kind": "range", "range_from": -1, "range_to": 1}, False),
        ({"kind": "range", "range_from": -1, "range_to": 1, "invert": True}, True),
        ({"kind": "present"}, True),
        ({"kind": "present", "invert": True}, False),
    ],
)
def test_a_missing_one_may_count_as_empty(condition: dict[str, Any], expected: bool) -> None:
    assert holds(None, missing_as_empty=True, **condition) is expected
    assert holds("", missing_as_empty=True, **condition) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [("-10", True), ("-11", False), ("9", True), ("+9", True), ("10", False), (" 3 ", True), ("007", True)]
    + [(text, False) for text in ("", "a", "1.0", "1e0", "0x1", "1_0", "1 2", "--1", "+", "\xb2")],
)
def test_a_range_is_half_open_and_takes_whole_decimal_numbers(value: str, expected: bool) -> None:
    assert holds(value, kind="range", range_from=-10, range_to=10) is expected


def test_integers_have_64_bits_and_cost_little() -> None:
    assert [read_integer(b"%d" % n) for n in (2**63 - 1, 2**63, -(2**63), -(2**63) - 1)] == [
        2**63 - 1, None, -(2**63), None,
    ]  # fmt: skip
    assert read_integer(b"0" * 5_000 + b"7") == 7
    assert read_integer(b"9" * 5_000) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [(":method", "POST"), (":path", "/a?q=1"), (":authority", "h.example:81"), ("host", "h.example:81")],
)
def test_pseudo_headers_are_headers_too(make_table: "MakeTable", make_head: "MakeHead", name: str, value: str) -> None:
    table = make_table(Route("r", Match(headers=(ValueMatch(name, value),)), Forward((Backend("a"),))))
    assert table.match(make_head("POST /a?q=1 h.example:81"))
    assert table.match(make_head("GET /b h.example")) is None


def test_the_scheme_is_the_clients(make_table: "MakeTable", make_head: "MakeHead") -> None:
    table = make_table(Route("r", Match(headers=(ValueMatch(":scheme", "https"),)), Forward((Backend("a"),))))
    assert table.match(make_head("/", x_forwarded_proto="https"))
    assert table.match(make_head("/")) is None


def test_parameters_know_all_kinds_too(make_table: "MakeTable", make_head: "MakeHead") -> None:
    query = (ValueMatch("q", kind="present", invert=True), ValueMatch("p", "A", "prefix", ignore_case=True))
    table = make_table(Route("r", Match(query=query), Forward((Backend("a"),))))
    assert table.match(make_head("/?p=abc"))
    assert table.match(make_head("/?p=abc&q")) is None
    assert table.match(make_head("/?p=b")) is None


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ({"value": "a"}, "must be 'a'"),
        ({"value": "a", "invert": True}, "must not be 'a'"),
        ({"value": "a", "kind": "prefix", "ignore_case": True}, "must begin with 'a' in any case"),
        ({"kind": "present", "invert": True}, "must not be there"),
        ({"kind": "range", "range_from": 1, "range_to": 5}, "must be an integer from 1 to below 5"),
        (
            {"value": "a", "kind": "suffix", "missing_as_empty": True},
            "must end with 'a', a missing one counts as empty",
        ),
    ],
)
def test_conditions_in_words(condition: dict[str, Any], words: str) -> None:
    assert describe_value(ValueMatch("x", **condition)) == words
