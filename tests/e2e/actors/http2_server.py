"""An HTTP/2 upstream by the `h2` library, in plain text with prior knowledge or over TLS, WebSocket included.

What it answers goes by the path:

    /echo       the body as it comes, then the trailers that came
    /size/N     N bytes
    /trickle    one byte, and no end
    /wait       nothing
    else        the server's name
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
from actors.serving import Serving

Fields = list[tuple[bytes, bytes]]
PIECE = 1 << 16


class Request:
    """What came on one stream."""

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        self.secrets: list[bytes] = []
        """The names of fields, also of trailers, that came as never indexed."""
        self.body_bytes = 0
        self.trailers: Fields = []
        self.ended = False
        self.reset: int | None = None

    def get(self, name: bytes) -> bytes | None:
        return dict(self.fields).get(name)


class Http2Server(Serving):
    """`async with Http2Server() as upstream`. What it does with new streams may be changed at any time."""

    def __init__(
        self, name: str = "h2", port: int = 0, *, tunnels: bool = True, max_streams: int = 1_000,
        tls: ssl.SSLContext | None = None,
    ) -> None:  # fmt: skip
        super().__init__(port, tls=tls)
        self.name = name
        self.tunnels = tunnels
        self.max_streams = max_streams
        self.window = 1 << 20
        """How much of a body each stream of a connection to come may send at once."""
        self.requests: list[Request] = []
        self.connections: list[Connection] = []
        """All that were made, the open ones and the others."""
        self.refuse = 0
        """So many streams to come are refused, with REFUSED_STREAM."""
        self.goaway_after = 0
        """Each connection says GOAWAY when so many streams have come, and serves those before it."""
        self.on_request: Callable[[Connection, int, Request], None] | None = None
        """Instead of an answer."""

    @property
    def open_connections(self) -> int:
        return sum(not connection.lost for connection in self.connections)

    @property
    def open_streams(self) -> int:
        return sum(len(connection.outgoing) for connection in self.connections if not connection.lost)

    def make_connection(self) -> asyncio.Protocol:
        return Connection(self)


class Outgoing:
    """What is still to be sent on a stream. `pour`: so many bytes more than there are in `data`."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.pour = 0
        self.ends = False
        self.trailers: Fields = []


class Connection(asyncio.Protocol):
    """One connection of the proxy."""

    def __init__(self, server: Http2Server) -> None:
        self._server = server
        self._h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding=None, validate_inbound_headers=False)
        )
        self.outgoing: dict[int, Outgoing] = {}
        self._requests: dict[int, Request] = {}
        self.lost = False
        self.streams = 0
        self._paused = False

    def connection_made(self, transport: Any) -> None:
        self.transport: asyncio.Transport = transport
        names = (transport.get_extra_info("peercert") or {}).get("subjectAltName", ())
        self.peer: str = dict(names).get("URI", "")
        self._server.connections.append(self)
        self._server.transports.add(transport)
        values = {
            h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: int(self._server.tunnels),
            h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: self._server.window,
        }
        limit = {h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: self._server.max_streams}
        self._h2.local_settings = h2.settings.Settings(client=False, initial_values=values | limit)
        self._h2.initiate_connection()
        # `h2` would end the connection of who cannot know the limit yet: it is said, and kept by us.
        self._h2.local_settings = h2.settings.Settings(client=False, initial_values=values)
        self._h2.increment_flow_control_window(1 << 24)
        self.flush()

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        self._server.transports.discard(self.transport)

    def data_received(self, data: bytes) -> None:
        for event in self._h2.receive_data(data):
            self._on(event)
        self._send_on()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._send_on()

    def flush(self) -> None:
        if data := self._h2.data_to_send():
            self.transport.write(data)

    # What a test may do

    def say_goaway(self, last_stream: int | None = None) -> None:
        """The raw frame: `h2` takes its own GOAWAY for the end of all."""
        last = self._h2.highest_inbound_stream_id if last_stream is None else last_stream
        self.transport.write(b"\0\0\x08\7\0\0\0\0\0" + last.to_bytes(4, "big") + bytes(4))

    def reset(self, stream: int, code: int) -> None:
        self.outgoing.pop(stream, None)
        self._h2.reset_stream(stream, code)
        self.flush()

    def use_no_table(self) -> None:
        """Send all fields as literals: `hpack` sends what it has in its table from there, also if it must not."""
        self._h2.encoder.header_table_size = 0

    def answer(self, stream: int, fields: Fields, body: bytes = b"", trailers: Fields | None = None) -> None:
        """All of an answer, at once."""
        self._h2.send_headers(stream, fields)
        outgoing = self.outgoing[stream]
        outgoing.data += body
        outgoing.ends, outgoing.trailers = True, trailers or []
        self._send_on()

    def begin(self, stream: int, fields: Fields) -> None:
        """The head of an answer (or an interim one)."""
        self._h2.send_headers(stream, fields)
        self.flush()

    def end(self, stream: int, trailers: Fields) -> None:
        """The end of an answer that has begun."""
        outgoing = self.outgoing[stream]
        outgoing.ends, outgoing.trailers = True, trailers
        self._send_on()

    def is_stalled(self, stream: int) -> bool:
        """Whether the proxy takes no more of an answer for now."""
        return self._h2.local_flow_control_window(stream) == 0

    # What comes

    def _on(self, event: Any) -> None:
        match event:
            case h2.events.RequestReceived():
                self._on_request(event.stream_id, event.headers)
            case h2.events.DataReceived():
                self._on_data(event)
            case h2.events.TrailersReceived():
                request = self._requests[event.stream_id]
                request.trailers = _plain(event.headers)
                request.secrets += _secrets(event.headers)
            case h2.events.StreamEnded():
                self._on_end(event.stream_id)
            case h2.events.StreamReset():
                self._requests[event.stream_id].reset = event.error_code
                self.outgoing.pop(event.stream_id, None)

    def _on_request(self, stream: int, fields: Any) -> None:
        server = self._server
        self.streams += 1
        request = self._requests[stream] = Request(_plain(fields))
        request.secrets = _secrets(fields)
        if server.refuse or len(self.outgoing) >= server.max_streams:
            server.refuse = max(server.refuse - 1, 0)
            self._h2.reset_stream(stream, h2.errors.ErrorCodes.REFUSED_STREAM)
            return
        server.requests.append(request)
        self.outgoing[stream] = Outgoing()
        if server.on_request is not None:
            server.on_request(self, stream, request)
        else:
            self._answer_by_path(stream, request)
        if self.streams == server.goaway_after:
            self.flush()
            self.say_goaway()

    def _answer_by_path(self, stream: int, request: Request) -> None:
        outgoing = self.outgoing[stream]
        path = (request.get(b":path") or b"").partition(b"?")[0]
        if request.get(b":method") == b"CONNECT" or path == b"/echo":
            self._h2.send_headers(stream, [(b":status", b"200"), (b"server", self._server.name.encode())])
        elif path.startswith(b"/size/"):
            outgoing.pour, outgoing.ends = int(path[6:]), True
            self._h2.send_headers(stream, [(b":status", b"200"), (b"content-length", path[6:])])
        elif path == b"/trickle":
            self._h2.send_headers(stream, [(b":status", b"200")])
            outgoing.data += b"."
        elif path != b"/wait":
            self._h2.send_headers(stream, [(b":status", b"200")])
            outgoing.data += self._server.name.encode()
            outgoing.ends = True

    def _on_data(self, event: h2.events.DataReceived) -> None:
        stream, data = event.stream_id, event.data or b""
        request = self._requests[stream]
        request.body_bytes += len(data)
        if event.flow_controlled_length:
            self._h2.acknowledge_received_data(event.flow_controlled_length, stream)
        if self._is_echoed(request) and stream in self.outgoing:
            self.outgoing[stream].data += data

    def _on_end(self, stream: int) -> None:
        request = self._requests[stream]
        request.ended = True
        if stream in self.outgoing and self._is_echoed(request):
            outgoing = self.outgoing[stream]
            outgoing.ends, outgoing.trailers = True, request.trailers

    def _is_echoed(self, request: Request) -> bool:
        return request.get(b":method") == b"CONNECT" or (request.get(b":path") or b"").startswith(b"/echo")

    # What goes out

    def _send_on(self) -> None:
        for stream, outgoing in list(self.outgoing.items()):
            if not self._paused:
                self._send_some(stream, outgoing)
        self.flush()

    def _send_some(self, stream: int, outgoing: Outgoing) -> None:
        while not self._paused:
            if not outgoing.data and outgoing.pour:
                outgoing.data += b"x" * min(outgoing.pour, PIECE)
                outgoing.pour -= len(outgoing.data)
            room = min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size)
            if not outgoing.data or room <= 0:
                break
            self._h2.send_data(stream, bytes(outgoing.data[:room]))
            del outgoing.data[:room]
            self.flush()
        if outgoing.ends and not outgoing.data and not outgoing.pour:
            if outgoing.trailers:
                self._h2.send_headers(stream, outgoing.trailers, end_stream=True)
            else:
                self._h2.end_stream(stream)
            del self.outgoing[stream]


def _plain(fields: Any) -> Fields:
    return [(bytes(name), bytes(value)) for name, value in fields]


def _secrets(fields: Any) -> list[bytes]:
    return [bytes(field[0]) for field in fields if not field.indexable]
