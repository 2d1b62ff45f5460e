"""Whether a request is tried again, and when: Envoy's conditions and back-off, with bounds of ours.

A policy is compiled from a route's `retry` and decides each thing by itself; the exchange asks in this order, and the
first no ends it: attempts left → `on_failure` or `on_answer` → `may_repeat`, if bytes were sent → the body is still
there → the budget → another endpoint → `delay_s`. Nothing is retried once a byte of an answer went down.

What a condition covers (Envoy `retry_on`; source/common/router/retry_state_impl.cc; the real one is asked in
tests/e2e/test_e2e_envoy_retries.py):

| failure | Envoy's reset reason | conditions, once a byte of the request was sent |
|---|---|---|
| CONNECT_FAILED | connection failure or timeout | those of any, connect-failure, reset-before-request |
| UPSTREAM_CLOSED | connection termination | those of any |
| UPSTREAM_MALFORMED | protocol error | those of any |
| UPSTREAM_TIMEOUT, FIRST_BYTE_TIMEOUT | local reset, for `per_try_timeout` | those of any |
| else: total or idle timeout, overflow, no endpoint | – | never |

Those of any failure are `reset`, `5xx` and `gateway-error`, and `reset-before-request` if nothing was sent. A
connection that closed when nothing was sent is the same as a `refused-stream`: nothing was processed.

By status: `5xx` is 500 to 599, `gateway-error` 502, 503 and 504, `retriable-4xx` 409, and `codes` are
`retriable_status_codes`. An answer with `x-envoy-ratelimited` is never retried, as in Envoy without
`envoy-ratelimited`; one with `x-envoy-overloaded` may be: another endpoint may have room.

By gRPC status (Envoy `cancelled`, `deadline-exceeded`, `internal`, `resource-exhausted`, `unavailable`), from the head
or, which Envoy does not do, from the trailers.
"""

from math import inf

from turnout.predictors.calls import is_inference
from turnout.proxy import errors
from turnout.proxy.errors import Failure
from turnout.proxy.http.grpc import GrpcStatus
from turnout.proxy.http.head import RequestHead, ResponseHead
from turnout.proxy.http.retry_after import parse_retry_after
from turnout.rules.resilience import Retry

MAX_RETRY_AFTER_S = 300.0
"""A server that asks for more gets no retry (Envoy `rate_limited_retry_back_off.max_interval`, which ignores it)."""

IDEMPOTENT_METHODS = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})
"""RFC 9110 §9.2.2."""

_STATUSES = {
    "5xx": frozenset(range(500, 600)),
    "gateway-error": frozenset({502, 503, 504}),
    "retriable-4xx": frozenset({409}),
}
_GRPC_STATUSES = {
    "cancelled": GrpcStatus.CANCELLED,
    "deadline-exceeded": GrpcStatus.DEADLINE_EXCEEDED,
    "internal": GrpcStatus.INTERNAL,
    "resource-exhausted": GrpcStatus.RESOURCE_EXHAUSTED,
    "unavailable": GrpcStatus.UNAVAILABLE,
}
_ANY_RESET = frozenset({"reset", "5xx", "gateway-error"})
_NOT_SENT = _ANY_RESET | {"reset-before-request"}
_CONDITIONS: tuple[tuple[Failure, frozenset[str], frozenset[str]], ...] = (
    # the failure, what covers it once bytes were sent, and what does before
    (errors.CONNECT_FAILED, _NOT_SENT | {"connect-failure"}, _NOT_SENT | {"connect-failure"}),
    (errors.UPSTREAM_CLOSED, _ANY_RESET, _NOT_SENT | {"refused-stream"}),
    (errors.UPSTREAM_MALFORMED, _ANY_RESET, _NOT_SENT),
    (errors.UPSTREAM_TIMEOUT, _ANY_RESET, _NOT_SENT),
    (errors.FIRST_BYTE_TIMEOUT, _ANY_RESET, _NOT_SENT),
)


class RetryPolicy:
    """A route's `retry`, compiled.

    `attempts` are those after the first. `replays`: there are failures after which a request that was sent is sent
    again; without them nobody needs to keep the body. `replay_bytes` of it are kept. `budget` is the config of the
    route's budget, None for no bound.
    """

    __slots__ = (
        "_after_sent", "_back_off_s", "_before_sent", "_honours_retry_after", "_max_back_off_s", "attempts", "budget",
        "grpc_statuses", "only_idempotent", "other_endpoint", "replay_bytes", "replays", "statuses",
    )  # fmt: skip

    def __init__(self, config: Retry) -> None:
        on = frozenset(config.on)
        self.attempts = config.attempts
        self.statuses = frozenset(config.codes).union(*(_STATUSES.get(condition, ()) for condition in on))
        self.grpc_statuses = frozenset(status for condition, status in _GRPC_STATUSES.items() if condition in on)
        self._after_sent = frozenset(failure for failure, sent, _ in _CONDITIONS if sent & on)
        self._before_sent = frozenset(failure for failure, _, not_sent in _CONDITIONS if not_sent & on)
        self._back_off_s = config.back_off_s
        self._max_back_off_s = 10 * config.back_off_s if config.max_back_off_s is None else config.max_back_off_s
        self._honours_retry_after = config.retry_after
        self.only_idempotent = config.only_idempotent
        self.other_endpoint = config.other_endpoint
        self.replay_bytes = config.replay_bytes
        self.replays = bool(self.statuses or self.grpc_statuses or self._after_sent - {errors.CONNECT_FAILED})
        self.budget = config.budget

    def __repr__(self) -> str:
        return f"<RetryPolicy {self.attempts} on {len(self._after_sent)} failures, {len(self.statuses)} statuses>"

    def on_failure(self, failure: Failure, sent: bool) -> bool:
        """Whether an attempt that ended so may be made again; `sent` says that a byte of the request went out."""
        return failure in (self._after_sent if sent else self._before_sent)

    def on_answer(self, head: ResponseHead) -> bool:
        """Whether an answer may be thrown away and the request be made again."""
        return head.status in self.statuses and head.get(b"x-envoy-ratelimited") is None

    def on_grpc_status(self, status: GrpcStatus, head: ResponseHead) -> bool:
        """The same for the answer to a gRPC call that has ended so."""
        return status in self.grpc_statuses and head.get(b"x-envoy-ratelimited") is None

    def may_repeat(self, head: RequestHead) -> bool:
        """Whether a request that the endpoint may have seen can be sent again without harm."""
        return not self.only_idempotent or head.method in IDEMPOTENT_METHODS or is_inference(head.method, head.path)

    def back_off_s(self, attempt: int, random: float) -> float:
        """How long to wait before the `attempt`-th retry (from 1 on), by a `random` number in [0, 1).

        Envoy's fully jittered exponential back-off (`JitteredExponentialBackOffStrategy`): uniform in
        [0, min(base × 2^(attempt − 1), max)). Its documentation still has the bounds of an older formula,
        base × (2^attempt − 1), which are the same for the first retry and wider for others; Envoy 1.40 keeps to these,
        as tests/e2e/test_e2e_envoy_retries.py sees.
        """
        # Beyond 2^32 every base is above its maximum, and the power would become a number without end.
        bound = self._back_off_s * (1 << min(attempt - 1, 32))
        return random * min(bound, self._max_back_off_s)

    def delay_s(
        self, attempt: int, random: float, retry_after: bytes | None, wall: float, now: float, deadline: float
    ) -> float | None:
        """How long to wait before the `attempt`-th retry; None if it could not begin before the `deadline`.

        `deadline` is a time like `now`, 0 for none; `wall` is Unix time, for a `Retry-After` that is a date. A
        `Retry-After` is the least to wait. Up to half of it is added, by the `random` number, so that not all come back
        at once (Envoy's `JitteredLowerBoundBackOffStrategy`), but never so much that the deadline is missed for it.
        """
        delay = self.back_off_s(attempt, random)
        left = deadline - now if deadline else inf
        if retry_after is not None and self._honours_retry_after:
            least = parse_retry_after(retry_after, wall)
            if least is not None:
                if least > MAX_RETRY_AFTER_S or least >= left:
                    return None
                delay = max(delay, least + random * min(least, left - least) / 2)
        return delay if delay < left else None


DEFAULT_POLICY = RetryPolicy(
    Retry(attempts=1, on=("connect-failure", "refused-stream"), back_off_s=0.0, retry_after=False, budget=None)
)
"""For a route without `retry`: what was never sent is sent again, once and at once. It needs no budget, since the
endpoint never saw the request."""
