"""A request's head from the fields of an HTTP/2 stream (RFC 9113 §8.3.1).

The head is what it would be from HTTP/1.1, so all rooms above treat both alike. An extended CONNECT for WebSocket
(RFC 8441) becomes the GET with an Upgrade that it stands for; its key, which HTTP/2 does without, is made here.
"""

from base64 import b64encode
from random import randbytes

from turnout.proxy.errors import HEAD_TOO_LARGE, METHOD_UNSUPPORTED
from turnout.proxy.http.fields import MalformedError, RefusedError, parse_length
from turnout.proxy.http.head import CHUNKED, RequestHead, make_block
from turnout.proxy.http.known import KnownHeads
from turnout.proxy.http.names import REQUEST_MARKS, Mark
from turnout.proxy.http.target import Authorities, Targets, split_target
from turnout.proxy.http2.fields import FieldTuple, Marks, find_secrets, size_of
from turnout.proxy.telemetry.trace import read_trace_id

_HOST, _LENGTH, _TE = int(Mark.HOST), int(Mark.CONTENT_LENGTH), int(Mark.TE)
_TRACEPARENT, _GRPC_TIMEOUT = int(Mark.TRACEPARENT), int(Mark.GRPC_TIMEOUT)
_UNKEPT = int(Mark.REQUEST_ID | Mark.TRACEPARENT | Mark.UPGRADE)
_GRPC = b"application/grpc"
_COLON = 58
_SCHEMES = frozenset({b"http", b"https"})


class RequestHeads:
    """Reads heads; one for all connections of a worker. It keeps what it has learned, and nothing of any connection."""

    __slots__ = ("_authorities", "_known", "_marks", "_max_bytes", "_targets")

    def __init__(self, max_head_bytes: int) -> None:
        self._marks = Marks(REQUEST_MARKS, steering=True)
        self._authorities = Authorities()
        self._targets = Targets()
        self._known: KnownHeads[tuple[FieldTuple, bool, frozenset[bytes]], RequestHead] = KnownHeads()
        self._max_bytes = max_head_bytes

    def read(self, fields: FieldTuple, end: bool) -> RequestHead:
        """The head in `fields`; `end`: no body follows. Raises MalformedError or RefusedError."""
        key = fields, end, find_secrets(fields)
        known = self._known.heads.get(key)
        if known is not None:
            return known.copy()
        size = size_of(fields)
        if size > self._max_bytes:
            raise RefusedError(HEAD_TOO_LARGE)
        head = self._read(fields, end)
        head.secrets = key[2]
        if not head.marks & _UNKEPT and self._known.comes_again(key, size):
            self._known.keep(key, head)
        return head

    def _read(self, fields: FieldTuple, end: bool) -> RequestHead:
        head = RequestHead()
        head.minor = 2
        kept: list[tuple[bytes, bytes]] = []
        cookies: list[bytes] = []
        pseudo: dict[bytes, bytes] = {}
        host: bytes | None = None
        timeout = b""
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
                    head.grpc = value == _GRPC or value[len(_GRPC) : len(_GRPC) + 1] in (b"+", b";")
                elif name == b"grpc-timeout" and not timeout:
                    timeout = value
                    continue
                kept.append((name, value))
                continue
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
                    head.trace_id = read_trace_id(value)
        if cookies:
            kept.append((b"cookie", b"; ".join(cookies)))  # §8.2.3
        if timeout:
            if head.grpc:
                head.grpc_timeout = timeout
                head.marks |= _GRPC_TIMEOUT
            else:
                kept.append((b"grpc-timeout", timeout))
        head.block = make_block(kept)
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


def _apply_connect(head: RequestHead, pseudo: dict[bytes, bytes]) -> None:
    if pseudo.get(b":protocol") != b"websocket":
        raise RefusedError(METHOD_UNSUPPORTED)
    head.method = b"GET"
    head.upgrade = b"websocket"
    head.marks |= int(Mark.UPGRADE)
    head.length = 0
    head.add(b"sec-websocket-key", b64encode(randbytes(16)))
