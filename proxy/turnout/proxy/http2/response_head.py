"""A response's head from the fields of an HTTP/2 stream (RFC 9113 §8.3.2)."""

from typing import Final

from turnout.proxy.http.fields import MalformedError, parse_length
from turnout.proxy.http.head import CHUNKED, ResponseHead
from turnout.proxy.http.known import KnownHeads
from turnout.proxy.http.names import RESPONSE_MARKS, Mark
from turnout.proxy.http2.fields import Marks, Trailers, size_of
from turnout.proxy.http2.never_indexed import FieldTuple, find_secrets

_LENGTH: Final = int(Mark.CONTENT_LENGTH)
_COLON: Final = 58


class LastAnswer:
    """The head of the last answer on a connection, and what it was read from: the next is the same, most likely, and to
    compare two costs less than to look one up."""

    __slots__ = ("end", "fields", "head", "kinds")

    def __init__(self) -> None:
        self.fields: FieldTuple = ()
        self.kinds: tuple[type, ...] = ()
        self.end = False
        self.head = ResponseHead()

    def keep(self, fields: FieldTuple, end: bool, head: ResponseHead) -> None:
        """They were read as `head`."""
        self.fields = fields
        self.kinds = tuple(map(type, fields))
        self.end = end
        self.head = head

    def is_of(self, fields: FieldTuple) -> bool:
        """Whether these say the same."""
        return fields is self.fields or (fields == self.fields and tuple(map(type, fields)) == self.kinds)


class ResponseHeads:
    """Reads heads; one for all connections of a worker. It keeps what it has learned, and nothing of any connection."""

    __slots__ = ("_known", "_marks", "_max_bytes", "trailers")

    def __init__(self, max_head_bytes: int) -> None:
        self._marks = Marks(RESPONSE_MARKS)
        self._known: KnownHeads[tuple[FieldTuple, bool, frozenset[bytes]], ResponseHead] = KnownHeads()
        self._max_bytes = max_head_bytes
        self.trailers = Trailers()

    def read(self, fields: FieldTuple, end: bool, last: LastAnswer | None = None) -> ResponseHead:
        """The head in `fields`; `end`: no body follows; `last`: of the same connection. Raises MalformedError."""
        if last is not None and end == last.end and last.is_of(fields):
            return last.head.copy()
        key = fields, end, find_secrets(fields)
        known = self._known.heads.get(key)
        if known is not None:
            if last is not None:
                last.keep(fields, end, known)
            return known.copy()
        size = size_of(fields)
        if size > self._max_bytes:
            raise MalformedError("the head is too large")
        head = self._read(fields, end)
        head.secrets = key[2]
        if self._known.comes_again(key, size):
            self._known.keep(key, head)
        return head

    def _read(self, fields: FieldTuple, end: bool) -> ResponseHead:
        head = ResponseHead()
        kept: list[tuple[bytes, bytes]] = []
        for name, value in fields:
            if name[0] == _COLON:
                head.status = _parse_status(value)
                continue
            mark = self._marks.find(name)
            head.marks |= mark
            if mark == _LENGTH:
                head.length = parse_length(value)
            elif not mark:
                kept.append((name, value))
        head.set_fields(kept)
        if not end and not head.marks & _LENGTH:
            head.length = CHUNKED
        return head


def _parse_status(value: bytes) -> int:
    if len(value) != 3 or not value.isdigit() or not 100 <= int(value) <= 599:
        raise MalformedError("a status that is none")
    if value == b"101":
        raise MalformedError("a 101, which HTTP/2 does not have")
    return int(value)
