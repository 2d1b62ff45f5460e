"""Retries: Envoy's conditions as a table, back-off, `Retry-After`, and what may be repeated."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.proxy import errors
from turnout.proxy.errors import Failure
from turnout.proxy.http.head import RequestHead, ResponseHead
from turnout.proxy.route.retry import DEFAULT_POLICY, IDEMPOTENT_METHODS, MAX_RETRY_AFTER_S, RetryPolicy
from turnout.rules.resilience import Retry, RetryOn

WALL = 1_767_225_600.0
"""2026-01-01 00:00:00 UTC."""

EVERY_FAILURE = [value for value in vars(errors).values() if isinstance(value, Failure)]
CONNECT = {errors.CONNECT_FAILED}
RESETS = {
    errors.CONNECT_FAILED,
    errors.UPSTREAM_CLOSED,
    errors.UPSTREAM_MALFORMED,
    errors.UPSTREAM_TIMEOUT,
    errors.FIRST_BYTE_TIMEOUT,
}

# condition → what it covers after bytes were sent, what before
CONDITIONS: dict[RetryOn, tuple[set[Failure], set[Failure]]] = {
    "5xx": (RESETS, RESETS),
    "gateway-error": (RESETS, RESETS),
    "reset": (RESETS, RESETS),
    "reset-before-request": (CONNECT, RESETS),
    "connect-failure": (CONNECT, CONNECT),
    "refused-stream": (set(), {errors.UPSTREAM_CLOSED}),
    "retriable-4xx": (set(), set()),
}

MakeHead = Callable[..., RequestHead]


def policy(**config: Any) -> RetryPolicy:
    return RetryPolicy(Retry(**config))


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("sent", [True, False])
def test_a_condition_covers_the_failures_that_it_covers_in_envoy(condition: RetryOn, sent: bool) -> None:
    on = policy(on=(condition,))
    after, before = CONDITIONS[condition]
    assert {failure for failure in EVERY_FAILURE if on.on_failure(failure, sent)} == (after if sent else before)


@pytest.mark.parametrize("sent", [True, False])
def test_what_is_ours_the_clients_or_over_all_time_is_never_retried(sent: bool) -> None:
    everything = policy(on=tuple(CONDITIONS), codes=tuple(range(400, 600)))
    never = [errors.REQUEST_TIMEOUT, errors.IDLE_TIMEOUT, errors.OVERFLOW, errors.QUEUE_TIMEOUT, errors.NO_ENDPOINT]
    never += [failure for failure in EVERY_FAILURE if failure.who != "upstream"]
    assert not any(everything.on_failure(failure, sent) for failure in never)


@pytest.mark.parametrize(
    ("on", "codes", "statuses"),
    [
        (("5xx",), (), set(range(500, 600))),
        (("gateway-error",), (), {502, 503, 504}),
        (("retriable-4xx",), (), {409}),
        (("connect-failure", "refused-stream", "reset", "reset-before-request"), (), set()),
        ((), (429, 503), {429, 503}),
        (("gateway-error", "retriable-4xx"), (500,), {409, 500, 502, 503, 504}),
    ],
)
def test_statuses_are_those_of_the_conditions_and_the_codes(
    on: tuple[RetryOn, ...], codes: tuple[int, ...], statuses: set[int]
) -> None:
    compiled = policy(on=on, codes=codes)
    assert {status for status in range(100, 600) if status in compiled.statuses} == statuses
    assert {status for status in range(100, 600) if compiled.on_answer(ResponseHead((), status))} == statuses


def test_an_answer_that_says_rate_limited_by_envoy_is_not_retried_and_one_that_says_overloaded_is() -> None:
    on = policy(on=("5xx",))
    assert not on.on_answer(ResponseHead([(b"x-envoy-ratelimited", b"true")], 503))
    assert on.on_answer(ResponseHead([(b"x-envoy-overloaded", b"true")], 503))


@pytest.mark.parametrize(
    ("config", "replays"),
    [
        ({"on": ("connect-failure", "refused-stream", "reset-before-request")}, False),
        ({"on": ("connect-failure",), "codes": (503,)}, True),
        ({"on": ("retriable-4xx",)}, True),
        ({"on": ("reset",)}, True),
    ],
)
def test_a_body_need_be_kept_only_if_something_that_was_sent_can_be_sent_again(
    config: dict[str, Any], replays: bool
) -> None:
    assert policy(**config).replays is replays


def test_without_retry_only_what_was_never_sent_is_sent_again_once_and_at_once() -> None:
    assert {f for f in EVERY_FAILURE if DEFAULT_POLICY.on_failure(f, False)} == CONNECT | {errors.UPSTREAM_CLOSED}
    assert {f for f in EVERY_FAILURE if DEFAULT_POLICY.on_failure(f, True)} == CONNECT
    assert not DEFAULT_POLICY.statuses
    assert not DEFAULT_POLICY.replays
    assert DEFAULT_POLICY.attempts == 1
    assert DEFAULT_POLICY.budget is None
    assert DEFAULT_POLICY.other_endpoint
    assert DEFAULT_POLICY.delay_s(1, 0.99, b"30", WALL, 5.0, 0.0) == 0.0


# Repeating


@pytest.mark.parametrize(
    ("request_line", "may"),
    [
        *((f"{method.decode()} /orders", True) for method in sorted(IDEMPOTENT_METHODS)),
        ("POST /orders", False),
        ("PATCH /orders", False),
        ("POST /v2/models/bert/infer", True),
        ("POST /v1/models/bert:predict", True),
        ("POST /openai/v1/chat/completions", True),
        ("POST /v2/repository/models/bert/load", False),
    ],
)
def test_only_idempotent_methods_and_inference_calls_may_be_repeated(
    request_line: str, may: bool, make_head: MakeHead
) -> None:
    assert policy().may_repeat(make_head(request_line)) is may
    assert policy(only_idempotent=False).may_repeat(make_head(request_line))


# Back-off


@pytest.mark.parametrize(
    ("attempt", "bound"), [(1, 0.025), (2, 0.05), (3, 0.1), (4, 0.2), (5, 0.25), (6, 0.25), (10**9, 0.25)]
)
def test_the_bound_of_the_back_off_doubles_up_to_ten_times_the_base(attempt: int, bound: float) -> None:
    assert policy().back_off_s(attempt, 0.0) == 0.0
    assert policy().back_off_s(attempt, 0.5) == bound / 2


@pytest.mark.parametrize(("attempt", "bound"), [(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.3)])
def test_a_maximum_of_its_own_bounds_the_back_off(attempt: int, bound: float) -> None:
    assert policy(back_off_s=0.1, max_back_off_s=0.3).back_off_s(attempt, 0.5) == pytest.approx(bound / 2)


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_the_back_off_stays_within_what_envoy_documents(attempt: int, random: float) -> None:
    back_off = policy().back_off_s(attempt, random)
    assert 0 <= back_off < min(0.025 * (2.0 ** min(attempt, 64) - 1), 0.25) + 1e-9


def test_a_retry_that_could_not_begin_before_the_deadline_is_not_made() -> None:
    slow = policy(back_off_s=1.0)
    assert slow.delay_s(1, 0.5, None, WALL, now=10.0, deadline=10.6) == 0.5
    assert slow.delay_s(1, 0.5, None, WALL, now=10.0, deadline=10.5) is None
    assert slow.delay_s(1, 0.0, None, WALL, now=10.0, deadline=10.0) is None
    assert slow.delay_s(1, 0.0, None, WALL, now=10.0, deadline=9.0) is None


# Retry-After


def test_retry_after_is_the_least_to_wait_with_up_to_half_of_it_added() -> None:
    assert policy().delay_s(1, 0.0, b"2", WALL, 10.0, 0.0) == 2.0
    assert policy().delay_s(1, 0.5, b"2", WALL, 10.0, 0.0) == 2.5
    assert policy().delay_s(1, 0.0, b"Thu, 01 Jan 2026 00:00:03 GMT", WALL, 10.0, 0.0) == 3.0


def test_a_back_off_that_is_longer_than_retry_after_holds() -> None:
    assert policy(back_off_s=10.0).delay_s(1, 0.5, b"2", WALL, 0.0, 0.0) == 5.0
    assert policy(back_off_s=10.0).delay_s(1, 0.5, b"0", WALL, 0.0, 0.0) == 5.0


@given(st.floats(0, 0.999))
def test_what_is_added_to_retry_after_is_cut_to_the_deadline_and_the_floor_is_not(random: float) -> None:
    delay = policy().delay_s(1, random, b"2", WALL, 10.0, deadline=12.1)
    assert delay is not None
    assert 2.0 <= delay < 2.1
    assert policy().delay_s(1, random, b"2", WALL, 10.0, deadline=12.0) is None


def test_a_retry_after_that_asks_too_much_means_no_retry() -> None:
    assert policy().delay_s(1, 0.0, b"300", WALL, 10.0, 0.0) == MAX_RETRY_AFTER_S
    assert policy().delay_s(1, 0.0, b"301", WALL, 10.0, 0.0) is None
    assert policy().delay_s(1, 0.0, b"9" * 40, WALL, 10.0, 0.0) is None


def test_a_retry_after_that_is_garbage_or_not_asked_for_is_as_if_it_were_not_there() -> None:
    assert policy().delay_s(1, 0.5, b"soon", WALL, 10.0, 0.0) == 0.0125
    assert policy(retry_after=False).delay_s(1, 0.5, b"30", WALL, 10.0, 0.0) == 0.0125
