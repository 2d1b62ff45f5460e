"""The head of a message, as all codecs give it and all filters see it.

The fields stand in a `block`, as they go on the wire: each behind a CRLF, `name: value`, in the order and the spelling
they came in. Most heads pass through as that block; only who asks for a field, or edits one, has it read. A head
in hand has been checked: the block holds no hop-by-hop field, no framing field and no Host; what these said stands in
attributes, and the codec that writes the message frames it anew.
"""

import re
from collections.abc import Collection, Iterable
from typing import Final

from turnout.proxy.http.names import REQUEST_MARKS

Fields = list[tuple[bytes, bytes]]
Data = bytes | memoryview
"""Bytes of a body; a large piece is looked at where it was received, and not copied."""

UNTIL_CLOSE: Final = -1
CHUNKED: Final = -2
"""`length` is the body's size in bytes, or one of these two."""

MAX_ANSWERS: Final = 64

NO_FIELDS: Final[Fields] = []
"""The trailers of a message that has none; never changed."""

NO_SECRETS: Final[frozenset[bytes]] = frozenset()

NO_NAMES: Final[list[bytes]] = []
"""What Connection names in a message that has none; never changed."""

_NOT_NAMES: Final = frozenset({b"close", b"keep-alive", b"upgrade", b"te"})
_find_fields: Final = re.compile(rb"\r\n([^:]+):[ \t]*([^\r]*)").findall


def make_block(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Fields in the form in which a head has them."""
    return b"".join([b"\r\n%b: %b" % field for field in fields])


def read_block(block: bytes) -> Fields:
    """The fields of a block; names in lower case."""
    return [(name.lower(), value.rstrip(b" \t")) for name, value in _find_fields(block)]


class Head:
    """What requests and responses share. Names that are asked for or added are in lower case.

    `named` is what Connection named, in lower case: such a field was removed, and may not come as a trailer either.
    `secrets` are the names of fields that no HPACK table may learn, since they came so (RFC 7541 §7.1.3).
    """

    __slots__ = ("_answers", "_fields", "_lower", "block", "length", "marks", "named", "secrets", "trailers")

    def __init__(self, fields: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self.block = make_block(fields) if fields else b""
        self.marks = 0
        self.length = 0
        self.trailers = NO_FIELDS
        self.named = NO_NAMES
        self.secrets = NO_SECRETS
        self._fields: Fields | None = None
        self._lower: bytes | None = None
        self._answers: dict[bytes, bytes | None] | None = None

    @property
    def fields(self) -> Fields:
        """Name, in lower case, and value of each field; a list to be read, not changed. Copies share what was read."""
        if self._fields is None:
            self._fields = read_block(self.block)
        return self._fields

    def get(self, name: bytes) -> bytes | None:
        """The value of a field, several joined by a comma (RFC 9110 §5.3); None if it is not there."""
        answers = self._answers
        if answers is None or name in REQUEST_MARKS:
            return self._read(name)
        if name not in answers:
            if len(answers) >= MAX_ANSWERS:
                return self._read(name)
            answers[name] = self._read(name)
        return answers[name]

    def _read(self, name: bytes) -> bytes | None:
        if self._lower is None:
            self._lower = self.block.lower()
        if b"\r\n%b:" % name not in self._lower:
            return None
        return b",".join([value for key, value in self.fields if key == name])

    def find(self, name: bytes) -> bytes | None:
        """`get` for a name that has a Mark: codecs write these in lower case, so the fields need not be read."""
        block, start = self.block, b"\r\n%b: " % name
        at = block.find(start)
        if at < 0:
            return None
        if block.find(start, at + 2) >= 0:
            return self.get(name)
        end = block.find(b"\r\n", at + 2)
        return block[at + len(start) : end if end >= 0 else None]

    def add(self, name: bytes, value: bytes) -> None:
        self.add_block(b"\r\n%b: %b" % (name, value))

    def add_block(self, block: bytes) -> None:
        """Add fields that are in their form already."""
        self.add_marked(block)
        self._answers = None

    def add_marked(self, block: bytes) -> None:
        """Add fields that are in their form already, whose names all have a Mark."""
        self.block += block
        self._lower = None
        if self._fields is not None:
            self._fields = self._fields + read_block(block)

    def add_read(self, block: bytes, fields: Fields) -> None:
        """The same, of a block that has been read."""
        self.block += block
        self._lower = None
        if self._fields is not None:
            self._fields = self._fields + fields

    def add_with_id(self, start: bytes, fields: Fields, request_id: bytes) -> None:
        """Add `start`, which reads as `fields` and ends with the name of the id's field, and the id."""
        self.block += start + request_id
        self._lower = None
        if self._fields is not None:
            self._fields = [*self._fields, *fields, (b"x-request-id", request_id)]

    def add_with_trace(self, start: bytes, fields: Fields, request_id: bytes, traceparent: bytes) -> None:
        """The same, with the trace that begins with the id."""
        self.block = b"".join((self.block, start, request_id, b"\r\ntraceparent: ", traceparent))
        self._lower = None
        if self._fields is not None:
            own = (b"x-request-id", request_id), (b"traceparent", traceparent)
            self._fields = [*self._fields, *fields, *own]

    def set_block(self, block: bytes) -> None:
        """Replace all fields."""
        self.block = block
        self._fields = self._lower = self._answers = None

    def share_answers(self) -> None:
        """Let what `get` finds in one copy of this head be known to all; fields with a Mark each has for itself."""
        self._answers = {}

    def set_fields(self, fields: Fields) -> None:
        """Replace all fields by these, whose names are in lower case; the list is not to be changed any more."""
        self.set_block(make_block(fields))
        self._fields = fields

    def put(self, name: bytes, value: bytes) -> None:
        """`set` for a name that has a Mark, and is there once or not at all: the fields need not be read."""
        block, start = self.block, b"\r\n%b: " % name
        at = block.find(start)
        if at < 0:
            self.add_read(start + value, [(name, value)])
            return
        end = block.find(b"\r\n", at + 2)
        self.block = block[: at + len(start)] + value + (block[end:] if end >= 0 else b"")
        self._lower = None
        if self._fields is not None:
            self._fields = [(key, value if key == name else old) for key, old in self._fields]

    def set(self, name: bytes, value: bytes) -> None:
        self.remove((name,))
        self.add(name, value)

    def remove(self, names: Collection[bytes]) -> None:
        self.set_fields([field for field in self.fields if field[0] not in names])

    def remove_named(self, tokens: list[bytes]) -> None:
        """Remove the fields that Connection names (RFC 9110 §7.6.1)."""
        self.named = tokens
        names = set(tokens) - _NOT_NAMES
        if names:
            self.remove(names)


class RequestHead(Head):
    """A request. `path` is normalised and without its query; `host` is in lower case and without its port.

    `traceparent` is that of the request, empty if it has none that is valid; once a trace was begun here, of our span.
    `minor` is 0 or 1 for HTTP/1, and 2 for HTTP/2. `grpc`: it is a call of gRPC, over HTTP/2; its `grpc-timeout` is
    `grpc_timeout` and no field.
    """

    __slots__ = (
        "authority", "grpc", "grpc_timeout", "host", "keep_alive", "method", "minor", "path", "query", "request_id",
        "traceparent", "upgrade",
    )  # fmt: skip

    # Written out, and not by super(): one is made for each request.
    def __init__(self, fields: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self.block = make_block(fields) if fields else b""
        self.marks = self.length = 0
        self.trailers = NO_FIELDS
        self.named = NO_NAMES
        self.secrets = NO_SECRETS
        self._fields = self._lower = self._answers = None
        self.method = self.path = self.authority = self.request_id = self.traceparent = self.upgrade = b""
        self.grpc_timeout = b""
        self.query: bytes | None = None
        self.host = ""
        self.minor = 1
        self.keep_alive = True
        self.grpc = False

    def copy(self) -> "RequestHead":
        """The same head, for changes of its own. Not for one with trailers, which belong to one message."""
        head = RequestHead.__new__(RequestHead)
        head.block = self.block
        head.marks = self.marks
        head.length = self.length
        head.trailers = NO_FIELDS
        head.named = self.named
        head.secrets = self.secrets
        head._fields = self._fields
        head._lower = None
        head._answers = self._answers
        head.method = self.method
        head.path = self.path
        head.query = self.query
        head.authority = self.authority
        head.host = self.host
        head.request_id = self.request_id
        head.traceparent = self.traceparent
        head.upgrade = self.upgrade
        head.minor = self.minor
        head.keep_alive = self.keep_alive
        head.grpc = self.grpc
        head.grpc_timeout = self.grpc_timeout
        return head

    def takes_for_tunnel(self, status: int) -> bool:
        """Whether its client would take a plain answer of this status for the tunnel that it asked for: any 2xx is
        success to an extended CONNECT (RFC 8441 §5), where HTTP/1 has 101 for it (RFC 6455 §4.1)."""
        return self.minor == 2 and bool(self.upgrade) and 200 <= status < 300

    @property
    def trace_id(self) -> bytes:
        """32 hex digits; empty if the request belongs to no trace."""
        return self.traceparent[3:35]

    @property
    def target(self) -> bytes:
        return self.path if self.query is None else self.path + b"?" + self.query


class ResponseHead(Head):
    """A response; `keep_alive_s` is the upstream's `Keep-Alive: timeout=`, None if it says nothing.

    `bodyless`: no body follows, whatever `length` says (an answer to HEAD, 204, 304; RFC 9112 §6.3).
    """

    __slots__ = ("bodyless", "keep_alive", "keep_alive_s", "status", "upgrade")

    def __init__(self, fields: Iterable[tuple[bytes, bytes]] = (), status: int = 0) -> None:
        self.block = make_block(fields) if fields else b""
        self.marks = self.length = 0
        self.trailers = NO_FIELDS
        self.named = NO_NAMES
        self.secrets = NO_SECRETS
        self._fields = self._lower = self._answers = None
        self.status = status
        self.bodyless = False
        self.keep_alive = True
        self.keep_alive_s: float | None = None
        self.upgrade = b""

    def copy(self) -> "ResponseHead":
        """The same head, for changes of its own. Not for one with trailers, which belong to one message."""
        head = ResponseHead.__new__(ResponseHead)
        head.block = self.block
        head.marks = self.marks
        head.length = self.length
        head.trailers = NO_FIELDS
        head.named = self.named
        head.secrets = self.secrets
        head._fields = self._fields
        head._lower = None
        head._answers = self._answers
        head.status = self.status
        head.bodyless = self.bodyless
        head.keep_alive = self.keep_alive
        head.keep_alive_s = self.keep_alive_s
        head.upgrade = self.upgrade
        return head
