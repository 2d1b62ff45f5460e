"""The trace that a head belongs to, read from and written to it in the formats that are spoken (`OTEL_PROPAGATORS`).

Several may be: the first that is there and valid is believed, in the order W3C, B3 single, B3 multi, and all are
written. Who speaks one form of B3 reads both (OpenTelemetry, Propagators API: B3 Extract) and writes that one. A
format that is not spoken passes unread, as `baggage` always does.
"""

from turnout.proxy.http.head import RequestHead
from turnout.proxy.http.names import Mark
from turnout.proxy.telemetry.trace import b3
from turnout.proxy.telemetry.trace.state import read_tracestate

W3C, B3_SINGLE, B3_MULTI = "tracecontext", "b3", "b3multi"
FORMATS = (W3C, B3_SINGLE, B3_MULTI)

_TRACEPARENT, _B3 = int(Mark.TRACEPARENT), int(Mark.B3)
_W3C = int(Mark.TRACEPARENT | Mark.TRACESTATE)
_PARENT = _TRACEPARENT | _B3
_W3C_NAMES = (b"traceparent", b"tracestate")
_B3_NAMES = (b3.SINGLE, *b3.MULTI)


class Propagation:
    """Reads and writes the context of a trace. `w3c`: `traceparent` is believed."""

    __slots__ = ("_b3", "_multi", "_own", "_single", "w3c")

    def __init__(self, formats: tuple[str, ...]) -> None:
        self.w3c = W3C in formats
        self._single = B3_SINGLE in formats
        self._multi = B3_MULTI in formats
        self._b3 = self._single or self._multi
        self._own = (_W3C if self.w3c else 0) | (_B3 if self._b3 else 0)
        """The marks of all that is read here."""

    def read_b3(self, head: RequestHead) -> b3.B3:
        """What the head says in B3, if that is spoken."""
        if not head.marks & _B3 & self._own:
            return b3.NOTHING
        if (value := head.get(b3.SINGLE)) is not None:
            found = b3.read_single(value)
            if found is not b3.NOTHING:
                return found
        return b3.read_multi(*(head.get(name) or b"" for name in (b3.TRACE_ID, b3.SPAN_ID, b3.SAMPLED, b3.FLAGS)))

    def is_joined(self, head: RequestHead) -> bool:
        """Whether the head came with a trace that was believed. (One that was not is dropped.)"""
        return bool(head.marks & self._own & _PARENT)

    def drop(self, head: RequestHead) -> None:
        """Take out all that is read here: a trace begins, and nothing of what came belongs to it (§4.2)."""
        self.drop_w3c(head)
        if head.marks & self._own & _B3:
            head.remove(_B3_NAMES)
            head.marks &= ~_B3

    def drop_w3c(self, head: RequestHead) -> None:
        """Take out a `traceparent` that is not valid, and the `tracestate` with it."""
        if head.marks & self._own & _W3C:
            head.remove(_W3C_NAMES)
            head.marks &= ~_W3C

    def get_state(self, head: RequestHead) -> bytes:
        """The head's `tracestate`; empty if it has none, or none that is valid."""
        if not self.w3c or not head.marks & int(Mark.TRACESTATE):
            return b""
        return read_tracestate(head.get(b"tracestate") or b"")

    def tidy_state(self, head: RequestHead, state: bytes) -> None:
        """Have the head say `state`, what `get_state` gave, in one field; in none, if that is empty (§3.3)."""
        if not self.w3c or not head.marks & int(Mark.TRACESTATE):
            return
        if not state or head.block.count(b"\r\ntracestate: ") != 1 or head.find(b"tracestate") != state:
            head.remove((b"tracestate",))
            if state:
                head.add(b"tracestate", state)

    def add(self, head: RequestHead, traceparent: bytes) -> None:
        """`write` for a head that has nothing of what is spoken: so most requests are, and it costs less."""
        if self._b3:
            self.write(head, traceparent)
        elif self.w3c:
            head.add_read(b"\r\ntraceparent: " + traceparent, [(b"traceparent", traceparent)])

    def write(self, head: RequestHead, traceparent: bytes, *, debug: bool = False) -> None:
        """Give the head the context of a span, in place of the one it has."""
        if self.w3c:
            head.put(b"traceparent", traceparent)
        if self._b3:
            self._write_b3(head, traceparent, debug)

    def _write_b3(self, head: RequestHead, traceparent: bytes, debug: bool) -> None:
        trace_id, span_id, sampled = traceparent[3:35], traceparent[36:52], traceparent[54] & 1 == 1
        head.remove(_B3_NAMES)
        if self._single:
            head.add(b3.SINGLE, b3.write_single(trace_id, span_id, sampled=sampled, debug=debug))
        if self._multi:
            for name, value in b3.write_multi(trace_id, span_id, sampled=sampled, debug=debug):
                head.add(name, value)
