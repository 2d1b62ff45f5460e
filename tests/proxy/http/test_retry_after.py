"""`Retry-After`: seconds, and the three forms of a date that RFC 9110 has."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.proxy.http.retry_after import parse_retry_after

NOVEMBER_6_1994 = 784111777.0
"""Sun, 06 Nov 1994 08:49:37 GMT, the RFC's example."""


@pytest.mark.parametrize(("value", "seconds"), [(b"0", 0.0), (b"1", 1.0), (b"120", 120.0), (b"007", 7.0)])
def test_seconds_are_taken_as_they_are(value: bytes, seconds: float) -> None:
    assert parse_retry_after(value, NOVEMBER_6_1994) == seconds


@pytest.mark.parametrize(
    "value",
    [b"Sun, 06 Nov 1994 08:49:37 GMT", b"Sunday, 06-Nov-94 08:49:37 GMT", b"Sun Nov  6 08:49:37 1994"],
)
def test_each_form_of_a_date_is_the_time_from_now_to_then(value: bytes) -> None:
    assert parse_retry_after(value, NOVEMBER_6_1994 - 90) == 90
    assert parse_retry_after(value, NOVEMBER_6_1994) == 0
    assert parse_retry_after(value, NOVEMBER_6_1994 + 90) == 0


def test_a_year_of_two_digits_is_never_far_in_the_future() -> None:
    in_2026 = 1_767_225_600.0
    assert parse_retry_after(b"Sunday, 06-Nov-94 08:49:37 GMT", in_2026) == 0
    assert parse_retry_after(b"Friday, 02-Jan-26 00:00:00 GMT", in_2026) == 86_400


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"-1",
        b"+1",
        b"1.5",
        b"1, 2",
        b" 1",
        "٣".encode(),
        b"soon",
        b"9" * 41,
        b"Sun, 31 Feb 1994 08:49:37 GMT",
        b"Sun, 06 Nov 0000 08:49:37 GMT",
        b"Sun, 06 Nov 1994 25:49:37 GMT",
        b"Sun, 06 Now 1994 08:49:37 GMT",
        b"Sun, 06 Nov 1994 08:49:37 CET",
        b"Sun, 06 Nov 1994 08:49:37 GMT, 1",
    ],
)
def test_anything_else_says_nothing(value: bytes) -> None:
    assert parse_retry_after(value, NOVEMBER_6_1994) is None


@given(st.binary(max_size=48) | st.from_regex(rb"[A-Z][a-z]{2}, \d\d Nov \d{4} \d\d:\d\d:\d\d GMT", fullmatch=True))
def test_no_bytes_make_it_fail(value: bytes) -> None:
    seconds = parse_retry_after(value, NOVEMBER_6_1994)
    assert seconds is None or seconds >= 0
