"""The chunked transfer coding (RFC 9112 §7.1), read strictly and told on without its framing.

Each line ends with CRLF and nothing else; a size is hex digits only; extensions are read over, within a bound
and with no control byte in them; trailers are kept if they may come late. After a chunk's data (`_left` bytes of it)
comes a line; which one is expected is the state: SIZE → (data) → DATA_END → SIZE …, and TRAILER after the last
chunk.
"""

import re
from collections.abc import Collection
from enum import Enum
from typing import Final

from turnout.proxy.http.fields import MalformedError, parse_trailer
from turnout.proxy.http.head import Fields

MAX_LINE_BYTES: Final = 4_096
MAX_TRAILER_BYTES: Final = 16_384

_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?\Z")


class _Expect(Enum):
    SIZE = "size"
    DATA_END = "data end"
    TRAILER = "trailer"


class ChunkedDecoder:
    """Takes bytes, gives body bytes. Once `ended`, `rest` holds what came behind the message."""

    __slots__ = ("_dropped", "_expect", "_left", "_line", "_trailer_bytes", "ended", "rest", "trailers")

    def __init__(self, dropped: Collection[bytes] = ()) -> None:
        self._dropped = frozenset(dropped)
        self._expect = _Expect.SIZE
        self._left = 0
        self._line = b""
        self._trailer_bytes = 0
        self.ended = False
        self.rest = b""
        self.trailers: Fields = []

    def feed(self, data: bytes) -> bytes:
        """The body bytes in `data`, those of all its chunks together. Raises MalformedError."""
        pieces: list[bytes] = []
        position = 0
        while position < len(data) and not self.ended:
            if self._left:
                piece = data[position : position + self._left]
                pieces.append(piece)
                position += len(piece)
                self._left -= len(piece)
            else:
                position = self._feed_line(data, position)
        if self.ended:
            self.rest = data[position:]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _feed_line(self, data: bytes, position: int) -> int:
        limit = 1 if self._expect is _Expect.DATA_END else MAX_LINE_BYTES
        end = data.find(b"\n", position)
        line = self._line + data[position : end if end >= 0 else len(data)]
        if len(line) > limit:
            raise MalformedError("a line of the chunked coding is too long")
        if end < 0:
            self._line = line
            return len(data)
        self._line = b""
        if line[-1:] != b"\r":
            raise MalformedError("a line of the chunked coding does not end with CRLF")
        self._on_line(line[:-1])
        return end + 1

    def _on_line(self, line: bytes) -> None:
        if self._expect is _Expect.SIZE:
            match = _SIZE_LINE.match(line)
            if match is None:
                raise MalformedError("invalid chunk size")
            self._left = int(match[1], 16)
            self._expect = _Expect.DATA_END if self._left else _Expect.TRAILER
        elif self._expect is _Expect.DATA_END:
            self._expect = _Expect.SIZE
        elif line:
            self._on_trailer(line)
        else:
            self.ended = True

    def _on_trailer(self, line: bytes) -> None:
        self._trailer_bytes += len(line)
        if self._trailer_bytes > MAX_TRAILER_BYTES:
            raise MalformedError("the trailers are too large")
        field = parse_trailer(line)
        if field is not None and field[0] not in self._dropped:
            self.trailers.append(field)
