"""The head of a message, as all codecs give it and all filters see it.

Fields are pairs of bytes in the order they came, names in lower case. A head in hand has been checked: it holds
no hop-by-hop field, no framing field and no Host; what these said stands in attributes, and the codec that
writes the message frames it anew.
"""

from collections.abc import Collection

Fields = list[tuple[bytes, bytes]]

UNTIL_CLOSE = -1
CHUNKED = -2
"""`length` is the body's size in bytes, or one of these two."""


NO_FIELDS: Fields = []
"""The trailers of a message that has none; never changed."""

_NOT_NAMES = frozenset({b"close", b"keep-alive", b"upgrade", b"te"})


class Head:
    """What requests and responses share. Once made, `fields` is changed through the methods only."""

    __slots__ = ("_index", "fields", "length", "marks", "trailers")

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        self.marks = 0
        self.length = 0
        self.trailers: Fields = NO_FIELDS
        self._index: dict[bytes, bytes] | None = None

    def get(self, name: bytes) -> bytes | None:
        """The value of a field, several joined by a comma (RFC 9110 §5.3); None if it is not there."""
        index = self._index
        if index is None:
            index = self._index = self._make_index()
        return index.get(name)

    def add(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))
        self._index = None

    def set(self, name: bytes, value: bytes) -> None:
        self.remove((name,))
        self.fields.append((name, value))

    def remove(self, names: Collection[bytes]) -> None:
        self.fields = [field for field in self.fields if field[0] not in names]
        self._index = None

    def remove_named(self, tokens: list[bytes]) -> None:
        """Remove the fields that Connection names (RFC 9110 §7.6.1)."""
        names = [token for token in tokens if token not in _NOT_NAMES]
        if names:
            self.remove(names)

    def _make_index(self) -> dict[bytes, bytes]:
        index = dict(self.fields)
        if len(index) != len(self.fields):
            index = {}
            for name, value in self.fields:
                index[name] = index[name] + b"," + value if name in index else value
        return index


class RequestHead(Head):
    """A request. `path` is normalised and without its query; `host` is in lower case and without its port."""

    __slots__ = ("authority", "host", "keep_alive", "method", "minor", "path", "query", "request_id", "upgrade")

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        self.marks = 0
        self.length = 0
        self.trailers = NO_FIELDS
        self._index = None
        self.method = self.path = self.authority = self.request_id = self.upgrade = b""
        self.query: bytes | None = None
        self.host = ""
        self.minor = 1
        self.keep_alive = True

    @property
    def target(self) -> bytes:
        return self.path if self.query is None else self.path + b"?" + self.query


class ResponseHead(Head):
    """A response; `keep_alive_s` is the upstream's `Keep-Alive: timeout=`, None if it says nothing.

    `bodyless`: no body follows, whatever `length` says (an answer to HEAD, 204, 304; RFC 9112 §6.3).
    """

    __slots__ = ("bodyless", "keep_alive", "keep_alive_s", "status", "upgrade")

    def __init__(self, fields: Fields, status: int = 0) -> None:
        self.fields = fields
        self.marks = 0
        self.length = 0
        self.trailers = NO_FIELDS
        self._index = None
        self.status = status
        self.bodyless = False
        self.keep_alive = True
        self.keep_alive_s: float | None = None
        self.upgrade = b""
