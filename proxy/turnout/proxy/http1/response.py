"""Responses from the bytes of one upstream connection, sans I/O (RFC 9112 §6.3).

One request is in flight at a time: `expect` says which, since the framing of its answer depends on it. Interim
responses (1xx) are told as they come. What an upstream sends that is not a valid answer is a MalformedError, and
nothing of it is passed on.
"""

import re
from enum import IntEnum
from typing import Final, Protocol

from turnout.proxy.http.fields import MalformedError
from turnout.proxy.http.head import CHUNKED, Data, ResponseHead
from turnout.proxy.http1.chunked import ChunkedDecoder
from turnout.proxy.http1.heads import COPIED_BYTES
from turnout.proxy.http1.response_head import ResponseHeads

MAX_INTERIM: Final = 64
"""Interim responses to one request; more of them is an attack, not progress."""


class ResponseHandler(Protocol):
    """Who is told what an upstream answers. `end` comes exactly once, unless the answer fails."""

    def on_interim(self, head: ResponseHead) -> None: ...

    def on_response(self, head: ResponseHead, data: Data, end: bool) -> None: ...

    def on_response_body(self, data: bytes, end: bool) -> None: ...

    def on_tunnel_data(self, data: bytes) -> None: ...


class State(IntEnum):
    """The states by name; on the way of an answer the plain numbers below are used, which are quicker to get at."""

    IDLE = 0
    HEAD = 1
    BODY = 2
    CHUNKED = 3
    UNTIL_CLOSE = 4
    DONE = 5
    TUNNEL = 6
    OVERRUN = 7


_IDLE: Final = int(State.IDLE)
_HEAD: Final = int(State.HEAD)
_BODY: Final = int(State.BODY)
_IN_CHUNKS: Final = int(State.CHUNKED)
_UNTIL_CLOSE: Final = int(State.UNTIL_CLOSE)
_DONE: Final = int(State.DONE)
_TUNNEL: Final = int(State.TUNNEL)
_OVERRUN: Final = int(State.OVERRUN)
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")


class ResponseDecoder:
    """Tells `handler` the answer in what `feed` gets."""

    __slots__ = ("_chunked", "_handler", "_heads", "_interim", "_kept", "_known", "_left", "_max_head_bytes", "_method",
        "state",
    )  # fmt: skip

    def __init__(self, handler: ResponseHandler, heads: ResponseHeads, max_head_bytes: int) -> None:
        self._handler = handler
        self._heads = heads
        self._known = heads.known
        self._max_head_bytes = max_head_bytes
        self._method = b""
        self._kept = bytearray()
        self._left = 0
        self._interim = 0
        self._chunked: ChunkedDecoder | None = None
        self.state: int = _IDLE

    def __repr__(self) -> str:
        return f"<ResponseDecoder {State(self.state).name.lower()}>"

    def expect(self, method: bytes) -> None:
        """A request with this method was sent."""
        self._method = method
        self._interim = 0
        self.state = _HEAD

    def feed(self, data: bytes) -> None:
        """Take the bytes that came. Raises MalformedError, also for bytes that nobody asked for."""
        while data:
            state = self.state
            if state == _HEAD:
                data = self._feed_head(data)
            elif state == _BODY:
                data = self._feed_body(data)
            elif state == _IN_CHUNKS:
                data = self._feed_chunked(data)
            elif state == _UNTIL_CLOSE:
                self._handler.on_response_body(data, False)
                return
            elif state == _TUNNEL:
                self._handler.on_tunnel_data(data)
                return
            else:
                raise MalformedError("bytes that belong to no request")

    def feed_eof(self) -> bool:
        """The upstream closed. True if the answer is complete by that."""
        if self.state != _UNTIL_CLOSE:
            return False
        self.state = _DONE
        self._handler.on_response_body(b"", True)
        return True

    # Heads

    def _feed_head(self, data: bytes) -> bytes:
        end = -1 if self._kept else data.find(b"\r\n\r\n")
        if end < 0:
            return self._feed_partial_head(data)
        end += 4
        raw = data if end == len(data) else data[:end]
        known = self._known.get(raw)
        if known is not None:
            head = known.copy()
        elif end > self._max_head_bytes:
            raise MalformedError("the head is too large")
        else:
            head = self._heads.read(raw)
        if head.status < 200:
            return self._on_interim(head, data, end)
        return self._begin_body(head, data, end)

    def _feed_partial_head(self, data: bytes) -> bytes:
        """Keep what is there until the head is complete; then all of it is fed again, as one piece."""
        kept = self._kept
        searched = max(0, len(kept) - 3)
        kept += data
        if kept.find(b"\r\n\r\n", searched) >= 0:
            whole = bytes(kept)
            kept.clear()
            return whole
        if len(kept) > self._max_head_bytes:
            raise MalformedError("the head is too large")
        if not b"HTTP/1.".startswith(kept[:7]):
            raise MalformedError("not a status line")
        if _BARE_LF.search(kept, searched):
            raise MalformedError("a line of the head does not end with CRLF")
        return b""

    def _on_interim(self, head: ResponseHead, data: bytes, end: int) -> bytes:
        self._interim += 1
        if self._interim > MAX_INTERIM:
            raise MalformedError("too many interim responses")
        if head.status == 101:
            self.state = _TUNNEL
        self._handler.on_interim(head)
        return data[end:]

    # Bodies

    def _begin_body(self, head: ResponseHead, data: bytes, end: int) -> bytes:
        length = head.length
        head.bodyless = self._method == b"HEAD" or head.status in (204, 304)
        if length == 0 or head.bodyless:
            self.state = _DONE if len(data) == end else _OVERRUN
            self._handler.on_response(head, b"", True)
            return data[end:]
        if length > 0:
            source: Data = data if len(data) < COPIED_BYTES else memoryview(data)
            body = source[end : end + length]
            self._left = length - len(body)
            self.state = _BODY if self._left else _DONE if len(data) == end + length else _OVERRUN
            self._handler.on_response(head, body, not self._left)
            return data[end + length :]
        if length == CHUNKED:
            return self._begin_chunks(head, data[end:])
        head.keep_alive = False
        self.state = _UNTIL_CLOSE
        self._handler.on_response(head, data[end:], False)
        return b""

    def _begin_chunks(self, head: ResponseHead, data: bytes) -> bytes:
        self._chunked = chunked = ChunkedDecoder(head.named)
        head.trailers = chunked.trailers
        body = chunked.feed(data)
        if chunked.ended:
            self.state = _OVERRUN if chunked.rest else _DONE
        else:
            self.state = _IN_CHUNKS
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
        self.state = _OVERRUN if rest else _DONE
        self._handler.on_response_body(body, True)
        return rest

    def _feed_chunked(self, data: bytes) -> bytes:
        chunked = self._chunked
        assert chunked is not None
        body = chunked.feed(data)
        if chunked.ended:
            self.state = _OVERRUN if chunked.rest else _DONE
        if body or chunked.ended:
            self._handler.on_response_body(body, chunked.ended)
        return chunked.rest
