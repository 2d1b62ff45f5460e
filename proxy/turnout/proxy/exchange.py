"""One request and its answer: the only thing that knows both sides.

    start → filters → (model) → match → guards → split → attempt → … → on_response → on_response_body* → end
    attempt: choose an endpoint → borrow a connection ─┬→ on_upstream_ready → send
               ↑  ↑ wait for a circuit breaker         └→ on_connect_failed
               └ back-off ← what is not to be the answer (`retrying`)

It lives on the scope of the moment it was born in: a reload makes another scope, this one stays until its last
exchange is over. Whatever happens, `_finish` is called once, and there all is released, counted and logged.
The downstream and the upstream are told what to do by direct calls; neither may call back from within one, but
for the events of `Downstream`'s and `Upstream`'s own bytes.
"""

import random
from collections.abc import Callable, Sequence
from functools import partial

from turnout.proxy import errors
from turnout.proxy.answers import describe_grpc, grpc_status, make_direct, make_error, make_grpc_error, make_redirect
from turnout.proxy.cluster.budget import Budget
from turnout.proxy.cluster.cluster import Cluster
from turnout.proxy.cluster.endpoint import Outcome, judge_status
from turnout.proxy.cluster.lease import Lease
from turnout.proxy.errors import Failure, Flag
from turnout.proxy.filters.chain import apply_request_filters
from turnout.proxy.filters.guards import Guard
from turnout.proxy.filters.rate_limit import encode_retry_after
from turnout.proxy.filters.request_id import ensure_request_id
from turnout.proxy.grpc_answer import GrpcAnswer, judge
from turnout.proxy.http.deadline import read_timeout_s, set_timeout
from turnout.proxy.http.grpc import from_http
from turnout.proxy.http.hash_key import HashOf, hash_request
from turnout.proxy.http.head import NO_FIELDS, Data, Fields, RequestHead, ResponseHead
from turnout.proxy.http.names import Mark
from turnout.proxy.model_wait import ModelWait, begin_model
from turnout.proxy.retrying import Retrying
from turnout.proxy.route.admission import Admission
from turnout.proxy.route.edits import Edits
from turnout.proxy.route.entry import Entry
from turnout.proxy.route.retry import DEFAULT_POLICY, RetryPolicy
from turnout.proxy.route.rewrite import apply_rewrite, make_location
from turnout.proxy.route.split import Share, Split
from turnout.proxy.sides import Connecting, Downstream, Scope, Services, Upstream
from turnout.proxy.telemetry.layout import ClusterWord, RouteWord, Word
from turnout.rules.snapshot import Redirect

_TIMED = int(Mark.STEERING | Mark.GRPC_TIMEOUT)
"""Fields by which a client may say how long it waits."""
_GRPC = int(RouteWord.GRPC)
PROBE_UPLOAD_S = 1.0
"""How long the request that decides on a breaker may take to come."""


class Exchange:
    """Made when a request's head is complete; `start` sets it going."""

    __slots__ = (
        "_blocked_by_client", "_blocked_by_upstream", "_budgets", "_cluster", "_connecting", "_downstream",
        "_first_byte_deadline", "_grpc", "_hash", "_held", "_idle_timeout_s", "_kept", "_model", "_own_authority",
        "_queue_deadline", "_queued", "_record", "_request_deadline", "_request_ended", "_resume", "_resume_at",
        "_retrying", "_scope", "_services", "_total_failure", "_upstream", "_upstream_deadline", "_waiting_since",
        "active_at", "attempt_at", "bytes_received", "bytes_sent", "done", "entry", "failure", "first_byte_at", "flag",
        "grpc_status", "head", "lease", "reason", "share", "started_at", "status", "target", "tunnel", "upstream_s",
    )  # fmt: skip

    def __init__(self, scope: Scope, services: Services, downstream: Downstream, head: RequestHead, now: float) -> None:
        self._scope = scope
        self._services = services
        self._downstream: Downstream | None = downstream
        self._upstream: Upstream | None = None
        self._connecting: Connecting | None = None
        self._retrying: Retrying | None = None
        self._grpc: GrpcAnswer | None = None
        self.lease: Lease | None = None
        self._held: list[Data] | None = None
        self._budgets: Sequence[Budget] = ()
        self._kept: Data | None = None
        self._model: ModelWait | None = None
        self._resume: Callable[[], None] | None = None
        self._record = scope.no_route_record
        self._request_deadline = self._upstream_deadline = self._first_byte_deadline = self._resume_at = 0.0
        self._waiting_since = self._queue_deadline = 0.0
        self._idle_timeout_s = services.idle_timeout_s
        self._request_ended = self._queued = self._own_authority = False
        self._blocked_by_client = self._blocked_by_upstream = False
        self._hash = 0
        self._total_failure = errors.REQUEST_TIMEOUT
        self.head = head
        self.entry: Entry | None = None
        self.share: Share | None = None
        self.failure: Failure | None = None
        self.flag = 0
        self.grpc_status = -1
        self.reason = ""
        self.target = b""
        self.status = 0
        self.bytes_received = self.bytes_sent = 0
        self.started_at = self.active_at = self.attempt_at = now
        self.first_byte_at = self.upstream_s = 0.0
        self.tunnel = self.done = False

    def __repr__(self) -> str:
        state = "done" if self.done else "tunnel" if self.tunnel else "answering" if self.status else "waiting"
        return f"<Exchange {self.head.method.decode()} {self.head.path.decode('latin-1')} {state}>"

    @property
    def attempts(self) -> int:
        """How often an endpoint was asked, or was to be."""
        if self._retrying is not None:
            return self._retrying.attempts
        share = self.share
        return 0 if share is None or share.failure is not None or share.redirect is not None else 1

    # From the downstream

    def start(self, data: Data, end: bool) -> None:
        """The head is there, and perhaps some (`end`: all) of the body."""
        head = self.head
        downstream = self._downstream
        assert downstream is not None
        self._request_ended = end
        self.bytes_received = len(data)
        if self._services.overloaded:
            self.refuse(errors.OVERLOADED)
            return
        apply_request_filters(head, downstream.peer)
        if self._scope.table.reads_model:
            self._model = model = begin_model(head)
            if model is not None:
                self._read_model(model, data)
                return
        self._match(data)

    def _match(self, data: Data) -> None:
        head = self.head
        entry = self.entry = self._scope.table.match(head)
        if entry is None:
            self._fail(errors.NO_ROUTE)
            return
        if entry.allowed is not None and not self._is_allowed(entry.allowed):
            return
        self._record = entry.record
        if entry.split is None:
            self._answer_route(entry)
            return
        if entry.is_timed or head.marks & _TIMED:
            self._set_limits(entry, head)
        if entry.guard is not None and not self._pass(entry.guard, data):
            return
        self._forward(entry, data)

    def _is_allowed(self, allowed: Admission) -> bool:
        downstream = self._downstream
        assert downstream is not None
        identity = downstream.peer.identity
        if allowed.takes(identity):
            return True
        self.reason = f"{identity or 'a client without an identity'} is not allowed here"
        self._fail(errors.IDENTITY_REFUSED)
        return False

    def on_request_body(self, data: Data, end: bool) -> None:
        self.active_at = self.attempt_at = self._services.clock()  # a slow upload is no slow endpoint
        self.bytes_received += len(data)
        self._request_ended = end
        if self._model is not None and self._read_model(self._model, data):
            return
        if self._held is not None:
            self._held.append(data)
        elif self._upstream is not None:
            if self._kept is not None:
                self._keep(data)
            self._upstream.send_body(data, end)

    def _read_model(self, model: ModelWait, data: Data) -> bool:
        """Show the body to who reads the model of it; whether that is all there is to be done with it now."""
        waited, may_go_on = model.waits, model.read(data, self._request_ended)
        if model.is_done:
            self._model = None
        if not may_go_on:
            self._fail(errors.MODEL_CONTRADICTED)
        elif not waited:
            return False
        elif not model.waits:
            if self._held is not None:
                self._held.append(data)
                data = self._release_held()
            self._match(data)
        elif self._held is not None:
            self._held.append(data)
        else:
            self._held = [data]
            assert self._downstream is not None
            self._downstream.wake_at(self.next_deadline())
        return True

    def _keep(self, data: Data) -> None:
        """More of a body than one piece, behind the head or with it, is kept only where the route has a `retry`."""
        entry = self.entry
        assert entry is not None
        if entry.retry is None or not entry.retry.replays:
            if data:
                self._kept = None if self._kept else data
        else:
            self._find_retrying(entry.retry).keep(data)

    def on_downstream_tunnel_data(self, data: bytes) -> None:
        self.active_at = self._services.clock()
        self.bytes_received += len(data)
        if self._upstream is not None:
            self._upstream.send_tunnel_data(data)

    def refuse(self, failure: Failure, reason: str = "") -> None:
        """There is no (complete) request: it is malformed, or did not come in time."""
        if not self.head.request_id:
            ensure_request_id(self.head, None)
        self.reason = reason
        self._fail(failure)

    def held_bytes(self) -> int:
        """What of the request is in memory: held, kept to be sent again, or not yet taken by the upstream."""
        held = sum(map(len, self._held or ()))
        kept = self._retrying.size if self._retrying is not None else len(self._kept or b"")
        return max(held, kept) + (self._upstream.unsent_bytes() if self._upstream is not None else 0)

    def on_downstream_gone(self) -> None:
        """The client closed; nobody is there to be answered."""
        if not self.done:
            if not (self.tunnel and self.status):
                self.failure = errors.DOWNSTREAM_GONE
            self._drop_upstream()
            self._finish()

    def on_downstream_blocked(self, blocked: bool) -> None:
        """The client reads slower than the upstream writes, or no longer so."""
        self._blocked_by_client = blocked
        if self._upstream is not None:
            if blocked:
                self._upstream.pause_reading()
            else:
                self.active_at = self._services.clock()
                self._upstream.resume_reading()

    # From the pool

    def on_upstream_ready(self, upstream: Upstream) -> None:
        """The connection that was made for this exchange is there."""
        self._connecting = None
        self.active_at = now = self._services.clock()
        self._stop_waiting(now)
        self._send(upstream, self._release_held())

    def on_connect_failed(self, reason: str) -> None:
        self._connecting = None
        self._fail_attempt(errors.CONNECT_FAILED, reason, sent=False)

    # From the queue of a cluster

    def on_turn(self) -> None:
        """It has waited for a limit, and may go."""
        self._queued = False
        self.active_at = now = self._services.clock()
        entry = self.entry
        assert entry is not None
        if self._request_deadline or entry.backend_timeout_s:
            self._tell_upstream(entry, self.attempts, now)
        self._attempt(now, True)

    def on_queue_timeout(self) -> None:
        self._queued = False
        self._overflow(errors.QUEUE_TIMEOUT)

    # From the upstream

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

    def on_response(self, head: ResponseHead, data: Data, end: bool) -> None:
        """The answer's head, and some (`end`: all) of its body."""
        self.active_at = now = self._services.clock()
        entry = self.entry
        assert entry is not None
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
        if end:
            self._stop_waiting(now)
        if self._downstream is not None:
            self._downstream.send_body(data, end)
        if end:
            self._complete(now)

    def on_upstream_tunnel_data(self, data: bytes) -> None:
        self.active_at = self._services.clock()
        self.bytes_sent += len(data)
        if self._downstream is not None:
            self._downstream.send_tunnel_data(data)

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

    # Time

    def next_deadline(self) -> float:
        """When `on_timer` wants to be called next."""
        deadline = self.active_at + self._idle_timeout_s
        if self._request_deadline and self._request_deadline < deadline:
            deadline = self._request_deadline
        if self._upstream_deadline and self._upstream_deadline < deadline:
            deadline = self._upstream_deadline
        if self._first_byte_deadline and self._first_byte_deadline < deadline:
            deadline = self._first_byte_deadline
        if self._resume_at and self._resume_at < deadline:
            deadline = self._resume_at
        return deadline

    def on_timer(self, now: float) -> None:
        """Do what is due: fail what is over its time, go on with what has waited."""
        if self.done:
            return
        if self._request_deadline and now >= self._request_deadline:
            self._time_out(self._total_failure)
        elif self._upstream_deadline and now >= self._upstream_deadline:
            self._time_out(errors.UPSTREAM_TIMEOUT)
        elif self._first_byte_deadline and now >= self._first_byte_deadline:
            self._time_out(errors.FIRST_BYTE_TIMEOUT)
        elif self._resume_at and now >= self._resume_at:
            resume, self._resume, self._resume_at = self._resume, None, 0.0
            assert resume is not None
            self.active_at = now
            resume()
        elif now < self.active_at + self._idle_timeout_s:
            pass
        elif self._queued or self._resume_at:
            self.active_at = now  # we let it wait; nobody idles
        else:
            self._fail(self._find_idle())

    def _time_out(self, failure: Failure) -> None:
        """Of this attempt, or of all. While the client is to send or to read, no endpoint is at fault, nor asked."""
        if self._blocked_by_client:
            self._fail(failure._replace(who="downstream"))
        elif self._awaits_client():
            self._fail(errors.REQUEST_UNFINISHED)
        elif failure is self._total_failure:
            self._fail(failure)
        else:
            self._fail_attempt(failure, "", sent=self._upstream is not None)

    def _awaits_client(self) -> bool:
        """Whether the endpoint has all that came of the request and takes more."""
        return not (self._request_ended or self.status or self._blocked_by_upstream) and self._upstream is not None

    def _find_idle(self) -> Failure:
        """Whose turn it was when nothing moved for too long."""
        if self._blocked_by_client:
            return errors.CLIENT_STALLED
        if self._blocked_by_upstream or self._request_ended:
            return errors.IDLE_TIMEOUT
        return errors.DOWNSTREAM_IDLE

    def _wait(self, until: float, then: Callable[[], None]) -> None:
        """Come back to it then."""
        self._resume_at, self._resume = until, then
        assert self._downstream is not None
        self._downstream.wake_at(until)

    # Guards

    def _pass(self, guard: Guard, data: Data) -> bool:
        """Whether the request goes on at once, by the route's rate limit and faults."""
        if guard.limiter is not None:
            wait_s = guard.limiter.admit(self.head, self.active_at)
            if wait_s:
                self._fail(errors.RATE_LIMITED, [(b"retry-after", encode_retry_after(wait_s))])
                return False
        if guard.fault is None:
            return True
        delay_s, status = guard.fault.draw(random.random)
        if delay_s:
            self.flag = Flag.DI
            self._hold(data)
            self._wait(self.active_at + delay_s, partial(self._on_delayed, status))
            return False
        if status:
            self._fail(errors.FAULT_INJECTED._replace(status=status))
        return not status

    def _on_delayed(self, status: int) -> None:
        if status:
            self._fail(errors.FAULT_INJECTED._replace(status=status))
        else:
            assert self.entry is not None
            self._forward(self.entry, self._release_held())

    # Towards the upstream

    def _forward(self, entry: Entry, data: Data) -> None:
        """Choose a backend, and make the request what that is to see."""
        head, split = self.head, entry.split
        assert split is not None
        share = self.share = split.choose(random.random()) if split.key is None else self._choose_for(split, split.key)
        self._record = share.record
        if share.failure is not None:
            self._fail(share.failure)
            return
        if share.redirect is not None:
            self._redirect(share.redirect, entry, share.response_edits)
            return
        for edits in share.request_edits:
            edits.apply(head)
        if share.rewrite is not None:
            self.target = head.target
            apply_rewrite(share.rewrite, head, entry.prefix)
        self._kept = data
        now, cluster, downstream = self.active_at, self._scope.clusters[share.cluster], self._downstream
        self._cluster = cluster
        assert downstream is not None
        if cluster.hash_of is not None:
            self._hash = hash_request(cluster.hash_of, head, downstream.peer.address)
        if entry.is_special or head.marks & _TIMED:
            self._prepare(entry, cluster, now)
        if downstream.wake > now + self._idle_timeout_s:
            downstream.wake_at(self.next_deadline())
        self._attempt(now)

    def _choose_for(self, split: Split, key: HashOf) -> Share:
        """The backend that the request's key stays with; by chance, if it has none."""
        assert self._downstream is not None
        value = key(self.head, self._downstream.peer.address)
        return split.choose(random.random()) if value is None else split.choose_for(value)

    def _prepare(self, entry: Entry, cluster: Cluster, now: float) -> None:
        """What a route with limits or retries asks for, or a client that has a deadline of its own."""
        head = self.head
        if entry.retry is not None:
            self._budgets = budgets = entry.budgets if cluster.budget is None else (*entry.budgets, cluster.budget)
            for budget in budgets:
                budget.on_request(now)
        if head.marks & _TIMED or head.grpc or now != self.started_at:
            self._tell_upstream(entry, 1, now)
        elif entry.first_attempt:
            head.add_block(entry.first_attempt)

    def _set_limits(self, entry: Entry, head: RequestHead) -> None:
        """The route's limits, and the client's own, which can only shorten."""
        if entry.idle_timeout_s is not None:
            self._idle_timeout_s = entry.idle_timeout_s
        limit = entry.request_timeout_s
        own = read_timeout_s(head) if head.marks & _TIMED else None
        if own is not None and (limit is None or own < limit):
            limit, self._total_failure = own, errors.CLIENT_DEADLINE
        if limit is not None:
            self._request_deadline = self.started_at + limit
            assert self._downstream is not None
            if self._downstream.wake > self._request_deadline:
                self._downstream.wake_at(self._request_deadline)

    def _tell_upstream(self, entry: Entry, attempt: int, now: float) -> None:
        """Which attempt it is, and how long its answer is waited for."""
        if entry.retry is not None or attempt > 1:
            self.head.set(b"x-envoy-attempt-count", b"%d" % attempt)
        latest = self._request_deadline
        if entry.backend_timeout_s and (not latest or now + entry.backend_timeout_s < latest):
            latest = now + entry.backend_timeout_s
        if latest:
            set_timeout(self.head, latest - now)

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
        if upstream is not None:
            body = self._kept if self._held is None else self._release_held()
            assert body is not None
            self._send(upstream, body)
        else:
            self._hold(self._kept)
            self._waiting_since = services.clock()
            self._connecting = services.upstreams.connect(self, cluster, lease)

    def _pass_probe_on(self) -> None:
        """Who is still sending says nothing of the endpoint: the next request is to."""
        if self.lease is not None and self._awaits_client():
            self.lease.pass_probe_on()

    def _spare_connection(self, cluster: Cluster, lease: Lease, now: float) -> Lease:
        """No more connections may be made: perhaps another endpoint has one that idles. If they all idle at other
        workers, one is made after all."""
        endpoint = None if lease.probe else self._services.upstreams.find_idle(cluster)
        if endpoint is None:
            return lease
        lease.release(Outcome.UNKNOWN, now, 0.0)
        return cluster.lease(endpoint)

    def _on_no_lease(self, cluster: Cluster, now: float) -> None:
        entry, queue = self.entry, cluster.queue
        assert entry is not None
        if cluster.refusal is not errors.OVERFLOW:
            self._fail(cluster.refusal)
        elif cluster.may_wait and queue is not None and queue.join(self, self._queue_until(entry, now), now):
            self._queued = True
            self._hold(self._kept)
        else:
            self._overflow(errors.OVERFLOW)

    def _queue_until(self, entry: Entry, now: float) -> float:
        """Until when it waits, which is not longer for who has to line up again."""
        self._queue_deadline = self._queue_deadline or now + entry.queue_timeout_s
        return self._queue_deadline

    def _overflow(self, failure: Failure) -> None:
        self._cluster.count(ClusterWord.OVERFLOWS)
        self._fail(failure)

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

    def _send(self, upstream: Upstream, data: Data) -> None:
        """The request goes out; from here to the end of the answer it is the upstream's time."""
        self._upstream = upstream
        # Before the write: it wakes the upstream, and on a busy machine that may run before we do again.
        self._waiting_since = self._services.clock()
        upstream.send_request(self, self.head, data, self._request_ended)

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
            self._try_again(Outcome.LOCAL, f"{failure.flag} {reason or failure.message}", delay_s)

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
        now = self.active_at
        delay_s = retrying.after_answer(head, self._services.wall(), now, self._request_deadline)
        if delay_s is None:
            self.flag = retrying.flag
            return False
        upstream, self._upstream = self._upstream, None
        assert upstream is not None
        if end and self._request_ended:
            upstream.give_back(now)
        else:
            upstream.abort()
        self._try_again(outcome, reason, delay_s)
        return True

    def _try_again(self, outcome: Outcome, reason: str, delay_s: float) -> None:
        """Another attempt, after `delay_s`."""
        lease, retrying = self.lease, self._retrying
        assert lease is not None
        assert retrying is not None
        self.active_at = now = self._services.clock()
        self._stop_waiting(now)
        self._upstream_deadline = self._first_byte_deadline = self._queue_deadline = 0.0
        self.lease = self._grpc = None
        lease.release(outcome, now, now - self.attempt_at)
        retrying.begin(lease.endpoint, reason, now)
        if self._held is None:
            self._hold(retrying.body())
        if delay_s:
            self._wait(now + delay_s, self._attempt_again)
        else:
            self._attempt_again()

    def _attempt_again(self) -> None:
        entry, now = self.entry, self.active_at
        assert entry is not None
        self._tell_upstream(entry, self.attempts, now)
        self._attempt(now)

    def _stop_waiting(self, now: float) -> None:
        if self._waiting_since:
            self.upstream_s += now - self._waiting_since
            self._waiting_since = 0.0

    def _complete(self, now: float) -> None:
        """All of the answer went down."""
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            if self._request_ended:
                upstream.give_back(now)
            else:
                upstream.abort()
        self._finish()

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

    def _drop_upstream(self) -> None:
        """Nothing more is wanted from the upstream, nor from those who would lend one."""
        if self._queued:
            self._queued = False
            assert self._cluster.queue is not None
            self._cluster.queue.leave(self)
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        if self._upstream is not None:
            if self._awaits_client():
                self.attempt_at = self._services.clock()  # the endpoint has kept nobody waiting
            self._upstream.abort()
            self._upstream = None

    # Answers of our own

    def _answer_route(self, entry: Entry) -> None:
        if entry.redirect is not None:
            self._redirect(entry.redirect, entry, entry.response_edits)
            return
        assert entry.respond is not None
        if entry.body is not None:
            self._answer(*make_direct(entry.respond.status, entry.body, entry.response_edits), close=False)
        else:
            self.reason = entry.respond.message
            self._fail(errors.NO_BACKEND._replace(status=entry.respond.status))

    def _redirect(self, redirect: Redirect, entry: Entry, edits: Sequence[Edits]) -> None:
        location = make_location(redirect, self.head, entry.prefix, self._scope.port, entry.scheme)
        self._answer(*make_redirect(redirect.status, location, edits), close=False)

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
            self._downstream.abort(describe_grpc(failure, head.request_id, self.reason) if tells else NO_FIELDS)
            self._finish()
        else:
            make = make_grpc_error if head.grpc else make_error
            self._answer(*make(failure, head.request_id, self.reason, fields), close=failure.close)

    def _answer(self, head: ResponseHead, body: bytes, *, close: bool) -> None:
        head.length = len(body)
        head.bodyless = self.head.method == b"HEAD"
        self.status = head.status
        self.bytes_sent = 0 if head.bodyless else len(body)
        assert self._downstream is not None
        self._downstream.send_response(head, b"" if head.bodyless else body, True, close or not self._request_ended)
        self._finish()

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
        downstream.on_exchange_done(self._request_ended, now)

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


_OK = Outcome.OK


def _judge(exchange: Exchange) -> Outcome:
    """Whose fault it is that an exchange did not end well."""
    failure = exchange.failure
    if failure is not None and failure.who == "upstream":
        return Outcome.LOCAL
    return judge_status(exchange.status) if exchange.first_byte_at else Outcome.UNKNOWN
