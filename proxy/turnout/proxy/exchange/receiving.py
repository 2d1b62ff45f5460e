"""What comes from the upstream: the answer, unless another attempt is made in its place; or the end of the connection.

on_response ─┬→ _is_retried, _is_held …: not the answer → _replace_answer → _try_again
             └→ _begin_answer → on_response_body … → _complete
on_interim: 100 and 103 pass, 101 makes a tunnel
"""

from turnout.proxy import errors
from turnout.proxy.cluster.endpoint import Outcome, judge_status
from turnout.proxy.exchange.attempts import Attempts
from turnout.proxy.exchange.grpc_answer import GrpcAnswer, judge
from turnout.proxy.exchange.retrying import Retrying
from turnout.proxy.http.head import Data, ResponseHead
from turnout.proxy.route.retry import RetryPolicy
from turnout.proxy.telemetry.layout import Word


class Receiving(Attempts):
    """What is done with what the upstream says."""

    __slots__ = ()

    def on_response(self, head: ResponseHead, data: Data, end: bool) -> None:
        """The answer's head, and some (`end`: all) of its body."""
        self.active_at = now = self._services.clock()
        entry = self.entry
        assert entry is not None
        if self.head.upgrade and self.head.takes_for_tunnel(head.status):
            self.on_upstream_malformed(f"{head.status} to a WebSocket, which is opened by 101 alone")
            return
        if entry.retry is not None and head.status in entry.retry.statuses and self._is_retried(entry.retry, head, end):
            return
        if self.head.grpc and self._is_held(GrpcAnswer(head), entry.retry, data, end):
            return
        self._begin_answer(head, data, end, now)

    def _begin_answer(self, head: ResponseHead, data: Data, end: bool, now: float) -> None:
        """This is the answer."""
        if self._retrying is not None:
            self._retrying.drop()
        self.first_byte_at = now
        self._first_byte_deadline = 0.0
        self.status = status = head.status
        if status < 400 and (self._grpc is None or self._grpc.proves(data, end)):
            assert self.lease is not None
            self.lease.on_answer(now, now - self.attempt_at, self.bytes_received)
        if data:
            self.bytes_sent = len(data)
        if self._tap is not None:
            self._tap.on_answer(head, data, now - self.attempt_at)
        share, downstream = self.share, self._downstream
        assert share is not None
        assert downstream is not None
        for edits in share.response_edits:
            edits.apply(head)
        if end:
            self.upstream_s += now - self._waiting_since
            self._waiting_since = 0.0
        else:
            self._kept = None  # a stream may go on for long
        downstream.send_response(head, data, end, end and not self._request_ended)
        if end:
            self._complete(now)

    def on_response_body(self, data: Data, end: bool) -> None:
        self.active_at = now = self._services.clock()
        if self._grpc is not None:
            if self._grpc.waits:
                self._release_answer(self._grpc, data, end, now)
                return
            if self._grpc.proves(data, end):
                assert self.lease is not None
                self.lease.on_answer(now, now - self.attempt_at, self.bytes_received)
        self.bytes_sent += len(data)
        if self._tap is not None:
            self._tap.on_answer_body(data)
        if end:
            self._stop_waiting(now)
        if self._downstream is not None:
            self._downstream.send_body(data, end)
        if end:
            self._complete(now)

    def _complete(self, now: float) -> None:
        """All of the answer went down."""
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            if self._request_ended:
                upstream.give_back(now)
            else:
                upstream.abort()
        self._finish()

    def on_upstream_gone(self, reason: str, sent: bool) -> None:
        """The upstream closed or broke before the answer was complete; a tunnel just ends so. `sent`: some of the
        request may have come to it."""
        self._upstream = None
        if self.tunnel:
            self._finish()
        else:
            self._fail_attempt(errors.UPSTREAM_CLOSED, reason, sent)

    def on_upstream_malformed(self, reason: str) -> None:
        self._fail_attempt(errors.UPSTREAM_MALFORMED, reason, sent=True)

    def on_upstream_blocked(self, blocked: bool) -> None:
        self._blocked_by_upstream = blocked
        if self._downstream is not None:
            if blocked:
                self._downstream.pause_reading()
            else:
                self.active_at = self._services.clock()
                self._downstream.resume_reading()

    # Interim answers and tunnels

    def on_interim(self, head: ResponseHead) -> None:
        """100 or 103, or the 101 that makes a tunnel of this."""
        self.active_at = self._services.clock()
        if head.status != 101:
            if self.head.minor and self._downstream is not None:
                self._downstream.send_interim(head)
        elif self.head.upgrade and head.upgrade == self.head.upgrade:
            self._begin_tunnel(head)
        else:
            self.on_upstream_malformed("101 was not asked for")

    def _begin_tunnel(self, head: ResponseHead) -> None:
        self.tunnel = True
        # The request is answered; what follows may last.
        self._request_deadline = self._upstream_deadline = self._first_byte_deadline = 0.0
        self._kept = None
        if self._retrying is not None:
            self._retrying.drop()
        self.status = 101
        self.first_byte_at = now = self.active_at
        assert self.lease is not None
        self.lease.on_answer(now, now - self.attempt_at, self.bytes_received)
        self._services.counters.add(Word.TUNNELS_ACTIVE)
        assert self._downstream is not None
        self._downstream.begin_tunnel(head)

    def on_upstream_tunnel_data(self, data: bytes) -> None:
        self.active_at = self._services.clock()
        self.bytes_sent += len(data)
        if self._downstream is not None:
            self._downstream.send_tunnel_data(data)

    # Not the answer

    def _is_retried(self, policy: RetryPolicy, head: ResponseHead, end: bool) -> bool:
        """Whether this is not to be the answer, but another attempt is made."""
        retrying = self._find_retrying(policy)
        if not retrying.is_unwanted(head, self.head):
            return False
        return self._replace_answer(retrying, head, end, judge_status(head.status), f"answered {head.status}")

    def _is_held(self, answer: GrpcAnswer, policy: RetryPolicy | None, data: Data, end: bool) -> bool:
        """Whether the head of a gRPC answer waits for what follows, or is not the answer at all."""
        self._grpc = answer
        if policy is None or not policy.grpc_statuses:
            return False
        # Behind a message a status is final, also where both come in one piece.
        if answer.head.status != 200 or (end and not data):
            return self._is_status_retried(policy, answer, end)
        if data or not self._request_ended:
            return False
        self._first_byte_deadline = 0.0
        answer.waits = True
        return True

    def _release_answer(self, answer: GrpcAnswer, data: Data, end: bool, now: float) -> None:
        """The first message of a gRPC answer is there, or its end without one."""
        answer.waits = False
        entry = self.entry
        assert entry is not None
        assert entry.retry is not None
        if data or not self._is_status_retried(entry.retry, answer, end):
            self._begin_answer(answer.head, data, end, now)

    def _is_status_retried(self, policy: RetryPolicy, answer: GrpcAnswer, end: bool) -> bool:
        status = answer.read_status()
        if not policy.on_grpc_status(status, answer.head) or not policy.may_repeat(self.head):
            return False
        reason = f"answered {status.name}"
        return self._replace_answer(self._find_retrying(policy), answer.head, end, judge(status), reason)

    def _replace_answer(self, retrying: Retrying, head: ResponseHead, end: bool, outcome: Outcome, reason: str) -> bool:
        """Make another attempt in place of an unwanted answer; whether there is one."""
        now, pushback = self.active_at, None if self._grpc is None else self._grpc.read_pushback()
        delay_s = retrying.after_answer(head, pushback, self._services.wall(), now, self._request_deadline)
        if delay_s is None:
            self.flag = retrying.flag
            return False
        upstream, self._upstream = self._upstream, None
        assert upstream is not None
        if end and self._request_ended:
            upstream.give_back(now)
        else:
            upstream.abort()
        self._try_again(outcome, head.status, reason, delay_s)
        return True
