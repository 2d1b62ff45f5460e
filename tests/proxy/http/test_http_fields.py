"""The grammar of values that a proxy must read (RFC 9110 §5.6, §8.6, §6.5)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.proxy.http.fields import MalformedError, parse_keep_alive_s, parse_length, parse_tokens, parse_trailer


@pytest.mark.parametrize(
    ("value", "tokens"),
    [
        (b"", []),
        (b" ,\t, ", []),
        (b"Close", [b"close"]),
        (b" x-A , X-b ", [b"x-a", b"x-b"]),
        (b",a,,b,", [b"a", b"b"]),
        (b"a b", [b"a b"]),
        (b"\x0ba", [b"\x0ba"]),
    ],
)
def test_a_list_is_split_at_commas_and_lowered(value, tokens):
    assert parse_tokens(value) == tokens


@given(number=st.integers(0, 10**17 - 1), zeros=st.integers(0, 1))
def test_a_length_is_digits(number, zeros):
    assert parse_length(b"0" * zeros + b"%d" % number) == number


@pytest.mark.parametrize(
    "value",
    [b"", b"+1", b"-1", b"1.0", b"0x1", b"1_0", b"1 0", b"1,1", b"\xb2", "٣".encode(), b"1" * 19, b"1\n", b"\x0b1"],
)
def test_anything_else_is_no_length(value):
    with pytest.raises(MalformedError):
        parse_length(value)


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (b"X-A: 1", (b"x-a", b"1")),
        (b"x-a:1 ", (b"x-a", b"1")),
        (b"x-a:", (b"x-a", b"")),
        (b"x-a:\t a  b\t", (b"x-a", b"a  b")),
        (b"x-a: \xff", (b"x-a", b"\xff")),
        (b"x-a: b: c", (b"x-a", b"b: c")),
        (b"Content-Length: 3", None),
        (b"HOST: a", None),
    ],
)
def test_a_trailer_line_is_a_field_or_one_that_must_not_come_late(line, field):
    assert parse_trailer(line) == field


@pytest.mark.parametrize(
    "line",
    [
        b"x",
        b": 1",
        b"x : 1",
        b" x: 1",
        b"\tx: 1",
        b"x\x00: 1",
        b"x: \x00",
        b"x: a\rb",
        b"x: a\nb",
        b"\xe9: 1",
        b"x: \x7f",
    ],
)
def test_a_malformed_trailer_line_is_refused(line):
    with pytest.raises(MalformedError):
        parse_trailer(line)


@given(line=st.binary(max_size=40))
def test_what_a_trailer_tells_has_no_byte_that_could_end_it(line):
    try:
        field = parse_trailer(line)
    except MalformedError:
        return
    if field is not None:
        assert not set(b"\r\n\x00") & set(field[0] + field[1])


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"timeout=5", 5.0),
        (b"max=3, Timeout=15", 15.0),
        (b"timeout=0", 0.0),
        (b"", None),
        (b"max=3", None),
        (b"timeout", None),
        (b"timeout=", None),
        (b"timeout=-1", None),
        (b"timeout=1e9", None),
        (b"timeout=99999999999999999999", None),
    ],
)
def test_the_timeout_of_keep_alive(value, seconds):
    assert parse_keep_alive_s(value) == seconds
