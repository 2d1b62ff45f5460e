"""A session with a handler that writes down what it is told, and the `h2` library as its peer."""

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest

from turnout.proxy.http2.fields import FieldTuple
from turnout.proxy.http2.session import Session

MAX_HEAD_BYTES = 65_536
Fields = list[tuple[bytes, bytes]]


class Message:
    """What came on one stream."""

    def __init__(self) -> None:
        self.interim: list[Fields] = []
        self.fields: Fields = []
        self.body = b""
        self.trailers: Fields | None = None
        self.ended = False
        self.code: int | None = None
        """With which the stream was closed; None while it is not."""

    def __repr__(self) -> str:
        return f"<Message {self.fields} {len(self.body)} B {self.trailers} {self.ended} {self.code}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Message) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


class SessionLog:
    """Our side. It gives received bytes back to the windows at once, unless it is `slow`."""

    def __init__(self, *, server: bool, slow: bool = False, now: float = 0.0) -> None:
        self.messages: dict[int, Message] = {}
        self.order: list[str] = []
        self.goaways: list[tuple[int, int]] = []
        self.abuses: list[str] = []
        self.pings = self.settings = 0
        self.now = now
        self._slow = slow
        self.session = Session(self, server=server, max_head_bytes=MAX_HEAD_BYTES, now=now)

    def on_head(self, stream_id: int, fields: FieldTuple, data: bytes, end: bool, trailers: FieldTuple | None) -> None:
        self.order.append(f"head {stream_id}")
        message = self.messages.setdefault(stream_id, Message())
        assert not message.fields, "two heads"
        message.fields = list(fields)
        self._add(stream_id, data, end)
        if trailers is not None:
            assert end, "trailers are an end"
            message.trailers = list(trailers)

    def on_interim(self, stream_id: int, fields: FieldTuple) -> None:
        self.messages.setdefault(stream_id, Message()).interim.append(list(fields))

    def on_data(self, stream_id: int, data: bytes, end: bool) -> None:
        self.order.append(f"data {stream_id}")
        self._add(stream_id, data, end)

    def on_trailers(self, stream_id: int, fields: FieldTuple) -> None:
        self.order.append(f"trailers {stream_id}")
        self.messages[stream_id].trailers = list(fields)
        self._add(stream_id, b"", True)

    def on_closed(self, stream_id: int, code: int) -> None:
        message = self.messages.setdefault(stream_id, Message())
        assert message.code is None, "closed twice"
        message.code = code

    def on_goaway(self, last_stream_id: int, code: int) -> None:
        self.goaways.append((last_stream_id, code))

    def on_settings(self) -> None:
        self.settings += 1

    def on_ping_acknowledged(self) -> None:
        self.pings += 1

    def on_abuse(self, what: str) -> None:
        self.abuses.append(what)

    def _add(self, stream_id: int, data: bytes, end: bool) -> None:
        message = self.messages[stream_id]
        assert message.fields, "data before the head"
        assert not message.ended, "data behind the end"
        message.body += data
        message.ended = end
        if data and not self._slow:
            self.session.acknowledge(stream_id, len(data))

    def feed(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            self.session.feed(piece, self.now)

    def take(self) -> bytes:
        """All that is to be written now."""
        due, out = self.session.has_output, b""
        while data := self.session.take(self.now):
            out += data
        assert due or not out, "who asks before would have written nothing"
        return out


class Peer:
    """The other side, by `h2`. What it gets is in `messages`; windows are given back unless it is `slow`."""

    def __init__(self, *, client: bool, slow: bool = False, validate: bool = True) -> None:
        config = h2.config.H2Configuration(
            client_side=client, header_encoding=None, validate_outbound_headers=validate,
            normalize_outbound_headers=validate,
        )  # fmt: skip
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.messages: dict[int, Message] = {}
        self.events: list[h2.events.Event] = []
        self._slow = slow

    def receive(self, data: bytes) -> None:
        for event in self.h2.receive_data(data):
            self.events.append(event)
            self._tell(event)

    def _tell(self, event: Any) -> None:
        message = self.messages.setdefault(getattr(event, "stream_id", 0) or 0, Message())
        match event:
            case h2.events.RequestReceived() | h2.events.ResponseReceived():
                message.fields = [(bytes(name), bytes(value)) for name, value in event.headers]
            case h2.events.InformationalResponseReceived():
                message.interim.append([(bytes(name), bytes(value)) for name, value in event.headers])
            case h2.events.DataReceived():
                message.body += event.data
                if event.flow_controlled_length and not self._slow:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.TrailersReceived():
                message.trailers = [(bytes(name), bytes(value)) for name, value in event.headers]
            case h2.events.StreamEnded():
                message.ended = True
            case h2.events.StreamReset():
                message.code = event.error_code

    def send_some(self, stream_id: int, data: bytes) -> int:
        """As much of it as the windows have room for; how much that was."""
        sent = 0
        while room := min(
            len(data) - sent, self.h2.local_flow_control_window(stream_id), self.h2.max_outbound_frame_size
        ):
            self.h2.send_data(stream_id, data[sent : sent + room])
            sent += room
        return sent


class Pair:
    """Both sides, with the bytes between them cut as the test wants."""

    def __init__(
        self, *, server: bool, cut: Callable[[bytes], Iterable[bytes]] | None = None, slow: bool = False,
        slow_peer: bool = False, validate: bool = True,
    ) -> None:  # fmt: skip
        self.ours = SessionLog(server=server, slow=slow)
        self.peer = Peer(client=server, slow=slow_peer, validate=validate)
        self._cut = cut or (lambda data: [data])
        self.run()

    def run(self) -> None:
        """Let bytes go back and forth until there are no more."""
        while True:
            ours, theirs = self.ours.take(), self.peer.h2.data_to_send()
            if not ours and not theirs:
                return
            if theirs:
                self.ours.feed(self._cut(theirs))
            if ours:
                self.peer.receive(ours)

    def send_from_peer(self, stream_id: int, data: bytes, trailers: Fields | None = None) -> None:
        """A body from the peer, as the windows allow, with its end."""
        sent = 0
        while sent < len(data):
            more = self.peer.send_some(stream_id, data[sent:])
            assert more, "the windows stay shut"
            sent += more
            self.run()
        if trailers is None:
            self.peer.h2.end_stream(stream_id)
        else:
            self.peer.h2.send_headers(stream_id, trailers, end_stream=True)
        self.run()


@pytest.fixture(scope="session")
def make_pair() -> Callable[..., Pair]:
    """`make_pair(server=True, …)`: our session and its peer, with their prefaces exchanged."""
    return Pair


@pytest.fixture(scope="session")
def make_log() -> Callable[..., SessionLog]:
    """`make_log(server=True)`: our session alone."""
    return SessionLog


@pytest.fixture(scope="session")
def cut_at() -> Callable[[list[int]], Callable[[bytes], list[bytes]]]:
    """A way to cut bytes: into pieces of these sizes, again and again."""

    def make(sizes: list[int]) -> Callable[[bytes], list[bytes]]:
        def cut(raw: bytes) -> list[bytes]:
            places = [0]
            while places[-1] < len(raw):
                places.append(min(len(raw), places[-1] + sizes[len(places) % len(sizes)]))
            return [raw[start:end] for start, end in pairwise(places)]

        return cut

    return make
