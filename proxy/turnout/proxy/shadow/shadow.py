"""One request that has no client: the copy of another, to another cluster. Its answer is read to its end and dropped.

    start ─┬→ _send_held → send … send(end) ─→ on_response → on_response_body … → _end(ANSWERED)
           └→ connect → on_upstream_ready ┘        any of: connect failed, reset, malformed, timeout, slow,
                                                            abandoned, shutdown → _end

Rules of the house:

* The request is never held back for it: what its endpoint does not take waits here, within bounds (`backlog`).
* It has a lease, a connection and a timeout of its own, and one end, in which all is released and counted. Its endpoint
  is judged by it as by any request; nothing of the live one's is touched.
* It is sent once. What broke is not sent again: of the body nothing is kept.
"""

from bisect import bisect_left

from turnout.proxy.cluster.endpoint import Outcome, judge_status
from turnout.proxy.cluster.lease import Lease
from turnout.proxy.exchange.grpc_answer import GrpcAnswer, judge
from turnout.proxy.exchange.sides import Connecting, Requester, Upstream
from turnout.proxy.filters.tracing import ShadowSpan
from turnout.proxy.http.head import Data, RequestHead, ResponseHead
from turnout.proxy.shadow.governor import Governor
from turnout.proxy.shadow.observer import Pair
from turnout.proxy.shadow.pacing import CRUMB_BYTES
from turnout.proxy.shadow.shadows import NEVER, Shadows
from turnout.proxy.telemetry.layout import BOUNDS_S, HISTOGRAM_WORDS
from turnout.proxy.telemetry.mirrors import MirrorWord, ShadowEnd

_ACTIVE, _MIRRORED = int(MirrorWord.ACTIVE), int(MirrorWord.MIRRORED)
_ENDS, _ANSWERS, _GRPC = int(MirrorWord.ENDS), int(MirrorWord.ANSWERS), int(MirrorWord.GRPC)
_SENT, _RECEIVED = int(MirrorWord.BYTES_SENT), int(MirrorWord.BYTES_RECEIVED)
_FIRST_BYTE, _TOTAL, _SUM = int(MirrorWord.FIRST_BYTE), int(MirrorWord.TOTAL), HISTOGRAM_WORDS - 1


class Shadow(Requester):
    """Made when it is decided that there is one, and counted as mirrored then; `start` sends it.

    `pair` is there if somebody observes, `span` if the request is recorded; `pacer` is its mirror's. `first_byte_at`
    and `sent_at`, of the last byte that came of the request, are times of the clock.
    """

    __slots__ = (
        "_breaker", "_connecting", "_framing", "_grpc", "_held", "_held_bytes", "_is_paused", "_record",
        "_request_ended", "_shadows", "_timeout_s", "_upstream", "bytes_received", "bytes_sent", "done",
        "first_byte_at", "lease", "pacer", "pair", "sent_at", "span", "status", "wake",
    )  # fmt: skip

    def __init__(
        self, shadows: Shadows, record: int, governor: Governor, timeout_s: float, head: RequestHead, lease: Lease,
        upstream: Upstream | None, now: float,
    ) -> None:  # fmt: skip
        self.head = head
        self.tunnel = False
        self.lease = lease
        self._shadows = shadows
        self._record = record
        self._breaker = governor.breaker
        self.pacer = governor.pacer
        self._timeout_s = timeout_s
        self._upstream: Upstream | None = upstream
        self._connecting: Connecting | None = None
        self.pair: Pair | None = None
        self.span: ShadowSpan | None = None
        self._grpc: GrpcAnswer | None = None
        self._held: list[Data] = []
        self._held_bytes = 0
        self._request_ended = self._is_paused = False
        self.sent_at = now
        self.first_byte_at = 0.0
        self.status = self.bytes_sent = self.bytes_received = self._framing = 0
        self.done = False
        self.wake = NEVER
        words = shadows.counters.words
        words[record + _MIRRORED] += 1
        words[record + _ACTIVE] += 1
        shadows.active.add(self)

    def __repr__(self) -> str:
        state = "done" if self.done else "answered" if self.status else "sent" if self._request_ended else "sending"
        return f"<Shadow {self.head.method.decode()} {self.lease.endpoint.key} {state}>"

    # From the tap

    def start(self, data: Data, end: bool) -> None:
        """Send what has come of the request by now."""
        if self.done:
            return
        if not self.head.authority:
            self.head.authority = self.lease.endpoint.text
        upstream = self._upstream
        if upstream is None:
            self._connecting = self._shadows.upstreams.connect(self, self.lease.cluster, self.lease)
            self._held.append(data)
            self._held_bytes = len(data)
        else:
            upstream.send_request(self, self.head, data, end)
            self._line_up()
        self._on_sent(data, end)

    def send(self, data: Data, end: bool) -> None:
        """More of the body has come."""
        if self.done:
            return
        if self._upstream is None:
            self._held.append(data)
            self._held_bytes += len(data)
        else:
            self._upstream.send_body(data, end)
        self._on_sent(data, end)

    def abandon(self) -> None:
        """The request ends here, without having come whole; one that has lives on."""
        if not self._request_ended:
            self._end(ShadowEnd.ABANDONED, Outcome.UNKNOWN)

    def _on_sent(self, data: Data, end: bool) -> None:
        shadows = self._shadows
        self.bytes_sent += len(data)
        self.sent_at = now = shadows.clock()
        if end:
            self._request_ended = True
            shadows.timers.wake_at(self, now + self._timeout_s)
        for late in shadows.backlog.note(self, self.behind_bytes()):
            late.cut()

    def behind_bytes(self) -> int:
        """What is held for it, here or in its connection: of the request, and of an answer that is read in slices."""
        return self._held_bytes if self._upstream is None else self._upstream.unsent_bytes()

    # From the pool

    def on_upstream_ready(self, upstream: Upstream) -> None:
        self._connecting = None
        self._upstream = upstream
        if self.span is not None:
            self.span.on_connected(self._shadows.clock())
        held, self._held, self._held_bytes = self._held, [], 0
        last = len(held) - 1
        upstream.send_request(self, self.head, held[0], self._request_ended and not last)
        for at in range(1, last + 1):
            upstream.send_body(held[at], self._request_ended and at == last)
        self._line_up()
        self.sent_at = self._shadows.clock()

    def on_connect_failed(self, reason: str) -> None:
        self._connecting = None
        self._end(ShadowEnd.CONNECT_FAILED, Outcome.LOCAL)

    # From the upstream

    def on_interim(self, head: ResponseHead) -> None:
        """Nobody waits for a 100 or a 103, and nobody asked for a 101."""
        if head.status == 101:
            self.on_upstream_malformed("101 was not asked for")

    def on_response(self, head: ResponseHead, data: Data, end: bool) -> None:
        self.first_byte_at = now = self._shadows.clock()
        self.status = head.status
        if self.head.grpc:
            self._grpc = GrpcAnswer(head)
        if self.pair is not None:
            self.pair.shadow.begin(head, now - self.sent_at)
        if head.status < 400 and (self._grpc is None or self._grpc.proves(data, end)):
            self.lease.on_answer(now, now - self.sent_at, self.bytes_sent)
        self._take(data, end, now)

    def on_response_body(self, data: Data, end: bool) -> None:
        now = self._shadows.clock()
        if self._grpc is not None and self._grpc.proves(data, end):
            self.lease.on_answer(now, now - self.sent_at, self.bytes_sent)
        self._take(data, end, now)

    def is_copy(self) -> bool:
        return True

    def on_slice(self, size: int) -> None:
        self._framing += size

    def _take(self, data: Data, end: bool, now: float) -> None:
        """Some of the answer: it is measured, and dropped."""
        size = len(data)
        self.bytes_received += size
        framing, self._framing = max(0, self._framing - size), 0
        if self.pair is not None:
            self._shadows.keep(self.pair.shadow, data)
        if end:
            self._complete(now)
        elif 0 < size < CRUMB_BYTES and not framing and not self.pacer.take_crumb(now):
            self.cut()
        elif size and not self.pacer.take(size, now, framing) and not self._is_paused:
            self._pause(now)

    def _line_up(self) -> None:
        """Who begins while others wait to read on has to wait, too."""
        if self.pacer:
            self._pause(self._shadows.clock())

    def _pause(self, now: float) -> None:
        assert self._upstream is not None
        shadows = self._shadows
        for late in shadows.backlog.note(self, self.behind_bytes()):  # of a read that was too much, the rest is kept
            late.cut()
        if self.done:
            return
        self._is_paused = True
        self._upstream.pause_reading()
        shadows.timers.wake_at(self.pacer, self.pacer.wait(self, now))

    def resume_reading(self) -> bool:
        """It is its turn to read on."""
        self._is_paused = False
        if self._upstream is None:
            return False
        self._upstream.resume_reading()
        return True

    def on_upstream_tunnel_data(self, data: bytes) -> None:
        """There is no tunnel."""

    def on_upstream_gone(self, reason: str, sent: bool) -> None:
        self._upstream = None
        self._end(ShadowEnd.RESET, Outcome.LOCAL)

    def on_upstream_malformed(self, reason: str) -> None:
        self._end(ShadowEnd.MALFORMED, Outcome.LOCAL)

    def on_upstream_blocked(self, blocked: bool) -> None:
        """What its endpoint does not take is nobody's to wait for."""

    # The end

    def on_timer(self, now: float) -> float:
        """Its time is over: that of the answer, which begins when the request has come whole."""
        deadline = self.sent_at + self._timeout_s
        if now < deadline:
            return deadline
        self._end(ShadowEnd.TIMEOUT, Outcome.LOCAL)
        return NEVER

    def cut(self) -> None:
        """It is too far behind, or answers in crumbs."""
        self._end(ShadowEnd.SLOW, Outcome.UNKNOWN)

    def shut_down(self) -> None:
        """The worker ends."""
        self._end(ShadowEnd.SHUTDOWN, Outcome.UNKNOWN)

    def fail(self, error: Exception) -> None:
        """Something of ours went wrong."""
        self._shadows.on_fault(error)
        try:
            self._end(ShadowEnd.FAULT, Outcome.UNKNOWN)
        except Exception as another:  # of the same fault, perhaps; it ends here
            self._shadows.on_fault(another)

    def _complete(self, now: float) -> None:
        """The answer is whole."""
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            if self._request_ended:
                upstream.give_back(now)
            else:
                upstream.abort()
        outcome, record, words = judge_status(self.status), self._record, self._shadows.counters.words
        if self._grpc is not None:
            status = self._grpc.read_status()
            words[record + _GRPC + status] += 1
            outcome = judge(status) if status else outcome
        words[record + _ANSWERS + self.status // 100] += 1
        self._measure(record + _TOTAL, now - self.sent_at)
        self._end(ShadowEnd.ANSWERED, outcome)

    def _end(self, end: ShadowEnd, outcome: Outcome) -> None:
        """The one end of every shadow."""
        if self.done:
            return
        self.done = True
        shadows, record = self._shadows, self._record
        now = shadows.clock()
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        if self._upstream is not None:
            self._upstream.abort()
            self._upstream = None
        self._held.clear()
        self.lease.release(outcome, now, now - self.sent_at)
        shadows.active.discard(self)
        shadows.backlog.forget(self)
        shadows.timers.forget(self)
        words = shadows.counters.words
        words[record + _ACTIVE] -= 1
        words[record + _SENT] += self.bytes_sent
        words[record + _RECEIVED] += self.bytes_received
        if self.first_byte_at:
            self._measure(record + _FIRST_BYTE, max(0.0, self.first_byte_at - self.sent_at))
        if end is ShadowEnd.ANSWERED:
            self._breaker.on_answer()
        else:
            words[record + _ENDS + end] += 1
            if outcome is not Outcome.UNKNOWN or end is ShadowEnd.SLOW:
                self._breaker.on_failure(now)
        if self.span is not None:
            self._end_span(self.span, end, now)
        if self.pair is not None:
            pair, self.pair = self.pair, None
            shadows.end_answer(pair, pair.shadow, end.name.lower(), now - self.sent_at)

    def _end_span(self, span: ShadowSpan, end: ShadowEnd, now: float) -> None:
        if self.first_byte_at:
            span.on_first_byte(self.first_byte_at)
        is_whole = end is ShadowEnd.ANSWERED
        grpc_status = int(self._grpc.read_status()) if self._grpc is not None and is_whole else -1
        span.end(self.status, grpc_status, "" if is_whole else end.name.lower(), now)

    def _measure(self, base: int, seconds: float) -> None:
        """Count a time in the histogram at `base`."""
        words = self._shadows.counters.words
        words[base + bisect_left(BOUNDS_S, seconds)] += 1
        words[base + _SUM] += int(seconds * 1e9)
