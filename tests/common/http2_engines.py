"""Both engines of HTTP/2 in the same part with one peer: whatever is done, what can be seen of them is the same."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import hpack
import ngh2
from http2_frames import PREFACE, make_frame

POST = [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"a.test"), (b":path", b"/")]
LENGTH = (b"content-length", b"5")
SECRET = ngh2.NeverIndexedHeader(b"x-key", b"secret")
MANY = [(b"x-%d" % number, b"%d" % (number % 7)) for number in range(60)]
REQUESTS = [
    POST, [*POST, LENGTH], [*POST, SECRET], [*POST, tuple(SECRET)], [*POST, *MANY],
    [(b":method", b"HEAD"), *POST[1:]], POST[:3], [*POST, (b"x-a", b"a\0b")], [*POST, *MANY, *MANY],
]  # fmt: skip
OK = [(b":status", b"200")]
ANSWERS = [
    OK, [*OK, LENGTH], [*OK, SECRET], [*OK, tuple(SECRET)], [*OK, *MANY],
    [(b":status", b"204")], [(b"x-a", b"b")], [*OK, (b"x-a", b"a\0b")], [*OK, *MANY, *MANY],
]  # fmt: skip
INTERIM = [(b":status", b"103"), (b"link", b"</a>")]
TRAILERS: list[Any] = [[(b"grpc-status", b"0")], [(b"grpc-status", b"0"), SECRET], [], MANY, [(b"x", b"y" * 70_000)]]

END_STREAM, END_HEADERS, ACK = 1, 4, 1


WITH_FIELDS = {"RequestReceived", "ResponseReceived", "InformationalResponseReceived", "TrailersReceived"}
WITHOUT_END = {"InformationalResponseReceived", "TrailersReceived"}
OTHERS = {
    "DataReceived": ("stream_id", "data", "end_stream"), "StreamClosed": ("stream_id", "error_code"),
    "StreamReset": ("stream_id", "error_code"), "GoAwayReceived": ("last_stream_id", "error_code"),
    "ConnectionClosed": ("error_code",), "SettingsReceived": (), "PingAcknowledged": (),
}  # fmt: skip


def describe(event: Any) -> tuple[Any, ...]:
    """What `session` sees of an event."""
    kind = type(event).__name__
    if kind in WITH_FIELDS:
        fields = [(type(field) is tuple, *field) for field in event.headers]
        return kind, event.stream_id, fields, kind in WITHOUT_END or event.end_stream
    return (kind, *(getattr(event, name) for name in OTHERS[kind])) if kind in OTHERS else ("control",)


def attempt(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What it gives, or which kind of error."""
    try:
        return call(*arguments, **options)
    except ngh2.DenialOfServiceError:
        return "flood"
    except (ngh2.NGH2Error, ValueError):
        return "refused"


def take_all(side: Any, amount: int) -> Any:
    out = b""
    while data := attempt(side.data_to_send, amount):
        if isinstance(data, str):
            return data
        out += data
    return out


class Play:
    """Both engines in the same part, with one peer."""

    def __init__(self, engines: tuple[ModuleType, ModuleType], server: bool, cuts: list[int]) -> None:
        ours = {ngh2.Setting.INITIAL_WINDOW_SIZE: 30_000, ngh2.Setting.MAX_CONCURRENT_STREAMS: 4}
        self.sides = [
            module.connect(server=server, settings=ours, window_bytes=1 << 24, max_streams=2, max_fields_bytes=4_000)
            for module in engines
        ]
        self.heads = REQUESTS if server else ANSWERS
        self.encoder = hpack.Encoder()
        self.held: dict[int, int] = {}
        """Of streams, the bytes that came and were not acknowledged."""
        self.server, self.cuts = server, cuts
        self.opened = 0
        self.deaf = self.over = False
        self.look()
        self.feed((PREFACE if server else b"") + make_frame(4, 0, 0))
        for _ in range(2):
            if server:
                self.feed(self.head(0, 0, False, False))
            else:
                self.call("send_request", POST, False)
        self.take(49_152)

    def find(self, back: int) -> int:
        """The id of a stream."""
        return max(2 * (self.opened - back) - 1, 1)

    def do(self, name: str, *arguments: Any) -> None:
        if hasattr(self, name):
            raw = getattr(self, name)(*arguments)
            if raw is not None and not self.deaf:
                self.feed(raw)
        else:
            self.call(name, *arguments)

    def both(self, call: Callable[[Any], Any]) -> Any:
        plain, compiled = (call(side) for side in self.sides)
        assert compiled == plain
        self.look()
        return plain

    def look(self) -> None:
        """All that can be seen of them now is the same."""
        plain, compiled = ([describe(event) for event in side.events()] for side in self.sides)
        assert compiled == plain
        for kind, *content in plain:
            if kind == "DataReceived":
                self.held[content[0]] = self.held.get(content[0], 0) + len(content[1])
            self.deaf |= kind == "ConnectionClosed"
        plain, compiled = (
            [side.queued_body_size(), *(side.queued_body_size(number) for number in (1, 3, 5, 7, 9))]
            for side in self.sides
        )
        assert compiled == plain
        if not self.over:
            plain, compiled = ([bool(side.want_write), bool(side.can_send_request)] for side in self.sides)
            assert compiled == plain

    def feed(self, raw: bytes) -> None:
        at = turn = 0
        while at < len(raw) and not self.deaf:
            piece = raw[at : at + self.cuts[turn % len(self.cuts)]]
            at, turn = at + len(piece), turn + 1
            plain, compiled = (attempt(side.receive_data, piece) for side in self.sides)
            assert compiled == plain
            self.over = self.deaf = plain is not None
            self.look()

    # What we do

    def take(self, amount: int) -> None:
        self.both(lambda side: take_all(side, amount))

    def acknowledge(self, back: int) -> None:
        stream_id = self.find(back)
        amount = self.held.pop(stream_id, 0)
        self.both(lambda side: attempt(side.acknowledge_received_data, amount, stream_id))

    def call(self, name: str, *arguments: Any) -> None:
        options = {}
        match name, arguments:
            case "send_data", (back, size, end):
                arguments, options = (self.find(back), bytes([size % 251]) * size), {"end_stream": end}
            case "send_request", (fields, end):
                self.opened += not self.server
                arguments, options = (fields,), {"end_stream": end}
            case "send_response", (back, fields, end):
                arguments, options = (self.find(back), fields), {"end_stream": end}
            case "send_informational_response", (back,):
                arguments = self.find(back), INTERIM
            case "send_trailers" | "reset_stream", (back, what):
                arguments = self.find(back), what
            case "terminate_connection", _:
                self.deaf = True
        self.both(lambda side: attempt(getattr(side, name), *arguments, **options))

    # What the peer sends

    def encode(self, fields: Any) -> bytes:
        return self.encoder.encode(
            [field if type(field) is tuple else hpack.NeverIndexedHeaderTuple(*field) for field in fields]
        )

    def head(self, back: int, which: int, end: bool, cut: bool) -> bytes:
        self.opened += self.server
        stream_id = self.find(0 if self.server else back)
        block, flags = self.encode(self.heads[which]), END_STREAM if end else 0
        if not cut:
            return make_frame(1, flags | END_HEADERS, stream_id, block)
        return make_frame(1, flags, stream_id, block[:9]) + make_frame(9, END_HEADERS, stream_id, block[9:])

    def interim(self, back: int) -> bytes:
        return make_frame(1, END_HEADERS, self.find(back), self.encode(INTERIM))

    def body(self, back: int, size: int, end: bool, padding: int) -> bytes:
        data = bytes([padding]) + b"d" * size + bytes(padding) if padding else b"d" * size
        return make_frame(0, (END_STREAM if end else 0) | (8 if padding else 0), self.find(back), data[:16_384])

    def end(self, back: int, which: int) -> bytes:
        return make_frame(1, END_HEADERS | END_STREAM, self.find(back), self.encode(TRAILERS[which]))

    def settings(self, key: int, value: int) -> bytes:
        return make_frame(4, 0, 0, key.to_bytes(2, "big") + value.to_bytes(4, "big"))

    def window(self, whole: bool, back: int, amount: int) -> bytes:
        return make_frame(8, 0, 0 if whole else self.find(back), amount.to_bytes(4, "big"))

    def stop(self, back: int, code: int) -> bytes:
        return make_frame(3, 0, self.find(back), code.to_bytes(4, "big"))

    def away(self, last: int, code: int) -> bytes:
        return make_frame(7, 0, 0, last.to_bytes(4, "big") + code.to_bytes(4, "big"))

    def ping_frame(self, flags: int) -> bytes:
        return make_frame(6, flags, 0, bytes(8))

    def any(self, raw: bytes) -> bytes:
        return raw
