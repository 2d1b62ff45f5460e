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

from enum import IntEnum
from typing import Protocol

import httptools

from turnout.proxy.errors import HEAD_TOO_LARGE, MALFORMED, METHOD_UNSUPPORTED, VERSION_UNSUPPORTED, Failure
from turnout.proxy.http.fields import MalformedError, check_coding, parse_length, parse_tokens
from turnout.proxy.http.head import CHUNKED, RequestHead
from turnout.proxy.http.names import Mark, Names
from turnout.proxy.http.target import Authorities, Targets, split_target
from turnout.proxy.http1.chunked import NOTHING_NAMED, ChunkedDecoder
from turnout.proxy.http1.heads import HeadReader

MAX_EMPTY_LINES = 4
"""Empty lines that are read over before a request line (RFC 9112 §2.2)."""

_HOST, _LENGTH, _CODING = int(Mark.HOST), int(Mark.CONTENT_LENGTH), int(Mark.TRANSFER_ENCODING)
_CONNECTION, _UPGRADE = int(Mark.CONNECTION), int(Mark.UPGRADE)
_ONCE = _HOST | _LENGTH | _CODING
_CR = 13
_DROPPED = int(Mark.HOP_BY_HOP | Mark.TE)


class RequestHandler(Protocol):
    """Who is told what a connection asks. `end` comes exactly once a request, unless it fails."""

    def on_request(self, head: RequestHead, data: bytes, end: bool) -> None: ...

    def on_request_body(self, data: bytes, end: bool) -> None: ...

    def on_request_malformed(self, failure: Failure, reason: str) -> None: ...

    def on_tunnel_data(self, data: bytes) -> None: ...


class State(IntEnum):
    """The states by name; on the way of a request the plain numbers below are used, which are quicker to get at."""

    HEAD = 0
    BODY = 1
    CHUNKED = 2
    DONE = 3
    TUNNEL = 4
    FAILED = 5


_HEAD, _BODY, _IN_CHUNKS, _DONE, _TUNNEL, _FAILED = map(int, State)


class RequestDecoder:
    """Tells `handler` the requests in what `feed` gets, one at a time."""

    __slots__ = (
        "_authorities", "_chunked", "_empty_lines", "_handler", "_hosts", "_left", "_max_head_bytes", "_named",
        "_names", "_reader", "_running", "_scout", "_targets", "kept", "state",
    )  # fmt: skip

    def __init__(
        self,
        handler: RequestHandler,
        names: Names,
        authorities: Authorities,
        max_head_bytes: int,
        targets: Targets | None = None,
    ) -> None:
        self._handler = handler
        self._targets = targets or Targets()
        self._names = names
        self._named = NOTHING_NAMED
        self._reader = HeadReader(httptools.HttpRequestParser, names)
        self._authorities = authorities
        self._hosts = authorities.hosts
        self._max_head_bytes = max_head_bytes
        self.kept = bytearray()
        """Bytes that wait: of a head that is not complete, or of requests to come."""
        self._left = 0
        self._empty_lines = 0
        self._chunked: ChunkedDecoder | None = None
        self._scout: httptools.HttpRequestParser | None = None
        self._running = False
        self.state: int = _HEAD

    def __repr__(self) -> str:
        return f"<RequestDecoder {State(self.state).name.lower()} kept={len(self.kept)}>"

    @property
    def in_head(self) -> bool:
        """Whether the next thing is a head; if bytes are kept, it has begun."""
        return self.state == _HEAD

    def feed(self, data: bytes) -> None:
        """Take the bytes that came."""
        self._running = True
        try:
            while data:
                state = self.state
                if state == _HEAD:
                    data = self._feed_head(data)
                elif state == _BODY:
                    data = self._feed_body(data)
                elif state == _IN_CHUNKS:
                    data = self._feed_chunked(data)
                else:
                    self._feed_beyond(data)
                    break
        except MalformedError as error:
            self._fail(MALFORMED, str(error))
        finally:
            self._running = False

    def next(self) -> None:
        """The answer to the last request is out: read on."""
        if self.state == _DONE:
            self.state = _HEAD
            if self.kept:
                self._run_kept()

    def tunnel(self) -> None:
        """What comes after this request is not HTTP any more."""
        self.state = _TUNNEL
        self._run_kept()

    def stop(self) -> None:
        """Read nothing more."""
        self.state = _FAILED
        self.kept.clear()

    def _run_kept(self) -> None:
        """Go on with what was kept; called from within a step, that is left to the loop that is running."""
        if self.kept and not self._running:
            self.feed(self._take_kept())

    def _take_kept(self) -> bytes:
        data = bytes(self.kept)
        self.kept.clear()
        return data

    def _feed_beyond(self, data: bytes) -> None:
        if self.state == _TUNNEL:
            self._handler.on_tunnel_data(data)
        elif self.state == _DONE:
            self.kept += data

    # Heads

    def _feed_head(self, data: bytes) -> bytes:
        """A whole head goes on; anything else waits."""
        end = data.find(b"\r\n\r\n") + 4
        if end == 3 or self._scout is not None:
            return self._feed_partial_head(data)
        if data[0] <= _CR:
            return self._skip_empty_line(data)
        if end > self._max_head_bytes:
            self._fail(HEAD_TOO_LARGE, "the head is too large")
            return b""
        reader = self._reader
        reader.read(data, end)
        head = RequestHead()
        head.block = reader.block
        self._empty_lines = 0
        if self._check_head(head, reader.line):
            return self._begin_body(head, data, end)
        return b""

    def _skip_empty_line(self, data: bytes) -> bytes:
        self._empty_lines += 1
        if self._empty_lines > MAX_EMPTY_LINES or not data.startswith(b"\r\n"):
            raise MalformedError("not a request line")
        return data[2:]

    def _feed_partial_head(self, data: bytes) -> bytes:
        if self._scout is None:
            if data[0] <= _CR and data != b"\r":
                return self._skip_empty_line(data)
            self._scout = httptools.HttpRequestParser(self)
        searched = max(0, len(self.kept) - 3)
        self.kept += data
        if self.kept.find(b"\r\n\r\n", searched) >= 0:
            self._scout = None
            return self._take_kept()
        if len(self.kept) > self._max_head_bytes:
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
            raise MalformedError(str(error)) from error

    def _check_head(self, head: RequestHead, request_line: bytes) -> bool:
        """See to what llhttp leaves to us: version, target, Host, framing, and what Connection means."""
        parts = request_line.split(b" ")
        if len(parts) != 3:
            raise MalformedError("not a request line")
        method, target, version = parts
        head.method = method
        if version != b"HTTP/1.1" and not self._check_version(head, version):
            return False
        if method == b"CONNECT":
            self._refuse_connect(target)
            return False
        connection, upgrade = self._apply_marked(head)
        path = self._targets.plain.get(target)
        if path is not None:
            head.path = path
        else:
            self._split_target(head, target)
        if not head.marks & _HOST and head.minor:
            raise MalformedError("HTTP/1.1 without Host")
        if head.marks & _CODING:
            self._check_coding(head)
        self._named = self._apply_connection(head, connection, upgrade) if connection else NOTHING_NAMED
        head.host = self._hosts.get(head.authority) or self._look_up_host(head)
        return True

    def _apply_marked(self, head: RequestHead) -> tuple[bytes, bytes]:
        """Take over what the marked fields say; the values of Connection and Upgrade are returned."""
        connection = upgrade = b""
        marks = 0
        fields = self._reader.marked
        for at in range(1, len(fields), 3):
            name, value = fields[at], fields[at + 1].rstrip()
            mark = self._names.mark(name)
            if mark & marks & _ONCE:
                raise MalformedError(f"{name.decode()} is there twice")
            marks |= mark
            if mark == _HOST:
                head.authority = value
            elif mark == _LENGTH:
                head.length = parse_length(value)
            elif mark == _CONNECTION:
                connection = connection + b"," + value if connection else value
            elif mark == _UPGRADE:
                upgrade = upgrade + b"," + value if upgrade else value
            elif mark == _CODING:
                check_coding(value)
            elif not mark & _DROPPED:
                head.add(name.lower(), value)
        head.marks = marks
        return connection, upgrade

    def _check_version(self, head: RequestHead, version: bytes) -> bool:
        if version != b"HTTP/1.0":
            self._fail(VERSION_UNSUPPORTED, "only HTTP/1.0 and HTTP/1.1 are spoken here")
            return False
        head.minor = 0
        head.keep_alive = False
        return True

    def _split_target(self, head: RequestHead, target: bytes) -> None:
        head.path, head.query, authority = split_target(target, head.method)
        if authority is None:
            self._targets.learn(target, head.path, head.query)
        elif not head.marks & _HOST:
            if not head.minor:
                head.authority = authority
                head.marks |= _HOST
        elif authority.lower() != head.authority.lower():
            raise MalformedError("Host differs from the target's authority")

    def _check_coding(self, head: RequestHead) -> None:
        if head.marks & _LENGTH:
            raise MalformedError("both Transfer-Encoding and Content-Length")
        if not head.minor:
            raise MalformedError("Transfer-Encoding in HTTP/1.0")
        head.length = CHUNKED

    def _look_up_host(self, head: RequestHead) -> str:
        return self._authorities.look_up(head.authority) if head.marks & _HOST else ""

    def _apply_connection(self, head: RequestHead, connection: bytes, upgrade: bytes) -> list[bytes]:
        named = parse_tokens(connection)
        if b"close" in named:
            head.keep_alive = False
        elif b"keep-alive" in named:
            head.keep_alive = True
        if b"upgrade" in named and head.minor and not head.length:
            head.upgrade = _choose_upgrade(upgrade)
        head.remove_named(named)
        return named

    def _refuse_connect(self, target: bytes) -> None:
        if b":" not in target or b"/" in target:
            raise MalformedError("the target of CONNECT is not in authority-form")
        self._fail(METHOD_UNSUPPORTED, "CONNECT is not supported")

    # Bodies

    def _begin_body(self, head: RequestHead, data: bytes, end: int) -> bytes:
        length = head.length
        if not length:
            self.state = _DONE
            self._handler.on_request(head, b"", True)
            return data[end:]
        if length == CHUNKED:
            return self._begin_chunks(head, data[end:])
        body = data[end : end + length]
        self._left = left = length - len(body)
        self.state = _BODY if left else _DONE
        self._handler.on_request(head, body, not left)
        return data[end + length :]

    def _begin_chunks(self, head: RequestHead, data: bytes) -> bytes:
        self._chunked = chunked = ChunkedDecoder(self._named)
        head.trailers = chunked.trailers
        body = chunked.feed(data)
        self.state = _DONE if chunked.ended else _IN_CHUNKS
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
        self.state = _DONE
        self._handler.on_request_body(body, True)
        return rest

    def _feed_chunked(self, data: bytes) -> bytes:
        chunked = self._chunked
        assert chunked is not None
        body = chunked.feed(data)
        if chunked.ended:
            self.state = _DONE
        if body or chunked.ended:
            self._handler.on_request_body(body, chunked.ended)
        return chunked.rest

    def _fail(self, failure: Failure, reason: str) -> None:
        self.stop()
        self._handler.on_request_malformed(failure, reason)


def _choose_upgrade(value: bytes) -> bytes:
    """WebSocket is the one protocol that is let through; others are ignored, as a server may (RFC 9110 §7.8)."""
    return b"websocket" if b"websocket" in parse_tokens(value) else b""
