"""Field names: the marked ones are found whatever their case, all others stay where they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.proxy.http.names import MAX_LEARNED, REQUEST_MARKS, RESPONSE_MARKS, Mark, Names

TOKEN = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_!#$%&'*+.^`|~", min_size=1).map(
    str.encode
)
VALUE = st.text("abc:,; \t\"'\\", max_size=12).map(lambda text: text.strip().encode())


def block_of(fields):
    return b"".join(b"\r\n%b: %b" % field for field in fields)


def split(names, fields):
    """The plain block, and the marked fields as (mark, name, value)."""
    parts = names.split(block_of(fields))
    marked = [(names.mark(name), name, value) for name, value in zip(parts[1::3], parts[2::3], strict=True)]
    return b"".join(parts[::3]), marked


@pytest.mark.parametrize("spell", [bytes.lower, bytes.upper, bytes.title])
@pytest.mark.parametrize("marks", [REQUEST_MARKS, RESPONSE_MARKS], ids=["request", "response"])
def test_a_marked_name_is_found_in_any_case_each_time(marks, spell):
    names = Names(marks)
    for _ in range(2):
        plain, marked = split(names, [(spell(name), b"v") for name in marks])
        assert plain == b""
        assert marked == [(mark, spell(name), b"v") for name, mark in marks.items()]


@pytest.mark.parametrize("name", [b"x-envoy-max-retries", b"X-Turnout-Anything", b"X-ENVOY-"])
def test_names_that_steer_us_are_marked_by_prefix_where_that_is_asked_for(name):
    assert split(Names(REQUEST_MARKS, steering=True), [(name, b"1")]) == (b"", [(Mark.STEERING, name, b"1")])
    assert split(Names(RESPONSE_MARKS), [(name, b"1")]) == (b"\r\n%b: 1" % name, [])


@pytest.mark.parametrize("name", [b"x-envoi", b"envoy-x", b"xx-envoy-a", b"x-turnouts", b"hosts", b"ahost", b"te2"])
def test_names_that_only_look_marked_are_plain(name):
    assert split(Names(REQUEST_MARKS, steering=True), [(name, b"1")]) == (b"\r\n%b: 1" % name, [])


@given(fields=st.lists(st.tuples(TOKEN | st.sampled_from(sorted(REQUEST_MARKS)), VALUE), max_size=12))
def test_every_field_is_either_plain_or_marked_and_none_is_lost(fields):
    plain, marked = split(Names(REQUEST_MARKS), fields)
    assert plain == block_of(field for field in fields if field[0].lower() not in REQUEST_MARKS)
    assert marked == [(REQUEST_MARKS[n.lower()], n, v) for n, v in fields if n.lower() in REQUEST_MARKS]


def test_a_value_that_looks_like_a_field_is_none():
    assert split(Names(REQUEST_MARKS), [(b"x-a", b"host: b")]) == (b"\r\nx-a: host: b", [])


def test_ways_to_spell_a_marked_name_are_learned_within_a_bound():
    names = Names(REQUEST_MARKS, steering=True)
    letters = b"transfer-encoding"
    for number in range(3 * MAX_LEARNED):
        spelled = bytes(c - 32 if number >> at & 1 and 97 <= c <= 122 else c for at, c in enumerate(letters))
        assert names.mark(spelled) == Mark.TRANSFER_ENCODING
        assert names.mark(b"x-envoy-%d" % number) == Mark.STEERING
    assert len(names._spelled) <= MAX_LEARNED
