"""A trusted client's deadline: read, and handed on as what is left of it."""

import pytest

from turnout.proxy.http.deadline import read_timeout_s, set_timeout
from turnout.proxy.http.head import RequestHead
from turnout.proxy.http.names import Mark

OURS, ENVOYS = b"x-request-timeout-ms", b"x-envoy-expected-rq-timeout-ms"


def make_head(*fields: tuple[bytes, bytes]) -> RequestHead:
    head = RequestHead([(b"accept", b"*/*"), *fields])
    head.marks = Mark.STEERING if fields else 0
    return head


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"1", 0.001),
        (b"1500", 1.5),
        (b"000250", 0.25),
        (b"9999999999", 9_999_999.999),
        # no limit, or no number
        (b"0", None),
        (b"", None),
        (b"-1", None),
        (b"+1", None),
        (b"1.5", None),
        (b"1s", None),
        (b"0x10", None),
        ("١".encode(), None),
        (b"9" * 13, None),
        (b"9" * 4_000, None),
    ],
)
def test_a_timeout_is_whole_milliseconds_above_zero(value: bytes, seconds: float | None) -> None:
    assert read_timeout_s(make_head((OURS, value))) == seconds


def test_a_head_without_steering_fields_has_none() -> None:
    assert read_timeout_s(make_head()) is None
    assert read_timeout_s(make_head((b"x-turnout-other", b"1"))) is None


def test_the_shorter_of_ours_and_envoys_holds() -> None:
    assert read_timeout_s(make_head((OURS, b"300"), (ENVOYS, b"200"))) == 0.2
    assert read_timeout_s(make_head((OURS, b"100"), (ENVOYS, b"200"))) == 0.1
    assert read_timeout_s(make_head((OURS, b"soon"), (ENVOYS, b"200"))) == 0.2


def test_a_timeout_that_comes_twice_says_nothing() -> None:
    assert read_timeout_s(make_head((OURS, b"300"), (OURS, b"200"))) is None


def test_what_is_left_goes_upstream_in_both_fields() -> None:
    head = make_head()
    set_timeout(head, 1.5)
    assert head.fields == [(b"accept", b"*/*"), (OURS, b"1500"), (ENVOYS, b"1500")]


def test_it_takes_the_place_of_what_the_client_said_and_of_an_earlier_attempts() -> None:
    head = make_head((OURS, b"5000"), (b"x-other", b"1"))
    set_timeout(head, 4.75)
    set_timeout(head, 3.25)
    assert head.fields == [(b"accept", b"*/*"), (b"x-other", b"1"), (OURS, b"3250"), (ENVOYS, b"3250")]


@pytest.mark.parametrize("remaining_s", [0.0009, 0.0, -3.0])
def test_nothing_left_is_said_as_one_millisecond_for_zero_would_be_no_limit(remaining_s: float) -> None:
    head = make_head()
    set_timeout(head, remaining_s)
    assert head.get(OURS) == b"1"


def test_no_limit_is_not_told() -> None:
    head = make_head((OURS, b"5000"))
    set_timeout(head, float("inf"))
    assert head.fields == [(b"accept", b"*/*")]
