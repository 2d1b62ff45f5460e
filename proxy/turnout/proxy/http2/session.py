"""One HTTP/2 connection, sans I/O (RFC 9113): bytes to events for a handler, and messages to bytes.

libnghttp2 (`engine`) does the frames, HPACK, the windows and the states of streams, and judges messages (§8). Rules of
the house:

* A head and what is already there of the body, with the trailers, are told in one call: a small message is one event.
  So streams are told of in the order in which what they say is complete; each by itself in the order of its frames.
* Every received byte is given back to the windows by `acknowledge`, and only by that: a stream whose reader waits is
  not acknowledged, so that it stalls, and it alone. The connection's window is that of many streams.
* A stream ends with `on_closed`, exactly once, whoever ended it. What is sent to one that is over is dropped.
* What costs us more than the peer is counted (`abuse`); who does too much of it gets GOAWAY `ENHANCE_YOUR_CALM`.
* The library gives up on some faults without a GOAWAY; then we write it ourselves (`_farewell`).
"""

from enum import IntEnum
from typing import Any, Final, Protocol

from turnout.proxy.http.head import NO_SECRETS, Data, Fields
from turnout.proxy.http2 import engine
from turnout.proxy.http2.abuse import BYTES_A_FRAME, EARNED, Abuse
from turnout.proxy.http2.never_indexed import FieldTuple, conceal

Event = Any
"""One of the engine's events; which attributes each has goes by its type."""
Begun = tuple[FieldTuple, bytes]
"""A head, and the first piece of the body."""

STREAM_WINDOW_BYTES = 262_144
CONNECTION_WINDOW_BYTES = 64 << 20
"""So many bytes that were not passed on yet may be held for one stream, and for all of a connection."""
MAX_STREAMS = 1_024
"""Streams that a client may have open at a time on one connection; Envoy's default since 1.36."""
INITIAL_MAX_STREAMS = 100
"""What we may open before the peer's SETTINGS say how many (RFC 9113 §6.5.2 leaves it open)."""
MAX_WRITE_BYTES: Final = 49_152
"""What is taken at a time, so that no more than this is in the transport beyond its high-water mark. Pieces of this
size are still in the processor's cache when they are written: with 256 KiB, messages of 1 MB cost a fifth more CPU."""
HEAD_SLACK = 2
"""Heads of up to so many times the limit are read, so that they can be answered 431; beyond, the connection ends."""

_GOAWAY: Final = 7
_REQUEST: Final = engine.RequestReceived
_RESPONSE: Final = engine.ResponseReceived
_DATA: Final = engine.DataReceived
_TRAILERS: Final = engine.TrailersReceived
_CLOSED: Final = engine.StreamClosed
_OF_ANSWERS = frozenset({engine.InformationalResponseReceived, _RESPONSE, _DATA, _TRAILERS, _CLOSED})


class Error(IntEnum):
    """Error codes (RFC 9113 §7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


_FAULTS = frozenset({Error.PROTOCOL_ERROR, Error.FLOW_CONTROL_ERROR, Error.STREAM_CLOSED, Error.FRAME_SIZE_ERROR})
"""Codes of streams that the session ends, since what comes on them is malformed."""


class Handler(Protocol):
    """Who is told what comes on a connection."""

    def on_head(self, stream_id: int, fields: FieldTuple, data: bytes, end: bool, trailers: FieldTuple | None) -> None:
        """A request, or the final response to one; `end`: nothing more comes. `trailers` come with the end only."""

    def on_interim(self, stream_id: int, fields: FieldTuple) -> None: ...

    def on_data(self, stream_id: int, data: bytes, end: bool) -> None: ...

    def on_trailers(self, stream_id: int, fields: FieldTuple) -> None:
        """The end of a message, with trailers."""

    def on_closed(self, stream_id: int, code: int) -> None:
        """The stream is over: well, with a `code` of 0, if both messages had ended before."""

    def on_goaway(self, last_stream_id: int, code: int) -> None:
        """No new streams; those above `last_stream_id` were not processed (§6.8)."""

    def on_settings(self) -> None:
        """The peer's SETTINGS hold now."""

    def on_ping_acknowledged(self) -> None: ...

    def on_abuse(self, what: str) -> None:
        """The peer floods; the connection ends."""


class Session:
    """A connection's protocol. `server`: we answer. What `handler` is told comes from within `feed` and `take`."""

    __slots__ = (
        "_abuse", "_connection", "_explained", "_farewell", "_handler", "_last_stream_id", "_ping_due",
        "_server", "_terminated", "ended", "peer_max_streams",
    )  # fmt: skip

    def __init__(self, handler: Handler, *, server: bool, max_head_bytes: int, now: float) -> None:
        self._handler = handler
        self._abuse = Abuse(now)
        self._farewell = b""
        self._explained = False
        """Whether the peer, or we, have given a reason for the end that is to come."""
        self._server = server
        self._ping_due = False
        self._last_stream_id = 0
        self._terminated = False
        """Whether the end is on its way: nothing that comes matters any more."""
        self.ended = False
        """Nothing more is read; what `take` gives is the last."""
        self.peer_max_streams = INITIAL_MAX_STREAMS
        settings: dict[int, int] = {
            engine.Setting.INITIAL_WINDOW_SIZE: STREAM_WINDOW_BYTES,
            engine.Setting.MAX_HEADER_LIST_SIZE: max_head_bytes,
        }
        if server:
            settings[engine.Setting.MAX_CONCURRENT_STREAMS] = MAX_STREAMS
            settings[engine.Setting.ENABLE_CONNECT_PROTOCOL] = 1
        else:
            settings[engine.Setting.ENABLE_PUSH] = 0
        self._connection = engine.connect(
            server=server,
            settings=settings,
            window_bytes=CONNECTION_WINDOW_BYTES,
            max_streams=INITIAL_MAX_STREAMS,
            max_fields_bytes=HEAD_SLACK * max_head_bytes,
        )

    # Bytes

    def feed(self, data: bytes, now: float) -> None:
        """Take the bytes that came. A connection error ends the session: what `take` gives then says why."""
        if self.ended or self._terminated:
            return
        connection = self._connection
        try:
            connection.receive_data(data)
        except engine.DenialOfServiceError as error:
            self._give_up(Error.ENHANCE_YOUR_CALM)
            self._tell_last(now)
            self._handler.on_abuse(str(error))
        except engine.NGH2Error:
            self._give_up(Error.PROTOCOL_ERROR)
            self._tell_last(now)
        else:
            self._tell(connection.events(), now)

    def take(self, now: float) -> bytes:
        """What is to be written now."""
        if self._farewell:
            farewell, self._farewell = self._farewell, b""
            return farewell
        if self.ended:
            return b""
        try:
            data = self._connection.data_to_send(MAX_WRITE_BYTES)
        except engine.NGH2Error:
            self._give_up(Error.INTERNAL_ERROR)
            return self.take(now)
        events = self._connection.events()
        if events:
            self._tell(events, now)
        if self._ping_due and not self.ended:  # libnghttp2 lets a PING overtake a GOAWAY
            self._ping_due = False
            self._connection.ping()
        return data

    @property
    def has_output(self) -> bool:
        """Whether there is something to be taken, or the session has come to its end."""
        return self.ended or self._ping_due or self._connection.want_write

    def _give_up(self, code: Error) -> None:
        self.ended = True
        payload = self._last_stream_id.to_bytes(4, "big") + int(code).to_bytes(4, "big")
        self._farewell = len(payload).to_bytes(3, "big") + bytes((_GOAWAY, 0)) + bytes(4) + payload

    # Events

    def _tell(self, events: list[Event], now: float) -> None:
        """Tell what came. A head waits for what follows of its message in the same events: writers that serve many
        streams send the heads of all, then the bodies, then the trailers."""
        handler = self._handler
        begun: dict[int, Begun] = {}
        for event in events:
            kind = type(event)
            if kind is _DATA:
                stream_id, data, end = event.stream_id, event.data, event.end_stream
                if not data and not end and not self._abuse.on_control(now):
                    self._calm("empty DATA frames")
                    return
                if stream_id not in begun:
                    handler.on_data(stream_id, data, end)
                    continue
                fields, before = begun.pop(stream_id)
                if before:
                    handler.on_head(stream_id, fields, before, False, None)
                    handler.on_data(stream_id, data, end)
                elif end:
                    handler.on_head(stream_id, fields, data, True, None)
                else:
                    begun[stream_id] = fields, data
            elif kind is _CLOSED:
                stream_id = event.stream_id
                if begun and stream_id in begun:
                    fields, before = begun.pop(stream_id)
                    handler.on_head(stream_id, fields, before, False, None)
                code = event.error_code
                handler.on_closed(stream_id, code)
                if code and code in _FAULTS and not self._bears_reset(now):
                    self._calm("malformed messages")
                    return
            elif kind is _REQUEST or kind is _RESPONSE:
                stream_id = event.stream_id
                if stream_id > self._last_stream_id:
                    self._last_stream_id = stream_id
                    self._abuse.control += EARNED
                if event.end_stream:
                    handler.on_head(stream_id, event.headers, b"", True, None)
                else:
                    begun[stream_id] = event.headers, b""
            elif kind is _TRAILERS:
                stream_id = event.stream_id
                if stream_id in begun:
                    fields, before = begun.pop(stream_id)
                    handler.on_head(stream_id, fields, before, True, event.headers)
                else:
                    handler.on_trailers(stream_id, event.headers)
            elif not self._tell_rest(event, kind, now):
                if not self.ended:
                    return  # it is being ended, for abuse
                break
        for stream_id, (fields, before) in begun.items():
            handler.on_head(stream_id, fields, before, False, None)

    def _tell_last(self, now: float) -> None:
        """Tell the answers that came in front of what the session is given up for; requests are not begun any more."""
        if not self._server:
            self._tell([event for event in self._connection.events() if type(event) in _OF_ANSWERS], now)

    def _tell_rest(self, event: Event, kind: type[Event], now: float) -> bool:
        """What is not part of a message; False if the session has come to its end."""
        handler = self._handler
        if kind is engine.StreamReset:
            if not self._bears_reset(now):
                return self._calm("resets")
        elif kind is engine.InformationalResponseReceived:
            handler.on_interim(event.stream_id, event.headers)
        elif kind is engine.GoAwayReceived:
            self._explained = True
            handler.on_goaway(event.last_stream_id, event.error_code)
        elif kind is engine.ConnectionClosed:
            self.ended = True
            if event.error_code == Error.ENHANCE_YOUR_CALM and not self._explained:
                handler.on_abuse("glitches")
            return False
        elif not self._abuse.on_control(now):
            return self._calm("control frames")
        elif kind is engine.SettingsReceived:
            self.peer_max_streams = self._connection.remote_settings[engine.Setting.MAX_CONCURRENT_STREAMS]
            handler.on_settings()
        elif kind is engine.PingAcknowledged:
            handler.on_ping_acknowledged()
        return True

    def _bears_reset(self, now: float) -> bool:
        """Whether a client may still reset streams, or make us reset them (CVE-2025-8671). What a server resets, we
        have asked for."""
        return not self._server or self._abuse.on_reset(now)

    def _calm(self, what: str) -> bool:
        self._explained = True
        self.terminate(Error.ENHANCE_YOUR_CALM)
        self._handler.on_abuse(what)
        return False

    # Messages. A stream or a connection that is over by now is told of in its turn, so sending to it is no error. The
    # fields of a head are the session's from then on.

    def open(self, fields: Fields, *, end: bool, secrets: frozenset[bytes] = NO_SECRETS) -> int:
        """Send a request's head on a new stream; 0 if the connection takes no more."""
        try:
            return self._connection.send_request(conceal(fields, secrets) if secrets else fields, end_stream=end)
        except engine.NGH2Error:
            return 0

    def respond(self, stream_id: int, fields: Fields, *, end: bool, secrets: frozenset[bytes] = NO_SECRETS) -> bool:
        """Send a response's head; whether there is somebody who gets it."""
        try:
            self._connection.send_response(stream_id, conceal(fields, secrets) if secrets else fields, end_stream=end)
        except engine.NGH2Error:
            return False
        return True

    def respond_whole(
        self, stream_id: int, fields: Fields, data: Data, trailers: Fields, secrets: frozenset[bytes] = NO_SECRETS
    ) -> None:
        """`respond` with all of the body, which is not empty, and what trailers there are."""
        connection = self._connection
        self._abuse.control += EARNED + len(data) // BYTES_A_FRAME
        try:
            connection.send_response(stream_id, conceal(fields, secrets) if secrets else fields)
            if trailers:
                connection.send_data(stream_id, data)
                connection.send_trailers(stream_id, trailers)
            else:
                connection.send_data(stream_id, data, end_stream=True)
        except engine.NGH2Error:
            return

    def send_interim(self, stream_id: int, fields: Fields, secrets: frozenset[bytes] = NO_SECRETS) -> None:
        try:
            fields = conceal(fields, secrets) if secrets else fields
            self._connection.send_informational_response(stream_id, fields)
        except engine.NGH2Error:
            return

    def send(self, stream_id: int, data: Data, *, end: bool) -> None:
        """More of the body."""
        self._abuse.control += EARNED + len(data) // BYTES_A_FRAME
        try:
            self._connection.send_data(stream_id, data, end_stream=end)
        except engine.NGH2Error:
            return

    def send_trailers(self, stream_id: int, fields: Fields) -> None:
        """The end of the body, with trailers."""
        try:
            self._connection.send_trailers(stream_id, fields)
        except engine.NGH2Error:
            return

    def reset(self, stream_id: int, code: Error) -> None:
        try:
            self._connection.reset_stream(stream_id, code)
        except engine.NGH2Error:
            return

    def acknowledge(self, stream_id: int, amount: int) -> None:
        """So many bytes were passed on; the peer may send as many more. Also for a stream that is over."""
        try:
            self._connection.acknowledge_received_data(amount, stream_id)
        except (engine.NGH2Error, ValueError):
            return

    def queued_bytes(self, stream_id: int) -> int:
        """What was sent on a stream and has not been taken yet: its window or the connection's is shut."""
        return 0 if self.ended else self._connection.queued_body_size(stream_id)

    def all_queued_bytes(self) -> int:
        return 0 if self.ended else self._connection.queued_body_size()

    # The connection

    @property
    def may_open(self) -> bool:
        """Whether a request can still be sent here: no GOAWAY came or went."""
        return not self.ended and self._connection.can_send_request

    @property
    def peer_takes_tunnels(self) -> bool:
        """Whether the peer knows extended CONNECT (RFC 8441)."""
        return self._connection.remote_settings.get(engine.Setting.ENABLE_CONNECT_PROTOCOL) == 1

    def announce_shutdown(self) -> None:
        """The first of two GOAWAYs: no new streams from now on, but those on their way are served (§6.8). The PING
        behind it comes back when all that was sent before has come."""
        try:
            self._connection.send_shutdown_notice()
        except engine.NGH2Error:
            return
        self._ping_due = True

    def shut_down(self, code: Error = Error.NO_ERROR) -> None:
        """The second: what has come by now is the last that is served."""
        try:
            self._connection.send_goaway(code)
        except engine.NGH2Error:
            return

    def terminate(self, code: Error) -> None:
        """End all streams, and the connection."""
        self._terminated = True
        try:
            self._connection.terminate_connection(code)
        except engine.NGH2Error:
            return
