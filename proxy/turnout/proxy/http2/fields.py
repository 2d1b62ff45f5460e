"""What the fields of an HTTP/2 message are to us (RFC 9113 §8.2): which of them need care.

libnghttp2 has refused a message with connection-specific fields, upper case, control characters, pseudo-fields out of
place, or a Content-Length that its DATA frames do not add up to. What it leaves to us is checked by who reads a head.
"""

from turnout.proxy.http.fields import MalformedError
from turnout.proxy.http.head import Fields
from turnout.proxy.http.known import MAX_KNOWN
from turnout.proxy.http.names import FORBIDDEN_IN_TRAILERS, STEERING_PREFIXES, Mark
from turnout.proxy.http2.never_indexed import FieldTuple, has_secrets, keep_allowed

MAX_LEARNED = 2_048
MAX_LEARNED_BYTES = 64
MAX_KNOWN_BYTES = 256
FIELD_OVERHEAD_BYTES = 32
"""What a field counts beside its bytes (RFC 9113 §10.5.1, RFC 7541 §4.1)."""


class Marks:
    """The mark of a field's name, which is in lower case; 0 for a plain one. Names are learned, within a bound."""

    __slots__ = ("_marks", "_steering")

    def __init__(self, marks: dict[bytes, int], *, steering: bool = False) -> None:
        self._marks = {name: int(mark) for name, mark in marks.items()}
        self._steering = STEERING_PREFIXES if steering else ()

    def find(self, name: bytes) -> int:
        mark = self._marks.get(name)
        if mark is None:
            mark = int(Mark.STEERING) if name.startswith(self._steering) else 0
            if len(name) <= MAX_LEARNED_BYTES and len(self._marks) < MAX_LEARNED:
                self._marks[name] = mark
        return mark


def size_of(fields: FieldTuple) -> int:
    """What SETTINGS_MAX_HEADER_LIST_SIZE bounds."""
    return sum([len(name) + len(value) + FIELD_OVERHEAD_BYTES for name, value in fields])


class Trailers:
    """Reads trailers; one for all connections of a worker. Most are among few, so those are known, within a bound."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[FieldTuple, Fields] = {}

    def read(self, fields: FieldTuple) -> Fields:
        """Those that may be passed on (RFC 9110 §6.5.1); a list to be read, not changed. Raises MalformedError."""
        if has_secrets(fields):
            return read_trailers(fields)
        known = self._known.get(fields)
        if known is not None:
            return known
        trailers = read_trailers(fields)
        if size_of(fields) <= MAX_KNOWN_BYTES:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[fields] = trailers
        return trailers


def read_trailers(fields: FieldTuple) -> Fields:
    """The trailers that may be passed on (RFC 9110 §6.5.1). Raises MalformedError."""
    if any(name[:1] == b":" for name, _ in fields):
        raise MalformedError("a pseudo-field in trailers")
    return keep_allowed(fields, FORBIDDEN_IN_TRAILERS, STEERING_PREFIXES)
