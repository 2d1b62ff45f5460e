"""How the upstream is asked: an endpoint is chosen and sent the request, and if that fails another one.

    _attempt: choose an endpoint → borrow a connection ─┬→ _send
      ↑  ↑ on_turn: a circuit breaker has let it         └→ connect → on_upstream_ready → _send
      │                                                            └→ on_connect_failed ┐
      └ back-off ← _try_again ←─────────────────────────────────────── _fail_attempt ←──┘

The body of the request is in `_kept` while it may be needed once more, and in `_held` while there is nobody to take it.
"""

from typing import Final

from turnout.proxy import errors
from turnout.proxy.cluster.cluster import Cluster
from turnout.proxy.cluster.endpoint import Outcome
from turnout.proxy.cluster.lease import Lease
from turnout.proxy.errors import Failure
from turnout.proxy.exchange.ending import Ending
from turnout.proxy.exchange.retrying import Retrying
from turnout.proxy.exchange.sides import Upstream
from turnout.proxy.filters.tracing import Tracer
from turnout.proxy.http.deadline import set_timeout
from turnout.proxy.http.head import Data
from turnout.proxy.route.entry import Entry
from turnout.proxy.route.retry import DEFAULT_POLICY, RetryPolicy
from turnout.proxy.telemetry.layout import ClusterWord

PROBE_UPLOAD_S: Final = 1.0
"""How long the request that decides on a breaker may take to come."""


class Attempts(Ending):
    """The layer towards the endpoints."""

    __slots__ = ()

    def _attempt(self, now: float, in_turn: bool = False) -> None:
        """Ask an endpoint; the body is in `_kept`, or in `_held` if it had to wait before."""
        cluster, services, retrying = self._cluster, self._services, self._retrying
        lease = self.lease = cluster.choose(now, self._hash, retrying.tried if retrying else (), in_turn)
        if lease is None:
            self._on_no_lease(cluster, now)
            return
        upstream = services.upstreams.borrow(lease, now)
        if upstream is None and lease.counted and not services.upstreams.may_connect(cluster, lease):
            lease = self.lease = self._spare_connection(cluster, lease, now)
            upstream = services.upstreams.borrow(lease, now)
        self.attempt_at = now
        if lease.probe and not self._request_ended:
            self._wait(now + PROBE_UPLOAD_S, self._pass_probe_on)
        if not self.head.authority or self._own_authority:
            self._own_authority = True
            self.head.authority = lease.endpoint.text
        entry = self.entry
        assert entry is not None
        if entry.attempt_timeout_s:
            self._upstream_deadline = now + entry.backend_timeout_s if entry.backend_timeout_s else 0.0
            self._first_byte_deadline = now + entry.first_byte_timeout_s if entry.first_byte_timeout_s else 0.0
            assert self._downstream is not None
            if self._downstream.wake > now + entry.attempt_timeout_s:
                self._downstream.wake_at(self.next_deadline())
        if self.trace is not None:
            self.trace.begin_attempt(self.head, cluster, lease.endpoint, now)
        if upstream is not None:
            body = self._kept if self._held is None else self._release_held()
            assert body is not None
            self._send(upstream, body)
        else:
            self._hold(self._kept)
            self._waiting_since = services.clock()
            self._connecting = services.upstreams.connect(self, cluster, lease)

    def _spare_connection(self, cluster: Cluster, lease: Lease, now: float) -> Lease:
        """No more connections may be made: perhaps another endpoint has one that idles. If they all idle at other
        workers, one is made after all."""
        endpoint = None if lease.probe else self._services.upstreams.find_idle(cluster)
        if endpoint is None:
            return lease
        lease.release(Outcome.UNKNOWN, now, 0.0)
        return cluster.lease(endpoint)

    def _send(self, upstream: Upstream, data: Data) -> None:
        """The request goes out; from here to the end of the answer it is the upstream's time."""
        self._upstream = upstream
        # Before the write: it wakes the upstream, and on a busy machine that may run before we do again.
        self._waiting_since = self._services.clock()
        upstream.send_request(self, self.head, data, self._request_ended)
        if self._blocked_by_client:  # by what it was sent before
            upstream.pause_reading()

    def _tell_upstream(self, entry: Entry, attempt: int, now: float) -> None:
        """Which attempt it is, and how long its answer is waited for."""
        if entry.retry is not None or attempt > 1:
            self.head.set(b"x-envoy-attempt-count", b"%d" % attempt)
        latest = self._request_deadline
        if entry.backend_timeout_s and (not latest or now + entry.backend_timeout_s < latest):
            latest = now + entry.backend_timeout_s
        if latest:
            set_timeout(self.head, latest - now)

    def _pass_probe_on(self) -> None:
        """Who is still sending says nothing of the endpoint: the next request is to."""
        if self.lease is not None and self._awaits_client():
            self.lease.pass_probe_on()

    # From the pool

    def on_upstream_ready(self, upstream: Upstream) -> None:
        """The connection that was made for this exchange is there."""
        self._connecting = None
        self.active_at = now = self._services.clock()
        self._stop_waiting(now)
        if self.trace is not None:
            self.trace.on_connected(now)
        self._send(upstream, self._release_held())

    def on_connect_failed(self, reason: str) -> None:
        self._connecting = None
        self._fail_attempt(errors.CONNECT_FAILED, reason, sent=False)

    # No endpoint, or the queue for one

    def _on_no_lease(self, cluster: Cluster, now: float) -> None:
        entry, queue = self.entry, cluster.queue
        assert entry is not None
        if cluster.refusal is not errors.OVERFLOW:
            self._fail(cluster.refusal)
        elif cluster.may_wait and queue is not None and queue.join(self, self._queue_until(entry, now), now):
            self._queued = True
            self._hold(self._kept)
            if self.trace is not None:
                self.trace.on_moment("queued", now)
        else:
            self._overflow(errors.OVERFLOW)

    def _queue_until(self, entry: Entry, now: float) -> float:
        """Until when it waits, which is not longer for who has to line up again."""
        self._queue_deadline = self._queue_deadline or now + entry.queue_timeout_s
        return self._queue_deadline

    def on_turn(self) -> None:
        """It has waited for a limit, and may go."""
        self._queued = False
        self.active_at = now = self._services.clock()
        if self.trace is not None:
            self.trace.on_moment("dequeued", now)
        entry = self.entry
        assert entry is not None
        if self._request_deadline or entry.backend_timeout_s:
            self._tell_upstream(entry, self.attempts, now)
        self._attempt(now, True)

    def on_queue_timeout(self) -> None:
        self._queued = False
        self._overflow(errors.QUEUE_TIMEOUT)

    def _overflow(self, failure: Failure) -> None:
        self._cluster.count(ClusterWord.OVERFLOWS)
        self._fail(failure)

    # The body of the request

    def _hold(self, data: Data | None) -> None:
        """Keep the body until there is somebody to take it, and no more than what has come."""
        if self._held is None:
            self._held = [] if data is None else [data]
            if not self._request_ended:
                assert self._downstream is not None
                self._downstream.pause_reading()

    def _release_held(self) -> Data:
        held, self._held = self._held or [], None
        if self._downstream is not None:
            self._downstream.resume_reading()
        self._kept = body = held[0] if len(held) == 1 else b"".join(held)
        if self._retrying is not None:
            self._retrying.replace(body)
        return body

    def _keep(self, data: Data) -> None:
        """More of a body than one piece, behind the head or with it, is kept only where the route has a `retry`."""
        entry = self.entry
        assert entry is not None
        if entry.retry is None or not entry.retry.replays:
            if data:
                self._kept = None if self._kept else data
        else:
            self._find_retrying(entry.retry).keep(data)

    # Attempts that fail

    def _fail_attempt(self, failure: Failure, reason: str, sent: bool) -> None:
        """The attempt has failed: make another, or let that be the answer."""
        if self.done:
            return
        delay_s = None if self.status or self.tunnel else self._find_delay(failure, sent)
        if delay_s is None:
            self.reason = reason
            self._fail(failure)
        else:
            self._drop_upstream()
            self._try_again(Outcome.LOCAL, 0, f"{failure.flag} {reason or failure.message}", delay_s)

    def _find_delay(self, failure: Failure, sent: bool) -> float | None:
        """How long to wait for the next attempt after a failure; None if there is none."""
        entry = self.entry
        assert entry is not None
        retrying = self._find_retrying(entry.retry or DEFAULT_POLICY)
        return retrying.after_failure(failure, self.head, sent, self._services.clock(), self._request_deadline)

    def _find_retrying(self, policy: RetryPolicy) -> Retrying:
        retrying = self._retrying
        if retrying is None:
            replays = self._services.replays
            retrying = self._retrying = Retrying(policy, self._budgets, self._cluster, replays, self._kept)
        return retrying

    def _try_again(self, outcome: Outcome, status: int, reason: str, delay_s: float) -> None:
        """Another attempt, after `delay_s`; `status` is that of the answer that was not wanted, 0 if there was none."""
        lease, retrying = self.lease, self._retrying
        assert lease is not None
        assert retrying is not None
        self.active_at = now = self._services.clock()
        self._stop_waiting(now)
        self._upstream_deadline = self._first_byte_deadline = self._queue_deadline = 0.0
        self.lease = self._grpc = None
        self._blocked_by_upstream = False
        if self._services.tracer is not None:
            self._end_traced(self._services.tracer, lease, status, reason, now)
        lease.release(outcome, now, now - self.attempt_at)
        retrying.begin(lease.endpoint, reason, now)
        if self._held is None:
            self._hold(retrying.body())
        if delay_s:
            self._wait(now + delay_s, self._attempt_again)
        else:
            self._attempt_again()

    def _end_traced(self, tracer: Tracer, lease: Lease, status: int, reason: str, now: float) -> None:
        """What is tried again is recorded from here on, whatever was decided."""
        trace = self.trace
        if trace is None:
            trace = self.trace = tracer.begin_late(self.head)
            trace.begin_attempt(self.head, self._cluster, lease.endpoint, self.attempt_at)
        trace.end_attempt(status, reason, now)

    def _attempt_again(self) -> None:
        entry, now = self.entry, self.active_at
        assert entry is not None
        self._tell_upstream(entry, self.attempts, now)
        self._attempt(now)
