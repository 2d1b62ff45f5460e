"""Field names: told apart whatever their case, and learned within a bound."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.proxy.http.names import MAX_LEARNED, MAX_LEARNED_BYTES, REQUEST_MARKS, RESPONSE_MARKS, Mark, Names


def learned(names):
    """How much `names` knows beyond the table that it was made with."""
    tables = [getattr(names, slot) for slot in Names.__slots__]
    return sum(len(table) for table in tables if isinstance(table, dict)) - len(REQUEST_MARKS)


def mark_of(names, name):
    mark, lower = names.look_up(name)
    assert lower == name.lower()
    return mark


@pytest.mark.parametrize("spell", [bytes.lower, bytes.upper, bytes.title])
@pytest.mark.parametrize("marks", [REQUEST_MARKS, RESPONSE_MARKS], ids=["request", "response"])
def test_a_marked_name_is_marked_in_any_case_each_time(marks, spell):
    names = Names(marks)
    for _ in range(2):
        assert {name: mark_of(names, spell(name)) for name in marks} == marks
    assert not names.plain


def test_a_plain_name_is_learned_as_it_is_spelled():
    names = Names(REQUEST_MARKS)
    assert mark_of(names, b"X-Abc") == mark_of(names, b"x-aBC") == 0
    assert names.plain == {b"X-Abc": b"x-abc", b"x-aBC": b"x-abc"}


@pytest.mark.parametrize("name", [b"x-envoy-max-retries", b"X-Turnout-Anything", b"X-ENVOY-"])
def test_names_that_steer_us_are_marked_by_prefix_where_that_is_asked_for(name):
    assert mark_of(Names(REQUEST_MARKS, steering=True), name) == Mark.STEERING
    assert mark_of(Names(RESPONSE_MARKS), name) == 0


@pytest.mark.parametrize("name", [b"x-envoi", b"envoy-x", b"xx-envoy-a", b"x-turnouts"])
def test_names_that_only_look_like_steering_are_plain(name):
    assert mark_of(Names(REQUEST_MARKS, steering=True), name) == 0


@given(name=st.binary(min_size=1, max_size=80))
def test_no_other_name_is_ever_marked(name):
    assert mark_of(Names(REQUEST_MARKS), name) == REQUEST_MARKS.get(name.lower(), 0)


@pytest.mark.parametrize("pattern", [b"x-%d", b"x-envoy-%d", b"X-Turnout-%d"])
def test_hostile_names_fill_no_memory_and_care_is_still_taken(pattern):
    names = Names(REQUEST_MARKS, steering=True)
    for number in range(3 * MAX_LEARNED):
        names.look_up(pattern % number)
    assert learned(names) <= MAX_LEARNED
    assert mark_of(names, b"Transfer-Encoding") == Mark.TRANSFER_ENCODING
    assert mark_of(names, b"CONTENT-LENGTH") == Mark.CONTENT_LENGTH
    assert mark_of(names, b"x-envoy-late") == Mark.STEERING
    assert mark_of(names, b"x-late") == 0
    assert learned(names) <= MAX_LEARNED


def test_long_names_are_not_learned():
    names = Names(REQUEST_MARKS, steering=True)
    for prefix in (b"x-", b"x-envoy-"):
        names.look_up(prefix + b"a" * MAX_LEARNED_BYTES)
    assert learned(names) == 0


def test_ways_to_spell_a_marked_name_are_bounded_too():
    names = Names(REQUEST_MARKS)
    letters = b"transfer-encoding"
    for number in range(3 * MAX_LEARNED):
        spelled = bytes(c - 32 if number >> at & 1 and 97 <= c <= 122 else c for at, c in enumerate(letters))
        assert mark_of(names, spelled) == Mark.TRANSFER_ENCODING
    assert learned(names) <= MAX_LEARNED
