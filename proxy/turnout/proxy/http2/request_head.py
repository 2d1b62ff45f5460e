"""A request's head from the fields of an HTTP/2 stream (RFC 9113 §8.3.1).

The head is what it would be from HTTP/1.1, so all rooms above treat both alike. An extended CONNECT for WebSocket
(RFC 8441) becomes the GET with an Upgrade that it stands for; its key, which HTTP/2 does without, is made here.
"""

from base64 import b64encode
from collections.abc import Callable
from operator import itemgetter
from random import randbytes
from typing import Final

from turnout.proxy.errors import HEAD_TOO_LARGE, METHOD_UNSUPPORTED
from turnout.proxy.http.fields import MalformedError, RefusedError, parse_length
from turnout.proxy.http.head import CHUNKED, RequestHead
from turnout.proxy.http.known import MAX_KNOWN, MAX_KNOWN_BYTES, KnownHeads
from turnout.proxy.http.names import REQUEST_MARKS, Mark
from turnout.proxy.http.target import Authorities, Targets, split_target
from turnout.proxy.http2.fields import Marks, size_of
from turnout.proxy.http2.never_indexed import FieldTuple, find_secrets
from turnout.proxy.telemetry.trace.parent import read_traceparent

_HOST: Final = int(Mark.HOST)
_LENGTH: Final = int(Mark.CONTENT_LENGTH)
_TE: Final = int(Mark.TE)
_TRACEPARENT: Final = int(Mark.TRACEPARENT)
_GRPC_TIMEOUT: Final = int(Mark.GRPC_TIMEOUT)
_REQUEST_ID: Final = int(Mark.REQUEST_ID)
_UPGRADE: Final = int(Mark.UPGRADE)
_OWN: Final = {
    b"content-length": _LENGTH,
    b"grpc-timeout": _GRPC_TIMEOUT,
    b"traceparent": _TRACEPARENT,
    b"x-request-id": _REQUEST_ID,
}
"""Fields that are each request's own: heads are known without them."""
_MAX_OWN_BYTES: Final = 128
_GRPC = b"application/grpc"
_COLON = 58
_SCHEMES = frozenset({b"http", b"https"})

_get_name: Final = itemgetter(0)

Key = tuple[FieldTuple, bool, frozenset[bytes]]
"""The fields that a head shares with others, whether no body follows, and the names of all that are secret."""


class Layout:
    """Where in a head of these names the fields are that are each request's own, and the others; and what is secret.

    Every head has several others: libnghttp2 has refused those without their pseudo-fields.
    """

    __slots__ = ("get_shared", "kinds", "own", "own_names", "secrets")

    def __init__(self, names: tuple[bytes, ...], kinds: tuple[type, ...], secrets: frozenset[bytes]) -> None:
        self.kinds = kinds
        self.secrets = secrets
        self.own = [at for at, name in enumerate(names) if name in _OWN]
        self.own_names = [names[at] for at in self.own]
        self.get_shared: Callable[[FieldTuple], FieldTuple] = itemgetter(
            *[at for at, name in enumerate(names) if name not in _OWN]
        )


class LastHead:
    """What is known of the last head on a connection: the next says the same, most likely, and to compare two heads
    costs less than to look one up. Where even the tuple is the same (`engine.pyx`) there is nothing to compare."""

    __slots__ = ("_same", "_whole", "end", "head", "layout", "shared")

    def __init__(self) -> None:
        self.layout: Layout | None = None
        self.shared: FieldTuple = ()
        self.head = RequestHead()
        self.end = False
        self._same: FieldTuple = ()
        self._whole: RequestHead | None = None
        """What those fields, which came twice, were read as: with what is a request's own."""

    def keep(self, layout: Layout, shared: FieldTuple, end: bool, head: RequestHead) -> None:
        """`shared` and `end`, laid out so, were read as `head`."""
        self.layout = layout
        self.shared = shared
        self.end = end
        self.head = head
        self._whole = None

    def read(self, fields: FieldTuple, end: bool) -> RequestHead | None:
        """A head of its own for `fields`, if they say the same but for what is each request's own."""
        if fields is not self._same:
            self._same, self._whole = fields, None
            return self._compare(fields, end)
        if self._whole is not None and end == self.end:
            return self._whole.copy()
        head = self._compare(fields, end)
        self._whole = None if head is None else head.copy()
        return head

    def _compare(self, fields: FieldTuple, end: bool) -> RequestHead | None:
        layout = self.layout
        if layout is None or end != self.end or tuple(map(type, fields)) != layout.kinds:
            return None
        if not layout.own:
            return self.head.copy() if fields == self.shared else None
        if layout.get_shared(fields) != self.shared:
            return None
        own = [fields[at] for at in layout.own]
        if [field[0] for field in own] != layout.own_names:
            return None
        head = self.head.copy()
        return head if _fill(head, own) else None


class RequestHeads:
    """Reads heads; one for all connections of a worker. It keeps what it has learned, and nothing of any connection."""

    __slots__ = ("_authorities", "_known", "_layouts", "_marks", "_max_bytes", "_targets")

    def __init__(self, max_head_bytes: int) -> None:
        self._marks = Marks(REQUEST_MARKS, steering=True)
        self._authorities = Authorities()
        self._targets = Targets()
        self._known: KnownHeads[Key, RequestHead] = KnownHeads()
        self._layouts: dict[tuple[tuple[bytes, ...], tuple[type, ...]], Layout] = {}
        self._max_bytes = max_head_bytes

    def read(self, fields: FieldTuple, end: bool, last: LastHead | None = None) -> RequestHead:
        """The head in `fields`; `end`: no body follows; `last`: of the same connection. Raises MalformedError or
        RefusedError."""
        if last is not None:
            again = last.read(fields, end)
            if again is not None:
                return again
        names, kinds = tuple(map(_get_name, fields)), tuple(map(type, fields))
        layout = self._layouts.get((names, kinds)) or self._lay_out(names, kinds, fields)
        own = [fields[at] for at in layout.own] if layout.own else None
        shared = layout.get_shared(fields) if own else fields
        key = shared, end, layout.secrets
        known = self._known.heads.get(key)
        if known is not None:
            head = known.copy()
            if not own or _fill(head, own):
                if last is not None:
                    last.keep(layout, shared, end, known)
                return head
        size = size_of(fields)
        if size > self._max_bytes:
            raise RefusedError(HEAD_TOO_LARGE)
        head = self._read(fields, end)
        head.secrets = key[2]
        if known is None and self._known.comes_again(key, size):
            self._keep(key, self._read(shared, end) if own else head)
        return head

    def _lay_out(self, names: tuple[bytes, ...], kinds: tuple[type, ...], fields: FieldTuple) -> "Layout":
        layout = Layout(names, kinds, find_secrets(fields))
        if sum(map(len, names)) <= MAX_KNOWN_BYTES:
            if len(self._layouts) >= MAX_KNOWN:
                self._layouts.clear()
            self._layouts[names, kinds] = layout
        return layout

    def _keep(self, key: Key, head: RequestHead) -> None:
        if not head.marks & _UPGRADE:  # whose key is made anew for each
            head.secrets = key[2]
            self._known.keep(key, head)

    def _read(self, fields: FieldTuple, end: bool) -> RequestHead:
        head = RequestHead()
        head.minor = 2
        kept: list[tuple[bytes, bytes]] = []
        cookies: list[bytes] = []
        pseudo: dict[bytes, bytes] = {}
        host: bytes | None = None
        timeouts: list[bytes] = []
        for name, value in fields:
            if name[0] == _COLON:
                pseudo[name] = value
                continue
            mark = self._marks.find(name)
            if not mark:
                if name == b"cookie":
                    cookies.append(value)
                    continue
                if name == b"content-type" and value.startswith(_GRPC):
                    head.grpc = _is_grpc(value)
                elif name == b"grpc-timeout":
                    timeouts.append(value)
                    continue
                kept.append((name, value))
                continue
            again = mark & head.marks
            head.marks |= mark
            if mark == _HOST:
                if host is not None:
                    raise MalformedError("host is there twice")
                host = value
            elif mark == _LENGTH:
                head.length = parse_length(value)
            elif mark != _TE:
                kept.append((name, value))
                if mark == _TRACEPARENT:
                    head.traceparent = b"" if again else read_traceparent(value)
        if cookies:
            kept.append((b"cookie", b"; ".join(cookies)))  # §8.2.3
        if timeouts:
            if not head.grpc:
                kept += [(b"grpc-timeout", value) for value in timeouts]
            elif len(timeouts) > 1:
                raise MalformedError("grpc-timeout is there twice")
            else:
                head.grpc_timeout = timeouts[0]
                head.marks |= _GRPC_TIMEOUT
        head.set_fields(kept)
        self._apply_target(head, pseudo, host)
        if not end and not head.marks & _LENGTH and not head.upgrade:
            head.length = CHUNKED
        return head

    def _apply_target(self, head: RequestHead, pseudo: dict[bytes, bytes], host: bytes | None) -> None:
        head.method = pseudo[b":method"]
        if head.method == b"CONNECT":
            _apply_connect(head, pseudo)
        if pseudo[b":scheme"] not in _SCHEMES:
            raise MalformedError("a :scheme that is neither http nor https")
        target = pseudo[b":path"]
        path = self._targets.plain.get(target)
        if path is not None:
            head.path = path
        else:
            self._split_target(head, target)
        authority = pseudo.get(b":authority", b"")
        if not authority:
            authority = host or b""
        elif host is not None and host.lower() != authority.lower():
            raise MalformedError("host differs from :authority")
        head.authority = authority
        head.marks |= _HOST
        head.host = self._authorities.hosts.get(authority) or self._authorities.look_up(authority)

    def _split_target(self, head: RequestHead, target: bytes) -> None:
        if target[:1] != b"/" and target != b"*":
            raise MalformedError("the :path is not in origin-form")
        if not target.isascii():  # libnghttp2 lets it through; in HTTP/1 it is refused by llhttp
            raise MalformedError("a byte above ASCII in the :path")
        head.path, head.query, _ = split_target(target, head.method)
        self._targets.learn(target, head.path, head.query)


def refused_head(fields: FieldTuple) -> RequestHead:
    """What an answer to a head that can't be read has to know of it: whether it is one to a call of gRPC."""
    head = RequestHead()
    head.minor = 2
    head.grpc = any(name == b"content-type" and _is_grpc(value) for name, value in fields)
    return head


def _is_grpc(content_type: bytes) -> bool:
    """`application/grpc`, perhaps with a `+` and a format, or with parameters (grpc/doc/PROTOCOL-HTTP2.md)."""
    rest = content_type.removeprefix(_GRPC)
    return rest != content_type and (not rest or rest[:1] in (b"+", b";"))


def _fill(head: RequestHead, own: list[tuple[bytes, bytes]]) -> bool:
    """Add a request's own fields to what is known of it; whether that could be done, so that it need not be read."""
    for field in own:
        name, value = field
        mark = _OWN[name]
        if mark & head.marks or len(value) > _MAX_OWN_BYTES:
            return False
        if mark == _LENGTH:
            head.length = parse_length(value)
        elif mark == _GRPC_TIMEOUT:
            if not head.grpc:
                return False
            head.grpc_timeout = value
        else:
            head.add_read(b"\r\n%b: %b" % field, [(name, value)])
            if mark == _TRACEPARENT:
                head.traceparent = read_traceparent(value)
        head.marks |= mark
    return True


def _apply_connect(head: RequestHead, pseudo: dict[bytes, bytes]) -> None:
    if pseudo.get(b":protocol") != b"websocket":
        raise RefusedError(METHOD_UNSUPPORTED)
    head.method = b"GET"
    head.grpc = False  # whatever its content-type says
    head.upgrade = b"websocket"
    head.marks |= int(Mark.UPGRADE)
    head.length = 0
    head.add(b"sec-websocket-key", b64encode(randbytes(16)))
