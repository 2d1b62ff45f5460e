"""Whether an exchange is recorded, and what is remembered of it then: one server span, a client span per attempt.

    begin ─┬─ sampled ────────→ Trace: each attempt tells its endpoint the id of its own span
           ├─ not, it has one → None: what came goes on as it came
           └─ not, it has none→ None: a trace begins that nobody records, so all behind us decide alike

A request that is tried again is recorded from then on, whatever was decided, and `late` says so: what is behind us was
told that it is not sampled. The rest of what is kept late (failures, slow answers) is found in the end (`net.spans`).
"""

from collections.abc import Callable
from random import getrandbits

from turnout.proxy.cluster.cluster import Cluster
from turnout.proxy.cluster.endpoint import Endpoint
from turnout.proxy.filters.chain import TOUCHED, apply_request_filters
from turnout.proxy.filters.peer import Peer
from turnout.proxy.filters.request_id import make_request_id
from turnout.proxy.filters.trace_context import W3C, Propagation
from turnout.proxy.http.head import RequestHead
from turnout.proxy.http.names import Mark
from turnout.proxy.telemetry.trace.parent import SAMPLED_DIGITS, get_parent_id, is_random, make_traceparent
from turnout.proxy.telemetry.trace.record import Attempt, Moment, Record, make_detached
from turnout.proxy.telemetry.trace.sampler import Sampler

_REQUEST_ID = int(Mark.REQUEST_ID)
_CONTEXT = int(Mark.TRACEPARENT | Mark.TRACESTATE | Mark.B3)
_CARED_FOR = TOUCHED | _CONTEXT


class Trace:
    """What is remembered of an exchange that is recorded. Ids are hex digits; `parent_id` is empty where the trace
    begins here. `debug` is B3's flag, which all who are asked are to be told."""

    __slots__ = (
        "_attempt", "_propagation", "attempts", "debug", "late", "moments", "parent_id", "random", "span_id", "state",
        "trace_id",
    )  # fmt: skip

    def __init__(
        self, propagation: Propagation, trace_id: bytes, span_id: bytes, parent_id: bytes, state: bytes,
        *, late: bool = False, random: bool = False, debug: bool = False,
    ) -> None:  # fmt: skip
        self._propagation = propagation
        self._attempt: Attempt | None = None
        self.debug = debug
        self.trace_id = trace_id
        self.span_id = span_id
        self.parent_id = parent_id
        self.state = state
        self.late = late
        self.random = random
        self.attempts: list[Attempt] = []
        self.moments: list[Moment] = []

    @property
    def flags(self) -> int:
        """The flags that are propagated (W3C §3.2.2.5)."""
        return (not self.late) + 2 * self.random

    def begin_attempt(self, head: RequestHead, cluster: Cluster, endpoint: Endpoint, now: float) -> None:
        """An endpoint is asked; the head is to tell it so."""
        span_id = make_span_id()
        self._attempt = attempt = _new_attempt(span_id, cluster, endpoint, now)
        self.attempts.append(attempt)
        if not self.late:
            traceparent = make_traceparent(self.trace_id, span_id, sampled=True, random=self.random)
            self._propagation.write(head, traceparent, debug=self.debug)

    def end_attempt(self, status: int, reason: str, now: float) -> None:
        """It was not the answer, or was: then `reason` is empty. Nothing, if there is none."""
        attempt = self._attempt
        if attempt is not None:
            attempt.end, attempt.status, attempt.reason = now, status, reason
            self._attempt = None

    def on_connected(self, now: float) -> None:
        """The attempt's connection, which had to be made, is there."""
        if self._attempt is not None:
            self._attempt.moments.append(("connected", now))

    def on_first_byte(self, at: float) -> None:
        """The attempt's answer began then."""
        if self._attempt is not None:
            self._attempt.moments.append(("first_byte", at))

    def on_moment(self, name: str, now: float) -> None:
        """Something happened to the request, which is no attempt's."""
        self.moments.append((name, now))


class Tracer:
    """Decides for a worker. `slow_s`: an answer that takes longer to begin is recorded, whatever was decided. `keep` is
    given what is to be told of a copy that is over."""

    __slots__ = ("_bound", "_only_w3c", "_parent_based", "_propagation", "_sampler", "_w3c", "keep", "slow_s")

    def __init__(self, sampler: Sampler, formats: tuple[str, ...], slow_s: float) -> None:
        self._sampler = sampler
        self._parent_based = sampler.parent_based
        self._bound = sampler.bound
        self._propagation = Propagation(formats)
        self._w3c = self._propagation.w3c
        self._only_w3c = formats == (W3C,)
        self.slow_s = slow_s
        self.keep: Callable[[Record], None] = lambda record: None

    def receive(self, head: RequestHead, peer: Peer) -> Trace | None:
        """The filters of all requests, and `begin`. Most that bring no trace bring no id either, and get both in one
        go: it is the dearest of what is not recorded."""
        if head.marks & _CARED_FOR or not self._only_w3c:
            apply_request_filters(head, peer)
            return self.begin(head)
        # One number is enough for both ids: who has one of them finds the other.
        head.request_id = request_id = make_request_id()
        span_id = request_id[16:]
        if span_id < self._bound:
            head.add_with_id(peer.block, peer.fields, request_id)
            return self._start(head, None)
        head.traceparent = parent = b"00-%b-%b-00" % (request_id, span_id)
        head.add_with_trace(peer.block, peer.fields, request_id, parent)
        return None

    def begin(self, head: RequestHead) -> Trace | None:
        """The trace of a request that came, which has its id; None if it is not recorded, as far as is known yet."""
        parent = head.traceparent
        if parent and self._w3c:
            # Written out: most requests end here, or below.
            if parent[54] in SAMPLED_DIGITS if self._parent_based else parent[19:35] < self._bound:
                return self._join(head, parent, debug=False)
            return None
        if head.marks & _CONTEXT:
            return self._begin_from_b3(head)
        return self._start(head, None)

    def begin_late(self, head: RequestHead) -> Trace:
        """The trace of a request that was not to be recorded, and is after all."""
        parent = head.traceparent
        own, caller = make_span_id(), get_parent_id(parent)
        if not self._propagation.is_joined(head):
            own, caller = caller, b""  # it began here, and what is behind us was told so
        state = self._propagation.get_state(head)
        return Trace(self._propagation, parent[3:35], own, caller, state, late=True, random=is_random(parent))

    def begin_shadow(
        self, trace: Trace | None, head: RequestHead, cluster: Cluster, endpoint: Endpoint, now: float
    ) -> "ShadowSpan | None":
        """A copy of a request goes to `endpoint`, with `head`, which is its own: its span is a child of the request's.
        None if that is not recorded; the copy then tells what the request tells."""
        if trace is None or trace.late:
            return None
        attempt = _new_attempt(make_span_id(), cluster, endpoint, now)
        attempt.shadow = True
        traceparent = make_traceparent(trace.trace_id, attempt.span_id, sampled=True, random=trace.random)
        self._propagation.write(head, traceparent, debug=trace.debug)
        return ShadowSpan(self.keep, trace, head, attempt)

    def _begin_from_b3(self, head: RequestHead) -> Trace | None:
        """No `traceparent` of use is there, but something."""
        said = self._propagation.read_b3(head)
        if not said.traceparent:
            self._propagation.drop(head)
            return self._start(head, said.sampled, debug=said.debug)
        self._propagation.drop_w3c(head)
        head.traceparent = said.traceparent
        sampled = said.sampled
        if sampled is None or not (self._parent_based or said.debug):
            sampled = self._sampler.takes(said.traceparent[3:35])
        return self._join(head, said.traceparent, debug=said.debug) if sampled else None

    def _join(self, head: RequestHead, parent: bytes, *, debug: bool) -> Trace:
        """A span of a trace that came."""
        propagation = self._propagation
        own, random = make_span_id(), is_random(parent)
        trace_id = parent[3:35]
        head.traceparent = make_traceparent(trace_id, own, sampled=True, random=random)
        state = propagation.get_state(head)
        propagation.tidy_state(head, state)
        return Trace(propagation, trace_id, own, parent[36:52], state, random=random, debug=debug)

    def _start(self, head: RequestHead, said: bool | None, *, debug: bool = False) -> Trace | None:
        """A trace of our own. `said` is what the caller decided without one."""
        trace_id = make_request_id() if head.marks & _REQUEST_ID else head.request_id
        span_id = trace_id[16:]
        if said if said is not None and self._parent_based else span_id < self._bound:
            head.traceparent = make_traceparent(trace_id, span_id, sampled=True)
            return Trace(self._propagation, trace_id, span_id, b"", b"", debug=debug)
        head.traceparent = parent = b"00-%b-%b-00" % (trace_id, span_id)
        self._propagation.add(head, parent)
        return None


class ShadowSpan:
    """The span of a copy, which may outlive the exchange."""

    __slots__ = ("_attempt", "_head", "_keep", "_trace")

    def __init__(self, keep: Callable[[Record], None], trace: Trace, head: RequestHead, attempt: Attempt) -> None:
        self._keep = keep
        self._trace = trace
        self._head = head
        self._attempt = attempt

    def on_connected(self, now: float) -> None:
        """Its connection, which had to be made, is there."""
        self._attempt.moments.append(("connected", now))

    def on_first_byte(self, now: float) -> None:
        """Its answer has begun."""
        self._attempt.moments.append(("first_byte", now))

    def end(self, status: int, grpc_status: int, reason: str, now: float) -> None:
        """The copy is over: `status` is that of its answer, 0 if there was none, `grpc_status` -1 if it has none, and
        `reason` why it did not come to its end."""
        attempt, trace, head = self._attempt, self._trace, self._head
        attempt.end, attempt.status, attempt.reason = now, status, reason
        self._keep(
            make_detached(
                trace.trace_id, trace.span_id, trace.flags, trace.state, head.method, head.path, head.grpc, grpc_status,
                attempt,
            )
        )  # fmt: skip


def make_span_id() -> bytes:
    """64 random bits, as 16 hex digits, and not all zero (W3C §3.2.2.4)."""
    return b"%016x" % (getrandbits(64) or 1)


def _new_attempt(span_id: bytes, cluster: Cluster, endpoint: Endpoint, now: float) -> Attempt:
    config = cluster.config
    scheme = "http" if config.tls is None else "https"
    return Attempt(span_id, now, now, config.name, scheme, endpoint.address, endpoint.port, 0, "", False, [])
