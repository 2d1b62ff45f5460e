"""Responses from the bytes of one upstream connection, sans I/O (RFC 9112 §6.3).

One request is in flight at a time: `expect` says which, since the framing of its answer depends on it. Interim
responses (1xx) are told as they come. What an upstream sends that is not a valid answer is a MalformedError, and
nothing of it is passed on.
"""

from enum import Enum
from typing import Protocol

import httptools

from turnout.proxy.http.fields import MalformedError, parse_keep_alive_s, parse_length, parse_tokens
from turnout.proxy.http.head import CHUNKED, UNTIL_CLOSE, ResponseHead
from turnout.proxy.http.names import Mark, Names
from turnout.proxy.http1.chunked import ChunkedDecoder

MAX_INTERIM = 64
"""Interim responses to one request; more of them is an attack, not progress."""

_LENGTH, _CODING = int(Mark.CONTENT_LENGTH), int(Mark.TRANSFER_ENCODING)
_CONNECTION, _UPGRADE, _KEEP_ALIVE = int(Mark.CONNECTION), int(Mark.UPGRADE), int(Mark.KEEP_ALIVE)
_HOP_BY_HOP = int(Mark.HOP_BY_HOP)


class ResponseHandler(Protocol):
    """Who is told what an upstream answers. `end` comes exactly once, unless the answer fails."""

    def on_interim(self, head: ResponseHead) -> None: ...

    def on_response(self, head: ResponseHead, data: bytes, end: bool) -> None: ...

    def on_response_body(self, data: bytes, end: bool) -> None: ...

    def on_tunnel_data(self, data: bytes) -> None: ...


class State(Enum):
    IDLE = "idle"
    HEAD = "head"
    BODY = "body"
    CHUNKED = "chunked"
    UNTIL_CLOSE = "until close"
    DONE = "done"
    TUNNEL = "tunnel"


class _HeadEvents:
    """What llhttp tells of one head."""

    __slots__ = ("complete", "connection", "head", "names", "plain", "upgrade")

    def __init__(self, names: Names) -> None:
        self.names = names
        self.plain = names.plain
        self.head = ResponseHead()
        self.connection = b""
        self.upgrade = b""
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        lower = self.plain.get(name)
        if lower is not None:
            self.head.fields.append((lower, value))
        else:
            self._on_unknown(name, value)

    def on_headers_complete(self) -> None:
        self.complete = True

    def _on_unknown(self, name: bytes, value: bytes) -> None:
        head = self.head
        lower, mark = self.names.look_up(name)
        if mark & _LENGTH and head.marks & mark:
            raise MalformedError("content-length is there twice")
        if mark & _CODING and head.marks & mark:
            raise MalformedError("transfer-encoding is there twice")
        head.marks |= mark
        if mark & _LENGTH:
            head.length = parse_length(value)
        elif mark & _CODING:
            if value.lower() != b"chunked":
                raise MalformedError("a transfer coding other than chunked")
        elif mark & _CONNECTION:
            self.connection = value if not self.connection else self.connection + b"," + value
        elif mark & _UPGRADE:
            self.upgrade = value
        elif mark & _KEEP_ALIVE:
            head.keep_alive_s = parse_keep_alive_s(value)
        elif not mark & _HOP_BY_HOP:
            head.fields.append((lower, value))


class ResponseDecoder:
    """Tells `handler` the answer in what `feed` gets."""

    __slots__ = (
        "_chunked",
        "_handler",
        "_interim",
        "_kept",
        "_left",
        "_max_head_bytes",
        "_method",
        "_names",
        "state",
    )

    def __init__(self, handler: ResponseHandler, names: Names, max_head_bytes: int) -> None:
        self._handler = handler
        self._names = names
        self._max_head_bytes = max_head_bytes
        self._method = b""
        self._kept = b""
        self._left = 0
        self._interim = 0
        self._chunked: ChunkedDecoder | None = None
        self.state = State.IDLE

    def __repr__(self) -> str:
        return f"<ResponseDecoder {self.state.value}>"

    def expect(self, method: bytes) -> None:
        """A request with this method was sent."""
        self._method = method
        self._interim = 0
        self.state = State.HEAD

    def feed(self, data: bytes) -> None:
        """Take the bytes that came. Raises MalformedError, also for bytes that nobody asked for."""
        while data:
            state = self.state
            if state is State.HEAD:
                data = self._feed_head(data)
            elif state is State.BODY:
                data = self._feed_body(data)
            elif state is State.CHUNKED:
                data = self._feed_chunked(data)
            elif state is State.UNTIL_CLOSE:
                self._handler.on_response_body(data, False)
                return
            elif state is State.TUNNEL:
                self._handler.on_tunnel_data(data)
                return
            else:
                raise MalformedError("bytes that belong to no request")

    def feed_eof(self) -> bool:
        """The upstream closed. True if the answer is complete by that."""
        if self.state is not State.UNTIL_CLOSE:
            return False
        self.state = State.DONE
        self._handler.on_response_body(b"", True)
        return True

    # Heads

    def _feed_head(self, data: bytes) -> bytes:
        if self._kept:
            data = self._kept + data
        end = data.find(b"\r\n\r\n") + 4
        if end > self._max_head_bytes or (end == 3 and len(data) > self._max_head_bytes):
            raise MalformedError("the head is too large")
        if end == 3:
            if not b"HTTP/1.".startswith(data[:7]):
                raise MalformedError("not a status line")
            self._kept = data
            return b""
        self._kept = b""
        head = self._parse_head(data, end)
        if head.status < 200:
            return self._on_interim(head, data, end)
        return self._begin_body(head, data, end)

    def _parse_head(self, data: bytes, end: int) -> ResponseHead:
        events = _HeadEvents(self._names)
        parser = httptools.HttpResponseParser(events)
        try:
            parser.feed_data(data if end == len(data) else data[:end])
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError as error:
            cause = error.__context__ if isinstance(error.__context__, MalformedError) else error
            raise MalformedError(str(cause)) from error
        if not events.complete:
            raise MalformedError("the head ends too early")
        head = events.head
        head.status = parser.get_status_code()
        if not 100 <= head.status <= 599:
            raise MalformedError("a status that is none")
        self._check_version(head, data)
        self._check_connection(head, events)
        self._check_framing(head)
        return head

    def _check_version(self, head: ResponseHead, data: bytes) -> None:
        version = data[:9]
        if version == b"HTTP/1.0 ":
            head.keep_alive = False
            if head.marks & _CODING:
                raise MalformedError("Transfer-Encoding in HTTP/1.0")
        elif version != b"HTTP/1.1 ":
            raise MalformedError("not HTTP/1.0 or HTTP/1.1")

    def _check_connection(self, head: ResponseHead, events: _HeadEvents) -> None:
        if not events.connection:
            return
        named = parse_tokens(events.connection)
        if b"close" in named:
            head.keep_alive = False
        elif b"keep-alive" in named:
            head.keep_alive = True
        if b"upgrade" in named:
            head.upgrade = events.upgrade.lower()
        head.remove_named(named)

    def _check_framing(self, head: ResponseHead) -> None:
        """RFC 9112 §6.3: what a response's body is."""
        if head.marks & _CODING:
            if head.marks & _LENGTH:
                raise MalformedError("both Transfer-Encoding and Content-Length")
            head.length = CHUNKED
        elif not head.marks & _LENGTH:
            head.length = UNTIL_CLOSE
        if head.status < 200 or head.status == 204:
            if head.marks & _CODING or head.length > 0:
                raise MalformedError(f"a {head.status} with a body")
            head.length = 0

    def _on_interim(self, head: ResponseHead, data: bytes, end: int) -> bytes:
        self._interim += 1
        if self._interim > MAX_INTERIM:
            raise MalformedError("too many interim responses")
        if head.status == 101:
            self.state = State.TUNNEL
        self._handler.on_interim(head)
        return data[end:]

    # Bodies

    def _begin_body(self, head: ResponseHead, data: bytes, end: int) -> bytes:
        length = head.length
        head.bodyless = self._method == b"HEAD" or head.status in (204, 304)
        if length == 0 or head.bodyless:
            self.state = State.DONE
            self._handler.on_response(head, b"", True)
            return data[end:]
        if length > 0:
            body = data[end : end + length]
            self._left = length - len(body)
            self.state = State.BODY if self._left else State.DONE
            self._handler.on_response(head, body, not self._left)
            return data[end + length :]
        if length == CHUNKED:
            return self._begin_chunks(head, data[end:])
        head.keep_alive = False
        self.state = State.UNTIL_CLOSE
        self._handler.on_response(head, data[end:], False)
        return b""

    def _begin_chunks(self, head: ResponseHead, data: bytes) -> bytes:
        self._chunked = chunked = ChunkedDecoder()
        head.trailers = chunked.trailers
        body = chunked.feed(data)
        self.state = State.DONE if chunked.ended else State.CHUNKED
        self._handler.on_response(head, body, chunked.ended)
        return chunked.rest

    def _feed_body(self, data: bytes) -> bytes:
        size = len(data)
        if size < self._left:
            self._left -= size
            self._handler.on_response_body(data, False)
            return b""
        body, rest = (data, b"") if size == self._left else (data[: self._left], data[self._left :])
        self._left = 0
        self.state = State.DONE
        self._handler.on_response_body(body, True)
        return rest

    def _feed_chunked(self, data: bytes) -> bytes:
        chunked = self._chunked
        assert chunked is not None
        body = chunked.feed(data)
        if chunked.ended:
            self.state = State.DONE
        if body or chunked.ended:
            self._handler.on_response_body(body, chunked.ended)
        return chunked.rest
