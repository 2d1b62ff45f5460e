"""The end of an exchange, which comes once: a failure that is answered, an answer of our own, and `_finish`.

The lowest layer, for whatever is done above may fail.
"""

from typing import Final

from turnout.proxy.cluster.endpoint import Outcome, judge_status
from turnout.proxy.errors import Failure
from turnout.proxy.exchange.answers import describe_grpc, grpc_status, make_error, make_grpc_error
from turnout.proxy.exchange.grpc_answer import judge
from turnout.proxy.exchange.state import ExchangeState
from turnout.proxy.http.grpc import from_http
from turnout.proxy.http.head import NO_FIELDS, Fields, ResponseHead
from turnout.proxy.shadow.tap import Tap
from turnout.proxy.telemetry.layout import RouteWord, Word

_GRPC: Final = int(RouteWord.GRPC)
_OK: Final = Outcome.OK


class Ending(ExchangeState):
    """How an exchange ends."""

    __slots__ = ()

    def _fail(self, failure: Failure, fields: Fields = NO_FIELDS) -> None:
        """End the exchange with a failure: an answer if none has begun, else a cut connection."""
        if self.done:
            return
        self.failure = failure
        self._drop_upstream()
        head = self.head
        if self.status:
            assert self._downstream is not None
            # Trailers would wait behind what a client does not take.
            tells = head.grpc and not self._blocked_by_client
            self._downstream.abort(describe_grpc(failure, head, self.reason) if tells else NO_FIELDS)
            self._finish()
        else:
            make = make_grpc_error if head.grpc else make_error
            self._answer(*make(failure, head, self.reason, fields), close=failure.close)

    def _answer(self, head: ResponseHead, body: bytes, *, close: bool) -> None:
        head.length = len(body)
        head.bodyless = self.head.method == b"HEAD"
        self.status = head.status
        self.bytes_sent = 0 if head.bodyless else len(body)
        assert self._downstream is not None
        self._downstream.send_response(head, b"" if head.bodyless else body, True, close or not self._request_ended)
        self._finish()

    def _drop_upstream(self) -> None:
        """Nothing more is wanted from the upstream, nor from those who would lend one."""
        if self._queued:
            self._queued = False
            assert self._cluster.queue is not None
            self._cluster.queue.leave(self)  # type: ignore[arg-type]
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        if self._upstream is not None:
            if self._awaits_client():
                self.attempt_at = self._services.clock()  # the endpoint has kept nobody waiting
            self._upstream.abort()
            self._upstream = None

    def _finish(self) -> None:
        """The one end of every exchange."""
        if self.done:
            raise RuntimeError(f"{self!r} is finished twice")
        self.done = True
        services = self._services
        now = services.clock()
        if self._waiting_since:
            self._stop_waiting(now)
        lease = self.lease
        if lease is not None:
            outcome = _OK if self.failure is None and self.status < 400 else _judge(self)
            if self.head.grpc:
                outcome = self._judge_call(outcome)
            lease.release(outcome, now, now - self.attempt_at)
        if self._tap is not None:
            self._end_tap(self._tap, now)
        if self._budgets:
            for budget in self._budgets:
                budget.on_request_end()
        if self._retrying is not None:
            self._retrying.end()
            if self._retrying.reasons:
                self.reason = "; ".join([*self._retrying.reasons, *([self.reason] if self.reason else ())])
        services.counters.count_request(
            self._record, self.status, self.failure.flag if self.failure else self.flag, self.bytes_received,
            self.bytes_sent,
            now - self.started_at, self.upstream_s,
        )  # fmt: skip
        if self.head.grpc:
            self._count_call()
        if self.tunnel:
            services.counters.add(Word.TUNNELS_ACTIVE, -1)
        downstream, self._downstream = self._downstream, None
        self._upstream = self._resume = None
        assert downstream is not None
        services.log(self, downstream.peer, now)
        if services.recorder is not None:
            services.recorder.on_end(self, downstream.peer, now)
        downstream.on_exchange_done(self._request_ended, now)

    def _end_tap(self, tap: Tap, now: float) -> None:
        """Tell of the end to those who copy the request: also of one that failed, and how long it was waited for."""
        self._tap = None
        failure, waited_s = self.failure, now - self.attempt_at
        if self.first_byte_at:
            waited_s = self.first_byte_at - self.attempt_at
        elif failure is None or failure.who != "upstream":
            waited_s = -1.0
        tap.on_end(self.status, "answered" if failure is None else str(failure.flag), waited_s, now - self.attempt_at)

    def _judge_call(self, outcome: Outcome) -> Outcome:
        """A gRPC answer tells by its status how it went."""
        if self.failure is not None or self._grpc is None or self._grpc.waits:
            return outcome
        status = self._grpc.read_status()
        return judge(status) if status else outcome

    def _count_call(self) -> None:
        if self.failure is not None:
            status = grpc_status(self.failure)
        elif self._grpc is not None:
            status = self._grpc.read_status()
        else:
            status = from_http(self.status)
        self.grpc_status = status
        self._services.counters.add(self._record + _GRPC + status)


def _judge(exchange: ExchangeState) -> Outcome:
    """Whose fault it is that an exchange did not end well."""
    failure = exchange.failure
    if failure is not None and failure.who == "upstream":
        return Outcome.LOCAL
    return judge_status(exchange.status) if exchange.first_byte_at else Outcome.UNKNOWN
