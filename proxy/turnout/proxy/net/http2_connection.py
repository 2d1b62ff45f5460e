"""What the HTTP/2 connections of both sides have in common: bytes between a transport and a session, and back-pressure.

Writing waits for the end of the loop's turn (`schedule_flush`): what many streams have to say goes out in one piece.
A stream of which more waits than `HIGH_BYTES`, because the peer's windows are shut or the transport is full, is blocked
until no more than `LOW_BYTES` do; it is told from within a flush, never from within a call of its exchange. Reading is
held back by the windows alone: a transport is never paused, so two proxies can't wait for each other, and a peer that
leaves is always noticed.
"""

import asyncio
from collections.abc import Callable
from typing import cast

from turnout.proxy.http2.session import Error, Session

HIGH_BYTES, LOW_BYTES = 65_536, 16_384


class Stream:
    """One exchange's share of a connection, in both directions. `id` 0: not open yet."""

    __slots__ = ("_blocked", "_connection", "_held", "_reset_after", "_resets", "_unsettled", "_waits", "id")

    def __init__(self, connection: "Http2Connection", stream_id: int) -> None:
        self._connection = connection
        self.id = stream_id
        self._held = self._unsettled = 0
        """Bytes that were received and not acknowledged, since nobody takes them; bytes that were sent since it was
        last looked at how many of them wait."""
        self._waits = self._blocked = self._resets = False

    # Towards the peer

    def send(self, data: bytes | memoryview, end: bool) -> None:
        """Send some of a body, without trailers."""
        connection = self._connection
        connection.session.send(self.id, data, end=end)
        self._unsettled += len(data)
        if self._unsettled > HIGH_BYTES:
            connection.sending.add(self)
        connection.schedule_flush()

    def reset(self, code: Error) -> None:
        """End it now; what was not sent is dropped."""
        self._connection.session.reset(self.id, code)
        self._connection.schedule_flush()

    def reset_when_sent(self, code: Error) -> None:
        """End it as soon as all that was sent has gone (RFC 9113 §8.1)."""
        self._resets = True
        self._reset_after = code
        self._connection.sending.add(self)
        self._connection.schedule_flush()

    def settle(self) -> None:
        """See how much waits; the flush calls this for streams that have sent much."""
        queued = self._unsettled = self._connection.session.queued_bytes(self.id)
        if queued > HIGH_BYTES:
            if not self._blocked:
                self._blocked = True
                self.on_blocked(True)
        elif self._blocked and queued <= LOW_BYTES:
            self._blocked = False
            self.on_blocked(False)
        if not queued:
            self._connection.sending.discard(self)
            if self._resets:
                self._resets = False
                self.reset(self._reset_after)

    def on_blocked(self, blocked: bool) -> None:
        raise NotImplementedError

    def queued_bytes(self) -> int:
        return self._connection.session.queued_bytes(self.id)

    # From the peer

    def take(self, amount: int) -> None:
        """So many bytes came and were passed on: the peer may send as many more, unless the reader waits."""
        if self._waits:
            self._held += amount
        else:
            self._connection.session.acknowledge(self.id, amount)

    def pause_reading(self) -> None:
        self._waits = True

    def resume_reading(self) -> None:
        if self._waits:
            self._waits = False
            self.release()

    def release(self) -> None:
        """Give back what is held, also of a stream that is over: the connection's window would stay smaller by it."""
        if self._held:
            self._connection.session.acknowledge(self.id, self._held)
            self._held = 0
            self._connection.schedule_flush()


class Http2Connection:
    """The asyncio protocol of a connection that speaks HTTP/2. Who derives from it handles the session's events."""

    __slots__ = (
        "__weakref__", "_clock", "_ending", "_flushing", "_full", "_transport", "call_soon", "sending", "session",
    )  # fmt: skip

    session: Session

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float]) -> None:
        self.call_soon = loop.call_soon
        self._clock = clock
        self._ending = self._flushing = self._full = False
        self.sending: set[Stream] = set()
        """Streams to be looked at by the next flush."""
        self._transport = cast(asyncio.Transport, None)

    # From the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.feed(data, self._clock())

    def feed(self, data: bytes, now: float) -> None:
        """Have the session read it. A flush costs as much as a small frame, so it is left out where it would do
        nothing."""
        session = self.session
        session.feed(data, now)
        if self.sending or session.has_output:
            self.schedule_flush()

    def eof_received(self) -> None:
        """The transport closes then, and `connection_lost` follows."""

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self.schedule_flush()

    def schedule_flush(self) -> None:
        """Write at the end of this turn of the loop."""
        if not self._flushing:
            self._flushing = True
            self.call_soon(self.flush)

    def flush(self) -> None:
        """Write what can be written, and tell who is blocked, or no longer so."""
        self._flushing = False
        transport, session = self._transport, self.session
        if self._ending or transport.is_closing():
            return
        while not self._full:
            data = session.take(self._clock())
            if not data:
                break
            transport.write(data)
            if not session.has_output:
                break
        if self.sending:
            for stream in tuple(self.sending):
                stream.settle()
        if session.ended:
            self._ending = True  # a transport that is full gets no more, not even why
            self.close()

    def close(self) -> None:
        """Close when all is written."""
        self._transport.close()
