"""What is remembered of a request that may have to be sent again: its body, its attempts, and what they are charged to.

An exchange has one of these from its first failure on, or, if its route has a `retry`, from the second piece of its
body on. The body is kept as the pieces that came, within the policy's bound and the worker's (`Replays`); what is too
large is streamed and can't be sent again. A retry is charged from the decision to its end, to the budgets, which know
of the request, and to the cluster's limit.
"""

from collections.abc import Sequence
from random import random

from turnout.proxy.cluster.budget import Budget
from turnout.proxy.cluster.cluster import Cluster
from turnout.proxy.cluster.endpoint import Endpoint
from turnout.proxy.errors import Failure, Flag
from turnout.proxy.exchange.sides import Replays
from turnout.proxy.http.grpc import parse_pushback_s
from turnout.proxy.http.head import Data, RequestHead, ResponseHead
from turnout.proxy.route.retry import MAX_RETRY_AFTER_S, RetryPolicy
from turnout.proxy.telemetry.layout import ClusterWord

_RETRIES, _ACTIVE = int(ClusterWord.RETRIES), int(ClusterWord.RETRIES_ACTIVE)
_REFUSED, _NOT_REPLAYABLE = int(ClusterWord.RETRIES_REFUSED), int(ClusterWord.NOT_REPLAYABLE)


class Retrying:
    """The attempts of one request. `reasons` tells why each of those before was not the last, `flag` why the last one
    was (Envoy's): none were left, or a budget or a limit did not allow it. No flag: the body was too large, or the
    server wants none."""

    __slots__ = (
        "_budgets", "_charged", "_cluster", "_pieces", "_policy", "_pushed_at", "_replays", "_reserved", "attempts",
        "flag", "reasons", "size", "tried",
    )  # fmt: skip

    def __init__(
        self, policy: RetryPolicy, budgets: Sequence[Budget], cluster: Cluster, replays: Replays, body: Data | None
    ) -> None:
        """`body` is what came of it with the head; None if it is not to be had any more."""
        self._policy = policy
        self._budgets = budgets
        self._cluster = cluster
        self._replays = replays
        self._reserved = 0
        self.size = 0 if body is None else len(body)
        self._pieces: list[Data] | None = None if body is None or self.size > policy.replay_bytes else [body]
        self._charged = False
        self._pushed_at = 0
        """The attempt behind which a server last said how long to wait: the back-off begins anew from there."""
        self.attempts = 1
        self.flag = Flag.URX
        self.reasons: list[str] = []
        self.tried: tuple[Endpoint, ...] = ()

    def keep(self, data: Data) -> None:
        """Another piece of the body was sent."""
        if self._pieces is None:
            return
        self.size += len(data)
        if self.size > self._policy.replay_bytes or len(data) > self._replays.left:
            self.drop()
        else:
            self._reserved += len(data)
            self._replays.left -= len(data)
            self._pieces.append(data)

    def replace(self, body: Data) -> None:
        """This is all of the body so far, of which nothing was sent yet, or all is sent again."""
        self.drop()
        size = len(body)
        if size <= self._policy.replay_bytes and size <= self._replays.left:
            self._pieces = [body]
            self.size = self._reserved = size
            self._replays.left -= size

    def drop(self) -> None:
        """The body will not be sent again: it is too large, or an answer has begun."""
        self._pieces = None
        self.size = 0
        self._replays.left += self._reserved
        self._reserved = 0

    def body(self) -> bytes:
        """All of the body that came so far."""
        assert self._pieces is not None, "without it there is no other attempt"
        return b"".join(self._pieces)

    def after_failure(
        self, failure: Failure, head: RequestHead, sent: bool, now: float, deadline: float
    ) -> float | None:
        """How long to wait for another attempt after one that failed; None if there is none. `sent`: the endpoint may
        have seen some of the request. `deadline` is that of all attempts, 0 for none."""
        policy = self._policy
        if not policy.on_failure(failure, sent) or (sent and not policy.may_repeat(head)):
            return None
        return self._delay_s(None, 0.0, now, deadline)

    def is_unwanted(self, answer: ResponseHead, head: RequestHead) -> bool:
        """Whether this answer is to be thrown away, if there can be another attempt."""
        policy = self._policy
        return policy.on_answer(answer) and policy.may_repeat(head)

    def after_answer(
        self, answer: ResponseHead, pushback: bytes | None, wall: float, now: float, deadline: float
    ) -> float | None:
        """How long to wait for another attempt after an unwanted answer; None if there is none. `pushback` is what a
        server of gRPC says of it itself (gRPC A6): so long, or not at all."""
        if pushback is not None:
            return self._after_pushback(pushback, now, deadline)
        return self._delay_s(answer.get(b"retry-after"), wall, now, deadline)

    def _after_pushback(self, pushback: bytes, now: float, deadline: float) -> float | None:
        delay_s = parse_pushback_s(pushback)
        if delay_s is None:
            self.flag = Flag.NONE
            return None
        if delay_s > MAX_RETRY_AFTER_S or (deadline and now + delay_s >= self._latest(now, deadline)):
            return None
        self._pushed_at = self.attempts
        return delay_s if self._may_begin(now) else None

    def _delay_s(self, retry_after: bytes | None, wall: float, now: float, deadline: float) -> float | None:
        latest = self._latest(now, deadline) if deadline else 0.0
        delay_s = self._policy.delay_s(self.attempts - self._pushed_at, random(), retry_after, wall, now, latest)
        return delay_s if delay_s is not None and self._may_begin(now) else None

    def _latest(self, now: float, deadline: float) -> float:
        """It must also come to an end: no retry that begins later than an answer takes at the least."""
        return max(deadline - self._cluster.least_s(), now)

    def _may_begin(self, now: float) -> bool:
        """Whether there is another attempt, and everything allows it. A refusal is counted."""
        if self.attempts > self._policy.attempts:
            return False
        cluster = self._cluster
        if self._pieces is None:
            cluster.count(_NOT_REPLAYABLE)
            self.flag = Flag.NONE
            return False
        self._discharge()
        if all(budget.may_retry(now) for budget in self._budgets) and cluster.limiter.may_retry():
            return True
        cluster.count(_REFUSED)
        self.flag = Flag.UO
        return False

    def begin(self, endpoint: Endpoint, reason: str, now: float) -> None:
        """The next attempt is decided: its back-off begins. `endpoint` and `reason` are those of the last one."""
        self.attempts += 1
        self.reasons.append(reason)
        if self._policy.other_endpoint:
            self.tried = (*self.tried, endpoint)
        self._charged = True
        for budget in self._budgets:
            budget.on_retry(now)
        self._cluster.count(_RETRIES)
        self._cluster.count(_ACTIVE)

    def end(self) -> None:
        """The request is over."""
        self._discharge()
        self.drop()

    def _discharge(self) -> None:
        if self._charged:
            self._charged = False
            for budget in self._budgets:
                budget.on_retry_end()
            self._cluster.count(_ACTIVE, -1)
