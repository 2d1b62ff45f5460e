"""GEP-2257's grammar."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.rules.durations import limit_s, parse_duration_ms, parse_duration_s

MS = {"h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
PARTS = st.lists(st.tuples(st.integers(0, 99_999), st.sampled_from(sorted(MS))), min_size=1, max_size=4)


@given(PARTS)
def test_a_duration_is_the_sum_of_its_parts(parts: list[tuple[int, str]]) -> None:
    text = "".join(f"{number}{unit}" for number, unit in parts)
    assert parse_duration_ms(text) == sum(number * MS[unit] for number, unit in parts)


@given(st.text(alphabet="0123456789hms.-+ µ٣", max_size=12))
def test_a_text_is_a_duration_or_a_value_error(text: str) -> None:
    try:
        assert parse_duration_ms(text) >= 0
    except ValueError:
        return
    assert text.isascii()
    assert text[0].isdigit()
    assert text[-1] in "hms"


@pytest.mark.parametrize(
    "text", ["", "0", "1", "s", "1.5s", "-1s", "+1s", "1 s", "100000s", "1s1s1s1s1s", "1d", "1s\n"]
)
def test_what_is_outside_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_duration_ms(text)


def test_units_and_their_sum() -> None:
    assert (parse_duration_s("1h1m1s1ms"), parse_duration_s("250ms"), parse_duration_s("1m30s")) == (3661.001, 0.25, 90)


def test_zero_is_no_limit() -> None:
    assert (limit_s(None), limit_s("0s"), limit_s("0h0ms"), limit_s("2s")) == (None, None, None, 2.0)
