"""Requests from the bytes of one downstream connection, sans I/O (RFC 9112).

A whole head goes to llhttp, through a parser of its own; the framing of the body is ours, so that we know where a
message ends to the byte: what is behind it is the next request, and it stays here until `next()`. States:

    HEAD  bytes are gathered up to the empty line; a head in pieces is also shown to a second parser as it comes,
          so that what can't become a request is refused at once
    BODY  Content-Length bytes are told on as they come
    CHUNKED
    DONE  the message is complete; what comes is kept for `next()`
    TUNNEL  everything is told on as it comes (after a 101)
    FAILED  nothing is read any more
"""

from enum import Enum
from typing import Protocol

import httptools

from turnout.proxy.errors import HEAD_TOO_LARGE, MALFORMED, METHOD_UNSUPPORTED, VERSION_UNSUPPORTED, Failure
from turnout.proxy.http.fields import MalformedError, parse_length, parse_tokens
from turnout.proxy.http.head import CHUNKED, RequestHead
from turnout.proxy.http.names import Mark, Names
from turnout.proxy.http.target import Authorities, split_target
from turnout.proxy.http1.chunked import ChunkedDecoder

MAX_EMPTY_LINES = 4
"""Empty lines that are read over before a request line (RFC 9112 §2.2)."""

_HOST, _LENGTH, _CODING = int(Mark.HOST), int(Mark.CONTENT_LENGTH), int(Mark.TRANSFER_ENCODING)
_CONNECTION, _UPGRADE = int(Mark.CONNECTION), int(Mark.UPGRADE)
_FRAMING = _LENGTH | _CODING
_DROPPED = int(Mark.HOP_BY_HOP | Mark.TE)


class RequestHandler(Protocol):
    """Who is told what a connection asks. `end` comes exactly once a request, unless it fails."""

    def on_request(self, head: RequestHead, data: bytes, end: bool) -> None: ...

    def on_request_body(self, data: bytes, end: bool) -> None: ...

    def on_request_malformed(self, failure: Failure, reason: str) -> None: ...

    def on_tunnel_data(self, data: bytes) -> None: ...


class State(Enum):
    HEAD = "head"
    BODY = "body"
    CHUNKED = "chunked"
    DONE = "done"
    TUNNEL = "tunnel"
    FAILED = "failed"


class _HeadEvents:
    """What llhttp tells of one head."""

    __slots__ = ("complete", "connection", "head", "names", "plain", "target", "upgrade")

    def __init__(self, names: Names) -> None:
        self.names = names
        self.plain = names.plain
        self.head = RequestHead()
        self.target = b""
        self.connection = b""
        self.upgrade = b""
        self.complete = False

    def on_url(self, target: bytes) -> None:
        self.target += target

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
        if mark & (_HOST | _FRAMING) and head.marks & mark:
            raise MalformedError(f"{lower.decode()} is there twice")
        head.marks |= mark
        if mark & _HOST:
            head.authority = value
        elif mark & _LENGTH:
            head.length = parse_length(value)
        elif mark & _CODING:
            if value.lower() != b"chunked":
                raise MalformedError("a transfer coding other than chunked")
            head.length = CHUNKED
        elif mark & _CONNECTION:
            self.connection = value if not self.connection else self.connection + b"," + value
        elif mark & _UPGRADE:
            self.upgrade = value if not self.upgrade else self.upgrade + b"," + value
        elif not mark & _DROPPED:
            head.fields.append((lower, value))


class RequestDecoder:
    """Tells `handler` the requests in what `feed` gets, one at a time."""

    __slots__ = (
        "_authorities", "_chunked", "_empty_lines", "_handler", "_kept", "_left", "_max_head_bytes", "_names",
        "_running", "_scout", "state",
    )  # fmt: skip

    def __init__(self, handler: RequestHandler, names: Names, authorities: Authorities, max_head_bytes: int) -> None:
        self._handler = handler
        self._names = names
        self._authorities = authorities
        self._max_head_bytes = max_head_bytes
        self._kept = bytearray()
        self._left = 0
        self._empty_lines = 0
        self._chunked: ChunkedDecoder | None = None
        self._scout: httptools.HttpRequestParser | None = None
        self._running = False
        self.state = State.HEAD

    def __repr__(self) -> str:
        return f"<RequestDecoder {self.state.value} kept={len(self._kept)}>"

    @property
    def kept_bytes(self) -> int:
        """How many bytes wait here: of a head that is not complete, or of requests to come."""
        return len(self._kept)

    def feed(self, data: bytes) -> None:
        """Take the bytes that came."""
        self._run(data)

    def next(self) -> None:
        """The answer to the last request is out: read on."""
        if self.state is State.DONE:
            self.state = State.HEAD
            self._run_kept()

    def tunnel(self) -> None:
        """What comes after this request is not HTTP any more."""
        self.state = State.TUNNEL
        self._run_kept()

    def stop(self) -> None:
        """Read nothing more."""
        self.state = State.FAILED
        self._kept.clear()

    def _run_kept(self) -> None:
        """Go on with what was kept; called from within a step, that is left to the loop that is running."""
        if not self._running and self._kept:
            self._run(self._take_kept())

    def _take_kept(self) -> bytes:
        data = bytes(self._kept)
        self._kept.clear()
        return data

    def _run(self, data: bytes) -> None:
        self._running = True
        try:
            while data:
                data = self._step(data)
        except MalformedError as error:
            self._fail(MALFORMED, str(error))
        finally:
            self._running = False

    def _step(self, data: bytes) -> bytes:
        """Take one piece of `data`; the rest of it, if any, is for the next step."""
        state = self.state
        if state is State.HEAD:
            return self._feed_head(data)
        if state is State.BODY:
            return self._feed_body(data)
        if state is State.CHUNKED:
            return self._feed_chunked(data)
        if state is State.TUNNEL:
            self._handler.on_tunnel_data(data)
        elif state is State.DONE:
            self._kept += data
        return b""

    # Heads

    def _feed_head(self, data: bytes) -> bytes:
        if self._scout is not None:
            return self._feed_partial_head(data)
        if data[:2] == b"\r\n":
            self._empty_lines += 1
            if self._empty_lines > MAX_EMPTY_LINES:
                raise MalformedError("empty lines where a request line should be")
            return data[2:]
        end = data.find(b"\r\n\r\n") + 4
        if end == 3:
            self._scout = httptools.HttpRequestParser(_HeadEvents(self._names))
            return self._feed_partial_head(data)
        return self._on_head(data, end)

    def _feed_partial_head(self, data: bytes) -> bytes:
        searched = max(0, len(self._kept) - 3)
        self._kept += data
        if self._kept.find(b"\r\n\r\n", searched) >= 0:
            self._scout = None
            return self._take_kept()
        if len(self._kept) > self._max_head_bytes:
            self._fail(HEAD_TOO_LARGE, "the head is too large")
        else:
            self._scout_head(data)
        return b""

    def _scout_head(self, data: bytes) -> None:
        assert self._scout is not None
        try:
            self._scout.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError as error:
            raise MalformedError(_reason(error)) from error

    def _on_head(self, data: bytes, end: int) -> bytes:
        if end > self._max_head_bytes:
            self._fail(HEAD_TOO_LARGE, "the head is too large")
            return b""
        events = _HeadEvents(self._names)
        parser = httptools.HttpRequestParser(events)
        try:
            parser.feed_data(data if end == len(data) else data[:end])
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError as error:
            raise MalformedError(_reason(error)) from error
        if not events.complete:
            raise MalformedError("the head ends too early")
        if not self._check_head(events, parser, data):
            return b""
        self._empty_lines = 0
        return self._begin_body(events.head, data, end)

    def _check_head(self, events: _HeadEvents, parser: httptools.HttpRequestParser, data: bytes) -> bool:
        head = events.head
        head.method = parser.get_method()
        line_end = data.find(b"\r\n")
        version = data[line_end - 9 : line_end]
        if version == b" HTTP/1.0":
            head.minor = 0
        elif version != b" HTTP/1.1":
            self._fail(VERSION_UNSUPPORTED, "only HTTP/1.0 and HTTP/1.1 are spoken here")
            return False
        if head.method == b"CONNECT":
            if b":" not in events.target or b"/" in events.target:
                raise MalformedError("the target of CONNECT is not in authority-form")
            self._fail(METHOD_UNSUPPORTED, "CONNECT is not supported")
            return False
        head.path, head.query, authority = split_target(events.target, head.method)
        self._check_host(head, authority)
        self._check_framing(head)
        self._check_connection(head, events)
        return True

    def _check_host(self, head: RequestHead, authority: bytes | None) -> None:
        if not head.marks & _HOST:
            if head.minor:
                raise MalformedError("HTTP/1.1 without Host")
            if authority is None:
                return
            head.authority = authority
        elif authority is not None and authority.lower() != head.authority.lower():
            raise MalformedError("Host differs from the target's authority")
        head.host = self._authorities.look_up(head.authority)

    def _check_framing(self, head: RequestHead) -> None:
        if not head.marks & _CODING:
            return
        if head.marks & _LENGTH:
            raise MalformedError("both Transfer-Encoding and Content-Length")
        if not head.minor:
            raise MalformedError("Transfer-Encoding in HTTP/1.0")

    def _check_connection(self, head: RequestHead, events: _HeadEvents) -> None:
        head.keep_alive = head.minor == 1
        if events.connection:
            named = parse_tokens(events.connection)
            if b"close" in named:
                head.keep_alive = False
            elif b"keep-alive" in named:
                head.keep_alive = True
            if b"upgrade" in named and head.minor and not head.length:
                head.upgrade = _choose_upgrade(events.upgrade)
            head.remove_named(named)

    # Bodies

    def _begin_body(self, head: RequestHead, data: bytes, end: int) -> bytes:
        length = head.length
        if not length:
            self.state = State.DONE
            self._handler.on_request(head, b"", True)
            return data[end:]
        if length == CHUNKED:
            return self._begin_chunks(head, data[end:])
        body = data[end : end + length]
        self._left = length - len(body)
        self.state = State.BODY if self._left else State.DONE
        self._handler.on_request(head, body, not self._left)
        return data[end + length :]

    def _begin_chunks(self, head: RequestHead, data: bytes) -> bytes:
        self._chunked = chunked = ChunkedDecoder()
        head.trailers = chunked.trailers
        body = chunked.feed(data)
        self.state = State.DONE if chunked.ended else State.CHUNKED
        self._handler.on_request(head, body, chunked.ended)
        return chunked.rest

    def _feed_body(self, data: bytes) -> bytes:
        size = len(data)
        if size < self._left:
            self._left -= size
            self._handler.on_request_body(data, False)
            return b""
        body, rest = (data, b"") if size == self._left else (data[: self._left], data[self._left :])
        self._left = 0
        self.state = State.DONE
        self._handler.on_request_body(body, True)
        return rest

    def _feed_chunked(self, data: bytes) -> bytes:
        chunked = self._chunked
        assert chunked is not None
        body = chunked.feed(data)
        if chunked.ended:
            self.state = State.DONE
        if body or chunked.ended:
            self._handler.on_request_body(body, chunked.ended)
        return chunked.rest

    def _fail(self, failure: Failure, reason: str) -> None:
        self.stop()
        self._handler.on_request_malformed(failure, reason)


def _choose_upgrade(value: bytes) -> bytes:
    """WebSocket is the one protocol that is let through; others are ignored, as a server may (RFC 9110 §7.8)."""
    return b"websocket" if b"websocket" in parse_tokens(value) else b""


def _reason(error: BaseException) -> str:
    """Why llhttp stopped: what one of our callbacks raised, if one did."""
    return str(error.__context__ if isinstance(error.__context__, MalformedError) else error)
