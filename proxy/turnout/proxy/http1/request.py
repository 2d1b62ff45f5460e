"""Requests from the bytes of one downstream connection, sans I/O (RFC 9112).

A whole head goes to `RequestHeads`; the framing of the body is done here, so that we know where a message ends to
the byte: what is behind it is the next request, and it stays here until `next()`. States:

    HEAD  bytes are gathered up to the empty line; a head in pieces is also shown to a parser as it comes,
          so that what can't become a request is refused at once
    BODY  Content-Length bytes are told on as they come
    CHUNKED
    DONE  the message is complete; what comes is kept for `next()`
    TUNNEL  everything is told on as it comes (after a 101)
    FAILED  nothing is read any more
"""

from enum import IntEnum
from typing import Final, Protocol

import httptools

from turnout.proxy.errors import HEAD_TOO_LARGE, MALFORMED, Failure
from turnout.proxy.http.fields import MalformedError, RefusedError
from turnout.proxy.http.head import CHUNKED, Data, RequestHead
from turnout.proxy.http1.chunked import ChunkedDecoder
from turnout.proxy.http1.heads import COPIED_BYTES
from turnout.proxy.http1.request_head import RequestHeads

PREFACE_HEAD: Final = b"PRI * HTTP/2.0\r\n\r\n"
"""What a client of HTTP/2 begins with, as far as it looks like a head (RFC 9113 §3.4)."""
MAX_EMPTY_LINES: Final = 4
"""Empty lines that are read over before a request line (RFC 9112 §2.2)."""

_CR: Final = 13


class RequestHandler(Protocol):
    """Who is told what a connection asks. `end` comes exactly once a request, unless it fails."""

    def on_request(self, head: RequestHead, data: Data, end: bool) -> None: ...

    def on_request_body(self, data: bytes, end: bool) -> None: ...

    def on_request_malformed(self, failure: Failure, reason: str) -> None: ...

    def on_preface(self, data: bytes) -> None:
        """It is not HTTP/1, but HTTP/2: `data` is all that came, and nothing is told any more."""

    def on_tunnel_data(self, data: bytes) -> None: ...


class State(IntEnum):
    """The states by name; on the way of a request the plain numbers below are used, which are quicker to get at."""

    HEAD = 0
    BODY = 1
    CHUNKED = 2
    DONE = 3
    TUNNEL = 4
    FAILED = 5


_HEAD: Final = int(State.HEAD)
_BODY: Final = int(State.BODY)
_IN_CHUNKS: Final = int(State.CHUNKED)
_DONE: Final = int(State.DONE)
_TUNNEL: Final = int(State.TUNNEL)
_FAILED: Final = int(State.FAILED)


class RequestDecoder:
    """Tells `handler` the requests in what `feed` gets, one at a time."""

    __slots__ = (
        "_chunked", "_empty_lines", "_handler", "_has_begun", "_heads", "_known", "_left", "_max_head_bytes",
        "_running", "_scout", "kept", "state",
    )  # fmt: skip

    def __init__(self, handler: RequestHandler, heads: RequestHeads, max_head_bytes: int) -> None:
        self._handler = handler
        self._heads = heads
        self._known = heads.known
        self._max_head_bytes = max_head_bytes
        self.kept = bytearray()
        """Bytes that wait: of a head that is not complete, or of requests to come."""
        self._left = 0
        self._empty_lines = 0
        self._chunked: ChunkedDecoder | None = None
        self._scout: httptools.HttpRequestParser | None = None
        self._running = self._has_begun = False
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
        except RefusedError as refused:
            self._fail(refused.failure, "")
        finally:
            self._running = False

    def next(self) -> None:
        """The answer to the last request is out: read on."""
        if self.state == _DONE:
            self.state = _HEAD
            self._empty_lines = 0
            self._has_begun = True
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
        raw = data if end == len(data) else data[:end]
        known = self._known.get(raw)
        if known is not None:
            return self._begin_body(known.copy(), data, end)
        if data[0] <= _CR:
            return self._skip_empty_line(data)
        if end > self._max_head_bytes:
            self._fail(HEAD_TOO_LARGE, "the head is too large")
            return b""
        try:
            head = self._heads.read(raw)
        except (MalformedError, RefusedError):
            if raw != PREFACE_HEAD or self._has_begun:
                raise
            self.stop()
            self._handler.on_preface(data)
            return b""
        return self._begin_body(head, data, end)

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

    # Bodies

    def _begin_body(self, head: RequestHead, data: bytes, end: int) -> bytes:
        length = head.length
        if not length:
            self.state = _DONE
            self._handler.on_request(head, b"", True)
            return data[end:]
        if length == CHUNKED:
            return self._begin_chunks(head, data[end:])
        source: Data = data if len(data) < COPIED_BYTES else memoryview(data)
        body = source[end : end + length]
        self._left = left = length - len(body)
        self.state = _BODY if left else _DONE
        self._handler.on_request(head, body, not left)
        return data[end + length :]

    def _begin_chunks(self, head: RequestHead, data: bytes) -> bytes:
        self._chunked = chunked = ChunkedDecoder(head.named)
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
