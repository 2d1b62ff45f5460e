"""Both decoders with handlers that write down what they are told, and two other parsers to judge what goes out."""

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any, NamedTuple

import h11
import httptools
import pytest

from turnout.proxy.errors import Failure
from turnout.proxy.http.fields import MalformedError
from turnout.proxy.http.head import CHUNKED, RequestHead, ResponseHead
from turnout.proxy.http1.encode import encode_chunk, encode_request, encode_response
from turnout.proxy.http1.request import RequestDecoder
from turnout.proxy.http1.request_head import RequestHeads
from turnout.proxy.http1.response import ResponseDecoder
from turnout.proxy.http1.response_head import ResponseHeads

MAX_HEAD_BYTES = 65_536


class Message:
    """One request or response as it was told, piece by piece."""

    def __init__(self, head: Any, data: bytes, end: bool) -> None:
        self.head = head
        self.pieces = [data]
        self.ended = end

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    def add(self, data: bytes, end: bool) -> None:
        assert not self.ended
        self.pieces.append(data)
        self.ended = end

    def encode_pieces(self, first: Callable[[Any, bytes, bool], bytes]) -> bytes:
        """The bytes for the other side: `first` makes the head, later pieces are framed as the connections do it."""
        head, last = self.head, len(self.pieces) - 1
        out = first(head, self.pieces[0], self.ended and not last)
        for index, piece in enumerate(self.pieces[1:], 1):
            end = self.ended and index == last
            out += encode_chunk(piece, end, head.trailers) if head.length == CHUNKED else piece
        return out

    def summary(self) -> tuple[Any, ...]:
        """What has to be the same however the bytes were cut."""
        head = self.head
        told = [(name, getattr(head, name)) for name in dir(head) if name[0] != "_" and name != "block"]
        told = [(name, value) for name, value in told if not callable(value)]
        return *told, self.body, self.ended


class RequestLog:
    """A handler of requests. It asks for the next one when one is complete, unless it shall `wait`."""

    def __init__(self, *, wait: bool = False, max_head_bytes: int = MAX_HEAD_BYTES) -> None:
        self.messages: list[Message] = []
        self.failures: list[tuple[Failure, str]] = []
        self.tunnelled = self.preface = b""
        self._wait = wait
        self.decoder = RequestDecoder(self, RequestHeads(), max_head_bytes)

    @property
    def status(self) -> int | None:
        """The status of the refusal, None without one."""
        return self.failures[0][0].status if self.failures else None

    @property
    def kept_bytes(self) -> int:
        """How much waits in the decoder: of a head that is not complete, or of requests to come."""
        return len(self.decoder.kept)

    @property
    def complete(self) -> list[Message]:
        return [message for message in self.messages if message.ended]

    def feed(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            self.decoder.feed(piece)

    def on_request(self, head: RequestHead, data: bytes, end: bool) -> None:
        assert not self.messages or self.messages[-1].ended, "a request before the last one has ended"
        self.messages.append(Message(head, data, end))
        self._on_end(end)

    def on_request_body(self, data: bytes, end: bool) -> None:
        self.messages[-1].add(data, end)
        self._on_end(end)

    def on_request_malformed(self, failure: Failure, reason: str) -> None:
        assert not self.failures, "told to be malformed twice"
        self.failures.append((failure, reason))

    def on_preface(self, data: bytes) -> None:
        self.preface = data

    def on_tunnel_data(self, data: bytes) -> None:
        self.tunnelled += data

    def _on_end(self, end: bool) -> None:
        if end and not self._wait:
            self.decoder.next()


class ResponseLog:
    """A handler of the answer to one request; `error` is what the decoder raised."""

    def __init__(self, method: bytes = b"GET", *, max_head_bytes: int = MAX_HEAD_BYTES) -> None:
        self.interim: list[ResponseHead] = []
        self.message: Message | None = None
        self.tunnelled = b""
        self.error: MalformedError | None = None
        self.decoder = ResponseDecoder(self, ResponseHeads(), max_head_bytes)
        self.decoder.expect(method)

    @property
    def answer(self) -> Message:
        assert self.message is not None, self.error
        return self.message

    def feed(self, pieces: Iterable[bytes]) -> None:
        try:
            for piece in pieces:
                self.decoder.feed(piece)
        except MalformedError as error:
            self.error = error

    def on_interim(self, head: ResponseHead) -> None:
        self.interim.append(head)

    def on_response(self, head: ResponseHead, data: bytes, end: bool) -> None:
        assert self.message is None, "a second answer to one request"
        self.message = Message(head, data, end)

    def on_response_body(self, data: bytes, end: bool) -> None:
        self.answer.add(data, end)

    def on_tunnel_data(self, data: bytes) -> None:
        self.tunnelled += data


class Parsed(NamedTuple):
    """What an independent parser understood. `start` is method and target, or the status."""

    start: tuple[Any, ...]
    fields: list[tuple[bytes, bytes]]
    body: bytes
    trailers: list[tuple[bytes, bytes]]


def parse_with_h11(raw: bytes, answer_to: bytes | None = None) -> Parsed:
    """Exactly one message and nothing behind it, or an error."""
    connection = h11.Connection(h11.SERVER if answer_to is None else h11.CLIENT, max_incomplete_event_size=1 << 24)
    if answer_to is not None:
        connection.send(h11.Request(method=answer_to, target=b"/", headers=[(b"host", b"a")]))
        connection.send(h11.EndOfMessage())
    connection.receive_data(raw)
    event = connection.next_event()
    if isinstance(event, h11.Request):
        start: tuple[Any, ...] = (bytes(event.method), bytes(event.target))
    else:
        assert isinstance(event, h11.Response), event
        start = (event.status_code,)
    fields, body = [(bytes(name), bytes(value)) for name, value in event.headers], b""
    while isinstance(event := connection.next_event(), h11.Data):
        body += bytes(event.data)
    if event is h11.NEED_DATA and answer_to is not None:
        connection.receive_data(b"")
        event = connection.next_event()
    assert isinstance(event, h11.EndOfMessage), event
    assert not connection.trailing_data[0]
    return Parsed(start, fields, body, [(bytes(name), bytes(value)) for name, value in event.headers])


class _LlhttpEvents:
    def __init__(self) -> None:
        self.target = self.body = b""
        self.begun = self.ended = 0

    def on_message_begin(self) -> None:
        self.begun += 1

    def on_url(self, target: bytes) -> None:
        self.target += target

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.ended += 1


def parse_with_llhttp(raw: bytes) -> tuple[bytes, bytes, bytes]:
    """Method, target and body of exactly one request, or an error."""
    events = _LlhttpEvents()
    parser = httptools.HttpRequestParser(events)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade as upgrade:
        if upgrade.args[0] != len(raw):
            raise
    assert (events.begun, events.ended) == (1, 1)
    return parser.get_method(), events.target, events.body


@pytest.fixture(scope="session")
def read_requests() -> Callable[..., RequestLog]:
    """`read_requests(pieces)` gives the log of a decoder that was fed with them."""

    def read(pieces: Iterable[bytes], **options: Any) -> RequestLog:
        log = RequestLog(**options)
        log.feed(pieces)
        return log

    return read


@pytest.fixture(scope="session")
def read_response() -> Callable[..., ResponseLog]:
    """`read_response(pieces, method)` gives the log of a decoder that was fed with them."""

    def read(pieces: Iterable[bytes], method: bytes = b"GET", **options: Any) -> ResponseLog:
        log = ResponseLog(method, **options)
        log.feed(pieces)
        return log

    return read


@pytest.fixture(scope="session")
def forward() -> Callable[[Message], Parsed]:
    """What h11 understands of a request as it goes on to the upstream; llhttp has to understand the same."""

    def encode_and_parse(message: Message) -> Parsed:
        raw = message.encode_pieces(encode_request)
        parsed = parse_with_h11(raw)
        assert parse_with_llhttp(raw) == (*parsed.start, parsed.body)
        return parsed

    return encode_and_parse


@pytest.fixture(scope="session")
def pass_on() -> Callable[..., Parsed]:
    """What h11 understands of an answer to `method` as it goes on to an HTTP/1.1 client."""

    def encode_and_parse(message: Message, method: bytes = b"GET") -> Parsed:
        if message.head.length < 0 and not message.head.bodyless:
            message.head.length = CHUNKED
        return parse_with_h11(message.encode_pieces(lambda *first: encode_response(*first, b"")), method)

    return encode_and_parse


@pytest.fixture(scope="session")
def cut_at() -> Callable[[bytes, list[int]], list[bytes]]:
    """The bytes in pieces that end at those of the places that are within."""

    def cut(raw: bytes, places: list[int]) -> list[bytes]:
        return [raw[start:end] for start, end in pairwise(sorted({0, len(raw), *(p for p in places if p < len(raw))}))]

    return cut


@pytest.fixture(scope="session")
def cuttings() -> Callable[[bytes], list[list[bytes]]]:
    """The ways that the bytes of a table's row come in: whole, one by one, in halves and with a late last byte."""

    def cut(raw: bytes) -> list[list[bytes]]:
        middle = len(raw) // 2
        return [
            [raw],
            [raw[at : at + 1] for at in range(len(raw))],
            [raw[:middle], raw[middle:]],
            [raw[at : at + 7] for at in range(0, len(raw), 7)],
            [raw[:-1], raw[-1:]],
        ]

    return cut
